//! Policies and calls at random, as a seed decides.

use serde_json::{Value, json};

use super::expected::Call;
use crate::support::chance::Chance;

const PATTERNS: [&str; 31] = [
    "hop/k.pem",
    "hop/*.txt",
    "b/dangling",
    "a",
    "a/x.txt",
    "a/k.pem",
    "a/sub",
    "a/sub/y.txt",
    "b",
    "b/x.txt",
    "b/hard",
    "b/new",
    "a/new",
    "d",
    "top.txt",
    "d/deep/new",
    "*/k.pem",
    "**/*.txt",
    "a/*",
    "b/[kx]*",
    "**/sub/**",
    "a/?.txt",
    "**/new*",
    "*",
    "d/**",
    "a/**/y.txt",
    "**/k.pem",
    "b/sock",
    "a/sub/sock",
    "**/sock*",
    "a/l",
];

/// Those of them that a mount can cover whatever is made around them.
const DIRECTORIES: [&str; 5] = ["a", "a/sub", "b", "d", "d/empty"];

/// What those lie in, which is to stay where it is then.
const AROUND: [&str; 2] = ["a", "d"];

/// Those of them that a mount can cover only where nothing is removed or put in their place, and ways to
/// such that lead through links.
const FILES: [&str; 9] = [
    "a/k.pem",
    "a/sub/y.txt",
    "b/x.txt",
    "b/sock",
    "top.txt",
    "a/l",
    "link/x.txt",
    "hop/sub/y.txt",
    "b/dangling",
];

const PATHS: [&str; 31] = [
    "hop/k.pem",
    "b/nowhere",
    "a",
    "b",
    "d",
    "a/x.txt",
    "a/k.pem",
    "a/sub",
    "a/sub/y.txt",
    "b/x.txt",
    "b/k.pem",
    "b/hard",
    "top.txt",
    "link/x.txt",
    "link/k.pem",
    "a/l",
    "a/up/top.txt",
    "b/dangling",
    "a/new",
    "b/new",
    "d/new",
    "new",
    "a/sub/new.txt",
    "d/../b/x.txt",
    "./a//k.pem",
    "missing/x",
    "a/x.txt/y",
    "link",
    "d/empty",
    "b/sock",
    "a/sub/sock",
];

/// Ways to one file, which has two names.
const ONE_FILE: [&str; 4] = ["a/x.txt", "b/hard", "link/x.txt", "a/sub/../x.txt"];

/// What may be removed as a folder, and what may be made.
const FOLDERS: [&str; 6] = ["a/sub", "d/empty", "d/new", "new", "b/new", "d"];
const NEW: [&str; 11] = [
    "b/nowhere",
    "hop/x.txt",
    "a/new",
    "b/new",
    "d/new",
    "new",
    "a/sub/new.txt",
    "d/empty/new",
    "link/new2",
    "d/x.txt",
    "d/sock",
];

/// What may be exchanged for something of another kind.
const KINDS: [&str; 9] = [
    "hop",
    "a/l",
    "link",
    "b/dangling",
    "a/sub",
    "d/empty",
    "b/sock",
    "b/hard",
    "top.txt",
];

/// What may be connected to, by its name and by other ways there.
const SOCKETS: [&str; 5] = [
    "b/sock",
    "a/sub/sock",
    "link/sub/sock",
    "a/up/b/sock",
    "d/sock",
];

/// The calls that there are.
const NAMES: [&str; 16] = [
    "open",
    "truncate",
    "mkdir",
    "rmdir",
    "unlink",
    "rename",
    "link",
    "symlink",
    "fifo",
    "node",
    "bind",
    "connect",
    "chmod",
    "chown",
    "times",
    "attribute",
];

const SETS: [&[&str]; 10] = [
    &["read_file", "read_dir"],
    &["write_file", "write_dir"],
    &["read_file"],
    &["write_file"],
    &["make_reg", "remove_file"],
    &[
        "read_file",
        "write_file",
        "make_reg",
        "make_dir",
        "remove_file",
        "remove_dir",
        "make_sym",
        "make_fifo",
    ],
    &["read_dir", "make_dir"],
    &["read_file", "read_dir", "write_file", "write_dir"],
    // What Landlock alone keeps from being written, in a folder that may be changed.
    &[
        "read_file",
        "read_dir",
        "make_reg",
        "make_fifo",
        "remove_file",
    ],
    &[
        "read_file",
        "read_dir",
        "write_file",
        "make_dir",
        "make_sym",
        "remove_dir",
    ],
];

/// What is taken away where nothing else is.
const ONE: [&str; 7] = [
    "read_file",
    "read_dir",
    "write_file",
    "remove_file",
    "remove_dir",
    "make_reg",
    "make_sym",
];

/// A policy about the tree below `root`.
pub fn policy(chance: &mut Chance, root: &str) -> Value {
    let rules = match chance.next() % 8 {
        0 => one_name(chance, root),
        1 | 2 => one_less(chance, root),
        _ => several(chance, root),
    };
    json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
        "fs": {"rules": rules},
        "audit": {"enabled": true}
    })
}

/// Rules that allow everything but for one permission somewhere: all others are the kernel's.
fn one_less(chance: &mut Chance, root: &str) -> Vec<Value> {
    let pattern = match chance.one_in(3) {
        true => *chance.of(&FILES),
        false => *chance.of(&PATTERNS),
    };
    let perms = [*chance.of(&ONE)];
    vec![
        json!({"action": "allow", "path": root, "perms": SETS[7]}),
        json!({"action": "deny", "path": format!("{root}/{pattern}"), "perms": perms}),
    ]
}

/// Rules that allow everything but for what one of the two names of a file is kept from.
fn one_name(chance: &mut Chance, root: &str) -> Vec<Value> {
    let pattern = *chance.of(&["a/x.txt", "b/hard", "**/x.txt", "b/h*"]);
    let action = *chance.of(&["deny", "deny", "warn", "ask"]);
    let perms = *chance.of(&[SETS[2], SETS[2], SETS[3], SETS[4]]);
    vec![
        json!({"action": "allow", "path": root, "perms": SETS[7]}),
        json!({"action": action, "path": format!("{root}/{pattern}"), "perms": perms}),
    ]
}

fn several(chance: &mut Chance, root: &str) -> Vec<Value> {
    let base = *chance.of(&[SETS[7], SETS[7], SETS[5], SETS[0], SETS[8], SETS[9]]);
    // What mounts alone can carry, and they are how it is carried.
    let plain = chance.one_in(2);
    let action = match plain {
        true => "allow",
        false => *chance.of(&["allow", "allow", "warn", "warn", "ask"]),
    };
    let mut rules = vec![json!({"action": action, "path": root, "perms": base})];
    for _ in 0..chance.next() % 5 {
        let (action, pattern) = match plain {
            true if chance.one_in(4) => ("deny", *chance.of(&FILES)),
            true => ("deny", *chance.of(&DIRECTORIES)),
            false => (
                *chance.of(&["deny", "deny", "deny", "warn", "ask", "allow"]),
                *chance.of(&PATTERNS),
            ),
        };
        let path = format!("{root}/{pattern}");
        let mut rule = json!({"action": action, "path": path});
        let odds = if plain { 3 } else { 2 };
        if action == "allow" || chance.one_in(odds) {
            rule["perms"] = json!(chance.of(&SETS));
        }
        rules.push(rule);
    }
    rules
}

/// A call.
pub fn call(chance: &mut Chance) -> Call {
    let name = *chance.of(&NAMES);
    let path = match (name, chance.one_in(3)) {
        ("rmdir", false) => *chance.of(&FOLDERS),
        ("mkdir" | "symlink" | "fifo" | "node" | "bind", false) => *chance.of(&NEW),
        ("connect", false) => *chance.of(&SOCKETS),
        ("rename", true) => *chance.of(&AROUND),
        ("open", true) => *chance.of(&ONE_FILE),
        _ => *chance.of(&PATHS),
    };
    let flags = match name {
        "open" if chance.one_in(3) => libc::O_RDONLY,
        "open" => {
            let modes = [libc::O_RDONLY, libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR];
            let more = [
                0,
                0,
                libc::O_CREAT,
                libc::O_CREAT | libc::O_EXCL,
                libc::O_TRUNC,
                libc::O_CREAT | libc::O_TRUNC,
                libc::O_NOFOLLOW,
                libc::O_APPEND,
                libc::O_TMPFILE,
            ];
            *chance.of(&modes) | *chance.of(&more)
        }
        "rename" => *chance.of(&[0, 0, libc::RENAME_EXCHANGE, libc::RENAME_NOREPLACE]) as i32,
        "link" => *chance.of(&[0, libc::AT_SYMLINK_FOLLOW]),
        "chmod" | "chown" | "times" | "attribute" => *chance.of(&[0, 0, libc::AT_SYMLINK_NOFOLLOW]),
        _ => 0,
    };
    let to = match (name, chance.one_in(3)) {
        ("rename", false) if flags == libc::RENAME_EXCHANGE as i32 => *chance.of(&KINDS),
        ("link" | "rename", false) => *chance.of(&NEW),
        _ => *chance.of(&PATHS),
    };
    Call {
        name,
        path: path.to_owned(),
        to: to.to_owned(),
        flags,
        mode: *chance.of(&[0o600, 0o644, 0o755, 0o700]),
        how: (chance.next() % 5) as u8,
    }
}
