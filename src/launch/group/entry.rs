//! How a process comes into a group.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::GroupError;
use super::record::GroupRecord;
use crate::launch::cgroup::overwrite;
use crate::sys::clone::{self, Cloned};

/// What a process needs to be born into a group, or to enter it, opened while the files are in sight.
#[derive(Debug, Default)]
pub struct Entry {
    directory: Option<OwnedFd>,
    doors: Vec<OwnedFd>,
}

impl Entry {
    /// cgroup2: the directory for `CLONE_INTO_CGROUP`, which spares the wait for an RCU grace
    /// period that moving costs. Beside v1's hierarchies there may be one too.
    #[must_use]
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// v1: a file in each hierarchy to which a process with one thread writes `0` to enter. It is
    /// `tasks`, which moves one thread without the lock that `cgroup.procs` takes for a whole
    /// process. The kernel checks the credentials of whoever opened it.
    #[must_use]
    pub fn doors(&self) -> &[OwnedFd] {
        &self.doors
    }

    /// Makes a child as [`clone::clone`] does, born into the group; or, where the kernel refuses that,
    /// outside of it, which the second value says: [`super::Group::add`] it then. The kernel lets an
    /// ordinary user into a group only from one that is the user's as well, and before 5.7 nobody is
    /// born into any.
    ///
    /// # Errors
    /// See [`clone::clone`].
    pub fn clone(&self, flags: u64) -> io::Result<(Cloned, bool)> {
        let Some(directory) = self.directory() else {
            return Ok((clone::clone(flags, None)?, false));
        };
        match clone::clone(flags, Some(directory)) {
            Ok(cloned) => Ok((cloned, false)),
            // What was wrong with anything else is wrong now, too.
            Err(refusal) => {
                tracing::debug!(%refusal, "no child is born into the control group");
                Ok((clone::clone(flags, None)?, true))
            }
        }
    }

    /// Enters through every door; for a process with one thread.
    ///
    /// # Errors
    /// The kernel refused; the process may stand in some of the hierarchies by then.
    pub fn enter(&self) -> io::Result<()> {
        self.doors.iter().try_for_each(|door| {
            rustix::io::write(door, b"0")?;
            Ok(())
        })
    }
}

/// Groups below a container's that a process is to enter, as `exec --cgroup` names them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SubGroups {
    everywhere: Option<PathBuf>,
    /// Controller and path.
    single: Vec<(String, PathBuf)>,
}

impl SubGroups {
    /// Each of `given` is `PATH`, or `CONTROLLER[,CONTROLLER...]:PATH`.
    ///
    /// # Errors
    /// No path leads out of the container's group, no controller is named twice, and one path for
    /// all is the only one.
    pub fn parse(given: &[String]) -> Result<SubGroups, GroupError> {
        let refuse = |text: &str, why| GroupError::invalid(format!("the sub-cgroup {text:?}"), why);
        let mut groups = SubGroups::default();
        for text in given {
            let Some((controllers, path)) = text.split_once(':') else {
                if given.len() > 1 {
                    let why =
                        "where several are given, each begins with its controllers and a colon";
                    return Err(refuse(text, why));
                }
                groups.everywhere = Some(inside(text)?);
                continue;
            };
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(refuse(text, "before the colon is no controller"));
                }
                if groups.single.iter().any(|(name, _)| name == controller) {
                    return Err(refuse(text, "its controller is named twice"));
                }
                groups.single.push((controller.to_owned(), inside(path)?));
            }
        }
        Ok(groups)
    }

    /// Whether none was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_none() && self.single.is_empty()
    }

    /// The path for a hierarchy.
    fn of(&self, controllers: &str) -> Option<&Path> {
        let single = self
            .single
            .iter()
            .find(|(name, _)| controllers.split(',').any(|one| one == name));
        single
            .map(|(_, path)| &**path)
            .or(self.everywhere.as_deref())
    }
}

fn inside(text: &str) -> Result<PathBuf, GroupError> {
    let mut clean = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => {
                return Err(GroupError::invalid(
                    "the group to enter",
                    format!(
                        "bad sub cgroup path: {text} is not a sub cgroup path of the container's"
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(clean)
}

/// Opens what a process needs to enter `group`, or the groups below it that `sub` names. A container
/// on cgroup2 may hand controllers down to groups of its own, and then no process may be in its
/// topmost; with `init` such a one goes where the container's first process is.
pub(super) fn open(
    group: &GroupRecord,
    sub: &SubGroups,
    init: Option<i32>,
) -> Result<Entry, GroupError> {
    if let Some((unknown, _)) = sub.single.iter().find(|(name, _)| group.v1(name).is_none()) {
        return Err(GroupError::invalid(
            format!("the sub-cgroup of {unknown:?}"),
            format!("unknown controller {unknown} for this container"),
        ));
    }
    let mut entry = Entry::default();
    for one in &group.v1 {
        let dir = joined(&one.path, sub.of(&one.controllers));
        let file = OpenOptions::new().write(true).open(dir.join("tasks"));
        entry.doors.push(file.map_err(not_added(&dir))?.into());
    }
    if let Some(path) = &group.unified {
        let sub = sub.everywhere.as_deref();
        // Beside v1 it is only a name for the container, and a sub-group is of v1's hierarchies.
        let sub = sub.filter(|_| group.v1.is_empty());
        let dir = match (sub, init) {
            (None, Some(init)) if group.v1.is_empty() && is_closed(path) => beside(path, init)?,
            _ => joined(path, sub),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &dir, flags, Mode::empty());
        let file = file.map_err(|error| not_added(&dir)(error.into()));
        entry.directory = Some(file?);
    }
    Ok(entry)
}

/// Moves a process into `group`, or into the groups below it that `sub` names.
pub(super) fn add(group: &GroupRecord, sub: &SubGroups, pid: i32) -> Result<(), GroupError> {
    if let Some(scope) = &group.scope {
        let below = sub.everywhere.as_deref().unwrap_or(Path::new(""));
        super::systemd::attach(scope, below, pid)?;
        if group.v2().is_some() {
            return Ok(());
        }
    }
    let v1 = group
        .v1
        .iter()
        .map(|one| (&*one.path, sub.of(&one.controllers)));
    let alone = sub.everywhere.as_deref().filter(|_| group.v1.is_empty());
    let unified = group.unified.iter().map(|path| (&**path, alone));
    for (path, sub) in v1.chain(unified) {
        let dir = joined(path, sub);
        let written = overwrite(&dir.join("cgroup.procs"), &pid.to_string());
        written.map_err(not_added(&dir))?;
    }
    Ok(())
}

/// Callers look for these words, and for this file of the group's.
fn not_added(dir: &Path) -> impl FnOnce(io::Error) -> GroupError {
    let path = dir.join("cgroup.procs");
    move |source| GroupError::Io {
        operation: "error adding pid of the new process to cgroups:",
        path,
        source,
    }
}

fn joined(path: &Path, sub: Option<&Path>) -> PathBuf {
    sub.map_or_else(|| path.to_owned(), |sub| path.join(sub))
}

/// Whether the group hands controllers down, which keeps processes out of itself.
fn is_closed(group: &Path) -> bool {
    super::files::line(group, "cgroup.subtree_control").is_ok_and(|names| !names.is_empty())
}

/// The group of the process `init`, which is `group` or below it.
fn beside(group: &Path, init: i32) -> Result<PathBuf, GroupError> {
    for below in super::procs::tree(group).map_err(GroupError::io("listing", group))? {
        let inside = super::procs::list(&below)?;
        if inside.iter().any(|pid| pid.as_raw_nonzero().get() == init) {
            return Ok(below);
        }
    }
    Ok(group.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[&str]) -> Result<SubGroups, GroupError> {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        SubGroups::parse(&given)
    }

    #[test]
    fn sub_groups_are_for_all_controllers_or_for_some() {
        let one = parse(&["/a/../b"]).unwrap();
        assert_eq!(one.of("memory"), Some(Path::new("b")));
        let some = parse(&["memory:x", "cpu,pids:/y"]).unwrap();
        assert_eq!(some.of("memory"), Some(Path::new("x")));
        assert_eq!(some.of("cpuacct,cpu"), Some(Path::new("y")));
        assert_eq!(some.of("freezer"), None);
        assert!(parse(&[]).unwrap().is_empty());
    }

    #[test]
    fn sub_groups_that_mean_nothing_are_refused() {
        for bad in [
            &["../a"][..],
            &["a/../../b"],
            &["a", "b"],
            &[":a"],
            &["cpu,:a"],
            &["cpu:a", "cpu:b"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
