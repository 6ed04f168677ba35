//! Groups in v1's hierarchies: one for each controller that a limit needs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hierarchy::Hierarchies;
use super::{
    CPU_PERIOD_US, CgroupError, CgroupUsage, Held, OWN_PROCESSES, SWAPS, cpu_quota_us, procs,
    read_number, remove_group, swaps_freely, write,
};
use crate::policy::Limits;

/// One group in each hierarchy, all of one name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    memory: Option<Group>,
    pids: Option<Group>,
    cpu: Option<Group>,
    swaps_freely: bool,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// Open for writing before the clone: the child has no way to the file afterwards. The
    /// kernel checks the credentials of whoever opened it.
    tasks: File,
}

impl Groups {
    /// Makes the groups that `limits` need, where the hierarchy is there and can be written.
    pub(super) fn create(
        own: &Hierarchies,
        name: &str,
        limits: &Limits,
    ) -> Result<Option<Groups>, CgroupError> {
        let mut groups = Groups::default();
        match groups.fill(own, name, limits) {
            Ok(()) if groups.all().next().is_none() => Ok(None),
            Ok(()) => Ok(Some(groups)),
            Err(error) => {
                // The first failure is what the caller learns; a group that now cannot be
                // removed is empty, and the next sweep takes it.
                groups.remove().err();
                Err(error)
            }
        }
    }

    fn fill(&mut self, own: &Hierarchies, name: &str, limits: &Limits) -> Result<(), CgroupError> {
        if let (Some(parent), Some(bytes)) = (&own.memory, limits.memory) {
            self.memory = Group::create(parent, name)?;
            if let Some(Group { path, .. }) = &self.memory {
                limit_memory(path, bytes)?;
                self.swaps_freely = swaps_freely(path, SWAP_LIMIT, SWAPS);
            }
        }
        if let (Some(parent), Some(pids)) = (&own.pids, limits.pids) {
            self.pids = Group::create(parent, name)?;
            self.pids.as_ref().map_or(Ok(()), |group| {
                write(&group.path, "pids.max", pids.saturating_add(OWN_PROCESSES))
            })?;
        }
        if let (Some(parent), Some(cpus)) = (&own.cpu, limits.cpus) {
            self.cpu = Group::create(parent, name)?;
            self.cpu
                .as_ref()
                .map_or(Ok(()), |group| limit_cpus(&group.path, cpus))?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Group> {
        [&self.memory, &self.pids, &self.cpu].into_iter().flatten()
    }

    /// Writing to `tasks` moves one thread without the lock that `cgroup.procs` takes for a whole
    /// process, which costs milliseconds on an idle machine; the caller has one thread.
    pub(super) fn enter(&self) -> Result<(), CgroupError> {
        for group in self.all() {
            (&group.tasks)
                .write_all(b"0")
                .map_err(CgroupError::io("entering the control group", &group.path))?;
        }
        Ok(())
    }

    pub(super) fn doors(&self) -> Vec<BorrowedFd<'_>> {
        self.all().map(|group| group.tasks.as_fd()).collect()
    }

    pub(super) fn held(&self) -> Held {
        Held {
            memory: self.memory.is_some(),
            pids: self.pids.is_some(),
            cpus: self.cpu.is_some(),
            swaps_freely: self.swaps_freely,
        }
    }

    pub(super) fn exceeded(&self) -> Vec<&'static str> {
        let hit = |group: &Option<Group>, file, key| {
            group
                .as_ref()
                .and_then(|group| read_number(&group.path, file, key))
                > Some(0)
        };
        let mut exceeded = Vec::new();
        if hit(&self.memory, "memory.oom_control", "oom_kill") {
            exceeded.push("memory");
        }
        if hit(&self.pids, "pids.events", "max") {
            exceeded.push("pids");
        }
        exceeded
    }

    pub(super) fn usage(&self) -> CgroupUsage {
        let read = |group: &Option<Group>, file| {
            group
                .as_ref()
                .and_then(|group| read_number(&group.path, file, ""))
        };
        CgroupUsage {
            memory_peak: read(&self.memory, "memory.max_usage_in_bytes"),
            // Where cpu and cpuacct share a hierarchy, as distributions mount them.
            cpu: read(&self.cpu, "cpuacct.usage").map(Duration::from_nanos),
            pids_peak: read(&self.pids, "pids.peak"),
        }
    }

    pub(super) fn kill(&self) -> Result<(), CgroupError> {
        if let Some(pids) = &self.pids {
            write(&pids.path, "pids.max", 0)?;
        }
        self.all()
            .try_for_each(|group| procs::kill_all(&group.path))
    }

    /// Tries all of them and returns the first failure.
    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        self.all()
            .map(|group| remove_group(&group.path))
            .fold(Ok(()), Result::and)
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.all().map(|group| group.path.clone()).collect()
    }

    pub(super) fn describe(&self) -> String {
        let paths: Vec<_> = self
            .paths()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!("v1 at {}", paths.join(", "))
    }
}

impl Group {
    /// Makes `parent/name`; `None` where this user or this mount does not allow it.
    fn create(parent: &Path, name: &str) -> Result<Option<Group>, CgroupError> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if is_not_permitted(&error) => return Ok(None),
            Err(error) => return Err(CgroupError::io("making the control group", &path)(error)),
        }
        let tasks = path.join("tasks");
        match OpenOptions::new().write(true).open(&tasks) {
            Ok(tasks) => Ok(Some(Group { path, tasks })),
            Err(error) => {
                remove_group(&path)?;
                Err(CgroupError::io("opening", &tasks)(error))
            }
        }
    }
}

pub(super) fn is_not_permitted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT | libc::EAGAIN)
    )
}

/// The most that the buffers of sockets may take, in bytes. v1 counts them apart and without a
/// limit of their own they have none but the host's; v2 counts them with everything else.
const MOST_SOCKET_BYTES: u64 = 16 << 20;

/// Memory and swap together.
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

fn limit_memory(group: &Path, bytes: u64) -> Result<(), CgroupError> {
    write(group, "memory.limit_in_bytes", bytes)?;
    let sockets = (bytes / 16).min(MOST_SOCKET_BYTES);
    if group.join("memory.kmem.tcp.limit_in_bytes").exists() {
        write(group, "memory.kmem.tcp.limit_in_bytes", sockets)?;
    }
    // Without swap accounting there is no limit on memory and swap together; then at least
    // nothing of this group is swapped before it must be, and the report says so.
    if group.join(SWAP_LIMIT).exists() {
        write(group, SWAP_LIMIT, bytes)?;
    }
    write(group, "memory.swappiness", 0)
}

fn limit_cpus(group: &Path, cpus: f64) -> Result<(), CgroupError> {
    write(group, "cpu.cfs_period_us", CPU_PERIOD_US)?;
    match write(group, "cpu.cfs_quota_us", cpu_quota_us(cpus)) {
        // More than the parent has: what the parent allows is the narrower limit, and holds.
        Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
            Ok(())
        }
        answer => answer,
    }
}
