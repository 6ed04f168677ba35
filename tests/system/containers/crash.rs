//! SIGKILL for the runtime at any moment of any verb: afterwards `delete --force` of each id takes
//! away whatever there is, and state and reality agree.
//!
//! A plain test run makes forty containers; `hack/soak` a thousand, fifty at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::yard::Yard;

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

/// xorshift, since any spread over the time of a verb will do.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What was done to the runtime, to know that the test has tested something.
#[derive(Default)]
struct Tally {
    killed: AtomicUsize,
    ended: AtomicUsize,
}

impl Tally {
    /// Calls a verb and, every other time, kills the runtime in the middle of it.
    fn call(&self, yard: &Yard, chance: &mut Chance, args: &[&str], span: Duration) {
        let mut pending = yard.start(args);
        if chance.next(2) == 0 {
            let micros = u64::try_from(span.as_micros()).unwrap_or(1).max(1);
            std::thread::sleep(Duration::from_micros(chance.next(micros)));
            pending.running().signal(Signal::KILL);
        }
        match pending.wait().code() {
            None => self.killed.fetch_add(1, Ordering::Relaxed),
            Some(_) => self.ended.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// One container's life.
    fn live(&self, yard: &Yard, number: usize, seed: u64, span: Duration) {
        let mut chance = Chance(seed);
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
        self.call(
            yard,
            &mut chance,
            &["create", "--bundle", &bundle, &id],
            span,
        );
        self.call(yard, &mut chance, &["start", &id], span / 2);
        agrees(yard, &id);
        self.call(yard, &mut chance, &["exec", &id, "true"], span);
        self.call(yard, &mut chance, &["pause", &id], span / 2);
        self.call(yard, &mut chance, &["kill", &id, "KILL"], span / 2);
        self.call(yard, &mut chance, &["delete", &id], span / 2);
        yard.call(&["delete", "--force", &id]).expect(0);
        yard.call(&["state", &id]).fails(1, "does not exist");
    }
}

/// What `state` says is what /proc says.
fn agrees(yard: &Yard, id: &str) {
    let told = yard.call(&["state", id]);
    if told.code() != Some(0) {
        told.fails(1, "does not exist");
        return;
    }
    let state: Value = serde_json::from_str(&told.stdout()).expect("a state is JSON");
    let pid = &state["pid"];
    let lives = std::path::Path::new(&format!("/proc/{pid}/cgroup")).exists();
    match state["status"].as_str() {
        Some("created" | "running" | "paused") => {
            assert!(lives, "{state}");
            let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
            let group = group.unwrap_or_default();
            let own = format!("/{id}");
            assert!(
                group.lines().any(|line| line.ends_with(&own)),
                "{state}: {group}"
            );
        }
        Some("stopped") => assert_eq!(*pid, 0, "{state}"),
        _ => panic!("nobody makes it any more: {state}"),
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
    // How long a creation takes here and now, so that kills fall into the middle of one.
    let began = Instant::now();
    yard.create("first", &yard.spec("first", &["true"]))
        .expect(0);
    let span = began.elapsed();
    yard.remove("first");

    let (tally, next) = (Tally::default(), AtomicUsize::new(0));
    let busy = span * u32::try_from(size.at_once / 2).unwrap_or(1);
    std::thread::scope(|scope| {
        for _ in 0..size.at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= size.containers {
                        return;
                    }
                    let own = seed.wrapping_mul(number as u64 * 2 + 1) | 1;
                    tally.live(&yard, number, own, busy);
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
        killed * 10 > size.containers,
        "hardly anything was killed: {killed}"
    );
    yard.ends_clean();
}
