//! The supervisor beside a container that has a policy, as the verbs see it: `create` starts it and
//! leaves it behind, and every later verb has it record what is about to be done.
//!
//! It is this program again, in a process of its own that holds nothing of the caller's but two variables, by
//! which certificates of the host are found. Verbs talk
//! to it by a Unix socket in the container's directory, which only the container's owner can enter.
//! What it does not answer is not done, except for what ends or stops the container.

mod begin;
mod outputs;
mod words;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::VerbError;
use super::record::{Found, Held, ProcessRecord};
use crate::launch::group::{Group, GroupRecord};
use crate::sys::socket;

pub use crate::oci::container::policy::EgressFrom;
pub(super) use begin::begin;
pub use outputs::Outputs;
pub use words::{Answer, Beginning, Judging, Leading, Reading, Request};

/// The socket's name in the container's directory.
pub const SOCKET: &str = "supervisor.sock";

/// How long an answer may take: the supervisor does one thing at a time, and none takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a supervisor may take to record the end of its container.
const ENDING: Duration = Duration::from_secs(5);

/// Everything of a container that can be ended.
#[derive(Debug)]
pub struct Living {
    first: Held,
    group: GroupRecord,
}

impl Living {
    /// The container whose first process `first` is; `None` when that has ended.
    ///
    /// # Errors
    /// The process cannot be looked at.
    pub fn of(first: ProcessRecord, group: GroupRecord) -> std::io::Result<Option<Living>> {
        let first = first.hold()?;
        Ok(first.map(|first| Living { first, group }))
    }

    /// Its first process.
    #[must_use]
    pub fn first(&self) -> &Held {
        &self.first
    }

    /// Its control group.
    #[must_use]
    pub fn group(&self) -> Group {
        Group::of(&self.group)
    }

    /// Whether it has a control group.
    #[must_use]
    pub fn has_group(&self) -> bool {
        !self.group.is_empty()
    }

    /// Whether a process, as this pid namespace numbers it, is one of the container's.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn has(&self, pid: i32) -> Result<bool, VerbError> {
        if pid == self.first.pid {
            return Ok(true);
        }
        if self.has_group() {
            return Ok(self.group().processes()?.contains(&pid));
        }
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        let told = || -> std::io::Result<bool> {
            let own = namespace(&self.first.pid.to_string())?;
            Ok(own != namespace("self")? && own == namespace(&pid.to_string())?)
        };
        told().map_err(VerbError::system("look at", format!("process {pid}")))
    }

    /// Kills its first process, and all that is in its control group.
    ///
    /// # Errors
    /// Something of it could not be signalled; all the rest was.
    pub fn kill(&self) -> Result<(), VerbError> {
        let object = || format!("process {}", self.first.pid);
        let first = match self.first.signal(libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(VerbError::system("kill", object())(error))
            }
            _ => Ok(()),
        };
        if self.has_group() {
            self.group().kill(libc::SIGKILL)?;
        }
        first
    }
}

impl Found {
    /// Has the supervisor record what is about to be done. A container without a policy has none.
    ///
    /// # Errors
    /// It is gone, or cannot record it: nothing is to be done then.
    pub(super) fn ask(&self, request: &Request) -> Result<(), VerbError> {
        self.ask_with(request, None)
    }

    /// As `ask`, with the output of a process that is to be copied.
    pub(super) fn ask_with(
        &self,
        request: &Request,
        outputs: Option<&Outputs>,
    ) -> Result<(), VerbError> {
        if self.record.policy.is_none() {
            return Ok(());
        }
        let unanswered = |cause: String| VerbError::Supervisor {
            id: self.record.id.clone(),
            cause,
        };
        match self.talk(request, outputs) {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Refused { cause }) => Err(unanswered(cause)),
            Err(error) => Err(unanswered(format!("it does not answer: {error}"))),
        }
    }

    /// As `ask`, for what ends or stops the container, which is done in any case.
    pub(super) fn tell(&self, request: &Request) {
        if let Err(unrecorded) = self.ask(request) {
            tracing::warn!(%unrecorded, "this is done all the same");
        }
    }

    fn talk(&self, request: &Request, outputs: Option<&Outputs>) -> std::io::Result<Answer> {
        // The socket's path can be longer than an address has room for.
        let path = format!("/proc/self/fd/{}/{SOCKET}", self.entry.dir().as_raw_fd());
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let descriptors = outputs.map(Outputs::descriptors).unwrap_or_default();
        send(&mut stream, request, &descriptors)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Says something to the supervisor: descriptors, and JSON.
fn send(
    stream: &mut UnixStream,
    said: &impl serde::Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    socket::send_descriptors(stream.as_fd(), descriptors)?;
    stream.write_all(&serde_json::to_vec(said)?)?;
    stream.shutdown(Shutdown::Write)
}

/// Waits until the supervisor of a container that has ended is gone, and ends one that does not go.
///
/// # Errors
/// It cannot be looked at or ended.
pub(super) fn see_off(supervisor: ProcessRecord) -> Result<(), VerbError> {
    let object = || format!("the supervisor, process {}", supervisor.pid);
    let held = supervisor
        .hold()
        .map_err(VerbError::system("look at", object()))?;
    let Some(held) = held else {
        return Ok(());
    };
    if ends_within(&held, ENDING).map_err(VerbError::system("wait for", object()))? {
        return Ok(());
    }
    tracing::warn!(pid = held.pid, "the supervisor does not end, and is ended");
    held.signal(libc::SIGKILL)
        .map_err(VerbError::system("kill", object()))?;
    match ends_within(&held, ENDING).map_err(VerbError::system("wait for", object()))? {
        true => Ok(()),
        false => {
            let cause = "it does not end; it may wait in the kernel for a device";
            Err(VerbError::system("kill", object())(std::io::Error::other(
                cause,
            )))
        }
    }
}

/// Whether the process ends in time.
pub(super) fn ends_within(process: &Held, patience: Duration) -> std::io::Result<bool> {
    let patience = patience.try_into().ok();
    loop {
        let mut watched = [PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN)];
        match poll(&mut watched, patience.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}
