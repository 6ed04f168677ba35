//! The id maps of a container's own user namespace (user_namespaces(7)).

use std::fs;
use std::io;
use std::process::Command;

use oci_spec::runtime::{LinuxIdMapping, Spec};

use super::ContainerError;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct IdMaps {
    /// User ids: first inside, first outside, how many.
    pub uids: Vec<(u32, u32, u32)>,
    /// Group ids, likewise.
    pub gids: Vec<(u32, u32, u32)>,
}

impl IdMaps {
    pub(super) fn of(spec: &Spec, creates_namespace: bool) -> Result<IdMaps, ContainerError> {
        let linux = spec.linux().as_ref();
        let maps = IdMaps {
            uids: lines(linux.and_then(|linux| linux.uid_mappings().as_ref())),
            gids: lines(linux.and_then(|linux| linux.gid_mappings().as_ref())),
        };
        if !creates_namespace {
            return Ok(maps);
        }
        for (field, lines) in [("uidMappings", &maps.uids), ("gidMappings", &maps.gids)] {
            if !lines
                .iter()
                .any(|(inside, _, count)| *inside == 0 && *count > 0)
            {
                return Err(ContainerError::invalid(
                    format!("linux.{field}"),
                    "a new user namespace needs a mapping for the container's id 0",
                ));
            }
        }
        Ok(maps)
    }

    /// Writes the maps of the process `pid`, whose user namespace is new.
    pub(super) fn write(&self, pid: i32) -> Result<(), ContainerError> {
        let path = |name: &str| format!("/proc/{pid}/{name}");
        // Root of the namespace above may write any map, and anybody one of the own id alone.
        if !is_written(path("uid_map"), &self.uids)? {
            run_mapper("newuidmap", pid, &self.uids)?;
        }
        if is_written(path("gid_map"), &self.gids)? {
            return Ok(());
        }
        let own = rustix::process::getegid().as_raw();
        if !matches!(self.gids[..], [(_, outside, 1)] if outside == own) {
            return run_mapper("newgidmap", pid, &self.gids);
        }
        // The kernel takes the own group only from who gives setgroups up: dropping a group can
        // gain what a file denies to it.
        write(path("setgroups"), "deny")?;
        write(path("gid_map"), &text(&self.gids))
    }
}

/// Writes a map, unless the kernel does not let this process.
fn is_written(path: String, lines: &[(u32, u32, u32)]) -> Result<bool, ContainerError> {
    match fs::write(&path, text(lines)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(ContainerError::system("write", path)(error)),
    }
}

fn lines(mappings: Option<&Vec<LinuxIdMapping>>) -> Vec<(u32, u32, u32)> {
    let line =
        |mapping: &LinuxIdMapping| (mapping.container_id(), mapping.host_id(), mapping.size());
    mappings.into_iter().flatten().map(line).collect()
}

fn text(lines: &[(u32, u32, u32)]) -> String {
    let line = |(inside, outside, count): &(u32, u32, u32)| format!("{inside} {outside} {count}\n");
    lines.iter().map(line).collect()
}

fn write(path: String, text: &str) -> Result<(), ContainerError> {
    fs::write(&path, text).map_err(ContainerError::system("write", path))
}

/// The set-user-id programs of shadow, which know what /etc/subuid and /etc/subgid grant.
fn run_mapper(
    program: &'static str,
    pid: i32,
    lines: &[(u32, u32, u32)],
) -> Result<(), ContainerError> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for (inside, outside, count) in lines {
        command.args([inside, outside, count].map(u32::to_string));
    }
    let failed = |cause: io::Error| ContainerError::System {
        operation: "map ids with",
        object: format!("{program} (of Debian's package uidmap)"),
        source: cause,
    };
    let output = command.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(io::Error::other(said.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::{Cloned, clone, exit_now};
    use crate::sys::forked;

    /// This one, unless it is root.
    fn ordinary_user() -> u32 {
        match rustix::process::geteuid() {
            root if root.is_root() => 65_534,
            own => own.as_raw(),
        }
    }

    /// What the kernel has after an ordinary user wrote these maps for a process of its own.
    fn written_by_a_user(maps: &IdMaps, user: u32) -> String {
        forked::ask(|| {
            if rustix::process::geteuid().is_root() {
                crate::sys::process::become_ids(user, user).unwrap();
                // A changed identity hides /proc/PID from its owner.
                rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
                    .unwrap();
            }
            let flags = libc::CLONE_NEWUSER as u64;
            let (reading, writing) = rustix::pipe::pipe().unwrap();
            match clone(flags, None).unwrap() {
                Cloned::Child => {
                    drop(writing);
                    // Until the other end is gone.
                    let ended = rustix::io::read(&reading, &mut [0; 1]);
                    exit_now(i32::from(ended.is_err()))
                }
                Cloned::Parent { pid, .. } => {
                    let done = maps.write(pid).map_err(|error| error.to_string());
                    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
                    let seen = [read("uid_map"), read("gid_map"), read("setgroups")].concat();
                    drop(writing);
                    let words: Vec<&str> = seen.split_whitespace().collect();
                    format!("{done:?} {}", words.join(" "))
                }
            }
        })
    }

    #[test]
    fn a_user_maps_its_own_ids_without_help() {
        let user = ordinary_user();
        let maps = IdMaps {
            uids: vec![(0, user, 1)],
            gids: vec![(0, user, 1)],
        };
        let expected = format!("Ok(()) 0 {user} 1 0 {user} 1 deny");
        assert_eq!(written_by_a_user(&maps, user), expected);
    }

    #[test]
    fn a_user_does_not_map_another() {
        let maps = IdMaps {
            uids: vec![(0, 0, 1)],
            gids: vec![(0, 0, 1)],
        };
        let seen = written_by_a_user(&maps, ordinary_user());
        assert!(
            seen.starts_with("Err(") && seen.ends_with(" allow"),
            "{seen}"
        );
    }
}
