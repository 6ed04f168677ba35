//! The channel of a container with a policy: what the worker learns by it, what a hostile process of
//! the container does to it, and that none of that reaches the container's life.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::yard::{Called, Yard};
use crate::support::{PATIENCE, buntime, eventually, recorded};

/// Speaks the channel as no worker does.
const RAW: &str = r#"
import os, socket, struct, sys, time
PLACE, HALF = "/run/buntime/", 1 << 19
segment = os.open(PLACE + "segment", os.O_RDWR)
def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(PLACE + "control.sock")
    return connection
def taken():
    for _ in range(1000):
        connection = connect()
        if connection.recv(4096):
            return connection
        time.sleep(0.01)
    raise SystemExit("nobody takes a connection")
def word(offset):
    return struct.unpack("<I", os.pread(segment, 4, offset))[0]
def publish(messages, at=0):
    here = messages[: HALF - 64 - at]
    os.pwrite(segment, here, HALF + 64 + at)
    os.pwrite(segment, messages[len(here) :], HALF + 64)
    os.pwrite(segment, struct.pack("<I", (at + len(messages)) % (HALF - 64)), HALF + 4)
def message(kind, number, payload):
    return struct.pack("<IBI", len(payload) + 5, kind, number) + payload
def until_closed(connection):
    connection.settimeout(60)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    print("closed")
def asked(connection, number, target):
    "Asks to write, and gives the kind of the answer and its reason."
    told, at = word(4), word(HALF)
    publish(message(2, number, target), at)
    connection.sendall(b"CHECK\n")
    while word(4) == told:
        connection.recv(4096)
    answer = os.pread(segment, word(4) - told, 64 + told)
    return answer[4], answer[9:].decode()
"#;

struct Held {
    yard: Yard,
    policy: String,
    events: String,
}

impl Held {
    /// A yard whose containers have Python, and may make sockets: every volume may be written.
    fn new(test: &str, more: &Value) -> Option<Held> {
        let yard = Yard::new(test)?;
        let root = yard.scratch.path().join("rootfs");
        fs::create_dir(root.join("usr")).expect("a mount point can be made");
        for name in ["lib", "lib64"] {
            if let Ok(target) = fs::read_link(format!("/{name}")) {
                symlink(target, root.join(name)).expect("a link can be made");
            }
        }
        let mut policy = json!({
            "version": 1,
            "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
            "fs": {"rules": [
                {"action": "allow", "path": "/usr",
                 "perms": ["read_file", "read_dir", "execute", "write_file"]}
            ]},
            "audit": {"enabled": true}
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            policy[name] = value.clone();
        }
        let text = serde_json::to_vec(&policy).expect("a policy is JSON");
        yard.scratch.file("policy.json", &text);
        Some(Held {
            policy: yard.scratch.entry("policy.json"),
            events: yard.scratch.entry("events.jsonl"),
            yard,
        })
    }

    fn spec(&self, id: &str, args: &[&str]) -> Value {
        let mut spec = self.yard.spec(id, args);
        let mounts = spec["mounts"].as_array_mut().expect("mounts are a list");
        mounts.push(
            json!({"destination": "/usr", "type": "bind", "source": "/usr",
                           "options": ["rbind", "ro", "nosuid", "nodev"]}),
        );
        spec["annotations"] = json!({"buntime.dev/channel": "true"});
        spec
    }

    fn policed(&self, verb: &[&str]) -> Called {
        let flags = ["--policy", &self.policy, "--events", &self.events];
        self.yard.call(&[&flags[..], verb].concat())
    }

    /// Starts a container of this program.
    fn begun(&self, id: &str, args: &[&str]) {
        let bundle = self.yard.bundle(id, &self.spec(id, args));
        self.policed(&["create", "--bundle", &bundle, id]).expect(0);
        self.yard.call(&["start", id]).expect(0);
    }

    /// Has a process join that does this after [`RAW`].
    fn exec(&self, id: &str, code: &str) -> Called {
        let code = format!("{RAW}{code}");
        let words = ["exec", id, "/usr/bin/python3", "-I", "-c", &code];
        self.yard.call(&words)
    }

    fn recorded(&self) -> Vec<Value> {
        recorded(&self.events)
    }

    /// Waits for an event and gives it.
    #[track_caller]
    fn hears_of(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(PATIENCE, || {
            let mut recorded = self.recorded().into_iter();
            recorded
                .find(&wanted)
                .ok_or("it is not recorded".to_owned())
        })
    }

    /// Waits for the container's end and gives the event of it.
    #[track_caller]
    fn ended(&self, id: &str) -> Value {
        self.yard.reaches(id, "stopped");
        self.hears_of(|event| event["type"] == "exit")
    }

    /// The supervisor does all that it is there for.
    #[track_caller]
    fn lives(&self, id: &str) {
        self.yard.call(&["pause", id]).expect(0);
        self.yard.call(&["resume", id]).expect(0);
        let update = ["update", "--pids-limit", "50", id];
        self.yard.call(&update).expect(0);
        self.yard.call(&["exec", id, "echo", "on"]).prints("on\n");
    }
}

/// The worker of the written bundle, whose root is the host's folders, read-only: it can make no
/// socket, and has the channel all the same.
#[test]
fn a_denial_is_readable_in_the_worker_and_recorded() {
    let Some(held) = Held::new(
        "a_denial_is_readable_in_the_worker_and_recorded",
        &json!({}),
    ) else {
        return;
    };
    let (yard, bundle) = (&held.yard, held.yard.scratch.entry("python"));
    buntime(["bundle", "init", "python", &bundle])
        .run()
        .expect(0);
    let file = format!("{bundle}/config.json");
    let text = fs::read_to_string(&file).expect("there is a configuration");
    let mut spec: Value = serde_json::from_str(&text).expect("it is JSON");
    spec["linux"]["cgroupsPath"] = yard.spec("c", &[])["linux"]["cgroupsPath"].clone();
    fs::write(&file, spec.to_string()).expect("it can be written");
    let read = ["read_file", "read_dir", "execute"];
    let policy = json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [{"action": "allow", "path": "/usr", "perms": read},
                         {"action": "allow", "path": "/etc", "perms": read}]},
        "audit": {"enabled": true}
    });
    yard.scratch
        .file("policy.json", policy.to_string().as_bytes());
    let program = "
import os, sys
try:
    open('/etc/planted', 'w')
except OSError as error:
    print(error)
print(sorted(os.listdir('/run/buntime')), sys.argv, __name__)
";
    yard.scratch.file("program.py", program.as_bytes());
    let input = yard.scratch.entry("program.py");
    let before = ["sh", "-c", r#"exec "$@" <"$0""#, &input];
    let flags = ["--policy", &held.policy, "--events", &held.events];
    let run = ["run", "--bundle", &bundle, "c"];
    let ran = yard.call_below(&before, &[&flags[..], &run[..]].concat());
    let told = ran.expect(0).stdout();
    let denied = "policy denied write: /etc/planted (rule defaults.fs of ";
    assert!(told.contains(denied), "{told}");
    assert!(
        told.ends_with("['control.sock', 'segment'] [''] __main__\n"),
        "{told}"
    );
    let decision = held.hears_of(|event| event["target"] == "/etc/planted");
    let expected = json!(["decision", "write", "deny", "check", "denied"]);
    let names = ["type", "operation", "verdict", "origin", "answer"];
    assert_eq!(json!(names.map(|name| &decision[name])), expected);

    // Without a policy there is none, and the same worker runs as well.
    let ran = yard.call_below(&before, &run);
    let told = ran.expect(0).stdout();
    assert!(told.ends_with("[] [''] __main__\n"), "{told}");
    held.yard.ends_clean();
}

#[test]
fn a_channel_is_there_where_it_is_asked_for() {
    let Some(held) = Held::new("a_channel_is_there_where_it_is_asked_for", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    let channel = |id: &str| held.yard.state(id)["buntime"]["policy"]["channel"].clone();
    assert_eq!(channel("c"), "/run/buntime");
    let line = "grep -c ' /run/buntime rw,nosuid,nodev,noexec,relatime ' /proc/self/mountinfo; \
                stat -c '%a %u %F' /run/buntime/*";
    let called = held.yard.call(&["exec", "c", "sh", "-c", line]).expect(0);
    assert_eq!(called.stdout(), "1\n600 0 socket\n600 0 regular file\n");
    held.yard.remove("c");

    let mut spec = held.spec("c", &["ls", "/run/buntime"]);
    for (asked, told) in [
        (json!("yes"), "write \"true\""),
        (json!("1"), "buntime.dev/channel"),
    ] {
        spec["annotations"]["buntime.dev/channel"] = asked;
        let bundle = held.yard.bundle("c", &spec);
        held.policed(&["create", "--bundle", &bundle, "c"])
            .fails(1, told);
    }
    // An image that asks for nothing gets nothing. The mount point of before is its own by now.
    fs::remove_dir_all(held.yard.scratch.entry("rootfs/run")).expect("it was made");
    spec["annotations"] = json!({});
    let bundle = held.yard.bundle("c", &spec);
    let called = held
        .policed(&["create", "--bundle", &bundle, "c"])
        .expect(0);
    assert_eq!(channel("c"), Value::Null);
    held.yard.call(&["start", "c"]).expect(0);
    held.yard.reaches("c", "stopped");
    let told = called.stderr();
    assert!(told.contains("No such file"), "{told}");
    held.yard.remove("c");
    held.yard.ends_clean();
}

#[test]
fn one_process_has_the_channel_at_a_time() {
    let Some(held) = Held::new("one_process_has_the_channel_at_a_time", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    // What the first has left in the rings is gone when the next one comes.
    let code = r#"
first = taken()
first.sendall(b"READY\n")
print(asked(first, 7, b"/first"))
second = connect()
second.settimeout(60)
print(second.recv(4096))
first.close()
third = taken()
third.sendall(b"READY\n")
print(asked(third, 7, b"/third"))
"#;
    let told = held.exec("c", code).expect(0).stdout();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for line in [told[0], told[2]] {
        assert!(line.starts_with("(17, 'rule defaults.fs of "), "{told:?}");
    }
    assert_eq!(told[1], "b''");
    for target in ["/first", "/third"] {
        held.hears_of(|event| event["target"] == target && event["answer"] == "denied");
    }
    held.lives("c");
    held.yard.remove("c");
    held.yard.ends_clean();
}

#[test]
fn a_process_of_the_host_is_refused() {
    let Some(held) = Held::new("a_process_of_the_host_is_refused", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    let pid = held.yard.state("c")["pid"].clone();
    let path = format!("/proc/{pid}/root/run/buntime/control.sock");
    let mut heard = Vec::new();
    let mut stream = UnixStream::connect(path).expect("root finds the socket");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it is a socket");
    // It would be rung for at once.
    let read = stream.read_to_end(&mut heard);
    assert_eq!((read.ok(), heard.len()), (Some(0), 0), "it was not refused");
    // Nobody is kept out by that.
    held.exec("c", "taken()").expect(0);
    held.yard.remove("c");
    held.yard.ends_clean();
}

/// Descriptors, whose end could keep the supervisor waiting, and a segment that has grown, whose
/// messages it would copy.
#[test]
fn what_a_channel_does_not_take() {
    let Some(held) = Held::new("what_a_channel_does_not_take", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    let code = r#"
first = taken()
try:
    socket.send_fds(first, [b"READY\n"], [0])
    print("taken")
except PermissionError:
    print("refused")
first.close()
os.ftruncate(segment, 1 << 30)
until_closed(connect())
"#;
    let told = held.exec("c", code).expect(0).stdout();
    assert_eq!(told, "refused\nclosed\n", "it took more");
    let violation = held.hears_of(|event| event["type"] == "violation");
    let reason = violation["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("segment"), "{violation}");
    held.lives("c");
    held.yard.remove("c");
    held.yard.ends_clean();
}

/// What is done over a connection that was taken, and what is recorded of it.
const HOSTILE: [(&str, &str); 6] = [
    ("connection.sendall(b'\\x00\\xff\\n')", "not UTF-8"),
    (
        "connection.sendall(b'READY\\n' + b'{' * 4096 + b'\\n')",
        "no signal and no state event",
    ),
    ("connection.sendall(b'x' * (1 << 18))", "longer than"),
    (
        "publish(os.urandom(4096)); connection.sendall(b'READY\\nCHECK\\n')",
        "the worker broke the channel's protocol",
    ),
    (
        "os.ftruncate(segment, 0); connection.sendall(b'READY\\nDATA\\n')",
        "truncated",
    ),
    (
        "publish(message(0, 0, b'hello')); connection.sendall(b'READY\\nDATA\\n')",
        "output came through the ring",
    ),
];

#[test]
fn who_breaks_the_channel_loses_it_and_nothing_more() {
    let name = "who_breaks_the_channel_loses_it_and_nothing_more";
    let Some(held) = Held::new(name, &json!({})) else {
        return;
    };
    for (code, reason) in HOSTILE {
        fs::remove_file(&held.events).ok();
        held.begun("c", &["sleep", "1000"]);
        // Connections that come and go say nothing wrong.
        let code = format!(
            "for _ in range(20):\n    try: connect().sendall(b'REA')\n    \
             except ConnectionError: pass\nconnection = taken()\ntry:\n    {code}\nexcept ConnectionError: pass\nuntil_closed(connection)"
        );
        held.exec("c", &code).prints("closed\n");
        let violation = held.hears_of(|event| event["type"] == "violation");
        let told = violation["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{code}: {told}");
        let later = "
try:
    print(connect().recv(1))
except ConnectionError as error:
    print(type(error).__name__)
";
        held.exec("c", later).prints("ConnectionRefusedError\n");
        held.lives("c");
        held.yard.remove("c");
        let violations = held.recorded();
        let violations = violations
            .iter()
            .filter(|event| event["type"] == "violation");
        assert_eq!(violations.count(), 1);
    }
    held.yard.ends_clean();
}

#[test]
fn who_breaks_the_channel_is_ended_where_the_policy_says_so() {
    let name = "who_breaks_the_channel_is_ended_where_the_policy_says_so";
    let Some(held) = Held::new(name, &json!({"onViolation": "kill"})) else {
        return;
    };
    let code = format!("{RAW}taken().sendall(b'\\x00\\xff\\n')\ntime.sleep(1000)");
    held.begun("c", &["/usr/bin/python3", "-I", "-c", &code]);
    let exit = held.ended("c");
    assert_eq!(
        (&exit["cause"], &exit["signal"]),
        (&json!("violation"), &json!(9))
    );
    held.yard.call(&["delete", "c"]).expect(0);
    fs::remove_file(&held.events).expect("there is a log");
    // So is who asks for what is denied.
    let code =
        format!("{RAW}c = taken()\nc.sendall(b'READY\\n')\nasked(c, 1, b'/x')\ntime.sleep(1000)");
    held.begun("c", &["/usr/bin/python3", "-I", "-c", &code]);
    let exit = held.ended("c");
    assert_eq!(
        (&exit["cause"], &exit["signal"]),
        (&json!("policy"), &json!(9))
    );
    held.yard.call(&["delete", "c"]).expect(0);
    held.yard.ends_clean();
}

/// Says for ever what means nothing, from two sides.
const LINES: &str = r#"
import threading
connection = taken()
connection.sendall(b"READY\n")
def say():
    while True:
        connection.sendall(b"DATA\n" * 800)
for _ in range(2):
    threading.Thread(target=say).start()
"#;

/// Tells of more than the supervisor records.
const NOTICES: &str = r#"
connection = taken()
connection.sendall(b"READY\n")
block = message(1, 0, b"/" + b"x" * 4000) * 64
try:
    for _ in range(1000):
        publish(block, word(HALF))
        while word(HALF) != word(HALF + 4):
            connection.sendall(b"CHECK\n")
            time.sleep(0.001)
    print("heard to the end")
except ConnectionError:
    print("closed")
"#;

#[test]
fn a_flood_keeps_nobody_from_the_containers_life() {
    let name = "a_flood_keeps_nobody_from_the_containers_life";
    let Some(held) = Held::new(name, &json!({})) else {
        return;
    };
    let flood = format!("{RAW}{LINES}");
    held.begun("c", &["/usr/bin/python3", "-I", "-c", &flood]);
    held.lives("c");
    held.lives("c");
    held.yard.remove("c");
    held.yard.ends_clean();
}

#[test]
fn a_flood_does_not_lengthen_a_containers_time() {
    let name = "a_flood_does_not_lengthen_a_containers_time";
    let Some(held) = Held::new(name, &json!({"limits": {"wall": "1s"}})) else {
        return;
    };
    let flood = format!("{RAW}{LINES}");
    held.begun("c", &["/usr/bin/python3", "-I", "-c", &flood]);
    let exit = held.ended("c");
    assert_eq!(exit["cause"], "timeout", "{exit}");
    held.yard.call(&["delete", "c"]).expect(0);
    held.yard.ends_clean();
}

#[test]
fn what_a_channel_has_recorded_has_an_end() {
    let Some(held) = Held::new("what_a_channel_has_recorded_has_an_end", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    held.exec("c", NOTICES).prints("closed\n");
    let limit = held.hears_of(|event| event["type"] == "limit");
    assert_eq!(
        (&limit["limit"], &limit["ended"]),
        (&json!("channel"), &json!(false))
    );
    let length = fs::metadata(&held.events).expect("there is a log").len();
    assert!(length < 64 << 20, "{length}");
    held.lives("c");
    held.yard.remove("c");
    held.yard.ends_clean();
}

#[test]
fn a_channel_takes_no_more_memory_than_it_needs() {
    let Some(held) = Held::new("a_channel_takes_no_more_memory_than_it_needs", &json!({})) else {
        return;
    };
    held.begun("c", &["sleep", "1000"]);
    let code = r#"
written = 0
try:
    while written < 64 << 20:
        written += os.pwrite(segment, b"x" * 65536, written)
except OSError as error:
    print(error.strerror, written <= 1088 << 10)
try:
    open("/run/buntime/more", "w")
except OSError as error:
    print(error.strerror)
"#;
    let called = held.exec("c", code).expect(0);
    let told = called.stdout();
    assert!(
        told.starts_with("No space left on device True\n"),
        "{called}"
    );
    assert_eq!(told.lines().count(), 2, "{called}");
    held.yard.remove("c");
    held.yard.ends_clean();
}
