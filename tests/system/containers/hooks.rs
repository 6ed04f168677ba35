//! Hooks: all six kinds, in their order, each with the container's state on its standard input.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::yard::Yard;

const ORDER: [(&str, &str); 6] = [
    ("prestart", "created"),
    ("createRuntime", "creating"),
    ("createContainer", "creating"),
    ("startContainer", "created"),
    ("poststart", "running"),
    ("poststop", "stopped"),
];

/// A hook that notes its name, keeps its input and says where it runs.
fn noting(yard: &Yard, kind: &str) -> Value {
    // This one runs inside, where the folder has another name.
    let log = match kind {
        "startContainer" => "/log".to_owned(),
        _ => yard.scratch.entry("log"),
    };
    let script = format!(
        "echo {kind} >>{log}/order; cat >{log}/{kind}; readlink /proc/self/ns/mnt >{log}/{kind}.mnt; \
         pwd >{log}/{kind}.pwd; echo $A >{log}/{kind}.env"
    );
    let shell = match kind {
        "startContainer" => "/bin/sh",
        _ => "/bin/busybox",
    };
    json!([{"path": shell, "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "A=set"]}])
}

#[test]
fn all_six_kinds_run_in_order() {
    let Some(yard) = Yard::new("all_six_kinds_run_in_order") else {
        return;
    };
    let mut spec = yard.spec(
        "one",
        &["sh", "-c", "echo program >>/log/order; sleep 1000"],
    );
    for (kind, _) in ORDER {
        spec["hooks"][kind] = noting(&yard, kind);
    }
    let log = |name: &str| {
        let path = yard.scratch.path().join("log").join(name);
        fs::read_to_string(path).unwrap_or_default()
    };
    yard.create("one", &spec).expect(0);
    let pid = yard.state("one")["pid"].clone();
    let inside = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(log("order"), "prestart\ncreateRuntime\ncreateContainer\n");
    yard.call(&["start", "one"]).expect(0);
    yard.call(&["kill", "one", "KILL"]).expect(0);
    yard.reaches("one", "stopped");
    yard.call(&["delete", "one"]).expect(0);
    let order = log("order");
    let hooks: Vec<&str> = order.lines().filter(|line| *line != "program").collect();
    assert_eq!(hooks, ORDER.map(|(kind, _)| kind));
    for (kind, status) in ORDER {
        let state: Value = serde_json::from_str(&log(kind))
            .unwrap_or_else(|error| panic!("{kind} was given {:?}: {error}", log(kind)));
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["id"], "one", "{kind}");
        assert_eq!(state["bundle"], yard.scratch.entry("bundles/one"), "{kind}");
        match kind {
            "poststop" => assert_eq!(state["pid"], 0),
            // A hook in the container's pid namespace sees another number than it is told.
            _ => assert_eq!(state["pid"], pid, "{kind}"),
        }
        let is_inside = log(&format!("{kind}.mnt")).trim() == inside.display().to_string();
        let expected = kind == "createContainer" || kind == "startContainer";
        assert_eq!(is_inside, expected, "where {kind} runs");
        assert_eq!(log(&format!("{kind}.env")), "set\n", "{kind}");
    }
    // The one that may put something into the root is in it before the container is.
    let place = log("createContainer.pwd");
    assert_eq!(place.trim(), yard.scratch.entry("rootfs"));
    yard.ends_clean();
}

#[test]
fn one_that_fails_ends_the_creation() {
    let Some(yard) = Yard::new("one_that_fails_ends_the_creation") else {
        return;
    };
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut spec = yard.spec("one", &["true"]);
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 5"]});
        let later = yard.scratch.entry("later");
        let after = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo >{later}")]});
        spec["hooks"][kind] = json!([hook, after]);
        let failed = yard.create("one", &spec).fails(1, kind);
        let said = failed.stderr();
        for words in ["error running hook", "status 5", "why"] {
            assert!(said.contains(words), "{failed}");
        }
        assert!(!Path::new(&later).exists(), "the hooks after it do not run");
        assert_eq!(yard.left(), Vec::<String>::new(), "after {kind}");
    }
    // From the start on it is the program that does not run, and after it nobody minds.
    let mut spec = yard.spec("one", &["sh", "-c", "echo ran >/log/ran"]);
    spec["hooks"]["startContainer"] = json!([{"path": "/bin/false"}]);
    yard.create("one", &spec).expect(0);
    yard.call(&["start", "one"]).fails(1, "startContainer");
    yard.reaches("one", "stopped");
    assert!(!yard.scratch.path().join("log/ran").exists());
    yard.remove("one");
    for kind in ["poststart", "poststop"] {
        let mut spec = yard.spec("one", &["true"]);
        let mark = yard.scratch.entry(kind);
        let after = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo >{mark}")]});
        spec["hooks"][kind] = json!([{"path": "/bin/false"}, after]);
        yard.create("one", &spec).expect(0);
        yard.call(&["start", "one"]).expect(0);
        yard.reaches("one", "stopped");
        yard.call(&["delete", "one"]).expect(0);
        assert!(Path::new(&mark).exists(), "the hook after it runs");
    }
    yard.ends_clean();
}

#[test]
fn one_that_does_not_end_is_ended() {
    let Some(yard) = Yard::new("one_that_does_not_end_is_ended") else {
        return;
    };
    // As nobody else on the host sleeps.
    let long = (1_000_000 + std::process::id()).to_string();
    let script = format!("exec sleep {long}");
    let sleeping_so = format!("sleep\0{long}\0").into_bytes();
    for kind in ["prestart", "createContainer"] {
        let mut spec = yard.spec("one", &["true"]);
        let mark = yard.scratch.entry("hook");
        spec["hooks"][kind] =
            json!([{"path": "/bin/sh", "args": [mark, "-c", &script], "timeout": 1}]);
        let began = Instant::now();
        yard.create("one", &spec).fails(1, "did not end within 1 s");
        assert!(began.elapsed() < Duration::from_secs(60));
        let sleeping = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line == sleeping_so
        });
        assert!(!sleeping, "the {kind} hook lives on");
        assert_eq!(yard.left(), Vec::<String>::new(), "after {kind}");
    }
    yard.ends_clean();
}

#[test]
fn one_gets_no_descriptor_of_the_callers() {
    let Some(yard) = Yard::new("one_gets_no_descriptor_of_the_callers") else {
        return;
    };
    let mut spec = yard.spec("one", &["true"]);
    for (kind, _) in ORDER {
        let mut hook = noting(&yard, kind);
        let log = match kind {
            "startContainer" => "/log".to_owned(),
            _ => yard.scratch.entry("log"),
        };
        hook[0]["args"][2] = json!(format!(
            "for open in 0 3 4 5 6 7 8 9; do (: <&$open) && echo $open; done >{log}/{kind} 2>/dev/null; true"
        ));
        spec["hooks"][kind] = hook;
    }
    let bundle = yard.bundle("one", &spec);
    let with_seven = ["sh", "-c", "exec 7</etc/passwd; exec \"$@\"", "sh"];
    for args in [
        &["create", "--bundle", &bundle, "one"][..],
        &["start", "one"],
        &["delete", "--force", "one"],
    ] {
        yard.call_below(&with_seven, args).expect(0);
    }
    for (kind, _) in ORDER {
        let path = yard.scratch.path().join("log").join(kind);
        let open = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(open, "0\n", "{kind}");
    }
    yard.ends_clean();
}

#[test]
fn one_is_named_by_an_absolute_path() {
    let Some(yard) = Yard::new("one_is_named_by_an_absolute_path") else {
        return;
    };
    for (kind, _) in ORDER {
        let mut spec = yard.spec("one", &["true"]);
        spec["hooks"][kind] = json!([{"path": "/bin/true"}, {"path": "true"}]);
        yard.create("one", &spec)
            .fails(1, &format!("hooks.{kind}[1].path"));
    }
    yard.ends_clean();
}
