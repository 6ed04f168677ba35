//! Killing every process of a group.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{CgroupError, overwrite};

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

/// Kills the processes that are listed, and returns how many live ones there were. A pid may pass
/// to another process between the listing and the kill, so each is held by a pidfd first and must
/// still be listed afterwards.
fn kill_listed(path: &Path) -> Result<usize, CgroupError> {
    let mut held = Vec::new();
    for pid in list(path)? {
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
    let still = list(path)?;
    for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        match pidfd_send_signal(pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(CgroupError::io("killing a process of", path)(error.into()));
            }
        }
    }
    Ok(held.len())
}

/// Processes of the group that this pid namespace shows. A group that is gone has none.
fn list(path: &Path) -> Result<Vec<Pid>, CgroupError> {
    let file = path.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter_map(Pid::from_raw)
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(CgroupError::io("listing the processes in", &file)(error)),
    }
}
