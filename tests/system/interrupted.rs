//! Signals to a program whose call is held and waits for another process: the call is interrupted, or
//! made again, as without a sandbox.

use serde_json::json;

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root};

const CALLS: &str = include_str!("interrupted/calls.py");

#[test]
fn a_pipe_that_nobody_opens_is_left_for_a_signal() {
    let _alone = alone();
    if !is_root("a_pipe_that_nobody_opens_is_left_for_a_signal") {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.entry("outside");
    std::fs::create_dir(&folder).expect("a folder");
    let policy = json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
        "fs": {"rules": [{"action": "deny", "path": "/tmp/**/*.secret"}]}
    });
    let policy = scratch.file("p.json", policy.to_string().as_bytes());
    let outside = Child::new(PYTHON).args(["-I", "-c", CALLS, &folder]).run();
    let inside = Child::new(binary()).clean_path();
    let inside = inside.args(["run", "--policy", &policy, "--quiet", "--", PYTHON]);
    let inside = inside.args(["-I", "-c", CALLS, "/tmp"]).run();
    assert_eq!(outside.status.code(), Some(0), "{outside}");
    assert_eq!(inside.stdout(), outside.stdout(), "{inside}");
    assert!(
        outside
            .stdout()
            .contains("threads: []\nblocked: True\nended by 15"),
        "{outside}"
    );
}
