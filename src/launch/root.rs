//! The new root, put together by descriptors inside the child's mount namespace.
//!
//! Every path inside is resolved with `RESOLVE_IN_ROOT` from the new root, so that a symbolic
//! link in somebody's root file system leads nowhere else. Trusts the [`Source`]s it is given;
//! never opens a host path by itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::notice::{Failure, FailureKind};
use super::request::Piece;
use super::source::Source;
use crate::policy::{Link, Mask, MaskKind};
use crate::sys::mount::{self, attr};

/// The root under construction.
pub struct Root {
    base: OwnedFd,
    root: OwnedFd,
    ids: (u32, u32),
    /// What was found in a directory that is shown by its entries, and is not shown itself.
    left_out: Vec<PathBuf>,
    /// What must hold once the root is entered: path and mount attributes.
    pub expected: Vec<(PathBuf, u64)>,
}

/// The name of the new root below the base directory.
pub const ROOT_NAME: &str = "root";

impl Root {
    /// Mounts a private base on `base` and an empty root below it. `ids` own what the worker may
    /// write.
    ///
    /// # Errors
    /// What the kernel says of the mounts.
    pub fn begin(base: &Path, ids: (u32, u32)) -> Result<Root, Failure> {
        let fail = |cause| {
            Failure::new(
                "mount the base of the root on",
                base.display().to_string(),
                cause,
            )
        };
        let under = rustix::fs::open(base, directory(), Mode::empty())
            .map_err(|e| fail(io::Error::from(e)))?;
        let tree = small_tmpfs("1m", "0755").map_err(fail)?;
        mount::attach(tree.as_fd(), under.as_fd()).map_err(fail)?;
        rustix::fs::mkdirat(&tree, ROOT_NAME, Mode::from_raw_mode(0o755))
            .map_err(|e| fail(e.into()))?;
        let place = rustix::fs::openat(&tree, ROOT_NAME, directory(), Mode::empty())
            .map_err(|e| fail(e.into()))?;
        let root = small_tmpfs("4m", "0755").map_err(fail)?;
        mount::attach(root.as_fd(), place.as_fd()).map_err(fail)?;
        for (name, kind) in [("hidden-dir", true), ("hidden-file", false)] {
            make(tree.as_fd(), Path::new(name), kind, 0).map_err(fail)?;
        }
        // libcontainer makes the root read-only on its way into it, and /dev with it.
        let expected = vec![(PathBuf::from("/"), attr::RDONLY | no_exec_unless(true))];
        Ok(Root {
            base: tree,
            root,
            ids,
            left_out: Vec::new(),
            expected,
        })
    }

    /// Makes one piece of the bundle that is not a bind.
    ///
    /// # Errors
    /// The piece, and what the kernel said.
    pub fn add(&mut self, piece: &Piece) -> Result<(), Failure> {
        match piece {
            Piece::Bind { .. } => Ok(()),
            Piece::Dir { path } => self.place(path, true).map(|_| ()),
            Piece::Link { path, target } => self.link(path, target),
            Piece::File { path, bytes } => self.file(path, bytes),
            Piece::Tmpfs {
                path,
                bytes,
                executable,
            } => {
                let tree = private_tmpfs(*bytes, "1777", *executable)
                    .map_err(|cause| failed("mount tmpfs on", path, cause))?;
                self.attach(path, tree.as_fd())?;
                self.expected
                    .push((path.clone(), no_exec_unless(*executable)));
                Ok(())
            }
            Piece::Proc { path } => self.filesystem(c"proc", path, &[], FailureKind::Namespaces),
            Piece::Mqueue { path } => self.filesystem(c"mqueue", path, &[], FailureKind::Other),
            Piece::Dev { path, shm_bytes } => self.dev(path, *shm_bytes),
        }
    }

    /// Puts a host tree into its place.
    ///
    /// # Errors
    /// The path, and what the kernel said.
    pub fn bind(&mut self, source: &mut Source) -> Result<(), Failure> {
        source.open(None)?;
        let Some(tree) = source.tree.take() else {
            self.left_out.push(source.path.clone());
            return Ok(());
        };
        let target = self.place(&source.path, source.dir)?;
        mount::attach(tree.as_fd(), target.as_fd())
            .map_err(|cause| failed("mount on", &source.path, cause))?;
        // What was mounted at or below it before is covered now, as a script is in a folder that
        // may be written.
        self.expected
            .retain(|(path, _)| !path.starts_with(&source.path));
        self.expected.push((source.path.clone(), source.attributes));
        Ok(())
    }

    /// Makes a symbolic link that a rule named; one that is there already stays.
    ///
    /// # Errors
    /// The path, and what the kernel said.
    pub fn policy_link(&mut self, link: &Link) -> Result<(), Failure> {
        match self.try_link(&link.path, &link.target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(|cause| failed("link", &link.path, cause)),
        }
    }

    /// Takes a path away from the worker.
    ///
    /// # Errors
    /// The path, and what the kernel said; a path that is not there is an error, because the
    /// plan says that it is, unless it was left out.
    pub fn mask(&mut self, mask: &Mask) -> Result<(), Failure> {
        let fail = |cause| failed("mask", &mask.path, cause);
        let target = match self.resolve(&mask.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.left_out(&mask.path) => {
                return Ok(());
            }
            target => target.map_err(fail)?,
        };
        let (tree, set) = match mask.kind {
            MaskKind::Hidden => {
                let name = if mask.dir {
                    "hidden-dir"
                } else {
                    "hidden-file"
                };
                let cover = mount::clone_tree(Some(self.base.as_fd()), Path::new(name));
                (
                    cover.map_err(fail)?,
                    attr::RDONLY | attr::NOEXEC | attr::NOSUID | attr::NODEV,
                )
            }
            MaskKind::ReadOnly => (
                mount::clone_tree(Some(target.as_fd()), Path::new("")).map_err(fail)?,
                attr::RDONLY,
            ),
            MaskKind::NoExec => (
                mount::clone_tree(Some(target.as_fd()), Path::new("")).map_err(fail)?,
                attr::NOEXEC,
            ),
        };
        mount::set_attributes(tree.as_fd(), set, None).map_err(fail)?;
        mount::attach(tree.as_fd(), target.as_fd()).map_err(fail)?;
        // A directory of mode 0 cannot be asked for its flags; its emptiness speaks for itself.
        if mask.kind != MaskKind::Hidden {
            self.expected.push((mask.path.clone(), set));
        }
        Ok(())
    }

    fn left_out(&self, path: &Path) -> bool {
        self.left_out.iter().any(|place| path.starts_with(place))
    }

    /// Shows one file of the base (or of another descriptor) inside the root.
    ///
    /// # Errors
    /// The path, and what the kernel said.
    pub fn show(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &Path,
        path: &Path,
        set: u64,
    ) -> Result<(), Failure> {
        let fail = |cause| failed("mount on", path, cause);
        let tree = mount::clone_tree(Some(dir), name).map_err(fail)?;
        mount::set_attributes(tree.as_fd(), set, None).map_err(fail)?;
        let target = self.place(path, false)?;
        mount::attach(tree.as_fd(), target.as_fd()).map_err(fail)
    }

    /// Opens a path of the root, following its links inside the root.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(
            &self.root,
            relative(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }

    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// The file or directory at `path`, made with its parents if nothing is there.
    fn place(&self, path: &Path, dir: bool) -> Result<OwnedFd, Failure> {
        let fail = |cause| failed("make", path, cause);
        match self.resolve(path) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(fail(io::Error::from_raw_os_error(libc::EINVAL)));
        };
        let parent = self.place(parent, true)?;
        make(
            parent.as_fd(),
            Path::new(name),
            dir,
            if dir { 0o755 } else { 0o644 },
        )
        .map_err(fail)?;
        self.resolve(path).map_err(fail)
    }

    fn attach(&self, path: &Path, tree: BorrowedFd<'_>) -> Result<(), Failure> {
        let target = self.place(path, true)?;
        mount::attach(tree, target.as_fd()).map_err(|cause| failed("mount on", path, cause))
    }

    fn link(&self, path: &Path, target: &Path) -> Result<(), Failure> {
        self.try_link(path, target)
            .map_err(|cause| failed("link", path, cause))
    }

    fn try_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let parent = self.place(parent, true).map_err(io::Error::other)?;
        Ok(rustix::fs::symlinkat(target, &parent, name)?)
    }

    fn file(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let fail = |cause: io::Error| failed("write", path, cause);
        let made = self.place(path, false)?;
        // Through /proc, because an O_PATH descriptor cannot be written.
        let file = format!("/proc/self/fd/{}", made.as_raw_fd());
        std::fs::write(file, bytes).map_err(fail)
    }

    fn filesystem(
        &mut self,
        kind: &std::ffi::CStr,
        path: &Path,
        options: &[(&std::ffi::CStr, &std::ffi::CStr)],
        failure: FailureKind,
    ) -> Result<(), Failure> {
        let set = attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let tree = mount::new_filesystem(kind, options, set).map_err(|cause| {
            failed(&format!("mount {} on", kind.to_string_lossy()), path, cause).of_kind(failure)
        })?;
        self.attach(path, tree.as_fd())?;
        self.expected.push((path.to_owned(), set));
        Ok(())
    }

    fn dev(&mut self, path: &Path, shm_bytes: u64) -> Result<(), Failure> {
        let fail = |cause| failed("mount the devices on", path, cause);
        let tree = mount::new_filesystem(
            c"tmpfs",
            &[(c"size", c"64k"), (c"mode", c"0755")],
            attr::NOSUID | attr::NOEXEC,
        )
        .map_err(fail)?;
        self.attach(path, tree.as_fd())?;
        self.expected
            .push((path.to_owned(), attr::RDONLY | attr::NOSUID | attr::NOEXEC));
        let pts = mount::new_filesystem(
            c"devpts",
            &[
                (c"newinstance", c""),
                (c"ptmxmode", c"0666"),
                (c"mode", c"0620"),
                // All instances together have kernel.pty.max, which one worker could use up.
                (c"max", c"64"),
            ],
            attr::NOSUID | attr::NOEXEC,
        )
        .map_err(fail)?;
        self.attach(&path.join("pts"), pts.as_fd())?;
        self.expected
            .push((path.join("pts"), attr::NOSUID | attr::NOEXEC));
        let shm = private_tmpfs(shm_bytes, "1777", false).map_err(fail)?;
        self.attach(&path.join("shm"), shm.as_fd())?;
        self.expected
            .push((path.join("shm"), no_exec_unless(false)));
        Ok(())
    }

    /// A private file system for the channel, attached below the base, and a name in it.
    ///
    /// # Errors
    /// What the kernel says of the mount.
    pub fn channel_space(&self, bytes: u64) -> Result<OwnedFd, Failure> {
        let fail = |cause: io::Error| Failure::new("mount", "the channel's file system", cause);
        make(self.base.as_fd(), Path::new("channel"), true, 0o755).map_err(fail)?;
        let place = rustix::fs::openat(&self.base, "channel", directory(), Mode::empty())
            .map_err(|e| fail(e.into()))?;
        let tree = private_tmpfs(bytes + (64 << 10), "0755", false).map_err(fail)?;
        mount::attach(tree.as_fd(), place.as_fd()).map_err(fail)?;
        Ok(tree)
    }

    /// Gives a file to the worker.
    ///
    /// # Errors
    /// What chown(2) says.
    pub fn give_to_worker(&self, dir: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let uid = rustix::fs::Uid::from_raw(self.ids.0);
        let gid = rustix::fs::Gid::from_raw(self.ids.1);
        Ok(rustix::fs::chownat(
            dir,
            name,
            Some(uid),
            Some(gid),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

fn failed(operation: &str, path: &Path, cause: io::Error) -> Failure {
    Failure::new(operation, path.display().to_string(), cause)
}

fn directory() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

fn no_exec_unless(executable: bool) -> u64 {
    attr::NOSUID | attr::NODEV | if executable { 0 } else { attr::NOEXEC }
}

fn make(dir: BorrowedFd<'_>, name: &Path, is_dir: bool, mode: u32) -> io::Result<()> {
    if is_dir {
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

fn small_tmpfs(size: &str, mode: &str) -> io::Result<OwnedFd> {
    let (size, mode) = (c_string(size)?, c_string(mode)?);
    mount::new_filesystem(
        c"tmpfs",
        &[(c"size", &size), (c"mode", &mode)],
        attr::NOSUID | attr::NODEV,
    )
}

/// One inode for each 4 KiB: a flood of empty files ends with ENOSPC as one of bytes does.
fn private_tmpfs(bytes: u64, mode: &str, executable: bool) -> io::Result<OwnedFd> {
    let inodes = c_string(&(bytes / 4096).max(64).to_string())?;
    let (bytes, mode) = (c_string(&bytes.to_string())?, c_string(mode)?);
    mount::new_filesystem(
        c"tmpfs",
        &[(c"size", &bytes), (c"mode", &mode), (c"nr_inodes", &inodes)],
        no_exec_unless(executable),
    )
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
