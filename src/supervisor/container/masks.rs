//! Whether the masks of a container are still there: the kernel drops a mount when its place is
//! removed or replaced from another mount namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};

use crate::launch::container::Masked;
use crate::oci::container::supervised::Living;
use crate::supervisor::error::RunError;
use crate::supervisor::masks::{Lost, MaskWatch};

/// Watches what leads to each mask in the container's own root, and then looks at each: what has
/// happened before the watch is seen by that, what comes later by the watch. `None` without masks.
///
/// # Errors
/// A mask is gone already, or cannot be watched.
pub(super) fn watch(living: &Living, masks: &[Masked]) -> Result<Option<MaskWatch>, RunError> {
    if masks.is_empty() {
        return Ok(None);
    }
    let failed = |path: &Path| RunError::io("watch", path.display().to_string());
    let root = PathBuf::from(format!("/proc/{}/root", living.first().pid));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root_fd = rustix::fs::openat2(CWD, &root, flags, Mode::empty(), ResolveFlags::empty())
        .map_err(|errno| failed(&root)(errno.into()))?;
    let mut watch = MaskWatch::empty()?;
    for mask in masks {
        for entry in mask.path.ancestors() {
            let (Some(parent), Some(name)) = (entry.parent(), entry.file_name()) else {
                continue;
            };
            let folder = open(root_fd.as_fd(), parent).map_err(failed(parent))?;
            let shown = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
            let lost = Lost {
                path: mask.path.clone(),
                rule: mask.rule.clone(),
            };
            watch.watch(&shown, name, lost)?;
        }
        if !is_mounted(root_fd.as_fd(), &mask.path).map_err(failed(&mask.path))? {
            let cause = "the mask over it is gone: its place was replaced from outside";
            return Err(failed(&mask.path)(io::Error::other(cause)));
        }
    }
    Ok(Some(watch))
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
