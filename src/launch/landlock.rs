//! The Landlock ruleset: which files a worker may use, checked by the kernel at each path.
//!
//! It is for the permissions of the plan, and stands below the mounts: what a mount hides is
//! hidden, what it shows is still held to these rules. A rule on a directory extends to
//! everything below it and nothing takes away again, so the list must already be exact.
//!
//! Trusts: the grants, and that the root they are opened in is the worker's final one.
//! Never: leaves a right out in silence. What the ABI does not offer is in the status.

use std::io;
use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde::Serialize;

use crate::policy::{Grant, Perm, PermSet};

/// What the kernel took on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LandlockStatus {
    /// The ABI that was used; 0 where Landlock is not there and nothing was enforced.
    pub abi: u32,
    /// Rules in the ruleset.
    pub rules: usize,
    /// What this ABI cannot hold, each as a phrase with the ABI that brings it.
    pub missing: Vec<&'static str>,
}

impl LandlockStatus {
    /// Whether everything that policies can ask of Landlock is held.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether nothing at all was enforced.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.abi == 0
    }
}

/// Why the ruleset is not in force. A process that got one must not run a worker's code.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A granted path could not be opened.
    #[error("opening {path} for its Landlock rule: {source}")]
    Open {
        /// The grant's path.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused a rule.
    #[error("adding the Landlock rule for {path}: {source}")]
    Rule {
        /// The grant's path.
        path: PathBuf,
        /// The reason, from the kernel or the crate.
        source: Box<RulesetError>,
    },
    /// The kernel refused the ruleset as a whole.
    #[error("{operation} the Landlock ruleset (ABI {abi}): {source}")]
    Ruleset {
        /// "creating" or "enforcing".
        operation: &'static str,
        /// The ABI that was asked for.
        abi: u32,
        /// The reason, from the kernel or the crate.
        source: Box<RulesetError>,
    },
    /// The kernel took the ruleset and enforces less than was asked.
    #[error("enforcing the Landlock ruleset (ABI {abi}): the kernel holds only a part of it")]
    NotFull {
        /// The ABI that was asked for.
        abi: u32,
    },
    /// no_new_privs is not set, so a setuid program could leave the ruleset behind.
    #[error("enforcing the Landlock ruleset: no_new_privs is not set on this thread")]
    PrivilegesCanGrow,
}

/// Restricts the calling thread, and all it will start, to `grants`. Every right of `abi` is
/// handled, so what no grant gives is refused. From ABI 6 on signals and abstract Unix sockets
/// end at this domain. With `deny_tcp` TCP (from ABI 10 also UDP) is refused altogether, for
/// workers without a network namespace of their own.
///
/// Paths are opened in the caller's root; a symbolic link at the end is followed. `abi` is what
/// [`super::features::Features`] found; 0 enforces nothing and says so.
///
/// # Errors
/// A path that is not there (any more), or a kernel that refuses. Nothing is enforced then.
pub fn restrict(
    grants: &[Grant],
    abi: u32,
    deny_tcp: bool,
) -> Result<LandlockStatus, LandlockError> {
    let ends = Ends {
        deny_tcp,
        signals: true,
        abstract_sockets: true,
        links: true,
    };
    prepare(grants, abi, ends)?.enforce()
}

/// What ends at the ruleset beside files. Signals and abstract sockets from ABI 6 on.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// TCP; from ABI 10 on also UDP.
    pub deny_tcp: bool,
    /// Signals to processes outside.
    pub signals: bool,
    /// Connections to abstract Unix sockets of processes outside.
    pub abstract_sockets: bool,
    /// Whether a granted path may lead over symbolic links.
    pub links: bool,
}

/// A ruleset whose paths are opened, and which nobody is held to yet.
#[derive(Debug)]
pub struct Fence {
    /// `None` where the kernel has no Landlock.
    ruleset: Option<RulesetCreated>,
    status: LandlockStatus,
}

/// Opens the paths of `grants`, as [`restrict`] does.
///
/// # Errors
/// A path that is not there, or a kernel that refuses.
pub fn prepare(grants: &[Grant], abi: u32, ends: Ends) -> Result<Fence, LandlockError> {
    if abi == 0 {
        return Ok(Fence {
            ruleset: None,
            status: LandlockStatus {
                abi,
                rules: 0,
                missing: missing(0, ends.deny_tcp),
            },
        });
    }
    let known = ABI::from(i32::try_from(abi).unwrap_or(i32::MAX));
    let failed = |operation| {
        move |source| LandlockError::Ruleset {
            operation,
            abi,
            source: Box::new(source),
        }
    };

    let mut ruleset = describe(known, ends)
        .and_then(Ruleset::create)
        .map_err(failed("creating"))?
        .no_new_privs(false);
    let mut rules = 0;
    for grant in grants {
        let opened = open(&grant.path, ends.links)?;
        let access = access(grant.perms, &opened, &grant.path, known);
        // A rule without a right is an error to the kernel, and would grant nothing anyway.
        if access.is_empty() {
            continue;
        }
        ruleset = ruleset
            .add_rule(PathBeneath::new(opened.fd, access))
            .map_err(|source| LandlockError::Rule {
                path: grant.path.clone(),
                source: Box::new(source),
            })?;
        rules += 1;
    }
    Ok(Fence {
        ruleset: Some(ruleset),
        status: LandlockStatus {
            abi,
            rules,
            missing: missing(abi, ends.deny_tcp),
        },
    })
}

impl Fence {
    /// Holds the calling thread, and all it will start, to the ruleset.
    ///
    /// # Errors
    /// no_new_privs is not set, or the kernel refuses. Nothing is enforced then.
    pub fn enforce(self) -> Result<LandlockStatus, LandlockError> {
        let Some(ruleset) = self.ruleset else {
            return Ok(self.status);
        };
        if !matches!(rustix::thread::no_new_privs(), Ok(true)) {
            return Err(LandlockError::PrivilegesCanGrow);
        }
        let abi = self.status.abi;
        let enforced = ruleset
            .restrict_self()
            .map_err(|source| LandlockError::Ruleset {
                operation: "enforcing",
                abi,
                source: Box::new(source),
            })?;
        match enforced.ruleset {
            RulesetStatus::FullyEnforced => Ok(self.status),
            _ => Err(LandlockError::NotFull { abi }),
        }
    }
}

/// A ruleset that handles everything `abi` knows, or an error where the kernel knows less.
fn describe(abi: ABI, ends: Ends) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let mut scopes = Scope::from_all(abi);
    for (ends, scope) in [
        (ends.signals, Scope::Signal),
        (ends.abstract_sockets, Scope::AbstractUnixSocket),
    ] {
        if !ends {
            scopes.remove(scope);
        }
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    let network = AccessNet::from_all(abi);
    if ends.deny_tcp && !network.is_empty() {
        ruleset = ruleset.handle_access(network)?;
    }
    Ok(ruleset)
}

/// What policies can ask of Landlock and `abi` does not have. Connecting to a Unix socket by its
/// path (ABI 9) is not among it: where a socket of the host could be shown, the system call filter
/// leaves no socket to connect with.
pub(super) fn missing(abi: u32, deny_tcp: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    let mut needs = |since, what| {
        if abi < since {
            missing.push(what);
        }
    };
    needs(1, "files and directories (ABI 1)");
    needs(
        2,
        "renames and links across directories, which are all refused (ABI 2)",
    );
    needs(3, "truncation of a file that may not be written (ABI 3)");
    if deny_tcp {
        needs(4, "TCP (ABI 4)");
    }
    needs(5, "ioctl on devices (ABI 5)");
    needs(
        6,
        "signals and abstract Unix sockets to the outside (ABI 6)",
    );
    missing
}

struct Opened {
    fd: std::os::fd::OwnedFd,
    directory: bool,
}

fn open(path: &Path, links: bool) -> Result<Opened, LandlockError> {
    let failed = |e: rustix::io::Errno| LandlockError::Open {
        path: path.to_owned(),
        source: e.into(),
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = match links {
        true => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        false => rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS),
    }
    .map_err(failed)?;
    let stat = rustix::fs::fstat(&fd).map_err(failed)?;
    Ok(Opened {
        fd,
        directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
    })
}

/// The language's permissions as the kernel's rights, for the kind of thing that was opened.
fn access(perms: PermSet, opened: &Opened, path: &Path, abi: ABI) -> BitFlags<AccessFs> {
    let mut access: BitFlags<AccessFs> = perms.iter().map(right).collect();
    if access.intersects(AccessFs::WriteFile) {
        access |= AccessFs::Truncate | AccessFs::ResolveUnix;
    }
    // Moving between directories asks this right of both, besides those to remove and to make.
    if perms.intersects(PermSet::WRITE_DIR) {
        access |= AccessFs::Refer;
    }
    if access.contains(AccessFs::ReadFile | AccessFs::WriteFile) && concerns_devices(path) {
        access |= AccessFs::IoctlDev;
    }
    access
        & if opened.directory {
            AccessFs::from_all(abi)
        } else {
            AccessFs::from_file(abi)
        }
}

fn right(perm: Perm) -> BitFlags<AccessFs> {
    match perm {
        Perm::ReadFile => AccessFs::ReadFile.into(),
        Perm::WriteFile => AccessFs::WriteFile.into(),
        Perm::Execute => AccessFs::Execute.into(),
        Perm::ReadDir => AccessFs::ReadDir.into(),
        // The name for a group; the group's members are in the set beside it.
        Perm::WriteDir => BitFlags::EMPTY,
        Perm::RemoveDir => AccessFs::RemoveDir.into(),
        Perm::RemoveFile => AccessFs::RemoveFile.into(),
        Perm::MakeChar => AccessFs::MakeChar.into(),
        Perm::MakeDir => AccessFs::MakeDir.into(),
        Perm::MakeReg => AccessFs::MakeReg.into(),
        Perm::MakeSock => AccessFs::MakeSock.into(),
        Perm::MakeFifo => AccessFs::MakeFifo.into(),
        Perm::MakeBlock => AccessFs::MakeBlock.into(),
        Perm::MakeSym => AccessFs::MakeSym.into(),
    }
}

/// Whether the rule covers /dev or something in it: devices elsewhere get no ioctl.
fn concerns_devices(path: &Path) -> bool {
    const DEVICES: &str = "/dev";
    path.starts_with(DEVICES) || Path::new(DEVICES).starts_with(path)
}

#[cfg(test)]
mod tests;
