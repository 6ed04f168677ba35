//! Policies at random, and for each the same answer by every way out, which is the oracle's.

use std::net::IpAddr;

use buntime::policy::{HOST_NAME, Layer, Policy, Proto, Request, Vars};
use serde_json::{Value, json};

use super::{Seen, VETH, tried_by};
use crate::support::chance::{Chance, given};
use crate::support::{alone, is_root};

/// Names, and their addresses in the order in which they are resolved, as `outside.py` has them.
const NAMES: [(&str, &[&str]); 10] = [
    ("allowed.example", &["45.80.0.80", "2a0e:aaaa::80"]),
    ("www.allowed.example", &["45.80.0.80"]),
    ("denied.example", &["45.80.0.81", "2a0e:aaaa::81"]),
    ("six.example", &["2a0e:aaaa::80"]),
    ("nothing.example", &[]),
    ("inside.example", &["10.9.0.80"]),
    ("host.example", &["45.80.0.1", "2a0e:aaaa::1"]),
    ("metadata.example", &["169.254.169.254", "fd00:ec2::254"]),
    ("mixed.example", &["10.9.0.80", "45.80.0.80"]),
    (HOST_NAME, &["127.0.0.1", "::1"]),
];

const ADDRESSES: [&str; 9] = [
    "45.80.0.80",
    "45.80.0.81",
    "10.9.0.80",
    "169.254.169.254",
    "45.80.0.1",
    "2a0e:aaaa::80",
    "2a0e:aaaa::81",
    "fd00:ec2::254",
    "2a0e:aaaa::1",
];

/// The host's own addresses, on which something answers at one port.
const OWN: [&str; 5] = ["45.80.0.1", "2a0e:aaaa::1", "10.9.0.1", "127.0.0.1", "::1"];
const PORT_OF_HOST: u16 = 8000;

const HOSTS: [&str; 9] = [
    "allowed.example",
    "*.allowed.example",
    "denied.example",
    "*.example",
    "six.example",
    "inside.example",
    "mixed.example",
    "host.example",
    HOST_NAME,
];

/// The last two are everything, which is not denied in part: the worker has a loopback of its own.
const NETWORKS: [&str; 11] = [
    "45.80.0.80/32",
    "45.80.0.0/24",
    "10.9.0.0/24",
    "10.9.0.80/32",
    "45.80.0.1/32",
    "169.254.169.254/32",
    "2a0e:aaaa::/64",
    "2a0e:aaaa::80/128",
    "fd00:ec2::/32",
    "0.0.0.0/0",
    "::/0",
];

const PORTS: [u16; 3] = [7, 80, 8000];

/// The ways out: to connect, CONNECT, SOCKS5, and requests by the proxy.
const WAYS: usize = 4;

/// What comes of going somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Denied,
    /// The name has no address.
    Nowhere,
    /// Nobody listens there.
    Unanswered,
    Reached,
}

fn rules(chance: &mut Chance) -> Value {
    let mut rules = Vec::new();
    for _ in 0..=chance.next() % 5 {
        // Without a rule that allows something nothing leaves by any way.
        let action = match rules.is_empty() {
            true => "allow",
            false => *chance.of(&["allow", "allow", "allow", "warn", "deny", "deny"]),
        };
        let networks = match action {
            "deny" => &NETWORKS[..9],
            _ => &NETWORKS[..],
        };
        let mut rule = json!({ "action": action });
        match chance.one_in(2) {
            true => rule["host"] = (*chance.of(&HOSTS)).into(),
            false => rule["cidr"] = (*chance.of(networks)).into(),
        }
        if chance.one_in(3) {
            rule["ports"] = chance.of(&[json!(7), json!(80), json!("80,8000")]).clone();
        }
        rules.push(rule);
    }
    rules.into()
}

fn oracle(document: &Value) -> Policy {
    let vars = Vars {
        home: "/home".into(),
        pwd: "/".into(),
        workspace: "/".into(),
    };
    let text = document.to_string();
    let layer = Layer::parse(text.as_bytes(), "p.json", &vars).expect("it is valid");
    Policy::merge(vec![layer], Vec::new()).expect("it is one layer")
}

/// What is to come of going to a name or an address.
fn expected(policy: &Policy, target: &str, port: u16) -> Fate {
    let name = target.parse::<IpAddr>().is_err().then_some(target);
    let found = NAMES.iter().find(|(name, _)| *name == target);
    let addresses = match (name, found) {
        (None, _) => &[target][..],
        (Some(name), _) if !policy.decide_name(name).verdict.permits() => return Fate::Denied,
        (Some(_), found) => found.map_or(&[][..], |(_, addresses)| addresses),
    };
    if addresses.is_empty() {
        return Fate::Nowhere;
    }
    let permits = |address: &&str| {
        let is_own = OWN.contains(address);
        let address: IpAddr = address.parse().expect("an address");
        let request = Request::Net {
            proto: Proto::Tcp,
            host: name,
            addr: Some(address).filter(|_| name != Some(HOST_NAME)),
            port,
        };
        let decision = match is_own {
            true => policy.decide_about_own(&request),
            false => policy.decide(&request),
        };
        decision.verdict.permits()
    };
    let permitted: Vec<&&str> = addresses
        .iter()
        .filter(|address| permits(address))
        .collect();
    let answers = |address: &&&str| !OWN.contains(address) || port == PORT_OF_HOST;
    match (permitted.is_empty(), permitted.iter().any(answers)) {
        (true, _) => Fate::Denied,
        (false, false) => Fate::Unanswered,
        (false, true) => Fate::Reached,
    }
}

fn attempt(way: usize, target: &str, port: u16) -> Value {
    let host = match target.contains(':') {
        true => format!("[{target}]"),
        false => target.to_owned(),
    };
    let (send, until) = match port {
        7 => (String::new(), "hello"),
        _ => (super::request(&host), "200 OK"),
    };
    let named = match way {
        1 => &*host,
        3 => return json!({ "url": format!("http://{host}:{port}/"), "proxy": true }),
        _ => target,
    };
    let mut attempt = super::says(way, (named, port), &send);
    attempt["until"] = until.into();
    attempt
}

/// What came of it, as far as the way tells; one that is redirected is reset whatever the reason.
fn fates(way: usize, answer: &Value) -> Vec<Fate> {
    let said = answer["said"].as_str().unwrap_or_default();
    match way {
        _ if answer.as_str().is_some_and(|said| !said.is_empty()) => vec![Fate::Reached],
        0 if answer["error"] == "gaierror" => vec![Fate::Denied, Fate::Nowhere],
        0 if answer["error"] == "ConnectionResetError" => vec![Fate::Denied, Fate::Unanswered],
        1 if said.starts_with("403") => vec![Fate::Denied],
        1 if said.starts_with("502") => vec![Fate::Nowhere, Fate::Unanswered],
        2 => match said {
            "2" => vec![Fate::Denied],
            "4" => vec![Fate::Nowhere],
            "5" => vec![Fate::Unanswered],
            _ => Vec::new(),
        },
        3 if answer["status"] == 403 => vec![Fate::Denied],
        // What greets is no server of HTTP.
        3 if answer["status"] == 502 && said.contains("has not answered") => vec![Fate::Reached],
        3 if answer["status"] == 502 => vec![Fate::Nowhere, Fate::Unanswered],
        _ => Vec::new(),
    }
}

/// Goes everywhere by every way under one policy, with an interface or without, and gives how often what came
/// of it.
fn compare(chance: &mut Chance) -> [usize; 4] {
    let document = super::policy(
        chance.of::<&str>(&["deny", "deny", "allow"]),
        &rules(chance),
    );
    let policy = oracle(&document);
    let names = NAMES.iter().map(|(name, _)| *name);
    let targets: Vec<&str> = names.chain(["missing.example"]).chain(ADDRESSES).collect();
    let mut cases = Vec::new();
    for target in targets {
        let port = *chance.of(&PORTS);
        cases.extend((0..WAYS).map(|way| (way, target, port)));
    }
    let asked: Vec<Value> = cases
        .iter()
        .map(|(way, target, port)| attempt(*way, target, *port))
        .collect();
    let mut counts = [0; 4];
    let interface = *chance.of(&[&[][..], VETH]);
    let seen: Seen = tried_by(interface, None, &document, &asked);
    let answers = seen.answers();
    for ((way, target, port), answer) in cases.iter().zip(&answers) {
        let fate = expected(&policy, target, *port);
        assert!(
            fates(*way, answer).contains(&fate),
            "{target}:{port} by way {way}: {fate:?} was expected, and it was {answer}: {document}"
        );
        counts[fate as usize] += 1;
    }
    // Nothing arrives that was not to, whatever was said of it.
    assert_eq!(
        seen.connections().len(),
        counts[Fate::Reached as usize],
        "{document}"
    );
    counts
}

#[test]
fn every_way_out_is_decided_alike() {
    let _alone = alone();
    if !is_root("every_way_out_is_decided_alike") {
        return;
    }
    let (seed, least) = (
        given("BUNTIME_SEED").unwrap_or(1),
        given("BUNTIME_TRIPLES").unwrap_or(5000) as usize,
    );
    eprintln!("BUNTIME_SEED={seed}");
    let mut chance = Chance::of_seed(seed);
    let mut counts = [0; 4];
    while counts.iter().sum::<usize>() < least {
        for (all, more) in counts.iter_mut().zip(compare(&mut chance)) {
            *all += more;
        }
    }
    let [denied, nowhere, unanswered, reached] = counts;
    println!("{denied} denied, {nowhere} nowhere, {unanswered} unanswered, {reached} reached");
    assert!(reached * 5 >= least && denied * 5 >= least, "{counts:?}");
}
