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
            systemd: false,
            disabled: false,
            annotations: None,
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

impl Parent {
    fn clear(&self) {
        let dirs = self.directories();
        remove::remove(dirs.iter().map(|dir| &**dir)).unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.clear();
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
    // cgroup2 lets what is frozen die, v1 does not.
    let left = usize::from(group.record().v2().is_none());
    until_populated(&group, left);
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
    match parent.group(r#"{"pids": {"limit": 7}}"#) {
        Err(error) => {
            let is_refused = matches!(error, GroupError::Occupied { count: 1, .. });
            assert!(is_refused && group.record().v2().is_some(), "{error}");
        }
        // What is in use keeps its own limits and devices: the other one is below it.
        Ok(below) => {
            let outer: Vec<&Path> = group.record().directories().collect();
            for dir in below.record().directories() {
                assert!(outer.contains(&dir.parent().unwrap()), "{dir:?} {outer:?}");
                assert_eq!(dir.file_name().unwrap(), "one");
            }
            assert_eq!(read(&group, "pids", "pids.max", "pids.max"), "max");
            assert_eq!(read(&below, "pids", "pids.max", "pids.max"), "7");
            let error = parent.group("{}").map(|_| ());
            assert!(error.is_ok(), "an empty one below is taken: {error:?}");
            group.freeze().unwrap();
            let error = parent.group("{}").unwrap_err();
            assert!(matches!(error, GroupError::Frozen { .. }), "{error}");
            group.thaw().unwrap();
            below.remove().unwrap();
        }
    }
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
    let empty = parent.group("{}").unwrap();
    let v2 = empty.record().v2().is_some();
    empty.remove().unwrap();
    parent.clear();
    let of_v1 = [
        (r#"{"cpu": {"cpus": "4000"}}"#, "cpu.cpus"),
        (r#"{"cpu": {"shares": 1}}"#, "cpu.shares"),
        (r#"{"unified": {"pids.max": "3"}}"#, "invalid configuration"),
        (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
    ];
    let of_v2 = [
        (
            r#"{"memory": {"disableOOMKiller": true}}"#,
            "memory.disableOOMKiller",
        ),
        (r#"{"memory": {"swappiness": 3}}"#, "memory.swappiness"),
        (r#"{"memory": {"swap": 67108864}}"#, "memory.swap"),
        (
            r#"{"cpu": {"realtimeRuntime": 1000}}"#,
            "cpu.realtimeRuntime",
        ),
        (r#"{"network": {"classID": 1}}"#, "network.classID"),
        (r#"{"unified": {"../pids.max": "3"}}"#, "no slashes"),
        (r#"{"unified": {"pids": "3"}}"#, "CONTROLLER.PARAMETER"),
        (r#"{"unified": {"cgroup.procs": "1"}}"#, "it is no limit"),
        (
            r#"{"unified": {"nothing.max": "1"}}"#,
            "\"nothing\" not available",
        ),
    ];
    let version: &[(&str, &str)] = if v2 { &of_v2 } else { &of_v1 };
    let both = [
        (r#"{"memory": {"limit": -5}}"#, "memory.limit"),
        (r#"{"blockIO": {"leafWeight": 30}}"#, "blockIO.leafWeight"),
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
    ];
    for (bad, part) in both.iter().chain(version) {
        let error = parent.group(bad).unwrap_err().to_string();
        assert!(error.contains(part), "{bad}: {error}");
        assert_eq!(
            parent.directories(),
            Vec::<PathBuf>::new(),
            "{bad}: {error}"
        );
    }
}

/// What a device node of null and one of kmsg answer to somebody inside: whether each can be opened
/// to be written.
fn opened(group: &Group, parent: &Parent) -> [bool; 2] {
    let scratch = std::env::temp_dir().join(parent.0.file_name().unwrap());
    fs::create_dir_all(&scratch).unwrap();
    let nodes = [(1, 3, "null"), (1, 11, "kmsg")].map(|(major, minor, name)| {
        let node = scratch.join(name);
        if !node.exists() {
            let device = rustix::fs::makedev(major, minor);
            let kind = rustix::fs::FileType::CharacterDevice;
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, device).unwrap();
        }
        node
    });
    let answers = nodes.clone().map(|node| {
        let child = start_inside(group, || {
            match fs::OpenOptions::new().write(true).open(node) {
                Ok(_) => 0,
                Err(error) => error.raw_os_error().unwrap(),
            }
        });
        match child.wait() {
            Ended::Exited(0) => true,
            Ended::Exited(libc::EPERM) => false,
            other => panic!("{other:?}"),
        }
    });
    fs::remove_dir_all(&scratch).unwrap();
    answers
}

#[test]
fn devices_are_held_and_exchanged() {
    if !can("devices_are_held_and_exchanged") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    exchange_devices(&group, &parent);
    group.remove().unwrap();
    // Beside v1, cgroup2 holds devices just as well.
    let Some(unified) = group.record().unified.clone() else {
        return;
    };
    fs::create_dir(&unified).unwrap();
    let group = Group::of(&GroupRecord {
        v1: Vec::new(),
        unified: Some(unified),
        scope: None,
    });
    group.hold_devices(&[], false, true).unwrap();
    exchange_devices(&group, &parent);
    group.remove().unwrap();
}

fn exchange_devices(group: &Group, parent: &Parent) {
    assert_eq!(opened(group, parent), [true, false]);
    let update = |devices: &str| {
        let resources = format!(r#"{{"devices": [{devices}]}}"#);
        let resources: LinuxResources = serde_json::from_str(&resources).unwrap();
        Group::of(group.record()).update(&resources, false).unwrap();
        opened(group, parent)
    };
    let deny = r#"{"allow": false, "access": "rwm"}"#;
    let kmsg = r#"{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}"#;
    assert_eq!(update(&format!("{deny}, {kmsg}")), [true, true]);
    assert_eq!(update(deny), [true, false]);
    assert_eq!(update(r#"{"allow": true, "access": "rwm"}"#), [true, true]);
    assert_eq!(update(deny), [true, false]);
}

/// The file of the group's, on v1 and on v2.
fn read(group: &Group, controller: &str, v1: &str, v2: &str) -> String {
    let (dir, file) = match group.record().v2() {
        Some(dir) => (dir, v2),
        None => (group.record().v1(controller).unwrap(), v1),
    };
    files::text(dir, file).unwrap().trim().to_owned()
}

#[test]
fn limits_are_written_and_changed() {
    if !can("limits_are_written_and_changed") {
        return;
    }
    let parent = Parent::new();
    let group = parent
        .group(
            r#"{"memory": {"limit": 67108864, "swap": 67108864, "reservation": 33554432},
                "cpu": {"shares": 1024, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
                "pids": {"limit": 20}}"#,
        )
        .unwrap();
    let memory = || read(&group, "memory", "memory.limit_in_bytes", "memory.max");
    let reserved = || read(&group, "memory", "memory.soft_limit_in_bytes", "memory.low");
    let pids = || read(&group, "pids", "pids.max", "pids.max");
    let processors = || read(&group, "cpuset", "cpuset.cpus", "cpuset.cpus");
    let time = || match group.record().v2() {
        Some(_) => read(&group, "cpu", "", "cpu.max"),
        None => ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            .map(|file| read(&group, "cpu", file, ""))
            .join(" "),
    };
    assert_eq!((&*memory(), &*reserved()), ("67108864", "33554432"));
    assert_eq!(
        (&*pids(), &*processors(), &*time()),
        ("20", "0", "20000 50000")
    );
    let update = |resources: &str| {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        Group::of(group.record()).update(&resources, false)
    };
    // Up beyond the old limit on both, down again, and one without the other.
    for (limit, both) in [(1 << 28, 1 << 29), (1 << 26, 1 << 26), (1 << 27, 1 << 28)] {
        update(&format!(
            r#"{{"memory": {{"limit": {limit}, "swap": {both}}}}}"#
        ))
        .unwrap();
        assert_eq!(memory(), limit.to_string());
    }
    update(r#"{"memory": {"limit": -1}}"#).unwrap();
    assert!(
        ["max", "9223372036854771712"].contains(&&*memory()),
        "{}",
        memory()
    );
    // Each of the two that go together keeps its value when the other changes.
    update(r#"{"cpu": {"period": 100000}}"#).unwrap();
    assert_eq!(time(), "20000 100000");
    update(r#"{"cpu": {"quota": 90000}}"#).unwrap();
    assert_eq!(time(), "90000 100000");
    update(r#"{"cpu": {"quota": -1}, "pids": {"limit": -1}}"#).unwrap();
    assert!(
        ["-1 100000", "max 100000"].contains(&&*time()),
        "{}",
        time()
    );
    assert_eq!(pids(), "max");
    update("{}").unwrap();
    assert!(update(r#"{"cpu": {"mems": "4000"}}"#).is_err());
    assert_eq!(reserved(), "33554432");
    group.remove().unwrap();
}

#[test]
fn a_limit_below_what_is_used_says_how_much_that_is() {
    if !can("a_limit_below_what_is_used_says_how_much_that_is") {
        return;
    }
    let parent = Parent::new();
    let group = parent.group("{}").unwrap();
    let child = start_inside(&group, || {
        let taken = std::hint::black_box(vec![1_u8; 32 << 20]);
        sleep() + i32::from(taken[0])
    });
    until_populated(&group, 1);
    for _ in 0..2_000 {
        let used = read(&group, "memory", "memory.usage_in_bytes", "memory.current");
        if used.parse::<u64>().unwrap() > 32 << 20 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let resources = r#"{"memory": {"limit": 4194304, "checkBeforeUpdate": true}}"#;
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let error = group.update(&resources, false).unwrap_err().to_string();
    assert!(
        error.contains("memory limit") && error.contains("4194304"),
        "{error}"
    );
    group.kill(libc::SIGKILL).unwrap();
    killed(child);
    group.remove().unwrap();
}

#[test]
fn use_is_counted_and_a_kill_for_memory_is_heard() {
    if !can("use_is_counted_and_a_kill_for_memory_is_heard") {
        return;
    }
    let parent = Parent::new();
    let group = parent
        .group(r#"{"memory": {"limit": 33554432, "swap": 33554432}, "pids": {"limit": 9}}"#)
        .unwrap();
    let mut events = group.oom_events().unwrap();
    let soon = Some(&rustix::fs::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    });
    let mut heard = || loop {
        let readable = rustix::event::PollFlags::IN;
        let mut polled = [rustix::event::PollFd::from_borrowed_fd(
            events.descriptor(),
            readable,
        )];
        assert_eq!(
            rustix::event::poll(&mut polled, soon).unwrap(),
            1,
            "nothing was heard"
        );
        let heard = events.heard().unwrap();
        if heard != Heard::default() {
            return heard;
        }
    };
    let quiet = start_inside(&group, sleep);
    until_populated(&group, 1);
    let hog = start_inside(&group, || {
        let taken = std::hint::black_box(vec![1_u8; 256 << 20]);
        i32::from(taken[1 << 20])
    });
    killed(hog);
    assert!(heard().killed);
    let told = group.stats().unwrap();
    assert_eq!((told.pids.current, told.pids.limit), (1, 9));
    assert_eq!(told.memory.usage.limit, 33_554_432);
    assert!(told.memory.usage.max > 16 << 20 || told.memory.usage.max == 0);
    assert!(told.cpu.usage.total > 1_000_000, "{told:?}");
    assert!(!told.memory.raw.is_empty());
    group.kill(libc::SIGKILL).unwrap();
    killed(quiet);
    if group.record().v2().is_none() {
        group.remove().unwrap();
    }
    let end = Heard {
        ended: true,
        ..Heard::default()
    };
    assert_eq!(heard(), end);
    group.remove().unwrap();
    assert_eq!(group.stats().unwrap().pids, stats::Pids::default());
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let record = GroupRecord {
        v1: [("name=systemd", "/s/x"), ("cpu,cpuacct", "/c/x")]
            .map(|(controllers, path)| HierarchyRecord {
                controllers: controllers.to_owned(),
                path: path.into(),
            })
            .to_vec(),
        unified: Some("/u/x".into()),
        scope: None,
    };
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<GroupRecord>(&text).unwrap(), record);
    assert!(serde_json::from_str::<GroupRecord>(r#"{"other": 1}"#).is_err());
}

#[test]
fn the_groups_of_a_caller_are_those_it_is_in() {
    let own = GroupRecord::of_caller().unwrap();
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap();
    assert_eq!(own.is_empty(), !mounted.contains(" cgroup"), "{own:?}");
    let pid = std::process::id().to_string();
    for directory in own.directories() {
        let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert!(inside.lines().any(|line| line == pid), "{directory:?}");
    }
}
