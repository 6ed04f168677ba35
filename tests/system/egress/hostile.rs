//! Requests and queries that are wrong in many ways: none stops the way out, makes it grow, or reaches a
//! server so that it could be read in two ways.

mod names;
mod shapes;

use serde_json::json;

use super::policy;
use super::read::{planted, run};
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
