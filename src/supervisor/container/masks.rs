//! Whether the masks of a container are still there: the kernel drops a mount when its place is
//! removed or replaced from another mount namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};

use super::take;
use crate::launch::container::Masked;
use crate::policy::Absent;
use crate::supervisor::error::RunError;
use crate::supervisor::masks::{Lost, MaskWatch};

/// Watches what leads to each mask in the container's root, which comes before the other descriptors, and to each name at which nothing may
/// come to be, and then looks at each: what has happened before the watch is seen by that, what comes
/// later by the watch. `None` without any.
///
/// # Errors
/// A mask is gone already, something has come to be, or it cannot be watched.
pub(super) fn watch(
    descriptors: &mut Vec<OwnedFd>,
    masks: &[Masked],
    absent: &[Absent],
) -> Result<Option<MaskWatch>, RunError> {
    if masks.is_empty() && absent.is_empty() {
        return Ok(None);
    }
    let failed = |path: &Path| RunError::io("watch", path.display().to_string());
    let root = take(descriptors, 1, "the container's root")?;
    let Some(root) = root.first().map(AsFd::as_fd) else {
        return Ok(None);
    };
    let mut watch = MaskWatch::empty()?;
    for Masked { path, rule } in masks {
        lead(&mut watch, root, &Lost::of(path, rule), true)?;
        if !is_mounted(root, path).map_err(failed(path))? {
            let cause = "the mask over it is gone: its place was replaced from outside";
            return Err(failed(path)(io::Error::other(cause)));
        }
    }
    for Absent { path, rule } in absent {
        lead(&mut watch, root, &Lost::of(path, rule), false)?;
        // What is a link is none of the names that lead somewhere.
        if open(root, path).is_ok() {
            let cause = "it has come to be just now, and is denied as what is not there";
            return Err(failed(path)(io::Error::other(cause)));
        }
    }
    Ok(Some(watch))
}

/// Watches each folder on the way, all of which have to be there for a mask.
fn lead(
    watch: &mut MaskWatch,
    root: BorrowedFd<'_>,
    lost: &Lost,
    is_mask: bool,
) -> Result<(), RunError> {
    for entry in lost.path.ancestors() {
        let (Some(parent), Some(name)) = (entry.parent(), entry.file_name()) else {
            continue;
        };
        let folder = match open(root, parent) {
            // Beyond a link, and beyond what is missing, there is nothing of it.
            Err(error) if !is_mask && leads_nowhere(&error) => continue,
            folder => folder.map_err(RunError::io("watch", parent.display().to_string()))?,
        };
        let shown = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        watch.watch(&shown, name, lost.clone())?;
    }
    Ok(())
}

fn leads_nowhere(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// Whether something is mounted there.
fn is_mounted(root: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
    let place = open(root, path)?;
    let found = rustix::fs::statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
