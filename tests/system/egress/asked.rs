//! A person is asked about what wants to leave.

use serde_json::json;

use super::{on_host, policy};
use crate::support::{PYTHON, Scratch, alone, is_root};

const ASKED: &str = concat!(
    include_str!("../terminal/person.py"),
    include_str!("asked.py")
);

/// What is asked about leaves where somebody says so, and only there.
#[test]
fn a_person_is_asked_about_connections() {
    let _alone = alone();
    if !is_root("a_person_is_asked_about_connections") {
        return;
    }
    let scratch = Scratch::new();
    let rules = |action: &str| {
        json!([
            { "action": action, "host": "allowed.example" },
            { "action": action, "host": "six.example" },
            { "action": action, "cidr": "45.80.0.81/32" },
            { "action": "allow", "host": "www.allowed.example" },
        ])
    };
    for (name, action, timeout) in [
        ("ask", "ask", "60s"),
        ("short", "ask", "1s"),
        ("allow", "allow", "60s"),
        ("deny", "deny", "60s"),
    ] {
        let mut policy = policy("deny", &rules(action));
        policy["approval"] = json!({ "timeout": timeout });
        scratch.file(&format!("{name}.json"), policy.to_string().as_bytes());
    }
    let mut requests = policy("deny", &rules("allow"));
    requests["http"] = json!({ "rules": [
        { "action": "allow", "host": "allowed.example", "methods": ["GET"] },
        { "action": "ask", "host": "allowed.example", "methods": ["POST"] },
    ] });
    scratch.file("requests.json", requests.to_string().as_bytes());
    let folder = scratch.path().display().to_string();
    let words = [PYTHON, "-I", "-c", ASKED, &scratch.binary(), &folder];
    let seen = on_host(&scratch, &words.map(str::to_owned));
    let arrived = seen.connections().len();
    seen.done.prints("all asked\n");
    // Of each that was let through, and of no other.
    assert_eq!(arrived, 1 + 2 + 6 + 1 + 1 + 1 + 1);
}
