//! The control group of one sandbox: what holds memory, processes and processor time.
//!
//! [`Cgroup::create`] makes a group below (on v2 also beside) the caller's own, by plain reads
//! and writes; the launched process enters it before it does anything else. Machines differ: v1
//! hierarchies, cgroup2 or both at once, writable or not. What could not be had is said by
//! [`Cgroup::held`], and the launch refuses a limit that nothing else can hold.
//!
//! Trusts: the kernel's own files, found through /proc/self/cgroup and /proc/self/mountinfo.
//! Never: touches a group that Buntime did not make. A group's name carries its owner's pid
//! namespace, pid and start time, so [`sweep`] knows what a killed supervisor has left.

pub(super) mod hierarchy;
mod name;
pub(super) mod procs;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::fs;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::policy::Limits;
pub use hierarchy::Hierarchies;

/// Why a group could not be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file of the kernel's could not be read or written.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was done.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The group still has processes after all of them were killed and time has passed.
    #[error(
        "removing the control group {path}: it still has processes; they are waiting in the \
         kernel and the next start removes it"
    )]
    Populated {
        /// The group's directory.
        path: PathBuf,
    },
}

impl CgroupError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
        move |source| CgroupError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

/// Which limits a group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Held {
    /// The memory of all processes together.
    pub memory: bool,
    /// The number of processes and threads.
    pub pids: bool,
    /// Processor time.
    pub cpus: bool,
    /// Memory is held, yet not what of it is swapped out: the host swaps, and this kernel does not
    /// count that for groups.
    pub swaps_freely: bool,
}

impl Held {
    /// What of `limits` only a group can hold, whether there is one or not.
    fn wanted(limits: &Limits) -> Held {
        Held {
            memory: limits.memory.is_some(),
            pids: limits.pids.is_some(),
            cpus: limits.cpus.is_some(),
            swaps_freely: false,
        }
    }

    fn any(self) -> bool {
        self.memory || self.pids || self.cpus
    }
}

/// What the group's processes have used. `None` where this kernel does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CgroupUsage {
    /// The most memory at one time, in bytes.
    pub memory_peak: Option<u64>,
    /// Processor time.
    pub cpu: Option<Duration>,
    /// The most processes and threads at one time.
    pub pids_peak: Option<u64>,
}

/// A group for one sandbox. Dropping it leaves the group in place: [`Cgroup::remove`] it.
#[derive(Debug)]
pub struct Cgroup {
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    V1(v1::Groups),
    V2(v2::Group),
}

/// Processes of ours in the group beside the worker's: init. The limit is raised by as many.
const OWN_PROCESSES: u64 = 1;

/// The period over which processor time is counted out, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

impl Cgroup {
    /// Makes a group below `own` that holds as much of memory, pids and cpus of `limits` as this host allows.
    /// `None` when none of the three is limited, or none can be held here.
    ///
    /// # Errors
    /// The kernel refused a limit in a group that could be made. Nothing is left then.
    pub fn create(own: &Hierarchies, limits: &Limits) -> Result<Option<Cgroup>, CgroupError> {
        let wanted = Held::wanted(limits);
        if !wanted.any() {
            return Ok(None);
        }
        // A controller lives in one version's tree only, and on hybrid hosts those that limit
        // anything are in v1's.
        if own.controls(wanted) {
            let name = name::fresh()?;
            return Ok(
                v1::Groups::create(own, &name, limits)?.map(|g| Cgroup { tree: Tree::V1(g) })
            );
        }
        if own.unified.is_none() {
            return Ok(None);
        }
        let name = name::fresh()?;
        Ok(v2::Group::create(own, &name, limits)?.map(|g| Cgroup { tree: Tree::V2(g) }))
    }

    /// Whether [`Cgroup::create`] would make a group that the clone itself has to be given, and
    /// not one that the child enters later: on v2 moving costs the wait for an RCU grace period.
    #[must_use]
    pub fn is_for_the_clone(own: &Hierarchies, limits: &Limits) -> bool {
        let wanted = Held::wanted(limits);
        wanted.any() && !own.controls(wanted) && own.unified.is_some()
    }

    /// Files through which a process of one thread enters the group by writing `0`. None on v2.
    #[must_use]
    pub fn doors(&self) -> Vec<BorrowedFd<'_>> {
        match &self.tree {
            Tree::V1(groups) => groups.doors(),
            Tree::V2(_) => Vec::new(),
        }
    }

    /// Moves the calling process into the group; for a single-threaded child that has just been
    /// cloned. On v2 it does nothing: the clone itself is given [`Cgroup::dir_fd`], which spares
    /// the wait for an RCU grace period that moving costs.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn enter(&self) -> Result<(), CgroupError> {
        match &self.tree {
            Tree::V1(groups) => groups.enter(),
            Tree::V2(_) => Ok(()),
        }
    }

    /// The directory for `CLONE_INTO_CGROUP`, on v2.
    #[must_use]
    pub fn dir_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.tree {
            Tree::V1(_) => None,
            Tree::V2(group) => Some(group.dir_fd()),
        }
    }

    /// Which limits the group holds.
    #[must_use]
    pub fn held(&self) -> Held {
        match &self.tree {
            Tree::V1(groups) => groups.held(),
            Tree::V2(group) => group.held(),
        }
    }

    /// Which limits were hit so far: "memory" when a process was killed for it, "pids" when a
    /// fork was refused. A limit on processor time slows and ends nothing.
    #[must_use]
    pub fn exceeded(&self) -> Vec<&'static str> {
        match &self.tree {
            Tree::V1(groups) => groups.exceeded(),
            Tree::V2(group) => group.exceeded(),
        }
    }

    /// What was used so far. Read it before [`Cgroup::remove`].
    #[must_use]
    pub fn usage(&self) -> CgroupUsage {
        match &self.tree {
            Tree::V1(groups) => groups.usage(),
            Tree::V2(group) => group.usage(),
        }
    }

    /// Kills every process in the group, also those that fork meanwhile.
    ///
    /// # Errors
    /// The kernel's files could not be used, or processes kept appearing.
    pub fn kill(&self) -> Result<(), CgroupError> {
        match &self.tree {
            Tree::V1(groups) => groups.kill(),
            Tree::V2(group) => procs::kill_all(group.path()),
        }
    }

    /// Removes the group. Waits a moment for killed processes to leave it.
    ///
    /// # Errors
    /// [`CgroupError::Populated`] when processes are still there.
    pub fn remove(&self) -> Result<(), CgroupError> {
        match &self.tree {
            Tree::V1(groups) => groups.remove(),
            Tree::V2(group) => remove_group(group.path()),
        }
    }

    /// "v1" or "v2", with the directories, for the report.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.tree {
            Tree::V1(groups) => groups.describe(),
            Tree::V2(group) => format!("v2 at {}", group.path().display()),
        }
    }
}

/// Kills and removes the groups of supervisors that are gone, and returns how many there were.
/// Looks only where [`Cgroup::create`] would make one now.
///
/// # Errors
/// The first failure, after all others were tried.
pub fn sweep(own: &Hierarchies) -> Result<usize, CgroupError> {
    let mut removed = 0;
    let mut failed = Ok(());
    for dir in own.places() {
        // A place that cannot be listed holds nothing of ours: we could not have made it there.
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            if !name::is_stale(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            match procs::kill_all(&path).and_then(|()| remove_group(&path)) {
                Ok(()) => removed += 1,
                Err(error) => failed = failed.and(Err(error)),
            }
        }
    }
    failed.map(|()| removed)
}

/// Removes one directory, waiting up to half a second in all for its last processes to leave.
fn remove_group(path: &Path) -> Result<(), CgroupError> {
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(CgroupError::io("removing the control group", path)(error)),
        }
        if pause > Duration::from_millis(250) {
            return Err(CgroupError::Populated {
                path: path.to_owned(),
            });
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

fn write(dir: &Path, file: &str, value: impl std::fmt::Display) -> Result<(), CgroupError> {
    let path = dir.join(file);
    overwrite(&path, &value.to_string()).map_err(CgroupError::io("writing a limit to", &path))
}

/// Writes to a file that is there. The kernel's files cannot be made, and an attempt to make one
/// would hide that it is missing.
pub(super) fn overwrite(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// The value after `key` in a flat keyed file ("oom_kill 3"), or the whole of a file that holds
/// one number when `key` is empty. `None` where the file or the key does not exist.
fn read_number(dir: &Path, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(dir.join(file)).ok()?;
    if key.is_empty() {
        return text.trim().parse().ok();
    }
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// What is in use of the host's swap (proc(5)).
pub(super) const SWAPS: &str = "/proc/swaps";

/// Whether the group has no file `limit` for its swap while the host has swap, as `swaps` lists
/// it below a line of titles. A list that is hidden may have any.
pub(super) fn swaps_freely(group: &Path, limit: &str, swaps: &str) -> bool {
    let swaps = || match fs::read_to_string(swaps) {
        Ok(list) => list.lines().nth(1).is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    !group.join(limit).exists() && swaps()
}

/// Processor time for one period, in microseconds; the kernel takes a thousand at least.
fn cpu_quota_us(cpus: f64) -> u64 {
    // A float that is out of range, negative or no number saturates in the conversion.
    ((cpus * CPU_PERIOD_US as f64) as u64).max(1_000)
}
