//! One entry of `mounts`: where it goes, what may go there, and how it gets there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::inside::{Last, Missing, Place};
use super::plan::{Kind, Mount, lexical};
use super::{Assembled, failed, filesystem};
use crate::launch::Failure;
use crate::sys::mount::{self, Reach, attr};

/// What may be mounted below /proc: files that lxcfs and its like show in the kernel's place.
const BELOW_PROC: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

impl Assembled {
    /// Makes one entry of `mounts`.
    pub(super) fn mount(&mut self, mount: &mut Mount) -> Result<(), Failure> {
        match mount.kind {
            Kind::Bind(reach) => self.bind(mount, reach),
            Kind::Remount => self.remount(mount),
            Kind::Cgroup => self.cgroup(mount),
            Kind::Fresh(ref kind) => self.fresh(mount, kind),
        }
    }

    pub(super) fn target(
        &self,
        mount: &Mount,
        kind: impl FnOnce() -> io::Result<Missing>,
    ) -> io::Result<Place> {
        if mount.options.target_link {
            self.inside.existing(&mount.target, Last::Itself)
        } else {
            self.inside.place(&mount.target, Last::Followed, kind)
        }
    }

    /// Puts a detached tree on its place, and gives it its propagation.
    pub(super) fn attach(
        &mut self,
        mount: &Mount,
        tree: OwnedFd,
        place: &Place,
        late: bool,
    ) -> Result<(), Failure> {
        let fail = failed("mount on", &mount.target);
        let covers_root = place.path.as_os_str().is_empty();
        if covers_root && lexical(&mount.target).is_none_or(|path| path != place.path) {
            return Err(fail(io::Error::other(
                "the path leads to the root itself, which it does not say",
            )));
        }
        mount::attach(tree.as_fd(), place.fd.as_fd()).map_err(&fail)?;
        for propagation in &mount.options.propagation {
            mount::change(tree.as_fd(), propagation.change(), propagation.reach)
                .map_err(failed("set the propagation of the mount on", &mount.target))?;
        }
        if covers_root {
            self.inside = super::Inside::new(tree);
        } else if late && mount.options.own.set & attr::RDONLY != 0 {
            self.late.push((tree, mount.target.clone()));
        } else if mount.is("proc") && mount.options.own.set & attr::RDONLY == 0 {
            self.proc = Some(tree);
        }
        Ok(())
    }

    /// Mounts a detached tree of the launch's own on a directory, which is made where there is none.
    ///
    /// # Errors
    /// There is no directory and none can be made; it is the root itself or below /proc.
    pub fn show(&self, tree: BorrowedFd<'_>, target: &Path) -> Result<(), Failure> {
        let fail = failed("mount on", target);
        let place = self.inside.directory(target).map_err(&fail)?;
        if lexical(target).is_none_or(|path| path != place.path) {
            return Err(fail(io::Error::other(
                "a link of the image leads elsewhere, where it would be somebody else's",
            )));
        }
        may_mount(&place).map_err(&fail)?;
        mount::attach(tree, place.fd.as_fd()).map_err(&fail)
    }

    fn remount(&mut self, mount: &Mount) -> Result<(), Failure> {
        let fail = failed("remount", &mount.target);
        let place = self
            .inside
            .existing(&mount.target, Last::Followed)
            .map_err(&fail)?;
        let options = &mount.options;
        if options.bind.is_none() && !(options.data.is_empty() && options.superblock.is_empty()) {
            let mut data: Vec<_> = options
                .superblock
                .iter()
                .map(|flag| (*flag, None))
                .collect();
            let given = options.data.iter();
            data.extend(given.map(|(name, value)| (name.as_str(), value.as_deref())));
            filesystem::reconfigure(place.fd.as_fd(), &data)
                .map_err(|refused| fail(io::Error::other(refused.to_string())))?;
        }
        mount::change(place.fd.as_fd(), options.own.change(), Reach::One).map_err(&fail)?;
        if !options.tree.is_empty() {
            mount::change(place.fd.as_fd(), options.tree.change(), Reach::Tree).map_err(&fail)?;
        }
        for propagation in &options.propagation {
            mount::change(place.fd.as_fd(), propagation.change(), propagation.reach)
                .map_err(&fail)?;
        }
        Ok(())
    }
}

/// What is mounted below /proc would be believed as the kernel's word, or be written to in its
/// place.
pub(super) fn may_mount(place: &Place) -> io::Result<()> {
    if place.path == Path::new("proc") {
        return Err(io::Error::other("only a procfs can be mounted there"));
    }
    if place.path.starts_with("proc")
        && !BELOW_PROC.iter().any(|path| place.path == Path::new(path))
    {
        return Err(io::Error::other(format!(
            "the path leads to /{}, and nothing may be mounted there inside /proc",
            place.path.display()
        )));
    }
    Ok(())
}
