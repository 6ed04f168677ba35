//! Why a trial did not come to a good end.

use std::fmt;
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// What ended a trial before its effect was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stop {
    /// The kernel refused.
    Refused {
        /// What was tried.
        step: String,
        /// The kernel's reason.
        errno: i32,
    },
    /// Whoever tried it was killed for it.
    Fatal(String),
    /// The kernel took it, and it does not do what it is for.
    NoEffect(String),
    /// It could not be tried, and nothing is known.
    Untried(String),
}

impl Stop {
    pub(super) fn untried(why: impl Into<String>) -> Stop {
        Stop::Untried(why.into())
    }

    /// The end of a step that has to do with the mechanism itself.
    pub(super) fn refused<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Stop {
        let step = step.into();
        move |error| {
            let error = error.into();
            match error.raw_os_error() {
                Some(errno) => Stop::Refused { step, errno },
                None => Stop::untried(format!("{step}: {error}")),
            }
        }
    }

    /// The end of a step that only prepares the trial.
    pub(super) fn unprepared<E: Into<io::Error>>(
        step: impl Into<String>,
    ) -> impl FnOnce(E) -> Stop {
        let step = step.into();
        move |error| {
            let error = error.into();
            let why = error.raw_os_error().map_or(error.to_string(), named);
            Stop::untried(format!("{step}: {why}"))
        }
    }

    /// The kernel's reason, where it gave one.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Stop::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// What a trial came to, for [`Stop::heard`] on the other side of a pipe.
    pub(super) fn told(outcome: &Result<(), Stop>) -> Vec<u8> {
        // What cannot be said is heard as nothing, which is no answer and not a good one.
        serde_json::to_vec(outcome).unwrap_or_default()
    }

    /// # Errors
    /// What ended the trial, among it words that are none of ours.
    pub(super) fn heard(bytes: &[u8]) -> Result<(), Stop> {
        serde_json::from_slice(bytes)
            .unwrap_or_else(|error| Err(Stop::untried(format!("the trial's answer: {error}"))))
    }
}

/// An errno by its name and in words.
pub(super) fn named(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    format!("{errno:?}, {}", errno.desc())
}

impl fmt::Display for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Refused { step, errno } => write!(out, "{step}: {}", named(*errno)),
            Stop::Fatal(why) | Stop::NoEffect(why) | Stop::Untried(why) => out.write_str(why),
        }
    }
}
