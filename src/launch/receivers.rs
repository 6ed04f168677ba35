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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::executor::give_up;
use super::init::Init;
use super::notice::Failure;
use super::seccomp::{self, RECEIVERS};
use crate::intercept::{Broker, Given, Handed, Quick};
use crate::policy::PermSet;
use crate::sys::clone;
use crate::sys::seccomp::{Notification, receive as receive_call};

/// By how many calls it is known who calls at the same time.
const RECENT: usize = 16;

/// How long it takes at most until a caller has what it was given, where it has a processor.
const USUAL: Duration = Duration::from_millis(1);

/// The word to the program's process that it may begin.
const GO: &[u8] = b"go";

/// Bytes of a receiver's stack.
const STACK: usize = 512 << 10;

/// The ends of what init hears and says.
#[derive(Clone, Copy)]
pub(super) struct Ends<'e> {
    pub notices: &'e OwnedFd,
    /// To the program's process, which waits for a word.
    pub program: &'e OwnedFd,
    pub listener: BorrowedFd<'e>,
}

/// Hears the calls of the listener while the main thread does `body`, which is given what wakes it.
/// The program begins when the threads are there: so they have the numbers that the filter keeps it
/// from.
///
/// # Errors
/// What `body` fails with.
pub(super) fn with<'i>(
    init: Init<'i>,
    ends: Ends<'i>,
    body: impl FnOnce(&RwLock<Init<'i>>, BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let broker = init.broker();
    let numbers = seccomp::receivers(broker.map_or(PermSet::NONE, Broker::perms));
    let handing = Handing {
        handed: broker.map(Broker::handed).unwrap_or_default(),
        ..Handing::default()
    };
    let init = RwLock::new(init);
    let (crew, wanted) = (Mutex::new(Crew::default()), Condvar::new());
    let step = Barrier::new(RECEIVERS + 1);
    std::thread::scope(|scope| {
        for _ in 0..RECEIVERS {
            let receive = || {
                let thread = rustix::thread::gettid().as_raw_nonzero().get();
                if !numbers.contains(&u64::from(thread.unsigned_abs())) {
                    fail(
                        ends,
                        format!("the filter keeps nobody from number {thread}"),
                    );
                }
                step.wait();
                step.wait();
                let crew = (&crew, &wanted);
                let received = receive(&init, crew, &handing, ends.listener, kick.as_fd());
                // What is held can be answered by nobody.
                if received.is_err() {
                    clone::exit_now(1);
                }
            };
            let builder = std::thread::Builder::new().stack_size(STACK);
            // Those that are there wait for it, and would for ever.
            if let Err(cause) = builder.spawn_scoped(scope, receive) {
                fail(ends, cause);
            }
        }
        // A thread that begins uses the allocator without the lock, and is to be known before it hears
        // of anything.
        step.wait();
        if let Err(cause) = write(&init).know_own_threads() {
            fail(ends, cause);
        }
        step.wait();
        if let Err(cause) = rustix::io::write(ends.program, GO) {
            fail(ends, cause);
        }
        let done = body(&init, kick.as_fd());
        // Nobody waits for those that wait for calls.
        clone::exit_now(i32::from(done.is_err()))
    })
}

fn fail(ends: Ends<'_>, cause: impl ToString) -> ! {
    let failure = Failure::new("start", "the threads that answer calls", cause);
    give_up(ends.notices, failure, 1)
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
        let quick = {
            let init = read(init);
            match init.quickly(&call) {
                Quick::Given(given) => Ok((given, handing.handed.begin())),
                Quick::Long(path) => Err(path),
            }
        };
        let (given, kicks) = match quick {
            Ok(given) => (Some(given), false),
            Err(path) => {
                let mut init = write(init);
                let received = init.receive_call(&call, path)?;
                let given = received.given;
                let given = given.map(|given| (given, handing.handed.begin()));
                (given, received.kicks)
            }
        };
        if kicks {
            rustix::io::write(kick, &1_u64.to_ne_bytes())?;
        }
        if let Some((given, _open)) = given {
            handing.hand_over(given, listener)?;
        }
        lock(crew).answered();
        if change == Change::Rests {
            let rested = wanted.wait_while(lock(crew), |crew| !crew.joins());
            drop(rested.unwrap_or_else(|_| clone::exit_now(1)));
        }
    }
}

/// The files that are being handed over: open here too until that is done, which the caller may be far
/// beyond by then. It gets the same file once more only after that, if anybody else is there to wait.
#[derive(Debug, Default)]
struct Handing {
    handed: Handed,
    files: Mutex<Files>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Files {
    given: [Option<(u64, u64)>; RECEIVERS],
    /// Threads that wait for one of them.
    waiting: usize,
}

impl Files {
    /// Whether all threads but one hand something over, or wait for that.
    fn are_all_but_one_busy(&self) -> bool {
        let given = self.given.iter().flatten().count();
        given + self.waiting >= RECEIVERS - 1
    }
}

impl Handing {
    fn hand_over(&self, given: Given, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Some(file) = given.file() else {
            return given.hand_over(listener);
        };
        let mut files = self.lock();
        files.waiting += 1;
        // Whoever waits looks again whether it may.
        self.done.notify_all();
        // Whoever is left hears the others, and waits for nobody's caller for long.
        let waited = self.done.wait_while(files, |files| {
            files.given.contains(&Some(file)) && !files.are_all_but_one_busy()
        });
        files = waited.unwrap_or_else(|_| clone::exit_now(1));
        // Whoever has it is mostly about to be done, and is waited for as long as that takes.
        let has_it = |files: &mut Files| files.given.contains(&Some(file));
        let waited = self.done.wait_timeout_while(files, USUAL, has_it);
        files = waited.unwrap_or_else(|_| clone::exit_now(1)).0;
        files.waiting -= 1;
        // There is one place for each thread.
        let place = files.given.iter().position(Option::is_none);
        let place = place.ok_or_else(|| io::Error::other("more threads than places"))?;
        files.given[place] = Some(file);
        self.done.notify_all();
        drop(files);
        given.hand_over(listener)?;
        self.lock().given[place] = None;
        self.done.notify_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(|_| clone::exit_now(1))
    }
}

/// Who of the receivers is at work.
#[derive(Debug)]
struct Crew {
    at_work: usize,
    /// Of those at work, who have not begun.
    called: usize,
    /// Of those at work, who have heard a call and not yet handed over what answers it.
    busy: usize,
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
            busy: 0,
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
        // A caller that gets no processor keeps whoever answers it beyond the calls that are remembered.
        self.busy += 1;
        let wanted = (callers.max(self.busy) + 1).min(RECEIVERS);
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

    /// The call that was heard has been answered, or is held.
    fn answered(&mut self) {
        self.busy -= 1;
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
                crew.answered();
            }
            crew.at_work
        };
        assert_eq!(hear(&[7]), 2);
        assert_eq!(hear(&[7, 8]), 3);
        assert_eq!(hear(&[7, 8, 9, 10, 11]), RECEIVERS);
        assert_eq!(hear(&[12]), 2);
    }

    #[test]
    fn somebody_hears_however_long_callers_take() {
        let mut crew = Crew::default();
        // Nobody gets what these two were given while a third calls.
        for slow in [1, 2] {
            crew.heard(slow);
        }
        for _ in 0..3 * RECENT {
            crew.heard(3);
            crew.answered();
            crew.joins();
            assert!(crew.at_work > crew.busy, "{crew:?}");
        }
        assert_eq!(crew.at_work, RECEIVERS);
    }
}
