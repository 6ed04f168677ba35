//! Programs that people use, with the network that a policy gives them.

use serde_json::{Value, json};

use super::{Seen, interface, on_host, policy};
use crate::support::{Child, PYTHON, Scratch, alone, is_root};

const PLANTED: &str = include_str!("tools/planted.py");
const ALLOWED: &str = include_str!("tools/allowed.sh");
const DENIED: &str = include_str!("tools/denied.sh");

/// From npm, by hack/test.
pub const BUN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/bun/node_modules/@oven/bun-linux-x64/bin"
);

/// What leaves out the proxy that the environment names.
pub const WITHOUT_PROXY: [&str; 9] = [
    "env",
    "--unset=http_proxy",
    "--unset=https_proxy",
    "--unset=all_proxy",
    "--unset=HTTP_PROXY",
    "--unset=HTTPS_PROXY",
    "--unset=ALL_PROXY",
    "--unset=no_proxy",
    "--unset=NO_PROXY",
];

/// What programs say of a name that nobody resolves, of a connection that is reset, and of 400 and 403.
const WHY: [&str; 11] = [
    "couldn't connect",
    "could not resolve",
    "name or service not known",
    "temporary failure in name resolution",
    "enotfound",
    "eai_again",
    "reset",
    "403",
    "400",
    "not permitted",
    "unable to connect",
];

/// A host with what package managers, git and browsers ask for beyond it.
fn planted() -> Scratch {
    let scratch = Scratch::new();
    let folder = scratch.entry("");
    let planting = Child::new(PYTHON).args(["-I", "-c", PLANTED, folder.trim_end_matches('/')]);
    planting.clean_path().run().prints("");
    scratch
}

/// Has a policy show Bun.
pub fn show_bun(policy: &mut Value) {
    let perms = json!(["read_file", "read_dir", "execute"]);
    policy["fs"] = json!({ "rules": [{ "action": "allow", "path": BUN, "perms": perms }] });
}

/// Runs a script on the host, or in a sandbox there.
fn said(sandboxed: bool, ways: &[&str], script: &str) -> Seen {
    let scratch = planted();
    let mut policy = policy(
        "deny",
        &json!([
            { "action": "allow", "host": "allowed.example" },
            { "action": "allow", "host": "six.example" },
        ]),
    );
    show_bun(&mut policy);
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    let (buntime, bun) = (scratch.binary(), format!("{BUN}/bun"));
    let sandbox = [&buntime, "run", "--policy", &policy, "--quiet"];
    let sandbox = match sandboxed {
        true => [&sandbox[..], interface(), &["--"]].concat(),
        false => Vec::new(),
    };
    let words = [&sandbox[..], ways, &["sh", "-c", script, "sh", &bun]].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let seen = on_host(&scratch, &words);
    assert_eq!(seen.done.status.code(), Some(0), "{}", seen.done);
    seen
}

/// What the policy allows is the same inside as outside, whether a program asks the proxy or not.
#[test]
fn programs_get_and_send_the_same() {
    let _alone = alone();
    if !is_root("programs_get_and_send_the_same") {
        return;
    }
    let outside = said(false, &[], ALLOWED).done.stdout();
    for ways in [&WITHOUT_PROXY[..], &[]] {
        let inside = said(true, ways, ALLOWED);
        assert_eq!(inside.done.stdout(), outside, "{ways:?}: {}", inside.done);
    }
    eprint!("{outside}");
}

/// What it denies fails soon, and says why.
#[test]
fn programs_say_what_is_denied() {
    let _alone = alone();
    if !is_root("programs_say_what_is_denied") {
        return;
    }
    for ways in [&WITHOUT_PROXY[..], &[]] {
        let seen = said(true, ways, DENIED);
        let told = seen.done.stdout();
        let mut unexplained = Vec::new();
        assert_eq!(told.lines().count(), 13, "{}", seen.done);
        for line in told.lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            let [name, code, seconds, why] = parts[..] else {
                panic!("{line}")
            };
            assert_ne!(code, "0", "{ways:?}: {name}: {why}");
            let seconds: u32 = seconds.parse().expect("a number");
            assert!(seconds < 10, "{ways:?}: {line}");
            let why = why.to_lowercase();
            eprintln!("{line}");
            unexplained
                .extend((!WHY.iter().any(|one| why.contains(one))).then_some(name.to_owned()));
        }
        assert!(unexplained.is_empty(), "{ways:?}: {unexplained:?}");
        let denied = |arrived: &&String| arrived.contains("denied") || arrived.contains("0.81");
        assert_eq!(seen.arrived.iter().find(denied), None);
    }
}
