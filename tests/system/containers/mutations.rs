//! Configurations at random, launched and looked at from inside: never less confinement than was
//! asked for. A plain test run launches sixty, the same each time; `hack/fuzz` two thousand others.

use serde_json::{Value, json};

use super::yard::{Yard, status};
use crate::support::chance::Chance;

/// What the container tells of itself.
const TELL: &str = "cat /proc/self/status; cat /proc/self/limits; cat /proc/self/mountinfo; \
    echo oom $(cat /proc/self/oom_score_adj); \
    for kind in ipc net pid uts mnt cgroup user; do echo ns $kind $(readlink /proc/self/ns/$kind); done; \
    for path in /proc/kcore /proc/keys; do echo masked $path $(head -c 1 $path 2>/dev/null | wc -c); \
    done; touch /x 2>/dev/null && echo root written; rm -f /x; \
    echo 0 2>/dev/null >/proc/sys/kernel/randomize_va_space && echo sys written; echo told";

/// Each of them or not.
fn some<'a, T: ?Sized>(chance: &mut Chance, all: &[&'a T]) -> Vec<&'a T> {
    let all = all.iter().copied();
    all.filter(|_| chance.below(2) == 0).collect()
}

/// Names and bits of capabilities(7).
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_CHOWN", 0),
    ("CAP_KILL", 5),
    ("CAP_SETUID", 7),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
];

/// Limits that a shell can live with, and their names in /proc/PID/limits.
const LIMITS: [(&str, &str); 3] = [
    ("RLIMIT_NOFILE", "Max open files"),
    ("RLIMIT_CORE", "Max core file size"),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
];

const KINDS: [(&str, &str); 7] = [
    ("ipc", "ipc"),
    ("network", "net"),
    ("pid", "pid"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

/// Sets that can be together, and sometimes any sets, which the kernel may refuse.
fn capabilities(chance: &mut Chance) -> Value {
    let all: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    let any = match chance.below(6) {
        0 => return Value::Null,
        number => number == 1,
    };
    let mut sets = json!({});
    let mut from = all.clone();
    for set in ["bounding", "permitted", "inheritable", "ambient"] {
        from = some(chance, if any { &all } else { &from });
        sets[set] = json!(from);
        if set == "permitted" {
            sets["effective"] = json!(some(chance, &from));
        }
    }
    let names: Vec<String> = sets.as_object().expect("sets").keys().cloned().collect();
    let dropped = &names[chance.below(5) as usize];
    if any {
        sets[dropped] = Value::Null;
    }
    sets
}

fn mutated(yard: &Yard, id: &str, chance: &mut Chance) -> Value {
    let mut spec = yard.spec(id, &["sh", "-c", TELL]);
    let process = &mut spec["process"];
    process["capabilities"] = capabilities(chance);
    process["user"] = json!({"uid": chance.below(3) * 1000, "gid": chance.below(3) * 7});
    if chance.below(2) == 0 {
        process["user"]["additionalGids"] = json!([chance.below(90), chance.below(90)]);
    }
    process["noNewPrivileges"] = json!(chance.below(2) == 0);
    if chance.below(2) == 0 {
        let limits = LIMITS
            .iter()
            .filter(|_| chance.below(2) == 0)
            .collect::<Vec<_>>();
        let limits = limits.iter().map(|(kind, _)| {
            let soft = 64 + chance.below(64);
            let hard = soft + chance.below(64);
            json!({"type": kind, "soft": soft, "hard": hard})
        });
        process["rlimits"] = limits.collect();
    }
    if chance.below(2) == 0 {
        process["oomScoreAdj"] = json!(chance.below(1000));
    }
    if chance.below(2) == 0 {
        process["user"]["umask"] = json!(chance.below(0o1000));
    }
    spec["root"]["readonly"] = json!(chance.below(2) == 0);
    if chance.below(2) == 0 {
        spec["mounts"][3]["options"] = json!(some(chance, &["ro", "nosuid", "nodev", "noexec"]));
    }
    if chance.below(2) == 0 {
        spec["mounts"][4]["options"] = json!(["rbind", "ro", "nosuid", "noexec"]);
    }
    spec["linux"]["maskedPaths"] = json!(some(chance, &["/proc/kcore", "/proc/keys", "/none"]));
    spec["linux"]["readonlyPaths"] = json!(some(chance, &["/proc/sys", "/none"]));
    if chance.below(2) == 0 {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}]
        });
    }
    map_ids(&mut spec);
    let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    kinds.retain(|kind| *kind == "mount" || *kind == "pid" || chance.below(4) != 0);
    spec["linux"]["namespaces"] = kinds.iter().map(|kind| json!({"type": kind})).collect();
    if !kinds.contains(&"uts") || chance.below(2) == 0 {
        spec.as_object_mut().map(|spec| spec.remove("hostname"));
    }
    spec
}

/// What a user namespace needs, and nothing minds without one.
fn map_ids(spec: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": 300_000, "size": 5000}]);
    spec["linux"]["uidMappings"] = map.clone();
    spec["linux"]["gidMappings"] = map;
}

fn bits(set: &Value) -> u64 {
    let names = set.as_array().into_iter().flatten();
    let bits = names.filter_map(|name| CAPABILITIES.iter().find(|(known, _)| name == known));
    bits.fold(0, |all, (_, bit)| all | 1 << bit)
}

/// Fails where the container has more than its configuration gives.
fn judge(spec: &Value, told: &str) {
    let process = &spec["process"];
    let asked = &process["capabilities"];
    for (line, set) in [
        ("CapBnd", "bounding"),
        ("CapPrm", "permitted"),
        ("CapEff", "effective"),
        ("CapInh", "inheritable"),
        ("CapAmb", "ambient"),
    ] {
        let held = u64::from_str_radix(status(told, line), 16).expect("a set is a number");
        // execve(2) gives root what is bounding or inheritable, and anyone what is ambient.
        let mut given = bits(&asked[set]);
        if set == "permitted" || set == "effective" {
            given |= bits(&asked["ambient"]);
            if process["user"]["uid"] == 0 {
                given |= bits(&asked["bounding"]) | bits(&asked["inheritable"]);
            }
        }
        assert_eq!(held & !given, 0, "{line} has more than {set}");
    }
    let user = &process["user"];
    for (line, id) in [("Uid", &user["uid"]), ("Gid", &user["gid"])] {
        assert!(
            status(told, line)
                .split('\t')
                .all(|own| own.parse() == Ok(id.as_u64().unwrap_or(u64::MAX))),
            "{line}"
        );
    }
    let groups = user["additionalGids"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for group in status(told, "Groups").split_whitespace() {
        assert!(
            groups
                .iter()
                .any(|given| given.as_u64() == group.parse().ok()),
            "group {group}"
        );
    }
    let is = |asked: &Value| if *asked == true { "1" } else { "0" };
    assert_eq!(status(told, "NoNewPrivs"), is(&process["noNewPrivileges"]));
    let filter = if spec["linux"]["seccomp"].is_null() {
        "0"
    } else {
        "2"
    };
    assert_eq!(status(told, "Seccomp"), filter);
    for limit in process["rlimits"].as_array().into_iter().flatten() {
        let kind = LIMITS.iter().find(|(kind, _)| limit["type"] == *kind);
        let (_, title) = kind.expect("it is one of them");
        let line = told.lines().find_map(|line| line.strip_prefix(title));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        assert_eq!(
            words[..2],
            [limit["soft"].to_string(), limit["hard"].to_string()],
            "{title}"
        );
    }
    if let Some(score) = process["oomScoreAdj"].as_u64() {
        assert!(told.contains(&format!("\noom {score}\n")), "oomScoreAdj");
    }
    if let Some(umask) = user["umask"].as_u64() {
        assert_eq!(status(told, "Umask"), format!("{umask:04o}"));
    }
    judge_mounts(spec, told);
    for (kind, name) in KINDS {
        let listed = spec["linux"]["namespaces"].as_array().into_iter().flatten();
        if listed.clone().any(|one| one["type"] == kind) {
            let own = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("it has a name");
            assert!(
                !told.contains(&format!("ns {name} {}", own.display())),
                "{kind}"
            );
        }
    }
}

fn judge_mounts(spec: &Value, told: &str) {
    let options = |point: &str| -> Vec<&str> {
        let mut lines = told
            .lines()
            .filter(|line| line.split(' ').nth(4) == Some(point));
        let last = lines.next_back().unwrap_or_default();
        last.split(' ')
            .nth(5)
            .unwrap_or_default()
            .split(',')
            .collect()
    };
    for mount in spec["mounts"].as_array().into_iter().flatten() {
        let point = mount["destination"].as_str().unwrap_or_default();
        let has = options(point);
        for asked in mount["options"].as_array().into_iter().flatten() {
            let asked = asked.as_str().unwrap_or_default();
            if ["ro", "nosuid", "nodev", "noexec"].contains(&asked) {
                assert!(has.contains(&asked), "{point} is not {asked}: {has:?}");
            }
        }
    }
    if spec["root"]["readonly"] == true {
        assert!(options("/").contains(&"ro"), "the root is not read-only");
        assert!(!told.contains("root written"), "the root was written");
    }
    for path in spec["linux"]["maskedPaths"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let line = format!("masked {} 1", path.as_str().unwrap_or_default());
        assert!(!told.contains(&line), "{path} is read");
    }
    if spec["linux"]["readonlyPaths"][0] == "/proc/sys" {
        assert!(!told.contains("sys written"), "/proc/sys is written");
    }
}

#[test]
fn no_mutation_is_confined_less_than_it_asks() {
    let Some(yard) = Yard::new("no_mutation_is_confined_less_than_it_asks") else {
        return;
    };
    let given = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    // What is found by chance is found by a search, not by who has changed something else.
    let (count, other) = match given("BUNTIME_FUZZ_LAUNCHES") {
        Some(count) => (count, u64::from(std::process::id()) | 1),
        None => (60, 1),
    };
    let seed = given("BUNTIME_SEED").unwrap_or(other);
    eprintln!("BUNTIME_SEED={seed}");
    let mut chance = Chance::of_seed(seed);
    let (mut launched, mut refused) = (0, Vec::new());
    while launched < count {
        let spec = mutated(&yard, "one", &mut chance);
        let called = yard.run("one", &spec);
        let told = called.stdout();
        if told.ends_with("told\n") {
            launched += 1;
            if launched % 100 == 0 {
                eprintln!("{launched} of {count} launched");
            }
            let judged = std::panic::catch_unwind(|| judge(&spec, &told));
            assert!(judged.is_ok(), "{spec:#}\n{told}");
        } else {
            refused.push(called.stderr());
            assert!(
                refused.len() < 20 + count as usize,
                "hardly any is taken: {refused:?}"
            );
        }
    }
    eprintln!(
        "{launched} launched, {} refused: {:?}",
        refused.len(),
        refused.first()
    );
    yard.ends_clean();
}
