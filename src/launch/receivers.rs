//! Threads of init that hear the calls of the worker.
//!
//! A descriptor has been handed over when the caller has run again, on whatever processor the kernel
//! wakes it. While one thread waits for that, another hears the next call, at once and on the
//! processor where it is made. So there is one more at work than threads of the worker that call;
//! more would wake each other for nothing.
//!
//! One of init's threads works at a time, the one that has the lock. Without it each of them does
//! nothing but wait in the kernel, so that whoever has the lock may fork.

use std::cmp::Ordering;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::init::{Init, Received};
use super::seccomp;
use crate::intercept::Given;
use crate::sys::clone;
use crate::sys::seccomp::{Notification, receive as receive_call};

/// How many there are.
pub(super) const RECEIVERS: usize = 4;

/// By how many calls it is known who calls at the same time.
const RECENT: usize = 16;

/// Bytes of a receiver's stack.
const STACK: usize = 512 << 10;

/// Hears the calls of `listener` while the main thread does `body`, which is given what wakes it.
///
/// # Errors
/// What `body` fails with, and what the kernel says when the threads are made.
pub(super) fn with<'i>(
    init: Init<'i>,
    listener: BorrowedFd<'i>,
    body: impl FnOnce(&RwLock<Init<'i>>, BorrowedFd<'_>, &Handing) -> io::Result<()>,
) -> io::Result<()> {
    let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let init = RwLock::new(init);
    let (crew, wanted) = (Mutex::new(Crew::default()), Condvar::new());
    let handing = Handing::default();
    let begun = Barrier::new(RECEIVERS + 1);
    let started = Barrier::new(RECEIVERS + 1);
    std::thread::scope(|scope| {
        for _ in 0..RECEIVERS {
            let receive = || {
                // The filter keeps the worker from them by number.
                let thread = rustix::thread::gettid().as_raw_nonzero().get();
                if !seccomp::RECEIVERS.contains(&thread.unsigned_abs()) {
                    clone::exit_now(1);
                }
                begun.wait();
                started.wait();
                let received = receive(&init, (&crew, &wanted), &handing, listener, kick.as_fd());
                // What is held can be answered by nobody.
                if received.is_err() {
                    clone::exit_now(1);
                }
            };
            let builder = std::thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, receive)?;
        }
        // A thread that begins uses the allocator without the lock, and is to be known before it hears
        // of anything.
        begun.wait();
        write(&init).know_own_threads()?;
        started.wait();
        let done = body(&init, kick.as_fd(), &handing);
        // Nobody waits for those that wait for calls.
        clone::exit_now(i32::from(done.is_err()))
    })
}

/// For whoever changes nothing.
fn read<'l, 'i>(init: &'l RwLock<Init<'i>>) -> RwLockReadGuard<'l, Init<'i>> {
    // Who had it has failed half-way.
    init.read().unwrap_or_else(|_| clone::exit_now(1))
}

/// For whoever does something else.
pub(super) fn write<'l, 'i>(init: &'l RwLock<Init<'i>>) -> RwLockWriteGuard<'l, Init<'i>> {
    init.write().unwrap_or_else(|_| clone::exit_now(1))
}

fn lock(crew: &Mutex<Crew>) -> MutexGuard<'_, Crew> {
    crew.lock().unwrap_or_else(|_| clone::exit_now(1))
}

fn receive(
    init: &RwLock<Init<'_>>,
    (crew, wanted): (&Mutex<Crew>, &Condvar),
    handing: &Handing,
    listener: BorrowedFd<'_>,
    kick: BorrowedFd<'_>,
) -> io::Result<()> {
    loop {
        let Some(call) = next(listener)? else {
            match has_nobody(listener)? {
                true => return Ok(()),
                false => continue,
            }
        };
        let change = lock(crew).heard(call.pid);
        if change == Change::Joins {
            wanted.notify_one();
        }
        let quick = read(init).quickly(&call);
        let received = match quick {
            Some(_) => Received {
                given: quick,
                kicks: false,
            },
            None => write(init).receive_call(&call)?,
        };
        if received.kicks {
            rustix::io::write(kick, &1_u64.to_ne_bytes())?;
        }
        if let Some(given) = received.given {
            handing.hand_over(given, listener)?;
        }
        if change == Change::Rests {
            let rested = wanted.wait_while(lock(crew), |crew| !crew.joins());
            drop(rested.unwrap_or_else(|_| clone::exit_now(1)));
        }
    }
}

/// The files that are being handed over: open here too until that is done, which the caller may be far
/// beyond by then. It gets the same file once more, and executes something, only after that.
#[derive(Debug, Default)]
pub(super) struct Handing {
    files: Mutex<[Option<(u64, u64)>; RECEIVERS]>,
    done: Condvar,
}

impl Handing {
    fn hand_over(&self, given: Given, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Some(file) = given.file() else {
            return given.hand_over(listener);
        };
        let is_there = |files: &mut [Option<(u64, u64)>; RECEIVERS]| files.contains(&Some(file));
        let mut files = self.wait_while(is_there);
        // There is one place for each thread.
        let place = files.iter().position(Option::is_none);
        let place = place.ok_or_else(|| io::Error::other("more threads than places"))?;
        files[place] = Some(file);
        drop(files);
        given.hand_over(listener)?;
        self.lock()[place] = None;
        self.done.notify_all();
        Ok(())
    }

    /// Waits until nothing is open here that a caller has got.
    pub(super) fn wait_for_all(&self) {
        drop(self.wait_while(|files| files.iter().any(Option::is_some)));
    }

    fn wait_while(
        &self,
        condition: impl FnMut(&mut [Option<(u64, u64)>; RECEIVERS]) -> bool,
    ) -> MutexGuard<'_, [Option<(u64, u64)>; RECEIVERS]> {
        let waited = self.done.wait_while(self.lock(), condition);
        waited.unwrap_or_else(|_| clone::exit_now(1))
    }

    fn lock(&self) -> MutexGuard<'_, [Option<(u64, u64)>; RECEIVERS]> {
        self.files.lock().unwrap_or_else(|_| clone::exit_now(1))
    }
}

/// Who of the receivers is at work.
#[derive(Debug)]
pub(super) struct Crew {
    at_work: usize,
    /// Of those at work, who have not begun.
    called: usize,
    /// The threads whose calls were heard last.
    recent: [u32; RECENT],
    heard: usize,
}

/// What a call changes.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    /// One more is to be woken.
    Joins,
    /// Whoever heard it rests.
    Rests,
}

impl Default for Crew {
    fn default() -> Crew {
        Crew {
            at_work: RECEIVERS,
            called: 0,
            recent: [0; RECENT],
            heard: 0,
        }
    }
}

impl Crew {
    /// Hears that a thread calls.
    fn heard(&mut self, caller: u32) -> Change {
        self.recent[self.heard % RECENT] = caller;
        self.heard = self.heard.wrapping_add(1);
        let is_first = |at: &usize| !self.recent[..*at].contains(&self.recent[*at]);
        let callers = (0..RECENT).filter(is_first).count();
        let wanted = (callers + 1).min(RECEIVERS);
        match self.at_work.cmp(&wanted) {
            Ordering::Less => {
                self.at_work += 1;
                self.called += 1;
                Change::Joins
            }
            Ordering::Equal => Change::None,
            Ordering::Greater => {
                self.at_work -= 1;
                Change::Rests
            }
        }
    }

    /// Whether one that rests begins, which is taken for done then.
    fn joins(&mut self) -> bool {
        let joins = self.called > 0;
        self.called -= usize::from(joins);
        joins
    }
}

/// Waits for the next call; none when its caller is gone already.
///
/// # Errors
/// What the kernel says of the listener.
pub(super) fn next(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    match receive_call(listener) {
        Ok(call) => Ok(Some(call)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes what has woken the main thread.
///
/// # Errors
/// What the kernel says of it.
pub(super) fn take_kick(kick: BorrowedFd<'_>) -> io::Result<()> {
    let mut count = [0; 8];
    match rustix::io::read(kick, &mut count) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether no process has the filter any more.
fn has_nobody(listener: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec::default())) {
        Ok(_) => Ok(polled[0].revents().contains(PollFlags::HUP)),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_more_at_work_than_threads_that_call() {
        let mut crew = Crew::default();
        let mut hear = |callers: &[u32]| {
            for caller in callers.iter().cycle().take(3 * RECENT) {
                let change = crew.heard(*caller);
                assert_eq!(change == Change::Joins, crew.joins());
            }
            crew.at_work
        };
        assert_eq!(hear(&[7]), 2);
        assert_eq!(hear(&[7, 8]), 3);
        assert_eq!(hear(&[7, 8, 9, 10, 11]), RECEIVERS);
        assert_eq!(hear(&[12]), 2);
    }
}
