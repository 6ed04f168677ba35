//! Why no container came into being, or no process in it.

use std::io;

use crate::launch::Failure;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The configuration asks for what cannot be, or for what this runtime does not carry out.
    #[error("config.json: {field}: {cause}")]
    Invalid {
        /// The field, by its path in config.json.
        field: String,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// A step inside failed; nothing runs and nothing is left.
    #[error("{0}")]
    Failed(Failure),
    /// The seccomp profile cannot be carried out.
    #[error("config.json: linux.seccomp: {0}")]
    Seccomp(String),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] super::HookError),
    /// The root file system cannot be as config.json has it.
    #[error("{0}")]
    Rootfs(String),
    /// The container could not be recorded in the state directory.
    #[error("{0}")]
    Recording(String),
    /// The control group could not be made or changed.
    #[error("{0}")]
    Group(String),
    /// A system call of the runtime failed.
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

impl ContainerError {
    /// The field cannot be carried out.
    pub fn invalid(field: impl Into<String>, cause: impl Into<String>) -> ContainerError {
        ContainerError::Invalid {
            field: field.into(),
            cause: cause.into(),
        }
    }

    /// Wraps the error of a system call.
    pub(super) fn system(
        operation: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> ContainerError {
        let object = object.into();
        move |source| ContainerError::System {
            operation,
            object,
            source,
        }
    }
}
