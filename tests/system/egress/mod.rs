//! What leaves a sandbox: a host with a link to a world of its own, and programs that want to go there.

mod agree;
mod asked;
mod contained;
mod host;
mod hostile;
mod limited;
mod linked;
mod read;
mod recorded;
mod requests;
mod tools;
mod udp;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, USER, alone, is_root};

const OUTSIDE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/egress/outside.py"
);
const TRIES: &str = include_str!("tries.py");

/// An interface beside the loopback.
const VETH: &[&str] = &["--network", "veth"];

const WEB: &str = "45.80.0.80";
const WEB_6: &str = "2a0e:aaaa::80";

/// How long a command on the host may take; a million mutated requests take half an hour.
const LONG: Duration = Duration::from_secs(3600);

/// What a connection that is not permitted ends with, and one that says something else than was decided.
const RESET: &str = "ConnectionResetError";

/// A name for which there is no answer.
const UNRESOLVED: &str = "gaierror";

/// What came of a run, and what arrived beyond the host.
struct Seen {
    done: Finished,
    arrived: Vec<String>,
    /// What any of its processes had resident at most, in KiB.
    resident: u64,
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

    /// The datagrams that arrived, as address, port and length.
    fn datagrams(&self) -> Vec<String> {
        let lines = self.arrived.iter();
        let datagrams = lines.filter_map(|line| line.strip_prefix("datagram "));
        datagrams
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// The requests that arrived, as host and path.
    fn requests(&self) -> Vec<&str> {
        let lines = self.arrived.iter();
        lines
            .filter_map(|line| line.strip_prefix("request "))
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

/// The choice of interfaces: with BUNTIME_NETWORK=veth every run has one of its own.
fn interface() -> &'static [&'static str] {
    match std::env::var("BUNTIME_NETWORK").as_deref() {
        Err(_) => &[],
        Ok("veth") => VETH,
        Ok(other) => panic!("BUNTIME_NETWORK={other}: veth is meant"),
    }
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
    add(interface());
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
        .deadline(LONG)
        .current_dir(scratch.home())
        .run();
    let read = |name| std::fs::read_to_string(Path::new(&folder).join(name)).unwrap_or_default();
    let arrived = read("arrived").lines().map(str::to_owned).collect();
    let resident = read("resident").parse().unwrap_or(u64::MAX);
    Seen {
        done,
        arrived,
        resident,
    }
}

/// Tries each of these things inside.
fn tried(policy: &Value, tries: &[Value]) -> Seen {
    tried_as(None, policy, tries)
}

fn tried_as(user: Option<&str>, policy: &Value, tries: &[Value]) -> Seen {
    tried_by(&[], user, policy, tries)
}

fn tried_by(flags: &[&str], user: Option<&str>, policy: &Value, tries: &[Value]) -> Seen {
    said_by(TRIES, flags, user, policy, tries)
}

/// Runs this code inside, which is told what to try.
fn said_by(
    code: &str,
    flags: &[&str],
    user: Option<&str>,
    policy: &Value,
    tries: &[Value],
) -> Seen {
    let tries = Value::from(tries).to_string();
    let flags = [&["--quiet"], flags].concat();
    let seen = run(policy, user, &flags, &[PYTHON, "-I", "-c", code, &tries]);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    seen
}

fn request(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Connects and says this: without a proxy, by CONNECT, or by SOCKS5.
fn says(by: usize, (host, port): (&str, u16), text: &str) -> Value {
    match by {
        0 => json!({ "connect": [host, port], "send": text }),
        1 => json!({ "connect": [host, port], "send": text, "proxy": true }),
        _ => json!({ "socks": [host, port], "send": text }),
    }
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

/// Who connects to one host cannot speak to another that the same address serves, by whatever way it
/// has gone there.
#[test]
fn what_is_said_names_the_host_that_was_decided_about() {
    let _alone = alone();
    if !is_root("what_is_said_names_the_host_that_was_decided_about") {
        return;
    }
    let rules = json!([
        { "action": "allow", "host": "allowed.example" },
        { "action": "allow", "cidr": "45.80.0.80/32" },
        { "action": "deny", "host": "denied.example" },
    ]);
    let policy = policy("deny", &rules);
    let said = |by, host: &str, text: &str| says(by, (host, 80), text);
    let [allowed, denied] = ["allowed.example", "denied.example"].map(request);
    let kept = "GET /x HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    let twice = "GET / HTTP/1.1\r\nHost: allowed.example\r\nHost: denied.example\r\n\r\n";
    let absolute = "GET http://denied.example/ HTTP/1.1\r\nHost: allowed.example\r\n\
                    Connection: close\r\n\r\n";
    let none = "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n";
    let folded = "GET / HTTP/1.1\r\nX: y\r\n Host: allowed.example\r\n\r\n";
    let spaced = "GET / HTTP/1.1\r\nHost : denied.example\r\n\r\n";
    let nested = "CONNECT denied.example:80 HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    for by in 0..3 {
        let tries = [
            ("allowed.example", &denied[..], "403"),
            ("allowed.example", &request("www.allowed.example"), "403"),
            (WEB, &denied, "403"),
            ("allowed.example", twice, "400"),
            ("allowed.example", absolute, "400"),
            ("allowed.example", none, "400"),
            ("allowed.example", folded, "400"),
            ("allowed.example", spaced, "400"),
            ("allowed.example", nested, "400"),
            (
                "allowed.example",
                &format!("\r\n{}", denied.replace(' ', "  ")),
                "400",
            ),
            (
                "allowed.example",
                &denied.replace(" HTTP/1.1", " HTTP/1.1 "),
                "400",
            ),
            ("allowed.example", &format!(" {denied}"), "400"),
        ];
        let asked: Vec<Value> = tries
            .iter()
            .map(|(host, text, _)| said(by, host, text))
            .collect();
        let seen = tried(&policy, &asked);
        for ((_, text, status), answer) in tries.iter().zip(seen.answers()) {
            let answer = answer.as_str().unwrap_or_default();
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{by}: {text:?}: {answer:?}");
        }
        assert_eq!(seen.requests(), [""; 0], "{by}");
        // The first may pass, and the second does not for that.
        let seen = tried(
            &policy,
            &[said(by, "allowed.example", &format!("{kept}{denied}"))],
        );
        let answer = seen.answers()[0].as_str().unwrap_or_default().to_owned();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 403 "),
            "{answer}"
        );
        assert_eq!(seen.requests(), ["allowed.example /x"], "{by}");
        // Servers of TLS pass over an alert that comes first, and know an older greeting.
        let alert = "\u{15}\u{3}\u{1}\0\u{2}\u{1}\u{5a}\u{16}\u{3}\u{1}";
        let greeting = "\u{80}\u{2e}\u{1}\u{3}\u{1}\0";
        let tls = [
            said(by, "allowed.example", alert),
            said(by, "allowed.example", greeting),
            json!({ "tls": ["allowed.example", 80], "name": "denied.example", "by": by }),
            json!({ "tls": ["allowed.example", 80], "name": "www.allowed.example", "by": by }),
            json!({ "tls": [WEB, 80], "name": "denied.example", "by": by }),
        ];
        tried(&policy, &tls).all_fail_with(RESET);
        let agreeing = [
            said(by, "allowed.example", &request("allowed.example:80")),
            said(by, WEB, &allowed),
            said(by, WEB, &request(WEB)),
        ];
        let answers = tried(&policy, &agreeing).answers();
        let all_pass = answers
            .iter()
            .all(|one| one.as_str().is_some_and(|one| one.contains("200 OK")));
        assert!(all_pass, "{by}: {answers:#?}");
    }
}

/// Programs that like a proxy find one, which decides as nothing else does and says why it does not.
#[test]
fn a_proxy_leads_where_every_other_way_leads() {
    let _alone = alone();
    if !is_root("a_proxy_leads_where_every_other_way_leads") {
        return;
    }
    let rules = json!([
        { "action": "allow", "host": "allowed.example" },
        { "action": "allow", "host": "six.example" },
        { "action": "allow", "host": "inside.example" },
    ]);
    let policy = policy("deny", &rules);
    let by_url = |url: &str| json!({ "url": url, "proxy": true });
    let by_connect = |host: &str, port: u16| json!({ "connect": [host, port], "proxy": true, "until": "hello", "send": "" });
    let by_socks = |host: &str, port: u16| json!({ "socks": [host, port], "until": "hello" });
    let tries = [
        by_url("http://allowed.example/x"),
        by_url("http://ALLOWED.example.:80/x"),
        by_url("http://allowed.example/x?y#z"),
        by_connect("allowed.example", 7),
        by_connect("six.example", 7),
        by_socks("allowed.example", 7),
        by_socks("six.example", 7),
    ];
    let seen = tried(&policy, &tries);
    let answers = seen.answers();
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number < 3 {
            "\"path\": \"/x"
        } else {
            "hello"
        };
        let said = answer.as_str().unwrap_or_default();
        assert!(said.contains(expected), "{number}: {answer}");
    }
    assert_eq!(seen.connections().len(), tries.len(), "{:?}", seen.arrived);
    let tries = [
        by_url("http://denied.example/x"),
        by_url("http://45.80.0.80/x"),
        by_url("http://inside.example/x"),
        by_url("http://169.254.169.254/x"),
        by_url("http://198.18.0.77/x"),
        by_connect("denied.example", 80),
        by_connect("45.80.0.81", 7),
        by_connect("[::1]", 8000),
        by_connect("127.0.0.53", 53),
        by_connect("localhost", 8080),
        by_connect("inside.example", 80),
        by_socks("denied.example", 80),
        by_socks("45.80.0.81", 7),
        by_socks("2a0e:aaaa::81", 80),
        by_socks("inside.example", 80),
    ];
    let seen = tried(&policy, &tries);
    for (asked, answer) in tries.iter().zip(seen.answers()) {
        let said = answer["said"].as_str().unwrap_or_default();
        match asked.get("socks") {
            // Not allowed by the ruleset.
            Some(_) => assert_eq!(said, "2", "{asked}: {answer}"),
            None => assert!(
                said.contains("buntime: not permitted: ")
                    && (answer["status"] == 403 || said.starts_with("403")),
                "{asked}: {answer}"
            ),
        }
    }
    let named = seen.answers()[0]["said"].to_string();
    assert!(named.contains("rule defaults.net"), "{named}");
    assert_eq!(seen.connections(), [""; 0]);
    assert_eq!(seen.names(), ["inside.example"]);
    let rules = json!([{ "action": "allow", "cidr": "45.80.0.80/32" }]);
    let seen = tried(
        &self::policy("deny", &rules),
        &[
            by_url("http://45.80.0.80/x"),
            by_connect(WEB, 7),
            by_socks(WEB, 7),
        ],
    );
    assert_eq!(seen.connections().len(), 3, "{:?}", seen.arrived);
    // What nobody answers is not what nobody may.
    let tries = [
        by_url("http://allowed.example:9/"),
        by_connect("allowed.example", 9),
        by_socks("allowed.example", 9),
    ];
    let answers = tried(&policy, &tries).answers();
    assert_eq!(answers[0]["status"], 502, "{answers:#?}");
    let said = |number: usize| answers[number]["said"].as_str().unwrap_or_default();
    assert!(said(1).starts_with("502"), "{answers:#?}");
    assert_eq!(said(2), "5", "{answers:#?}");
}

/// Where the proxy is can be chosen, and that there is none.
#[test]
fn the_port_of_the_proxy_is_chosen() {
    let _alone = alone();
    // With an interface it is at its other end.
    if !is_root("the_port_of_the_proxy_is_chosen") || !interface().is_empty() {
        return;
    }
    const CODE: &str = r#"
import os, socket
names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
print(*sorted({os.environ.get(name) or "-" for name in names}), bool(os.environ.get("NO_PROXY")))
print(*[port for port in (8080, 3128) if socket.socket().connect_ex(("127.0.0.1", port)) == 0])
"#;
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    for (flags, said) in [
        (&[][..], "http://127.0.0.1:8080 True\n8080\n"),
        (
            &["--proxy-port", "3128"],
            "http://127.0.0.1:3128 True\n3128\n",
        ),
        (&["--proxy-port", "0"], "- False\n\n"),
    ] {
        let flags = [&["--quiet"], flags].concat();
        let command = [PYTHON, "-I", "-c", CODE];
        run(&policy("deny", &rules), None, &flags, &command)
            .done
            .prints(said);
    }
    let nothing = run(
        &policy("deny", &json!([])),
        None,
        &["--quiet"],
        &[PYTHON, "-I", "-c", CODE],
    );
    nothing.done.prints("- False\n\n");
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
        json!({ "query": question("allowed.example", A), "at": "10.9.0.53" }),
        json!({ "query": question("allowed.example", A), "at": "fd00:ec2::53" }),
        json!({ "query": question("secret.denied.example", A), "at": "45.80.0.53" }),
    ];
    // Also where programs see which resolver the host asks.
    let mut shown = policy("deny", &rules);
    shown["fs"] =
        json!({ "rules": [{ "action": "allow", "path": "/etc", "perms": ["read_file"] }] });
    let by_name = [json!({ "url": "http://allowed.example/x" })];
    let got = tried(&shown, &by_name).answers();
    assert!(
        got[0].as_str().is_some_and(|got| got.contains("/x")),
        "{got:#?}"
    );
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
    for number in [8, 9] {
        assert!(answer(number).ends_with("c6120001"), "{answers:#?}");
    }
    for number in [5, 6, 10] {
        assert_eq!(told(number), ("5", "0000"), "{number}: {answers:#?}");
    }
    assert_eq!(told(7).0, "1", "{answers:#?}");
    let mut names = seen.names();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["allowed.example"]);
}

/// Bytes both ways are those that were sent, more than any buffer on the way holds; or as many as
/// `BUNTIME_TRANSFER` says.
#[test]
fn long_transfers_arrive_as_they_are() {
    let _alone = alone();
    if !is_root("long_transfers_arrive_as_they_are") {
        return;
    }
    let length = std::env::var("BUNTIME_TRANSFER").unwrap_or_else(|_| (64 << 20).to_string());
    const CODE: &str = r#"
import hashlib, json, sys, urllib.request
LENGTH = int(sys.argv[1])
piece = bytes(range(256)) * 4096
expected = hashlib.sha256(piece * (LENGTH // len(piece))).hexdigest()
found = hashlib.sha256()
def body():
    for _ in range(LENGTH // len(piece)):
        yield piece
for proxies in {}, None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    found = hashlib.sha256()
    with opener.open(f"http://allowed.example/bytes/{LENGTH}", timeout=60) as answer:
        while part := answer.read(1 << 20):
            found.update(part)
    print(found.hexdigest() == expected)
    headers = {"Content-Length": str(LENGTH)}
    request = urllib.request.Request("http://allowed.example/", body(), headers, method="PUT")
    with opener.open(request, timeout=60) as answer:
        print(json.load(answer)["sha256"] == expected)
"#;
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let seen = run(
        &policy("deny", &rules),
        None,
        &["--quiet"],
        &[PYTHON, "-I", "-c", CODE, &length],
    );
    seen.done.prints(&"True\n".repeat(4));
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
    let decided = |line: &&str| line.contains("\"type\":\"decision\"");
    let decisions: Vec<&str> = events.lines().filter(decided).collect();
    let about = |target: &str| {
        decisions
            .iter()
            .filter(|line| line.contains(target))
            .count()
    };
    // One decision for one connection.
    assert_eq!(about("allowed.example:80 (45.80.0.80)"), 1, "{events}");
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
buntime, name, wide, narrow, code, log = sys.argv[1:]
run = [buntime, "run", "--quiet", "--name", name, "--events", log, "--policy", wide, "-c", code]
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
    let log = scratch.entry("events.jsonl");
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
        &log,
    ];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    seen.done.prints(&format!("{RESET}\nstill\ngaierror\n"));
    // Each end is in the log with what it was.
    let events = std::fs::read_to_string(&log).expect("the log is there");
    let ends = events
        .lines()
        .filter(|line| line.contains("\"type\":\"connection-end\""));
    let by: Vec<(bool, bool)> = ends
        .map(|line| {
            (
                line.contains("allowed.example:7"),
                line.contains("\"ended_by\":\"policy\""),
            )
        })
        .collect();
    assert_eq!(by, [(true, true), (false, false)], "{events}");
}
