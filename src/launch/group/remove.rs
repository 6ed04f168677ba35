//! Removing a group and all groups below it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::GroupError;
use super::files::is_absent;
use super::procs;

/// How long killed processes may take to leave, for all directories together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removes every one of `dirs` with all groups below it. Waits a moment for killed processes to
/// leave. A group that is gone is no error. Gives the first failure after all were tried.
pub(super) fn remove<'a>(dirs: impl Iterator<Item = &'a Path>) -> Result<(), GroupError> {
    let end = Instant::now() + PATIENCE;
    dirs.map(|dir| remove_by(dir, end))
        .fold(Ok(()), Result::and)
}

fn remove_by(dir: &Path, end: Instant) -> Result<(), GroupError> {
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            // A file system that is mounted read-only says so of what is not there, too.
            Err(error) if error.raw_os_error() == Some(libc::EROFS) && !dir.exists() => {
                return Ok(());
            }
            Err(error) => return Err(GroupError::io("removing the control group", dir)(error)),
        }
        let some = below_removed(dir)?;
        if Instant::now() > end {
            return Err(GroupError::Populated {
                path: dir.to_owned(),
            });
        }
        if !some {
            std::thread::sleep(pause);
            pause *= 2;
        }
    }
}

/// Removes the groups below `dir` that can be; gives whether there was any.
fn below_removed(dir: &Path) -> Result<bool, GroupError> {
    let mut removed = false;
    let groups = procs::tree(dir).map_err(GroupError::io("listing the groups in", dir))?;
    for group in groups.iter().skip(1).rev() {
        match fs::remove_dir(group) {
            Ok(()) => removed = true,
            Err(error) if is_absent(&error) => removed = true,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(GroupError::io("removing the control group", group)(error)),
        }
    }
    Ok(removed)
}
