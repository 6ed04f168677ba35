//! Requests and answers that could be read in several ways, each by every way in: refused, or one meaning in a
//! form of our own, of which four servers read the same.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::read::{planted, run};
use super::super::tools::BUN;
use super::super::{Seen, policy};
use crate::support::{Child, PYTHON, Scratch, alone, is_root, recorded};

const SHAPES: &str = include_str!("shapes.py");
const HEARS: &str = include_str!("hears.py");
const MISLED: &str = include_str!("misled.py");
const SECOND_JS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/egress/hostile/second.js"
);
const SECOND_PY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/egress/hostile/second.py"
);

/// A request, as somebody read it: the method, the target and the content.
type Read = (String, String, String);

/// What came of a shape: its name, the way, what is expected with which content, and the statuses of the answers.
type Told = (String, String, String, Option<String>, Vec<String>);

/// What was heard of a server: the name of its answer, the way, what is expected, and two answers.
type Heard = (String, String, String, Option<String>, Option<String>);

/// What arrived on one connection.
struct Arrived {
    bytes: String,
    requests: Vec<Read>,
}

fn arrived(seen: &Seen) -> Vec<Arrived> {
    let lines = seen.arrived.iter();
    let lines = lines.filter_map(|line| line.strip_prefix("recorded "));
    let each = lines.map(|line| {
        let said: Value = serde_json::from_str(line).expect("JSON");
        Arrived {
            bytes: said["bytes"].as_str().expect("text").to_owned(),
            requests: serde_json::from_value(said["requests"].clone()).expect("requests"),
        }
    });
    each.collect()
}

/// Rules about requests to the host to which they go, so that TLS to it is opened.
fn read_host() -> Value {
    let mut policy = policy(
        "deny",
        &json!([{ "action": "allow", "host": "allowed.example" }]),
    );
    policy["http"] = json!({ "rules": [{ "action": "allow", "host": "allowed.example" }] });
    policy
}

/// `BUNTIME_SHAPES` names a file with more of them, a JSON list of texts.
#[test]
fn each_shape_is_refused_or_has_one_meaning() {
    let _alone = alone();
    if !is_root("each_shape_is_refused_or_has_one_meaning") {
        return;
    }
    let scratch = planted();
    let mut policy = read_host();
    let more = std::env::var_os("BUNTIME_SHAPES").map(PathBuf::from);
    let more = more.map(|file| std::fs::read(file).expect("more shapes"));
    let more = more.map(|more| scratch.file("more.json", &more));
    if let Some(more) = &more {
        let rule = json!({ "action": "allow", "path": more, "perms": ["read_file"] });
        policy["fs"] = json!({ "rules": [rule] });
    }
    let log = scratch.entry("events");
    let mut command = vec![PYTHON, "-I", "-c", SHAPES];
    command.extend(more.as_deref());
    let seen = run(&scratch, &policy, &["--quiet", "--events", &log], &command);
    let violations = seen
        .arrived
        .iter()
        .filter(|line| line.starts_with("violation "));
    assert_eq!(
        violations.count(),
        0,
        "it was not denied: {:#?}",
        seen.arrived
    );
    let arrived = arrived(&seen);
    let read = || arrived.iter().flat_map(|one| &one.requests);
    let told: Vec<Told> = serde_json::from_slice(&seen.done.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", seen.done));
    assert!(told.len() > 600, "{}", told.len());
    let mut refused = 0;
    for (name, way, expected, content, statuses) in &told {
        let path = format!("/{name}-{way}");
        let by_name: Vec<&Read> = read().filter(|(_, target, _)| *target == path).collect();
        let bytes = arrived
            .iter()
            .any(|one| one.bytes.contains(&format!("{path} ")));
        let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
        let shown = format!("it was not denied: {name} by {way}: {statuses:?}: {by_name:?}");
        match &expected[..] {
            "one" => {
                let Some([(_, _, read)]) = by_name
                    .get(..)
                    .filter(|all| all.len() == 1)
                    .map(|all| [all[0]])
                else {
                    panic!("{shown}");
                };
                assert_eq!(Some(read), content.as_ref(), "{shown}");
                let rest = statuses.strip_prefix(&["100"]).unwrap_or(&statuses);
                assert!(matches!(rest, ["200"] | ["200", "403"]), "{shown}");
            }
            "refused" => {
                refused += 1;
                assert!(!bytes && by_name.is_empty(), "{shown}");
                // The first line of one says nothing of HTTP; of the other more is said than is heard.
                let may_be_reset =
                    ["target-lf", "head-long"].contains(&&**name) && statuses.is_empty();
                assert!(may_be_reset || statuses == ["400"], "{shown}");
            }
            "cut" => assert!(by_name.is_empty() && !statuses.contains(&"200"), "{shown}"),
            _ => {}
        }
    }
    for (_, target, _) in read() {
        assert!(!target.contains("hidden"), "it was not denied: {target}");
    }
    let events = recorded(&log);
    let by_plane = events.iter().filter(|event| {
        let why = event["why"].as_str().unwrap_or_default();
        event["answer"] == "denied" && !why.is_empty() && !why.contains("another host")
    });
    let by_plane = by_plane.count();
    assert!(by_plane >= refused, "{by_plane} of {refused} are recorded");
    agree(&scratch, &arrived);
    eprintln!(
        "{} sent, {refused} refused, {} read",
        told.len(),
        read().count()
    );
}

/// Other servers read what arrived as the strict one does.
fn agree(scratch: &Scratch, arrived: &[Arrived]) {
    let whole: Vec<&Arrived> = arrived
        .iter()
        .filter(|one| !one.requests.is_empty())
        .collect();
    let texts: Vec<&str> = whole.iter().map(|one| one.bytes.as_str()).collect();
    let file = scratch.file("recorded.json", json!(texts).to_string().as_bytes());
    let bun = format!("{BUN}/bun");
    for (by, words) in [
        ("python", [PYTHON, "-B", SECOND_PY, &file]),
        ("node", ["node", "--", SECOND_JS, &file]),
        ("bun", [&bun, "run", SECOND_JS, &file]),
    ] {
        let done = Child::new(words[0]).args(&words[1..]).clean_path().run();
        let read: Vec<Vec<Read>> = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|why| panic!("{by}: {why}: {done}"));
        for (one, read) in whole.iter().zip(read) {
            // Of those that are not ours some are for methods that a server does not take.
            let is_more = one.requests[0].1.starts_with("/more-");
            let is_same = read == one.requests || (is_more && one.requests.starts_with(&read));
            assert!(
                is_same,
                "{by} reads it otherwise: {:?}: {read:?}",
                one.bytes
            );
        }
    }
}

/// Whatever a server answers, no part of an answer is taken for the next.
#[test]
fn no_answer_hides_in_another() {
    let _alone = alone();
    if !is_root("no_answer_hides_in_another") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let names = format!("{MISLED}\n{HEARS}\nmain()\n");
    let seen = super::super::run(
        &policy("deny", &rules),
        None,
        &["--quiet"],
        &[PYTHON, "-I", "-c", &names],
    );
    let told: Vec<Heard> = serde_json::from_slice(&seen.done.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", seen.done));
    assert!(told.len() > 60, "{}", told.len());
    for (name, way, expected, first, second) in told {
        let shown = format!("it was not denied: {name} by {way}: {first:?}, {second:?}");
        assert!(
            second
                .as_deref()
                .is_none_or(|second| second == "200 second"),
            "{shown}"
        );
        let first = first.unwrap_or_default();
        match &expected[..] {
            "502" => assert!(first.starts_with("502 buntime: the host "), "{shown}"),
            "cut" => assert!(
                first.is_empty() || first.starts_with("502 buntime: "),
                "{shown}"
            ),
            answer => assert_eq!(first, answer, "{shown}"),
        }
    }
}
