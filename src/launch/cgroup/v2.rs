//! A group in the one hierarchy of cgroup2.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::v1::is_not_permitted;
use super::{
    CPU_PERIOD_US, CgroupError, CgroupUsage, Held, Hierarchies, OWN_PROCESSES, SWAPS, cpu_quota_us,
    overwrite, read_number, remove_group, swaps_freely, write,
};
use crate::policy::Limits;

/// The group and a descriptor of its directory, into which a process is cloned.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    dir: OwnedFd,
    held: Held,
}

impl Group {
    /// Makes a group below `own`, or beside it where `own` has processes: a group with
    /// processes hands no controllers down. `None` where neither is allowed.
    pub(super) fn create(
        own: &Hierarchies,
        name: &str,
        limits: &Limits,
    ) -> Result<Option<Group>, CgroupError> {
        let wanted = Held::wanted(limits);
        // Only the own group is asked to hand down more; its parent is somebody else's.
        let places = [(&own.unified, true), (&own.above, false)];
        for (parent, ask) in places {
            let Some(parent) = parent else { continue };
            let held = handed_down(parent, wanted, ask);
            if !held.any() {
                continue;
            }
            if let Some(group) = Group::create_in(parent, name, limits, held)? {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Makes `parent/name` with the limits that `held` names.
    pub(super) fn create_in(
        parent: &Path,
        name: &str,
        limits: &Limits,
        held: Held,
    ) -> Result<Option<Group>, CgroupError> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if is_not_permitted(&error) => return Ok(None),
            Err(error) => return Err(CgroupError::io("making the control group", &path)(error)),
        }
        match limit(&path, limits, held).and_then(|()| open(&path)) {
            Ok(dir) => {
                let swaps_freely = held.memory && swaps_freely(&path, SWAP_LIMIT, SWAPS);
                let held = Held {
                    swaps_freely,
                    ..held
                };
                Ok(Some(Group { path, dir, held }))
            }
            Err(error) => {
                remove_group(&path)?;
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    pub(super) fn exceeded(&self) -> Vec<&'static str> {
        let hit = |file, key| read_number(&self.path, file, key) > Some(0);
        let mut exceeded = Vec::new();
        if hit("memory.events", "oom_kill") {
            exceeded.push("memory");
        }
        if hit("pids.events", "max") {
            exceeded.push("pids");
        }
        exceeded
    }

    pub(super) fn usage(&self) -> CgroupUsage {
        CgroupUsage {
            memory_peak: read_number(&self.path, "memory.peak", ""),
            cpu: read_number(&self.path, "cpu.stat", "usage_usec").map(Duration::from_micros),
            pids_peak: read_number(&self.path, "pids.peak", ""),
        }
    }
}

/// Which of the wanted controllers children of `parent` have; with `ask`, after asking for those
/// that are missing. Asking fails where the kernel or the owner forbids it, so that what came of
/// it is read back.
fn handed_down(parent: &Path, wanted: Held, ask: bool) -> Held {
    let control = parent.join("cgroup.subtree_control");
    let read = || fs::read_to_string(&control).unwrap_or_default();
    let has = |text: &str| {
        let names: Vec<&str> = text.split_whitespace().collect();
        let both = |want, name| want && names.contains(&name);
        Held {
            memory: both(wanted.memory, "memory"),
            pids: both(wanted.pids, "pids"),
            cpus: both(wanted.cpus, "cpu"),
            swaps_freely: false,
        }
    };
    let mut held = has(&read());
    if !ask {
        return held;
    }
    let missing = [
        (wanted.memory && !held.memory, "+memory"),
        (wanted.pids && !held.pids, "+pids"),
        (wanted.cpus && !held.cpus, "+cpu"),
    ];
    let mut asked = false;
    for (_, controller) in missing.iter().filter(|(missing, _)| *missing) {
        asked |= overwrite(&control, controller).is_ok();
    }
    if asked {
        held = has(&read());
    }
    held
}

/// Swap alone.
const SWAP_LIMIT: &str = "memory.swap.max";

fn limit(group: &Path, limits: &Limits, held: Held) -> Result<(), CgroupError> {
    if let (true, Some(bytes)) = (held.memory, limits.memory) {
        write(group, "memory.max", bytes)?;
        // All or nothing: half a sandbox after an out-of-memory kill is no state to go on from.
        write(group, "memory.oom.group", 1)?;
        // Not there where the kernel has no swap, and nothing to forbid; or does not count it.
        if group.join(SWAP_LIMIT).exists() {
            write(group, SWAP_LIMIT, 0)?;
        }
    }
    if let (true, Some(pids)) = (held.pids, limits.pids) {
        write(group, "pids.max", pids.saturating_add(OWN_PROCESSES))?;
    }
    if let (true, Some(cpus)) = (held.cpus, limits.cpus) {
        write(
            group,
            "cpu.max",
            format_args!("{} {CPU_PERIOD_US}", cpu_quota_us(cpus)),
        )?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, CgroupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| CgroupError::io("opening the control group", path)(error.into()))
}
