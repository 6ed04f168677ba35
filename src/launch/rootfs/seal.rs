//! The last steps inside the root: sysctls, what becomes read-only, what is masked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Assembled, failed, filesystem, sysctl};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};

const READ_ONLY: Change = Change {
    set: attr::RDONLY,
    clear: 0,
    propagation: 0,
};

/// The number of /dev/null.
const NULL: (u32, u32) = (1, 3);

impl Assembled {
    /// Takes from the container what it must not have, once the root is entered and the console is
    /// there: nothing is made inside the root after this.
    ///
    /// # Errors
    /// The step, the path, and what the kernel said.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.own_null()
            .map_err(failed("open", Path::new("/dev/null")))?;
        for (tree, path) in self.late.drain(..) {
            mount::change(tree.as_fd(), READ_ONLY, Reach::One)
                .map_err(failed("make read-only", &path))?;
        }
        if self.plan.readonly {
            mount::change(self.inside.root(), READ_ONLY, Reach::One)
                .map_err(failed("make read-only", Path::new("/")))?;
        }
        sysctl::write(&self.plan.sysctls, self.proc.as_ref().map(AsFd::as_fd))?;
        for path in &self.plan.readonly_paths {
            self.make_read_only(path)
                .map_err(failed("make read-only", path))?;
        }
        let mut cover = Cover::default();
        for path in &self.plan.masked {
            self.mask(path, &mut cover).map_err(failed("mask", path))?;
        }
        Ok(())
    }

    /// Standard descriptors that are the host's /dev/null become the container's, so that no
    /// descriptor of the host's /dev goes in.
    fn own_null(&self) -> io::Result<()> {
        if !self.plan.fills_dev {
            return Ok(());
        }
        let mut null: Option<OwnedFd> = None;
        for number in 0..3 {
            // A descriptor that is not open is not the host's.
            let is_host = crate::sys::process::descriptor_device(number) == Some(NULL);
            if !is_host {
                continue;
            }
            let own = match null.take() {
                Some(own) => own,
                None => self.open_null(OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)?,
            };
            crate::sys::process::duplicate_onto(raw(own.as_fd()), number)?;
            null = Some(own);
        }
        Ok(())
    }

    /// The container's /dev/null, if it is one: an image that brings another would have what is
    /// masked led to it.
    fn open_null(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let null = rustix::fs::openat2(
            self.inside.root(),
            "dev/null",
            flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        let found = rustix::fs::fstat(&null)?;
        let number = (
            rustix::fs::major(found.st_rdev),
            rustix::fs::minor(found.st_rdev),
        );
        if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice || number != NULL {
            return Err(io::Error::other(
                "the container's /dev/null is not the null device",
            ));
        }
        Ok(null)
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        let Some(place) = self.present(path)? else {
            return Ok(());
        };
        let tree = mount::clone_of(Some(place.as_fd()), Path::new(""), Reach::Tree, false)?;
        mount::change(tree.as_fd(), READ_ONLY, Reach::Tree)?;
        mount::attach(tree.as_fd(), place.as_fd())
    }

    fn mask(&self, path: &Path, cover: &mut Cover) -> io::Result<()> {
        let Some(place) = self.present(path)? else {
            return Ok(());
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
        let tree = if kind == FileType::Directory {
            cover.directory(self.plan.label.as_deref())?
        } else {
            cover.file(|| self.open_null(OFlags::PATH))?
        };
        mount::attach(tree.as_fd(), place.as_fd())
    }

    /// What is at a path; nothing to take away where there is nothing.
    fn present(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        match self.inside.open(path, OFlags::PATH) {
            Ok(place) => Ok(Some(place)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is put over masked paths: one file and one directory for all of them.
#[derive(Default)]
struct Cover {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Cover {
    fn file(&mut self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
        let null = match &self.null {
            Some(null) => null,
            None => self.null.insert(open()?),
        };
        mount::clone_of(Some(null.as_fd()), Path::new(""), Reach::One, false)
    }

    fn directory(&mut self, label: Option<&str>) -> io::Result<OwnedFd> {
        if let Some(empty) = &self.empty {
            return mount::clone_of(Some(empty.as_fd()), Path::new(""), Reach::One, false);
        }
        let mut data = vec![
            ("ro", None),
            ("nr_blocks", Some("1")),
            ("nr_inodes", Some("1")),
        ];
        data.extend(label.map(|label| ("context", Some(label))));
        let tree = match filesystem::plain(c"tmpfs", &data, attr::RDONLY) {
            // One kernel of Ubuntu wants two.
            Err(refused) if refused.errno == Errno::INVAL => {
                data[2] = ("nr_inodes", Some("2"));
                filesystem::plain(c"tmpfs", &data, attr::RDONLY)
            }
            made => made,
        };
        let tree = tree.map_err(|refused| io::Error::other(refused.to_string()))?;
        // It can be cloned once it is attached, which the caller does with it.
        self.empty = Some(tree.try_clone()?);
        Ok(tree)
    }
}

fn raw(fd: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}
