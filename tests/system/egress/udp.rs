//! Datagrams: which leave, where to, and what comes back.

use serde_json::{Value, json};

use super::{RESET, Seen, VETH, WEB, WEB_6, interface, on_host, policy, run, to};
use crate::support::{self, PYTHON, Scratch, USER, alone, is_root};

const INSIDE: &str = include_str!("udp/inside.py");

/// What a program that has connected its socket hears of a datagram that is not permitted.
const DENIED: &str = "EHOSTUNREACH";
const DENIED_6: &str = "EACCES";
/// And of one that reaches nobody.
const NOBODY: &str = "ECONNREFUSED";
/// Whoever has not connected it hears nothing.
const LOST: &str = "TimeoutError";

fn sent_as(user: Option<&str>, policy: &Value, flags: &[&str], tries: &[Value]) -> Seen {
    super::said_by(INSIDE, flags, user, policy, tries)
}

fn sent(policy: &Value, tries: &[Value]) -> Seen {
    sent_as(None, policy, &[], tries)
}

fn one(host: &str, port: u16) -> Value {
    json!({ "to": [host, port] })
}

fn all_are(seen: &Seen, expected: &str) {
    for (number, answer) in seen.answers().iter().enumerate() {
        assert_eq!(answer, expected, "{number}");
    }
}

#[test]
fn datagrams_go_where_a_rule_says_and_nowhere_else() {
    let _alone = alone();
    if !is_root("datagrams_go_where_a_rule_says_and_nowhere_else") {
        return;
    }
    let rules = json!([
        { "action": "allow", "proto": "udp", "host": "allowed.example", "ports": "7,9,19,123" },
        { "action": "allow", "proto": "any", "cidr": "45.80.0.80/32", "ports": 7 },
        { "action": "allow", "cidr": "2a0e:aaaa::80/128", "ports": 7 },
        { "action": "allow", "proto": "tcp", "cidr": "45.80.0.81/32" },
    ]);
    let policy = policy("deny", &rules);
    let sizes = json!([0, 1, 1400, 60_000, 65_507]);
    let sizes_6 = json!([0, 1, 1400, 60_000, 65_487]);
    let place = [WEB, WEB_6];
    let by = [(None, &[][..]), (Some(USER.to_string()), &[]), (None, VETH)];
    for (user, flags) in by {
        let tries = [
            json!({ "to": ["allowed.example", 7], "sizes": sizes }),
            json!({ "to": ["allowed.example", 7], "sizes": sizes_6, "six": true }),
            json!({ "to": [WEB, 7], "sizes": sizes, "connected": false }),
            json!({ "to": [WEB_6, 7], "sizes": sizes_6, "connected": false }),
            // Another one answers too, whom nobody has asked.
            json!({ "to": ["allowed.example", 19], "sizes": [5, 5, 5] }),
            json!({ "to": ["allowed.example", 7], "burst": 60 }),
            one("allowed.example", 9),
            json!({ "time": ["allowed.example", 123] }),
            json!({ "several": [[WEB, 7], ["45.80.0.80", 7], [WEB, 7]] }),
        ];
        let seen = sent_as(user.as_deref(), &policy, flags, &tries);
        let answers = seen.answers();
        assert!(
            answers[..6].iter().all(|one| one == "echoed"),
            "{answers:?}"
        );
        assert_eq!(answers[6], NOBODY);
        assert_eq!(answers[7], json!([4, true, 3_900_000_000_u64]));
        assert_eq!(
            answers[8],
            json!([["0", WEB, 7], ["1", WEB, 7], ["2", WEB, 7]])
        );
        let arrived = seen.datagrams();
        assert_eq!(arrived.len(), 10 + 10 + 3 + 60 + 1 + 3, "{arrived:?}");
        let is_meant = |one: &String| place.iter().any(|place| one.starts_with(place));
        assert!(arrived.iter().all(is_meant), "{arrived:?}");
    }
    let tries = [
        one("allowed.example", 80),
        one(WEB, 19),
        one("45.80.0.81", 7),
        one("45.80.0.81", 80),
        one("10.9.0.80", 7),
        // Of the addresses that stand for names this is none's.
        one("198.18.0.77", 7),
    ];
    let seen = sent(&policy, &tries);
    all_are(&seen, DENIED);
    assert_eq!(seen.datagrams(), [""; 0]);
    let tries = [
        one("2a0e:aaaa::81", 7),
        one(WEB_6, 443),
        one("fd62:756e:7469:6d65::77", 7),
    ];
    let seen = sent(&policy, &tries);
    all_are(&seen, DENIED_6);
    assert_eq!(seen.datagrams(), [""; 0]);
    // By TCP nothing of it goes that is for UDP alone.
    let udp = json!([{ "action": "allow", "proto": "udp", "host": "allowed.example" }]);
    let seen = super::tried(&super::policy("deny", &udp), &[to("allowed.example", 80)]);
    seen.all_fail_with(RESET);
}

/// Where no rule could let any UDP out, there is no way for it.
#[test]
fn without_a_rule_no_datagram_leads_anywhere() {
    let _alone = alone();
    if !is_root("without_a_rule_no_datagram_leads_anywhere") {
        return;
    }
    let tries = [one(WEB, 7), one("allowed.example", 7), one(WEB, 443)];
    let tcp = json!([{ "action": "allow", "proto": "tcp", "host": "allowed.example" }]);
    let seen = sent(&policy("deny", &tcp), &tries);
    all_are(&seen, NOBODY);
    assert_eq!(seen.datagrams(), [""; 0]);
}

/// A name or a network that is allowed gives nothing that lies inside, and nobody is sent to many at once.
#[test]
fn datagrams_inside_go_by_rules_that_name_them_alone() {
    let _alone = alone();
    if !is_root("datagrams_inside_go_by_rules_that_name_them_alone") {
        return;
    }
    let tries = [
        one("inside.example", 7),
        one("host.example", 8000),
        one("loopback.example", 8000),
        one("metadata.example", 7),
        one("10.9.0.80", 7),
        one("169.254.169.254", 7),
        one("10.9.0.1", 8000),
        one("45.80.0.1", 8000),
        one("host.buntime.internal", 8000),
        one("10.9.0.255", 7),
    ];
    let tries_6 = [
        one("fd00:ec2::254", 7),
        one("2a0e:aaaa::1", 8000),
        one("ff02::1", 7),
    ];
    let for_many = ["255.255.255.255", "224.0.0.251"];
    let for_many =
        for_many.map(|host| json!({ "to": [host, 7], "connected": false, "patience": 1 }));
    let wide = json!([
        { "action": "allow", "host": "*.example" },
        { "action": "allow", "cidr": "0.0.0.0/0" },
        { "action": "allow", "cidr": "::/0" },
    ]);
    for policy in [policy("allow", &json!([])), policy("deny", &wide)] {
        let seen = sent(&policy, &tries);
        let answers = seen.answers();
        let (unresolved, denied): (Vec<_>, Vec<_>) = answers
            .iter()
            .enumerate()
            .partition(|(number, _)| *number == 8);
        assert!(
            denied.iter().all(|(_, answer)| **answer == DENIED),
            "{answers:?}"
        );
        assert_ne!(unresolved[0].1, "echoed");
        assert_eq!(seen.datagrams(), [""; 0]);
        // Nor to a group, where it is not even known who is meant.
        let seen = sent(&policy, &tries_6);
        assert!(seen.answers().iter().all(|answer| answer != "echoed"));
        let seen = sent(&policy, &for_many);
        all_are(&seen, LOST);
        assert_eq!(seen.datagrams(), [""; 0]);
        // Of several addresses that is sent to that is permitted.
        let seen = sent(&policy, &[one("mixed.example", 7)]);
        all_are(&seen, "echoed");
        assert_eq!(seen.datagrams(), [format!("{WEB} 7 1")]);
    }
    let narrow = json!([
        { "action": "allow", "cidr": "10.9.0.0/24" },
        { "action": "allow", "cidr": "45.80.0.1/32", "ports": 8000 },
        { "action": "allow", "host": "host.buntime.internal", "ports": 8000 },
        { "action": "allow", "cidr": "224.0.0.0/4" },
        { "action": "allow", "cidr": "255.255.255.255/32" },
        { "action": "deny", "cidr": "10.9.0.1/32" },
    ]);
    let tries = [
        one("10.9.0.80", 7),
        one("45.80.0.1", 8000),
        one("host.buntime.internal", 8000),
        one("10.9.0.1", 8000),
        one("host.buntime.internal", 7),
        // Everybody's on a link, whom the host does not send to.
        one("10.9.0.255", 7),
        one("group.example", 7),
    ];
    let seen = sent(&policy("deny", &narrow), &tries);
    let echoed = ["echoed"; 3].into_iter();
    let expected: Vec<&str> = echoed.chain([DENIED; 2]).chain([NOBODY, DENIED]).collect();
    assert_eq!(seen.answers(), expected);
    let places = ["10.9.0.80 7 1", "45.80.0.1 8000 1", "127.0.0.1 8000 1"];
    assert_eq!(seen.datagrams(), places);
    let seen = sent(&policy("deny", &narrow), &for_many);
    all_are(&seen, LOST);
    assert_eq!(seen.datagrams(), [""; 0]);
}

/// What a program binds its socket to makes it nobody else, and takes it past nobody.
#[test]
fn no_trick_takes_a_datagram_past_its_decision() {
    let _alone = alone();
    // With an interface the loopback has its own addresses alone.
    if !is_root("no_trick_takes_a_datagram_past_its_decision") || !interface().is_empty() {
        return;
    }
    let rules = json!([
        { "action": "allow", "proto": "udp", "host": "allowed.example", "ports": 7 },
        { "action": "allow", "proto": "udp", "cidr": "45.80.0.53/32" },
    ]);
    let policy = policy("deny", &rules);
    let from = |place: Value, host: &str, port: u16| json!({ "to": [host, port], "from": place });
    let tries = [
        from(json!(["127.0.0.53", 5353]), "45.80.0.81", 7),
        from(json!([WEB, 7007]), "45.80.0.81", 7),
        from(json!(["45.80.0.81", 7777]), "45.80.0.81", 7),
        from(json!(["127.0.0.1", 0]), "10.9.0.80", 7),
    ];
    let seen = sent(&policy, &tries);
    all_are(&seen, DENIED);
    assert_eq!(seen.datagrams(), [""; 0]);
    let tries = [
        from(json!(["127.0.0.1", 0]), "allowed.example", 7),
        from(json!(["45.80.0.81", 4444]), "allowed.example", 7),
        from(json!(["127.0.0.53", 5353]), "allowed.example", 7),
    ];
    let seen = sent(&policy, &tries);
    all_are(&seen, "echoed");
    assert_eq!(seen.datagrams().len(), 3);
    // Said to the socket that takes all of it, it is to nobody; the resolver answers that it is no query.
    let seen = sent(&policy, &[json!({ "doors": true })]);
    assert_eq!(seen.answers(), [json!(["12 bytes", DENIED])]);
    assert_eq!(seen.datagrams(), [""; 0]);
    // Port 53 is the resolver's, whatever a rule says: the answer is an address that stands for the name.
    let query = "0001010000010000000000000664656e696564076578616d706c650000010001";
    let asked = json!({ "query": query, "at": "45.80.0.53" });
    let seen = super::tried(&policy, &[asked]);
    let answer = seen.answers()[0].as_str().unwrap_or_default().to_owned();
    assert!(answer.ends_with("0004c6120001"), "{answer}");
}

/// To a host to whom requests are read no UDP goes, and where there is one nobody begins QUIC.
#[test]
fn no_request_is_made_unread_by_datagrams() {
    let _alone = alone();
    if !is_root("no_request_is_made_unread_by_datagrams") {
        return;
    }
    let mut initial = vec![0xc3, 0, 0, 0, 1];
    initial.resize(1200, 7);
    let initial: String = initial.iter().map(|byte| format!("{byte:02x}")).collect();
    let rules = json!([
        { "action": "allow", "host": "allowed.example" },
        { "action": "allow", "host": "six.example" },
        { "action": "allow", "cidr": "45.80.0.80/32" },
    ]);
    let plain = policy("deny", &rules);
    let quic = |host: &str| json!({ "to": [host, 443], "say": initial });
    let seen = sent(&plain, &[quic("allowed.example"), quic(WEB)]);
    all_are(&seen, "echoed");
    let mut by_rule = plain.clone();
    by_rule["http"] = json!({ "rules": [{ "action": "allow", "host": "allowed.example" }] });
    let mut by_secret = plain;
    let from = json!({ "command": ["/bin/echo", "a-secret-of-some-length"] });
    by_secret["http"] =
        json!({ "secrets": [{ "name": "TOKEN", "host": "allowed.example", "from": from }] });
    for policy in [by_rule, by_secret] {
        let log = Scratch::new();
        let events = log.entry("events.jsonl");
        let tries = [
            one("allowed.example", 7),
            quic("allowed.example"),
            quic(WEB),
        ];
        let seen = sent_as(None, &policy, &["--events", &events], &tries);
        all_are(&seen, DENIED);
        assert_eq!(seen.datagrams(), [""; 0]);
        let events = support::recorded(&events);
        let why = events.iter().filter_map(|event| event["why"].as_str());
        let why: Vec<&str> = why.collect();
        assert_eq!(why.len(), 3, "{why:?}");
        assert!(why[0].contains("nothing is read of UDP"), "{why:?}");
        assert!(why[2].contains("begins QUIC"), "{why:?}");
        // What is no QUIC goes on to others.
        let tries = [
            one(WEB, 7),
            json!({ "to": ["six.example", 7], "six": true }),
        ];
        all_are(&sent(&policy, &tries), "echoed");
    }
}

/// Each flow is in the log with its decision, what passed, and what ended it.
#[test]
fn each_flow_is_recorded_with_what_passed() {
    let _alone = alone();
    if !is_root("each_flow_is_recorded_with_what_passed") {
        return;
    }
    let rules = json!([
        { "action": "warn", "proto": "udp", "host": "allowed.example", "ports": 7 },
    ]);
    let scratch = Scratch::new();
    let log = scratch.entry("events.jsonl");
    let tries = [
        json!({ "to": ["allowed.example", 7], "sizes": [100, 1000] }),
        one("45.80.0.81", 7),
    ];
    let seen = sent_as(None, &policy("deny", &rules), &["--events", &log], &tries);
    assert_eq!(seen.answers(), ["echoed", DENIED]);
    let events = support::recorded(&log);
    let of = |kind: &str| -> Vec<&Value> {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind
            .filter(|event| event["net"]["proto"] == "udp")
            .collect()
    };
    let decided: Vec<_> = of("decision")
        .into_iter()
        .map(|event| (event["target"].as_str(), event["answer"].as_str()))
        .collect();
    let allowed = format!("allowed.example:7/udp ({WEB})");
    assert_eq!(
        decided,
        [
            (Some(&*allowed), Some("allowed")),
            (Some("45.80.0.81:7/udp"), Some("denied")),
        ]
    );
    let [begun] = of("connection-begin")[..] else {
        panic!("{events:#?}");
    };
    assert_eq!(begun["net"]["addresses"], json!([WEB]));
    let [ended] = of("connection-end")[..] else {
        panic!("{events:#?}");
    };
    assert_eq!(
        (&ended["sent_bytes"], &ended["received_bytes"]),
        (&json!(1100), &json!(1100))
    );
    assert_eq!(
        (&ended["address"], &ended["ended_by"]),
        (&json!(WEB), &json!("program"))
    );
    assert_eq!(ended["net"]["ingress"], "transparent");
}

/// Whoever has more flows than there is place for loses the oldest, and nobody is left without one.
#[test]
fn so_many_flows_are_open_at_once() {
    let _alone = alone();
    if !is_root("so_many_flows_are_open_at_once") {
        return;
    }
    let rules = json!([{ "action": "allow", "cidr": "45.80.0.80/32", "ports": 7 }]);
    let scratch = Scratch::new();
    let log = scratch.entry("events.jsonl");
    let many = json!({ "to": [WEB, 7], "many": 400 });
    let seen = sent_as(None, &policy("deny", &rules), &["--events", &log], &[many]);
    all_are(&seen, "all");
    let mut open = 0_i64;
    let mut most = 0;
    for event in support::recorded(&log) {
        match event["type"].as_str() {
            Some("decision") if event["net"]["proto"] == "udp" => open += 1,
            Some("connection-end") => open -= 1,
            _ => {}
        }
        most = most.max(open);
    }
    assert!((200..=260).contains(&most), "{most}");
    assert_eq!(open, 0);
}

/// A flow lives under the policy that permits it, and no longer.
#[test]
fn another_policy_ends_the_flows_that_it_denies() {
    let _alone = alone();
    if !is_root("another_policy_ends_the_flows_that_it_denies") {
        return;
    }
    const CODE: &str = r#"
import socket, time
ends = []
for where in ("45.80.0.80", 7), ("45.80.0.81", 7):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.settimeout(5)
    end.connect(where)
    end.send(b"hello")
    assert end.recv(9) == b"hello"
    ends.append(end)
print("ready", flush=True)
try: print(ends[0].recv(9))
except OSError as error: print(error.errno)
for end in ends:
    end.send(b"still")
    try: print(end.recv(9).decode())
    except OSError as error: print(error.errno)
"#;
    const HOST: &str = r#"
import subprocess, sys
buntime, name, wide, narrow, code, log = sys.argv[1:]
run = [buntime, "run", "--quiet", "--name", name, "--events", log, "--policy", wide, "-c", code]
program = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
assert program.stdout.readline() == "ready\n"
subprocess.run([buntime, "policy", "reload", name, narrow], check=True, stdout=subprocess.DEVNULL)
print(program.communicate()[0], end="")
sys.exit(program.returncode)
"#;
    let scratch = Scratch::new();
    let rule = |cidr: &str| json!({ "action": "allow", "proto": "udp", "cidr": cidr });
    let [wide, narrow] = [
        json!([rule("45.80.0.80/32"), rule("45.80.0.81/32")]),
        json!([rule("45.80.0.81/32")]),
    ]
    .map(|rules| policy("deny", &rules).to_string());
    let wide = scratch.file("wide.json", wide.as_bytes());
    let narrow = scratch.file("narrow.json", narrow.as_bytes());
    let name = format!("udp-{}", std::process::id());
    let log = scratch.entry("events.jsonl");
    let binary = scratch.binary();
    let words = [
        PYTHON, "-I", "-c", HOST, &binary, &name, &wide, &narrow, CODE, &log,
    ];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    seen.done.prints("113\n113\nstill\n");
    let ends: Vec<(Value, Value)> = support::recorded(&log)
        .into_iter()
        .filter(|event| event["type"] == "connection-end")
        .map(|event| (event["address"].clone(), event["ended_by"].clone()))
        .collect();
    assert_eq!(
        ends,
        [
            (json!("45.80.0.80"), json!("policy")),
            (json!("45.80.0.81"), json!("program")),
        ]
    );
}

/// A program need not stay until what it has said is decided about.
#[test]
fn what_was_said_last_arrives() {
    let _alone = alone();
    if !is_root("what_was_said_last_arrives") {
        return;
    }
    let rules = json!([{ "action": "allow", "proto": "udp", "host": "allowed.example" }]);
    let says = "echo -n last > /dev/udp/allowed.example/7";
    for _ in 0..4 {
        let command = ["/bin/bash", "-c", says];
        let seen = run(&policy("deny", &rules), None, &["--quiet"], &command);
        assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
        assert_eq!(seen.datagrams(), [format!("{WEB} 7 4")]);
    }
}
