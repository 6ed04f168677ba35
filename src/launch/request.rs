//! What a caller asks of the launch, complete before anything is touched.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use super::bare::BareRequest;
use super::demand::Require;
use super::doors::Asked;
use super::enforced::Mechanism;
use super::features::Features;
use super::link::Subnet;
use super::rlimits::AskedLimit;
use crate::policy::{NetPlan, Plan, Policy};

/// Everything that one launch needs.
#[derive(Debug)]
pub struct LaunchRequest {
    /// The compiled policy.
    pub plan: Plan,
    /// The resolved policy, by which calls are answered; there where the plan has an interceptor.
    pub oracle: Option<Policy>,
    /// What the root holds before the policy's binds, in order.
    pub pieces: Vec<Piece>,
    /// The program.
    pub program: Program,
    /// The channel to a worker, if the program speaks it.
    pub channel: Option<ChannelRequest>,
    /// The port inside where programs find a proxy; there where the plan has an egress plane.
    pub proxy: Option<u16>,
    /// An interface beside the loopback, and what addresses it has; there where the plan has an egress plane.
    pub link: Option<Subnet>,
    /// What descriptors 0 to 2 become.
    pub stdio: StdioRequest,
    /// What this host can do, as probed.
    pub features: Features,
    /// The host name inside.
    pub hostname: String,
    /// The file mode creation mask of the program.
    pub umask: u32,
    /// Paths that are covered (`linux.maskedPaths` of the bundle).
    pub masked_paths: Vec<String>,
    /// Paths that are remounted read-only (`linux.readonlyPaths` of the bundle).
    pub readonly_paths: Vec<String>,
    /// Resource limits that the bundle asks for beside the policy's.
    pub rlimits: Vec<AskedLimit>,
    /// What the bundle asks for and how far that is carried, for the report.
    pub remarks: Vec<Mechanism>,
    /// What has to hold before the program may start.
    pub require: Require,
    /// Whether a limit that nothing holds here is left out, and said, in place of refusing the start.
    pub allow_degraded: bool,
    /// Set for a launch without namespaces; of the pieces nothing is used then.
    pub bare: Option<BareRequest>,
}

impl LaunchRequest {
    /// Which doors to the egress plane there are.
    pub(super) fn doors(&self) -> Option<Asked> {
        (self.plan.net == NetPlan::Egress).then_some(Asked {
            proxy: self.proxy,
            datagrams: self.plan.datagrams,
            link: self.link,
        })
    }
}

/// The program and what it starts with.
#[derive(Debug, Clone)]
pub struct Program {
    /// Absolute path inside the root.
    pub path: PathBuf,
    /// The arguments, the program's own name first.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory inside the root; made if nothing else makes it.
    pub cwd: PathBuf,
}

/// The channel's two ends as the worker sees them.
#[derive(Debug, Clone)]
pub struct ChannelRequest {
    /// Size of the segment in bytes.
    pub segment_bytes: u64,
    /// Where the segment stands inside the root.
    pub segment: PathBuf,
    /// Where the control socket stands inside the root; its name is random.
    pub socket: PathBuf,
}

/// What the program's standard descriptors are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioRequest {
    /// Three pipes.
    Pipes,
    /// A pseudo-terminal of the sandbox's own.
    Terminal {
        /// Whether descriptor 2 is a pipe all the same.
        stderr_is_pipe: bool,
        /// Height in character cells.
        rows: u16,
        /// Width in character cells.
        columns: u16,
    },
}

/// One thing in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A directory, empty.
    Dir {
        /// Where it stands.
        path: PathBuf,
    },
    /// A symbolic link.
    Link {
        /// Where it stands.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A regular file with these bytes, read-only for the worker.
    File {
        /// Where it stands.
        path: PathBuf,
        /// The content.
        bytes: Cow<'static, [u8]>,
    },
    /// A host path, shown at `path`.
    Bind {
        /// The path on the host.
        source: PathBuf,
        /// The path inside.
        path: PathBuf,
        /// Whether the source is a directory.
        dir: bool,
        /// Whether it can be written.
        writable: bool,
        /// Whether programs run and code is mapped from it.
        executable: bool,
        /// Whether a source that does not exist is passed over.
        optional: bool,
    },
    /// A private file system in memory that the worker may write.
    Tmpfs {
        /// Where it stands.
        path: PathBuf,
        /// Its size in bytes; it holds one inode for each 4 KiB.
        bytes: u64,
        /// Whether programs run from it.
        executable: bool,
    },
    /// A process file system of the sandbox's own pid namespace.
    Proc {
        /// Where it stands.
        path: PathBuf,
    },
    /// The minimal /dev: a small file system for libcontainer's device nodes, with devpts and shm.
    Dev {
        /// Where it stands.
        path: PathBuf,
        /// Size of its `shm` in bytes.
        shm_bytes: u64,
    },
    /// POSIX message queues of the sandbox's own ipc namespace.
    Mqueue {
        /// Where it stands.
        path: PathBuf,
    },
}
