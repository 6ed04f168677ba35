//! What leaves a sandbox: a host with a link to a world of its own, and programs that want to go there.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, USER, alone, is_root};

const OUTSIDE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/egress/outside.py"
);
const TRIES: &str = include_str!("egress/tries.py");

const WEB: &str = "45.80.0.80";
const WEB_6: &str = "2a0e:aaaa::80";

/// What a connection that is not permitted ends with, and one that says something else than was decided.
const RESET: &str = "ConnectionResetError";

/// A name for which there is no answer.
const UNRESOLVED: &str = "gaierror";

/// What came of a run, and what arrived beyond the host.
struct Seen {
    done: Finished,
    arrived: Vec<String>,
}

impl Seen {
    fn answers(&self) -> Vec<Value> {
        let answers = serde_json::from_str(&self.done.stdout());
        answers.unwrap_or_else(|error| panic!("{error}: {}", self.done))
    }

    /// Each answer is this error.
    fn all_fail_with(&self, error: &str) {
        for (number, answer) in self.answers().iter().enumerate() {
            assert_eq!(answer["error"], error, "{number}: {answer}");
        }
    }

    /// The connections that arrived, as address and port; not the lookups.
    fn connections(&self) -> Vec<&str> {
        let lines = self.arrived.iter();
        lines
            .filter_map(|line| line.strip_prefix("connection "))
            .collect()
    }

    /// The names that were asked for beyond.
    fn names(&self) -> Vec<&str> {
        let lines = self.arrived.iter();
        let mut names: Vec<&str> = lines
            .filter_map(|line| line.strip_prefix("name "))
            .collect();
        names.dedup();
        names
    }
}

/// A policy with these rules about the network.
fn policy(default: &str, rules: &Value) -> Value {
    json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": default, "exec": "allow" },
        "net": { "rules": rules },
    })
}

/// Runs a command of the sandbox on the host with a link.
fn run(policy: &Value, user: Option<&str>, flags: &[&str], command: &[&str]) -> Seen {
    let scratch = Scratch::new();
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    let mut words: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    if let Some(user) = user {
        let home = format!("HOME={}", scratch.home());
        add(&[
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
        ]);
        add(&["--inh-caps=-all", "env", &home]);
    }
    add(&[&scratch.binary(), "run", "--policy", &policy]);
    add(flags);
    add(&["--"]);
    add(command);
    on_host(&scratch, &words)
}

/// Runs a command on the host with a link.
fn on_host(scratch: &Scratch, words: &[String]) -> Seen {
    let folder = scratch.path().display().to_string();
    let unshare = ["--net", "--mount", "--propagation", "private"];
    let done = Child::new("unshare")
        .args(unshare)
        .args([PYTHON, OUTSIDE, &folder])
        .args(words)
        .clean_path()
        .current_dir(scratch.home())
        .run();
    let arrived = std::fs::read_to_string(Path::new(&folder).join("arrived"));
    let arrived = arrived.unwrap_or_default();
    let arrived = arrived.lines().map(str::to_owned).collect();
    Seen { done, arrived }
}

/// Tries each of these things inside.
fn tried(policy: &Value, tries: &[Value]) -> Seen {
    tried_as(None, policy, tries)
}

fn tried_as(user: Option<&str>, policy: &Value, tries: &[Value]) -> Seen {
    let tries = Value::from(tries).to_string();
    let seen = run(
        policy,
        user,
        &["--quiet"],
        &[PYTHON, "-I", "-c", TRIES, &tries],
    );
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    seen
}

fn request(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

fn to(address: &str, port: u16) -> Value {
    json!({ "connect": [address, port], "send": request(address) })
}

#[test]
fn what_a_rule_names_is_reached_and_nothing_else() {
    let _alone = alone();
    if !is_root("what_a_rule_names_is_reached_and_nothing_else") {
        return;
    }
    let rules = json!([
        { "action": "allow", "host": "allowed.example", "ports": "80,7" },
        { "action": "allow", "host": "six.example" },
        { "action": "allow", "host": "nothing.example" },
    ]);
    let policy = policy("deny", &rules);
    for user in [None, Some(USER.to_string())] {
        let tries = [
            json!({ "url": "http://allowed.example/x" }),
            json!({ "url": "http://ALLOWED.example./x" }),
            json!({ "url": "http://six.example/x" }),
            json!({ "connect": ["allowed.example", 7], "until": "hello" }),
            json!({ "connect": ["allowed.example", 7], "send": "and back", "half": true }),
        ];
        let seen = tried_as(user.as_deref(), &policy, &tries);
        let answers = seen.answers();
        for (number, host) in [
            (0, "allowed.example"),
            (1, "ALLOWED.example."),
            (2, "six.example"),
        ] {
            let said: Value =
                serde_json::from_str(answers[number].as_str().expect("text")).expect("JSON");
            assert_eq!(said, json!({ "host": host, "path": "/x" }));
        }
        assert_eq!(answers[3], "hello\n");
        assert_eq!(answers[4], "hello\nand backbye\n");
        let six = format!("{WEB_6} 80");
        let (web, echo) = (format!("{WEB} 80"), format!("{WEB} 7"));
        assert_eq!(
            seen.connections(),
            [&web, &web, &six, &echo, &echo],
            "{:?}",
            seen.arrived
        );
    }
    let unresolved = [
        "denied.example",
        "www.allowed.example",
        "x.example",
        "nothing.example",
        "host.buntime.internal",
    ];
    let names = unresolved.map(|name| json!({ "names": name }));
    let seen = tried(&policy, &names);
    seen.all_fail_with(UNRESOLVED);
    // No name that is not permitted goes anywhere.
    assert_eq!(seen.names(), ["nothing.example"]);
    let elsewhere = [
        to(WEB, 80),
        to(WEB_6, 80),
        to("45.80.0.81", 80),
        to("10.9.0.80", 80),
        to("169.254.169.254", 80),
        to("45.80.0.1", 8000),
        // Of the addresses that stand for names this is none's.
        to("198.18.0.77", 80),
        to("fd62:756e:7469:6d65::77", 80),
        to("allowed.example", 8000),
    ];
    let seen = tried(&policy, &elsewhere);
    seen.all_fail_with(RESET);
    assert_eq!(seen.connections(), [""; 0]);
}

/// A name or a network that is allowed gives nothing that lies inside: not where the name leads there, and
/// not as an address.
#[test]
fn addresses_inside_are_reached_by_rules_that_name_them_alone() {
    let _alone = alone();
    if !is_root("addresses_inside_are_reached_by_rules_that_name_them_alone") {
        return;
    }
    let tries = [
        to("inside.example", 80),
        to("host.example", 8000),
        to("loopback.example", 8000),
        to("metadata.example", 80),
        to("10.9.0.80", 80),
        to("::ffff:10.9.0.80", 80),
        to("169.254.169.254", 80),
        to("fd00:ec2::254", 80),
        to("10.9.0.1", 8000),
        to("45.80.0.1", 8000),
        to("2a0e:aaaa::1", 8000),
    ];
    let wide = json!([
        { "action": "allow", "host": "*.example" },
        { "action": "allow", "cidr": "0.0.0.0/0" },
        { "action": "allow", "cidr": "::/0" },
    ]);
    for policy in [policy("allow", &json!([])), policy("deny", &wide)] {
        let seen = tried(&policy, &tries);
        seen.all_fail_with(RESET);
        assert_eq!(seen.connections(), [""; 0]);
        // Of several addresses those are dialled that are permitted.
        let seen = tried(&policy, &[to("mixed.example", 80), to(WEB, 80)]);
        assert_eq!(
            seen.connections(),
            [format!("{WEB} 80"), format!("{WEB} 80")]
        );
    }
    let narrow = json!([
        { "action": "allow", "cidr": "10.9.0.0/24" },
        { "action": "allow", "cidr": "169.254.169.254/32" },
        { "action": "allow", "cidr": "45.80.0.1/32", "ports": 8000 },
        { "action": "allow", "host": "host.buntime.internal", "ports": 8000 },
        { "action": "deny", "cidr": "10.9.0.1/32" },
    ]);
    let tries = [
        to("10.9.0.80", 80),
        to("169.254.169.254", 80),
        to("45.80.0.1", 8000),
        to("host.buntime.internal", 8000),
        to("10.9.0.1", 8000),
        to("host.buntime.internal", 80),
    ];
    let seen = tried(&policy("deny", &narrow), &tries);
    let answers = seen.answers();
    let (reached, refused) = answers.split_at(4);
    assert!(reached.iter().all(Value::is_string), "{answers:#?}");
    assert!(
        refused.iter().all(|one| one["error"] == RESET),
        "{answers:#?}"
    );
    let expected = [
        "10.9.0.80 80",
        "169.254.169.254 80",
        "45.80.0.1 8000",
        "127.0.0.1 8000",
    ];
    assert_eq!(seen.connections(), expected);
}

/// Who connects to one host cannot speak to another that the same address serves.
#[test]
fn what_is_said_first_names_the_host_that_was_decided_about() {
    let _alone = alone();
    if !is_root("what_is_said_first_names_the_host_that_was_decided_about") {
        return;
    }
    let rules = json!([
        { "action": "allow", "host": "allowed.example" },
        { "action": "allow", "cidr": "45.80.0.80/32" },
        { "action": "deny", "host": "denied.example" },
    ]);
    let said = |where_to: &str, text: &str| json!({ "connect": [where_to, 80], "send": text });
    let twice = "GET / HTTP/1.1\r\nHost: allowed.example\r\nHost: denied.example\r\n\r\n";
    let absolute = "GET http://denied.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    let none = "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n";
    let folded = "GET / HTTP/1.1\r\nX: y\r\n Host: allowed.example\r\n\r\n";
    let tries = [
        said("allowed.example", &request("denied.example")),
        said("allowed.example", &request("www.allowed.example")),
        said("allowed.example", twice),
        said("allowed.example", absolute),
        said("allowed.example", none),
        said("allowed.example", folded),
        said(WEB, &request("denied.example")),
        json!({ "tls": ["allowed.example", 80], "name": "denied.example" }),
        json!({ "tls": ["allowed.example", 80], "name": "www.allowed.example" }),
        json!({ "tls": [WEB, 80], "name": "denied.example" }),
    ];
    let seen = tried(&policy("deny", &rules), &tries);
    seen.all_fail_with(RESET);
    let agreeing = [
        said("allowed.example", &request("allowed.example:80")),
        said(WEB, &request("allowed.example")),
        said(WEB, &request(WEB)),
    ];
    let seen = tried(&policy("deny", &rules), &agreeing);
    let answers = seen.answers();
    assert!(
        answers
            .iter()
            .all(|one| one.as_str().is_some_and(|one| one.contains("200 OK"))),
        "{answers:#?}"
    );
}

#[test]
fn the_resolver_answers_what_is_asked_and_nothing_else() {
    let _alone = alone();
    if !is_root("the_resolver_answers_what_is_asked_and_nothing_else") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let question = |name: &str, kind: u16| {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
        bytes.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    const A: u16 = 1;
    const TXT: u16 = 16;
    const HTTPS: u16 = 65;
    const ANY: u16 = 255;
    let tries = [
        json!({ "query": question("allowed.example", A) }),
        json!({ "query": question("ALLOWED.example", A), "tcp": true }),
        json!({ "query": question("allowed.example", TXT) }),
        json!({ "query": question("allowed.example", HTTPS) }),
        json!({ "query": question("allowed.example", ANY) }),
        json!({ "query": question("secret.denied.example", A) }),
        json!({ "query": question("secret.denied.example", TXT), "tcp": true }),
        json!({ "query": "123401000001000000000000ff" }),
    ];
    let seen = tried(&policy("deny", &rules), &tries);
    let answers = seen.answers();
    let answer = |number: usize| answers[number].as_str().expect("text");
    // The code of the response, and how many answers there are.
    let told = |number: usize| (&answer(number)[7..8], &answer(number)[12..16]);
    assert!(answer(0).ends_with("c6120001"), "{answers:#?}");
    assert!(answer(1).ends_with("c6120001"), "{answers:#?}");
    for number in [2, 3, 4] {
        assert_eq!(told(number), ("0", "0000"), "{number}: {answers:#?}");
    }
    for number in [5, 6] {
        assert_eq!(told(number), ("5", "0000"), "{number}: {answers:#?}");
    }
    assert_eq!(told(7).0, "1", "{answers:#?}");
    let mut names = seen.names();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["allowed.example"]);
}

/// Bytes both ways are those that were sent, more than any buffer on the way holds.
#[test]
fn long_transfers_arrive_as_they_are() {
    let _alone = alone();
    if !is_root("long_transfers_arrive_as_they_are") {
        return;
    }
    const CODE: &str = r#"
import hashlib, json, urllib.request
LENGTH = 64 << 20
piece = bytes(range(256)) * 4096
expected = hashlib.sha256(piece * (LENGTH // len(piece))).hexdigest()
found = hashlib.sha256()
with urllib.request.urlopen(f"http://allowed.example/bytes/{LENGTH}", timeout=60) as answer:
    while part := answer.read(1 << 20):
        found.update(part)
print(found.hexdigest() == expected)
def body():
    for _ in range(LENGTH // len(piece)):
        yield piece
request = urllib.request.Request("http://allowed.example/", body(), {"Content-Length": str(LENGTH)}, method="PUT")
with urllib.request.urlopen(request, timeout=60) as answer:
    print(json.load(answer)["sha256"] == expected)
"#;
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let seen = run(
        &policy("deny", &rules),
        None,
        &["--quiet"],
        &[PYTHON, "-I", "-c", CODE],
    );
    seen.done.prints("True\nTrue\n");
}

/// Each decision is recorded with the rule and what it was about.
#[test]
fn decisions_about_what_leaves_are_recorded() {
    let _alone = alone();
    if !is_root("decisions_about_what_leaves_are_recorded") {
        return;
    }
    let rules = json!([{ "action": "warn", "host": "allowed.example" }]);
    let tries = json!([
        { "url": "http://allowed.example/" },
        { "names": "denied.example" },
        to("45.80.0.81", 80),
    ]);
    let scratch = Scratch::new();
    let log = scratch.entry("events.jsonl");
    let command = [PYTHON, "-I", "-c", TRIES, &tries.to_string()];
    let seen = run(&policy("deny", &rules), None, &["--events", &log], &command);
    let said = seen.done.stderr();
    for words in [
        "allowed.example:80 (45.80.0.80) (rule net[0]",
        "denied resolve denied.example (rule defaults.net",
        "denied connect 45.80.0.81:80 (rule defaults.net",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let events = std::fs::read_to_string(&log).expect("the log is there");
    let about = |target: &str| events.lines().filter(|line| line.contains(target)).count();
    assert!(about("allowed.example:80 (45.80.0.80)") > 0, "{events}");
    assert!(about("45.80.0.81:80") > 0, "{events}");
}

/// A connection lives under the policy that permits it, and no longer.
#[test]
fn another_policy_ends_the_connections_that_it_denies() {
    let _alone = alone();
    if !is_root("another_policy_ends_the_connections_that_it_denies") {
        return;
    }
    const CODE: &str = r#"
import socket
ends = [socket.create_connection((name, 7), 20) for name in ("allowed.example", "six.example")]
for end in ends:
    assert end.recv(6) == b"hello\n"
print("ready", flush=True)
try: print(ends[0].recv(1))
except OSError as error: print(type(error).__name__)
ends[1].sendall(b"still")
print(ends[1].recv(5).decode())
try: print(socket.create_connection(("allowed.example", 7), 20))
except OSError as error: print(type(error).__name__)
"#;
    const HOST: &str = r#"
import subprocess, sys
buntime, name, wide, narrow, code = sys.argv[1:]
run = [buntime, "run", "--quiet", "--name", name, "--policy", wide, "-c", code]
program = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
assert program.stdout.readline() == "ready\n"
subprocess.run([buntime, "policy", "reload", name, narrow], check=True, stdout=subprocess.DEVNULL)
print(program.communicate()[0], end="")
sys.exit(program.returncode)
"#;
    let scratch = Scratch::new();
    let rule = |name: &str| json!({ "action": "allow", "host": name });
    let [wide, narrow] = [
        json!([rule("allowed.example"), rule("six.example")]),
        json!([rule("six.example")]),
    ]
    .map(|rules| policy("deny", &rules).to_string());
    let wide = scratch.file("wide.json", wide.as_bytes());
    let narrow = scratch.file("narrow.json", narrow.as_bytes());
    let name = format!("egress-{}", std::process::id());
    let words = [
        PYTHON,
        "-I",
        "-c",
        HOST,
        &scratch.binary(),
        &name,
        &wide,
        &narrow,
        CODE,
    ];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    seen.done.prints(&format!("{RESET}\nstill\ngaierror\n"));
}
