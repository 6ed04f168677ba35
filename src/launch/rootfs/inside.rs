//! Paths inside a root file system that nobody vouches for.
//!
//! A path is resolved once, from the root's descriptor, and what it led to is used by its
//! descriptor from then on: exchanging a directory for a symbolic link afterwards changes nothing.
//! Links are followed inside the root alone, and never the magic ones of procfs.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::plan::lexical;

/// How many symbolic links one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// How often a resolution is tried again that a rename somewhere disturbed.
const TRIES: usize = 128;

/// A place inside the root.
pub(super) struct Place {
    pub fd: OwnedFd,
    /// Where that is, from the root on, with every link followed. Not for looking it up again.
    pub path: PathBuf,
    /// Whether nothing was there before.
    pub made: bool,
}

/// What is made where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Directory,
    File,
}

/// What a symbolic link at the end of a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// What it leads to.
    Followed,
    /// Itself.
    Itself,
}

/// The root.
pub(super) struct Inside {
    root: OwnedFd,
}

impl Inside {
    pub(super) fn new(root: OwnedFd) -> Inside {
        Inside { root }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens what is there, following links inside the root.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlags::empty())
    }

    fn resolve(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                found => return Ok(found?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The place at `path`, if there is one; `kind` is asked what to make only if there is none.
    pub(super) fn place(
        &self,
        path: &Path,
        last: Last,
        kind: impl FnOnce() -> io::Result<Missing>,
    ) -> io::Result<Place> {
        if let Some(plain) = lexical(path) {
            match self.plain(&plain)? {
                Plain::Found(fd) => {
                    return Ok(Place {
                        fd,
                        path: plain,
                        made: false,
                    });
                }
                Plain::Missing(parent) => {
                    let missing = kind()?;
                    if let Some(fd) = make_new(parent.as_fd(), &plain, missing)? {
                        return Ok(Place {
                            fd,
                            path: plain,
                            made: true,
                        });
                    }
                    // Something is there after all, such as a link that leads nowhere.
                    return Walk::new(self.root.as_fd(), path).run(last, Some(|| Ok(missing)));
                }
                Plain::Unknown => {}
            }
        }
        Walk::new(self.root.as_fd(), path).run(last, Some(kind))
    }

    /// What a path is that may lead through no link: nearly every one is told by one call or two.
    fn plain(&self, path: &Path) -> io::Result<Plain> {
        let known = |found: io::Result<OwnedFd>| match found {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let no_links = ResolveFlags::NO_SYMLINKS;
        match self.resolve(path, OFlags::PATH, no_links) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            found => return Ok(known(found)?.map_or(Plain::Unknown, Plain::Found)),
        }
        let Some(parent) = path.parent() else {
            return Ok(Plain::Unknown);
        };
        let parent = self.resolve(parent, OFlags::PATH, no_links);
        Ok(known(parent)?.map_or(Plain::Unknown, Plain::Missing))
    }

    /// The place at `path`, where there has to be one.
    pub(super) fn existing(&self, path: &Path, last: Last) -> io::Result<Place> {
        let nothing: Option<fn() -> io::Result<Missing>> = None;
        Walk::new(self.root.as_fd(), path).run(last, nothing)
    }

    /// The directory at `path`, made with those above it where there is none.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Place> {
        self.place(path, Last::Followed, || Ok(Missing::Directory))
    }

    /// The directory that `path` lies in, made where there is none, and its last name.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path has no last name",
            ));
        };
        Ok((self.directory(parent)?.fd, name))
    }
}

/// What there is at a path without links.
enum Plain {
    Found(OwnedFd),
    /// Nothing, in this directory.
    Missing(OwnedFd),
    /// It leads through a link, or more than its last name is missing.
    Unknown,
}

/// One name after the other, with every directory on the way held open. What leads up is a
/// directory that was gone through before, never the kernel's `..`.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    above: Vec<(OsString, OwnedFd)>,
    left: VecDeque<OsString>,
    links: usize,
    made: bool,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>, path: &Path) -> Walk<'a> {
        Walk {
            root,
            above: Vec::new(),
            left: names(path).collect(),
            links: 0,
            made: false,
        }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, |(_, fd)| fd.as_fd())
    }

    fn run(
        mut self,
        last: Last,
        kind: Option<impl FnOnce() -> io::Result<Missing>>,
    ) -> io::Result<Place> {
        let makes = kind.is_some();
        let mut kind = kind;
        while let Some(name) = self.left.pop_front() {
            if name == ".." {
                self.above.pop();
                continue;
            }
            let is_last = self.left.is_empty();
            match open_name(self.here(), &name) {
                Ok(fd) => self.step(name, fd, is_last, last)?,
                Err(Errno::NOENT) if makes => {
                    let missing = match kind.take_if(|_| is_last) {
                        Some(kind) => kind()?,
                        None => Missing::Directory,
                    };
                    let fd = make(self.here(), &name, missing)?;
                    self.made = is_last;
                    self.above.push((name, fd));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.end()
    }

    fn step(&mut self, name: OsString, fd: OwnedFd, is_last: bool, last: Last) -> io::Result<()> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if kind == FileType::Symlink && !(is_last && last == Last::Itself) {
            self.links += 1;
            if self.links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
            let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                self.above.clear();
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                self.left.push_front(name);
            }
            return Ok(());
        }
        if kind != FileType::Directory && !is_last {
            return Err(Errno::NOTDIR.into());
        }
        self.above.push((name, fd));
        Ok(())
    }

    fn end(mut self) -> io::Result<Place> {
        let path = self.above.iter().map(|(name, _)| name).collect();
        let fd = match self.above.pop() {
            Some((_, fd)) => fd,
            None => self.root.try_clone_to_owned()?,
        };
        Ok(Place {
            fd,
            path,
            made: self.made,
        })
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn open_name(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Makes one name, and opens it. Who else makes it at the same time may; a link of theirs is not
/// followed.
fn make(dir: BorrowedFd<'_>, name: &OsStr, kind: Missing) -> io::Result<OwnedFd> {
    if let Some(made) = make_new(dir, Path::new(name), kind)? {
        return Ok(made);
    }
    let fd = open_name(dir, name)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Ok(fd),
    }
}

/// Makes the last name of `path` in `dir`; none when something has that name.
fn make_new(dir: BorrowedFd<'_>, path: &Path, kind: Missing) -> io::Result<Option<OwnedFd>> {
    let name = path.file_name().unwrap_or_default();
    let made = match kind {
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))
        }
        Missing::Directory => {
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).and_then(|()| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(dir, name, flags, Mode::empty())
            })
        }
    };
    match made {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
