use std::path::Path;

use super::*;
use crate::policy::{EntryKind, Perm, Policy, Request, Vars, World};

fn layer(text: &str) -> Layer {
    let vars = Vars::of("/w".into(), Some("/home/user".into()));
    Layer::parse(text.as_bytes(), "test.json", &vars).expect("a policy")
}

fn refusal(rule: &RuleRef) -> Refused {
    Refused {
        rules: vec![crate::policy::Refusal {
            rule: rule.clone(),
            missing: "something".to_owned(),
            change: "nothing".to_owned(),
        }],
    }
}

fn verdict(layers: &[Layer], path: &str, perm: Perm) -> Verdict {
    let policy = Policy::merge(layers.to_vec(), Vec::new()).expect("the layers agree");
    let path = Path::new(path);
    policy.decide(&Request::Fs { path, perm }).verdict
}

#[test]
fn a_lost_allow_never_lets_another_layer_say_more() {
    let wide = layer(r#"{"version":1,"fs":{"rules":[{"action":"allow","path":"/data"}]}}"#);
    let narrow = layer(r#"{"version":1,"fs":{"rules":[{"action":"allow","path":"/data/*.txt"}]}}"#);
    let mut layers = vec![wide, narrow];
    let rule = layers[1].fs[0].rule.clone();
    assert_eq!(
        verdict(&layers, "/data/x.key", Perm::ReadFile),
        Verdict::Deny
    );
    let said = degrade(&mut layers, &refusal(&rule)).expect("there is something stricter");
    assert!(said[0].stricter, "{said:?}");
    for path in ["/data/x.key", "/data/x.txt"] {
        assert_eq!(
            verdict(&layers, path, Perm::ReadFile),
            Verdict::Deny,
            "{path}"
        );
    }
}

#[test]
fn each_kind_of_rule_becomes_one_that_denies_more() {
    let text = r#"{"version":1,"defaults":{"fs":"allow"},"fs":{"rules":[
        {"action":"deny","path":"/data/*.key"},
        {"action":"warn","path":"/seen"},
        {"action":"ask","path":"/asked/?"},
        {"action":"deny","path":"/linked/file"}]}}"#;
    let probes = [
        "/data/a.key",
        "/data/a.txt",
        "/seen",
        "/asked/1",
        "/asked",
        "/linked/file",
        "/x",
    ];
    let mut layers = vec![layer(text)];
    let before: Vec<Verdict> = probes
        .iter()
        .map(|path| verdict(&layers, path, Perm::ReadFile))
        .collect();
    let rules: Vec<RuleRef> = layers[0].fs.iter().map(|one| one.rule.clone()).collect();
    for rule in &rules {
        let said = degrade(&mut layers, &refusal(rule)).expect("there is something stricter");
        assert!(said[0].stricter, "{said:?}");
    }
    for (path, before) in probes.iter().zip(before) {
        let after = verdict(&layers, path, Perm::ReadFile);
        let expected = if *path == "/x" { before } else { Verdict::Deny };
        assert_eq!(after, expected, "{path}");
    }
}

#[test]
fn what_has_nothing_in_its_place_is_still_refused() {
    let text = r#"{"version":1,"fs":{"rules":[{"action":"deny","path":"/"}]}}"#;
    let mut layers = vec![layer(text)];
    for rule in [
        layers[0].fs[0].rule.clone(),
        layers[0].syscalls_rule.clone(),
    ] {
        let refused = refusal(&rule);
        assert_eq!(degrade(&mut layers, &refused), Err(refused));
    }
}

#[test]
fn programs_digests_and_connections_are_denied() {
    let digest = "0".repeat(64);
    let text = format!(
        r#"{{"version":1,"exec":{{"rules":[
            {{"action":"allow","path":"/usr/bin/env","sha256":"{digest}"}},
            {{"action":"deny","path":"/usr/bin/id","sha256":"{digest}"}}]}},
          "net":{{"rules":[{{"action":"allow","host":"example.org"}}]}}}}"#
    );
    let mut layers = vec![layer(&text)];
    let rules: Vec<RuleRef> = layers[0].exec.iter().map(|one| one.rule.clone()).collect();
    let rules = rules.into_iter().chain([layers[0].net[0].rule.clone()]);
    for rule in rules {
        degrade(&mut layers, &refusal(&rule)).expect("there is something stricter");
    }
    let [left] = &layers[0].exec[..] else {
        panic!("{:?}", layers[0].exec)
    };
    assert_eq!((left.action, &left.sha256), (Verdict::Deny, &None));
    assert!(layers[0].net.is_empty());
    let defaults = [&layers[0].exec_default, &layers[0].net_default];
    for default in defaults {
        let verdict = default.as_ref().map(|default| default.verdict);
        assert_eq!(verdict, Some(Verdict::Deny));
    }
}

/// The real compiler's refusals come to an end, and nothing becomes visible that was not.
#[test]
fn a_missing_path_below_a_writable_folder_takes_the_folder_along() {
    let text = r#"{"version":1,"fs":{"rules":[
        {"action":"allow","path":"/w"},
        {"action":"deny","path":"/w/a/b/missing"}]}}"#;
    let mut layers = vec![layer(text)];
    let mut world = World {
        namespaces: true,
        landlock_abi: 6,
        ..World::default()
    };
    for (path, kind) in [
        ("/w", EntryKind::Dir),
        ("/w/a", EntryKind::Dir),
        ("/w/a/b", EntryKind::Dir),
        ("/w/a/b/missing", EntryKind::Missing),
    ] {
        let entry = crate::policy::Entry {
            kind,
            links: 1,
            in_bundle: false,
            real: path.into(),
        };
        world.entries.insert(path.into(), entry);
    }
    for _ in 0..8 {
        let policy = Policy::merge(layers.clone(), Vec::new()).expect("one layer");
        match policy.compile(&world) {
            Err(refused) => drop(degrade(&mut layers, &refused).expect("there is a folder above")),
            Ok(_) => {
                let denied = verdict(&layers, "/w/a/b/missing", Perm::ReadFile);
                assert_eq!(denied, Verdict::Deny);
                return;
            }
        }
    }
    panic!("the compiler refuses still");
}
