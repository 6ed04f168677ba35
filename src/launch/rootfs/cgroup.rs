//! A mount of the type cgroup: the container's own groups, of whichever version the host has.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::attach::may_mount;
use super::filesystem::{self, Words};
use super::inside::{Last, Missing};
use super::plan::Mount;
use super::{Assembled, Cgroups, Hierarchy, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};

const NOTHING_RUNS: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

impl Assembled {
    pub(super) fn cgroup(&mut self, mount: &Mount) -> Result<(), Failure> {
        let fail = failed("mount the control groups on", &mount.target);
        let place = self
            .inside
            .place(&mount.target, Last::Followed, || Ok(Missing::Directory))
            .map_err(&fail)?;
        may_mount(&place).map_err(&fail)?;
        let cgroups = std::mem::replace(&mut self.facts.cgroups, Cgroups::None);
        let result = match &cgroups {
            Cgroups::V2 { mount: host, group } => {
                let group = group.as_deref().filter(|_| self.facts.cgroup_namespace);
                let shown = group.unwrap_or(host);
                self.unified(mount, shown)
                    .map_err(&fail)
                    .and_then(|tree| self.attach(mount, tree, &place, false))
            }
            Cgroups::V1(hierarchies) => {
                let tree = directory().map_err(&fail)?;
                let ground = tree.try_clone().map_err(&fail)?;
                self.attach(mount, tree, &place, false)?;
                self.hierarchies(mount, hierarchies, ground.as_fd())
            }
            Cgroups::None => {
                let tree = directory().map_err(&fail)?;
                let ground = tree.try_clone().map_err(&fail)?;
                self.attach(mount, tree, &place, false)?;
                read_only(ground.as_fd()).map_err(&fail)
            }
        };
        self.facts.cgroups = cgroups;
        result
    }

    fn hierarchies(
        &self,
        mount: &Mount,
        hierarchies: &[Hierarchy],
        ground: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        for hierarchy in hierarchies {
            let place = mount.target.join(&hierarchy.name);
            self.hierarchy(mount, hierarchy, ground)
                .map_err(failed("mount a control group on", &place))?;
        }
        Ok(())
    }

    fn hierarchy(
        &self,
        mount: &Mount,
        hierarchy: &Hierarchy,
        ground: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let name = hierarchy.name.as_str();
        rustix::fs::mkdirat(ground, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(ground, name, flags, Mode::empty())?;
        let set = mount.options.own.fresh() | NOTHING_RUNS;
        let tree = if self.facts.cgroup_namespace {
            let words = hierarchy.options.split(',').map(|word| {
                word.split_once('=')
                    .map_or((word, None), |(name, value)| (name, Some(value)))
            });
            filesystem::plain(c"cgroup", &words.collect::<Vec<_>>(), set)
                .map_err(|refused| io::Error::other(refused.to_string()))?
        } else {
            let tree = self.copy_of(&hierarchy.group, Reach::Tree, false)?;
            let change = Change {
                set,
                ..Change::default()
            };
            mount::change(tree.as_fd(), change, Reach::Tree)?;
            tree
        };
        mount::attach(tree.as_fd(), place.as_fd())?;
        // A hierarchy of several controllers is found under the name of each.
        for alias in name.split(',').filter(|alias| *alias != name) {
            match rustix::fs::symlinkat(name, ground, OsStr::new(alias)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The one hierarchy of version 2: its own view, or where that cannot be had the host's of `shown`.
    fn unified(&self, mount: &Mount, shown: &Path) -> io::Result<OwnedFd> {
        let options = &mount.options;
        let given = options.data.iter();
        let data: Vec<_> = given
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let words = Words {
            source: mount.source.as_deref().and_then(Path::to_str),
            data: &data,
        };
        match filesystem::fresh(c"cgroup2", words, options.own.fresh()) {
            Ok(tree) => Ok(tree),
            // Without a cgroup namespace of its own a user namespace cannot mount it.
            Err(refused) if matches!(refused.errno, Errno::PERM | Errno::BUSY) => {
                let tree = self.copy_of(shown, Reach::Tree, false)?;
                mount::change(tree.as_fd(), options.own.change(), Reach::Tree)?;
                Ok(tree)
            }
            Err(refused) => Err(io::Error::other(refused.to_string())),
        }
    }
}

fn directory() -> io::Result<OwnedFd> {
    let words = Words {
        source: Some("tmpfs"),
        data: &[("mode", Some("755"))],
    };
    filesystem::fresh(c"tmpfs", words, NOTHING_RUNS)
        .map_err(|refused| io::Error::other(refused.to_string()))
}

fn read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    mount::change(mount, change, Reach::One)
}
