//! From an empty mount namespace to the container's root, before it is entered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::inside::Inside;
use super::options::Propagation;
use super::plan::Plan;
use super::{Assembled, Rootfs, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach};

impl Rootfs {
    /// Puts the root together, in the child: in its mount namespace, as the root of its user
    /// namespace, in its control group, with one thread. The umask is 0 from here on, for the
    /// modes of what is made; the caller sets the container's own at the end.
    ///
    /// # Errors
    /// The step, the path, and what the kernel said.
    pub fn assemble(self) -> Result<Assembled, Failure> {
        let Rootfs {
            mut plan,
            facts,
            shared,
        } = self;
        rustix::process::umask(Mode::empty());
        let outside = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open", Path::new("/"))(error.into()))?;
        let has_mounts = facts.mount_namespace || shared.is_some();
        let root = match shared {
            _ if facts.mount_namespace => bind_onto_itself(&plan, outside.as_fd())?,
            Some(shared) => {
                let path = plan.bundle.join(&plan.root);
                shared.attach().map_err(failed("bind onto itself", &path))?
            }
            None => open_root(&plan)?,
        };
        let mut mounts = std::mem::take(&mut plan.mounts);
        let mut assembled = Assembled {
            plan,
            facts,
            has_mounts,
            inside: Inside::new(root),
            outside,
            late: Vec::new(),
            proc: None,
            dev: None,
        };
        for mount in &mut mounts {
            assembled.mount(mount)?;
        }
        if assembled.plan.fills_dev {
            assembled.fill_dev()?;
        }
        assembled.make_cwd()?;
        Ok(assembled)
    }
}

impl Assembled {
    fn make_cwd(&self) -> Result<(), Failure> {
        let cwd = &self.plan.cwd;
        match self.inside.directory(cwd) {
            Ok(_) => Ok(()),
            // Whom the directory is open to is the container's user, who is not this one.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
            Err(error) => Err(failed("make the working directory", cwd)(error)),
        }
    }
}

/// The root, whose path leads through no symbolic link: what it leads to could be changed by
/// whoever made the link.
pub(super) fn open_root(plan: &Plan) -> Result<OwnedFd, Failure> {
    let named = plan.bundle.join(&plan.root);
    let fail = |error: Errno| {
        let failure = failed("open the root file system", &named)(error.into());
        match error {
            Errno::LOOP => Failure {
                cause: "it is a symbolic link, or leads through one: name the directory itself"
                    .to_owned(),
                ..failure
            },
            _ => failure,
        }
    };
    let bundle: OwnedFd;
    let from: BorrowedFd<'_> = if plan.root.is_absolute() {
        CWD
    } else {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        bundle = rustix::fs::open(&plan.bundle, flags, Mode::empty()).map_err(fail)?;
        bundle.as_fd()
    };
    rustix::fs::openat2(
        from,
        &plan.root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
    .map_err(fail)
}

/// Makes the root a mount of its own, which nothing outside sees change. pivot_root(2) wants one.
fn bind_onto_itself(plan: &Plan, outside: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    // Slaves, as other runtimes have it: a private copy would keep busy what the host unmounts
    // while this process is being born. What cannot be bound could not be shown in the container.
    let slaves = Propagation {
        kind: libc::MS_SLAVE,
        reach: Reach::Tree,
    };
    let asked = plan.propagation;
    let propagation = asked
        .filter(|asked| asked.kind != libc::MS_UNBINDABLE)
        .unwrap_or(slaves);
    mount::change(outside, propagation.change(), propagation.reach)
        .map_err(|cause| Failure::new("change the propagation of", "the mounts", cause))?;
    let found = open_root(plan)?;
    let path = plan.bundle.join(&plan.root);
    if !propagation.hears_only() {
        set_parent_apart(found.as_fd(), propagation.kind)
            .map_err(failed("set apart the mount that holds", &path))?;
    }
    let bound = || -> io::Result<OwnedFd> {
        let tree = mount::clone_of(Some(found.as_fd()), Path::new(""), Reach::Tree, false)?;
        let hears_host = asked.is_some_and(|asked| asked.kind == libc::MS_SLAVE);
        if !hears_host {
            let private = Change {
                propagation: libc::MS_PRIVATE,
                ..Change::default()
            };
            mount::change(tree.as_fd(), private, Reach::One)?;
        }
        mount::attach(tree.as_fd(), found.as_fd())?;
        Ok(tree)
    };
    bound().map_err(failed("bind onto itself", &path))
}

/// What is mounted on the root must not show on the host, and pivot_root(2) refuses a root whose
/// parent shares. The mount that a directory lies in is found by going up: only the root of a mount
/// can be changed, and any other answers EINVAL.
fn set_parent_apart(from: BorrowedFd<'_>, kind: u64) -> io::Result<()> {
    let apart = Change {
        propagation: match kind {
            libc::MS_SLAVE => libc::MS_SLAVE,
            _ => libc::MS_PRIVATE,
        },
        ..Change::default()
    };
    let mut here = from.try_clone_to_owned()?;
    // No path is longer than PATH_MAX, and no name shorter than a letter and a slash.
    for _ in 0..2048 {
        match mount::change(here.as_fd(), apart, Reach::One) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        here = rustix::fs::openat(&here, "..", flags, Mode::empty())?;
    }
    Err(Errno::INVAL.into())
}
