//! What leaves a container with a policy: by the same decisions, whatever network its configuration gives.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::{
    PYTHON, RESET, Scratch, Seen, TRIES, UNRESOLVED, WEB, WEB_6, on_host, policy, request, to,
};
use crate::support::{alone, is_root};

mod linked;
mod read;

const HOST: &str = include_str!("contained/host.py");

/// Tries of a program inside, and what comes of each where only `allowed.example` is allowed.
struct Tries {
    tries: Vec<Value>,
    expected: Vec<&'static str>,
}

fn tries() -> Tries {
    let (reached, unresolved) = ("HTTP/1.1 200 OK", UNRESOLVED);
    let all = [
        (to("allowed.example", 80), reached),
        (
            json!({ "connect": ["allowed.example", 7], "until": "hello" }),
            "hello",
        ),
        (to("allowed.example", 8000), RESET),
        (to("denied.example", 80), unresolved),
        (to(WEB, 80), RESET),
        (to(WEB_6, 80), RESET),
        (to("10.9.0.80", 80), RESET),
        (to("169.254.169.254", 80), RESET),
        // Of the host, and of its ends of the links.
        (to("45.80.0.1", 8000), RESET),
        (to("10.77.0.1", 8000), RESET),
        (to("10.78.0.1", 8000), RESET),
        (to("127.0.0.1", 8000), "ConnectionRefusedError"),
        (
            json!({ "connect": ["allowed.example", 80], "send": request("denied.example") }),
            "HTTP/1.1 403 ",
        ),
    ];
    let (tries, expected) = all.into_iter().unzip();
    Tries { tries, expected }
}

/// Paths of the host's, with its interpreter, that the container is shown.
const SHOWN: [&str; 1] = ["/usr"];

/// A policy of containers that run the host's interpreter.
fn policy_of(rules: &Value) -> Value {
    let mut policy = policy("deny", rules);
    policy["fs"] = json!({ "rules": SHOWN.map(|path| json!({
        "action": "allow", "path": path, "perms": ["read_file", "read_dir", "execute"],
    })) });
    policy["audit"] = json!({ "enabled": true });
    policy
}

fn allowed() -> Value {
    policy_of(&json!([{ "action": "allow", "host": "allowed.example", "ports": "80,7" }]))
}

/// What somebody with every right over a network tries.
const RIGHTS: &str = r#"
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
NEWNET = 0x40000000
for family, kind, protocol in [
    (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)), (socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)),
    (socket.AF_INET, socket.SOCK_RAW, 255), (socket.AF_INET6, socket.SOCK_RAW, 255), (socket.AF_INET, socket.SOCK_RAW, 1),
    (socket.AF_NETLINK, socket.SOCK_RAW, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 12), (socket.AF_INET, socket.SOCK_STREAM, 132),
]:
    try:
        raise SystemExit(f"a socket: {socket.socket(family, kind, protocol)}")
    except OSError:
        pass
assert libc.unshare(NEWNET) != 0, "it unshared"
for process in os.listdir("/proc"):
    if process.isdigit():
        try:
            network = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
        except OSError:
            continue
        assert libc.setns(network, NEWNET) != 0, "it moved"
        assert os.stat(network) == os.stat("/proc/self/ns/net"), "there is another network"
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(5)
end.connect(("45.80.0.80", 7))
try:
    end.send(b"x")
    raise SystemExit(end.recv(1))
except OSError as error:
    assert error.errno == errno.EHOSTUNREACH, error
# What is allowed is so by datagrams too.
end.connect(("allowed.example", 7))
end.send(b"x")
assert end.recv(1) == b"x"
print("nothing leads past")
"#;

/// Holds more connections than there can be, and then has one.
const MANY: &str = r#"
import socket, time
ends = [socket.create_connection(("allowed.example", 7), 20) for _ in range(60)]
time.sleep(1)
del ends
time.sleep(1)
end = socket.create_connection(("allowed.example", 7), 20)
assert end.recv(6) == b"hello\n"
print("again")
"#;

struct Place {
    scratch: Scratch,
}

impl Place {
    fn new() -> Place {
        Place::within(Scratch::new())
    }

    fn within(scratch: Scratch) -> Place {
        let root = scratch.path().join("rootfs");
        for folder in ["usr", "proc", "dev", "tmp", "etc"] {
            fs::create_dir_all(root.join(folder)).expect("a folder of the root can be made");
        }
        for name in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).expect("a link can be made");
        }
        // Nobody answers there: an image's own word is nobody's.
        scratch.file("rootfs/etc/resolv.conf", b"nameserver 45.80.0.81\n");
        scratch.file("rootfs/etc/nsswitch.conf", b"hosts: files dns\n");
        Place { scratch }
    }

    fn config(&self, command: &[&str]) -> Value {
        let rights = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_KILL"];
        let shown = SHOWN.map(|path| {
            json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"] })
        });
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }),
            json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] }),
        ];
        mounts.extend(shown);
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": command,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": { "bounding": rights, "effective": rights, "permitted": rights },
            },
            "root": { "path": self.scratch.entry("rootfs") },
            "mounts": mounts,
            "linux": { "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ] },
        })
    }

    fn trying(&self, tries: &[Value]) -> Value {
        self.config(&[PYTHON, "-I", "-c", TRIES, &Value::from(tries).to_string()])
    }

    /// Runs these, and gives what came of each and the connections that arrived beyond.
    fn run(&self, runs: &[Value]) -> (Vec<Value>, Vec<String>) {
        let seen = self.run_with(&[], runs);
        let arrived = seen.connections().into_iter().map(str::to_owned);
        (seen.answers(), arrived.collect())
    }

    /// The same, for a caller with these variables.
    fn run_with(&self, env: &[(&str, String)], runs: &[Value]) -> Seen {
        let text = Value::from(runs).to_string();
        self.scratch.file("runs.json", text.as_bytes());
        let folder = self.scratch.path().display().to_string();
        let env = env.iter().map(|(name, value)| format!("{name}={value}"));
        let words = [PYTHON, "-I", "-c", HOST, &self.scratch.binary(), &folder];
        let words = words.into_iter().map(str::to_owned);
        let words: Vec<String> = ["env".to_owned()]
            .into_iter()
            .chain(env)
            .chain(words)
            .collect();
        let seen = on_host(&self.scratch, &words);
        assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
        seen
    }
}

fn detail<'a>(run: &'a Value, mechanism: &str) -> &'a str {
    let listed = run["enforced"].as_array().into_iter().flatten();
    let mut of_it = listed.filter(|one| one["mechanism"] == mechanism);
    of_it
        .next()
        .and_then(|one| one["detail"].as_str())
        .unwrap_or_default()
}

fn answers(run: &Value) -> Vec<Value> {
    let output = run["output"].as_str().unwrap_or_default();
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {run:#}"))
}

fn is(answer: &Value, expected: &str) -> bool {
    answer["error"] == expected
        || answer
            .as_str()
            .is_some_and(|text| text.starts_with(expected))
}

#[test]
fn a_container_reaches_what_its_policy_names_by_any_network() {
    let _alone = alone();
    if !is_root("a_container_reaches_what_its_policy_names_by_any_network") {
        return;
    }
    let place = Place::new();
    let Tries { tries, expected } = tries();
    let config = place.trying(&tries);
    let runs = [
        json!({ "network": "host", "config": config, "policy": allowed() }),
        json!({ "network": "pod", "config": config, "policy": allowed() }),
        json!({ "network": "hook", "config": config, "policy": allowed() }),
        json!({ "network": "own", "config": config, "policy": allowed(), "flags": ["--egress", "host"] }),
        json!({ "network": "own", "config": config, "policy": allowed() }),
    ];
    let (seen, arrived) = place.run(&runs);
    for run in &seen[..4] {
        let answers = answers(run);
        for (number, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
            assert!(is(answer, expected), "{number}: {answer}: {run:#}");
        }
        assert_eq!(answers.len(), expected.len());
        // What is decided is in the container's log, and how each connection ended.
        let events = run["events"].as_array().expect("there are events");
        let of_kind = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        assert!(of_kind("decision") > 10, "{run:#}");
        assert_eq!(of_kind("connection-end"), 3, "{run:#}");
    }
    // Its network has no way out, and the host's is not its own.
    let answers = answers(&seen[4]);
    let is_reached = |answer: &Value| answer.as_str().is_some_and(|text| text.contains("200 OK"));
    assert!(!answers.iter().any(is_reached), "{:#}", seen[4]);
    assert!(
        detail(&seen[4], "egress").contains("no interface"),
        "{:#}",
        seen[4]
    );
    for (run, expected) in seen.iter().zip([
        "that the configuration",
        "that the configuration",
        "that the configuration",
        "host's",
    ]) {
        assert!(detail(run, "egress").contains(expected), "{run:#}");
    }
    let reached = [format!("{WEB} 80"), format!("{WEB} 7"), format!("{WEB} 80")];
    assert_eq!(arrived, [&reached[..]; 4].concat());
}

/// Rights over a network are none over what leads out of it, and who joins the container later is in the same.
#[test]
fn no_right_of_a_container_leads_past_its_way_out() {
    let _alone = alone();
    if !is_root("no_right_of_a_container_leads_past_its_way_out") {
        return;
    }
    let place = Place::new();
    let config = place.config(&["/usr/bin/sleep", "1000"]);
    let Tries { tries, expected } = tries();
    let tries = Value::from(tries).to_string();
    let joins: [&[&str]; 2] = [
        &[PYTHON, "-I", "-c", TRIES, &tries],
        &[PYTHON, "-I", "-c", RIGHTS],
    ];
    let runs = ["host", "pod", "hook"].map(|network| {
        json!({ "network": network, "config": config, "policy": allowed(), "exec": joins })
    });
    let (seen, arrived) = place.run(&runs);
    for run in &seen {
        let joined = run["exec"].as_array().expect("it was joined");
        let said = |number: usize| joined[number].as_str().unwrap_or_default();
        let answers: Vec<Value> = serde_json::from_str(said(0)).unwrap_or_default();
        assert_eq!(answers.len(), expected.len(), "{run:#}");
        for (answer, expected) in answers.iter().zip(&expected) {
            assert!(is(answer, expected), "{answer}: {run:#}");
        }
        assert_eq!(said(1), "nothing leads past\n", "{run:#}");
    }
    assert_eq!(arrived.len(), 3 * seen.len(), "{arrived:?}");
}

/// What is the container's own in its network is no more to its programs than what is the host's, and names mean
/// what its engine says, and never what the container can have written.
#[test]
fn a_containers_network_is_taken_as_its_engine_gives_it() {
    let _alone = alone();
    if !is_root("a_containers_network_is_taken_as_its_engine_gives_it") {
        return;
    }
    let place = Place::new();
    let pod = |config: &Value, policy: Value| json!({ "network": "pod", "config": config, "policy": policy });
    let own = place.trying(&[to("45.81.0.2", 8000), to("45.80.0.1", 8000)]);
    let named = |bits: u8| {
        let rules = ["45.81.0.2", "45.80.0.1"]
            .map(|address| json!({ "action": "allow", "cidr": format!("{address}/{bits}") }));
        policy_of(&Value::from(rules.to_vec()))
    };
    let silent = place.scratch.file(
        "silent.conf",
        b"nameserver 45.80.0.81\noptions timeout:1 attempts:1\n",
    );
    let mut given = place.trying(&[to("allowed.example", 80)]);
    given["mounts"].as_array_mut().expect("mounts").push(json!({
        "destination": "/etc/resolv.conf", "type": "bind", "source": silent, "options": ["bind"],
    }));
    let mut writing = allowed();
    writing["fs"]["rules"]
        .as_array_mut()
        .expect("rules")
        .push(json!({
            "action": "allow", "path": "/etc/resolv.conf", "perms": ["read_file", "write_file"],
        }));
    let runs = [
        pod(&own, named(16)),
        pod(&own, named(32)),
        pod(&given, allowed()),
        pod(&given, writing),
    ];
    let (seen, _) = place.run(&runs);
    let expected = [
        vec![RESET, RESET],
        vec!["HTTP/1.0 404 ", "HTTP/1.1 200 OK"],
        vec![UNRESOLVED],
        vec!["HTTP/1.1 200 OK"],
    ];
    for (run, expected) in seen.iter().zip(expected) {
        let answers = answers(run);
        for (answer, expected) in answers.iter().zip(&expected) {
            assert!(is(answer, expected), "{answer} is not {expected}: {run:#}");
        }
        assert_eq!(answers.len(), expected.len());
    }
}

/// Connections that take every descriptor of its supervisor cost a container nothing but connections.
#[test]
fn a_container_outlives_the_descriptors_of_its_supervisor() {
    let _alone = alone();
    if !is_root("a_container_outlives_the_descriptors_of_its_supervisor") {
        return;
    }
    let place = Place::new();
    let config = place.config(&[PYTHON, "-I", "-c", MANY]);
    let run = json!({ "network": "host", "config": config, "policy": allowed(), "files": 64 });
    let (seen, _) = place.run(&[run]);
    assert_eq!(seen[0]["output"], "again\n", "{:#}", seen[0]);
    let events = seen[0]["events"].as_array().expect("there are events");
    let last = events.last().expect("there is one");
    assert_eq!(
        [&last["type"], &last["cause"]],
        ["exit", "program"],
        "{last}"
    );
}

/// What a policy asks for and is not done beside a container is refused by the rule's name.
#[test]
fn a_container_is_not_made_whose_network_is_not_held() {
    let _alone = alone();
    if !is_root("a_container_is_not_made_whose_network_is_not_held") {
        return;
    }
    let place = Place::new();
    let config = place.config(&["/usr/bin/true"]);
    let asked = policy_of(&json!([{ "action": "ask", "host": "allowed.example" }]));
    let mut read = allowed();
    read["http"] = json!({ "rules": [
        { "action": "ask", "host": "allowed.example", "methods": ["GET"] },
    ] });
    let mut secret = allowed();
    secret["http"] = json!({ "secrets": [
        { "name": "TOKEN", "host": "allowed.example", "from": { "env": "NOT_THERE" } },
    ] });
    let runs = [
        json!({ "network": "own", "config": config, "policy": asked }),
        json!({ "network": "own", "config": config, "policy": read }),
        json!({ "network": "own", "config": config, "policy": secret }),
    ];
    let (seen, _) = place.run(&runs);
    for (run, why) in seen.iter().zip(["net[0]", "http[0]", "the secret TOKEN ("]) {
        let errors = run["errors"].as_str().unwrap_or_default();
        assert!(run["code"] != 0 && errors.contains(why), "{run:#}");
    }
}
