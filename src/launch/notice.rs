//! The records between the launch child (later init) and the supervisor.
//!
//! One JSON object a packet on a `SOCK_SEQPACKET` pair. The child is our own code, but it lives
//! beside the worker: a record that does not parse is an error, never believed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::enforced::Enforced;
use crate::intercept::{Outcome, Question};
use crate::policy::LiveRules;
use crate::sys::{sealed, socket};

/// What the child or init tells the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Notice {
    /// Everything is in place and verified; the program starts next. Carries descriptors:
    /// the terminal's master if one was asked for, then the listening socket and the segment, then
    /// [`Doors`](super::Doors).
    Ready {
        /// What holds.
        enforced: Enforced,
    },
    /// The start failed; nothing ran.
    Failed(Failure),
    /// A program was kept from running.
    ExecDenied {
        /// The path as the caller gave it, lossy.
        path: String,
        /// The caller's pid inside the sandbox.
        pid: u32,
        /// Whether there is no such program in the sandbox.
        missing: bool,
    },
    /// A call waits to be recorded, or for somebody's decision.
    Question(Question),
    /// What came of a call, where that is learned from.
    Outcome(Outcome),
    /// The answer to [`Order::Reload`].
    Reloaded {
        /// The number of the policy.
        generation: u64,
        /// Why the former rules hold still; `None` where the new ones do.
        failed: Option<String>,
    },
    /// A thread was refused for the limit on processes, for the first time.
    PidsReached,
    /// The program ended.
    Exit {
        /// Its exit status, if it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// User time of everything in the sandbox, in microseconds.
        user_us: u64,
        /// System time of everything in the sandbox, in microseconds.
        system_us: u64,
        /// The largest resident set of one process, in KiB.
        max_rss_kib: u64,
    },
}

/// Why a start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried: `mount`, `execute`, ...
    pub operation: String,
    /// On what.
    pub object: String,
    /// What the kernel, or a check, said.
    pub cause: String,
    /// Which exit status this deserves.
    pub kind: FailureKind,
}

/// The classes of failure that a caller tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The program does not exist (exit status 127).
    NotFound,
    /// The program exists and cannot be executed (exit status 126).
    NotExecutable,
    /// Namespaces cannot be had here; Landlock and seccomp may carry the policy alone.
    Namespaces,
    /// Anything else (exit status 125).
    Other,
}

impl Failure {
    /// A failure of `operation` on `object`.
    pub fn new(operation: &str, object: impl Into<String>, cause: impl ToString) -> Failure {
        Failure {
            operation: operation.to_owned(),
            object: object.into(),
            cause: cause.to_string(),
            kind: FailureKind::Other,
        }
    }

    /// The same, of another kind.
    pub fn of_kind(self, kind: FailureKind) -> Failure {
        Failure { kind, ..self }
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "cannot {} {}: {}",
            self.operation, self.object, self.cause
        )
    }
}

/// Sends one notice.
///
/// # Errors
/// `EPIPE` when the supervisor is gone.
pub fn send(to: BorrowedFd<'_>, notice: &Notice, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    socket::send_record(to, &serde_json::to_vec(notice)?, descriptors)
}

/// Receives one notice with its descriptors; `None` when the other end is gone.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket, `InvalidData` for what is not a notice.
pub fn receive(from: BorrowedFd<'_>) -> io::Result<Option<(Notice, Vec<OwnedFd>)>> {
    let is_reset = |error: &io::Error| error.raw_os_error() == Some(libc::ECONNRESET);
    // Who ends with a record unread resets the connection; its last words still wait behind that.
    let received = match socket::receive_record(from) {
        Err(error) if is_reset(&error) => socket::receive_record(from),
        received => received,
    };
    let (record, descriptors) = match received {
        Err(error) if is_reset(&error) => return Ok(None),
        other => other?,
    };
    if record.is_empty() {
        return Ok(None);
    }
    let notice = serde_json::from_slice(&record)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((notice, descriptors)))
}

/// What the supervisor has init do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Order {
    /// Send a signal to the program's process group.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The answer to a [`Question`].
    Answer {
        /// The question's number.
        number: u64,
        /// Whether the call may be made; it is recorded either way.
        permit: bool,
    },
    /// Decide by other rules from here on: those of the document that comes with it.
    Reload {
        /// The number of the policy.
        generation: u64,
    },
}

/// Sends init an order.
///
/// # Errors
/// `EPIPE` when init is gone; `EAGAIN` on a non-blocking socket that is full.
pub fn send_order(to: BorrowedFd<'_>, order: &Order) -> io::Result<()> {
    socket::send_record(to, &serde_json::to_vec(order)?, &[])
}

/// Sends init the order to decide by these rules.
///
/// # Errors
/// As for [`send_order`], and what the kernel says of files in memory.
pub fn send_reload(to: BorrowedFd<'_>, generation: u64, rules: &LiveRules) -> io::Result<()> {
    let document = sealed::document(&serde_json::to_vec(rules)?)?;
    let order = serde_json::to_vec(&Order::Reload { generation })?;
    socket::send_record(to, &order, &[document.as_fd()])
}

/// The rules that came with an [`Order::Reload`].
pub(super) fn rules_of(documents: &[OwnedFd]) -> io::Result<LiveRules> {
    let [document] = documents else {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    };
    Ok(serde_json::from_slice(&sealed::read_document(document)?)?)
}

/// Receives an order and what comes with it; `None` when the supervisor is gone.
///
/// # Errors
/// `InvalidData` for what is no order.
pub(super) fn receive_order(from: BorrowedFd<'_>) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let (record, documents) = match socket::receive_record(from) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
        other => other?,
    };
    if record.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&record)
        .map(|order| Some((order, documents)))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
