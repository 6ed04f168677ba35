//! What has to hold before a program may start: `--require`, by flag and by the configuration files.

use serde_json::Value;

use crate::bare::within;
use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, PYTHON, Scratch, USER, alone, buntime, is_root};

/// A run as an ordinary user, who has no control group here.
fn ordinary(scratch: &Scratch) -> Child {
    Child::new(scratch.binary())
        .of_user(&scratch.home())
        .clean_path()
}

#[test]
fn what_is_less_than_required_refuses_the_start_by_name() {
    let _alone = alone();
    if !is_root("what_is_less_than_required_refuses_the_start_by_name") {
        return;
    }
    let code = "print('ran')";
    let whole = buntime(["run", "--require", "full", "-c", code]);
    whole.run().prints("ran\n");
    let scratch = Scratch::new();
    let report = format!("{}/report.json", scratch.home());
    let events = format!("{}/events.jsonl", scratch.home());
    let before = Leftovers::now();
    let records = ["--report", &report, "--events", &events];
    let asked = ["run", "--require", "full", "-c", code];
    let child = ordinary(&scratch).args(&asked[..3]).args(records);
    let done = child.args(&asked[3..]).run().expect(125);
    assert_eq!(done.stdout(), "");
    let said = done.stderr();
    assert!(said.contains("--require full asks for"), "{said}");
    assert!(said.contains("memory limit: partial"), "{said}");
    assert!(!said.contains("landlock"), "{said}");
    let text = std::fs::read(&report).expect("the report is there");
    let found: Value = serde_json::from_slice(&text).expect("the report is JSON");
    assert_eq!(found["started"], false, "{found:#}");
    let log = std::fs::read_to_string(&events).expect("the log is there");
    assert!(log.contains("memory limit: partial"), "{log}");
    before.none_new(PATIENCE);
    for level in ["policy", "namespaces"] {
        let child = ordinary(&scratch).args(["run", "--require", level, "-c", code]);
        child.run().prints("ran\n");
    }
}

#[test]
fn required_namespaces_are_never_done_without() {
    let _alone = alone();
    if !is_root("required_namespaces_are_never_done_without") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    for way in ["sysctl", "filter"] {
        for (level, runs) in [("policy", true), ("namespaces", false), ("full", false)] {
            let done = Child::new(PYTHON)
                .args(&within(&scratch, way, USER)[1..])
                .args([
                    &scratch.binary(),
                    "run",
                    "--require",
                    level,
                    "-c",
                    "print(1)",
                ])
                .clean_path()
                .env("HOME", &home)
                .current_dir(&home)
                .run();
            match runs {
                true => drop(done.prints("1\n")),
                false => {
                    let done = done.expect(125);
                    assert_eq!(done.stdout(), "", "{done}");
                    assert!(done.stderr().contains("namespaces: none"), "{done}");
                }
            }
        }
    }
}

#[test]
fn a_project_raises_what_is_required_and_never_lowers_it() {
    let _alone = alone();
    if !is_root("a_project_raises_what_is_required_and_never_lowers_it") {
        return;
    }
    let scratch = Scratch::new();
    let project = format!("{}/.buntime.json", scratch.home());
    for (level, flag, runs) in [
        ("full", "policy", false),
        ("policy", "full", false),
        ("policy", "namespaces", true),
    ] {
        std::fs::write(&project, format!("{{\"require\": {level:?}}}")).expect("a file");
        let child = ordinary(&scratch).args(["run", "--require", flag, "-c", "print(1)"]);
        let done = child.run();
        match runs {
            true => drop(done.prints("1\n")),
            false => assert!(done.expect(125).stderr().contains("--require full")),
        }
    }
}

/// What a host cannot carry exactly is carried more strictly and said, and never more widely.
#[test]
fn a_degraded_start_denies_more_and_says_what() {
    let _alone = alone();
    if !is_root("a_degraded_start_denies_more_and_says_what") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    for name in ["data/a.txt", "data/keys/b.key"] {
        scratch.file(&format!("home/{name}"), b"content");
    }
    let policy = format!(
        "{{\"version\": 1, \"fs\": {{\"rules\": [
            {{\"action\": \"allow\", \"path\": \"{home}/data\", \"perms\": [\"read_file\", \"read_dir\"]}},
            {{\"action\": \"deny\", \"path\": \"{home}/data/keys\"}}]}},
          \"net\": {{\"rules\": [{{\"action\": \"deny\", \"cidr\": \"127.0.0.0/8\"}}]}},
          \"limits\": {{\"cpus\": 1}}}}"
    );
    let policy = scratch.file("policy.json", policy.as_bytes());
    let report = format!("{home}/report.json");
    let events = format!("{home}/events.jsonl");
    let code = format!(
        "for name in 'a.txt', 'keys/b.key':
    try: print(open('{home}/data/' + name).read())
    except OSError: print('denied')"
    );
    let plain = ["run", "--policy", &policy];
    let refused = ordinary(&scratch).args(plain).args(["-c", &code]).run();
    let refused = refused.expect(125);
    assert_eq!(refused.stdout(), "");
    let done = ordinary(&scratch)
        .args(plain)
        .args([
            "--allow-degraded",
            "--quiet",
            "--report",
            &report,
            "--events",
            &events,
        ])
        .args(["-c", &code])
        .run()
        .prints("content\ndenied\n");
    let said = done.stderr();
    let text = std::fs::read_to_string(&report).expect("the report is there");
    let log = std::fs::read_to_string(&events).expect("the log is there");
    for (place, words) in [("stderr", &said), ("report", &text), ("log", &log)] {
        for expected in [
            "net[0] of",
            "every connection is denied, loopback too",
            "cpus limit",
            "not enforced",
        ] {
            assert!(
                words.contains(expected),
                "{expected} is not in {place}: {words}"
            );
        }
    }
    let both = ["--allow-degraded", "--require", "policy", "-c", "pass"];
    let both = ordinary(&scratch).arg("run").args(both).run().expect(125);
    assert!(both.stderr().contains("--require"), "{both}");
    let project = format!("{home}/.buntime.json");
    std::fs::write(&project, "{\"require\": \"policy\"}").expect("a file");
    let over = ["run", "--allow-degraded", "-c", "pass"];
    let over = ordinary(&scratch).args(over).run().expect(125);
    assert!(over.stderr().contains("--allow-degraded"), "{over}");
}
