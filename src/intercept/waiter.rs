//! A process of ours that makes a call which may wait for ever, in the caller's place.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::act::{Done, Task};
use super::reply::{Given, answer, refuse};
use super::view::{Caller, View};
use crate::sys::seccomp::{self, Answer};
use crate::sys::{clone, process, signal};

/// `ERESTARTSYS` (`linux/errno.h`): after the signal the kernel makes the call again, or gives EINTR, as
/// the signal's handler asks for. A caller without a signal would see it.
const RESTART: i32 = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiter {
    pub process: i32,
    pub id: u64,
    /// Whether it does what the policy decided about.
    pub is_decided: bool,
    /// What its call gives where it is not made as a whole; `None` where nothing of it is done.
    begun: Option<i64>,
    caller: Caller,
    /// Whoever takes what is in it answers the call: the process itself, when it is made, or we.
    turn: OwnedFd,
}

impl Waiter {
    /// Begins to make the call of `caller` with the number `id`.
    ///
    /// # Errors
    /// There can be no more processes or descriptors.
    pub fn start(
        view: &View,
        listener: BorrowedFd<'_>,
        (id, caller): (u64, Caller),
        (task, is_decided, begun): (Task, bool, Option<i64>),
    ) -> io::Result<Waiter> {
        let turn = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        view.handed.wait_for_all();
        let process = clone::fork()?;
        if process == 0 {
            let told = help(view, listener, (id, caller), (task, &turn));
            clone::exit_now(i32::from(told.is_err()))
        }
        Ok(Waiter {
            process,
            id,
            is_decided,
            begun,
            caller,
            turn,
        })
    }

    /// Waits until it has ended, where its call waits no more: what it opened is open as long as it lives.
    ///
    /// # Errors
    /// What the kernel says of its process.
    pub fn settle(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        if seccomp::still_waits(listener, self.id) {
            return Ok(());
        }
        // The caller is gone, and it waits on.
        if take(&self.turn) {
            self.send(libc::SIGKILL)?;
        }
        self.wait_for_end()
    }

    /// Answers the call in the place of a process that has ended.
    ///
    /// # Errors
    /// What the kernel says of the listener.
    pub fn answer_for(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        match self.begun {
            Some(value) => answer(listener, self.id, Answer::Value(value)),
            None => refuse(listener, self.id, Errno::INTR),
        }
    }

    fn wait_for_end(&self) -> io::Result<()> {
        let ends = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let process = Pid::from_raw(self.process).map(WaitId::Pid);
        match process.map(|process| waitid(process, ends)) {
            // Somebody else reaps it.
            None | Some(Ok(_) | Err(Errno::CHILD)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Lets the call fail as if a signal had come, unless it is made by now.
    ///
    /// # Errors
    /// What the kernel says of the listener or of its process.
    pub fn give_up(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        if !take(&self.turn) {
            return Ok(());
        }
        self.send(libc::SIGKILL)?;
        refuse(listener, self.id, Errno::INTR)
    }

    /// The same, and waits until its process has ended, so that it opens nothing and gives nothing any
    /// more.
    ///
    /// # Errors
    /// As [`Waiter::give_up`].
    pub fn end(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.give_up(listener)?;
        self.wait_for_end()
    }

    /// Ends it when its caller is gone, and interrupts it when that has a signal to be delivered, as the
    /// kernel would.
    ///
    /// # Errors
    /// What the kernel says of its process.
    pub fn tend(&self, view: &View, listener: BorrowedFd<'_>) -> io::Result<()> {
        if !seccomp::still_waits(listener, self.id) {
            // A call whose answer is being given does not wait either.
            return match take(&self.turn) {
                true => self.send(libc::SIGKILL),
                false => Ok(()),
            };
        }
        let status = view.status(self.caller);
        match status.and_then(|status| status.signals()) {
            Ok(signals) if signals.interrupt() => self.send(signal::INTERRUPT),
            // Of a caller that leaves just now nothing can be read; the next time it is gone.
            _ => Ok(()),
        }
    }

    fn send(&self, signal: i32) -> io::Result<()> {
        match process::kill(self.process, signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes the call and answers it. What was opened or connected by the time of a signal stays so: only a
/// call that still waits is interrupted, and an answer is not.
fn help(
    view: &View,
    listener: BorrowedFd<'_>,
    (id, caller): (u64, Caller),
    (task, turn): (Task, &OwnedFd),
) -> io::Result<()> {
    signal::let_itself_be_interrupted()?;
    let done = task(view, &|| seccomp::still_waits(listener, id));
    process::block_all_signals()?;
    if !take(turn) {
        return Ok(());
    }
    match done {
        Ok(Done::Descriptor(descriptor, close_on_exec)) => {
            Given::of(id, (descriptor, close_on_exec))?.hand_over(listener)
        }
        Ok(Done::Value(value)) => answer(listener, id, Answer::Value(value)),
        Ok(_) => refuse(listener, id, Errno::ACCESS),
        Err(Errno::INTR) => answer(listener, id, Answer::Errno(interrupted(view, caller))),
        Err(errno) => refuse(listener, id, errno),
    }
}

/// Whether it is our turn, which it is for one alone.
fn take(turn: &OwnedFd) -> bool {
    let mut count = [0; 8];
    rustix::io::read(turn, &mut count).is_ok()
}

/// What an interrupted call gives. Another thread may take a signal of the whole process before this
/// one is awake, which must then not see the kernel's own errno.
fn interrupted(view: &View, caller: Caller) -> i32 {
    let status = view.status(caller);
    match status.and_then(|status| status.signals()) {
        Ok(signals) if signals.are_its_own() => RESTART,
        _ => Errno::INTR.raw_os_error(),
    }
}
