//! A container's life: every state, every verb that it takes and refuses, and who may be called what.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::yard::Yard;
use crate::support::{Child, PATIENCE, USER, binary, eventually};

#[test]
fn every_state_in_its_turn() {
    let Some(yard) = Yard::new("every_state_in_its_turn") else {
        return;
    };
    let mut spec = yard.spec(
        "one",
        &[
            "sh",
            "-c",
            "echo began; trap 'exit 3' TERM; sleep 1000 & wait",
        ],
    );
    spec["annotations"] = json!({"a.b": "c"});
    let bundle = yard.bundle("one", &spec);
    let pid_file = yard.scratch.entry("pid");
    let created = yard
        .call(&[
            "create",
            "--bundle",
            &bundle,
            "--pid-file",
            &pid_file,
            "one",
        ])
        .expect(0);
    let state = yard.state("one");
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], "one");
    assert_eq!(state["bundle"], bundle);
    assert_eq!(state["annotations"], spec["annotations"]);
    assert_eq!(
        fs::read_to_string(&pid_file).unwrap(),
        state["pid"].to_string()
    );
    assert_eq!(created.stdout(), "", "the program waits for its start");
    yard.create("one", &spec).fails(1, "exists");

    yard.call(&["start", "one"]).expect(0);
    eventually(PATIENCE, || match created.stdout().as_str() {
        "began\n" => Ok(()),
        other => Err(format!("{other:?} was printed")),
    });
    assert_eq!(yard.state("one")["status"], "running");
    yard.call(&["start", "one"])
        .fails(1, "cannot start container");
    yard.call(&["delete", "one"]).fails(1, "it is running");
    yard.call(&["resume", "one"]).fails(1, "not paused");

    yard.call(&["pause", "one"]).expect(0);
    assert_eq!(yard.state("one")["status"], "paused");
    yard.call(&["exec", "one", "true"])
        .fails(255, "cannot exec in a paused container");
    yard.call(&["delete", "one"]).fails(1, "it is paused");
    yard.call(&["resume", "one"]).expect(0);
    assert_eq!(yard.state("one")["status"], "running");

    yard.call(&["kill", "one", "TERM"]).expect(0);
    yard.reaches("one", "stopped");
    assert_eq!(yard.state("one")["pid"], 0);
    yard.call(&["kill", "one", "KILL"])
        .fails(1, "container not running");
    yard.call(&["start", "one"]).fails(1, "it is stopped");
    yard.call(&["pause", "one"]).fails(1, "not running");
    yard.call(&["exec", "one", "true"])
        .fails(255, "not running");
    yard.call(&["delete", "one"]).expect(0);
    yard.call(&["state", "one"]).fails(1, "does not exist");
    yard.call(&["delete", "one"]).fails(1, "does not exist");
    yard.call(&["delete", "--force", "one"]).expect(0);
    yard.ends_clean();
}

#[test]
fn run_gives_the_exit_status() {
    let Some(yard) = Yard::new("run_gives_the_exit_status") else {
        return;
    };
    for (line, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        // The shell is no first process here, whose signals the kernel holds back.
        ("sh -c 'kill -9 $$'; exit $?", 137),
    ] {
        let spec = yard.spec("one", &["sh", "-c", line]);
        yard.run("one", &spec).expect(code);
        yard.call(&["state", "one"]).fails(1, "does not exist");
    }
    let spec = yard.spec("one", &["sleep", "1000"]);
    let bundle = yard.bundle("one", &spec);
    yard.call(&["run", "--detach", "--bundle", &bundle, "one"])
        .expect(0);
    assert_eq!(yard.state("one")["status"], "running");
    // A first process takes only what it has a handler for, and KILL.
    yard.call(&["kill", "one", "9"]).expect(0);
    yard.reaches("one", "stopped");
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn a_bundle_may_be_its_own_root() {
    let Some(yard) = Yard::new("a_bundle_may_be_its_own_root") else {
        return;
    };
    let mut spec = yard.spec("one", &["cat", "/config.json"]);
    spec["root"]["path"] = json!(".");
    let text = spec.to_string();
    yard.scratch.file("rootfs/config.json", text.as_bytes());
    let bundle = yard.scratch.entry("rootfs");
    yard.call(&["run", "--bundle", &bundle, "one"])
        .expect(0)
        .prints(&text);
    yard.ends_clean();
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let Some(yard) = Yard::new("a_creation_that_fails_leaves_nothing") else {
        return;
    };
    let set = |pointer: &str, value: Value| {
        let mut spec = yard.spec("one", &["true"]);
        match spec.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
                spec.pointer_mut(parent).expect("the parent is there")[key] = value;
            }
        }
        spec
    };
    let none = yard.scratch.entry("none");
    for (spec, words) in [
        (
            set("/process/args", json!(["/bin/none"])),
            "no such file or directory",
        ),
        (
            set("/process/args", json!(["none"])),
            "executable file not found in $PATH",
        ),
        (set("/process/args", json!(["/etc"])), "is a directory"),
        (set("/process/args", json!([])), "process.args"),
        (set("/process/cwd", json!("tmp")), "process.cwd"),
        (set("/process/cwd", json!("/bin/sh")), "/bin/sh"),
        (
            set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]),
            ),
            "rlimits",
        ),
        (
            set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
            ),
            "rlimits",
        ),
        (set("/process/user/uid", json!(-1)), "process.user.uid"),
        (set("/root", json!(null)), "root"),
        (set("/root/path", json!(none)), "none"),
        (set("/root/path", json!("")), "root.path"),
        (set("/mounts/4/source", json!(none)), "none"),
        (set("/mounts/0/type", json!("nosuchfs")), "nosuchfs"),
        (set("/linux/namespaces/1/path", json!(none)), "none"),
        (
            set("/linux/namespaces/1/type", json!("mount")),
            "linux.namespaces",
        ),
        (
            set("/linux/sysctl", json!({"kernel.panic": "1"})),
            "kernel.panic",
        ),
        (
            set("/linux/resources", json!({"memory": {"limit": "much"}})),
            "linux.resources.memory.limit",
        ),
        (
            set(
                "/linux/resources",
                json!({"pids": {"limit": 10}, "unified": {"no.such": "1"}}),
            ),
            "no.such",
        ),
        (set("/linux/cgroupsPath", json!("/")), "root"),
        (
            set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_X"})),
            "seccomp",
        ),
        (
            set("/hooks", json!({"prestart": [{"path": "/bin/false"}]})),
            "prestart",
        ),
        (
            set("/hooks", json!({"createContainer": [{"path": none}]})),
            "createContainer",
        ),
        (set("/ociVersion", json!("2.0.0")), "ociVersion"),
        (set("/linux/intelRdt", json!({"closID": "x"})), "intelRdt"),
    ] {
        yard.create("one", &spec).fails(1, words);
        assert_eq!(yard.left(), Vec::<String>::new(), "after {words}");
    }
    yard.ends_clean();
}

#[test]
fn an_id_is_a_name_and_nothing_else() {
    let Some(yard) = Yard::new("an_id_is_a_name_and_nothing_else") else {
        return;
    };
    let spec = yard.spec("one", &["true"]);
    let bundle = yard.bundle("one", &spec);
    let long = "a".repeat(1025);
    for id in [
        "", ".", "..", "a/b", "../one", "/one", "a b", "ä", "a\nb", &long,
    ] {
        yard.call(&["create", "--bundle", &bundle, id])
            .fails(1, "is no container id");
        yard.call(&["delete", "--force", id])
            .fails(1, "is no container id");
    }
    for verb in ["state", "start", "kill", "ps", "pause", "resume", "delete"] {
        yard.call(&[verb, "none"]).fails(1, "does not exist");
    }
    yard.call(&["exec", "none", "true"])
        .fails(255, "does not exist");
    assert!(
        !Path::new(&yard.state_root()).exists(),
        "asking makes no state"
    );
    assert_eq!(yard.call(&["list", "--quiet"]).expect(0).stdout(), "");
    assert_eq!(
        yard.call(&["list", "--format", "json"])
            .expect(0)
            .stdout()
            .trim(),
        "[]"
    );
    assert!(
        !Path::new(&yard.state_root()).exists(),
        "listing makes no state"
    );
    for id in ["a", "A-b_c+d.e", "0"] {
        let spec = yard.spec(id, &["true"]);
        yard.run(id, &spec).expect(0);
    }
    yard.ends_clean();
}

#[test]
fn of_creations_of_one_id_one_wins() {
    let Some(yard) = Yard::new("of_creations_of_one_id_one_wins") else {
        return;
    };
    let bundle = yard.bundle("one", &yard.spec("one", &["true"]));
    for _ in 0..5 {
        let all: Vec<_> = (0..8)
            .map(|_| yard.start(&["create", "--bundle", &bundle, "one"]))
            .collect();
        let all: Vec<_> = all.into_iter().map(super::yard::Pending::wait).collect();
        let won = all.iter().filter(|called| called.code() == Some(0)).count();
        assert_eq!(won, 1, "{all:#?}");
        for lost in all.into_iter().filter(|called| called.code() != Some(0)) {
            lost.fails(1, "exists");
        }
        yard.call(&["start", "one"]).expect(0);
        yard.reaches("one", "stopped");
        // All of these succeed, whoever comes first.
        let all: Vec<_> = (0..6)
            .map(|_| yard.start(&["delete", "--force", "one"]))
            .collect();
        for deleting in all {
            deleting.wait().expect(0);
        }
        assert_eq!(yard.left(), Vec::<String>::new());
    }
    yard.ends_clean();
}

#[test]
fn a_deletion_waits_for_the_verb_before_it() {
    let Some(yard) = Yard::new("a_deletion_waits_for_the_verb_before_it") else {
        return;
    };
    let mut spec = yard.spec("one", &["sleep", "1000"]);
    let begun = yard.scratch.entry("begun");
    let (go, done) = (yard.scratch.entry("go"), yard.scratch.entry("done"));
    let script = format!("echo >{begun}; while ! [ -e {go} ]; do sleep 0.05; done; echo >{done}");
    spec["hooks"] = json!({"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    yard.create("one", &spec).expect(0);
    let starting = yard.start(&["start", "one"]);
    eventually(PATIENCE, || match Path::new(&begun).exists() {
        true => Ok(()),
        false => Err("the hook does not begin".to_owned()),
    });
    // It may be seen meanwhile, and signalled; it is not taken away below the verb's feet.
    assert_eq!(yard.state("one")["status"], "running");
    let mut deleting = yard.start(&["delete", "--force", "one"]);
    let waited = deleting
        .running()
        .status(std::time::Duration::from_millis(500));
    assert_eq!(waited, None, "the deletion did not wait");
    fs::write(&go, "").unwrap();
    starting.wait().expect(0);
    deleting.wait().expect(0);
    assert!(Path::new(&done).exists());
    yard.ends_clean();
}

#[test]
fn a_later_process_of_the_same_number_is_not_the_container() {
    let Some(yard) = Yard::new("a_later_process_of_the_same_number_is_not_the_container") else {
        return;
    };
    let spec = yard.spec("one", &["true"]);
    yard.create("one", &spec).expect(0);
    yard.call(&["start", "one"]).expect(0);
    yard.reaches("one", "stopped");
    let mut other = Child::new("sleep").arg("1000").start();
    let path = yard.scratch.path().join("state/one/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["first"]["pid"] = json!(other.id());
    fs::write(&path, state.to_string()).unwrap();
    assert_eq!(yard.state("one")["status"], "stopped");
    yard.call(&["kill", "one", "KILL"])
        .fails(1, "container not running");
    yard.call(&["kill", "--all", "one", "KILL"]);
    yard.call(&["exec", "one", "true"])
        .fails(255, "not running");
    yard.remove("one");
    let ended = other.status(std::time::Duration::from_millis(100));
    assert_eq!(ended, None, "a stranger was killed");
    other.kill();
    yard.ends_clean();
}

#[test]
fn processes_are_listed() {
    let Some(yard) = Yard::new("processes_are_listed") else {
        return;
    };
    yard.sleeper("one", |spec| {
        spec["process"]["args"] = json!(["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    });
    let pids: Vec<i64> = eventually(PATIENCE, || {
        let told = yard
            .call(&["ps", "--format", "json", "one"])
            .expect(0)
            .stdout();
        let pids: Vec<i64> = serde_json::from_str(&told).expect("pids are JSON");
        match pids.len() {
            3 => Ok(pids),
            _ => Err(told),
        }
    });
    assert!(pids.contains(&yard.state("one")["pid"].as_i64().unwrap()));
    let table = yard.call(&["ps", "one"]).expect(0).stdout();
    assert_eq!(table.lines().count(), 4, "{table}");
    let listed = yard.call(&["list", "--format", "json"]).expect(0).stdout();
    // Callers of shell have patterns for it, with the fields in the specification's order.
    let began = r#"[{"ociVersion":"1.0.2","id":"one","pid":"#;
    assert!(listed.starts_with(began), "{listed}");
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["id"], "one");
    assert_eq!(listed[0]["status"], "running");
    assert_eq!(yard.call(&["list", "-q"]).expect(0).stdout(), "one\n");
    yard.call(&["kill", "--all", "one", "KILL"]).expect(0);
    yard.reaches("one", "stopped");
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn what_spec_writes_runs() {
    let Some(yard) = Yard::new("what_spec_writes_runs") else {
        return;
    };
    let bundle = yard.scratch.entry("own");
    fs::create_dir(&bundle).unwrap();
    yard.call(&["spec", "--bundle", &bundle]).expect(0);
    yard.call(&["spec", "--bundle", &bundle])
        .fails(1, "config.json");
    let path = Path::new(&bundle).join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let has_one_hierarchy = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let listed = spec["linux"]["namespaces"].to_string().contains("cgroup");
    assert_eq!(listed, has_one_hierarchy, "{spec}");
    // No terminal is at hand, and the root is elsewhere; all else is as it was written.
    spec["root"]["path"] = json!(yard.scratch.entry("rootfs"));
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "hostname; touch /x || echo read-only"]);
    spec["linux"]["cgroupsPath"] = yard.spec("own", &[])["linux"]["cgroupsPath"].clone();
    fs::write(&path, spec.to_string()).unwrap();
    for folder in ["dev/shm", "dev/mqueue"] {
        fs::create_dir_all(yard.scratch.path().join("rootfs").join(folder)).unwrap();
    }
    yard.call(&["run", "--bundle", &bundle, "own"])
        .prints("buntime\nread-only\n");
    let features = yard.call(&["features"]).expect(0).stdout();
    let features: Value = serde_json::from_str(&features).expect("features are JSON");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true, "{features}");
    assert!(binary().exists());
    yard.ends_clean();
}

#[test]
fn a_group_in_use_takes_another_only_below_it() {
    let Some(yard) = Yard::new("a_group_in_use_takes_another_only_below_it") else {
        return;
    };
    yard.sleeper("one", |_| {});
    let mut spec = yard.spec("two", &["sleep", "1000"]);
    spec["linux"]["cgroupsPath"] = yard.spec("one", &[])["linux"]["cgroupsPath"].clone();
    let words = "container's cgroup is not empty: 1 process(es) found";
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        yard.create("two", &spec).fails(1, words);
    } else {
        yard.create("two", &spec).fails(0, words);
        let told = fs::read_to_string(format!("/proc/{}/cgroup", yard.state("two")["pid"]));
        let told = told.expect("it has control groups");
        assert!(told.contains("/one/two\n"), "{told}");
        yard.call(&["delete", "--force", "two"]).expect(0);
        yard.reaches("one", "running");
    }
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn what_spec_writes_for_an_ordinary_user_runs() {
    let Some(yard) = Yard::new("what_spec_writes_for_an_ordinary_user_runs") else {
        return;
    };
    let ordinary = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    let (bundle, state) = (yard.scratch.entry("own"), yard.state_root());
    for folder in [&bundle, &state] {
        fs::create_dir(folder).unwrap();
        std::os::unix::fs::chown(folder, Some(USER), Some(USER)).unwrap();
    }
    let call = |args: &[&str]| yard.call_below(&ordinary, args);
    call(&["spec", "--rootless", "--bundle", &bundle]).expect(0);
    let path = Path::new(&bundle).join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spec["root"]["path"] = json!(yard.scratch.entry("rootfs"));
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "grep ' /sys' /proc/mounts; exec sleep 1000"]);
    fs::write(&path, spec.to_string()).unwrap();
    let run = call(&["run", "--detach", "--bundle", &bundle, "own"]).expect(0);
    // What of the host is seen there, its control groups too, is not to be changed from here.
    let mounts = eventually(PATIENCE, || match run.stdout() {
        told if told.contains(" /sys") && told.ends_with('\n') => Ok(told),
        told => Err(told),
    });
    let is_fixed = |line: &str| line.split(' ').nth(3).is_some_and(|o| o.starts_with("ro"));
    assert!(mounts.lines().all(is_fixed), "{mounts}");
    call(&["kill", "own", "KILL"]).expect(0);
    eventually(PATIENCE, || match call(&["state", "own"]).stdout() {
        state if state.contains("stopped") => Ok(()),
        state => Err(state),
    });
    call(&["kill", "own", "0"]).fails(1, "container not running");
    call(&["kill", "--all", "own", "0"]).expect(0);
    call(&["delete", "own"]).expect(0);
    yard.ends_clean();
}
