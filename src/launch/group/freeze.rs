//! Stopping every process of a group at once, and letting it go on.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::GroupError;
use super::files::{is_absent, line, text, write};
use super::procs;
use super::record::GroupRecord;

/// How long processes may take to stop: one in the middle of a system call that cannot be
/// interrupted stops after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Freezes the group, and returns once every process has stopped.
///
/// On v1 a process may fork away from under the kernel's eyes for ever; the group is then thawed
/// again, for half of it frozen is of no use to anybody.
pub(super) fn freeze(group: &GroupRecord) -> Result<(), GroupError> {
    if let Some(dir) = group.v2() {
        write(dir, "cgroup.freeze", "1")?;
        return until(dir, || frozen_v2(dir)).inspect_err(|_| undo(dir, "cgroup.freeze", "0"));
    }
    let dir = freezer(group)?;
    until(dir, || {
        // Writing it again is what catches processes that were forked meanwhile.
        write(dir, STATE, "FROZEN")?;
        let state = line(dir, STATE).map_err(GroupError::io("reading the state of", dir))?;
        Ok(state == "FROZEN")
    })
    .inspect_err(|_| undo(dir, STATE, "THAWED"))
}

/// Lets the group's processes go on. Groups below that were frozen of their own stay so.
pub(super) fn thaw(group: &GroupRecord) -> Result<(), GroupError> {
    match group.v2() {
        Some(dir) => write(dir, "cgroup.freeze", "0"),
        None => write(freezer(group)?, STATE, "THAWED"),
    }
}

/// Whether the group was told to freeze, by itself and not with one above it.
pub(super) fn is_frozen(group: &GroupRecord) -> Result<bool, GroupError> {
    let (dir, file) = match (group.v2(), group.v1("freezer")) {
        (Some(dir), _) => (dir, "cgroup.freeze"),
        (None, Some(dir)) => (dir, "freezer.self_freezing"),
        (None, None) => return Ok(false),
    };
    match line(dir, file) {
        Ok(answer) => Ok(answer == "1"),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(GroupError::io("reading the state of", dir)(error)),
    }
}

/// Freezes as well as it can be done at once; gives whether there is something to thaw.
pub(super) fn hold(group: &GroupRecord) -> bool {
    let told = match (group.v2(), group.v1("freezer")) {
        (Some(dir), _) => write(dir, "cgroup.freeze", "1"),
        (None, Some(dir)) => write(dir, STATE, "FROZEN"),
        (None, None) => return false,
    };
    told.is_ok()
}

/// Thaws the group and, on v1, each below it: a process that v1 has frozen does not even die.
pub(super) fn thaw_all(group: &GroupRecord) -> Result<(), GroupError> {
    let forgive = |answer: Result<(), GroupError>| match answer {
        Err(GroupError::Io { source, .. }) if is_absent(&source) => Ok(()),
        answer => answer,
    };
    if let Some(dir) = group.v2() {
        return forgive(write(dir, "cgroup.freeze", "0"));
    }
    let Some(dir) = group.v1("freezer") else {
        return Ok(());
    };
    for group in procs::tree(dir).map_err(GroupError::io("listing the groups in", dir))? {
        forgive(write(&group, STATE, "THAWED"))?;
    }
    Ok(())
}

/// Moves a process back into the freezer's group, which thaws it where that group is not frozen.
/// On v2 what is frozen dies when it is killed.
pub(super) fn take_back(group: &GroupRecord, pid: i32) -> Result<(), GroupError> {
    match group.v1("freezer") {
        Some(dir) => match write(dir, "cgroup.procs", &pid.to_string()) {
            // It has ended meanwhile.
            Err(GroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {
                Ok(())
            }
            answer => answer,
        },
        None => Ok(()),
    }
}

const STATE: &str = "freezer.state";

fn freezer(group: &GroupRecord) -> Result<&Path, GroupError> {
    group.v1("freezer").ok_or_else(|| GroupError::Io {
        operation: "freezing the container's processes in",
        path: "no control group of the freezer controller".into(),
        source: io::ErrorKind::Unsupported.into(),
    })
}

fn frozen_v2(dir: &Path) -> Result<bool, GroupError> {
    let events = text(dir, "cgroup.events").map_err(GroupError::io("reading the state of", dir))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

fn until(dir: &Path, done: impl Fn() -> Result<bool, GroupError>) -> Result<(), GroupError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !done()? {
        if start.elapsed() > PATIENCE {
            let late = io::ErrorKind::TimedOut.into();
            return Err(GroupError::io("freezing every process of", dir)(late));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}

/// The failure that led here is what the caller learns; a group that is gone needs no undoing.
fn undo(dir: &Path, file: &str, value: &str) {
    write(dir, file, value).err();
}
