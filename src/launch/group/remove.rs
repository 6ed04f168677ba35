//! Removing a group and all groups below it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::GroupError;
use super::files::is_absent;
use super::procs;

/// The longest pause between two attempts; with those before it that is a second in all.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Removes `dir` with all groups below it. Waits a moment for killed processes to leave. A group
/// that is gone is no error, and one that cannot be removed because of a group somebody makes in it
/// meanwhile is tried again.
pub(super) fn remove(dir: &Path) -> Result<(), GroupError> {
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
        if below_removed(dir)? {
            continue;
        }
        if pause > LONGEST_PAUSE {
            return Err(GroupError::Populated {
                path: dir.to_owned(),
            });
        }
        std::thread::sleep(pause);
        pause *= 2;
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

/// Removes every one of `dirs`, and gives the first failure after all were tried.
pub(super) fn remove_all<'a>(dirs: impl Iterator<Item = &'a Path>) -> Result<(), GroupError> {
    dirs.map(remove).fold(Ok(()), Result::and)
}
