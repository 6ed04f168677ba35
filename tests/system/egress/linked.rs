//! An interface for programs that need one: what it leads to, and what is left of it.

use serde_json::{Value, json};

use super::{Seen, VETH, WEB, WEB_6, on_host, policy, run};
use crate::support::{PYTHON, Scratch, USER, alone, is_root};

pub const INSIDE: &str = include_str!("linked/inside.py");
const HOST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/egress/linked/host.py"
);

fn rules() -> Value {
    json!([
        { "action": "allow", "host": "allowed.example", "ports": "7,80" },
        { "action": "allow", "host": "six.example", "ports": 7 },
    ])
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Value {
    json!({ "family": family, "kind": kind, "protocol": protocol })
}

fn seen_by(user: Option<&str>, tries: &[Value]) -> Seen {
    seen_under(&policy("deny", &rules()), user, tries)
}

fn seen_under(policy: &Value, user: Option<&str>, tries: &[Value]) -> Seen {
    super::said_by(INSIDE, VETH, user, policy, tries)
}

/// Programs that look for an interface, its address and its route find them, and what they bind to it goes the way of
/// everything else.
#[test]
fn programs_have_an_interface_that_leads_where_a_rule_says() {
    let _alone = alone();
    if !is_root("programs_have_an_interface_that_leads_where_a_rule_says") {
        return;
    }
    let by_device = |host: &str, port: u16| json!({ "to": [host, port], "device": "eth0" });
    let udp_by_device = |host: &str| json!({ "to": [host, 7], "device": "eth0", "udp": true });
    let curl = |more: &[&str]| {
        let url = ["--interface", "eth0", "http://allowed.example/x"];
        let command = [&["curl", "--fail"], more, &url].concat();
        json!({ "run": command })
    };
    for user in [None, Some(USER.to_string())] {
        let tries = [
            json!({ "to": ["allowed.example", 7] }),
            by_device("allowed.example", 7),
            by_device("six.example", 7),
            json!({ "to": ["allowed.example", 7], "own": "eth0" }),
            udp_by_device("allowed.example"),
            udp_by_device("six.example"),
            curl(&[]),
            curl(&["--noproxy", "*"]),
            json!({ "run": ["ip", "link", "show", "eth0"] }),
        ];
        let seen = seen_by(user.as_deref(), &tries);
        let answers = seen.answers();
        let interface = &answers[0];
        assert_eq!(interface["names"], json!(["lo", "eth0"]));
        assert_eq!(interface["mtu"], 65_535);
        let (address, gateway) = (&interface["address"], &interface["default"]);
        let of = |value: &Value| -> u32 {
            let text = value.as_str().unwrap_or_default();
            u32::from(text.parse::<std::net::Ipv4Addr>().expect("an address"))
        };
        assert_eq!(of(address) % 4, 2, "{interface}");
        assert_eq!(of(address) >> 22, u32::from_be_bytes([100, 64, 0, 0]) >> 22);
        assert_eq!(gateway[0], "eth0");
        assert_eq!(of(&gateway[1]), of(address) - 1, "{interface}");
        assert!(
            answers[1..7].iter().all(|answer| answer == "hello"),
            "{answers:?}"
        );
        assert_eq!(answers[7..], [json!(0), json!(0), json!(0)]);
        assert_eq!(seen.datagrams().len(), 2);
        assert_eq!(seen.connections().len(), 6);
    }
}

/// Nothing gets further by the interface than by any other way: to a denied host, what lies inside, the other end or the host.
#[test]
fn nothing_passes_an_interface_undecided() {
    let _alone = alone();
    if !is_root("nothing_passes_an_interface_undecided") {
        return;
    }
    let places = [
        ("45.80.0.81", 80),
        (WEB, 7),
        (WEB_6, 22),
        ("10.9.0.80", 80),
        ("169.254.169.254", 80),
        ("45.80.0.1", 8000),
        ("2a0e:aaaa::1", 8000),
    ];
    let mut tries = Vec::new();
    for (host, port) in places {
        tries.push(json!({ "to": [host, port] }));
        tries.push(json!({ "to": [host, port], "device": "eth0" }));
    }
    let connections = tries.len();
    // At the other end there is the proxy, and no service of the host's.
    let end = [8000, 22, 53].map(|port| json!({ "to": ["gateway", port], "device": "eth0" }));
    tries.extend(end);
    let refused = tries.len();
    let many = ["255.255.255.255", "224.0.0.1", "10.9.0.80", "gateway"];
    tries.extend(many.map(|host| json!({ "to": [host, 8000], "device": "eth0", "udp": true })));
    let datagrams = tries.len();
    // Of netlink(7), what tells of interfaces, and nothing else; nor what makes frames of its own.
    tries.extend([
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_XFRM),
        socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_NETFILTER),
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC),
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        json!({ "run": ["ip", "link", "set", "eth0", "down"] }),
        json!({ "run": ["ip", "address", "add", "45.80.0.81/32", "dev", "eth0"] }),
        json!({ "run": ["ip", "route", "replace", "default", "dev", "lo"] }),
    ]);
    // Where writing is decided call by call, some calls are made in the program's place.
    let mut decided = policy("deny", &rules());
    decided["fs"] = json!({ "rules": [{ "action": "warn", "path": "/tmp/recorded", "perms": ["write_file"] }] });
    for policy in [policy("deny", &rules()), decided] {
        nothing_passes(
            &seen_under(&policy, None, &tries),
            connections,
            refused,
            datagrams,
        );
    }
}

fn nothing_passes(seen: &Seen, connections: usize, refused: usize, datagrams: usize) {
    let answers = &seen.answers()[1..];
    let all = |answers: &[Value], expected: &[&str]| {
        let is_expected = |answer: &Value| {
            answer
                .as_str()
                .is_some_and(|answer| expected.contains(&answer))
        };
        assert!(answers.iter().all(is_expected), "{answers:?}");
    };
    all(&answers[..connections], &["ECONNRESET"]);
    all(&answers[connections..refused], &["ECONNREFUSED"]);
    // Of what is for many at once nobody is told.
    all(
        &answers[refused..refused + 2],
        &["EHOSTUNREACH", "TimeoutError"],
    );
    all(&answers[refused + 2..datagrams], &["EHOSTUNREACH"]);
    assert_eq!(answers[datagrams], "made");
    all(&answers[datagrams + 1..datagrams + 4], &["EPROTONOSUPPORT"]);
    let made = &answers[datagrams + 4..datagrams + 6];
    assert_eq!(made, [json!("EAFNOSUPPORT"), json!("EPERM")]);
    assert_eq!(answers[datagrams + 6..], [json!(2), json!(2), json!(2)]);
    assert_eq!(seen.connections(), [""; 0]);
    assert_eq!(seen.datagrams(), [""; 0]);
}

/// There may be any number. The host has nothing of them, no two reach each other, what is no connection and no datagram ends at
/// the other end, and with the supervisor goes the interface, however it ends.
#[test]
fn any_number_of_sandboxes_have_an_interface_and_the_host_has_none() {
    let _alone = alone();
    if !is_root("any_number_of_sandboxes_have_an_interface_and_the_host_has_none") {
        return;
    }
    let scratch = Scratch::new();
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let policy = scratch.file(
        "policy.json",
        policy("allow", &rules).to_string().as_bytes(),
    );
    let binary = scratch.binary();
    let one = [
        &*binary,
        "run",
        "--quiet",
        "--policy",
        &policy,
        "--network",
        "veth",
        "--",
    ];
    let words = [&[PYTHON, HOST], &one[..], &[PYTHON, "-I", "-c"]].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let seen = on_host(&scratch, &words);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    let said: Value = serde_json::from_str(&seen.done.stdout()).expect("what it says");
    let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
    let mut addresses: Vec<String> = list("addresses").iter().map(Value::to_string).collect();
    addresses.sort();
    addresses.dedup();
    // They are drawn, of a million.
    assert!(addresses.len() > 10, "{said}");
    assert_eq!(list("others").len(), 12, "{said}");
    assert!(
        list("others")
            .iter()
            .all(|other| other == "ConnectionResetError"),
        "{said}"
    );
    for (name, expected) in [
        ("changed", json!(false)),
        ("answered", json!(0)),
        ("neighbours", json!("")),
        ("left", json!(0)),
        ("after", json!(false)),
    ] {
        assert_eq!(said[name], expected, "{name}: {said}");
    }
}

/// The report says what there is, and an interface that would lead nowhere is refused.
#[test]
fn an_interface_is_asked_for_by_a_flag() {
    let _alone = alone();
    if !is_root("an_interface_is_asked_for_by_a_flag") {
        return;
    }
    let report = Scratch::new();
    let file = report.entry("report.json");
    let net = json!([{ "action": "allow", "host": "allowed.example" }]);
    let flags = [&["--quiet", "--report", &file], VETH].concat();
    let seen = run(&policy("deny", &net), None, &flags, &["true"]);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    let text = std::fs::read_to_string(&file).expect("a report");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    let mechanisms = said["enforced"].as_array().cloned().unwrap_or_default();
    let network = mechanisms
        .iter()
        .find(|one| one["mechanism"] == "network namespace")
        .expect("it says what there is");
    let detail = network["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("loopback and eth0 (100."), "{network}");
    let seen = run(&policy("deny", &json!([])), None, VETH, &["true"]);
    assert_eq!(seen.done.status.code(), Some(125), "{}", seen.done);
    let stderr = seen.done.stderr();
    assert!(stderr.contains("the policy lets nothing leave"), "{stderr}");
}
