//! Why a session did not begin, or could not be brought to an orderly end.

use std::io;

use thiserror::Error;

use super::learner::LearnError;
use super::outcome::{FAILED, NOT_EXECUTABLE, NOT_FOUND};
use crate::audit::{LogError, ReportError};
use crate::launch::{FailureKind, LaunchError};
use crate::oci::OciError;
use crate::oci::secrets::SecretError;
use crate::policy::{LoadError, MergeError, Refused};

/// A failure of Buntime itself, as opposed to the program's.
#[derive(Debug, Error)]
pub enum RunError {
    /// A policy is not valid.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The layers contradict each other.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The host cannot enforce the policy exactly.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Namespaces cannot be created, and the policy cannot be carried without them.
    #[error(
        "cannot create the sandbox's namespaces: {why}; permit user namespaces here (sysctl \
         user.max_user_namespaces, or the container's seccomp profile), run as root, or change the \
         policy; without them, {refused}"
    )]
    NotWithout {
        /// Why there are no namespaces.
        why: String,
        /// The rules, and what to change.
        refused: Refused,
    },
    /// The bundle, the interpreter or a directory cannot be had.
    #[error(transparent)]
    Prepare(#[from] OciError),
    /// The sandbox could not be built.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The event log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The report cannot be opened or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Nothing can be learned.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The channel to the worker cannot be made.
    #[error(transparent)]
    Channel(#[from] crate::ipc::ChannelError),
    /// The script is not there, or cannot be read.
    #[error("cannot run the script {path}: {cause}")]
    Script {
        /// As it was named.
        path: String,
        /// Why, and what to do.
        cause: String,
        /// Whether it is not there at all.
        missing: bool,
    },
    /// The policy wants events recorded, and there is no log.
    #[error(
        "record {events}, as the policy's audit.events asks: there is no event log; name one with \
         --events FILE"
    )]
    NoLog {
        /// The kinds of events.
        events: String,
    },
    /// A system call failed.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The cause.
        source: io::Error,
    },
    /// A credential that requests are to have cannot be had, or is not to be granted.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A record of ours could be written by the program it is about.
    #[error("keep {what} {path}: the program may write below {place}; choose a place outside")]
    Exposed {
        /// The event log or the report.
        what: &'static str,
        /// Its path.
        path: String,
        /// The directory that is shown to the program writable.
        place: String,
    },
    /// Others could be asked for another policy by the program that it is about.
    #[error(
        "be found by other processes in {path}: the program is shown {place}; leave --name out, or \
         let the policy show less"
    )]
    Shown {
        /// The directory of runs.
        path: String,
        /// What is shown of it, or around it.
        place: String,
    },
    /// The name by which the run is to be found cannot be had.
    #[error(transparent)]
    Name(#[from] super::reload::ReloadError),
    /// A failure after the launch, for which the sandbox was ended: the program may have run.
    #[error("{0}")]
    Ended(Box<RunError>),
    /// The process has threads.
    #[error(
        "launch a sandbox from a process with {count} threads: a process with threads must not \
         clone itself; call Supervisor::start from a single-threaded program, on a \
         current_thread runtime"
    )]
    Threads {
        /// How many.
        count: usize,
    },
    /// The session has been started before.
    #[error("start a session a second time: make a new Supervisor for each")]
    AlreadyStarted,
    /// The worker did not become ready.
    #[error("start the worker: {reason}")]
    Worker {
        /// Why.
        reason: String,
    },
    /// There is no worker to send to.
    #[error("send code to a session that is not running; start it first")]
    NotRunning,
}

impl RunError {
    pub(super) fn io(
        operation: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io {
            operation,
            object,
            source,
        }
    }

    /// The failure of what follows a launch.
    pub(super) fn ended(self) -> Self {
        match self {
            Self::Ended(_) => self,
            failure => Self::Ended(Box::new(failure)),
        }
    }

    /// The exit status that a shell would give: 127 for a program that is not
    /// there, 126 for one that cannot be executed, 125 for everything else.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Launch(LaunchError::Failed(failure)) => match failure.kind {
                FailureKind::NotFound => NOT_FOUND,
                FailureKind::NotExecutable => NOT_EXECUTABLE,
                FailureKind::Namespaces | FailureKind::Other => FAILED,
            },
            Self::Prepare(OciError::NotFound { .. }) | Self::Script { missing: true, .. } => {
                NOT_FOUND
            }
            Self::Prepare(OciError::NotExecutable { .. }) | Self::Script { .. } => NOT_EXECUTABLE,
            _ => FAILED,
        }
    }
}
