//! The short way of the most frequent call: to open for reading what is there, by a path that is its
//! name.
//!
//! A path from the root without a link, `.` or `..` on it is the name of what it leads to. So it is
//! decided about before it is resolved, and opened at once. That is sound while nothing on the
//! way gets another name meanwhile: where anything is decided by its name, every rename and link is
//! made by the interceptor, which does one thing at a time.
//!
//! Whatever is not plain goes the long way, which finds the answer and its errno.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fcntl_setfl, fstat, openat2, statat,
};

use super::need::{Judge, to_open};
use super::reply::Given;
use super::view::{Caller, View};
use crate::sys::seccomp::Notification;

/// What callers may ask for beside reading.
const PLAIN: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK)
    .union(OFlags::LARGEFILE);

/// What became of a call.
#[derive(Debug)]
pub enum Quick {
    /// This is its answer.
    Given(Given),
    /// It goes the long way, with the path where that is copied.
    Long(Option<Vec<u8>>),
}

/// Opens what the call asks for, where that is plain and allowed without a word to anybody.
pub(super) fn open(view: &View, judge: &Judge, call: &Notification) -> Quick {
    let Some((pointer, flags)) = opening(call) else {
        return Quick::Long(None);
    };
    let caller = Caller { tid: call.pid };
    let Ok(path) = view.text(caller, pointer) else {
        return Quick::Long(None);
    };
    let opened = match is_name(&path) {
        true => open_named((view, judge), call.id, &path, flags),
        false => None,
    };
    opened.map_or(Quick::Long(Some(path)), Quick::Given)
}

fn open_named(
    (view, judge): (&View, &Judge),
    id: u64,
    path: &[u8],
    flags: OFlags,
) -> Option<Given> {
    let name = Path::new(OsStr::from_bytes(path));
    if !view.mounts.is_plain(name) {
        return None;
    }
    // To open a pipe does something, and so it may be done once only.
    let kind = kind_of(&statat(CWD, name, AtFlags::SYMLINK_NOFOLLOW).ok()?);
    let mut perms = to_open(kind, flags).into_iter();
    if !is_plain(kind) || !perms.all(|perm| judge.lets_pass(perm, name)) {
        return None;
    }
    let ours = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let descriptor = openat2(CWD, name, ours, Mode::empty(), resolve).ok()?;
    // Something else may stand there by now.
    let stat = fstat(&descriptor).ok()?;
    if kind_of(&stat) != kind || judge.has_other_names(&stat) {
        return None;
    }
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(&descriptor, OFlags::empty()).ok()?;
    }
    // A file that cannot be changed is seldom locked, and opened often.
    let file = (stat.st_dev, stat.st_ino);
    let file = view.mounts.may_change(name).then_some(file);
    let given = (descriptor, flags.contains(OFlags::CLOEXEC));
    Some(Given::to_read(id, given, file))
}

fn is_plain(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Where the path of a call stands and its flags, if it reads and does nothing else.
fn opening(call: &Notification) -> Option<(u64, OFlags)> {
    let [first, second, third, ..] = call.arguments;
    let (pointer, flags) = match i64::from(call.number) {
        libc::SYS_openat => (second, third),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => (first, second),
        _ => return None,
    };
    let flags = OFlags::from_bits_retain(flags as u32);
    PLAIN.contains(flags).then_some((pointer, flags))
}

/// Whether every part of a path from the root is the name of something.
fn is_name(path: &[u8]) -> bool {
    let Some(path) = path.strip_prefix(b"/") else {
        return false;
    };
    let mut names = path.split(|byte| *byte == b'/');
    names.all(|name| !matches!(name, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_nothing_that_leads_elsewhere() {
        for name in ["/a", "/a/b", "/...", "/a/..b", "/a b"] {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        for other in [
            "", "a", "/", "//a", "/a/", "/a//b", "/.", "/a/..", "/a/./b", "/../a",
        ] {
            assert!(!is_name(other.as_bytes()), "{other}");
        }
    }
}
