//! Which hierarchies this host has, and where.

use std::fs;
use std::path::{Path, PathBuf};

use super::GroupError;
use super::place::Place;
use crate::launch::cgroup::hierarchy::{Mount, memberships};

/// Where every distribution mounts the hierarchies.
const USUAL_MOUNT: &str = "/sys/fs/cgroup";

/// The hierarchies of this host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// v1's. Without any that has a controller, cgroup2 is what holds limits.
    pub(super) v1: Vec<Hierarchy>,
    /// cgroup2's, alone or beside v1.
    pub(super) unified: Option<Hierarchy>,
}

/// One hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// As /proc/self/cgroup has them: `cpu,cpuacct`, `name=systemd`; empty for cgroup2.
    pub(super) controllers: String,
    /// Where it is mounted.
    pub(super) root: PathBuf,
    /// The directory of the caller's own group, when the mount shows it.
    pub(super) own: Option<PathBuf>,
}

impl Layout {
    /// As the kernel shows it now, with what `place` needs. Where cgroup2 is mounted at the usual
    /// place, nothing more is asked: a host's mount table may be long.
    pub(super) fn of_this_host(place: &Place) -> Result<Layout, GroupError> {
        if is_cgroup2_alone() && matches!(place, Place::BelowRoot(_)) {
            let unified = Hierarchy {
                controllers: String::new(),
                root: USUAL_MOUNT.into(),
                own: None,
            };
            return Ok(Layout {
                v1: Vec::new(),
                unified: Some(unified),
            });
        }
        Layout::of_this_process()
    }

    /// As the kernel shows it now, with the caller's own groups.
    pub(super) fn of_this_process() -> Result<Layout, GroupError> {
        let read =
            |path| fs::read_to_string(path).map_err(GroupError::io("reading", Path::new(path)));
        Ok(Layout::parse(
            &read("/proc/self/cgroup")?,
            &read("/proc/self/mountinfo")?,
        ))
    }

    /// Where systemd has put the process of `membership`, its /proc/PID/cgroup.
    pub(super) fn path_under_systemd(membership: &str) -> Option<PathBuf> {
        let of = |wanted: &str| memberships(membership).find(|(names, _)| *names == wanted);
        let (_, path) = of("name=systemd").or_else(|| of(""))?;
        Some(path.into())
    }

    /// `membership` is /proc/self/cgroup, `mounts` /proc/self/mountinfo (see proc(5)).
    pub(super) fn parse(membership: &str, mounts: &str) -> Layout {
        let mounts: Vec<Mount> = Mount::all(mounts).collect();
        let mut layout = Layout::default();
        for (controllers, path) in memberships(membership) {
            let shows = |mount: &&Mount| match controllers.split(',').next() {
                Some("") | None => mount.unified,
                Some(first) => {
                    !mount.unified && mount.controllers.split(',').any(|name| name == first)
                }
            };
            let Some(mount) = mounts.iter().find(shows) else {
                continue;
            };
            let hierarchy = Hierarchy {
                controllers: controllers.to_owned(),
                root: mount.point.clone(),
                own: mount.locate(path),
            };
            match controllers {
                "" => layout.unified = Some(hierarchy),
                // A hierarchy without controllers belongs to whoever made it, but systemd's, which
                // knows its units by it.
                "name=systemd" => layout.v1.push(hierarchy),
                other if other.starts_with("name=") => {}
                _ => layout.v1.push(hierarchy),
            }
        }
        let holds = |hierarchy: &Hierarchy| !hierarchy.controllers.starts_with("name=");
        if !layout.v1.iter().any(holds) {
            layout.v1.clear();
        }
        layout
    }
}

impl Hierarchy {
    /// The directory that `place` names here, or `None` where the mount does not show it.
    pub(super) fn directory(&self, place: &Place) -> Option<PathBuf> {
        match (place, self.controllers.is_empty()) {
            (Place::BelowRoot(path), _) => Some(self.root.join(path)),
            (Place::BelowOwn(path), false) => Some(self.own.as_ref()?.join(path)),
            (Place::BelowOwn(path), true) => {
                let own = self.own.as_ref()?;
                let beside = own.parent().filter(|_| *own != self.root);
                Some(beside.unwrap_or(&self.root).join(path))
            }
        }
    }
}

/// Whether cgroup2 is mounted at the usual place, where else there are v1's hierarchies.
pub(super) fn is_cgroup2_alone() -> bool {
    rustix::fs::statfs(USUAL_MOUNT).is_ok_and(|answer| answer.f_type == libc::CGROUP2_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/other rw - cgroup other rw,name=other
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";
    const MEMBER: &str = "\
5:name=other:/
4:name=systemd:/a.slice
3:memory:/a.slice/b
2:cpu,cpuacct:/a.slice
1:pids:/a.slice
0::/a.slice/c.scope
";

    fn directory(hierarchy: &Hierarchy, path: &str) -> String {
        let place = Place::of(Some(Path::new(path)), "id").unwrap();
        let directory = hierarchy.directory(&place).unwrap();
        directory.to_str().unwrap().to_owned()
    }

    #[test]
    fn hybrid_hosts_have_v1_and_cgroup2() {
        let layout = Layout::parse(MEMBER, HYBRID);
        let names: Vec<&str> = layout.v1.iter().map(|one| &*one.controllers).collect();
        assert_eq!(names, ["name=systemd", "memory", "cpu,cpuacct"]);
        let [_, memory, cpu] = &layout.v1[..] else {
            panic!()
        };
        assert_eq!(directory(memory, "/x/y"), "/sys/fs/cgroup/memory/x/y");
        assert_eq!(directory(memory, "y"), "/sys/fs/cgroup/memory/a.slice/b/y");
        assert_eq!(directory(cpu, "/x"), "/sys/fs/cgroup/cpu,cpuacct/x");
        let unified = layout.unified.unwrap();
        assert_eq!(directory(&unified, "/x"), "/sys/fs/cgroup/unified/x");
        assert_eq!(directory(&unified, "x"), "/sys/fs/cgroup/unified/a.slice/x");
    }

    #[test]
    fn systemd_alone_in_v1_holds_no_limit() {
        let mounts = HYBRID
            .lines()
            .filter(|line| line.contains("systemd") || line.contains("cgroup2"))
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        let layout = Layout::parse(MEMBER, &mounts);
        assert!(layout.v1.is_empty());
        assert!(layout.unified.is_some());
    }

    #[test]
    fn at_the_root_of_cgroup2_there_is_no_beside() {
        let mount = "24 23 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let layout = Layout::parse("0::/\n", mount);
        assert_eq!(directory(&layout.unified.unwrap(), "x"), "/sys/fs/cgroup/x");
        assert_eq!(Layout::parse("0::/\n", ""), Layout::default());
        // Outside of the cgroup namespace's root there is nothing of our own to stand beside.
        let outside = Layout::parse("0::/../b\n", mount).unified.unwrap();
        let place = Place::of(None, "x").unwrap();
        assert_eq!(outside.directory(&place), None);
    }
}
