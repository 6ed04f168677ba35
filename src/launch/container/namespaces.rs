//! Which namespaces a container has of its own, which it joins, and in what order.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::ContainerError;
use crate::launch::Failure;
use crate::sys::namespace::{self, CLONE_NEWTIME};

/// One bit each, as clone(2) names them.
pub(super) mod kind {
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    pub const TIME: u64 = super::CLONE_NEWTIME;
}

/// A namespace that exists already.
#[derive(Debug)]
pub(super) struct Joined {
    pub kind: u64,
    pub path: PathBuf,
    handle: OwnedFd,
}

impl Joined {
    fn enter(&self) -> io::Result<()> {
        namespace::enter(self.handle.as_fd(), self.kind)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Those that are made new.
    pub created: u64,
    /// Those that are joined, the user namespace first and the mount namespace last: after it
    /// nothing of the host is in sight.
    pub joined: Vec<Joined>,
}

fn kind_of(typ: LinuxNamespaceType) -> u64 {
    match typ {
        LinuxNamespaceType::User => kind::USER,
        LinuxNamespaceType::Mount => kind::MOUNT,
        LinuxNamespaceType::Pid => kind::PID,
        LinuxNamespaceType::Network => kind::NETWORK,
        LinuxNamespaceType::Ipc => kind::IPC,
        LinuxNamespaceType::Uts => kind::UTS,
        LinuxNamespaceType::Cgroup => kind::CGROUP,
        LinuxNamespaceType::Time => kind::TIME,
    }
}

impl Namespaces {
    /// Opens what is joined.
    pub(super) fn of(linux: Option<&Linux>) -> Result<Namespaces, ContainerError> {
        let mut namespaces = Namespaces::default();
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        for listed in listed.unwrap_or_default() {
            let kind = kind_of(listed.typ());
            if namespaces.has(kind) {
                return Err(ContainerError::invalid(
                    "linux.namespaces",
                    format!("{} is listed twice; take one out", listed.typ()),
                ));
            }
            match listed.path() {
                None => namespaces.created |= kind,
                Some(path) if path.as_os_str().is_empty() => namespaces.created |= kind,
                Some(path) => namespaces.joined.push(open(kind, path)?),
            }
        }
        namespaces.joined.sort_by_key(|joined| match joined.kind {
            kind::USER => 0,
            kind::MOUNT => 2,
            _ => 1,
        });
        Ok(namespaces)
    }

    /// Whether the container has one of `kind` that is not the caller's.
    pub(super) fn has(&self, kind: u64) -> bool {
        self.creates(kind) || self.joins(kind)
    }

    pub(super) fn creates(&self, kind: u64) -> bool {
        self.created & kind != 0
    }

    pub(super) fn joins(&self, kind: u64) -> bool {
        self.joined.iter().any(|joined| joined.kind == kind)
    }

    /// A handle of the namespace of `kind` that is joined, if one is.
    pub(super) fn handle(&self, kind: u64) -> Result<Option<File>, ContainerError> {
        let joined = self.joined.iter().find(|joined| joined.kind == kind);
        let handle = joined.map(|joined| joined.handle.try_clone().map(File::from));
        handle
            .transpose()
            .map_err(ContainerError::system("duplicate", "a namespace's handle"))
    }

    /// Whether one process must go ahead of the container's first: to join a namespace that only
    /// its children are in, to join one before its own user namespace takes the rights away, or
    /// to set clocks that no process may be in yet.
    pub(super) fn need_forerunner(&self) -> bool {
        let others = !self.joined.is_empty();
        self.joins(kind::USER)
            || self.joins(kind::PID)
            || self.joins(kind::TIME)
            || self.creates(kind::USER) && others
            || self.creates(kind::TIME)
    }

    /// Joins all that `wanted` says, in order; what is refused for lack of rights is given back,
    /// to be tried again from another user namespace.
    pub(super) fn join(&self, wanted: impl Fn(u64) -> bool) -> Result<Vec<&Joined>, Failure> {
        let mut refused = Vec::new();
        for joined in self.joined.iter().filter(|joined| wanted(joined.kind)) {
            match joined.enter() {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused.push(joined),
                Err(error) => return Err(not_joined(joined, &error)),
            }
        }
        Ok(refused)
    }

    /// Joins what was refused before.
    pub(super) fn join_again(refused: &[&Joined]) -> Result<(), Failure> {
        for joined in refused {
            joined.enter().map_err(|error| not_joined(joined, &error))?;
        }
        Ok(())
    }
}

fn not_joined(joined: &Joined, error: &io::Error) -> Failure {
    Failure::new(
        "join the namespace",
        joined.path.display().to_string(),
        error,
    )
}

fn open(kind: u64, path: &Path) -> Result<Joined, ContainerError> {
    let file = File::open(path).map_err(|source| ContainerError::System {
        operation: "open the namespace",
        object: path.display().to_string(),
        source,
    })?;
    Ok(Joined {
        kind,
        path: path.to_owned(),
        handle: file.into(),
    })
}
