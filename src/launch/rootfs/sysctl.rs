//! `linux.sysctl`: which names a container may set, and the setting of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{RootfsError, filesystem};
use crate::launch::Failure;

/// One value and where it goes below /proc/sys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sysctl {
    pub name: String,
    pub path: PathBuf,
    pub value: String,
}

/// What the IPC namespace has of its own, besides `fs.mqueue`.
const OF_IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Reads `linux.sysctl`, in the order of the names.
pub(super) fn read(linux: Option<&Linux>) -> Result<Vec<Sysctl>, RootfsError> {
    let mut sysctls = Vec::new();
    for (key, sysctl) in asked(linux) {
        allowed(&sysctl.name, linux).map_err(|why| RootfsError::Sysctl {
            name: key.clone(),
            why,
        })?;
        sysctls.push(sysctl);
    }
    sysctls.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(sysctls)
}

fn asked(linux: Option<&Linux>) -> impl Iterator<Item = (&String, Sysctl)> {
    let asked = linux.and_then(|linux| linux.sysctl().as_ref());
    asked.into_iter().flatten().map(|(key, value)| {
        let name = dotted(key);
        let path = PathBuf::from("sys").join(swapped(&name));
        let value = value.clone();
        (key, Sysctl { name, path, value })
    })
}

/// A name whose first separator is a slash has slashes for dots and dots for slashes.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => swapped(name),
        _ => name.to_owned(),
    }
}

fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

fn allowed(name: &str, linux: Option<&Linux>) -> Result<(), &'static str> {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let own = |kind: LinuxNamespaceType| {
        let mut all = namespaces.into_iter().flatten();
        all.find(|namespace| namespace.typ() == kind)
    };
    let unless = |held: bool, why| if held { Ok(()) } else { Err(why) };
    // What a name begins with says whose it is, and it must not lead back to another's.
    if swapped(name)
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("a part of its name is empty or dots");
    }
    if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return unless(
            own(LinuxNamespaceType::Ipc).is_some(),
            "it needs an IPC namespace of the container's own",
        );
    }
    if name.starts_with("net.") {
        let isolated = own(LinuxNamespaceType::Network)
            .is_some_and(|found| found.path().as_ref().is_none_or(|path| !is_own_net(path)));
        return unless(
            isolated,
            "it needs a network namespace of the container's own",
        );
    }
    if name.starts_with("user.") {
        return unless(
            own(LinuxNamespaceType::User).is_some(),
            "it needs a user namespace of the container's own",
        );
    }
    match name {
        "kernel.hostname" => Err("the field hostname says this"),
        "kernel.domainname" => unless(
            own(LinuxNamespaceType::Uts).is_some(),
            "it needs a UTS namespace of the container's own",
        ),
        _ => Err("no namespace has it apart from the host"),
    }
}

/// Whether a path names the network namespace of the caller. What cannot be told is taken for it.
fn is_own_net(path: &std::path::Path) -> bool {
    let identity =
        |path: &std::path::Path| rustix::fs::stat(path).map(|found| (found.st_dev, found.st_ino));
    match (
        identity(path),
        identity(std::path::Path::new("/proc/self/ns/net")),
    ) {
        (Ok(one), Ok(own)) => one == own,
        _ => true,
    }
}

/// Sets every value. `proc` is a procfs of our own, if the container got one that can be written;
/// without it one is made that nobody else sees.
pub(super) fn write(sysctls: &[Sysctl], proc: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let own: OwnedFd;
    let proc = match proc {
        Some(proc) => proc,
        None => {
            own = filesystem::plain(c"proc", &[], 0).map_err(|cause| {
                Failure::new("mount", "a procfs to set linux.sysctl with", cause)
            })?;
            own.as_fd()
        }
    };
    for sysctl in sysctls {
        set(sysctl, proc).map_err(|cause| {
            Failure::new(
                "set",
                format!("the sysctl {} to {:?}", sysctl.name, sysctl.value),
                cause,
            )
        })?;
    }
    Ok(())
}

/// Sets the network's once more, in a network namespace that the calling process has entered since. Those of
/// interfaces are the other's.
pub fn set_of_network(linux: Option<&Linux>) -> Result<(), Failure> {
    let is_there = |name: &str| {
        let words: Vec<&str> = name.split('.').collect();
        match words[..] {
            ["net", _, "conf" | "neigh", interface, ..] => {
                ["all", "default", "lo"].contains(&interface)
            }
            ["net", ..] => true,
            _ => false,
        }
    };
    let sysctls = asked(linux).map(|(_, sysctl)| sysctl);
    let own: Vec<Sysctl> = sysctls.filter(|sysctl| is_there(&sysctl.name)).collect();
    write(&own, None)
}

/// No link and nothing mounted over the procfs leads the value somewhere else.
fn set(sysctl: &Sysctl, proc: BorrowedFd<'_>) -> io::Result<()> {
    let file = rustix::fs::openat2(
        proc,
        &sysctl.path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )?;
    let written = rustix::io::write(&file, sysctl.value.as_bytes())?;
    if written < sysctl.value.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "only a part of it was taken",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_slashes_keeps_the_dots_of_an_interface() {
        assert_eq!(dotted("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(
            dotted("net/ipv4/conf/eno2.100/rp_filter"),
            "net.ipv4.conf.eno2/100.rp_filter"
        );
        assert_eq!(
            swapped("net.ipv4.conf.eno2/100.rp_filter"),
            "net/ipv4/conf/eno2.100/rp_filter"
        );
    }
}
