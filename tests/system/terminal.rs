//! A shell in the sandbox, in a real terminal: window size, Ctrl-C, job control, Ctrl-D. The
//! person at the terminal is a Python program that types and reads.

use std::time::Duration;

use crate::support::{Child, PYTHON, Scratch, alone, is_root};

const TYPIST: &str = concat!(
    include_str!("terminal/person.py"),
    include_str!("terminal/typist.py")
);
const ASKED: &str = concat!(
    include_str!("terminal/person.py"),
    include_str!("terminal/questions.py"),
    include_str!("terminal/asked.py")
);
const MOVED: &str = concat!(
    include_str!("terminal/person.py"),
    include_str!("terminal/questions.py"),
    include_str!("terminal/moved.py")
);

#[test]
fn bash_is_usable_as_root() {
    let _alone = alone();
    if is_root("bash_is_usable_as_root") {
        let scratch = Scratch::new();
        let typist = Child::new(PYTHON).args(["-I", "-c", TYPIST, &scratch.binary()]);
        typist
            .clean_path()
            .deadline(Duration::from_secs(180))
            .run()
            .prints("all seen\n");
    }
}

#[test]
fn bash_is_usable_as_an_ordinary_user() {
    let _alone = alone();
    if is_root("bash_is_usable_as_an_ordinary_user") {
        let scratch = Scratch::new();
        let typist = Child::new(PYTHON).args(["-I", "-c", TYPIST, &scratch.binary()]);
        let typist = typist.clean_path().of_user(&scratch.home());
        typist
            .deadline(Duration::from_secs(180))
            .run()
            .prints("all seen\n");
    }
}

/// A policy that asks about one folder.
fn asking(scratch: &Scratch, timeout: &str) -> Vec<u8> {
    let folder = scratch.path().to_str().expect("text");
    let policy = serde_json::json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": "deny", "exec": "deny" },
        "fs": { "rules": [
            { "action": "allow", "path": folder },
            { "action": "ask", "path": format!("{folder}/asked") },
        ] },
        "approval": { "timeout": timeout },
    });
    policy.to_string().into_bytes()
}

#[test]
fn a_person_at_the_terminal_is_asked() {
    let _alone = alone();
    if is_root("a_person_at_the_terminal_is_asked") {
        let scratch = Scratch::new();
        for (name, content) in [("a", "A"), ("b", "B"), ("folder/c", "C"), ("folders", "D")] {
            scratch.file(&format!("asked/{name}"), content.as_bytes());
        }
        scratch.file("ask.json", &asking(&scratch, "60s"));
        scratch.file("short.json", &asking(&scratch, "1s"));
        let folder = scratch.path().to_str().expect("text");
        let person = Child::new(PYTHON).args(["-I", "-c", ASKED, &scratch.binary(), folder]);
        let person = person.clean_path().deadline(Duration::from_secs(300));
        person.run().prints("all asked\n");
    }
}

#[test]
fn a_person_is_asked_about_what_moves() {
    let _alone = alone();
    if is_root("a_person_is_asked_about_what_moves") {
        let scratch = Scratch::new();
        let folder = scratch.path().to_str().expect("text");
        for (name, content) in [
            ("w/keys/host.key", "SECRET"),
            ("w/log/x", ""),
            ("asked/pub/a", "PUBLIC"),
            ("asked/private/s", "SECRET"),
            ("harmless", "#!/bin/sh\necho harmless ran\n"),
            ("tools/s.sh", "#!/bin/sh\necho it ran\n"),
        ] {
            scratch.file(name, content.as_bytes());
        }
        let script = serde_json::json!({
            "version": 1,
            "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
            "fs": { "rules": [{ "action": "allow", "path": folder }] },
            "exec": { "rules": [{ "action": "ask", "path": format!("{folder}/tools/s.sh") }] },
        });
        scratch.file("script.json", script.to_string().as_bytes());
        for (name, program) in [("good", "/usr/bin/echo"), ("evil", "/usr/bin/printf")] {
            let program = std::fs::read(program).expect("it is there");
            scratch.file(&format!("programs/{name}"), &program);
        }
        let programs = serde_json::json!({
            "version": 1,
            "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
            "fs": { "rules": [{ "action": "allow", "path": folder }] },
            "exec": { "rules": [{ "action": "ask", "path": format!("{folder}/programs") }] },
        });
        scratch.file("programs.json", programs.to_string().as_bytes());
        let policy = |more: serde_json::Value| {
            let mut rules = vec![serde_json::json!({ "action": "allow", "path": folder })];
            rules.extend(more.as_array().expect("rules").iter().cloned());
            let policy = serde_json::json!({
                "version": 1,
                "defaults": { "fs": "deny", "net": "deny", "exec": "deny" },
                "fs": { "rules": rules },
            });
            policy.to_string().into_bytes()
        };
        let held = serde_json::json!([
            { "action": "deny", "path": format!("{folder}/w/keys"), "perms": ["read_file"] },
            { "action": "ask", "path": format!("{folder}/w/log"), "perms": ["make_reg"] },
        ]);
        let reading = serde_json::json!([
            { "action": "ask", "path": format!("{folder}/asked"), "perms": ["read_file"] },
        ]);
        scratch.file("held.json", &policy(held));
        scratch.file("reading.json", &policy(reading));
        let mut files = script;
        files["exec"] = serde_json::json!({ "rules": [] });
        let asked = format!("{folder}/programs");
        let ask = serde_json::json!({ "action": "ask", "path": asked, "perms": ["execute"] });
        files["fs"]["rules"] = serde_json::json!([{ "action": "allow", "path": folder }, ask]);
        scratch.file("files.json", files.to_string().as_bytes());
        let person = Child::new(PYTHON).args(["-I", "-c", MOVED, &scratch.binary(), folder]);
        let person = person.clean_path().deadline(Duration::from_secs(300));
        person.run().prints("all asked\n");
    }
}
