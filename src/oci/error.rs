//! What can be wrong with what is to run.

use std::io;
use std::path::PathBuf;

/// Why there is nothing to launch.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The program is nowhere (exit status 127).
    #[error("cannot find {name}: {cause}")]
    NotFound {
        /// As it was named.
        name: String,
        /// Where it was looked for, and what to do.
        cause: String,
    },
    /// The program is there and is no program (exit status 126).
    #[error("cannot run {path}: {cause}")]
    NotExecutable {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The interpreter cannot be used.
    #[error("cannot use the interpreter {path}: {cause}")]
    Interpreter {
        /// Its path.
        path: PathBuf,
        /// Why, and what to do.
        cause: String,
    },
    /// The bundle cannot be used.
    #[error("cannot use the bundle {path}: {cause}")]
    Bundle {
        /// The bundle, or its file.
        path: PathBuf,
        /// Why, and what to do.
        cause: String,
    },
    /// The program cannot start where it should.
    #[error("cannot start in {path}: {source}; name a directory with --workdir")]
    Workdir {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A root of its own cannot be had without namespaces.
    #[error(
        "a root of its own ({path}) needs mounts, and namespaces cannot be created here: {why}; \
         permit user namespaces, or run without --rootfs and --bundle"
    )]
    NeedsNamespaces {
        /// The root or the bundle.
        path: PathBuf,
        /// Why there are no namespaces.
        why: String,
    },
    /// There is no use for the interface that is asked for, or no place.
    #[error(
        "cannot give the sandbox an interface (--network veth, or buntime.dev/network of the bundle): {cause}"
    )]
    Network {
        /// Why, and what to do.
        cause: &'static str,
    },
    /// The output directory cannot be used.
    #[error("cannot use the output directory {path}: {cause}")]
    Out {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        cause: &'static str,
    },
    /// A program that may not run lies where its code could be loaded (exit status 125).
    #[error(
        "cannot hide {path}, which the policy does not let run: {cause}; let every program run \
         (defaults.exec: allow, or a bare --allow-run), or none but the command"
    )]
    Unhidden {
        /// The program, or the directory that it may be in.
        path: PathBuf,
        /// Why.
        cause: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The layers contradict each other.
    #[error(transparent)]
    Merge(#[from] crate::policy::MergeError),
    /// A rule has no exact mechanism here.
    #[error(transparent)]
    Refused(#[from] crate::policy::Refused),
    /// A run cannot go over to the policy while it lives.
    #[error(transparent)]
    Restart(#[from] crate::policy::RestartNeeded),
}

/// Random bytes, for something of this name.
///
/// # Errors
/// The kernel gives none.
pub(super) fn drawn<const N: usize>(what: &str) -> Result<[u8; N], OciError> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| OciError::io("draw random bytes for", what)(errno.into()))?;
    Ok(bytes)
}

impl OciError {
    pub(super) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
