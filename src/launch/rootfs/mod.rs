//! The root file system of an OCI container: its mounts, devices, masks, and the entry into it.
//!
//! Two halves. In the parent [`Rootfs::prepare`] reads and checks what config.json says, before
//! anything is made. In the child, in its new mount namespace, [`Rootfs::assemble`] mounts,
//! [`Assembled::pivot`] enters and [`Assembled::finish`] takes away what the container must not
//! have. Mounts are made detached, get their attributes, and are then attached to the descriptor
//! of their place, so that none of them is ever seen half made. A container that has its caller's
//! mount namespace has its mounts on one of its own there, [`RootMount`], which its end takes away.
//!
//! Trusts config.json, the host's paths and the kernel. Does not trust a single path inside the
//! root: each is resolved once, inside it, and used by its descriptor from then on. Never drops
//! capabilities, never changes ids, and never runs a hook; that is its caller's.

mod assemble;
mod attach;
mod bind;
mod cgroup;
mod copy_up;
mod devices;
mod filesystem;
mod fresh;
mod ids;
mod inside;
pub(in crate::launch) mod label;
mod nodes;
mod options;
mod pivot;
mod plan;
mod seal;
mod shared;
mod sources;
mod sysctl;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use self::inside::Inside;
pub use self::options::known_options;
use self::plan::Plan;
use self::shared::SharedRoot;
pub use self::shared::{RootMount, RootMountError};
pub(in crate::launch) use self::sysctl::set_of_network as set_network_sysctls;
use super::Failure;
use super::group::GroupRecord;

/// What the caller knows of the container and of the host.
#[derive(Debug, Clone)]
pub struct RootfsFacts {
    /// The container has a user namespace that is not the caller's, made or joined.
    pub user_namespace: bool,
    /// The container has a mount namespace that is not the caller's, made or joined.
    pub mount_namespace: bool,
    /// The container has a cgroup namespace that is not the caller's, made or joined.
    pub cgroup_namespace: bool,
    /// What a mount of the type cgroup shows.
    pub cgroups: Cgroups,
}

/// The control groups of the container, as the host shows them.
#[derive(Debug, Clone)]
pub enum Cgroups {
    /// There are none: a mount of the type cgroup is an empty directory that nobody can write.
    None,
    /// Hierarchies of version 1.
    V1(Vec<Hierarchy>),
    /// The one of version 2.
    V2 {
        /// Where the host has mounted it.
        mount: PathBuf,
        /// The container's group below it, if it is known.
        group: Option<PathBuf>,
    },
}

impl Cgroups {
    /// Those of a group that was made or found.
    #[must_use]
    pub fn of(group: &GroupRecord) -> Cgroups {
        if let Some(path) = group.v2() {
            return Cgroups::V2 {
                mount: CGROUP_MOUNT.into(),
                group: Some(path.to_owned()),
            };
        }
        if group.v1.is_empty() {
            return Cgroups::None;
        }
        let hierarchies = group.v1.iter().map(|hierarchy| {
            let controllers = &hierarchy.controllers;
            Hierarchy {
                name: controllers.trim_start_matches("name=").to_owned(),
                options: controllers.clone(),
                group: hierarchy.path.clone(),
            }
        });
        Cgroups::V1(hierarchies.collect())
    }
}

/// Where every distribution mounts control groups.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// One hierarchy of version 1.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// The name of its directory: `memory`, `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// Its mount options: `memory`, `cpu,cpuacct`, `name=systemd`; the last with a hierarchy
    /// that has no controller.
    pub options: String,
    /// The container's group in it, as the host shows it.
    pub group: PathBuf,
}

/// What config.json says of the root cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// There is no `root`.
    #[error("config.json has no root: it must name the container's root file system")]
    NoRoot,
    /// An entry of `mounts`.
    #[error("config.json: the mount on {}: {why}", target.display())]
    Mount {
        /// Its destination.
        target: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The source of a bind mount.
    #[error("cannot open the source {} of the mount on {}: {cause}", source_path.display(), target.display())]
    Source {
        /// Where it is on the host.
        source_path: PathBuf,
        /// Where it is to be shown.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The user namespace that an id-mapped mount, or a source out of the child's reach, needs.
    #[error("cannot make a user namespace for the mount on {}: {cause}", target.display())]
    Namespace {
        /// The mount's destination.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// An id-mapped mount.
    #[error(
        "cannot translate the owners in {} for the mount on {}: {cause}; not every file system \
         can have its owners translated, and only root can ask for it",
        source_path.display(), target.display()
    )]
    IdMap {
        /// Where it is on the host.
        source_path: PathBuf,
        /// Where it is to be shown.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// `linux.rootfsPropagation`.
    #[error(
        "config.json: linux.rootfsPropagation {0:?}: it is one of private, slave, shared and \
         unbindable, or one of them with an r before it"
    )]
    Propagation(String),
    /// An entry of `linux.devices`.
    #[error("config.json: the device {}: {why}", path.display())]
    Device {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Devices for a container with a user namespace.
    #[error("cannot make the devices of a container with a user namespace: {0}")]
    Nodes(io::Error),
    /// An entry of `linux.sysctl`.
    #[error("config.json: linux.sysctl: {name}: {why}")]
    Sysctl {
        /// Its name.
        name: String,
        /// Why it cannot be set.
        why: &'static str,
    },
    /// What needs a mount namespace.
    #[error(
        "config.json: {0} needs a mount namespace of the container's own: add one of type mount \
         to linux.namespaces"
    )]
    NoMountNamespace(&'static str),
    /// The root of a container that has the caller's mount namespace.
    #[error(
        "cannot mount the root file system {} in the caller's mount namespace: {cause}; with one \
         of type mount in linux.namespaces the container has its own",
        path.display()
    )]
    Shared {
        /// Where it is.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// A root file system that was read and checked, and is not there yet.
#[derive(Debug)]
pub struct Rootfs {
    plan: Plan,
    facts: RootfsFacts,
    /// Where it is to be mounted in the caller's namespace.
    shared: Option<SharedRoot>,
}

impl Rootfs {
    /// Reads what config.json says of the root, in the parent, before the clone, with one thread;
    /// and opens what the child could not by itself: id-mapped mounts, sources that only the
    /// caller can reach, and devices that only the caller can make. `bundle` is where relative
    /// paths start.
    ///
    /// # Errors
    /// What config.json asks for and cannot be, by name.
    pub fn prepare(spec: &Spec, bundle: &Path, facts: &RootfsFacts) -> Result<Rootfs, RootfsError> {
        let mut plan = Plan::read(spec, bundle)?;
        let shared = shared::open(&plan, facts)?;
        sources::open(&mut plan.mounts, spec, facts)?;
        nodes::make(&mut plan, spec, facts)?;
        Ok(Rootfs {
            plan,
            facts: facts.clone(),
            shared,
        })
    }
}

/// A root file system that stands and is not entered, or not finished.
pub struct Assembled {
    plan: Plan,
    facts: RootfsFacts,
    /// Whether the root is a mount that is the container's alone.
    has_mounts: bool,
    inside: Inside,
    /// What is the root of the process until it enters.
    outside: OwnedFd,
    /// Mounts that become read-only when everything in them is made.
    late: Vec<(OwnedFd, PathBuf)>,
    /// A procfs of our own that nothing covers and that can be written.
    proc: Option<OwnedFd>,
    /// /dev, where it is ours.
    dev: Option<OwnedFd>,
}

impl Assembled {
    /// The root: a descriptor of `O_PATH`, close-on-exec.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.inside.root()
    }

    /// The SELinux context of new mounts, where SELinux is enabled.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.plan.label.as_deref()
    }
}

fn failed(operation: &str, path: &Path) -> impl Fn(io::Error) -> Failure {
    move |cause| Failure::new(operation, path.display().to_string(), cause)
}

#[cfg(test)]
mod tests;
