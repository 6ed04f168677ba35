//! Groups of this machine's kernel, below a parent of their own that each test removes.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use super::*;
use crate::sys::clone;
use crate::sys::forked::{Child, Ended};

/// Whether this is root with groups to make. Where tests must not be passed over, anything else is
/// a failure.
fn can(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "{test} needs root"
    );
    if !root {
        writeln!(io::stderr(), "{test}: not tested, because it needs root").unwrap();
    }
    root
}

/// A parent for the groups of one test, removed at its end with all that is below.
struct Parent(PathBuf);

impl Parent {
    fn new() -> Parent {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Parent(format!("/bt-b-test-{}-{count}", std::process::id()).into())
    }

    fn group(&self, resources: &str) -> Result<Group, GroupError> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        Group::create(&GroupRequest {
            path: Some(&self.0.join("one")),
            id: "one",
            rootless: false,
            resources: Some(&resources),
        })
    }

    /// Its directories that are there.
    fn directories(&self) -> Vec<PathBuf> {
        let place = Place::of(Some(&self.0), "").unwrap();
        let layout = Layout::of_this_host(&place).unwrap();
        let all = layout.v1.iter().chain(&layout.unified);
        let dirs = all.filter_map(|hierarchy| hierarchy.directory(&place));
        dirs.filter(|dir| dir.exists()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in self.directories() {
            remove::remove(&dir).unwrap();
        }
    }
}

/// Starts `body` in a child inside the group, as a launch does.
fn start_inside(group: &Group, body: impl FnOnce() -> i32) -> Child {
    let entry = group.entry(&SubGroups::default(), None).unwrap();
    Child::start(|| match clone::clone(0, entry.directory()).unwrap() {
        clone::Cloned::Child => {
            entry.enter().unwrap();
            clone::exit_now(body())
        }
        clone::Cloned::Parent { pid, .. } => match Child(pid).wait() {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => 128 + signal,
        },
    })
}

/// Waits until the group has `count` processes.
fn until_populated(group: &Group, count: usize) -> Vec<i32> {
    for _ in 0..2_000 {
        let found = group.processes().unwrap();
        if found.len() == count {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{:?} has not {count} processes", group.processes());
}

fn sleep() -> i32 {
    std::thread::sleep(Duration::from_secs(60));
    0
}

fn killed(child: Child) {
    assert_eq!(child.wait(), Ended::Exited(128 + libc::SIGKILL));
}

#[test]
fn a_process_is_in_every_hierarchy_and_gone_after_the_end() {
    if !can("a_process_is_in_every_hierarchy_and_gone_after_the_end") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    let dirs: Vec<PathBuf> = group.record().directories().map(Path::to_owned).collect();
    assert!(dirs.len() > 1 || group.record().v2().is_some());
    let child = start_inside(&group, sleep);
    let inside = until_populated(&group, 1);
    let membership = fs::read_to_string(format!("/proc/{}/cgroup", inside[0])).unwrap();
    let name = parent.0.join("one");
    for line in membership
        .lines()
        .filter(|line| !line.ends_with(name.to_str().unwrap()))
    {
        // A hierarchy that is not mounted cannot be joined.
        let layout = Layout::of_this_host(&Place::of(None, "x").unwrap()).unwrap();
        let names = line.split(':').nth(1).unwrap();
        let mut all = layout.v1.iter().chain(&layout.unified);
        assert!(
            all.all(|one| one.controllers != names),
            "{line} of {name:?}"
        );
    }
    assert!(matches!(group.remove(), Err(GroupError::Populated { .. })));
    Group::of(group.record()).kill(libc::SIGKILL).unwrap();
    killed(child);
    group.remove().unwrap();
    group.remove().unwrap();
    group.kill(libc::SIGKILL).unwrap();
    assert!(group.processes().unwrap().is_empty());
    assert!(dirs.iter().all(|dir| !dir.exists()));
}

#[test]
fn groups_below_are_counted_killed_frozen_and_removed_too() {
    if !can("groups_below_are_counted_killed_frozen_and_removed_too") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    let below = |name: &str| -> Group {
        let mut record = group.record().clone();
        for one in &mut record.v1 {
            one.path.push(name);
        }
        record.unified = record.unified.map(|path| path.join(name));
        for dir in record.directories() {
            fs::create_dir(dir).unwrap();
        }
        if let Some(dir) = record.v1("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(dir.join(file), fs::read(dir.join("..").join(file)).unwrap()).unwrap();
            }
        }
        Group::of(&record)
    };
    let (a, b) = (below("a"), below("a/b"));
    let children = [
        start_inside(&group, sleep),
        start_inside(&a, sleep),
        start_inside(&b, sleep),
    ];
    until_populated(&group, 3);
    until_populated(&b, 1);
    // What v1 has frozen does not die before it is thawed, wherever it was frozen.
    b.freeze().unwrap();
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap() && b.is_frozen().unwrap() && !a.is_frozen().unwrap());
    group.kill(libc::SIGKILL).unwrap();
    children.into_iter().for_each(killed);
    group.remove().unwrap();
}

#[test]
fn a_signal_leaves_a_paused_group_paused() {
    if !can("a_signal_leaves_a_paused_group_paused") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    let child = start_inside(&group, sleep);
    until_populated(&group, 1);
    group.freeze().unwrap();
    group.kill(libc::SIGTERM).unwrap();
    assert!(group.is_frozen().unwrap());
    assert_eq!(group.processes().unwrap().len(), 1);
    group.thaw().unwrap();
    assert_eq!(child.wait(), Ended::Exited(128 + libc::SIGTERM));
    group.remove().unwrap();
}

#[test]
fn a_group_in_use_and_a_frozen_one_are_not_taken() {
    if !can("a_group_in_use_and_a_frozen_one_are_not_taken") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    // An empty one is.
    parent.group("{}").unwrap();
    let child = start_inside(&group, sleep);
    until_populated(&group, 1);
    let error = parent.group("{}").unwrap_err();
    assert!(
        matches!(error, GroupError::Occupied { count: 1, .. }),
        "{error}"
    );
    group.kill(libc::SIGKILL).unwrap();
    killed(child);
    group.freeze().unwrap();
    let error = parent.group("{}").unwrap_err();
    assert!(matches!(error, GroupError::Frozen { .. }), "{error}");
    group.thaw().unwrap();
    group.remove().unwrap();
}

#[test]
fn a_failure_leaves_nothing() {
    if !can("a_failure_leaves_nothing") {
        return;
    }
    let parent = Parent::new();
    for (bad, part) in [
        (r#"{"cpu": {"cpus": "4000"}}"#, "cpu.cpus"),
        (r#"{"cpu": {"shares": 1}}"#, "cpu.shares"),
        (r#"{"memory": {"limit": -5}}"#, "memory.limit"),
        (
            r#"{"memory": {"limit": 33554432, "swap": 5}}"#,
            "memory.swap",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "2/MB", "limit": 1}]}"#,
            "hugepageLimits",
        ),
        (r#"{"rdma": {"none0": {"hcaHandles": 3}}}"#, "rdma"),
        (
            r#"{"devices": [{"allow": true, "access": "x"}]}"#,
            "devices[0]",
        ),
    ] {
        let error = parent.group(bad).unwrap_err().to_string();
        assert!(error.contains(part), "{bad}: {error}");
        assert_eq!(
            parent.directories(),
            Vec::<PathBuf>::new(),
            "{bad}: {error}"
        );
    }
}
