//! The verbs of the OCI runtime specification, and those that callers of runc know besides.
//!
//! Trusts the caller, its bundle's configuration and the state directory, which is root's or the
//! caller's own. Nothing that a container holds is believed: a process is told from a later one of
//! its number by its start time and held by its pidfd. Never prints and never exits.

mod check;
pub mod config;
mod create;
mod delete;
mod descriptors;
mod error;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod pause;
mod pid_file;
mod policy;
mod readiness;
mod record;
mod run;
mod signals;
mod spec;
mod start;
mod store;
pub mod supervised;
mod update;

use std::path::PathBuf;

use crate::sys::{namespace, process, sealed};

pub use config::ConfigError;
pub use create::CreateInput;
pub use error::VerbError;
pub use events::Event;
pub use exec::{ExecInput, ProcessInput};
pub use features::features;
pub use list::Listed;
pub use policy::{CHANNEL_ANNOTATION, EgressFrom, PolicyChoice};
pub use record::{Held, ProcessRecord, State, Status};
pub use run::RunInput;
pub use signals::parse as parse_signal;
pub use spec::{example as example_spec, example_rootless as example_spec_rootless};
pub use store::{Store, check_id};

/// How one call of the runtime does things: the flags before the verb.
#[derive(Debug)]
pub struct Runtime {
    /// Where the containers' states are.
    pub store: Store,
    /// Ask systemd for the control groups.
    pub systemd_cgroup: bool,
    /// Make no control groups.
    pub no_cgroup: bool,
    /// Take what an ordinary user lacks as not asked for; by itself where the caller is not root.
    pub rootless: bool,
    /// The policy of containers that are created.
    pub policy: PolicyChoice,
}

/// Goes on as a program that nobody can write, which what is inside of a container may come to see
/// as /proc/PID/exe. Returns when this process is one already.
///
/// # Errors
/// There is no such file to be had; nothing that joins a container may be done then.
pub fn seal() -> Result<(), VerbError> {
    let failed = |error| VerbError::system("protect", "this program's own file")(error);
    match sealed::is_sealed().map_err(failed)? {
        true => Ok(process::set_name(c"buntime").map_err(failed)?),
        false => Err(failed(sealed::run_again())),
    }
}

impl Runtime {
    /// The directory that is used when the caller names none: root's, or the user's own. The root of
    /// a user namespace is a user.
    #[must_use]
    pub fn default_root() -> PathBuf {
        let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        match (is_ordinary_user(), own) {
            (true, Some(dir)) => PathBuf::from(dir).join("buntime"),
            (true, None) => {
                let uid = rustix::process::geteuid().as_raw();
                PathBuf::from(format!("/tmp/buntime-{uid}"))
            }
            (false, _) => PathBuf::from("/run/buntime"),
        }
    }
}

/// Whether the caller is not the host's root.
#[must_use]
pub fn is_ordinary_user() -> bool {
    !rustix::process::geteuid().is_root() || namespace::is_in_user_namespace().unwrap_or(true)
}
