//! `buntime doctor`: what it says of a host is so. Hosts that lack something are made by a filter that
//! refuses one system call, by a sysctl, and by being an ordinary user.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bare::within;
use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, PYTHON, Scratch, USER, alone, buntime, is_root};

const WITHOUT: &str = include_str!("doctor/without.py");

/// What a doctor said.
struct Said(Value);

impl Said {
    fn of(child: Child, enforced: bool) -> Said {
        let done = child.run().expect(i32::from(!enforced));
        let said: Value = serde_json::from_str(&done.stdout()).expect("the answer is JSON");
        assert_eq!(said["default_policy"]["enforced"], enforced, "{said:#}");
        Said(said)
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.0["findings"].as_array().expect("a list").iter()
    }

    /// The state of every mechanism, by area and name.
    fn states(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        self.findings()
            .map(|one| {
                let name = format!("{}: {}", text(&one["area"]), text(&one["name"]));
                (name, text(&one["state"]))
            })
            .collect()
    }

    fn about(&self, name: &str) -> &Value {
        self.findings()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in {:#}", self.0))
    }
}

/// The doctor, as root of this host.
fn doctor() -> Child {
    buntime(["doctor", "--json"])
}

#[test]
fn this_host_is_as_the_other_tests_find_it() {
    let _alone = alone();
    if !is_root("this_host_is_as_the_other_tests_find_it") {
        return;
    }
    let before = Leftovers::now();
    let said = Said::of(doctor(), true);
    before.none_new(PATIENCE);
    let states = said.states();
    assert!(states.len() > 40, "{states:?}");
    let unknown: Vec<_> = states
        .iter()
        .filter(|(_, state)| *state == "unknown")
        .collect();
    assert!(unknown.is_empty(), "{:#}", said.0);
    // What the rest of this suite uses.
    for name in [
        "user namespace",
        "mount namespace",
        "filter",
        "memory controller",
        "pidfd",
    ] {
        assert_eq!(said.about(name)["state"], "available", "{name}");
    }
    // The kernel's own number is another way to know which rights there are.
    let rights = |abi: u32| match abi {
        0 => 0,
        1 => 13,
        2 => 14,
        3 => 15,
        4 => 17,
        5 => 18,
        6..=8 => 20,
        _ => 21,
    };
    let available = states
        .iter()
        .filter(|(name, state)| name.starts_with("landlock: ") && *state == "available");
    assert_eq!(
        available.count(),
        rights(buntime::launch::landlock_abi()),
        "{states:#?}"
    );
    let missing = said.findings().filter(|one| one["state"] == "missing");
    for one in missing {
        assert!(
            one["why"].is_string() && one["change"].is_string(),
            "{one:#}"
        );
    }
}

#[test]
fn the_table_has_colours_on_a_terminal_alone() {
    let _alone = alone();
    if !is_root("the_table_has_colours_on_a_terminal_alone") {
        return;
    }
    let plain = buntime(["doctor"]).run().expect(0).stdout();
    assert!(plain.contains("\n  available  user namespace"), "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let scratch = Scratch::new();
    let shown = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let terminal = Child::new(PYTHON)
        .args(["-I", "-c", shown, &scratch.binary(), "doctor", "--missing"])
        .clean_path();
    let coloured = terminal.run().expect(0).stdout();
    assert!(coloured.contains("\u{1b}[32menforced"), "{coloured}");
    assert!(!coloured.contains("available"), "{coloured}");
}

/// A system call that is refused, and the mechanisms that go with it, by area and name or its start.
const LACKS: &[(&str, &str, &[&str])] = &[
    (
        "1",
        "272",
        &[
            "namespaces:",
            "mounts: mask",
            "mounts: read-only",
            "mounts: new tmpfs",
            "network:",
            "memory files: vm",
        ],
    ),
    ("38", "444", &["landlock:"]),
    ("1", "446", &["landlock:"]),
    ("1", "317", &["seccomp:"]),
    (
        "1",
        "428",
        &["mounts: mask", "mounts: read-only", "mounts: idmapped"],
    ),
    ("1", "429", &["mounts: mask", "mounts: read-only"]),
    ("38", "442", &["mounts: read-only", "mounts: idmapped"]),
    ("1", "430", &["mounts: new tmpfs"]),
    ("1", "319", &["memory files:"]),
    (
        "38",
        "434",
        &[
            "processes: pidfd",
            "processes: a descriptor",
            "processes: how",
        ],
    ),
    ("1", "438", &["processes: a descriptor"]),
    ("1", "101", &["processes: tracing"]),
    ("1", "310", &["processes: reading"]),
    // ioctl: NOTIF_RECV, NOTIF_ADDFD, NOTIF_SET_FLAGS, PIDFD_GET_INFO.
    (
        "1",
        "16:1=0xc0502100",
        &[
            "seccomp: user",
            "seccomp: a desc",
            "seccomp: undist",
            "seccomp: wake",
        ],
    ),
    ("22", "16:1=0x40182103", &["seccomp: a descriptor"]),
    ("22", "16:1=0x40082104", &["seccomp: wake"]),
    ("25", "16:1=0xc040ff0b", &["processes: how"]),
    // setsockopt with SO_PASSRIGHTS; socket with AF_NETLINK; prctl with PR_SET_NO_NEW_PRIVS.
    ("92", "54:2=83", &["processes: sockets"]),
    ("97", "41:0=16", &["network:"]),
    ("1", "157:0=38", &["landlock:", "seccomp:"]),
    // Whoever makes the call is killed.
    ("kill", "101", &["processes: tracing"]),
    ("kill", "444", &["landlock:"]),
    ("kill", "310", &["processes: reading"]),
];

#[test]
#[cfg(target_arch = "x86_64")]
fn what_a_filter_takes_away_is_missing() {
    let _alone = alone();
    if !is_root("what_a_filter_takes_away_is_missing") {
        return;
    }
    let scratch = Scratch::new();
    let binary = scratch.binary();
    let without = scratch.file("without.py", WITHOUT.as_bytes());
    let said = |answer: &str, calls: &str| {
        let child = Child::new(PYTHON)
            .args(["-I", &without, answer, calls, &binary, "doctor", "--json"])
            .clean_path();
        let done = child.run();
        Said(serde_json::from_str(&done.stdout()).unwrap_or_else(|_| panic!("{done}")))
    };
    let whole = said("1", "").states();
    let before = Leftovers::now();
    for (answer, calls, expected) in LACKS {
        let lacking = said(answer, calls);
        let mut wrong = Vec::new();
        let mut gone = 0;
        for (name, state) in lacking.states() {
            let lacks = expected.iter().any(|start| name.starts_with(start));
            gone += usize::from(lacks);
            let right = match lacks {
                true => state == "missing",
                // A trial may need the call for itself: it says so then, and never yes.
                false => state == whole[&name] || state == "unknown",
            };
            if !right {
                wrong.push(format!("{name} is {state}"));
            }
        }
        assert!(gone >= expected.len(), "{expected:?} names nothing");
        assert!(
            wrong.is_empty(),
            "without {calls}: {wrong:?} in {:#}",
            lacking.0
        );
        let words = lacking.findings().filter(|one| one["state"] == "missing");
        for one in words {
            assert!(
                one["change"].is_string() && one["why"].is_string(),
                "{one:#}"
            );
        }
    }
    // What the trials themselves stand on: nothing is available then that was not tried.
    let blind = said("1", "290");
    let filter = blind.about("filter");
    assert_eq!(filter["state"], "unknown", "{filter:#}");
    assert!(
        filter["why"]
            .as_str()
            .is_some_and(|why| why.contains("EPERM")),
        "{filter:#}"
    );
    let blind = said("1", "56,57,58").states();
    let known: Vec<_> = blind
        .iter()
        .filter(|(_, state)| *state != "unknown")
        .collect();
    assert!(known.is_empty(), "{known:?}");
    before.none_new(PATIENCE);
}

#[test]
fn a_host_that_forbids_namespaces_is_told_how_to_permit_them() {
    let _alone = alone();
    if !is_root("a_host_that_forbids_namespaces_is_told_how_to_permit_them") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    for (way, errno, change) in [
        ("sysctl", "ENOSPC", "sysctl -w user.max_user_namespaces"),
        (
            "filter",
            "EPERM",
            "let the system call filter around this process permit unshare",
        ),
    ] {
        let child = Child::new(PYTHON)
            .args(&within(&scratch, way, USER)[1..])
            .args([&scratch.binary(), "doctor", "--json"])
            .clean_path()
            .env("HOME", &home)
            .current_dir(&home);
        let said = Said::of(child, false);
        let user = said.about("user namespace");
        assert_eq!(user["state"], "missing", "{user:#}");
        let text = |key: &str| user[key].as_str().expect("a text").to_owned();
        assert!(text("why").contains(errno), "{user:#}");
        assert!(text("change").contains(change), "{user:#}");
        assert_eq!(said.about("execute")["state"], "available");
        assert_eq!(said.about("filter")["state"], "available");
        let less = said.0["default_policy"]["less"].to_string();
        assert!(less.contains("\"namespaces\""), "{less}");
    }
}

#[test]
fn an_ordinary_user_is_told_what_only_root_has() {
    let _alone = alone();
    if !is_root("an_ordinary_user_is_told_what_only_root_has") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let child = Child::new(scratch.binary())
        .args(["doctor", "--json"])
        .of_user(&home)
        .clean_path();
    let said = Said::of(child, false);
    for (name, state) in [
        ("user namespace", "available"),
        ("mask over a path (open_tree, move_mount)", "available"),
        ("make_block", "available"),
        ("memory controller", "missing"),
        ("idmapped mount", "missing"),
    ] {
        assert_eq!(said.about(name)["state"], state, "{:#}", said.0);
    }
    let change = said.about("memory controller")["change"].to_string();
    assert!(change.contains("Delegate=yes"), "{change}");
}
