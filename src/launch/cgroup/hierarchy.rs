//! Where this process stands in each hierarchy, as a directory that can be opened.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, Held};
use crate::sys::mountinfo;

/// The caller's own group in the hierarchies that matter. Written as "v1", "hybrid", "v2" or
/// "none", which says nothing about permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1: the memory controller's.
    pub(super) memory: Option<PathBuf>,
    /// v1: the pids controller's.
    pub(super) pids: Option<PathBuf>,
    /// v1: the cpu controller's.
    pub(super) cpu: Option<PathBuf>,
    /// cgroup2, alone or beside v1.
    pub(super) unified: Option<PathBuf>,
    /// cgroup2: the group above, where the mount shows it.
    pub(super) above: Option<PathBuf>,
}

impl Hierarchies {
    /// As /proc shows them now.
    ///
    /// # Errors
    /// /proc does not show the calling process.
    pub fn of_this_process() -> Result<Hierarchies, CgroupError> {
        let read =
            |path| fs::read_to_string(path).map_err(CgroupError::io("reading", Path::new(path)));
        Ok(Hierarchies::parse(
            &read("/proc/self/cgroup")?,
            &read("/proc/self/mountinfo")?,
        ))
    }

    /// `membership` is /proc/self/cgroup, `mounts` /proc/self/mountinfo (see proc(5)).
    pub(super) fn parse(membership: &str, mounts: &str) -> Hierarchies {
        let mut own = Hierarchies::default();
        for mount in Mount::all(mounts) {
            let find = |controller: &str| mount.locate(own_path(membership, controller)?);
            if mount.unified {
                if own.unified.is_none() {
                    own.unified = find("");
                    // What is above the mount's root is a folder of another file system.
                    let inner = own.unified.as_ref().filter(|path| **path != mount.point);
                    own.above = inner.and_then(|path| path.parent()).map(Path::to_owned);
                }
                continue;
            }
            for controller in mount.controllers.split(',') {
                let place = match controller {
                    "memory" => &mut own.memory,
                    "pids" => &mut own.pids,
                    "cpu" => &mut own.cpu,
                    _ => continue,
                };
                *place = place.take().or_else(|| find(controller));
            }
        }
        own
    }

    /// Whether v1 has a controller for something of `wanted`.
    pub(super) fn controls(&self, wanted: Held) -> bool {
        wanted.memory && self.memory.is_some()
            || wanted.pids && self.pids.is_some()
            || wanted.cpus && self.cpu.is_some()
    }

    /// Every directory in which a group of ours can be.
    pub(in crate::launch) fn places(&self) -> Vec<PathBuf> {
        let mut places: Vec<PathBuf> = [&self.memory, &self.pids, &self.cpu]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        places.extend([&self.unified, &self.above].into_iter().flatten().cloned());
        places.sort();
        places.dedup();
        places
    }

    pub(in crate::launch) fn describe(&self) -> &'static str {
        let v1 = self.memory.is_some() || self.pids.is_some() || self.cpu.is_some();
        match (v1, self.unified.is_some()) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "none",
        }
    }
}

impl serde::Serialize for Hierarchies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.describe())
    }
}

/// One mounted hierarchy.
pub(in crate::launch) struct Mount {
    /// The group that the mount shows as its root.
    root: PathBuf,
    /// Where it is mounted.
    pub(in crate::launch) point: PathBuf,
    /// Whether it is cgroup2's.
    pub(in crate::launch) unified: bool,
    /// v1: names of its controllers, with commas, among the mount options.
    pub(in crate::launch) controllers: String,
}

impl Mount {
    /// The hierarchies' mounts of a mountinfo.
    pub(in crate::launch) fn all(list: &str) -> impl Iterator<Item = Mount> {
        mountinfo::mounts(list.as_bytes()).filter_map(|mount| {
            let unified = match mount.kind {
                b"cgroup" => false,
                b"cgroup2" => true,
                _ => return None,
            };
            let controllers = String::from_utf8_lossy(mount.options_of_all).into_owned();
            Some(Mount {
                root: mount.root,
                point: mount.point,
                unified,
                controllers,
            })
        })
    }

    /// The directory of the group `path`, when the mount shows it.
    pub(in crate::launch) fn locate(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // Outside of the caller's cgroup namespace the path begins with "/..".
        let escapes = below
            .components()
            .any(|c| !matches!(c, std::path::Component::Normal(_)));
        (!escapes).then(|| match below.as_os_str().is_empty() {
            true => self.point.clone(),
            false => self.point.join(below),
        })
    }
}

/// The lines of /proc/self/cgroup: the controllers of a hierarchy, with commas, and the path of the
/// group in it. cgroup2 has no controllers there.
pub(in crate::launch) fn memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

/// The path of the line that names `controller`; the empty one names cgroup2.
fn own_path<'a>(membership: &'a str, controller: &str) -> Option<&'a str> {
    memberships(membership)
        .find(|(names, _)| names.split(',').any(|name| name == controller))
        .map(|(_, path)| path)
}
