//! Requests and queries that are wrong in many ways: none stops the way out, makes it grow, or reaches a
//! server so that it could be read in two ways.

mod names;
mod shapes;

use serde_json::json;

use super::read::{planted, run};
use super::{RESET, policy, says, tried};
use crate::support::chance::given;
use crate::support::{PYTHON, alone, is_root};

const MUTATED: &str = include_str!("hostile/mutated.py");

/// What the supervisor may have resident at most, in KiB.
const PEAK: u64 = 128 << 10;

/// `BUNTIME_HOSTILE` of them; a million takes half an hour.
#[test]
fn no_mutated_request_is_read_in_two_ways() {
    let _alone = alone();
    if !is_root("no_mutated_request_is_read_in_two_ways") {
        return;
    }
    let (seed, number) = (
        given("BUNTIME_SEED").unwrap_or(1),
        given("BUNTIME_HOSTILE").unwrap_or(3000),
    );
    eprintln!("BUNTIME_SEED={seed}");
    let mut policy = policy(
        "deny",
        &json!([
            { "action": "allow", "host": "allowed.example" },
            { "action": "allow", "host": "six.example" },
            { "action": "allow", "host": "*.below.example" },
        ]),
    );
    policy["http"] = json!({ "rules": [{ "action": "allow", "host": "six.example" }] });
    let (seed, words) = (seed.to_string(), number.to_string());
    let command = [PYTHON, "-I", "-c", MUTATED, &seed, &words];
    let seen = run(&planted(), &policy, &["--quiet"], &command);
    assert_eq!(
        seen.done.stdout(),
        "[0, 0] HTTP/1.1 200 OK\n",
        "{}",
        seen.done
    );
    let all = |kind: &str| -> Vec<&str> {
        let lines = seen.arrived.iter();
        lines.filter_map(|line| line.strip_prefix(kind)).collect()
    };
    assert_eq!(all("violation "), [""; 0], "it was not denied");
    let denied = all("connection ")
        .into_iter()
        .find(|to| !to.starts_with("45.80.0.80 ") && !to.starts_with("2a0e:aaaa::80 "));
    assert_eq!(denied, None);
    let coded = "mfzwizlsnf2gq2ltnfzw65dimvzhg3dp.below.example";
    assert!(!seen.names().contains(&coded), "{coded} was not denied");
    let count = |kind| {
        all(kind)
            .last()
            .and_then(|last| last.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (served, securely) = (count("served "), count("served-securely "));
    let peak = seen.resident;
    eprintln!(
        "{number} sent, {served} served and {securely} over TLS, {peak} KiB resident at most"
    );
    assert!(served * 20 > number, "{served}");
    assert!(securely * 500 > number, "{securely}");
    assert!(peak < PEAK, "{peak} KiB");
}

/// What does not begin as a request, to a host to whom nothing is read, becomes none behind that.
#[test]
fn a_first_line_is_looked_at_to_its_end() {
    let _alone = alone();
    if !is_root("a_first_line_is_looked_at_to_its_end") {
        return;
    }
    let policy = policy(
        "deny",
        &json!([{ "action": "allow", "host": "allowed.example" }]),
    );
    let path = "a".repeat(100);
    let rest = format!("/{path} HTTP/1.1\r\nHost: denied.example\r\n\r\n");
    for by in 0..3 {
        let to = |port, text: &str| says(by, ("allowed.example", port), text);
        let seen = tried(&policy, &[to(8080, &format!("G:T {rest}"))]);
        seen.all_fail_with(RESET);
        let seen_as_empty = ["\u{b}\r\n", "\0\r\n", "\u{1}\n\u{a0}\n"];
        let tries = seen_as_empty.map(|line| to(8080, &format!("{line}GET {rest}")));
        let refused = tried(&policy, &tries);
        for answer in refused.answers() {
            let said = answer.as_str().unwrap_or_default();
            assert!(
                said.starts_with("HTTP/1.1 400 "),
                "it was not denied: {answer}"
            );
        }
        for line in seen.arrived.iter().chain(&refused.arrived) {
            assert!(!line.starts_with("violation "), "it was not denied: {line}");
        }
        // Another protocol goes on, though its first line has no end.
        let mut other = to(7, &format!("{{ \"{path}\": 1 }}"));
        other["half"] = true.into();
        let answer = tried(&policy, &[other]).answers().remove(0);
        let said = answer.as_str().unwrap_or_default();
        assert!(said.contains(&path) && said.ends_with("bye\n"), "{answer}");
    }
}
