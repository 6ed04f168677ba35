//! What the host has while a sandbox runs: addresses that come, and descriptors.

use serde_json::json;

use super::{on_host, policy};
use crate::support::{self, PYTHON, Scratch, alone, is_root};

/// Connects twice to an address that the host is given in between.
const TWICE: &str = "
import socket, sys
for _ in range(2):
    try:
        socket.create_connection(('45.80.0.99', 8000), 20).close()
    except OSError as error:
        print(type(error).__name__, flush=True)
    sys.stdin.readline()
";

/// Opens connections until there are so many, and hears from each.
const MANY: &str = "
import socket
held = [socket.create_connection(('45.80.0.80', 7), 20) for _ in range(700)]
print(sum(end.recv(6) == b'hello\\n' for end in held))
";

/// It is reached by a rule that names it alone from the moment at which the host has it.
#[test]
fn an_address_is_the_hosts_own_once_it_has_it() {
    let _alone = alone();
    if !is_root("an_address_is_the_hosts_own_once_it_has_it") {
        return;
    }
    let scratch = Scratch::new();
    let wide = json!([{ "action": "allow", "cidr": "45.80.0.0/24" }]);
    let rules = policy("deny", &wide).to_string();
    let rules = scratch.file("policy.json", rules.as_bytes());
    let program = scratch.file("twice.py", TWICE.as_bytes());
    let log = scratch.entry("events.jsonl");
    let buntime = scratch.binary();
    let script = format!(
        "set -e
         run='{buntime} run --quiet --events {log} --policy {rules} --python {PYTHON} {program}'
         (until grep -q '\"ended_by\":\"error\"' {log}; do sleep 0.1; done
          ip address add 45.80.0.99/24 dev out
          echo; echo) | $run"
    );
    let words = ["sh", "-c", &script].map(str::to_owned);
    let seen = on_host(&scratch, &words);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    let events = support::recorded(&log);
    let answers: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "decision" && event["origin"] == "egress")
        .map(|event| event["answer"].as_str().unwrap_or("?"))
        .collect();
    assert_eq!(answers, ["allowed", "denied"], "{}", seen.done);
}

/// The supervisor holds them, whatever its caller's soft limit is.
#[test]
fn many_connections_are_open_at_once() {
    let _alone = alone();
    if !is_root("many_connections_are_open_at_once") {
        return;
    }
    let scratch = Scratch::new();
    let one = json!([{ "action": "allow", "cidr": "45.80.0.80/32", "ports": 7 }]);
    let rules = policy("deny", &one).to_string();
    let rules = scratch.file("policy.json", rules.as_bytes());
    let program = scratch.file("many.py", MANY.as_bytes());
    let buntime = scratch.binary();
    let script = format!(
        "ulimit -S -n 1024
         exec {buntime} run --quiet --policy {rules} --python {PYTHON} {program}"
    );
    let words = ["sh", "-c", &script].map(str::to_owned);
    let seen = on_host(&scratch, &words);
    assert_eq!(seen.done.stdout(), "700\n", "{}", seen.done);
}
