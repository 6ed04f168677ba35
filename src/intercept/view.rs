//! The worker's files and processes as the interceptor reaches them.
//!
//! It stands in the worker's own root, so paths mean the same here and there, but for what the
//! kernel makes for each process: `/proc/self` and the links below `/proc/PID` are another
//! process's here. [`super::resolve`] gives them the caller's meaning.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, MemfdFlags, Mode, OFlags, Stat, StatxFlags, fstat, openat,
    readlinkat_raw, statat, statx,
};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::mounts::Mounts;
use super::reply::Handed;
use super::resolve::unslashed;
use super::status::Status;
use crate::sys::memory;

/// Bytes of a path with its NUL, as `PATH_MAX` of linux/limits.h.
const LONGEST_PATH: usize = 4096;

/// What the end of a path is called by the kernel when its last name is gone.
const GONE: &[u8] = b" (deleted)";

/// The thread that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its thread id inside the sandbox.
    pub tid: u32,
}

/// A path of a call, copied once, and where it is resolved from.
#[derive(Debug)]
pub(super) struct Target {
    /// The directory of a relative path; `None` for an absolute one.
    pub base: Option<OwnedFd>,
    /// The bytes; empty where the call speaks of `base` itself.
    pub path: Vec<u8>,
}

impl Target {
    pub fn base(&self) -> BorrowedFd<'_> {
        self.base.as_ref().map_or(CWD, AsFd::as_fd)
    }
}

/// Something that is there.
#[derive(Debug)]
pub(super) struct Found {
    /// It, opened with `O_PATH`: whatever happens to its name, this stays the same object.
    pub object: OwnedFd,
    /// What the kernel says of it.
    pub stat: Stat,
    /// Its absolute path. None for what has no name, such as a pipe; two where the kernel's answer
    /// can mean either.
    pub paths: Vec<PathBuf>,
    /// Whether one of them lies among the files that the kernel makes for each process.
    pub is_of_processes: bool,
}

impl Found {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// A name in a directory, at which something is made, changed or removed.
#[derive(Debug)]
pub(super) struct Spot {
    /// The directory.
    pub parent: OwnedFd,
    /// The last part of the path as it was given, with its slashes.
    pub name: OsString,
    /// The absolute path.
    pub path: PathBuf,
}

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    /// `/proc` of the sandbox.
    pub(super) processes: OwnedFd,
    /// Our own descriptors as files, by which an object is opened again.
    own: OwnedFd,
    /// The ids of our own process and its threads, as the sandbox numbers them: by each of them /proc
    /// shows us.
    ourselves: Vec<String>,
    pub(super) mounts: Mounts,
    /// Who hands a descriptor over meanwhile.
    pub(super) handed: Handed,
    /// The root: its mount, its device and its inode.
    root: (u64, u64, u64),
    /// The device of files that live in memory and were never in a directory.
    memory: u64,
}

impl View {
    /// Opens what it needs. Every path means what it means to the worker from here on.
    ///
    /// # Errors
    /// What the kernel says, as where no /proc is mounted.
    pub fn open() -> io::Result<View> {
        let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let processes = rustix::fs::open("/proc", place, Mode::empty())?;
        let own = openat(&processes, "self/fd", place, Mode::empty())?;
        let memory = rustix::fs::memfd_create(c"device", MemfdFlags::CLOEXEC)?;
        let root = rustix::fs::open("/", place, Mode::empty())?;
        let of_root = fstat(&root)?;
        Ok(View {
            processes,
            own,
            ourselves: vec![std::process::id().to_string()],
            mounts: Mounts::new(&std::fs::read("/proc/self/mountinfo")?),
            handed: Handed::default(),
            root: (mount_of(&root)?, of_root.st_dev, of_root.st_ino),
            memory: fstat(&memory)?.st_dev,
        })
    }

    /// Learns which threads are our own, once all of them are there.
    ///
    /// # Errors
    /// What the kernel says of /proc.
    pub fn know_own_threads(&mut self) -> io::Result<()> {
        let place = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("{}/task", std::process::id());
        let threads = openat(&self.processes, path, place, Mode::empty())?;
        self.ourselves.clear();
        for thread in Dir::read_from(threads)? {
            let name = thread?.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_ok() {
                self.ourselves.push(name);
            }
        }
        Ok(())
    }

    /// Whether /proc shows us by this name.
    pub fn is_ourselves(&self, name: &OsStr) -> bool {
        self.ourselves.iter().any(|own| name == &**own)
    }

    /// The descriptors that it keeps.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.processes.as_fd(), self.own.as_fd()]
    }

    /// Where a copied path leads from, which is relative to the caller's descriptor `dirfd`. An empty
    /// one speaks of the descriptor itself.
    pub fn target(&self, caller: Caller, dirfd: u64, path: Vec<u8>) -> Result<Target, Errno> {
        let base = match path.first() {
            Some(b'/') => None,
            _ => Some(self.base(caller, dirfd as i32)?),
        };
        Ok(Target { base, path })
    }

    /// Copies a text that ends with a NUL.
    pub fn text(&self, caller: Caller, pointer: u64) -> Result<Vec<u8>, Errno> {
        let text = memory::read_text(caller.tid, pointer, LONGEST_PATH)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::FAULT))?;
        match text.len() < LONGEST_PATH {
            true => Ok(text),
            false => Err(Errno::NAMETOOLONG),
        }
    }

    /// Copies `length` bytes.
    pub fn bytes(&self, caller: Caller, pointer: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        let read = match length {
            0 => Ok(0),
            _ => memory::read_memory(caller.tid, pointer, &mut bytes),
        };
        match read {
            Ok(read) if read == length => Ok(bytes),
            Ok(_) => Err(Errno::FAULT),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::FAULT)),
        }
    }

    /// What the caller's descriptor `number` is.
    pub fn descriptor_stat(&self, caller: Caller, number: i32) -> Result<Stat, Errno> {
        let link = format!("{}/fd/{number}", caller.tid);
        statat(&self.processes, link, AtFlags::empty())
    }

    /// The caller's descriptor `number`, or its working directory for `AT_FDCWD`.
    pub fn base(&self, caller: Caller, number: i32) -> Result<OwnedFd, Errno> {
        let link = match number {
            libc::AT_FDCWD => format!("{}/cwd", caller.tid),
            0.. => format!("{}/fd/{number}", caller.tid),
            _ => return Err(Errno::BADF),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat(&self.processes, link, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT if number != libc::AT_FDCWD => Errno::BADF,
            other => other,
        })
    }

    /// The same for a call that takes no descriptor which only names a file.
    pub fn opened_base(&self, caller: Caller, number: i32) -> Result<OwnedFd, Errno> {
        let link = format!("{}/fd/{number}", caller.tid);
        let stat = statat(&self.processes, link, AtFlags::SYMLINK_NOFOLLOW);
        // The mode of the link says how it is open (proc_pid_fd(5)).
        match stat {
            Ok(stat) if stat.st_mode & 0o700 == 0 => Err(Errno::BADF),
            _ => self.base(caller, number),
        }
    }

    /// The process that the caller is a thread of.
    pub fn process_of(&self, caller: Caller) -> Result<u32, Errno> {
        Ok(self.status(caller)?.number("Tgid:", 10)? as u32)
    }

    /// The caller's /proc/TID/status.
    pub fn status(&self, caller: Caller) -> Result<Status, Errno> {
        Ok(Status::new(self.text_of(caller, "status")?))
    }

    /// How many bytes a file of the caller's may have (`RLIMIT_FSIZE`).
    pub fn longest_file(&self, caller: Caller) -> Result<u64, Errno> {
        let text = self.text_of(caller, "limits")?;
        let mut lines = text.lines();
        let limits = lines.find_map(|line| line.strip_prefix("Max file size"));
        match limits.and_then(|limits| limits.split_whitespace().next()) {
            Some("unlimited") => Ok(u64::MAX),
            Some(bytes) => bytes.parse().map_err(|_| Errno::SRCH),
            None => Err(Errno::SRCH),
        }
    }

    /// The text of a file in the caller's /proc/TID.
    fn text_of(&self, caller: Caller, name: &str) -> Result<String, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{}/{name}", caller.tid);
        let file = openat(&self.processes, path, flags, Mode::empty())?;
        let mut text = Vec::new();
        let read = std::fs::File::from(file).read_to_end(&mut text);
        read.map_err(|_| Errno::SRCH)?;
        // The name of a process is any bytes.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Says what an object is and where.
    pub fn found(&self, object: OwnedFd) -> Result<Found, Errno> {
        let stat = fstat(&object)?;
        let paths = if stat.st_dev == self.memory {
            Vec::new()
        } else {
            let mut text = [MaybeUninit::uninit(); LONGEST_PATH];
            let (text, rest) = readlinkat_raw(&self.own, DecInt::from_fd(&object), &mut text)?;
            // What fills it may have been cut.
            if rest.is_empty() {
                return Err(Errno::NAMETOOLONG);
            }
            let paths = names(text, stat.st_nlink == 0)?;
            if !paths.is_empty() {
                self.refuse_from_elsewhere(&object, &stat, &paths)?;
            }
            paths
        };
        let found = Found {
            is_of_processes: paths.iter().any(|path| self.mounts.is_of_processes(path)),
            object,
            stat,
            paths,
        };
        if found.is_of_processes {
            self.refuse_ourselves(&found)?;
        }
        Ok(found)
    }

    /// A descriptor can come from outside, over a socket that somebody lets the worker use. What it is
    /// of is called by its name there, which means something else here. And what was moved out of its
    /// mount is called like the root.
    fn refuse_from_elsewhere(
        &self,
        object: &OwnedFd,
        stat: &Stat,
        paths: &[PathBuf],
    ) -> Result<(), Errno> {
        let mount = mount_of(object)?;
        let is_called_root = paths.iter().any(|path| path == Path::new("/"));
        let is_root = (mount, stat.st_dev, stat.st_ino) == self.root;
        match self.mounts.has(mount) && (is_root || !is_called_root) {
            true => Ok(()),
            false => Err(Errno::ACCESS),
        }
    }

    /// Whether the path of a spot still leads to its directory. Somebody may have moved that while
    /// another was asked about the path.
    pub fn is_still(&self, spot: &Spot) -> bool {
        let parent = rustix::io::fcntl_dupfd_cloexec(&spot.parent, 3);
        let Ok(parent) = parent.and_then(|parent| self.found(parent)) else {
            return false;
        };
        let name = OsStr::from_bytes(unslashed(spot.name.as_bytes()));
        matches!(&parent.paths[..], [path] if path.join(name) == spot.path)
    }

    /// Opens an object again, with these flags.
    pub fn reopen(&self, object: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.own, DecInt::from_fd(object), flags, Mode::empty())
    }

    /// The same in a process that was forked from the one that opened the view.
    pub fn reopen_in_a_child(&self, object: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        use std::os::fd::AsRawFd;
        let path = format!("self/fd/{}", object.as_raw_fd());
        openat(&self.processes, path, flags, Mode::empty())
    }

    /// Opens something in a directory of ours, such as a file without a name.
    pub fn open_in(&self, folder: &OwnedFd, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        openat(&self.own, DecInt::from_fd(folder), flags, mode)
    }

    /// The terminal of the caller's session, which `/dev/tty` is to it.
    pub fn terminal(&self, caller: Caller) -> Result<OwnedFd, Errno> {
        let text = self.text_of(caller, "stat")?;
        // The name stands in parentheses, and may have any bytes but the last of them.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let number: Option<u32> = fields
            .split_whitespace()
            .nth(4)
            .and_then(|n| n.parse().ok());
        let number = number.filter(|number| *number != 0).ok_or(Errno::NXIO)?;
        // Both parts of the number are spread over its bits (proc(5)); pseudo-terminals are 136.
        let (major, minor) = (
            (number >> 8) & 0xfff,
            (number & 0xff) | ((number >> 12) & 0xfff00),
        );
        if major != 136 {
            return Err(Errno::NXIO);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(format!("/dev/pts/{minor}"), flags, Mode::empty())
    }

    /// A path by which the object is reached for calls that take nothing else.
    pub fn path_of(&self, object: &OwnedFd) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", object.as_raw_fd())
    }

    /// Whether it is the memory of another process than the caller's, in which a program could be read
    /// that it has just executed and must not have.
    pub fn is_memory_of_another(&self, caller: Caller, found: &Found) -> Result<bool, Errno> {
        for path in &found.paths {
            let is_memory = path.file_name().is_some_and(|name| name == "mem");
            let below = is_memory.then(|| self.mounts.below_processes(path));
            let Some(below) = below.flatten() else {
                continue;
            };
            let of = below.iter().next().and_then(|name| name.to_str());
            let of = of.and_then(|name| name.parse::<u32>().ok());
            let own = [self.process_of(caller)?, caller.tid];
            if of.is_none_or(|of| !own.contains(&of)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the kernel shows of this process to itself is not the worker's: only what it shows of
    /// every process to everybody is.
    fn refuse_ourselves(&self, found: &Found) -> Result<(), Errno> {
        const OPEN: [&str; 5] = ["stat", "status", "statm", "cmdline", "comm"];
        for path in &found.paths {
            let below = self.mounts.below_processes(path);
            let Some(mut names) = below.map(Path::iter) else {
                continue;
            };
            if names.next().is_some_and(|name| self.is_ourselves(name))
                && let Some(name) = names.next()
                && (!OPEN.iter().any(|open| name == *open) || names.next().is_some())
            {
                return Err(Errno::ACCESS);
            }
        }
        Ok(())
    }
}

/// The number of the mount that an object is on.
fn mount_of(object: &OwnedFd) -> Result<u64, Errno> {
    let wanted = StatxFlags::MNT_ID;
    let said = statx(object, c"", AtFlags::EMPTY_PATH, wanted)?;
    match StatxFlags::from_bits_retain(said.stx_mask).contains(wanted) {
        true => Ok(said.stx_mnt_id),
        false => Err(Errno::ACCESS),
    }
}

/// What the kernel calls an object, as absolute paths.
fn names(text: &[u8], is_gone: bool) -> Result<Vec<PathBuf>, Errno> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    match (text.first(), text.strip_suffix(GONE)) {
        // Outside of the worker's root.
        (None | Some(b'('), _) => Err(Errno::ACCESS),
        (Some(b'/'), None) => Ok(vec![path(text)]),
        (Some(b'/'), Some(before)) if is_gone => Ok(vec![path(before)]),
        // A name that ends like this, or one of several names of a file, which is gone.
        (Some(b'/'), Some(before)) => Ok(vec![path(text), path(before)]),
        // A pipe, a socket, a namespace.
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_calls_an_object() {
        let paths = |text: &str, is_gone| names(text.as_bytes(), is_gone);
        let path = PathBuf::from;
        assert_eq!(paths("/a/b", false), Ok(vec![path("/a/b")]));
        assert_eq!(paths("/a (deleted)", true), Ok(vec![path("/a")]));
        assert_eq!(
            paths("/a (deleted)", false),
            Ok(vec![path("/a (deleted)"), path("/a")])
        );
        assert_eq!(paths("pipe:[7]", false), Ok(vec![]));
        assert_eq!(paths("(unreachable)/a", false), Err(Errno::ACCESS));
        assert_eq!(paths("", false), Err(Errno::ACCESS));
    }
}
