//! Mutated configurations and state files are read without a panic, and an error names the field.
//! A plain test run reads twenty thousand, the same each time; `hack/fuzz` a million others.
#![cfg(target_os = "linux")]

use buntime::launch::container::{Isolation, ProcessPlan};
use buntime::oci::container::{Store, config, example_spec, example_spec_rootless};
use serde_json::{Value, json};

/// xorshift, as good as any here.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    fn value(&mut self) -> Value {
        match self.below(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(u64::MAX),
            4 => json!(i64::MIN),
            5 => json!(1.5),
            6 => json!(0),
            7 => json!(""),
            8 => json!("\0"),
            9 => json!("../../../../etc/passwd"),
            10 => json!("é\u{202e}".repeat(300)),
            11 => json!([]),
            12 => json!({}),
            _ => json!([{"a": [[[{}]]]}]),
        }
    }
}

/// A number from the environment.
fn given<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn rounds() -> usize {
    given("BUNTIME_FUZZ").unwrap_or(20_000)
}

/// Says now and then how far a long search is.
fn progress(what: &str, round: usize) {
    if round > 0 && round.is_multiple_of(50_000) {
        eprintln!("{what}: {round} of {}", rounds());
    }
}

fn chance() -> Chance {
    // What is found by chance is found by a search, not by who has changed something else.
    let plain = given::<usize>("BUNTIME_FUZZ").is_none();
    let other = if plain {
        1
    } else {
        u64::from(std::process::id()) | 1
    };
    let seed: u64 = given("BUNTIME_SEED").unwrap_or(other);
    eprintln!("BUNTIME_SEED={seed}");
    Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Every place in a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(
                    value,
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Changes one place of a document, or some bytes of it. Gives the place where it was one.
fn mutate(document: &Value, chance: &mut Chance) -> (Vec<u8>, Option<String>) {
    let mut document = document.clone();
    let mut all = Vec::new();
    places(&document, "", &mut all);
    let place = all[chance.below(all.len())].clone();
    if chance.below(4) > 0 {
        let new = chance.value();
        if let Some(old) = document.pointer_mut(&place) {
            *old = new;
        }
        return (document.to_string().into_bytes(), Some(place));
    }
    let mut bytes = document.to_string().into_bytes();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        match chance.below(3) {
            0 => bytes[at] = chance.below(256) as u8,
            1 => bytes.truncate(at + 1),
            _ => {
                let piece = bytes[at..(at + chance.below(40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    (bytes, None)
}

/// A document with a value in as many places as there are.
fn rich() -> Value {
    let mut spec = example_spec();
    spec["process"]["user"] = json!({"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]});
    spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 1, "flags": []});
    spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0-1"});
    spec["process"]["consoleSize"] = json!({"height": 1, "width": 2});
    spec["hooks"] =
        json!({"prestart": [{"path": "/x", "args": ["x"], "env": ["A=b"], "timeout": 1}]});
    spec["annotations"] = json!({"a": "b"});
    let linux = &mut spec["linux"];
    linux["resources"] = json!({
        "memory": {"limit": 1 << 30, "swap": -1}, "pids": {"limit": 9}, "unified": {"a.b": "c"},
        "cpu": {"shares": 3, "quota": 4, "period": 5, "cpus": "0"},
        "devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
        "blockIO": {"weight": 10}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]
    });
    linux["devices"] =
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438}]);
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    linux["timeOffsets"] = json!({"boottime": {"secs": 1, "nanosecs": 2}});
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 2}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 2}]);
    linux["cgroupsPath"] = json!("/a/b");
    linux["rootfsPropagation"] = json!("private");
    linux["personality"] = json!({"domain": "LINUX"});
    linux["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["read", "none"], "action": "SCMP_ACT_ALLOW",
                      "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]
    });
    spec
}

/// `a.b[0]` as the first name of it.
fn first(field: &str) -> &str {
    field.split(['.', '[']).next().unwrap_or_default()
}

#[test]
fn mutated_configurations_are_read_without_a_panic() {
    let mut chance = chance();
    let documents = [rich(), example_spec(), example_spec_rootless(1, 2)];
    let (mut taken, mut refused) = (0, 0);
    for round in 0..rounds() {
        progress("configurations", round);
        let document = &documents[chance.below(documents.len())];
        let (bytes, place) = mutate(document, &mut chance);
        let shown = String::from_utf8_lossy(&bytes);
        let error = match config::parse(&bytes) {
            Err(error) => error.to_string(),
            Ok(spec) => {
                taken += 1;
                let planned = ProcessPlan::of_spec(&spec).map(drop);
                match planned.and_then(|()| Isolation::of(&spec).map(drop)) {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
        };
        refused += 1;
        let field = error
            .strip_prefix("config.json: ")
            .and_then(|rest| rest.split_once(':'));
        // A namespace's file that is not there is named by its path.
        if error.starts_with("cannot open the namespace") {
            continue;
        }
        let Some((field, cause)) = field else {
            panic!("{error:?} names no field of {shown}");
        };
        assert!(!cause.trim().is_empty(), "{error:?}");
        let Some(place) = place else { continue };
        let name = place.split('/').nth(1).unwrap_or_default();
        let is_named = first(field) == name || field == "config" || name.is_empty();
        assert!(
            is_named,
            "{error:?} names another field than {place} of {shown}"
        );
    }
    eprintln!("{taken} were parsed, {refused} refused");
    assert!(taken > rounds() / 10 && refused > rounds() / 10);
}

#[test]
fn mutated_states_are_read_without_a_panic() {
    let mut chance = chance();
    let root = std::env::temp_dir().join(format!("test-states-{}", std::process::id()));
    std::fs::create_dir_all(root.join("one")).expect("a folder can be made");
    let path = root.join("one/state.json");
    let document = json!({
        "id": "one", "ociVersion": "1.0.2", "bundle": "/b", "rootfs": "/b/r",
        "created": "2020-01-01T00:00:00Z", "owner": 0, "annotations": {"a": "b"},
        "first": {"pid": 4_194_305, "start_time": 5},
        "group": {"v1": [{"controllers": "cpu", "path": "/sys/fs/cgroup/cpu/x"}],
                  "unified": "/sys/fs/cgroup/unified/x"},
        "ownPids": true, "complete": true
    });
    let (mut taken, mut refused) = (0, 0);
    for round in 0..rounds() {
        progress("states", round);
        let (bytes, place) = mutate(&document, &mut chance);
        std::fs::write(&path, &bytes).expect("a state can be written");
        let entry = Store::at(&root).look_at("one").expect("it is there");
        match entry.state() {
            Ok(_) => taken += 1,
            Err(error) => {
                refused += 1;
                let error = error.to_string();
                let Some(place) = place else { continue };
                let name = place.split('/').nth(1).unwrap_or("state");
                assert!(
                    error.contains(name),
                    "{error:?} names another field than {place}"
                );
            }
        }
    }
    std::fs::remove_dir_all(&root).expect("the folder can be removed");
    eprintln!("{taken} were taken, {refused} refused");
    assert!(taken > 0 && refused > rounds() / 10);
}
