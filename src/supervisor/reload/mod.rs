//! Another policy for a run that goes on.
//!
//! A run in the foreground is found by its id: a socket of that name in a directory that only its
//! user can enter, and that no sandbox is shown. Whoever connects must be that user or root, and of
//! the same pid namespace, which nothing inside a sandbox is.
//!
//! What is asked for is compared with what the launch has fixed ([`Policy::reload`]); only what is
//! decided live changes. Whatever is in doubt is refused, and then the old policy holds as before.
//!
//! [`Policy::reload`]: crate::policy::Policy::reload

mod change;
mod client;
mod door;
mod place;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(super) use change::{Changed, Ground, digest};
pub use client::reload;
pub(super) use door::{Call, Door};
pub use place::check_id;
pub(super) use place::{Listening, directory, tidy};

use super::options::PolicySource;

/// Where a run is found, and what another policy is compared with.
#[derive(Debug)]
pub(super) struct Found {
    pub listening: Listening,
    pub ground: Ground,
}

/// What another process asks of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The policies in the place of the run's own; none are the same ones, read again.
    policies: Vec<Source>,
}

/// A policy by the bytes of its absolute path, or by its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    File(Vec<u8>),
    Shipped(String),
}

impl From<&PolicySource> for Source {
    fn from(source: &PolicySource) -> Source {
        use std::os::unix::ffi::OsStrExt;
        match source {
            PolicySource::File(path) => Source::File(path.as_os_str().as_bytes().to_vec()),
            PolicySource::Shipped(name) => Source::Shipped(name.clone()),
        }
    }
}

impl From<Source> for PolicySource {
    fn from(source: Source) -> PolicySource {
        use std::os::unix::ffi::OsStringExt;
        match source {
            Source::File(path) => PolicySource::File(std::ffi::OsString::from_vec(path).into()),
            Source::Shipped(name) => PolicySource::Shipped(name),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The run is held to the new policy.
    Reloaded(Reloaded),
    /// The old policy holds, for this reason.
    Refused(String),
}

/// A run that has gone over to another policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The run.
    pub id: String,
    /// The number of the policy that holds now; that of the start is 1.
    pub generation: u64,
    /// The SHA-256 of what the former policies say.
    pub from: String,
    /// The SHA-256 of what the policies say that hold now.
    pub to: String,
    /// The layers that hold now, lowest first.
    pub layers: Vec<String>,
    /// What a restart would end and this does not, in words.
    pub notes: Vec<String>,
}

/// Why a run has not gone over to another policy.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// No such name is possible.
    #[error("{id:?} can be no run's id: {cause}")]
    Id {
        /// The name.
        id: String,
        /// Why not.
        cause: String,
    },
    /// Nothing of that name runs.
    #[error("no run {id} can be reloaded here{}", running(known))]
    Unknown {
        /// The name.
        id: String,
        /// Those that run.
        known: Vec<String>,
    },
    /// It is another user's.
    #[error("the run {id} is another user's")]
    Foreign {
        /// The name.
        id: String,
    },
    /// The new policy is none.
    #[error(transparent)]
    Policy(#[from] crate::policy::LoadError),
    /// The run says no.
    #[error("{id} keeps its policy: {why}")]
    Refused {
        /// The run.
        id: String,
        /// Why.
        why: String,
    },
    /// The run ended, or was not heard in time.
    #[error("{id} did not answer: {cause}; its event log says which policy holds")]
    Silent {
        /// The run.
        id: String,
        /// What went wrong.
        cause: std::io::Error,
    },
    /// The directory of runs cannot be used.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl ReloadError {
    /// Whether it was the policy that stood against it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, ReloadError::Refused { .. } | ReloadError::Policy(_))
    }
}

fn running(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("; there are: {}", known.join(", ")),
    }
}
