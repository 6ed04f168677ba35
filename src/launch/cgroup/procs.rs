//! Killing every process of a group.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{CgroupError, overwrite};
use crate::sys::process;

/// Rounds of listing and killing before giving up, 1 ms apart at most.
const ROUNDS: u32 = 1_000;

/// Kills what is in the group at `path`, until nothing is. On cgroup2 (5.14) the kernel does it at
/// once and without a race; elsewhere forks are stopped first, so that the loop ends.
pub(super) fn kill_all(path: &Path) -> Result<(), CgroupError> {
    match overwrite(&path.join("cgroup.kill"), "1") {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // EOPNOTSUPP in a threaded group: its processes are killed one by one.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(CgroupError::io("killing the processes of", path)(error)),
    }
    for round in 0..ROUNDS {
        if kill_listed(path)? == 0 {
            return Ok(());
        }
        if round > 0 {
            std::thread::sleep(Duration::from_micros(u64::from(round.min(10)) * 100));
        }
    }
    Err(CgroupError::Populated {
        path: path.to_owned(),
    })
}

/// Kills the processes that are listed, and returns how many live ones there were.
fn kill_listed(path: &Path) -> Result<usize, CgroupError> {
    signal_listed(path, || list(path), libc::SIGKILL)
}

/// Signals the processes of the group at `path` as `list` names them, and returns how many live ones
/// there were. A pid may pass to another process between the listing and the signal, so each is held
/// by a pidfd first and must still be listed afterwards.
pub(in crate::launch) fn signal_listed(
    path: &Path,
    list: impl Fn() -> Result<Vec<Pid>, CgroupError>,
    signal: i32,
) -> Result<usize, CgroupError> {
    let mut held = Vec::new();
    for pid in list()? {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => held.push((pid, pidfd)),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(CgroupError::io("holding a process of", path)(error.into()));
            }
        }
    }
    if held.is_empty() {
        return Ok(0);
    }
    let still = list()?;
    for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        match process::pidfd_signal(pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(CgroupError::io("signalling a process of", path)(error));
            }
            _ => {}
        }
    }
    Ok(held.len())
}

/// Processes of the group that this pid namespace shows. A group that is gone has none.
pub(in crate::launch) fn list(path: &Path) -> Result<Vec<Pid>, CgroupError> {
    let file = path.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(parse(&text).collect()),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => list_by_threads(path),
        Err(error) => Err(CgroupError::io("listing the processes in", &file)(error)),
    }
}

/// A threaded group of cgroup2 lists threads alone, and a pidfd is of a whole process.
fn list_by_threads(path: &Path) -> Result<Vec<Pid>, CgroupError> {
    let file = path.join("cgroup.threads");
    let text = match fs::read_to_string(&file) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        text => text.map_err(CgroupError::io("listing the threads in", &file))?,
    };
    // A thread that has ended meanwhile has no status, and its process is named by another.
    let processes: BTreeSet<i32> = parse(&text).filter_map(process_of).collect();
    Ok(processes.into_iter().filter_map(Pid::from_raw).collect())
}

fn process_of(thread: Pid) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{}/status", thread.as_raw_nonzero())).ok()?;
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    number.trim().parse().ok()
}

/// Processes of other pid namespaces are listed as 0.
fn parse(text: &str) -> impl Iterator<Item = Pid> {
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(Pid::from_raw)
}

/// Whether the group was removed, before its file was opened or after.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
