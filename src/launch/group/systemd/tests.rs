//! Scopes of a real systemd, where the host was booted with one.

use std::io::Write;
use std::process::Command;

use super::*;
use crate::launch::group::{Group, GroupRecord, SubGroups};
use crate::sys::clone::{self, Cloned};
use crate::sys::forked;

/// Runs `body` in a process with one thread, where there is a systemd to ask.
fn with_systemd(test: &str, body: impl FnOnce()) {
    let own = bus::private(whose()).is_some_and(|path| path.exists());
    if !own {
        let why = "not tested, because it needs a systemd of this user's";
        writeln!(std::io::stderr(), "{test}: {why}").unwrap();
        return;
    }
    forked::ask(|| {
        body();
        String::new()
    });
}

/// Root asks the host's systemd, anybody else the own one.
fn whose() -> Whose {
    match rustix::process::geteuid().is_root() {
        true => Whose::System,
        false => Whose::User,
    }
}

fn systemctl(arguments: &[&str]) -> String {
    let own = (whose() == Whose::User).then_some("--user");
    let arguments = own.iter().chain(arguments);
    let answer = Command::new("systemctl").args(arguments).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

fn create(name: &str, resources: &str, annotations: &[(&str, &str)]) -> Result<Group, GroupError> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Group::create(&GroupRequest {
        path: Some(format!("bttest.slice:bt:{name}").as_ref()),
        id: "one",
        rootless: whose() == Whose::User,
        resources: Some(&resources),
        systemd: true,
        disabled: false,
        annotations: Some(&annotations),
    })
}

/// A property as systemd tells it.
fn told(name: &str, property: &str) -> String {
    let unit = format!("bt-{name}.scope");
    systemctl(&["show", "--value", "--property", property, &unit])
}

fn read(record: &GroupRecord, file: &str) -> String {
    let dir = record.v2().unwrap();
    fs::read_to_string(dir.join(file))
        .unwrap()
        .trim()
        .to_owned()
}

/// A process that sleeps in the group.
fn sleeper(group: &Group) -> i32 {
    let entry = group.entry(&SubGroups::default(), None).unwrap();
    match entry.clone(0).unwrap() {
        (Cloned::Child, _) => {
            std::thread::sleep(std::time::Duration::from_secs(60));
            clone::exit_now(0)
        }
        (Cloned::Parent { pid, .. }, outside) => {
            // The kernel lets an ordinary user into no group from another's.
            assert!(!outside || whose() == Whose::User);
            if outside {
                group.add(pid, &SubGroups::default()).unwrap();
            }
            pid
        }
    }
}

fn end(group: &Group, pids: &[i32]) {
    group.kill(libc::SIGKILL).unwrap();
    for pid in pids {
        crate::sys::process::wait_for(*pid).unwrap();
    }
    group.remove().unwrap();
    group.remove().unwrap();
}

#[test]
fn a_scope_is_made_limited_changed_and_ended() {
    with_systemd("a_scope_is_made_limited_changed_and_ended", || {
        // Users have no cpuset of systemd's by default.
        let cpus = match whose() {
            Whose::System => r#", "cpus": "0""#,
            Whose::User => "",
        };
        let limits = format!(
            r#"{{"memory": {{"limit": 67108864}}, "pids": {{"limit": 1}},
            "cpu": {{"quota": 20000, "period": 50000, "shares": 1024{cpus}}}}}"#
        );
        let stop = ("org.systemd.property.TimeoutStopSec", "uint32 7");
        let mut group = create("a", &limits, &[stop]).unwrap();
        let record = group.record().clone();
        assert_eq!(record.scope.as_ref().unwrap().name, "bt-a.scope");
        assert!(record.v2().unwrap().ends_with("bttest.slice/bt-a.scope"));
        let pid = sleeper(&group);
        group.entered().unwrap();
        assert_eq!(group.processes().unwrap(), [pid]);
        assert_eq!(read(&record, "pids.max"), "1");
        for (property, value) in [
            ("MemoryMax", "67108864"),
            ("TasksMax", "1"),
            ("CPUQuotaPerSecUSec", "400ms"),
            ("CPUQuotaPeriodUSec", "50ms"),
            ("CPUWeight", "100"),
            ("AllowedCPUs", if cpus.is_empty() { "" } else { "0" }),
            ("Delegate", "yes"),
            ("TimeoutStopUSec", "7s"),
            ("ActiveState", "active"),
        ] {
            assert_eq!(told("a", property), value, "{property}");
        }
        let later = Group::of(&record);
        let more = r#"{"memory": {"limit": 134217728}, "cpu": {"quota": 30000}}"#;
        let more: LinuxResources = serde_json::from_str(more).unwrap();
        later.update(&more, whose() == Whose::User).unwrap();
        // systemd writes what it knows.
        systemctl(&["daemon-reload"]);
        assert_eq!(told("a", "MemoryMax"), "134217728");
        assert_eq!(read(&record, "memory.max"), "134217728");
        assert_eq!(read(&record, "cpu.max"), "30000 50000");
        assert_eq!(read(&record, "pids.max"), "1");
        end(&later, &[pid]);
        assert!(!record.v2().unwrap().exists());
        assert_eq!(told("a", "ActiveState"), "inactive");
        // The name is free at once.
        let group = create("a", "{}", &[]).unwrap();
        let pid = sleeper(&group);
        end(&group, &[pid]);
    });
}

#[test]
fn a_scope_that_cannot_be_had_leaves_nothing() {
    with_systemd("a_scope_that_cannot_be_had_leaves_nothing", || {
        let nonsense = ("org.systemd.property.Nonsense", "true");
        let error = create("b", "{}", &[nonsense]).unwrap_err().to_string();
        assert!(error.contains("Nonsense"), "{error}");
        // What systemd is not told of fails when it is there already.
        let error = create("b", r#"{"rdma": {"none0": {"hcaHandles": 3}}}"#, &[]).unwrap_err();
        assert!(error.to_string().contains("rdma"), "{error}");
        assert_eq!(told("b", "ActiveState"), "inactive");
        let group = create("b", "{}", &[]).unwrap();
        assert!(
            group
                .record()
                .v2()
                .unwrap()
                .ends_with("bttest.slice/bt-b.scope")
        );
        let pid = sleeper(&group);
        let error = create("b", "{}", &[]).unwrap_err().to_string();
        assert!(error.contains("bt-b.scope"), "{error}");
        end(&group, &[pid]);
    });
}

#[test]
fn systemd_moves_a_process_into_a_scope() {
    with_systemd("systemd_moves_a_process_into_a_scope", || {
        let group = create("c", "{}", &[]).unwrap();
        let Cloned::Parent { pid, .. } = clone::clone(0, None).unwrap() else {
            std::thread::sleep(std::time::Duration::from_secs(60));
            clone::exit_now(0)
        };
        group.add(pid, &SubGroups::default()).unwrap();
        assert!(group.processes().unwrap().contains(&pid));
        end(&group, &[pid]);
    });
}

/// A killed runtime leaves no scope behind.
#[test]
fn a_scope_ends_with_who_made_it() {
    with_systemd("a_scope_ends_with_who_made_it", || {
        let child = forked::Child::start(|| {
            let group = create("d", "{}", &[]).unwrap();
            crate::sys::process::kill(std::process::id() as i32, libc::SIGKILL).unwrap();
            drop(group);
            0
        });
        assert_eq!(child.wait(), forked::Ended::Killed(libc::SIGKILL));
        for _ in 0..600 {
            if told("d", "ActiveState") == "inactive" {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the scope is {}", told("d", "ActiveState"));
    });
}
