//! The two values on either side of the compiler: a snapshot of the world, and the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::limits::{Limits, Plugins};
use super::perm::{Grant, Perm, PermSet};
use super::request::RuleRef;

/// Where the channel and the worker's own program are.
pub const CHANNEL: &str = "/run/buntime";

/// Where every worker has its own or nothing, and no directory of the host stands in for it.
pub const OWN_PLACES: [&str; 5] = ["/dev", "/proc", "/sys", "/tmp", CHANNEL];

/// Where systems keep their dynamic loaders, as programs name them.
pub const LOADERS: [&str; 7] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib64/ld-linux-aarch64.so.1",
    "/lib/ld-linux.so.2",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// What a path is at the moment of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Nothing is there.
    Missing,
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A device, a socket or a named pipe.
    Other,
}

/// One path of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it is, after following symbolic links.
    pub kind: EntryKind,
    /// How many hard links it has.
    pub links: u64,
    /// Whether the bundle's root shows it without any rule.
    pub in_bundle: bool,
    /// The path after symbolic links; of a missing path, its existing part resolved.
    #[serde(serialize_with = "super::lossy::path")]
    pub real: PathBuf,
}

/// How something can be reached by another name than its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alias {
    /// Upper and lower case make no difference to its name, or to one on the way there.
    Case,
    /// Upper and lower case make no difference to the names in a directory.
    CaseWithin {
        /// It, or something below it.
        at: PathBuf,
    },
    /// The host shows it, or something in it, at another place too.
    Mount {
        /// What it shows.
        of: PathBuf,
        /// Where it shows that.
        at: PathBuf,
    },
    /// It has several hard links on a file system that may give each of them an inode of its own.
    HardLinks,
}

/// A plain snapshot of what compilation needs to know about the host and the bundle, so that
/// the policy itself never looks.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The paths of [`Policy::literal_paths`](super::Policy::literal_paths), and others that are known.
    pub entries: BTreeMap<PathBuf, Entry>,
    /// Of these paths, the names that they lead through by symbolic links, each of which begins with one.
    pub through: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Of these paths, those that can be reached by other names too.
    pub aliases: BTreeMap<PathBuf, Vec<Alias>>,
    /// The bundle's own writable places: small private file systems such as `/tmp`.
    pub private: Vec<PathBuf>,
    /// Whether namespaces can be created; without them nothing can be mounted or masked.
    pub namespaces: bool,
    /// The Landlock ABI of the kernel; 0 without Landlock.
    pub landlock_abi: u32,
    /// The program named on the command line, or the worker's interpreter, without symbolic links.
    pub command: Option<PathBuf>,
    /// What the kernel itself runs on the way to a program: ld.so, interpreters of scripts.
    pub loaders: Vec<PathBuf>,
    /// Programs inside the bundle's library directories.
    pub helpers: Vec<PathBuf>,
    /// For a container, whose root is there already and is not put together by the plan.
    pub container: Option<Contained>,
}

/// What a container's root has that is not its image's own to give.
#[derive(Debug, Clone, Default)]
pub struct Contained {
    /// Where something of the host is mounted: there only what a rule names is allowed.
    pub volumes: Vec<PathBuf>,
    /// Other paths at which what the bundle allows ends.
    pub closed: Vec<PathBuf>,
}

impl World {
    /// Whether the path is, or lies in, something of the host that a container was given.
    pub(super) fn in_volume(&self, path: &Path) -> bool {
        let mut volumes = self
            .container
            .iter()
            .flat_map(|container| &container.volumes);
        volumes.any(|volume| path.starts_with(volume))
    }
}

/// What the launch has to do so that the kernel agrees with the policy.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Host paths to show, parents first.
    pub binds: Vec<Bind>,
    /// Symbolic links that rules name and whose targets are shown.
    pub links: Vec<Link>,
    /// Paths to take away after all binds are made, parents first.
    pub masks: Vec<Mask>,
    /// Names at which nothing may come to be while it runs, that the host could put there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// The Landlock ruleset, parents first.
    pub landlock: Vec<Grant>,
    /// Private places that must not be mounted noexec, because the policy lets code run there.
    #[serde(serialize_with = "super::lossy::paths")]
    pub private_executable: Vec<PathBuf>,
    /// Which programs may run.
    pub exec: ExecPlan,
    /// Which network there is.
    pub net: NetPlan,
    /// Whether UDP may leave too, where the policy lets it.
    pub datagrams: bool,
    /// System calls that fail with EPERM, sorted.
    pub deny_syscalls: Vec<String>,
    /// What is decided as each call is made; `None` where no rule needs that.
    pub intercept: Option<Intercept>,
    /// What the run may use.
    pub limits: Limits,
    /// How each rule is enforced.
    pub mechanisms: Vec<RuleMechanism>,
    /// The isolation without which the start must fail.
    pub required: Plugins,
}

/// What only a live decision can carry. The calls that need one of these permissions are answered by
/// the interceptor, and no mask and no Landlock rule speaks of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Intercept {
    /// The permissions. With execute among them each execution is decided too.
    pub perms: PermSet,
    /// Files with several hard links of which a rule says more than of their other names, so that
    /// the file itself is recognised under any name.
    #[serde(serialize_with = "super::lossy::paths")]
    pub linked: Vec<PathBuf>,
    /// What the kernel runs on the way to the program.
    #[serde(skip)]
    pub loaders: Vec<PathBuf>,
}

impl Intercept {
    /// Whether each execution is decided as it is made.
    #[must_use]
    pub fn decides_executions(&self) -> bool {
        self.perms.contains(Perm::Execute)
    }

    /// Whether each call that takes the name of a Unix socket is decided as it is made.
    #[must_use]
    pub fn decides_named_sockets(&self) -> bool {
        self.perms.intersects(PermSet::NAMED_SOCKETS)
    }
}

/// A host path that is shown at the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// The path, on the host and inside.
    #[serde(serialize_with = "super::lossy::path")]
    pub path: PathBuf,
    /// Whether it is mounted read-write.
    pub writable: bool,
    /// Whether programs may be run and code mapped from it; noexec otherwise.
    pub executable: bool,
    /// Whether it is a directory.
    pub dir: bool,
}

/// A symbolic link to make in the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where it stands.
    #[serde(serialize_with = "super::lossy::path")]
    pub path: PathBuf,
    /// The absolute path it leads to.
    #[serde(serialize_with = "super::lossy::path")]
    pub target: PathBuf,
}

/// How a path is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// Covered by something without permissions.
    Hidden,
    /// Remounted read-only.
    ReadOnly,
    /// Remounted noexec.
    NoExec,
}

/// A path to take away. One path can have a `ReadOnly` and a `NoExec` mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// The path inside the root.
    #[serde(serialize_with = "super::lossy::path")]
    pub path: PathBuf,
    /// Whether it is a directory.
    pub dir: bool,
    /// How.
    pub kind: MaskKind,
    /// The rule that asks for it.
    pub rule: String,
}

/// A name of which a rule says less than of what is around it, at which nothing is, or a symbolic link.
/// The worker cannot put anything there, and what the host puts there would have the rights around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// The path inside the root.
    #[serde(serialize_with = "super::lossy::path")]
    pub path: PathBuf,
    /// The rule that asks for it.
    pub rule: String,
}

/// Which programs may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecPlan {
    /// The command, once, and nothing ever after.
    Once,
    /// The command, and these programs and what is in these directories.
    Programs(#[serde(serialize_with = "super::lossy::paths")] Vec<PathBuf>),
    /// Everything that is visible and executable.
    Any,
}

/// Which network there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetPlan {
    /// An empty namespace of its own, with loopback; without namespaces no internet socket.
    None,
    /// Not even loopback: no internet socket at all.
    Sealed,
    /// Loopback, and connections elsewhere, and flows of datagrams, that the egress plane makes where the
    /// policy lets it.
    Egress,
}

/// How one rule is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleMechanism {
    /// The rule.
    pub rule: RuleRef,
    /// The mechanism: `landlock`, `bind`, `hidden`, `exec once`, `empty network namespace`, ...
    pub mechanism: String,
}
