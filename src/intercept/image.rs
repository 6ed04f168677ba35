//! Of which files a process is made that has just executed a program: that program and, where it
//! names one, its interpreter. The kernel opens both by itself, by paths that somebody may have changed
//! since they were looked at.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2};
use rustix::io::Errno;

use super::view::View;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY: u64 = 0x794c_7630;

/// What a file is known by: its device and its inode.
pub(super) type Id = (u64, u64);

/// Whether everything that is mapped into a thread's memory from files is one of `expected`.
pub(super) fn is_made_of(view: &View, thread: u32, expected: &[Id]) -> bool {
    let maps = openat(
        &view.processes,
        format!("{thread}/maps"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut text = Vec::new();
    let read = maps.map(|maps| File::from(maps).read_to_end(&mut text).is_ok());
    if read != Ok(true) || text.is_empty() {
        return false;
    }
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.all(|line| match mapping(line) {
        Some(Mapping::OfNothing) => true,
        Some(Mapping::OfFile(inode, path)) => {
            id_of(&path, inode).is_ok_and(|id| expected.contains(&id))
        }
        None => false,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Mapping {
    /// Memory that is of no file.
    OfNothing,
    /// The number of the file's inode, and its path.
    OfFile(u64, Vec<u8>),
}

/// A line of /proc/PID/maps (proc_pid_maps(5)); `None` for what is none.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let inode = fields.by_ref().nth(4)?;
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    if inode == 0 {
        return Some(Mapping::OfNothing);
    }
    let path = fields.next()?.trim_ascii_start();
    Some(Mapping::OfFile(inode, without_escapes(path)))
}

/// A newline is written as `\012`, and nothing else is.
fn without_escapes(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                plain.push(b'\n');
                rest = after;
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// What stands at the path of a mapping, which has to be the file that is mapped: another one was put
/// there where the numbers differ. An overlay shows those of the file below it.
fn id_of(path: &[u8], inode: u64) -> Result<Id, Errno> {
    let path = Path::new(OsStr::from_bytes(path));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let object = openat2(CWD, path, flags, Mode::empty(), resolve)?;
    let stat = fstat(&object)?;
    if stat.st_ino != inode && fstatfs(&object)?.f_type as u64 != OVERLAY {
        return Err(Errno::STALE);
    }
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_file_is_mapped() {
        let of = |line: &str| mapping(line.as_bytes());
        let file = |inode, path: &str| Some(Mapping::OfFile(inode, path.as_bytes().to_vec()));
        assert_eq!(
            of("7f00-7f01 r-xp 00000000 fe:00 42                         /usr/bin/a b"),
            file(42, "/usr/bin/a b")
        );
        assert_eq!(
            of("7f00-7f01 r-xp 00000000 fe:00 42                         /a\\012b\\x"),
            file(42, "/a\nb\\x")
        );
        assert_eq!(
            of("7f00-7f01 rw-p 00000000 00:00 0                          [stack]"),
            Some(Mapping::OfNothing)
        );
        assert_eq!(
            of("7f00-7f01 rw-p 00000000 00:00 0 "),
            Some(Mapping::OfNothing)
        );
        assert_eq!(of("7f00-7f01 rw-p 00000000 00:00 x /a"), None);
        assert_eq!(of("7f00-7f01"), None);
    }

    #[test]
    fn this_process_is_made_of_more_than_one_file() {
        let view = View::open().expect("/proc is mounted");
        let thread = std::process::id();
        assert!(!is_made_of(&view, thread, &[]));
        let text = std::fs::read("/proc/self/maps").expect("it can be read");
        let lines = text.split(|byte| *byte == b'\n').filter_map(mapping);
        let ids: Vec<Id> = lines
            .filter_map(|mapping| match mapping {
                Mapping::OfFile(inode, path) => id_of(&path, inode).ok(),
                Mapping::OfNothing => None,
            })
            .collect();
        assert!(!ids.is_empty() && is_made_of(&view, thread, &ids));
        let others: Vec<Id> = ids.iter().copied().filter(|id| *id != ids[0]).collect();
        assert!(!is_made_of(&view, thread, &others));
    }
}
