//! Namespaces that a container makes, joins or shares.

use std::fs;

use serde_json::{Value, json};

use super::yard::{Yard, status};

const LINKS: &str =
    "for kind in cgroup ipc net pid user uts; do readlink /proc/self/ns/$kind; done";

fn link(pid: &Value, kind: &str) -> String {
    let found = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    found
        .expect("a namespace can be read")
        .display()
        .to_string()
}

/// Has `spec` make namespaces of these kinds, and join these of `pid`.
fn set(spec: &mut Value, makes: &[&str], joins: &[(&str, &str)], pid: &Value) {
    let mut listed: Vec<Value> = makes.iter().map(|kind| json!({"type": kind})).collect();
    listed.extend(
        joins
            .iter()
            .map(|(kind, name)| json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")})),
    );
    spec["linux"]["namespaces"] = json!(listed);
}

fn map(spec: &mut Value, host: u32) {
    let map = json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    spec["linux"]["uidMappings"] = map.clone();
    spec["linux"]["gidMappings"] = map;
}

fn without_hostname(spec: &mut Value) {
    spec.as_object_mut()
        .expect("it is an object")
        .remove("hostname");
}

#[test]
fn one_that_is_not_listed_is_the_callers() {
    let Some(yard) = Yard::new("one_that_is_not_listed_is_the_callers") else {
        return;
    };
    let own = json!("self");
    let own = own
        .as_str()
        .map(|_| json!(std::process::id()))
        .unwrap_or(own);
    let told = yard.tells("one", LINKS, |spec| {
        set(spec, &["mount"], &[], &Value::Null);
        without_hostname(spec);
    });
    let ours = ["cgroup", "ipc", "net", "pid", "user", "uts"].map(|kind| link(&own, kind));
    assert_eq!(told.lines().collect::<Vec<_>>(), ours);
    let told = yard.tells("one", LINKS, |spec| {
        set(
            spec,
            &["mount", "cgroup", "ipc", "network", "pid", "user", "uts"],
            &[],
            &Value::Null,
        );
        map(spec, 100_000);
    });
    for (theirs, ours) in told.lines().zip(ours) {
        assert_ne!(theirs, ours);
    }
    yard.ends_clean();
}

#[test]
fn those_of_another_container_are_joined() {
    let Some(yard) = Yard::new("those_of_another_container_are_joined") else {
        return;
    };
    yard.sleeper("pod", |_| {});
    let pid = yard.state("pod")["pid"].clone();
    let shared = [
        ("ipc", "ipc"),
        ("network", "net"),
        ("pid", "pid"),
        ("uts", "uts"),
    ];
    let theirs = ["ipc", "net", "pid", "uts"].map(|kind| link(&pid, kind));
    let line = "for kind in ipc net pid uts; do readlink /proc/self/ns/$kind; done; test $$ != 1";
    let told = yard.tells("one", line, |spec| {
        set(spec, &["mount"], &shared, &pid);
        without_hostname(spec);
    });
    assert_eq!(told.lines().collect::<Vec<_>>(), theirs);
    // With a user namespace of its own, what is not its own is joined before.
    let line = format!("{line} && cat /proc/self/uid_map && grep Cap /proc/self/status");
    let told = yard.tells("one", &line, |spec| {
        set(spec, &["mount", "user"], &shared, &pid);
        without_hostname(spec);
        map(spec, 55_000);
        // A new procfs needs a pid namespace of the same user namespace.
        spec["mounts"][0] = json!({"destination": "/proc", "type": "bind", "source": "/proc",
                                   "options": ["rbind"]});
    });
    assert!(told.contains("55000"), "{told}");
    assert_eq!(status(&told, "CapEff"), "00000000000000e1");

    // The end of the first process takes those in a shared pid namespace along only by KILL.
    yard.sleeper("two", |spec| {
        set(spec, &["mount"], &shared, &pid);
        without_hostname(spec);
    });
    assert_eq!(link(&yard.state("two")["pid"], "pid"), theirs[2]);
    yard.remove("two");
    assert_eq!(yard.state("pod")["status"], "running");
    yard.remove("pod");
    yard.ends_clean();
}

#[test]
fn a_user_namespace_is_joined_with_what_belongs_to_it() {
    let Some(yard) = Yard::new("a_user_namespace_is_joined_with_what_belongs_to_it") else {
        return;
    };
    yard.sleeper("pod", |spec| {
        set(
            spec,
            &["mount", "pid", "network", "ipc", "uts", "user"],
            &[],
            &Value::Null,
        );
        map(spec, 77_000);
    });
    let pid = yard.state("pod")["pid"].clone();
    let joins = [("user", "user"), ("network", "net"), ("pid", "pid")];
    yard.sleeper("one", |spec| {
        set(spec, &["mount", "ipc", "uts"], &joins, &pid);
    });
    let own = yard.state("one")["pid"].clone();
    for kind in ["user", "net", "pid"] {
        assert_eq!(link(&own, kind), link(&pid, kind), "{kind}");
    }
    let told = fs::read_to_string(format!("/proc/{own}/status")).unwrap();
    assert_eq!(status(&told, "Uid"), "77000\t77000\t77000\t77000");
    assert_eq!(status(&told, "CapBnd"), "00000000000000e1");
    yard.remove("one");
    yard.remove("pod");
    yard.ends_clean();
}

#[test]
fn what_cannot_be_joined_is_refused() {
    let Some(yard) = Yard::new("what_cannot_be_joined_is_refused") else {
        return;
    };
    let own = json!(std::process::id());
    let mut spec = yard.spec("one", &["true"]);
    // A network namespace is no pid namespace.
    set(&mut spec, &["mount"], &[("pid", "net")], &own);
    without_hostname(&mut spec);
    yard.create("one", &spec).fails(1, "/ns/net");
    let mut spec = yard.spec("one", &["true"]);
    set(&mut spec, &["mount", "pid", "user"], &[], &Value::Null);
    without_hostname(&mut spec);
    yard.create("one", &spec).fails(1, "uidMappings");
    let mut spec = yard.spec("one", &["true"]);
    set(&mut spec, &["mount", "pid"], &[], &Value::Null);
    yard.create("one", &spec).fails(1, "hostname");
    assert_eq!(yard.left(), Vec::<String>::new());
    yard.ends_clean();
}

#[test]
fn clocks_are_offset() {
    let Some(yard) = Yard::new("clocks_are_offset") else {
        return;
    };
    let uptime = |text: &str| {
        let first = text.split_whitespace().next().expect("there is a time");
        first.parse::<f64>().expect("it is a number")
    };
    for user in [false, true] {
        let told = yard.tells("one", "cat /proc/uptime; readlink /proc/self/ns/time", |spec| {
            let mut makes = vec!["mount", "pid", "time"];
            if user {
                makes.push("user");
                map(spec, 100_000);
            }
            set(spec, &makes, &[], &Value::Null);
            without_hostname(spec);
            spec["linux"]["timeOffsets"] =
                json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 5, "nanosecs": 7}});
        });
        let outside = uptime(&fs::read_to_string("/proc/uptime").unwrap());
        let ahead = uptime(&told) - outside;
        assert!((ahead - 1_000_000.0).abs() < 60.0, "{ahead} s ahead");
        let own = fs::read_link("/proc/self/ns/time").unwrap();
        assert!(!told.contains(&own.display().to_string()), "{told}");
    }
    yard.ends_clean();
}

/// Where something is mounted below the yard now.
pub fn mounts_below(yard: &Yard) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let own = yard.scratch.entry("");
    let own = points.filter(|point| point.starts_with(&own));
    own.map(str::to_owned).collect()
}

/// Whether a container can have mounts in its caller's namespace: from Linux 6.8 on. Before, it is
/// refused.
pub fn mounts_can_be_shared(yard: &Yard, spec: &Value) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it can be read");
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    let has = (numbers.next(), numbers.next()) >= (Some(6), Some(8));
    if !has {
        yard.create("one", spec).fails(1, "Linux 6.8");
    }
    has
}

#[test]
fn mounts_in_the_callers_namespace_go_with_the_container() {
    let Some(yard) = Yard::new("mounts_in_the_callers_namespace_go_with_the_container") else {
        return;
    };
    let kinds = ["pid", "network", "ipc", "uts"];
    let shares = |spec: &mut Value| {
        set(spec, &kinds, &[], &Value::Null);
        spec["linux"]["maskedPaths"] = json!(["/etc"]);
    };
    let mut spec = yard.spec("one", &["true"]);
    shares(&mut spec);
    if !mounts_can_be_shared(&yard, &spec) {
        return yard.ends_clean();
    }
    yard.sleeper("one", shares);
    let root = yard.scratch.entry("rootfs");
    let points = ["", "/proc", "/dev", "/dev/pts", "/tmp", "/log", "/etc"];
    assert_eq!(
        mounts_below(&yard),
        points.map(|point| format!("{root}{point}"))
    );
    let own = yard.state("one")["pid"].clone();
    let here = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(link(&own, "mnt"), here.display().to_string());
    let told = yard.call(&["exec", "one", "cat", "/proc/1/comm"]).expect(0);
    assert_eq!(told.stdout(), "sleep\n");
    // Somewhere else they are not to be found, and what is mounted over them keeps them.
    yard.call(&["kill", "one", "KILL"]).expect(0);
    yard.reaches("one", "stopped");
    yard.call_below(&["unshare", "--mount"], &["delete", "one"])
        .fails(1, "delete it from there");
    yard.sleeper("two", shares);
    yard.call(&["delete", "one"]).fails(1, "mounted over");
    assert_eq!(yard.state("one")["status"], "stopped");
    yard.remove("two");
    yard.remove("one");
    assert_eq!(
        mounts_below(&yard),
        Vec::<String>::new(),
        "something stays mounted"
    );

    // A creation that fails leaves none either, nor does a policy come with them.
    let mut spec = yard.spec("one", &["/none"]);
    shares(&mut spec);
    yard.create("one", &spec).fails(1, "/none");
    assert_eq!(mounts_below(&yard), Vec::<String>::new());
    let policy =
        json!({"version": 1, "defaults": {"fs": "allow", "net": "allow", "exec": "allow"}});
    let policy = yard
        .scratch
        .file("policy.json", policy.to_string().as_bytes());
    let bundle = yard.bundle("one", &spec);
    yard.call(&["--policy", &policy, "create", "--bundle", &bundle, "one"])
        .fails(1, "a policy needs a mount namespace");
    yard.ends_clean();
}
