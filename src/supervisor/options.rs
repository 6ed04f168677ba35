//! What a run was meant to be, after flags and configuration files were put
//! together.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::launch::Require;
use crate::oci::Network;
use crate::policy::Flags;

/// What is to be run.
#[derive(Debug, Clone)]
pub enum Program {
    /// Python code without a file, as of `-c` or standard input.
    Code {
        /// The source text.
        code: Vec<u8>,
        /// What stands in `sys.argv[0]`: `-c`, `-`, or the name of a pipe.
        name: OsString,
        /// The program's arguments.
        args: Vec<OsString>,
    },
    /// A Python script.
    Script {
        /// Its file.
        path: PathBuf,
        /// The program's arguments.
        args: Vec<OsString>,
    },
    /// Any program, found as a shell would find it.
    Command {
        /// Its name or path.
        name: OsString,
        /// Its arguments.
        args: Vec<OsString>,
    },
    /// The process that an OCI bundle names itself.
    OfBundle,
}

impl Program {
    /// The words of the command, for the log and the report. Code is not repeated.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let (name, args) = match self {
            Self::Code { name, args, .. } => (name.clone(), args),
            Self::Script { path, args } => (path.clone().into_os_string(), args),
            Self::Command { name, args } => (name.clone(), args),
            Self::OfBundle => return vec!["the bundle's process".to_owned()],
        };
        std::iter::once(&name)
            .chain(args)
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }
}

/// A policy by file or by the name of a shipped one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A JSON file.
    File(PathBuf),
    /// One of [`crate::policy::shipped_names`].
    Shipped(String),
}

/// Where the policy comes from.
#[derive(Debug, Clone, Default)]
pub struct PolicyChoice {
    /// The person's policies, lowest first. Without any, the flags are the policy,
    /// over the shipped `default`.
    pub policies: Vec<PolicySource>,
    /// Further layers that can only narrow, such as a project's own.
    pub narrowing: Vec<PolicySource>,
    /// The flags; `over_policy` is set from `policies`.
    pub flags: Flags,
    /// Flags of a project's configuration, all of which can only narrow.
    pub project: Flags,
    /// The file to write to what the run needed: what the flags allow, and what is there anyway, may be
    /// used then, and nothing is refused that the kernel would not refuse. Without `policies`.
    pub learn: Option<PathBuf>,
}

/// Which interpreter, root and directories the program gets.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment that was asked for, beside the clean one.
    pub env: Vec<(OsString, OsString)>,
    /// The program's working directory.
    pub workdir: Option<PathBuf>,
    /// The Python interpreter.
    pub python: Option<PathBuf>,
    /// A virtual environment, read-only.
    pub venv: Option<PathBuf>,
    /// The only host directory that the program may write.
    pub out: Option<PathBuf>,
    /// Whether that directory may have contents at the start.
    pub out_keep: bool,
    /// The interfaces, in the place of what the bundle chooses.
    pub network: Option<Network>,
    /// The port inside of the proxy, 8080 unless given; 0 for none.
    pub proxy_port: Option<u16>,
    /// An OCI bundle in place of the built-in one.
    pub bundle: Option<PathBuf>,
    /// A root file system in place of one assembled from the host.
    pub rootfs: Option<PathBuf>,
}

/// Whether the program gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TerminalChoice {
    /// When the caller's standard input and output are one.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// Whether the person at the terminal is asked where the policy says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AskChoice {
    /// Where there is a terminal.
    #[default]
    Auto,
    /// Never: what should be asked is denied.
    Never,
}

/// One run in the foreground.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What is run.
    pub program: Program,
    /// Under which policy.
    pub policy: PolicyChoice,
    /// In which surroundings.
    pub surroundings: Surroundings,
    /// Whether the program gets a terminal.
    pub terminal: TerminalChoice,
    /// Whether the person at it is asked.
    pub ask: AskChoice,
    /// What has to hold before the program may start.
    pub require: Require,
    /// Whether what cannot be carried exactly here is carried more strictly, or left out, and said.
    pub allow_degraded: bool,
    /// The file of the report.
    pub report: Option<PathBuf>,
    /// The file of the event log, which is appended to.
    pub events: Option<PathBuf>,
    /// The name by which other processes of this user find the run while it lives; its session's where
    /// there is none.
    pub name: Option<String>,
    /// Keep the program's output in memory and give it back with the result.
    pub capture: bool,
}
