//! The worker's own directory on the host: `tmp`, which it may write and which stands in for
//! /tmp, and `run`, where the channel and the worker's files are.
//!
//! Its name is random and its owner the caller. A lock on it lives as long as the supervisor, so
//! that a later start can tell a directory that was left from one that is in use.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::launch::identity::base_directory;

const PREFIX: &str = "buntime-bare-";

/// The control socket's name while it has one.
const CONTROL: &str = "control";

/// Where the directory will stand. Nothing is made yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    base: PathBuf,
    top: PathBuf,
}

impl Layout {
    /// A name that nobody can guess.
    ///
    /// # Errors
    /// There is no place for it, or the kernel has no random bytes.
    pub fn choose() -> io::Result<Layout> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let base = base_directory()?.to_owned();
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        Ok(Layout {
            top: base.join(name),
            base,
        })
    }

    /// The directory in which it is made.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The worker's private place, in the role of /tmp.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.top.join("tmp")
    }

    /// The directory of the channel and of the worker's files.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.top.join("run")
    }

    /// The segment of the channel.
    #[must_use]
    pub fn segment(&self) -> PathBuf {
        self.run().join("segment")
    }

    /// The control socket.
    pub(super) fn control(&self) -> PathBuf {
        self.run().join(CONTROL)
    }
}

/// The directory could not be made, or not be removed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path} for a worker without namespaces: {source}")]
pub struct PlaceError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl PlaceError {
    fn at<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| PlaceError {
            operation,
            path,
            source: error.into(),
        }
    }
}

/// The directory while it is there. Dropping it removes it.
#[derive(Debug)]
pub struct Place {
    layout: Layout,
    owner: Option<(u32, u32)>,
    removed: bool,
    /// Held open for its lock.
    _lock: OwnedFd,
}

impl Place {
    /// Makes the directory with its `files`. A worker with ids of its own is given its part.
    ///
    /// # Errors
    /// The path, and what the kernel said.
    pub(super) fn make(
        layout: &Layout,
        files: &[(String, Cow<'static, [u8]>)],
        owner: Option<(u32, u32)>,
    ) -> Result<Place, PlaceError> {
        let top = &layout.top;
        let lock = claim(top)?;
        let place = Place {
            layout: layout.clone(),
            owner,
            removed: false,
            _lock: lock,
        };
        // The worker passes through, and neither lists nor changes what is beside its own.
        if owner.is_some() {
            set_mode(top, 0o711)?;
        }
        make_directory(&layout.tmp(), 0o700)?;
        place.give(&layout.tmp())?;
        make_directory(&layout.run(), 0o755)?;
        for (name, bytes) in files {
            let path = layout.run().join(name);
            new_file(&path, 0o644)
                .and_then(|mut file| file.write_all(bytes))
                .map_err(PlaceError::at("writing", &path))?;
            set_mode(&path, 0o644)?;
        }
        Ok(place)
    }

    /// Makes the channel: the listening control socket, and the segment of `bytes` bytes.
    ///
    /// # Errors
    /// The path, and what the kernel said.
    pub(super) fn open_channel(&self, bytes: u64) -> Result<(OwnedFd, File), PlaceError> {
        let (segment, control) = (self.layout.segment(), self.layout.control());
        let file = new_file(&segment, 0o600)
            .and_then(|file| file.set_len(bytes).map(|()| file))
            .map_err(PlaceError::at("making", &segment))?;
        self.give(&segment)?;
        let listener = UnixListener::bind(&control).map_err(PlaceError::at("making", &control))?;
        set_mode(&control, 0o600)?;
        self.give(&control)?;
        Ok((listener.into(), file))
    }

    fn give(&self, path: &Path) -> Result<(), PlaceError> {
        let Some((uid, gid)) = self.owner else {
            return Ok(());
        };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(PlaceError::at("giving away", path))
    }

    /// Removes the directory and all that the worker left in it. Nothing of the worker may be
    /// alive any more.
    ///
    /// # Errors
    /// The path, and what the kernel said. The next start tries again.
    pub fn remove(mut self) -> Result<(), PlaceError> {
        self.removed = true;
        remove(&self.layout.top)
    }
}

/// How often a directory is made again that was swept before it was locked.
const ATTEMPTS: usize = 100;

/// Makes the directory, and locks it. A start that sweeps at the same moment may take it for one
/// that was left, as long as nobody has locked it; then it is made again.
fn claim(top: &Path) -> Result<OwnedFd, PlaceError> {
    let mut attempts = 1..=ATTEMPTS;
    loop {
        attempts.next();
        let claimed = make_directory(top, 0o700).and_then(|()| {
            let lock = open_directory(top).map_err(PlaceError::at("opening", top))?;
            // Whoever sweeps holds it for as long as the removal takes.
            let lock_it = || rustix::fs::flock(&lock, FlockOperation::LockExclusive);
            rustix::io::retry_on_intr(lock_it).map_err(PlaceError::at("locking", top))?;
            if is_removed(&lock) {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                return Err(PlaceError::at("keeping", top)(gone));
            }
            Ok(lock)
        });
        match claimed {
            Err(error)
                if error.source.kind() == io::ErrorKind::NotFound && !attempts.is_empty() => {}
            claimed => return claimed,
        }
    }
}

/// Whether a directory that is open has no name any more.
fn is_removed(dir: &OwnedFd) -> bool {
    rustix::fs::fstat(dir).map_or(0, |found| found.st_nlink) == 0
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        if let Err(leftover) = remove(&self.layout.top) {
            tracing::debug!(%leftover, "the directory stays until the next start sweeps it");
        }
    }
}

/// Removes what killed supervisors of this user have left below `base`, and returns how many
/// there were.
///
/// # Errors
/// The first failure, after all others were tried.
pub(super) fn sweep(base: &Path) -> Result<usize, PlaceError> {
    let mut removed = 0;
    let mut failed = Ok(());
    let entries = fs::read_dir(base).map_err(PlaceError::at("listing", base))?;
    let caller = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        // Another user's may be anything, and is that user's to remove.
        if !ours || !entry.metadata().is_ok_and(|found| found.uid() == caller) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = open_directory(&path) else {
            continue;
        };
        let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        // Where another start has removed it, the name may be somebody's again.
        if locked.is_err() || is_removed(&lock) {
            continue;
        }
        match remove(&path) {
            Ok(()) => removed += 1,
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed.map(|()| removed)
}

/// Removes a directory however deep it is, with one descriptor for two levels: a directory below
/// a directory is moved up before it is emptied.
fn remove(top: &Path) -> Result<(), PlaceError> {
    let failed = |error: Errno| PlaceError::at("removing", top)(error);
    let opened = match open_directory(top) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(PlaceError::at("opening", top)(error)),
    };
    let mut next = 0_u64;
    loop {
        let directories = empty(&opened, None, &mut next).map_err(failed)?;
        if directories.is_empty() {
            return fs::remove_dir(top).map_err(PlaceError::at("removing", top));
        }
        for name in directories {
            rustix::fs::chmodat(&opened, &name, Mode::RWXU, AtFlags::empty()).map_err(failed)?;
            let inner =
                rustix::fs::openat(&opened, &name, directory(), Mode::empty()).map_err(failed)?;
            empty(&inner, Some(&opened), &mut next).map_err(failed)?;
            rustix::fs::unlinkat(&opened, &name, AtFlags::REMOVEDIR).map_err(failed)?;
        }
    }
}

/// Removes the files of a directory. Its directories are moved up into `above`, or told where
/// there is nothing above.
fn empty(
    dir: &OwnedFd,
    above: Option<&OwnedFd>,
    next: &mut u64,
) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut directories = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            continue;
        }
        let Some(above) = above else {
            directories.push(name.to_owned());
            continue;
        };
        // Moving a directory changes its "..", for which it must be writable.
        rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
        loop {
            *next += 1;
            match rustix::fs::renameat(dir, name, above, format!("moved-{next}")) {
                // A removal that was cut short has used the name.
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                moved => break moved?,
            }
        }
    }
    Ok(directories)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, directory(), Mode::empty())?)
}

/// Makes a directory that was not there, with this mode whatever the umask says.
fn make_directory(path: &Path, mode: u32) -> Result<(), PlaceError> {
    rustix::fs::mkdirat(CWD, path, Mode::RWXU).map_err(PlaceError::at("making", path))?;
    set_mode(path, mode)
}

/// The directory around it is the caller's alone.
fn set_mode(path: &Path, mode: u32) -> Result<(), PlaceError> {
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
        .map_err(PlaceError::at("setting the mode of", path))
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_tree_is_removed_whole() {
        let layout = Layout::choose().unwrap();
        let place = Place::make(
            &layout,
            &[("file".to_owned(), b"x".as_slice().into())],
            None,
        )
        .unwrap();
        // Deeper than descriptors or a path reach, with a directory that may not be entered.
        let start = open_directory(&layout.tmp()).unwrap();
        let mut dir = start.try_clone().unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc", &dir, "link").unwrap();
            dir = rustix::fs::openat(&dir, "d", directory(), Mode::empty()).unwrap();
        }
        rustix::fs::mkdirat(&dir, "closed", Mode::empty()).unwrap();
        place.remove().unwrap();
        assert!(!layout.top.exists());
        assert!(Path::new("/etc/passwd").exists());
    }

    /// As a killed removal leaves it: some directories have been moved up and are not emptied yet.
    #[test]
    fn a_removal_that_was_cut_short_is_finished() {
        let layout = Layout::choose().unwrap();
        for number in 1..9 {
            let moved = layout.top.join(format!("moved-{number}"));
            fs::create_dir_all(moved.join("a/a")).unwrap();
            fs::create_dir_all(moved.join("b")).unwrap();
            fs::write(moved.join("a/a/file"), b"x").unwrap();
        }
        // Another test sweeps.
        let lock = open_directory(&layout.top).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        remove(&layout.top).unwrap();
        assert!(!layout.top.exists());
    }

    #[test]
    fn a_start_that_sweeps_does_not_take_the_directory_of_another() {
        let base = std::env::temp_dir().join(format!("sweeps-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        sweep(&base).unwrap();
                    }
                });
            }
            let kept = std::panic::catch_unwind(|| {
                for number in 0..2000 {
                    let top = base.join(format!("{PREFIX}{number}"));
                    let base = base.clone();
                    let place = Place::make(&Layout { base, top }, &[], None).unwrap();
                    assert!(place.layout.tmp().exists() && place.layout.run().exists());
                    place.remove().unwrap();
                }
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            kept.unwrap();
        });
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn only_a_directory_that_nobody_holds_is_swept() {
        let layout = Layout::choose().unwrap();
        let place = Place::make(&layout, &[], None).unwrap();
        sweep(layout.base()).unwrap();
        assert!(layout.tmp().exists(), "it is in use");
        // As a killed supervisor leaves it: there, and without its lock.
        let left = layout
            .base()
            .join(format!("{PREFIX}left-{}", std::process::id()));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("file"), b"x").unwrap();
        assert!(sweep(layout.base()).unwrap() >= 1);
        assert!(!left.exists());
        place.remove().unwrap();
        assert!(!layout.top.exists());
    }
}
