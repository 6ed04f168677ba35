//! The supervisor beside a container with a policy: it records the container's life, ends it in
//! time, and nothing of the container goes on without it.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::yard::{Called, Yard};
use crate::support::{PATIENCE, eventually, recorded};

/// A yard with a policy that records in a log of its own.
struct Watched {
    yard: Yard,
    policy: String,
    events: String,
}

fn policy(limits: &Value) -> Value {
    json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [
            {"action": "allow", "path": "/data", "perms": ["read_file", "read_dir", "write_file"]},
            {"action": "deny", "path": "/data/secret"}
        ]},
        "audit": {"enabled": true},
        "limits": limits
    })
}

impl Watched {
    fn new(test: &str, limits: &Value) -> Option<Watched> {
        let yard = Yard::new(test)?;
        yard.scratch.file("rootfs/data/secret", b"secret");
        yard.scratch.file("rootfs/data/more/file", b"");
        let text = serde_json::to_vec(&policy(limits)).expect("a policy is JSON");
        yard.scratch.file("policy.json", &text);
        Some(Watched {
            policy: yard.scratch.entry("policy.json"),
            events: yard.scratch.entry("events.jsonl"),
            yard,
        })
    }

    fn create(&self, line: &str) -> Called {
        self.create_with(&self.events, line)
    }

    fn create_with(&self, events: &str, line: &str) -> Called {
        let spec = self.yard.spec("c", &["sh", "-c", line]);
        let bundle = self.yard.bundle("c", &spec);
        let flags = ["--policy", &self.policy, "--events", events];
        let verb = ["create", "--bundle", &bundle, "c"];
        self.yard.call(&[&flags[..], &verb[..]].concat())
    }

    fn begun(&self, line: &str) {
        self.create(line).expect(0);
        self.yard.call(&["start", "c"]).expect(0);
    }

    fn supervisor(&self) -> (i32, bool) {
        let state = self.yard.state("c");
        let told = &state["buntime"]["policy"]["supervisor"];
        let pid = told["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        (
            pid.unwrap_or_else(|| panic!("no supervisor: {state}")),
            told["alive"] == true,
        )
    }

    fn recorded(&self) -> Vec<Value> {
        recorded(&self.events)
    }

    fn types(&self) -> Vec<String> {
        let recorded = self.recorded();
        let kinds = recorded.iter().map(|event| event["type"].as_str());
        kinds.map(|kind| kind.unwrap_or("?").to_owned()).collect()
    }

    /// Waits for the container's end and gives the event of it.
    #[track_caller]
    fn ended(&self) -> Value {
        self.yard.reaches("c", "stopped");
        eventually(PATIENCE, || match self.recorded().pop() {
            Some(event) if event["type"] == "exit" => Ok(event),
            other => Err(format!("the last event is {other:?}")),
        })
    }
}

/// The process whose parent is `pid`.
fn child_of(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.expect("the kernel lists children");
    text.trim().parse().expect("there is one child")
}

fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("it is a pid");
    kill_process(pid, signal).expect("the process is there");
}

#[test]
fn the_life_of_a_container_is_recorded_before_it_goes_on() {
    let name = "the_life_of_a_container_is_recorded_before_it_goes_on";
    let Some(watched) = Watched::new(name, &json!({"pids": 40})) else {
        return;
    };
    watched.create("sleep 1000").expect(0);
    let (pid, alive) = watched.supervisor();
    assert!(alive);
    // Nothing of the caller's is held by it.
    let held = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    let held: Vec<String> = held
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| link.display().to_string())
        .filter(|link| link.contains(&watched.yard.scratch.entry("call-")))
        .collect();
    assert_eq!(held, Vec::<String>::new());
    assert_eq!(watched.types(), ["session-start", "launch-enforced"]);
    watched.yard.call(&["start", "c"]).expect(0);
    watched
        .yard
        .call(&["exec", "--user", "7", "c", "echo", "hello"])
        .prints("hello\n");
    watched.yard.call(&["pause", "c"]).expect(0);
    watched.yard.call(&["resume", "c"]).expect(0);
    watched
        .yard
        .call(&["update", "--pids-limit", "20", "c"])
        .expect(0);
    watched.yard.call(&["kill", "c", "KILL"]).expect(0);
    watched.ended();
    watched.yard.call(&["delete", "c"]).expect(0);
    assert_eq!(
        watched.types(),
        [
            "session-start",
            "launch-enforced",
            "container-start",
            "container-exec",
            "container-pause",
            "container-resume",
            "container-update",
            "signal",
            "exit"
        ]
    );
    let recorded = watched.recorded();
    assert_eq!(recorded[0]["container"], "c");
    assert_eq!(recorded[3]["program"], json!(["echo", "hello"]));
    assert_eq!(recorded[3]["uid"], 7);
    assert_eq!(recorded[6]["resources"]["pids"]["limit"], 20);
    assert_eq!(recorded[7]["signal"], 9);
    let sequence: Vec<_> = recorded.iter().map(|event| &event["sequence"]).collect();
    assert_eq!(
        sequence,
        (0..9)
            .map(Value::from)
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    watched.yard.ends_clean();
}

#[test]
fn a_container_ends_when_its_time_is_over() {
    let name = "a_container_ends_when_its_time_is_over";
    // A busy machine may take longer to pause it than it is given.
    for wall in ["1s", "4s", "16s"] {
        let Some(watched) = Watched::new(name, &json!({"wall": wall})) else {
            return;
        };
        watched.create("sleep 1000 & sleep 1000").expect(0);
        watched.yard.call(&["start", "c"]).expect(0);
        let is_paused = watched.yard.call(&["pause", "c"]).code() == Some(0);
        ends_in_time(watched);
        if is_paused {
            return;
        }
    }
    panic!("its time was over before it was paused");
}

/// It does not outlive its time, of which none passes until its start: not even a paused one does.
fn ends_in_time(watched: Watched) {
    let exit = watched.ended();
    assert_eq!(exit["cause"], "timeout", "{exit}");
    assert!(
        watched
            .recorded()
            .iter()
            .any(|event| event["type"] == "limit"
                && event["limit"] == "wall"
                && event["ended"] == true)
    );
    watched.yard.call(&["delete", "c"]).expect(0);
    watched.yard.ends_clean();
}

#[test]
fn a_container_does_not_outlive_its_supervisor() {
    let name = "a_container_does_not_outlive_its_supervisor";
    let Some(watched) = Watched::new(name, &json!({})) else {
        return;
    };
    watched.begun("sleep 1000");
    let (pid, _) = watched.supervisor();
    signal(pid, Signal::KILL);
    watched.yard.reaches("c", "stopped");
    let (_, alive) = watched.supervisor();
    assert!(!alive);
    watched.yard.call(&["exec", "c", "true"]).expect(255);
    watched.yard.call(&["delete", "c"]).expect(0);

    // Neither does it outlive who watches the supervisor.
    watched.begun("sleep 1000");
    let (pid, _) = watched.supervisor();
    signal(child_of(pid), Signal::KILL);
    let exit = watched.ended();
    assert_eq!(exit["cause"], "failure", "{exit}");
    watched.yard.call(&["delete", "c"]).expect(0);
    watched.yard.ends_clean();
}

#[test]
fn what_is_not_answered_is_not_done() {
    let Some(watched) = Watched::new("what_is_not_answered_is_not_done", &json!({})) else {
        return;
    };
    watched.begun("sleep 1000");
    // Somebody else's socket in its place: the supervisor is there, and nobody hears of anything.
    let socket = watched.yard.scratch.entry("state/c/supervisor.sock");
    fs::remove_file(&socket).expect("there is a socket");
    for verb in [
        &["exec", "c", "true"][..],
        &["update", "--pids-limit", "9", "c"],
    ] {
        let called = watched.yard.call(verb);
        let told = called.stderr();
        assert!(
            told.contains("its supervisor does not carry this"),
            "{told}"
        );
        assert_ne!(called.code(), Some(0));
    }
    watched.yard.call(&["pause", "c"]).expect(0);
    let resumed = watched.yard.call(&["resume", "c"]);
    assert_ne!(resumed.code(), Some(0));
    // What ends it is done in any case.
    watched.yard.call(&["kill", "c", "KILL"]).expect(0);
    watched.yard.reaches("c", "stopped");
    watched.yard.call(&["delete", "c"]).expect(0);
    watched.yard.ends_clean();
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let Some(watched) = Watched::new("what_cannot_be_recorded_is_not_done", &json!({})) else {
        return;
    };
    // No log: no container, and nothing is left of it.
    let folder = watched.yard.scratch.entry("log");
    let called = watched.create_with(&folder, "sleep 1000");
    let told = called.stderr();
    assert!(told.contains("open the event log"), "{told}");
    assert_ne!(called.code(), Some(0));
    assert_eq!(watched.yard.left(), Vec::<String>::new());

    // A log that is full: no start.
    let full = watched.yard.scratch.entry("full");
    fs::create_dir(&full).expect("a folder can be made");
    let small = Small::mount(&full);
    let events = format!("{full}/events.jsonl");
    watched.create_with(&events, "sleep 1000").expect(0);
    small.fill(&full);
    let called = watched.yard.call(&["start", "c"]);
    let told = called.stderr();
    assert!(told.contains("write the event log"), "{told}");
    assert_eq!(watched.yard.state("c")["status"], "created");
    watched.yard.call(&["kill", "c", "KILL"]).expect(0);
    watched.yard.reaches("c", "stopped");
    watched.yard.call(&["delete", "c"]).expect(0);
    drop(small);
    watched.yard.ends_clean();
}

/// A file system that is soon full.
struct Small(String);

impl Small {
    fn mount(path: &str) -> Small {
        let options = std::ffi::CString::new("size=16k").expect("no NUL");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
            .expect("root can mount");
        Small(path.to_owned())
    }

    fn fill(&self, path: &str) {
        let filler = Path::new(path).join("filler");
        // Up to the end of the last page of the log as well.
        let log = fs::OpenOptions::new()
            .append(true)
            .open(Path::new(path).join("events.jsonl"));
        let mut log = log.expect("there is a log");
        fs::write(&filler, vec![0; 8192]).ok();
        while std::io::Write::write(&mut log, &[b' '; 512]).is_ok_and(|written| written == 512) {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.as_str(), rustix::mount::UnmountFlags::DETACH)
            .expect("it is mounted");
    }
}

#[test]
fn a_container_ends_when_it_has_written_too_much() {
    let name = "a_container_ends_when_it_has_written_too_much";
    let Some(watched) = Watched::new(name, &json!({"output": "20K"})) else {
        return;
    };
    // Up to the limit nothing is lost, of what is written to either, and of what joins.
    let line = "head -c 9000 /dev/zero; head -c 1000 /dev/zero >&2; sleep 1000";
    let created = watched.create(line).expect(0);
    watched.yard.call(&["start", "c"]).expect(0);
    let joined = watched
        .yard
        .call(&["exec", "c", "sh", "-c", "head -c 10000 /dev/zero; echo >&2"])
        .expect(0);
    assert_eq!((joined.stdout().len(), joined.stderr().len()), (10_000, 1));
    eventually(PATIENCE, || {
        match (created.stdout().len(), created.stderr().len()) {
            (9000, 1000) => Ok(()),
            other => Err(format!("{other:?} bytes have come")),
        }
    });
    // 20480 - 20001 are left.
    let last = watched
        .yard
        .call(&["exec", "c", "sh", "-c", "head -c 480 /dev/zero; sleep 1000"]);
    assert_eq!(last.stdout().len(), 479, "{last}");
    let exit = watched.ended();
    assert_eq!(exit["cause"], "limit", "{exit}");
    assert!(
        watched
            .recorded()
            .iter()
            .any(|event| event["type"] == "limit" && event["limit"] == "output")
    );
    watched.yard.call(&["delete", "c"]).expect(0);

    // What ends at once is copied whole all the same, and a terminal is not counted.
    let spec = watched
        .yard
        .spec("c", &["sh", "-c", "head -c 20480 /dev/zero; exit 3"]);
    let bundle = watched.yard.bundle("c", &spec);
    let flags = ["--policy", &watched.policy, "--events", &watched.events];
    let run = ["run", "--bundle", &bundle, "c"];
    let ran = watched
        .yard
        .call(&[&flags[..], &run[..]].concat())
        .expect(3);
    assert_eq!(ran.stdout().len(), 20_480);
    let mut spec = watched.yard.spec("c", &["sh"]);
    spec["process"]["terminal"] = json!(true);
    watched.yard.bundle("c", &spec);
    watched
        .yard
        .call(&[&flags[..], &run[..]].concat())
        .fails(1, "limits.output");
    watched.yard.ends_clean();
}

#[test]
fn the_shipped_strict_holds_a_container_whole() {
    let Some(watched) = Watched::new("the_shipped_strict_holds_a_container_whole", &json!({}))
    else {
        return;
    };
    let flags = ["--policy", "strict", "--events", &watched.events];
    let run = |line: &str| {
        let mut spec = watched.yard.spec("c", &["sh", "-c", line]);
        spec["mounts"]
            .as_array_mut()
            .expect("mounts are a list")
            .retain(|mount| mount["destination"] != "/log");
        let bundle = watched.yard.bundle("c", &spec);
        let verb = ["run", "--bundle", &bundle, "c"];
        watched.yard.call(&[&flags[..], &verb[..]].concat())
    };
    // Builtins of the shell alone: one program runs. SIGSYS ends whoever starts another.
    let ran = run("echo began; echo x 2>/dev/null >/etc/new; echo still; exit 7").expect(7);
    assert_eq!(ran.stdout(), "began\nstill\n", "{ran}");
    let killed = run("echo began; exec /bin/true").expect(128 + 31);
    assert_eq!(killed.stdout(), "began\n");
    let exit = watched.recorded().pop();
    assert_eq!(
        exit.map(|exit| exit["cause"].clone()),
        Some(json!("violation"))
    );
    watched.yard.ends_clean();
}

#[test]
fn a_container_ends_when_a_mask_may_be_gone() {
    let name = "a_container_ends_when_a_mask_may_be_gone";
    let Some(watched) = Watched::new(name, &json!({})) else {
        return;
    };
    let root = watched.yard.scratch.path().join("rootfs");
    let data = root.join("data");
    for (what, change) in [
        ("the file", ["data/secret", "data/old"]),
        ("its folder", ["data", "old"]),
    ] {
        watched.begun("sleep 1000");
        // What happens beside it is nobody's concern.
        fs::write(data.join("beside"), "x").expect("it can be written");
        fs::remove_file(data.join("beside")).expect("it was written");
        watched
            .yard
            .call(&[
                "exec",
                "c",
                "sh",
                "-c",
                "cat /data/secret >/dev/null 2>&1; echo $?",
            ])
            .expect(0);
        let [from, to] = change.map(|name| root.join(name));
        fs::rename(&from, &to).expect("the host can do so");
        let exit = watched.ended();
        assert_eq!(exit["cause"], "policy", "{what}: {exit}");
        let recorded = watched.recorded();
        let violation = recorded.iter().rfind(|event| event["type"] == "violation");
        let reason = violation.map(|event| event["reason"].to_string());
        assert!(
            reason
                .as_ref()
                .is_some_and(|reason| reason.contains("/data/secret")),
            "{what}: {reason:?}"
        );
        fs::rename(to, from).expect("the host can do so");
        watched.yard.call(&["delete", "c"]).expect(0);
    }
    watched.yard.ends_clean();
}
