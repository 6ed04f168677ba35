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
        // As the root of the namespace above any map can be written at once.
        match fs::write(path("uid_map"), text(&self.uids)) {
            Ok(()) => return write(path("gid_map"), &text(&self.gids)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => return Err(ContainerError::system("write", path("uid_map"))(error)),
        }
        if self.is_own_ids_only() {
            write(path("setgroups"), "deny")?;
            write(path("uid_map"), &text(&self.uids))?;
            return write(path("gid_map"), &text(&self.gids));
        }
        run_mapper("newuidmap", pid, &self.uids)?;
        run_mapper("newgidmap", pid, &self.gids)
    }

    /// Whether the caller needs nobody's help: one id each, its own.
    fn is_own_ids_only(&self) -> bool {
        let is_own = |lines: &[(u32, u32, u32)], own: u32| matches!(lines, [(_, outside, 1)] if *outside == own);
        is_own(&self.uids, rustix::process::geteuid().as_raw())
            && is_own(&self.gids, rustix::process::getegid().as_raw())
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
