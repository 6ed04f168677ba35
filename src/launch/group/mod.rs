//! The control group of one OCI container, on v1, hybrid and v2.
//!
//! [`Group::create`] makes the directories that `linux.cgroupsPath` names and writes every limit and
//! device rule before a process enters; [`Group::of`] is the same group in a later call of the
//! runtime, by what the state file keeps. Each field of `linux.resources` is held or refused by name.
//!
//! Trusts: the kernel's own files, and the state file, which only the runtime's user can write.
//! Never: follows a path out of the hierarchies, puts a container into a group that has processes,
//! or leaves a directory behind when it fails.

mod devices;
mod entry;
mod error;
mod fields;
mod files;
mod freeze;
mod layout;
mod made;
mod oom;
mod place;
mod procs;
mod record;
mod remove;
pub mod stats;
mod systemd;
mod taken;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxPids, LinuxResources};

pub use entry::{Entry, SubGroups};
pub use error::GroupError;
pub use oom::{Heard, OomEvents};
pub use record::{GroupRecord, HierarchyRecord};
pub use stats::Stats;
pub use systemd::ScopeRecord;

use layout::Layout;
use made::Made;
use place::Place;

/// What failed when a directory could not be made, in the words that callers of runc look for.
const MAKING: &str = "unable to apply cgroup configuration: making";

/// What a container asks for.
#[derive(Debug, Clone, Copy)]
pub struct GroupRequest<'a> {
    /// `linux.cgroupsPath`.
    pub path: Option<&'a Path>,
    /// The container's id, which names its group where no path does.
    pub id: &'a str,
    /// Whether the caller may lack the right to make groups, and a container without limits is to
    /// start all the same.
    pub rootless: bool,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// Have systemd make the group: the path is `SLICE:PREFIX:NAME` then.
    pub systemd: bool,
    /// Make none: the container stays where its caller is, and has no limits.
    pub disabled: bool,
    /// The configuration's annotations, among which may be properties of the unit.
    pub annotations: Option<&'a HashMap<String, String>>,
}

impl GroupRequest<'_> {
    /// Whether the container may do without a group: nobody insisted on one.
    fn tolerates(&self) -> bool {
        self.rootless && self.path.is_none_or(|path| path.as_os_str().is_empty())
    }
}

/// A container's group. Dropping it leaves the group in place: [`Group::remove`] it.
#[derive(Debug)]
pub struct Group {
    record: GroupRecord,
    /// Of a scope that is new.
    held: Option<Held>,
}

/// The place that is held in a scope until the container's first process is in it.
#[derive(Debug)]
struct Held {
    _place: systemd::Holder,
    /// The limit on processes that is one too high meanwhile, and where.
    pids: Option<(PathBuf, i64)>,
}

impl Group {
    /// Makes the group, with its limits.
    ///
    /// # Errors
    /// The kernel refused, or something asked for cannot be held here. Nothing is left then.
    pub fn create(request: &GroupRequest<'_>) -> Result<Group, GroupError> {
        if request.disabled {
            return Group::none(request);
        }
        if !request.systemd {
            let place = Place::of(request.path, request.id)?;
            let layout = Layout::of_this_host(&place)?;
            let (place, used) = taken::beside(place, request.id, &layout)?;
            if let Some((count, path)) = used {
                tracing::warn!(
                    "container's cgroup is not empty: {count} process(es) found in {}; this one \
                     gets a group of its own below, and ends when that whole group is ended",
                    path.display()
                );
            }
            return Group::make(request, &layout, &place);
        }
        let scope = systemd::Scope::start(request)?;
        let place = Place::of(Some(&scope.path), request.id)?;
        let made =
            Layout::of_this_host(&place).and_then(|layout| Group::make(request, &layout, &place));
        match made {
            Ok(mut group) => {
                group.record.scope = Some(scope.record);
                group.hold(scope.holder, request.resources)?;
                Ok(group)
            }
            Err(error) => {
                drop(scope.holder);
                // The failure is what the caller learns; an empty scope ends by itself.
                systemd::stop(&scope.record).err();
                Err(error)
            }
        }
    }

    /// No group, for a container that asks for nothing of one.
    fn none(request: &GroupRequest<'_>) -> Result<Group, GroupError> {
        let group = Group::of(&GroupRecord::default());
        let unheld = |controller, field: String| GroupError::Unheld {
            controller,
            field,
            why: "there is to be no control group (--cgroup-manager disabled)".to_owned(),
        };
        let Some(resources) = request.resources else {
            return Ok(group);
        };
        group.limit(resources).map_err(|error| match error {
            GroupError::Unheld {
                controller, field, ..
            } => unheld(controller, field),
            other => other,
        })?;
        // As elsewhere, an ordinary user opens no device that is closed to the user.
        match resources.devices() {
            Some(devices) if !devices.is_empty() && !request.rootless => {
                Err(unheld("devices", "devices".to_owned()))
            }
            _ => Ok(group),
        }
    }

    fn make(
        request: &GroupRequest<'_>,
        layout: &Layout,
        place: &Place,
    ) -> Result<Group, GroupError> {
        let mut made = Made::default();
        let record = match (&layout.v1[..], &layout.unified) {
            ([], Some(unified)) => v2::make(request, unified, place, &mut made)?,
            (v1, unified) => v1::make(request, v1, unified.as_ref(), place, &mut made)?,
        };
        let group = Group { record, held: None };
        if let Some(resources) = request.resources {
            group.limit(resources)?;
        }
        let given = request
            .resources
            .and_then(|resources| resources.devices().as_deref());
        group.hold_devices(given.unwrap_or_default(), request.rootless, true)?;
        made.keep();
        Ok(group)
    }

    /// The directories that [`Group::create`] is about to make and that are nobody's yet, to be
    /// recorded before: who is killed while making them leaves word of them.
    ///
    /// # Errors
    /// The path is none, or the kernel's tables could not be read.
    pub fn planned(request: &GroupRequest<'_>) -> Result<GroupRecord, GroupError> {
        if request.systemd || request.disabled {
            // A scope ends by itself with the process that holds its place.
            return Ok(GroupRecord::default());
        }
        let place = Place::of(request.path, request.id)?;
        let layout = Layout::of_this_host(&place)?;
        let (place, _) = taken::beside(place, request.id, &layout)?;
        let new = |hierarchy: &layout::Hierarchy| {
            let directory = hierarchy.directory(&place)?;
            (!directory.exists()).then_some(directory)
        };
        let v1 = layout.v1.iter().filter_map(|hierarchy| {
            Some(HierarchyRecord {
                controllers: hierarchy.controllers.clone(),
                path: new(hierarchy)?,
            })
        });
        Ok(GroupRecord {
            v1: v1.collect(),
            unified: layout.unified.as_ref().and_then(new),
            scope: None,
        })
    }

    /// Keeps the process that holds the place in a new scope, which is one more than the limit is for.
    fn hold(
        &mut self,
        place: systemd::Holder,
        resources: Option<&LinuxResources>,
    ) -> Result<(), GroupError> {
        let limit = resources.and_then(|resources| resources.pids().as_ref());
        let dir = self.record.v2().or_else(|| self.record.v1("pids"));
        let pids = match (dir, limit.map(LinuxPids::limit)) {
            (Some(dir), Some(limit @ 0..)) => Some((dir.to_owned(), limit)),
            _ => None,
        };
        if let Some((dir, limit)) = &pids {
            let more = limit.max(&1).saturating_add(1);
            files::set(dir, "pids.max", "pids.limit", more)?;
        }
        self.held = Some(Held {
            _place: place,
            pids,
        });
        Ok(())
    }

    /// The container's first process is in the group: what held its place there is let go.
    ///
    /// # Errors
    /// The limit on processes could not be set to what was asked for.
    pub fn entered(&mut self) -> Result<(), GroupError> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        let Some((dir, limit)) = &held.pids else {
            return Ok(());
        };
        files::set(dir, "pids.max", "pids.limit", fields::pids_max(*limit))
    }

    /// Moves a process of another group into this one, or into the group `below` it. For a process
    /// that could not be born there: the kernel lets nobody but root move between groups that are not
    /// both the mover's, and systemd may do it instead.
    ///
    /// # Errors
    /// The kernel or systemd refused.
    pub fn add(&self, pid: i32, sub: &SubGroups) -> Result<(), GroupError> {
        entry::add(&self.record, sub, pid)
    }

    /// Has the process `pid` of this group, which somebody has moved away, go on where it is frozen:
    /// on v1 a frozen process does not even die.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn take_back(&self, pid: i32) -> Result<(), GroupError> {
        freeze::take_back(&self.record, pid)
    }

    /// Changes what `resources` names and leaves the rest as it is. The list of devices, when there is
    /// one, replaces the one before.
    ///
    /// # Errors
    /// The kernel refused, or something asked for cannot be held here. What stands before it in the
    /// list of fields is changed by then.
    pub fn update(&self, resources: &LinuxResources, rootless: bool) -> Result<(), GroupError> {
        if let Some(scope) = &self.record.scope {
            let dir = self.record.v2();
            if let (Some(dir), Some(memory)) = (dir, resources.memory()) {
                v2::check(dir, memory)?;
            }
            systemd::update(scope, resources, dir)?;
        }
        self.limit(resources)?;
        match resources.devices() {
            Some(devices) => self.hold_devices(devices, rootless, false),
            None => Ok(()),
        }
    }

    fn limit(&self, resources: &LinuxResources) -> Result<(), GroupError> {
        match self.record.v2() {
            Some(_) => v2::apply(&self.record, resources),
            None => v1::apply(&self.record, resources),
        }
    }

    fn hold_devices(
        &self,
        devices: &[LinuxDeviceCgroup],
        rootless: bool,
        new: bool,
    ) -> Result<(), GroupError> {
        let rules = devices::rules(devices)?;
        match self.record.v2() {
            Some(_) => v2::devices(&self.record, &rules, rootless, new),
            None => v1::devices(&self.record, &rules, rootless, new),
        }
    }

    /// The group that `record` tells of.
    #[must_use]
    pub fn of(record: &GroupRecord) -> Group {
        Group {
            record: record.clone(),
            held: None,
        }
    }

    /// What the state file keeps.
    #[must_use]
    pub fn record(&self) -> &GroupRecord {
        &self.record
    }

    /// Opens what a process needs to be born into the group or to enter it. `sub` names groups below
    /// it; with `init`, the container's first process, a group that can take no process by itself is
    /// replaced by that one's.
    ///
    /// # Errors
    /// The group is gone, or there is no such group below it.
    pub fn entry(&self, sub: &SubGroups, init: Option<i32>) -> Result<Entry, GroupError> {
        entry::open(&self.record, sub, init)
    }

    /// Stops every process, and returns once they have.
    ///
    /// # Errors
    /// There is no group, or processes did not stop in ten seconds; they are let go on then.
    pub fn freeze(&self) -> Result<(), GroupError> {
        freeze::freeze(&self.record)
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// There is no group.
    pub fn thaw(&self) -> Result<(), GroupError> {
        freeze::thaw(&self.record)
    }

    /// Whether the group is frozen. One that is gone is not.
    ///
    /// # Errors
    /// The kernel's file could not be read.
    pub fn is_frozen(&self) -> Result<bool, GroupError> {
        freeze::is_frozen(&self.record)
    }

    /// Every process in the group and in groups below it, as this pid namespace numbers them.
    ///
    /// # Errors
    /// The kernel's files could not be read.
    pub fn processes(&self) -> Result<Vec<i32>, GroupError> {
        let Some(dir) = self.record.principal() else {
            return Ok(Vec::new());
        };
        let found = procs::all(dir)?;
        Ok(found.iter().map(|pid| pid.as_raw_nonzero().get()).collect())
    }

    /// Sends `signal` to every process in the group and below. `SIGKILL` reaches also what is frozen
    /// and what forks meanwhile, and this returns when nothing is left.
    ///
    /// # Errors
    /// [`GroupError::Populated`] when killed processes stay; or the kernel's files could not be used.
    pub fn kill(&self, signal: i32) -> Result<(), GroupError> {
        procs::signal(&self.record, signal)
    }

    /// Removes the group and all groups below it. Waits up to a second for processes to leave. A
    /// group that is gone is no error.
    ///
    /// # Errors
    /// [`GroupError::Populated`] when processes are still there.
    pub fn remove(&self) -> Result<(), GroupError> {
        if let Some(scope) = &self.record.scope
            && let Err(error) = systemd::stop(scope)
        {
            // Where systemd is not to be had any more, the group can be removed all the same.
            tracing::warn!(%error, "the scope is left to systemd");
        }
        remove::remove(self.record.directories())
    }

    /// What was used until now.
    ///
    /// # Errors
    /// A file of the kernel's could not be read.
    pub fn stats(&self) -> Result<Stats, GroupError> {
        stats::of(&self.record)
    }

    /// Begins to listen for processes killed for memory.
    ///
    /// # Errors
    /// There is no group that counts memory.
    pub fn oom_events(&self) -> Result<OomEvents, GroupError> {
        OomEvents::of(&self.record)
    }
}
