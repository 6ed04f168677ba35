//! Changes of mode, owner, times and extended attributes.

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::act::{Done, SET_ID};
use super::calls::Change;
use super::view::{Found, View};

/// Changes the object, whatever its name is by now.
pub(super) fn change(view: &View, found: &Found, change: &Change) -> Result<Done, Errno> {
    let path = view.path_of(&found.object);
    let is_link = found.kind() == FileType::Symlink;
    // On a directory they give nobody another identity: what is made in it gets its group.
    let is_directory = found.kind() == FileType::Directory;
    match change {
        Change::Mode(mode) if !is_directory && mode & SET_ID != 0 => return Err(Errno::PERM),
        Change::Mode(_) if is_link => return Err(Errno::OPNOTSUPP),
        Change::Mode(mode) => rustix::fs::chmod(path, Mode::from_raw_mode(*mode))?,
        Change::Owner { uid, gid } => {
            // All bits set leave it as it is.
            let uid = (*uid != u32::MAX).then(|| Uid::from_raw(*uid));
            let gid = (*gid != u32::MAX).then(|| Gid::from_raw(*gid));
            rustix::fs::chownat(&found.object, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        Change::Times(times) => {
            rustix::fs::utimensat(&found.object, "", times, AtFlags::EMPTY_PATH)?;
        }
        // Symbolic links have none that an ordinary user may set.
        Change::SetAttribute { .. } | Change::RemoveAttribute(_) if is_link => {
            return Err(Errno::PERM);
        }
        Change::SetAttribute { name, value, flags } => {
            rustix::fs::setxattr(path, name, value, *flags)?;
        }
        Change::RemoveAttribute(name) => rustix::fs::removexattr(path, name)?,
    }
    Ok(Done::Value(0))
}
