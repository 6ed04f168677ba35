//! What the log says of what leaves, and that nothing leaves of which it says nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{RESET, Seen, TRIES, WEB, WEB_6, on_host, policy, request, run, to};
use crate::support::{self, PYTHON, Scratch, alone, is_root};

/// What came of a run, and its events.
struct Recorded {
    seen: Seen,
    events: Vec<Value>,
    report: Value,
}

impl Recorded {
    fn of_type<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = &'r Value> {
        let events = self.events.iter();
        events.filter(move |event| event["type"] == kind)
    }

    /// The decisions about what leaves: how it came, what was wanted, of whom, and the answer.
    fn decisions(&self) -> Vec<[&str; 4]> {
        let decisions = self.of_type("decision");
        let of_plane = decisions.filter(|event| event["origin"] == "egress");
        let told = of_plane.map(|event| {
            let fields = [
                &event["net"]["ingress"],
                &event["operation"],
                &event["target"],
                &event["answer"],
            ];
            fields.map(|field| field.as_str().unwrap_or("?"))
        });
        told.collect()
    }
}

fn recorded(policy: &Value, tries: &[Value]) -> Recorded {
    let tries = Value::from(tries).to_string();
    recorded_of(policy, &[PYTHON, "-I", "-c", TRIES, &tries])
}

fn recorded_of(policy: &Value, command: &[&str]) -> Recorded {
    let scratch = Scratch::new();
    let log = scratch.entry("events.jsonl");
    let report = scratch.entry("report.json");
    let flags = ["--quiet", "--events", &log, "--report", &report];
    let seen = run(policy, None, &flags, command);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    let events = support::recorded(&log);
    let report = std::fs::read_to_string(&report).expect("the report is there");
    let report = serde_json::from_str(&report).expect("the report is JSON");
    Recorded {
        seen,
        events,
        report,
    }
}

/// Each connection is in the log when it is decided about and when it is over, with what passed, by
/// whatever way it has come.
#[test]
fn each_connection_is_recorded_with_what_passed() {
    let _alone = alone();
    if !is_root("each_connection_is_recorded_with_what_passed") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let echo = |how: &str| json!({ how: ["allowed.example", 7], "send": "and back", "half": true, "proxy": how == "connect" });
    let tries = [
        json!({ "connect": ["allowed.example", 7], "send": "and back", "half": true }),
        echo("connect"),
        echo("socks"),
        json!({ "url": "http://allowed.example/x", "proxy": true }),
        json!({ "connect": ["allowed.example", 80], "send": request("allowed.example") }),
        json!({ "connect": ["allowed.example", 9] }),
    ];
    let recorded = recorded(&policy("deny", &rules), &tries);
    let answers = recorded.seen.answers();
    assert_eq!(answers[2], "hello\nand backbye\n", "{answers:#?}");
    let web = format!("allowed.example:80 ({WEB})");
    let echo = format!("allowed.example:7 ({WEB})");
    let wanted: Vec<[&str; 4]> = recorded
        .decisions()
        .into_iter()
        .filter(|[_, operation, ..]| *operation == "connect")
        .collect();
    let none = format!("allowed.example:9 ({WEB})");
    let allowed = |by, target| [by, "connect", target, "allowed"];
    assert_eq!(
        wanted,
        [
            allowed("transparent", &echo),
            allowed("connect", &echo),
            allowed("socks", &echo),
            allowed("http", &web),
            allowed("transparent", &web),
            allowed("transparent", &none),
        ]
    );
    let first = recorded
        .of_type("decision")
        .find(|event| event["operation"] == "connect")
        .expect("a decision");
    let net = &first["net"];
    assert_eq!(net["host"], "allowed.example", "{first}");
    assert_eq!(net["addresses"], json!([WEB, WEB_6]), "{first}");
    assert_eq!(
        (&net["port"], &net["proto"]),
        (&json!(7), &json!("tcp")),
        "{first}"
    );
    assert_eq!(first["rule"]["what"], "net[0]", "{first}");
    assert!(first["rule"]["line"].is_u64(), "{first}");
    // Of two addresses, the one that answered.
    let begun: Vec<&Value> = recorded.of_type("connection-begin").collect();
    assert_eq!(begun.len(), 5, "{begun:#?}");
    assert!(
        begun
            .iter()
            .all(|event| event["net"]["addresses"] == json!([WEB])),
        "{begun:#?}"
    );
    for (number, ended) in recorded.of_type("connection-end").enumerate() {
        let decided = recorded.events.iter().position(|event| {
            event["type"] == "decision" && event["net"]["connection"] == ended["net"]["connection"]
        });
        let over = recorded.events.iter().position(|event| event == ended);
        assert!(decided.is_some() && decided < over, "{ended}");
        let passed = (
            ended["sent_bytes"].as_u64().expect("a number"),
            ended["received_bytes"].as_u64().expect("a number"),
        );
        match number {
            // "and back", and "hello", the same and "bye".
            0..=2 => assert_eq!(passed, (8, 18), "{ended}"),
            3 | 4 => assert!(passed.0 > 30 && passed.1 > 100, "{ended}"),
            _ => assert_eq!(passed, (0, 0), "{ended}"),
        }
        let (address, by) = match number {
            5 => (Value::Null, json!("error")),
            _ => (json!(WEB), ended["ended_by"].clone()),
        };
        assert_eq!(
            (&ended["address"], &ended["ended_by"]),
            (&address, &by),
            "{ended}"
        );
        assert!(
            number == 5 || ["program", "host"].iter().any(|one| by == *one),
            "{ended}"
        );
    }
    assert_eq!(recorded.of_type("connection-end").count(), tries.len());
    // The report has the sums.
    let mut sums = BTreeMap::new();
    for ended in recorded.of_type("connection-end") {
        let sum: &mut [u64; 4] = sums.entry(ended["net"]["ingress"].as_str()).or_default();
        let number = |field: &str| ended[field].as_u64().unwrap_or_default();
        sum[usize::from(ended["address"].is_null())] += 1;
        sum[2] += number("sent_bytes");
        sum[3] += number("received_bytes");
    }
    let sums: Vec<Value> = sums
        .into_iter()
        .map(|(ingress, [connections, failed, sent, received])| {
            json!({
                "ingress": ingress, "connections": connections, "failed": failed,
                "sent_bytes": sent, "received_bytes": received,
            })
        })
        .collect();
    assert_eq!(recorded.report["traffic"], Value::from(sums));
}

/// Whatever carries a connection counts all of it.
#[test]
fn every_byte_is_counted_by_whatever_it_is_carried() {
    let _alone = alone();
    if !is_root("every_byte_is_counted_by_whatever_it_is_carried") {
        return;
    }
    const LENGTH: u64 = 4 << 20;
    const CODE: &str = r#"
import socket, sys, urllib.request
LENGTH = int(sys.argv[1])
for proxies in {}, None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    with opener.open(f"http://allowed.example/bytes/{LENGTH}", timeout=60) as answer:
        assert len(answer.read()) == LENGTH
    request = urllib.request.Request("http://allowed.example/", bytes(LENGTH), method="PUT")
    with opener.open(request, timeout=60) as answer:
        answer.read()
# As a WebSocket, and without being looked into.
def back(end, length):
    while length:
        length -= len(end.recv(min(length, 65536)))
import threading
for port, first in (80, b"GET /ws HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), (7, b"x"):
    end = socket.create_connection(("allowed.example", port), 20)
    end.sendall(first)
    reader = threading.Thread(target=back, args=(end, LENGTH))
    reader.start()
    end.sendall(bytes(LENGTH))
    reader.join()
    end.close()
"#;
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let length = LENGTH.to_string();
    let command = [PYTHON, "-I", "-c", CODE, &length];
    let recorded = recorded_of(&policy("deny", &rules), &command);
    let ends: Vec<&Value> = recorded.of_type("connection-end").collect();
    assert_eq!(ends.len(), 6, "{ends:#?}");
    let has = |count: &Value| count.as_u64().is_some_and(|count| count >= LENGTH);
    let few = |count: &Value| {
        count
            .as_u64()
            .is_some_and(|count| 0 < count && count < 4096)
    };
    for (number, ended) in ends.iter().enumerate() {
        let (sent, received) = (&ended["sent_bytes"], &ended["received_bytes"]);
        match number {
            0 | 2 => assert!(few(sent) && has(received), "{ended}"),
            1 | 3 => assert!(has(sent) && few(received), "{ended}"),
            _ => assert!(has(sent) && has(received), "{ended}"),
        }
    }
}

/// What no rule lets through is in the log with the reason, and what no rule speaks of too.
#[test]
fn what_is_denied_on_the_way_out_is_recorded_with_the_reason() {
    let _alone = alone();
    if !is_root("what_is_denied_on_the_way_out_is_recorded_with_the_reason") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    // Of the class CH (3): version.bind.
    let of_chaos = "123401000001000000000000\
                    0776657273696f6e0462696e64000010"
        .to_owned()
        + "0003";
    let tries = [
        json!({ "names": "denied.example" }),
        json!({ "query": of_chaos }),
        to("198.18.0.77", 80),
        to("10.9.0.80", 80),
        json!({ "connect": ["allowed.example", 80], "send": request("denied.example") }),
        json!({ "tls": ["allowed.example", 80], "name": "www.allowed.example" }),
        json!({ "connect": ["127.0.0.1", 80], "proxy": true }),
    ];
    let recorded = recorded(&policy("deny", &rules), &tries);
    let denied: Vec<&Value> = recorded
        .of_type("decision")
        .filter(|event| event["answer"] == "denied" && event["origin"] == "egress")
        .collect();
    let is_there = |target: &str, rule: &str, why: &str| {
        let found = denied.iter().any(|event| {
            event["target"] == target
                && event["rule"]["what"] == rule
                && event["why"].as_str().unwrap_or_default().contains(why)
        });
        assert!(found, "{target}: {denied:#?}");
    };
    const PLANE: &str = "the way out";
    is_there("denied.example", "defaults.net", "");
    is_there("version.bind", PLANE, "the Internet");
    is_there("198.18.0.77:80", PLANE, "no name's");
    is_there("10.9.0.80:80", "defaults.net", "");
    let web = format!("allowed.example:80 ({WEB})");
    is_there(&web, PLANE, "which is denied.example");
    is_there(&web, PLANE, "which is www.allowed.example");
    is_there("127.0.0.1:80", PLANE, "the sandbox itself");
}

/// Nothing leaves that is not in the log: where that is full, the connection is not made, and the run
/// ends.
#[test]
fn what_cannot_be_recorded_does_not_leave() {
    let _alone = alone();
    if !is_root("what_cannot_be_recorded_does_not_leave") {
        return;
    }
    const CODE: &str = r#"
import socket
for _ in range(100):
    socket.create_connection(("allowed.example", 7), 20).recv(6)
"#;
    const HOST: &str = r#"
import os, subprocess, sys
buntime, folder, policy, code = sys.argv[1:]
os.mkdir(folder)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], check=True)
log = folder + "/events"
run = [buntime, "run", "--quiet", "--events", log, "--policy", policy, "--", sys.executable, "-I", "-c", code]
# Each time the log is full at another event of a connection.
for before in range(0, 1600, 200):
    with open(log, "w") as file:
        file.write("x" * before + "\n")
    ended = subprocess.run(run, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 125 and "write the event log" in ended.stderr, ended
    print(open(log).read())
    os.remove(log)
"#;
    let scratch = Scratch::new();
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let policy = scratch.file("policy.json", policy("deny", &rules).to_string().as_bytes());
    let small = scratch.entry("small");
    let words = [
        PYTHON,
        "-I",
        "-c",
        HOST,
        &scratch.binary(),
        &small,
        &policy,
        CODE,
    ];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    let said = seen.done.stdout();
    let lines = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let decided = lines
        .filter(|event: &Value| event["type"] == "decision" && event["operation"] == "connect");
    let (decided, arrived) = (decided.count(), seen.connections().len());
    assert!(
        0 < arrived && arrived <= decided,
        "{arrived} arrived, more than were decided about, {decided}: {}",
        seen.done
    );
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
}

/// Where the policy wants to know of the network, who wants to go out is seen although nobody may.
#[test]
fn who_may_go_nowhere_is_recorded_where_that_is_asked_for() {
    let _alone = alone();
    if !is_root("who_may_go_nowhere_is_recorded_where_that_is_asked_for") {
        return;
    }
    let mut closed = policy("deny", &json!([]));
    closed["audit"] = json!({ "enabled": true, "events": ["net"] });
    let tries = [json!({ "names": "allowed.example" }), to(WEB, 80)];
    let recorded = recorded(&closed, &tries);
    let answers = recorded.seen.answers();
    assert_eq!(answers[1]["error"], RESET, "{answers:#?}");
    let web = format!("{WEB}:80");
    let denied = [
        ["dns", "resolve", "allowed.example", "denied"],
        ["transparent", "connect", &web, "denied"],
    ];
    let mut decisions = recorded.decisions();
    decisions.dedup();
    assert_eq!(decisions, denied);
    assert_eq!(recorded.seen.arrived, [""; 0]);
    // And it is not done without a place to record it.
    let seen = run(&closed, None, &[], &[PYTHON, "-c", "pass"]);
    assert_eq!(seen.done.status.code(), Some(125), "{}", seen.done);
    assert!(seen.done.stderr().contains("--events"), "{}", seen.done);
}

/// What is open when the run is ended is in the log with what had passed.
#[test]
fn what_the_end_of_a_run_ends_is_recorded() {
    let _alone = alone();
    if !is_root("what_the_end_of_a_run_ends_is_recorded") {
        return;
    }
    const CODE: &str = r#"
import socket, time
end = socket.create_connection(("allowed.example", 7), 20)
assert end.recv(6) == b"hello\n"
end.sendall(b"and back")
while len(end.recv(8, socket.MSG_PEEK)) < 8: pass
time.sleep(60)
"#;
    let scratch = Scratch::new();
    let log = scratch.entry("events.jsonl");
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let flags = ["--quiet", "--events", &log, "--timeout", "2s"];
    let command = [PYTHON, "-I", "-c", CODE];
    let seen = run(&policy("deny", &rules), None, &flags, &command);
    assert_eq!(seen.done.status.code(), Some(124), "{}", seen.done);
    let events = support::recorded(&log);
    let found = events
        .iter()
        .find(|event| event["type"] == "connection-end");
    let ended = found.unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!(events[events.len() - 1]["type"], "exit", "{events:#?}");
    let passed = (&ended["sent_bytes"], &ended["received_bytes"]);
    assert_eq!(passed, (&json!(8), &json!(14)), "{ended}");
    assert!(
        ended["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.5),
        "{ended}"
    );
}
