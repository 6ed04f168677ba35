//! tmpcopyup: a tmpfs that starts with what it covers.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// How deep a tree is copied: each level holds two descriptors open.
const DEEPEST: usize = 256;

/// Copies everything below `from` (which may be an `O_PATH` descriptor) to below `to`, which is
/// the root of an empty file system that nobody else sees. No link is followed, and no other mount
/// entered than through what `from` shows.
///
/// # Errors
/// What the kernel said; `ENAMETOOLONG` for a tree that is too deep.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(directory(from, to, 0)?)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(from, ".", flags, Mode::empty())?;
    for entry in Dir::read_from(&readable)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy_entry(readable.as_fd(), to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: usize,
) -> Result<(), Errno> {
    let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let flags = flags | OFlags::DIRECTORY;
            let below = rustix::fs::openat(from, name, flags | OFlags::PATH, Mode::empty())?;
            let made = rustix::fs::openat(to, name, flags, Mode::empty())?;
            directory(below.as_fd(), made.as_fd(), depth + 1)?;
        }
        FileType::RegularFile => {
            let read = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let write = rustix::fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
            contents(&read, &write)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, found.st_rdev)?,
    }
    attributes(to, name, &found, mode)
}

fn contents(read: &OwnedFd, write: &OwnedFd) -> Result<(), Errno> {
    // As much as one call takes; the end of the file is a call that copies nothing.
    while rustix::fs::sendfile(write, read, None, 1 << 30)? > 0 {}
    Ok(())
}

/// The owner before the mode, because a change of the owner takes the set-user-id bit away.
fn attributes(to: BorrowedFd<'_>, name: &CStr, found: &Stat, mode: Mode) -> Result<(), Errno> {
    let owner = (
        Some(Uid::from_raw(found.st_uid)),
        Some(Gid::from_raw(found.st_gid)),
    );
    rustix::fs::chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
