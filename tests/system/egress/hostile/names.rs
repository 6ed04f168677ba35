//! Queries for names that carry something out, and queries that are none.

use serde_json::{Value, json};

use super::super::{Seen, on_host, policy};
use crate::support::{PYTHON, Scratch, alone, is_root, recorded};

const TRIES: &str = include_str!("../tries.py");

const A: u16 = 1;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;

/// The name of a question, label by label.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// A query with this head and these questions, in hexadecimal.
fn query(head: [u8; 12], questions: &[u8]) -> String {
    let bytes = [&head[..], questions].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// With this many questions.
const fn asks(number: u8) -> [u8; 12] {
    [0x12, 0x34, 1, 0, 0, number, 0, 0, 0, 0, 0, 0]
}

fn question(name: &str, kind: u16) -> String {
    query(
        asks(1),
        &[&labels(name)[..], &kind.to_be_bytes(), &[0, 1]].concat(),
    )
}

/// Tries these things under these rules, with a log.
fn tried(rules: &Value, tries: &[Value]) -> (Seen, Vec<Value>) {
    let scratch = Scratch::new();
    let log = scratch.entry("events");
    let policy = scratch.file("policy.json", policy("deny", rules).to_string().as_bytes());
    let binary = scratch.binary();
    let tries = Value::from(tries).to_string();
    let words = [
        &binary, "run", "--policy", &policy, "--quiet", "--events", &log, "--", PYTHON, "-I", "-c",
        TRIES, &tries,
    ];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    let events = recorded(&log);
    (seen, events)
}

/// Where a rule lets many names be resolved, those are not asked for that look as if they carried something
/// out, by whatever way and for whatever record; a rule that says one of them lets it.
#[test]
fn names_that_carry_something_out_are_not_asked_for() {
    let _alone = alone();
    if !is_root("names_that_carry_something_out_are_not_asked_for") {
        return;
    }
    let coded = "mfzwizlsnf2gq2ltnfzw65dimvzhg3dp.example".to_owned();
    let long_label = format!("{}.example", "ab".repeat(27));
    let long = format!("{}example", "abcdefgh.".repeat(13));
    let said = "nb2hi4dthixs653xo4xgk6dbnvygyzjonnsxs.example";
    let plain = "my-company-production-data-lake-artifacts-eu-west.example";
    let rules = json!([
        { "action": "allow", "host": "*.example" },
        { "action": "allow", "host": said },
    ]);
    let mut tries = Vec::new();
    let carrying = [coded.to_uppercase(), long_label.clone(), long.clone()];
    for name in &carrying {
        for kind in [A, AAAA, HTTPS] {
            tries.push(json!({ "query": question(name, kind) }));
        }
        tries.push(json!({ "query": question(name, A), "tcp": true }));
    }
    let resolver = tries.len();
    for name in [&coded, &long_label, &long] {
        tries.push(json!({ "url": format!("http://{name}/x"), "proxy": true }));
        tries.push(json!({ "socks": [name, 80], "send": "x" }));
    }
    let refused = tries.len();
    tries.push(json!({ "query": question(said, A) }));
    tries.push(json!({ "query": question(plain, A) }));
    tries.push(json!({ "query": question("allowed.example", A) }));
    let (seen, events) = tried(&rules, &tries);
    let answers = seen.answers();
    for (number, answer) in answers[..resolver].iter().enumerate() {
        let code = answer.as_str().map(|answer| &answer[7..8]);
        assert_eq!(code, Some("5"), "it was not denied: {number}: {answer}");
    }
    for answer in &answers[resolver..refused] {
        let is_denied = answer["status"] == 403 || answer["error"] == "PermissionError";
        assert!(is_denied, "it was not denied: {answer}");
    }
    let code = |number: usize| {
        answers[refused + number]
            .as_str()
            .map(|answer| &answer[7..8])
    };
    assert_eq!(
        [code(0), code(1), code(2)],
        [Some("3"), Some("3"), Some("0")]
    );
    let mut names = seen.names();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["allowed.example", plain, said]);
    let whys = events.iter().filter(|event| {
        let why = event["why"].as_str().unwrap_or_default();
        event["answer"] == "denied" && why.ends_with("and no rule says just that")
    });
    assert_eq!(whys.count(), refused, "{events:#?}");
}

/// What is no query, or one about which nothing can be said, gets a code or no answer, and nothing of it
/// leaves; the resolver goes on.
#[test]
fn queries_that_are_none_are_not_asked() {
    let _alone = alone();
    if !is_root("queries_that_are_none_are_not_asked") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let name = labels("allowed.example");
    let of = |kind: u16, class: u8| [&name[..], &kind.to_be_bytes(), &[0, class]].concat();
    let plain = of(A, 1);
    let with = |at: usize, byte: u8| {
        let mut head = asks(1);
        head[at] = byte;
        query(head, &plain)
    };
    // Each with the code of its answer; no answer where there is none.
    let shapes = [
        (query(asks(1), &plain), Some("0")),
        (query(asks(1), &of(HTTPS, 1)), Some("0")),
        (query(asks(1), &of(SVCB, 1)), Some("0")),
        // Of another class, and of any.
        (query(asks(1), &of(A, 3)), Some("5")),
        (query(asks(1), &of(A, 255)), Some("5")),
        // More questions than there are, none, and two.
        (query(asks(9), &plain), Some("1")),
        (query(asks(0), &[]), Some("1")),
        (query(asks(2), &[&plain[..], &plain].concat()), Some("1")),
        // More records than there are.
        (with(7, 9), Some("1")),
        (with(11, 9), Some("1")),
        // A status, an update, and a response.
        (with(2, 0x11), Some("4")),
        (with(2, 0x29), Some("4")),
        (with(2, 0x81), None),
        // A name that points to itself, one that points ahead, labels of kinds that nobody knows, one
        // that is too long, a name that ends with the packet, and one of more than 255 bytes.
        (query(asks(1), &[0xc0, 0x0c, 0, 1, 0, 1]), Some("1")),
        (query(asks(1), &[0xc0, 0x40, 0, 1, 0, 1]), Some("1")),
        (query(asks(1), &[0x41, b'a', 0, 0, 1, 0, 1]), Some("1")),
        (query(asks(1), &[0x80, b'a', 0, 0, 1, 0, 1]), Some("1")),
        (query(asks(1), &[63, b'a', b'b']), Some("1")),
        (query(asks(1), b"\x07allowed"), Some("1")),
        (
            query(
                asks(1),
                &[labels(&["a"; 150].join(".")), vec![0, 1, 0, 1]].concat(),
            ),
            Some("1"),
        ),
        // Letters that are none of a name.
        (question("allowed\0.example", A), Some("5")),
        (question("allowed example", A), Some("5")),
    ];
    let mut tries = Vec::new();
    for tcp in [false, true] {
        for (query, code) in &shapes {
            let patience = if code.is_some() { 20.0 } else { 0.5 };
            tries.push(json!({ "query": query, "tcp": tcp, "patience": patience }));
        }
    }
    for cut in 0..12 {
        tries.push(json!({ "query": &query(asks(1), &plain)[..cut * 2], "patience": 0.5 }));
    }
    tries.push(json!({ "query": query(asks(1), &plain) }));
    let (seen, _) = tried(&rules, &tries);
    let answers = seen.answers();
    for (number, ((_, expected), answer)) in shapes.iter().chain(&shapes).zip(&answers).enumerate()
    {
        let said = answer.as_str().filter(|said| !said.is_empty());
        let code = said.map(|said| &said[7..8]);
        assert_eq!(code, *expected, "{number}: {answer}");
    }
    let last = answers.last().and_then(Value::as_str).unwrap_or_default();
    assert!(last.ends_with("c6120001"), "{last}");
    let mut names = seen.names();
    names.dedup();
    assert_eq!(names, ["allowed.example"], "it was not denied");
}
