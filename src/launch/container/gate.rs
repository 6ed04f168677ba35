//! Where a created container waits for its start: two FIFOs in the container's directory.
//!
//! The first process holds both open for reading and writing, close-on-exec. It waits on `order`
//! with a read(2), the one call that every filter lets pass; `start` writes a byte there. `answer`
//! then ends, when execve(2) has closed it, or says why the program could not be executed. Both
//! exist for as long as the container is merely created: who can open `order` for writing without
//! waiting knows that someone still reads it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};

use super::ContainerError;
use crate::launch::Failure;

const ORDER: &str = "exec.fifo";
const ANSWER: &str = "exec.answer";

/// The waiting process's ends.
#[derive(Debug)]
pub struct Gate {
    order: OwnedFd,
    answer: OwnedFd,
}

fn make(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, ContainerError> {
    let failed = |cause: rustix::io::Errno| {
        ContainerError::system("make", format!("the FIFO {name}"))(cause.into())
    };
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(dir, name, rustix::fs::FileType::Fifo, mode, 0).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed)
}

impl Gate {
    /// Makes the gate in the container's directory.
    ///
    /// # Errors
    /// The FIFOs cannot be made.
    pub fn make(dir: BorrowedFd<'_>) -> Result<Gate, ContainerError> {
        Ok(Gate {
            order: make(dir, ORDER)?,
            answer: make(dir, ANSWER)?,
        })
    }

    /// Waits for the start, in the container's first process.
    pub(super) fn wait(&self) -> Result<(), Failure> {
        let mut order = [0];
        loop {
            return match rustix::io::read(&self.order, &mut order) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(1) => Ok(()),
                Ok(_) => Err(Failure::new("wait for", "the start", "the FIFO ended")),
                Err(cause) => Err(Failure::new("wait for", "the start", cause)),
            };
        }
    }

    /// What is kept open until the program runs.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.order.as_fd(), self.answer.as_fd()]
    }

    /// Tells `start` why the program does not run.
    pub(super) fn answer(&self, failure: &Failure) -> io::Result<()> {
        let text = serde_json::to_vec(failure)?;
        rustix::io::write(&self.answer, &text)?;
        Ok(())
    }
}

fn open(dir: BorrowedFd<'_>, name: &str, access: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Whether a process still waits at the gate of the container in `dir`.
///
/// # Errors
/// The FIFO is there and cannot be opened.
pub fn is_closed(dir: BorrowedFd<'_>) -> io::Result<bool> {
    match open(dir, ORDER, OFlags::WRONLY) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NXIO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens the gate, waits until the program runs, and takes the gate away. `first` is the pidfd of
/// the process that waits.
///
/// # Errors
/// The program could not be executed, and why.
pub fn open_gate(dir: BorrowedFd<'_>, first: BorrowedFd<'_>) -> Result<(), ContainerError> {
    let system = |operation, name: &str| {
        let object = name.to_owned();
        move |cause: rustix::io::Errno| ContainerError::system(operation, object)(cause.into())
    };
    let answer = open(dir, ANSWER, OFlags::RDONLY).map_err(system("open", ANSWER))?;
    let order = open(dir, ORDER, OFlags::WRONLY).map_err(system("open", ORDER))?;
    rustix::io::write(&order, b"0").map_err(system("write to", ORDER))?;
    drop(order);
    // Before the answer: a program that runs may be over in a moment, and the caller wants to know
    // of its start before that.
    for name in [ORDER, ANSWER] {
        match rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(system("remove", name)(error)),
        }
    }
    match hear_answer(&answer, first)? {
        None => Ok(()),
        Some(failure) => Err(ContainerError::Failed(failure)),
    }
}

/// Waits for the end of `answer`, which the waiting process closes by its execve(2).
fn hear_answer(answer: &OwnedFd, first: BorrowedFd<'_>) -> Result<Option<Failure>, ContainerError> {
    let failed = |cause: io::Error| {
        ContainerError::system("hear from", "the container's first process")(cause)
    };
    let mut text = Vec::new();
    loop {
        let mut watched = [
            PollFd::new(answer, PollFlags::IN),
            PollFd::from_borrowed_fd(first, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|error| failed(error.into()))?,
        };
        let mut some = [0; 4096];
        match rustix::io::read(answer, &mut some) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&some[..length]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                // It has ended, and a copy of its descriptors lives on in a hook.
                if !watched[1].revents().is_empty() {
                    break;
                }
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| failed(error.into()))
}
