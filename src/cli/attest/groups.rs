//! The control groups of what an attack makes: all of them below one, which has a name of its own at the
//! top of each hierarchy.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long the kernel may take to end the processes of a group.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Removes the groups of that name and all below them, once their processes have ended.
pub(super) fn remove(name: &str) -> anyhow::Result<()> {
    for path in places(name).context("read /proc/self/mountinfo")? {
        remove_tree(&path, Instant::now() + PATIENCE)
            .with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Where groups of that name can be.
fn places(name: &str) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        kind.starts_with("cgroup")
            .then(|| Path::new(point).join(name))
    });
    Ok(points.filter(|path| path.is_dir()).collect())
}

/// What is in them may come and go meanwhile: whoever ends there clears away too.
fn remove_tree(path: &Path, end: Instant) -> io::Result<()> {
    loop {
        match remove_once(path, end) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(LOOK);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

fn remove_once(path: &Path, end: Instant) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove_tree(&entry.path(), end)?,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // A file, or gone by now.
            _ => {}
        }
    }
    fs::remove_dir(path)
}
