//! Why a verb failed.

use std::io;
use std::path::PathBuf;

use crate::launch::container::ContainerError;
use crate::oci::secrets::SecretError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// Callers look for these words.
    #[error("container {0:?} does not exist")]
    NoSuchContainer(String),
    /// Callers look for these words.
    #[error("container with id {0:?} exists already; delete it first, or choose another id")]
    Exists(String),
    /// The id cannot be one.
    #[error(
        "{id:?} is no container id: {cause}; use letters, digits, '_', '+', '-' and '.', \
         at most 1024 of them"
    )]
    BadId {
        /// The id.
        id: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The container is in another state than the verb needs.
    #[error("cannot {verb} container {id:?}: it is {status}{advice}")]
    WrongState {
        /// The verb.
        verb: &'static str,
        /// The container.
        id: String,
        /// Its state.
        status: &'static str,
        /// What to do, as the end of the sentence, or nothing.
        advice: &'static str,
    },
    /// Callers look for these words.
    #[error("container not running: {0:?} has ended")]
    NotRunning(String),
    /// Callers look for these words.
    #[error(
        "cannot exec in a paused container: resume {0:?} first, or use --ignore-paused to wait \
         until somebody does"
    )]
    Paused(String),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] super::ConfigError),
    /// The container could not be made, or a process in it.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// An argument that cannot be.
    #[error("{argument}: {cause}")]
    Argument {
        /// As it was given.
        argument: String,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// The state on disk is not what this runtime wrote.
    #[error("{}: {cause}; delete --force removes the container", .path.display())]
    Record {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The policy cannot be carried out for this container.
    #[error("the policy {name}: {cause}")]
    Policy {
        /// Its documents.
        name: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// Who stands beside a container with a policy could not do its part.
    #[error(
        "container {id:?} has a policy and its supervisor does not carry this: {cause}; \
         nothing was done, and the container can still be killed and deleted"
    )]
    Supervisor {
        /// The container.
        id: String,
        /// Why not.
        cause: String,
    },
    /// A credential that requests are to have cannot be had, or is not to be granted.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What the bundle gives a process cannot be made.
    #[error(transparent)]
    Bundle(#[from] crate::oci::OciError),
    /// A policy cannot be read.
    #[error(transparent)]
    Load(#[from] crate::policy::LoadError),
    /// The control group could not be asked or changed.
    #[error(transparent)]
    Group(#[from] crate::launch::group::GroupError),
    /// Mounts in the caller's own mount namespace.
    #[error(transparent)]
    RootMount(#[from] crate::launch::rootfs::RootMountError),
    /// A system call failed.
    #[error("cannot {operation} {object}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl VerbError {
    pub(super) fn system(
        operation: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> VerbError {
        let object = object.into();
        move |source| VerbError::System {
            operation,
            object,
            source,
        }
    }

    pub(super) fn argument(argument: impl Into<String>, cause: impl Into<String>) -> VerbError {
        VerbError::Argument {
            argument: argument.into(),
            cause: cause.into(),
        }
    }
}
