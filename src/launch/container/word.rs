//! What the runtime and the processes that it makes tell each other while a container, or a process
//! in one, comes into being: one JSON object a packet on a `SOCK_SEQPACKET` pair.
//!
//! The child lives beside what is hostile only from its execve(2) on, and then has no socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::{Confinement, ContainerError, WayOutShape};
use crate::launch::Failure;
use crate::sys::socket;

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Word {
    /// The forerunner's user namespace waits for its maps.
    MapMe,
    /// The forerunner has made the container's first process.
    Forked { pid: i32 },
    /// The root is assembled and not entered: the time for the hooks outside.
    Assembled,
    /// The channel is made. Carries its listener and its segment.
    Channel,
    /// There is a file for the certificates that the programs trust. Carries it, and the image's own if there
    /// is one.
    Trust,
    /// Something in the container's root is to be watched. Carries the root.
    Root,
    /// The container is in a network of its own. Carries what leads out of it.
    WayOut { shape: WayOutShape },
    /// The filter is in force. Carries its listener, without which nothing may go on.
    Listener,
    /// All is in place.
    Ready {
        /// What a policy holds.
        confinement: Option<Box<Confinement>>,
    },
    /// It failed; nothing ran.
    Failed(Failure),
}

impl Word {
    pub(super) fn ready(confinement: Option<&Confinement>) -> Word {
        let confinement = confinement.cloned().map(Box::new);
        Word::Ready { confinement }
    }
}

/// To the child: one word each.
const GO: &[u8] = b"go";

/// Tells the runtime; the program's filter may be in force, so this is one write(2).
pub(super) fn tell(to: BorrowedFd<'_>, word: &Word) -> Result<(), Failure> {
    let failed = |cause: io::Error| Failure::new("report to", "the runtime", cause);
    let text = serde_json::to_vec(word).map_err(|cause| failed(cause.into()))?;
    match rustix::io::write(to, &text) {
        Ok(_) => Ok(()),
        Err(cause) => Err(failed(cause.into())),
    }
}

/// Gives the runtime the filter's listener, from a thread that the filter does not hold.
pub(super) fn tell_of_listener(to: BorrowedFd<'_>, listener: &OwnedFd) -> io::Result<()> {
    tell_with(to, &Word::Listener, &[listener.as_fd()])
}

/// Tells the runtime, and gives it descriptors.
pub(super) fn tell_with(
    to: BorrowedFd<'_>,
    word: &Word,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(word)?;
    socket::send_record(to, &text, descriptors)
}

/// Waits for the runtime's leave to go on.
pub(super) fn wait_for_go(from: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut word = [0; 8];
    loop {
        return match rustix::io::read(from, &mut word) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(length) if word.get(..length) == Some(GO) => Ok(()),
            Ok(_) => Err(Failure::new("wait for", "the runtime", "it is gone")),
            Err(cause) => Err(Failure::new("wait for", "the runtime", cause)),
        };
    }
}

/// Waits for the runtime's leave to begin, which comes with the state that hooks are shown.
pub(super) fn wait_for_state(from: BorrowedFd<'_>) -> Result<Vec<u8>, Failure> {
    let failed = |cause: &dyn ToString| Failure::new("wait for", "the runtime", cause.to_string());
    let (record, _) = socket::receive_record(from).map_err(|cause| failed(&cause))?;
    match record.strip_prefix(GO) {
        Some(state) => Ok(state.to_vec()),
        None => Err(failed(&"it is gone")),
    }
}

/// Lets the child go on. A child that is gone has left its reason, which is read next.
pub(super) fn let_go(to: &OwnedFd) -> Result<(), ContainerError> {
    let_go_with(to, &[])
}

/// Lets the child begin, with the state that hooks are shown.
pub(super) fn let_go_with(to: &OwnedFd, state: &[u8]) -> Result<(), ContainerError> {
    match socket::send_record(to.as_fd(), &[GO, state].concat(), &[]) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
            Ok(())
        }
        sent => sent.map_err(ContainerError::system(
            "talk to",
            "the container's first process",
        )),
    }
}

/// The end of the socket, which execve(2) closes; a word instead says why it did not.
pub(super) fn hear_executed(from: &OwnedFd) -> Result<(), ContainerError> {
    match receive(from)? {
        None => Ok(()),
        Some((word, _)) => Err(unexpected(&word)),
    }
}

/// The child's next word, and the descriptors that came with it.
pub(super) fn hear(from: &OwnedFd) -> Result<(Word, Vec<OwnedFd>), ContainerError> {
    receive(from)?.ok_or_else(|| {
        ContainerError::Failed(Failure::new(
            "start",
            "the container's process",
            "it ended without a word; where the memory limit is below a few megabytes, raise it",
        ))
    })
}

fn receive(from: &OwnedFd) -> Result<Option<(Word, Vec<OwnedFd>)>, ContainerError> {
    let system = ContainerError::system("hear from", "the container's first process");
    let is_reset = |error: &io::Error| error.raw_os_error() == Some(libc::ECONNRESET);
    // Who ends with a record unread resets the connection; its last words still wait behind that.
    let received = match socket::receive_record(from.as_fd()) {
        Err(error) if is_reset(&error) => socket::receive_record(from.as_fd()),
        received => received,
    };
    let (record, carried) = match received {
        Err(error) if is_reset(&error) => return Ok(None),
        other => other.map_err(system)?,
    };
    if record.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(&record) {
        Ok(Word::Failed(failure)) => Err(ContainerError::Failed(failure)),
        Ok(word) => Ok(Some((word, carried))),
        Err(error) => Err(ContainerError::Failed(Failure::new(
            "understand",
            "the container's first process",
            error,
        ))),
    }
}

/// A word that does not belong here.
pub(super) fn unexpected(word: &Word) -> ContainerError {
    let said = format!("it said {word:?} out of turn");
    ContainerError::Failed(Failure::new("start", "the container's first process", said))
}
