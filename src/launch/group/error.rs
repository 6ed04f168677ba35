//! Why something about a group could not be had.

use std::io;
use std::path::{Path, PathBuf};

use crate::launch::cgroup::CgroupError;

/// Why a group could not be made, limited, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A file or directory of the kernel's could not be used.
    #[error("{operation} {}: {}", path.display(), words(source))]
    Io {
        /// What was done.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused the value of a setting.
    #[error(
        "setting {field} of linux.resources to {value:?} in {}: {}", path.display(), words(source)
    )]
    Refused {
        /// The field below `linux.resources`.
        field: &'static str,
        /// What was written.
        value: String,
        /// Where it was written.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A setting that nothing on this host can hold.
    #[error("cannot set {controller} limit: {why}; {field} of linux.resources asks for it")]
    Unheld {
        /// The controller that would hold it.
        controller: &'static str,
        /// The field below `linux.resources`.
        field: String,
        /// What is missing, and what to do.
        why: String,
    },
    /// A setting that has no meaning.
    #[error("invalid configuration: {field} of linux.resources: {why}")]
    Invalid {
        /// The field below `linux.resources`.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// A `cgroupsPath` that names no group.
    #[error("linux.cgroupsPath {path:?}: {why}")]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The group was there before, and has processes.
    #[error(
        "container's cgroup is not empty: {count} process(es) found in {}; \
         end them or give another linux.cgroupsPath", path.display()
    )]
    Occupied {
        /// Its directory.
        path: PathBuf,
        /// How many processes.
        count: usize,
    },
    /// The group was there before, and whatever enters it would stop.
    #[error("container's cgroup unexpectedly frozen: {}; thaw it first", path.display())]
    Frozen {
        /// Its directory.
        path: PathBuf,
    },
    /// Killed processes have not left in time.
    #[error(
        "removing the control group {}: it still has processes; they are waiting in the kernel",
        path.display()
    )]
    Populated {
        /// Its directory.
        path: PathBuf,
    },
    /// An annotation that is to be a property of the unit is none.
    #[error("annotation {key}={value:?}: {why}")]
    Annotation {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// systemd did not do what was asked of it.
    #[error("{operation} the systemd unit {unit}: systemd {why}")]
    Systemd {
        /// What was asked for.
        operation: String,
        /// The unit's name.
        unit: String,
        /// What systemd says.
        why: String,
    },
    /// Processes could not be listed or signalled.
    #[error(transparent)]
    Processes(#[from] CgroupError),
}

impl GroupError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GroupError {
        move |source| GroupError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> GroupError {
        GroupError::Invalid {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// The kernel's reason, as one goes on in the middle of a sentence.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return text;
    };
    first.to_lowercase().chain(letters).collect()
}
