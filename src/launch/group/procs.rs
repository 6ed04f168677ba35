//! The processes of a group and of all groups below it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::GroupError;
use super::files::is_absent;
use super::freeze;
use super::record::GroupRecord;
pub(super) use crate::launch::cgroup::procs::list;
use crate::launch::cgroup::procs::signal_listed;
use crate::launch::cgroup::{CgroupError, overwrite};

/// Rounds of killing before giving up, a millisecond apart at most.
const ROUNDS: u64 = 2_000;

/// `dir` and every group below it, each after its parent. A group that is gone has none.
pub(super) fn tree(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(group) = found.get(next).cloned() {
        next += 1;
        match below(&group) {
            Ok(groups) => found.extend(groups),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn below(group: &Path) -> io::Result<Vec<PathBuf>> {
    // Of its links, two are the directory's own and each of the others is of a group below.
    if fs::metadata(group)?.nlink() <= 2 {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The processes of `dir` and below, as this pid namespace numbers them.
pub(super) fn all(dir: &Path) -> Result<Vec<Pid>, GroupError> {
    let groups = tree(dir).map_err(GroupError::io("listing the groups in", dir))?;
    let mut found = Vec::new();
    for group in &groups {
        found.extend(list(group)?);
    }
    Ok(found)
}

/// Sends `signal` to every process. One that is lethal reaches what is frozen and what forks
/// meanwhile, and is repeated until nothing is left.
pub(super) fn signal(group: &GroupRecord, signal: i32) -> Result<(), GroupError> {
    let Some(dir) = group.principal() else {
        return Ok(());
    };
    let lethal = signal == libc::SIGKILL;
    if let (true, Some(dir)) = (lethal, group.v2())
        && killed_at_once(dir)?
    {
        return Ok(());
    }
    let own = rustix::process::getpid();
    let listed = || {
        let groups = tree(dir).map_err(|source| CgroupError::Io {
            operation: "listing the groups in",
            path: dir.to_owned(),
            source,
        })?;
        let mut found = Vec::new();
        for group in &groups {
            found.extend(list(group)?);
        }
        found.retain(|pid| *pid != own);
        Ok(found)
    };
    // Who paused it did not ask for more than the signal, unless that is the end.
    let paused = !lethal && freeze::is_frozen(group)?;
    for round in 0..ROUNDS {
        // Frozen processes cannot fork away from under the listing. Where they cannot be frozen, the
        // rounds must do.
        let held = !paused && freeze::hold(group);
        let count = signal_listed(dir, listed, signal);
        if held || lethal {
            freeze::thaw_all(group)?;
        }
        if count? == 0 || !lethal {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(100 * (round + 1).min(10)));
    }
    Err(GroupError::Populated {
        path: dir.to_owned(),
    })
}

/// Has the kernel kill a whole tree of cgroup2, from Linux 5.14 on.
fn killed_at_once(dir: &Path) -> Result<bool, GroupError> {
    let file = dir.join("cgroup.kill");
    match overwrite(&file, "1") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // ENODEV: it was removed. EOPNOTSUPP: it is threaded, and its processes die one by one.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(GroupError::io("killing the processes of", dir)(error)),
    }
}
