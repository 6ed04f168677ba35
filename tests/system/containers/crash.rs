//! SIGKILL for the runtime at any moment of any verb: afterwards `delete --force` of each id takes
//! away whatever there is, and state and reality agree.
//!
//! A plain test run makes forty containers; `hack/soak` a thousand, fifty at a time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::yard::Yard;
use crate::support::chance::Chance;
use crate::support::{PATIENCE, eventually};

struct Size {
    containers: usize,
    at_once: usize,
}

fn size() -> Size {
    match std::env::var_os("BUNTIME_SOAK") {
        Some(_) => Size {
            containers: 1000,
            at_once: 50,
        },
        None => Size {
            containers: 40,
            at_once: 10,
        },
    }
}

/// The verbs whose runtime is killed.
const VERBS: [&str; 7] = [
    "create", "start", "exec", "pause", "resume", "kill", "delete",
];

/// What was done to the runtime, to know that the test has tested something.
#[derive(Default)]
struct Tally {
    killed: AtomicUsize,
    ended: AtomicUsize,
    /// How long each verb takes of late, in microseconds, so that kills fall into the middle of it
    /// however busy the machine is.
    spans: [AtomicU64; VERBS.len()],
}

impl Tally {
    /// Calls a verb and, every other time, kills the runtime in the middle of it.
    fn call(&self, yard: &Yard, chance: &mut Chance, args: &[&str]) {
        let verb = VERBS.iter().position(|verb| args.contains(verb));
        let span = &self.spans[verb.expect("it is one of the verbs")];
        let mut pending = yard.start(args);
        let began = Instant::now();
        let known = span.load(Ordering::Relaxed);
        if known > 0 && chance.below(2) == 0 {
            std::thread::sleep(Duration::from_micros(chance.below(known)));
            pending.running().signal(Signal::KILL);
        }
        match pending.wait().code() {
            None => self.killed.fetch_add(1, Ordering::Relaxed),
            Some(_) => {
                let now = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let mixed = if known == 0 {
                    now
                } else {
                    (known * 3 + now) / 4
                };
                span.store(mixed.max(1), Ordering::Relaxed);
                self.ended.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// One container's life.
    fn live(&self, yard: &Yard, number: usize, seed: u64) {
        // Small numbers would give the first draws of all containers the same lowest bits.
        let mut chance = Chance::of_seed(seed);
        let id = format!("c{number}");
        let mut spec = yard.spec(&id, &["sleep", "1000"]);
        if number.is_multiple_of(3) {
            // A process goes ahead of the first one, and hooks run.
            spec["linux"]["namespaces"] = serde_json::json!([
                {"type": "pid"}, {"type": "mount"}, {"type": "user"}, {"type": "time"}
            ]);
            let map = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map;
            spec["linux"]["timeOffsets"] = serde_json::json!({"boottime": {"secs": 100}});
            spec["mounts"] = serde_json::json!([spec["mounts"][0]]);
            spec.as_object_mut().map(|spec| spec.remove("hostname"));
            let hook = serde_json::json!([{"path": "/bin/true"}]);
            spec["hooks"] = serde_json::json!({"createRuntime": hook, "poststop": hook});
        }
        let bundle = yard.bundle(&id, &spec);
        let pids = yard.scratch.entry(&format!("pids/{id}"));
        let create = ["create", "--pid-file", &pids, "--bundle", &bundle, &id];
        // A supervisor stands beside others.
        let held = [
            "--policy",
            &yard.scratch.entry("policy.json"),
            "--events",
            &yard.scratch.entry("events.jsonl"),
        ];
        let flags = if number % 3 == 1 { &held[..] } else { &[] };
        let create = [flags, &create[..]].concat();
        let call = |chance: &mut Chance, args: &[&str]| self.call(yard, chance, args);
        call(&mut chance, &create);
        call(&mut chance, &["start", &id]);
        agrees(yard, &id);
        call(&mut chance, &["exec", "--pid-file", &pids, &id, "true"]);
        call(&mut chance, &["pause", &id]);
        agrees(yard, &id);
        call(&mut chance, &["resume", &id]);
        call(&mut chance, &["kill", &id, "KILL"]);
        call(&mut chance, &["delete", &id]);
        yard.call(&["delete", "--force", &id]).expect(0);
        yard.call(&["state", &id]).fails(1, "does not exist");
    }
}

/// What `state` says is what /proc says, at the latest a moment after a runtime was killed: what it
/// was making ends then.
pub fn agrees(yard: &Yard, id: &str) {
    eventually(PATIENCE, || agreement(yard, id));
}

fn agreement(yard: &Yard, id: &str) -> Result<(), String> {
    let told = yard.call(&["state", id]);
    if told.code() != Some(0) {
        told.fails(1, "does not exist");
        return Ok(());
    }
    let state: Value = serde_json::from_str(&told.stdout()).expect("a state is JSON");
    let pid = &state["pid"];
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let is_true = match state["status"].as_str() {
        Some("created" | "running" | "paused") => {
            let own = format!("/{id}");
            group.is_ok_and(|group| group.lines().any(|line| line.ends_with(&own)))
        }
        Some("stopped") => *pid == 0,
        // Nobody makes it any more.
        _ => false,
    };
    match is_true {
        true => Ok(()),
        false => Err(format!("it is not so: {state}")),
    }
}

/// Counts a thread out, also when it panics.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn nothing_stays_of_containers_whose_runtime_is_killed() {
    let Some(yard) = Yard::new("nothing_stays_of_containers_whose_runtime_is_killed") else {
        return;
    };
    let size = size();
    let given = std::env::var("BUNTIME_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    eprintln!("BUNTIME_SEED={seed}");
    let policy = serde_json::json!({
        "version": 1,
        "defaults": {"fs": "allow", "net": "deny", "exec": "allow"},
        "fs": {"rules": [{"action": "deny", "path": "/root"}]},
        "audit": {"enabled": true},
        "limits": {"wall": "10m", "output": "1M"}
    });
    yard.scratch
        .file("policy.json", policy.to_string().as_bytes());
    std::fs::create_dir(yard.scratch.entry("pids")).expect("a folder can be made");
    let (tally, next) = (Tally::default(), AtomicUsize::new(0));
    let living = AtomicUsize::new(size.at_once);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while living.load(Ordering::Relaxed) > 0 {
                yard.reap_orphans();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..size.at_once {
            scope.spawn(|| {
                let _end = Ends(&living);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= size.containers {
                        return;
                    }
                    let own = seed.wrapping_mul(number as u64 * 2 + 1);
                    tally.live(&yard, number, own);
                    if number % 100 == 99 {
                        eprintln!("{} of {}", number + 1, size.containers);
                    }
                }
            });
        }
    });
    let (killed, ended) = (tally.killed.into_inner(), tally.ended.into_inner());
    eprintln!(
        "{} containers: {killed} calls were killed, {ended} ended",
        size.containers
    );
    assert!(
        killed * 2 > size.containers,
        "hardly anything was killed: {killed}"
    );
    // A pid file is whole, and there is none that is half made.
    for entry in std::fs::read_dir(yard.scratch.entry("pids")).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(
            name.starts_with('c') && text.parse::<u32>().is_ok(),
            "{}: {text:?}",
            path.display()
        );
    }
    yard.ends_clean();
}
