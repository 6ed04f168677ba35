//! From a path of a call to the object, or to the place, that it means.
//!
//! The kernel resolves it in one step wherever that means the same to the caller. Where it goes
//! through files of processes, it is walked here name by name, and `self` is the caller.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat,
    openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::view::{Caller, Found, Spot, Target, View};

/// Symbolic links on one way, as the kernel counts them.
const LINKS: usize = 40;

/// The inode of the root of a file system of processes (`PROC_ROOT_INO`).
const PROCESS_ROOT: u64 = 1;

/// What a call that may make a file finds.
pub(super) enum Place {
    /// It is there.
    There(Found),
    /// Nothing is there.
    Free(Spot),
}

/// Where a symbolic link leads.
enum Leads {
    /// To this object, which no name says.
    To(OwnedFd),
    /// On along these names.
    Along(Vec<u8>),
}

const OBJECT: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl View {
    /// What is at the path; a symbolic link at its end is followed, or meant itself.
    pub fn find(&self, caller: Caller, target: &Target, follow: bool) -> Result<Found, Errno> {
        if target.path.is_empty() {
            let base = rustix::io::fcntl_dupfd_cloexec(target.base(), 3)?;
            return self.found(base);
        }
        let flags = if follow {
            OBJECT
        } else {
            OBJECT | OFlags::NOFOLLOW
        };
        let resolve = ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(target.base(), &*target.path, flags, Mode::empty(), resolve);
        match opened {
            Ok(object) => match self.found(object) {
                Ok(found) if !found.is_of_processes => return Ok(found),
                // It may be another process's file that is meant.
                Ok(_) | Err(Errno::ACCESS) => {}
                Err(error) => return Err(error),
            },
            Err(Errno::NOENT) if self.is_missing(target) => return Err(Errno::NOENT),
            Err(_) => {}
        }
        self.walk(caller, target, follow)
    }

    /// Whether the directory of the path is no process's, and has nothing of this name. A link there may
    /// lead to what is the caller's own, as `/dev/stdin` does.
    fn is_missing(&self, target: &Target) -> bool {
        let Ok(found) = directory_of(target).and_then(|object| self.found(object)) else {
            return false;
        };
        if found.is_of_processes {
            return false;
        }
        let (_, name) = split(&target.path);
        let there = statat(&found.object, unslashed(name), AtFlags::SYMLINK_NOFOLLOW);
        there.is_err_and(|error| error == Errno::NOENT)
    }

    /// The place that the path names, whatever is there: its last name is not followed.
    pub fn spot(&self, caller: Caller, target: &Target) -> Result<Spot, Errno> {
        let (directory, name) = split(&target.path);
        let around = Target {
            base: target
                .base
                .as_ref()
                .map(|base| rustix::io::fcntl_dupfd_cloexec(base, 3))
                .transpose()?,
            path: directory.to_vec(),
        };
        let parent = self.find(caller, &around, true)?;
        if parent.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        // A directory that was removed takes nothing more, and has one name at most.
        let [path] = &parent.paths[..] else {
            return Err(Errno::NOENT);
        };
        let path = path.join(OsStr::from_bytes(unslashed(name)));
        Ok(Spot {
            parent: parent.object,
            name: OsStr::from_bytes(name).to_owned(),
            path,
        })
    }

    /// What is at the path, or where it would be made: where links are followed, behind those that lead
    /// nowhere yet.
    pub fn place(&self, caller: Caller, target: &Target, follow: bool) -> Result<Place, Errno> {
        let mut further: Option<Target> = None;
        for _ in 0..LINKS {
            let target = further.as_ref().unwrap_or(target);
            match self.find(caller, target, follow) {
                Ok(found) => return Ok(Place::There(found)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            let spot = self.spot(caller, target)?;
            if spot.name.as_bytes().ends_with(b"/") {
                return Err(Errno::ISDIR);
            }
            match readlinkat(&spot.parent, &*spot.name, Vec::new()) {
                Ok(text) => {
                    let path = text.into_bytes();
                    let base = (path.first() != Some(&b'/')).then_some(spot.parent);
                    further = Some(Target { base, path });
                }
                Err(Errno::NOENT) => return Ok(Place::Free(spot)),
                // It has come into being meanwhile.
                Err(Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::LOOP)
    }

    /// Goes from name to name.
    fn walk(&self, caller: Caller, target: &Target, follow: bool) -> Result<Found, Errno> {
        let root = || openat(rustix::fs::CWD, "/", OBJECT, Mode::empty());
        let mut here = match &target.base {
            Some(base) => rustix::io::fcntl_dupfd_cloexec(base, 3)?,
            None => root()?,
        };
        let mut rest = VecDeque::new();
        let mut is_directory = lay_out(&target.path, &mut rest);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            let is_last = rest.is_empty() && !is_directory;
            let next = openat(&here, &*name, OBJECT | OFlags::NOFOLLOW, Mode::empty())?;
            let is_link = FileType::from_raw_mode(fstat(&next)?.st_mode) == FileType::Symlink;
            if !is_link || (is_last && !follow) {
                // What is below our own directory is not even said to be missing.
                here = self.found(next)?.object;
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            match self.leads(caller, &here, &name)? {
                Leads::To(object) => here = object,
                Leads::Along(text) => {
                    if text.first() == Some(&b'/') {
                        here = root()?;
                    }
                    let was_last = rest.is_empty();
                    let slashed = lay_out(&text, &mut rest);
                    is_directory |= was_last && slashed;
                }
            }
        }
        let found = self.found(here)?;
        if is_directory && found.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(found)
    }

    fn leads(&self, caller: Caller, folder: &OwnedFd, name: &[u8]) -> Result<Leads, Errno> {
        let text = || readlinkat(folder, name, Vec::new()).map(std::ffi::CString::into_bytes);
        if fstatfs(folder)?.f_type != PROC_SUPER_MAGIC {
            return Ok(Leads::Along(text()?));
        }
        let is_root = fstat(folder)?.st_ino == PROCESS_ROOT;
        match (is_root, name) {
            (true, b"self") => {
                let process = self.process_of(caller)?;
                Ok(Leads::Along(process.to_string().into_bytes()))
            }
            (true, b"thread-self") => {
                let process = self.process_of(caller)?;
                Ok(Leads::Along(
                    format!("{process}/task/{}", caller.tid).into_bytes(),
                ))
            }
            (true, _) => Ok(Leads::Along(text()?)),
            // The kernel leads on to the object itself. What is ours was refused with its folder.
            (false, _) => {
                let folder = self.found(rustix::io::fcntl_dupfd_cloexec(folder, 3)?)?;
                self.refuse_below_ourselves(&folder)?;
                Ok(Leads::To(openat(
                    &folder.object,
                    name,
                    OBJECT,
                    Mode::empty(),
                )?))
            }
        }
    }

    fn refuse_below_ourselves(&self, folder: &Found) -> Result<(), Errno> {
        let is_own = |path: &std::path::PathBuf| path.iter().any(|name| self.is_ourselves(name));
        match folder.paths.iter().any(is_own) {
            true => Err(Errno::ACCESS),
            false => Ok(()),
        }
    }
}

/// The directory of a path, where no file of a process leads there.
pub(super) fn directory_of(target: &Target) -> Result<OwnedFd, Errno> {
    let (directory, _) = split(&target.path);
    let flags = OBJECT | OFlags::DIRECTORY;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    openat2(target.base(), directory, flags, Mode::empty(), resolve)
}

/// Puts the names of `path` before the rest of the way; gives whether it asks for a directory.
fn lay_out(path: &[u8], rest: &mut VecDeque<Vec<u8>>) -> bool {
    let names = path.split(|byte| *byte == b'/');
    for name in names.rev().filter(|name| !name.is_empty() && *name != b".") {
        rest.push_front(name.to_vec());
    }
    let last = path.rsplit(|byte| *byte == b'/').next();
    matches!(last, Some(b"" | b"."))
}

/// The directory of a path and its last name, with the slashes that end it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let name_end = unslashed(path).len();
    let slash = path[..name_end].iter().rposition(|byte| *byte == b'/');
    match (slash, name_end) {
        (_, 0) => (path, b"."),
        (None, _) => (b".", path),
        (Some(0), _) => (b"/", &path[1..]),
        (Some(at), _) => (&path[..at], &path[at + 1..]),
    }
}

/// A path without the slashes at its end.
pub(super) fn unslashed(path: &[u8]) -> &[u8] {
    let last = path.iter().rposition(|byte| *byte != b'/');
    &path[..last.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_last_name() {
        let cases: [(&str, &str, &str); 8] = [
            ("/a/b", "/a", "b"),
            ("/a", "/", "a"),
            ("a", ".", "a"),
            ("a/b/", "a", "b/"),
            ("a//", ".", "a//"),
            ("/", "/", "."),
            ("//a", "/", "a"),
            ("../x", "..", "x"),
        ];
        for (path, directory, name) in cases {
            let (found, last) = split(path.as_bytes());
            assert_eq!(
                (found, last),
                (directory.as_bytes(), name.as_bytes()),
                "{path}"
            );
        }
    }

    #[test]
    fn names_are_laid_out_in_order() {
        let mut rest = VecDeque::from([b"z".to_vec()]);
        assert!(lay_out(b"/a/./b//", &mut rest));
        assert_eq!(rest, [b"a".to_vec(), b"b".to_vec(), b"z".to_vec()]);
        assert!(!lay_out(b"c", &mut rest));
    }
}
