use std::path::PathBuf;

use super::*;
use crate::audit::{Answer, EventLog, full_log};
use crate::policy::{Layer, Policy, RuleRef, Vars, Verdict};
use crate::supervisor::remark::Remark;

const POLICY: &str = r#"{
  "version": 1,
  "defaults": { "fs": "deny", "net": "deny", "exec": "deny" },
  "fs": { "rules": [
    { "action": "allow", "path": "/data" },
    { "action": "warn", "path": "/data/warned" },
    { "action": "ask", "path": "/data/asked" }
  ] },
  "exec": { "rules": [{ "action": "warn", "path": "/bin/true" }] }
}"#;

fn policy(text: &str) -> Policy {
    let vars = Vars::of(PathBuf::from("/"), None);
    let layer = Layer::parse(text.as_bytes(), "p.json", &vars).unwrap();
    Policy::merge(vec![layer], Vec::new()).unwrap()
}

fn gate(text: &str, log: Option<EventLog>) -> Gate {
    Gate::new(policy(text), log, false)
}

fn fs(path: &[u8], perm: Perm) -> Question {
    let path = path.to_vec();
    Question {
        number: 7,
        pid: 3,
        asked: Asked::Fs { path, perm },
    }
}

fn answer(gate: &mut Gate, question: &Question) -> (Answer, Option<Remark>) {
    match gate.question(question).unwrap() {
        Course::Ruled(ruling) => (ruling.answer, ruling.remark),
        Course::Ask(held) => panic!("{held:?}"),
    }
}

fn held(gate: &mut Gate, path: &str) -> Held {
    match gate.question(&fs(path.as_bytes(), Perm::ReadFile)).unwrap() {
        Course::Ask(held) => *held,
        Course::Ruled(ruling) => panic!("{:?}", ruling.answer),
    }
}

#[test]
fn the_policy_decides_and_not_what_init_makes_of_it() {
    let mut gate = gate(POLICY, None);
    for (path, perm, expected) in [
        ("/data/x", Perm::WriteFile, Answer::Allowed),
        ("/data/warned/x", Perm::MakeReg, Answer::Allowed),
        ("/data/x/../asked", Perm::ReadFile, Answer::Denied),
        ("/data/../etc/shadow", Perm::ReadFile, Answer::Denied),
        ("/database", Perm::ReadFile, Answer::Denied),
        ("data/x", Perm::ReadFile, Answer::Denied),
        ("", Perm::ReadFile, Answer::Denied),
    ] {
        let (answer, _) = answer(&mut gate, &fs(path.as_bytes(), perm));
        assert_eq!(answer, expected, "{path}");
    }
    for (asked, expected) in [
        (
            Asked::Change {
                path: b"/data/x".to_vec(),
            },
            Answer::Allowed,
        ),
        (
            Asked::Change {
                path: b"/etc/x".to_vec(),
            },
            Answer::Denied,
        ),
        (
            Asked::Exec {
                path: b"/bin/true".to_vec(),
                sha256: None,
            },
            Answer::Allowed,
        ),
        (
            Asked::Exec {
                path: b"/bin/false".to_vec(),
                sha256: None,
            },
            Answer::Denied,
        ),
    ] {
        let question = Question {
            number: 1,
            pid: 1,
            asked,
        };
        assert_eq!(answer(&mut gate, &question).0, expected, "{question:?}");
    }
}

#[test]
fn a_warning_is_said_once_and_counted_each_time() {
    let mut gate = gate(POLICY, None);
    for turn in 0..3 {
        let (_, remark) = answer(&mut gate, &fs(b"/data/warned/a", Perm::WriteFile));
        assert_eq!(remark.is_some(), turn == 0);
    }
    for number in 0..30 {
        let path = format!("/data/warned/{number}");
        answer(&mut gate, &fs(path.as_bytes(), Perm::WriteFile));
        answer(
            &mut gate,
            &fs(format!("/etc/{number}").as_bytes(), Perm::ReadFile),
        );
    }
    let unsaid: Vec<_> = gate.unsaid().collect();
    assert!(
        matches!(
            unsaid[..],
            [
                Remark::MoreDenied { count: 10 },
                Remark::MoreWarned { count: 11 }
            ]
        ),
        "{unsaid:?}"
    );
    let counted = gate.counted();
    let warned = counted
        .iter()
        .find(|counted| counted.verdict == Verdict::Warn);
    assert_eq!(warned.unwrap().count, 33);
}

#[test]
fn an_answer_is_recorded_counted_and_said_where_it_is_a_no() {
    let mut gate = gate(POLICY, None);
    let asked = held(&mut gate, "/data/asked/x");
    assert_eq!(asked.wish.path(), Some(Path::new("/data/asked/x")));
    let allowed = gate.allow(&asked, 1).unwrap();
    assert!(allowed.answer == Answer::Allowed && allowed.remark.is_none());
    let asked = held(&mut gate, "/data/asked/x");
    let denied = gate
        .refuse(&asked, Some(2), Some("nobody came".to_owned()))
        .unwrap();
    assert!(denied.answer == Answer::Denied && denied.reason.contains("nobody came"));
    assert!(matches!(
        denied.remark,
        Some(Remark::Decided {
            verdict: Verdict::Ask,
            ..
        })
    ));
    let summary = gate.summary();
    assert!(
        matches!(
            summary[..],
            [Remark::Counted {
                verdict: Verdict::Ask,
                allowed: 1,
                denied: 1,
                ..
            }]
        ),
        "{summary:?}"
    );
}

#[test]
fn a_denial_kills_where_the_policy_says_so() {
    let kill = POLICY.replacen('{', r#"{ "onViolation": "kill","#, 1);
    let mut gate = gate(&kill, None);
    let (killed, remark) = answer(&mut gate, &fs(b"/etc/x", Perm::ReadFile));
    assert!(killed == Answer::Killed && remark.is_some());
    assert_eq!(
        answer(&mut gate, &fs(b"/data/x", Perm::ReadFile)).0,
        Answer::Allowed
    );
}

#[test]
fn what_cannot_be_recorded_is_no_answer() {
    let mut gate = gate(POLICY, Some(full_log()));
    assert!(gate.question(&fs(b"/data/x", Perm::ReadFile)).is_err());
    assert!(gate.question(&fs(b"/data/warned", Perm::ReadFile)).is_err());
}

#[test]
fn the_answer_is_recorded_with_rule_process_and_permission() {
    let path = std::env::temp_dir().join(format!("asked-by-the-kernel-{}", std::process::id()));
    let log = EventLog::open(&path, "s").unwrap();
    let mut gate = gate(POLICY, Some(log));
    answer(&mut gate, &fs(b"/data/warned/\x1b[2J\n\xff", Perm::MakeReg));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["target"], "/data/warned/\\u{1b}[2J\\u{a}\\xff");
    assert_eq!(line["origin"], "interceptor");
    assert_eq!(line["operation"], "write");
    assert_eq!(line["perm"], "make_reg");
    assert_eq!(line["answer"], "allowed");
    assert_eq!(
        (&line["pid"], &line["rule"]["line"]),
        (&3.into(), &6.into())
    );
    let rule = gate.counted().remove(0).rule;
    assert_eq!(RuleRef::location(&rule), "p.json:6");
}
