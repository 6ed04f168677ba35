//! What callers of other runtimes are used to: options, annotations and states that runc or crun take.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::yard::Yard;
use crate::support::{lives, remove_group};

#[test]
fn a_capability_that_nothing_knows_is_left_out() {
    let Some(yard) = Yard::new("a_capability_that_nothing_knows_is_left_out") else {
        return;
    };
    let some = json!(["CAP_KILL", "CAP_OF_TOMORROW", "TOMORROW"]);
    let line = "grep -E '^Cap(Prm|Bnd)' /proc/self/status";
    let of_kill = "CapPrm:\t0000000000000020\nCapBnd:\t0000000000000020\n";
    let mut spec = yard.spec("one", &["sh", "-c", line]);
    spec["process"]["capabilities"] = json!({"permitted": some, "bounding": some});
    let called = yard.run("one", &spec).expect(0);
    assert_eq!(called.stdout(), of_kill);
    assert!(called.stderr().contains("CAP_OF_TOMORROW"), "{called}");
    // What is no name at all stays an error.
    spec["process"]["capabilities"] = json!({"permitted": ["CAP_KILL", 5]});
    yard.run("one", &spec)
        .fails(1, "process.capabilities.permitted[1]");

    yard.sleeper("two", |spec| {
        spec["process"]["capabilities"] = json!({"permitted": some, "bounding": some});
    });
    let file = json!({
        "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", line], "cwd": "/", "env": ["PATH=/bin"],
        "capabilities": {"permitted": some, "bounding": some}
    });
    let file = yard
        .scratch
        .file("process.json", file.to_string().as_bytes());
    let told = yard.call(&["exec", "--process", &file, "two"]);
    assert_eq!(told.expect(0).stdout(), of_kill);
    let told = yard.call(&["exec", "--cap", "CAP_OF_TOMORROW", "two", "sh", "-c", line]);
    assert_eq!(told.expect(0).stdout(), of_kill);
    yard.remove("two");
    yard.ends_clean();
}

#[test]
fn groups_of_the_caller_are_kept_where_that_is_asked_for() {
    let Some(yard) = Yard::new("groups_of_the_caller_are_kept_where_that_is_asked_for") else {
        return;
    };
    let groups = |annotation: Option<&str>| {
        let mut spec = yard.spec("one", &["grep", "Groups", "/proc/self/status"]);
        if let Some(value) = annotation {
            spec["annotations"] = json!({"run.oci.keep_original_groups": value});
        }
        let bundle = yard.bundle("one", &spec);
        let with = ["setpriv", "--groups", "7,11"];
        let called = yard.call_below(&with, &["run", "--bundle", &bundle, "one"]);
        called.expect(0).stdout().trim().to_owned()
    };
    assert_eq!(groups(None), "Groups:");
    assert_eq!(groups(Some("0")), "Groups:");
    assert_eq!(groups(Some("1")), "Groups:\t7 11");
    yard.ends_clean();
}

#[test]
fn containers_are_deleted_by_a_pattern() {
    let Some(yard) = Yard::new("containers_are_deleted_by_a_pattern") else {
        return;
    };
    for id in ["web-1", "web-2", "other"] {
        yard.sleeper(id, |_| {});
    }
    yard.call(&["delete", "--force", "--regex", "web-[", "x"])
        .fails(1, "");
    yard.call(&["delete", "--regex", "^web"])
        .fails(1, "running");
    yard.call(&["delete", "--force", "--regex", "^web-[0-9]$"])
        .expect(0);
    let listed = yard.call(&["list", "--quiet"]).expect(0).stdout();
    assert_eq!(listed, "other\n");
    yard.remove("other");
    yard.ends_clean();
}

/// The container `one`, whose process somebody has frozen in a group that is not the container's: the
/// process, and that group. Nothing where cgroup v2 lets die what is frozen.
fn frozen_elsewhere(yard: &Yard) -> Option<(String, PathBuf)> {
    let mut groups = yard.groups().into_iter();
    let freezer = groups.find(|group| group.starts_with("/sys/fs/cgroup/freezer"))?;
    yard.sleeper("one", |_| {});
    let pid = yard.state("one")["pid"].to_string();
    let elsewhere = freezer.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a group can be made");
    fs::write(elsewhere.join("cgroup.procs"), &pid).expect("the process can be moved");
    fs::write(elsewhere.join("freezer.state"), "FROZEN").expect("it can be frozen");
    Some((pid, elsewhere))
}

/// Its death takes a while here, as it may on any busy machine.
#[test]
fn one_that_was_killed_does_not_stay_paused() {
    let Some(yard) = Yard::new("one_that_was_killed_does_not_stay_paused") else {
        return;
    };
    let Some((_, elsewhere)) = frozen_elsewhere(&yard) else {
        return yard.ends_clean();
    };
    yard.call(&["kill", "one", "KILL"]).expect(0);
    yard.call(&["pause", "one"])
        .fails(1, "container not running");
    let state = fs::read_to_string(elsewhere.with_file_name("one").join("freezer.state"));
    assert_eq!(state.expect("it has a freezer"), "THAWED\n");
    fs::write(elsewhere.join("freezer.state"), "THAWED").expect("it can go on");
    yard.reaches("one", "stopped");
    yard.call(&["delete", "one"]).expect(0);
    remove_group(&elsewhere);
    yard.ends_clean();
}

#[test]
fn one_that_somebody_froze_elsewhere_is_deleted() {
    let Some(yard) = Yard::new("one_that_somebody_froze_elsewhere_is_deleted") else {
        return;
    };
    let Some((pid, elsewhere)) = frozen_elsewhere(&yard) else {
        return yard.ends_clean();
    };
    yard.call(&["delete", "--force", "one"]).expect(0);
    assert!(!lives(&pid), "it outlives its container");
    remove_group(&elsewhere);
    yard.ends_clean();
}

#[test]
fn a_bind_mount_is_not_refused_for_what_makes_a_tmpfs() {
    let Some(yard) = Yard::new("a_bind_mount_is_not_refused_for_what_makes_a_tmpfs") else {
        return;
    };
    let mut spec = yard.spec("one", &["test", "-d", "/bound/log"]);
    let bound = json!({
        "destination": "/bound", "type": "bind", "source": yard.scratch.path(),
        "options": ["bind", "nosuid", "mode=755", "size=1k"]
    });
    spec["mounts"].as_array_mut().expect("a list").push(bound);
    yard.run("one", &spec).expect(0);
    let last = spec["mounts"].as_array().expect("a list").len() - 1;
    spec["mounts"][last]["options"] = json!(["bind", "nosuidd"]);
    yard.run("one", &spec).fails(1, "nosuidd");
    yard.ends_clean();
}

#[test]
fn without_a_manager_there_is_no_group() {
    let Some(yard) = Yard::new("without_a_manager_there_is_no_group") else {
        return;
    };
    let own = fs::read_to_string("/proc/self/cgroup").expect("it has groups");
    let mut spec = yard.spec("one", &["cat", "/proc/self/cgroup"]);
    let bundle = yard.bundle("one", &spec);
    let run = ["--cgroup-manager", "disabled", "run", "--bundle", &bundle];
    let run = [&run[..], &["one"]].concat();
    assert_eq!(yard.call(&run).expect(0).stdout(), own);
    for (resources, named) in [
        (json!({"pids": {"limit": 10}}), "pids"),
        (
            json!({"devices": [{"allow": false, "access": "rwm"}]}),
            "devices",
        ),
    ] {
        spec["linux"]["resources"] = resources;
        yard.bundle("one", &spec);
        yard.call(&run).fails(1, named);
    }
    // With a policy nothing would end what the first process leaves behind.
    let policy = json!({"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "allow"}});
    let policy = yard
        .scratch
        .file("policy.json", policy.to_string().as_bytes());
    let flags = ["--policy", &policy, "--allow-degraded"];
    let run = [&flags[..], &run[..]].concat();
    spec["linux"]["resources"] = json!({});
    yard.bundle("one", &spec);
    yard.call(&run).expect(0);
    let kinds = spec["linux"]["namespaces"].as_array_mut().expect("a list");
    kinds.retain(|kind| kind["type"] != "pid");
    yard.bundle("one", &spec);
    yard.call(&run).fails(1, "add a pid namespace");
    yard.ends_clean();
}

#[test]
fn a_label_that_nothing_carries_out_is_refused() {
    let Some(yard) = Yard::new("a_label_that_nothing_carries_out_is_refused") else {
        return;
    };
    if fs::exists("/sys/fs/selinux/enforce").expect("it can be looked for") {
        return;
    }
    let mut spec = yard.spec("one", &["true"]);
    spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
    yard.run("one", &spec).fails(1, "process.selinuxLabel");
    spec["process"]["selinuxLabel"] = json!("");
    spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    let called = yard.run("one", &spec).expect(0);
    assert!(called.stderr().contains("linux.mountLabel"), "{called}");
    yard.ends_clean();
}

#[test]
fn the_end_of_the_input_reaches_a_terminal() {
    let Some(yard) = Yard::new("the_end_of_the_input_reaches_a_terminal") else {
        return;
    };
    let program = "stty -echo; : >/log/ready; cat; echo over";
    let mut spec = yard.spec("one", &["sh", "-c", program]);
    spec["process"]["terminal"] = json!(true);
    let bundle = yard.bundle("one", &spec);
    for (input, output) in [
        ("", "over\r\n"),
        ("a\\n", "a\r\nover\r\n"),
        ("a\\nb", "a\r\nbover\r\n"),
    ] {
        let ready = yard.scratch.entry("log/ready");
        let line = format!(
            "(until [ -e {ready} ]; do sleep 0.01; done; rm {ready}; printf '{input}') | \"$@\""
        );
        let called = yard.call_below(&["sh", "-c", &line, "sh"], &["run", "-b", &bundle, "one"]);
        assert_eq!(called.expect(0).stdout(), output, "{input:?}");
    }
    yard.ends_clean();
}
