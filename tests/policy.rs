//! The shipped policies, and the language as a person meets it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use buntime::policy::*;

fn vars() -> Vars {
    Vars {
        home: "/home/u".into(),
        pwd: "/work".into(),
        workspace: "/work".into(),
    }
}

fn parse(text: &str) -> Layer {
    Layer::parse(text.as_bytes(), "test.json", &vars()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    Layer::parse(text.as_bytes(), "test.json", &vars())
        .expect_err(text)
        .to_string()
}

fn merged(texts: &[&str]) -> Policy {
    Policy::merge(texts.iter().map(|text| parse(text)).collect(), bundle()).unwrap()
}

/// A bundle as the launch describes it, in small.
fn bundle() -> Vec<Grant> {
    let code = PermSet::READ.with(Perm::Execute);
    vec![
        Grant {
            path: "/usr/lib".into(),
            perms: code,
        },
        Grant {
            path: "/etc".into(),
            perms: PermSet::READ,
        },
        Grant {
            path: "/tmp".into(),
            perms: PermSet::READ.union(PermSet::WRITE),
        },
    ]
}

fn entry(kind: EntryKind, real: &str, in_bundle: bool) -> Entry {
    Entry {
        kind,
        links: 1,
        in_bundle,
        real: real.into(),
    }
}

fn world(host: &[(&str, EntryKind)]) -> World {
    let entries: BTreeMap<PathBuf, Entry> = host
        .iter()
        .map(|(path, kind)| (PathBuf::from(path), entry(*kind, path, false)))
        .collect();
    World {
        through: BTreeMap::new(),
        entries,
        aliases: BTreeMap::new(),
        private: vec!["/tmp".into()],
        namespaces: true,
        landlock_abi: 7,
        command: Some("/usr/bin/python3.11".into()),
        loaders: vec!["/usr/lib/ld.so".into()],
        helpers: vec!["/usr/lib/git-core/git".into()],
        container: None,
    }
}

fn fs(policy: &Policy, path: &str, perm: Perm) -> (Verdict, String) {
    let decision = policy.decide(&Request::Fs {
        path: Path::new(path),
        perm,
    });
    (decision.verdict, decision.rule.to_string())
}

fn exec(policy: &Policy, path: &str) -> Verdict {
    policy
        .decide(&Request::Exec {
            path: Path::new(path),
            sha256: None,
        })
        .verdict
}

fn net(policy: &Policy, host: &str, port: u16) -> Verdict {
    let addr = host.parse().ok();
    let host = if addr.is_some() { None } else { Some(host) };
    policy
        .decide(&Request::Net {
            proto: Proto::Tcp,
            host,
            addr,
            port,
        })
        .verdict
}

#[test]
fn every_shipped_policy_loads_and_describes_itself() {
    assert_eq!(shipped_names().len(), 11);
    for name in shipped_names() {
        let layer = Layer::shipped(name, &vars()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            layer.description().is_some_and(|text| text.len() > 20),
            "{name}"
        );
        assert_eq!(layer.name(), format!("policies/{name}.json"));
    }
    let error = Layer::shipped("defalt", &vars()).unwrap_err().to_string();
    assert!(error.contains("did you mean \"default\"?"), "{error}");
}

#[test]
fn the_shipped_files_match_the_published_schema() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for name in shipped_names() {
        let document = serde_json::from_str(shipped_text(name).unwrap()).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    let meta: serde_json::Value =
        serde_json::from_str(include_str!("../policies/active.meta.json")).unwrap();
    assert_eq!(meta["policy"], "active.json");
    for layer in meta["layers"].as_array().unwrap() {
        assert!(shipped_names().contains(&layer.as_str().unwrap()));
    }
}

#[test]
fn the_default_policy_is_the_bundle_and_nothing_else() {
    let policy =
        Policy::merge(vec![Layer::shipped("default", &vars()).unwrap()], bundle()).unwrap();
    assert_eq!(
        fs(&policy, "/usr/lib/x.so", Perm::ReadFile),
        (Verdict::Allow, "bundle".into())
    );
    assert_eq!(
        fs(&policy, "/home/u/.ssh/id", Perm::ReadFile),
        (Verdict::Deny, "defaults.fs of policies/default.json".into())
    );
    assert_eq!(fs(&policy, "/tmp/x", Perm::MakeReg).0, Verdict::Allow);
    assert_eq!(fs(&policy, "/etc/passwd", Perm::WriteFile).0, Verdict::Deny);
    assert_eq!(exec(&policy, "/usr/bin/ls"), Verdict::Deny);
    assert_eq!(net(&policy, "example.org", 443), Verdict::Deny);
    assert_eq!(net(&policy, "127.0.0.1", 80), Verdict::Allow);
    assert_eq!(policy.limits().memory, Some(512 << 20));
    assert_eq!(policy.limits().wall, Some(Duration::from_secs(300)));

    let plan = policy.compile(&world(&[])).unwrap();
    assert_eq!(plan.exec, ExecPlan::Once);
    assert_eq!(plan.net, NetPlan::None);
    assert!(
        plan.masks.is_empty() && plan.private_executable.is_empty(),
        "{plan:#?}"
    );
    let command = plan
        .landlock
        .iter()
        .find(|grant| grant.path == Path::new("/usr/bin/python3.11"));
    assert_eq!(command.unwrap().perms, PermSet::PROGRAM);
    let library = plan
        .landlock
        .iter()
        .find(|grant| grant.path == Path::new("/usr/lib"));
    assert_eq!(
        library.unwrap().perms,
        PermSet::READ,
        "libraries are mapped, not run"
    );
}

#[test]
fn what_each_shipped_policy_compiles_to() {
    let host = world(&[
        ("/work", EntryKind::Dir),
        ("/work/out", EntryKind::Dir),
        ("/usr/bin/cat", EntryKind::File),
        ("/usr/bin/ls", EntryKind::File),
    ]);
    for name in shipped_names() {
        let layer = Layer::shipped(name, &vars()).unwrap();
        let policy = Policy::merge(vec![layer], bundle()).unwrap();
        let compiled = policy.compile(&host);
        let unseen = match *name {
            "ebpf-audit" => Some("decides about syscalls"),
            _ => None,
        };
        if let Some(unseen) = unseen {
            let refused = compiled.unwrap_err();
            assert!(
                refused
                    .rules
                    .iter()
                    .all(|refusal| refusal.rule.what == "audit.events")
            );
            assert!(refused.to_string().contains(unseen), "{refused}");
            continue;
        }
        let plan = compiled.unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let bind = |path: &str| plan.binds.iter().find(|bind| bind.path == Path::new(path));
        match *name {
            "readonly" => {
                assert!(!bind("/work").unwrap().writable);
                assert!(
                    plan.landlock
                        .iter()
                        .all(|grant| !grant.perms.intersects(PermSet::CHANGE))
                );
            }
            "fs-allowlist" => {
                assert!(!bind("/work").unwrap().writable && bind("/work/out").unwrap().writable);
                assert!(bind("/work/build").is_none());
            }
            "no-network" => {
                assert_eq!(plan.net, NetPlan::Sealed);
                assert!(bind("/work").unwrap().writable && !bind("/work").unwrap().executable);
            }
            "strict" => {
                assert_eq!((plan.net, plan.limits.cpus), (NetPlan::Sealed, Some(1.0)));
                assert!(
                    plan.required.namespaces && plan.required.landlock && plan.required.seccomp
                );
            }
            "exec-policy" => {
                let programs = vec!["/usr/bin/cat".into(), "/usr/bin/ls".into()];
                assert_eq!(plan.exec, ExecPlan::Programs(programs));
                assert!(bind("/usr/bin/cat").unwrap().executable);
                assert_eq!(
                    plan.masks.len(),
                    1,
                    "the helper is hidden: {:?}",
                    plan.masks
                );
            }
            "anti-escape" => assert!(plan.deny_syscalls.contains(&"setns".into())),
            _ => {}
        }
    }
}

#[test]
fn problems_have_their_place_and_the_nearest_name() {
    let text = "{\n  \"version\": 1,\n  \"fs\": { \"rules\": [\n    { \"action\": \"alow\", \"path\": \"/a\", \"perm\": [] }\n  ] }\n}";
    let error = refused(text);
    assert!(
        error.contains("test.json:4:17: \"alow\" is no action; did you mean \"allow\"?"),
        "{error}"
    );
    assert!(
        error.contains("test.json:4:39: \"perm\" is no field of fs[0]; did you mean \"perms\"?"),
        "{error}"
    );
}

#[test]
fn what_is_no_policy_is_refused() {
    for (text, wanted) in [
        ("", "the document ends"),
        ("[]", "a policy is a list"),
        ("{}", "has no \"version\""),
        ("{\"version\": 2}", "version of the policy language is 1"),
        (
            "{\"version\": \"1\"}",
            "version of the policy language is 1",
        ),
        ("{\"version\": 1, \"version\": 1}", "stands here again"),
        (
            "{\"version\": 1, \"fs\": []}",
            "fs is a list and should be an object",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": {}}}",
            "fs.rules is an object",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [1]}}",
            "fs[0] is a number",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [{\"action\": \"allow\"}]}}",
            "fs[0] has no \"path\"",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [{\"action\": \"deny\", \"path\": \"x\"}]}}",
            "not absolute",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [{\"action\": \"deny\", \"path\": \"/\\u0000\"}]}}",
            "NUL",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [{\"action\": \"deny\", \"path\": \"/\", \"perms\": [\"read\"]}]}}",
            "no permission",
        ),
        (
            "{\"version\": 1, \"fs\": {\"rules\": [{\"action\": \"deny\", \"path\": \"/\", \"perms\": []}]}}",
            "perms is empty",
        ),
        (
            "{\"version\": 1, \"net\": {\"rules\": [{\"action\": \"deny\", \"cidr\": \"10.0.0.0/8\", \"host\": \"a.b\"}]}}",
            "two rules",
        ),
        (
            "{\"version\": 1, \"net\": {\"rules\": [{\"action\": \"deny\", \"cidr\": \"10.0.0.0/33\"}]}}",
            "no network",
        ),
        (
            "{\"version\": 1, \"net\": {\"rules\": [{\"action\": \"deny\", \"host\": \"bücher.example\"}]}}",
            "xn--",
        ),
        (
            "{\"version\": 1, \"net\": {\"rules\": [{\"action\": \"deny\", \"ports\": \"1-\"}]}}",
            "no port",
        ),
        (
            "{\"version\": 1, \"exec\": {\"rules\": [{\"action\": \"deny\", \"path\": \"/x\", \"sha256\": \"ab\"}]}}",
            "64 hexadecimal",
        ),
        (
            "{\"version\": 1, \"limits\": {\"memory\": \"lots\"}}",
            "memory should be a size",
        ),
        (
            "{\"version\": 1, \"limits\": {\"pids\": 0}}",
            "pids should be a whole number",
        ),
        (
            "{\"version\": 1, \"limits\": {\"wall\": -1}}",
            "wall should be a time",
        ),
        (
            "{\"version\": 1, \"antiEscape\": {\"denySyscalls\": [\"mout\"]}}",
            "did you mean \"mount\"?",
        ),
        (
            "{\"version\": 1, \"risk\": {\"rules\": [{\"on\": \"code\", \"pattern\": \"(\", \"raise\": \"ask\"}]}}",
            "no regular expression",
        ),
        ("{\"version\": 1, \"$comment\": 5}", "$comment is a number"),
        ("{\"version\": 1, \"onViolation\": \"warn\"}", "onViolation"),
    ] {
        let error = refused(text);
        assert!(error.contains(wanted), "{text}\n{error}");
    }
    assert!(
        Layer::parse(b"{\"version\": \xff}", "x", &vars())
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
}

#[test]
fn absurd_documents_are_refused_cheaply() {
    let huge = " ".repeat(100 << 20);
    assert!(refused(&huge).contains("longer than"));
    let path = std::env::temp_dir().join(format!("policy-huge-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    let error = Layer::load(&path, &vars()).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("longer than"), "{error}");
    assert!(Layer::load(Path::new("/dev/zero"), &vars()).is_err());
    assert!(
        Layer::load(Path::new("/"), &vars())
            .unwrap_err()
            .to_string()
            .contains("directory")
    );
    assert!(refused(&"[".repeat(100_000)).contains("nested deeper"));
    let started = std::time::Instant::now();
    let many: Vec<String> = (0..80_000)
        .map(|number| format!("\"k{number}\":1"))
        .collect();
    let error = refused(&format!("{{{}}}", many.join(",")));
    assert_eq!(error.lines().count(), 20);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_section_without_a_default_denies_what_it_does_not_allow() {
    let allow = r#"{"version": 1, "fs": {"rules": [{"action": "allow", "path": "/a"}]}}"#;
    let open = r#"{"version": 1, "defaults": {"fs": "allow"}}"#;
    let deny = r#"{"version": 1, "fs": {"rules": [{"action": "deny", "path": "/a/b"}]}}"#;
    assert_eq!(fs(&merged(&[allow]), "/b", Perm::ReadFile).0, Verdict::Deny);
    assert_eq!(
        fs(&merged(&[open, allow]), "/b", Perm::ReadFile).0,
        Verdict::Deny
    );
    // A layer that only takes away leaves the rest to the others.
    assert_eq!(
        fs(&merged(&[open, deny]), "/b", Perm::ReadFile).0,
        Verdict::Allow
    );
    assert_eq!(
        fs(&merged(&[open, deny]), "/a/b", Perm::ReadFile).0,
        Verdict::Deny
    );
    assert_eq!(fs(&merged(&[deny]), "/b", Perm::ReadFile).0, Verdict::Deny);
    assert_eq!(
        fs(&merged(&[r#"{"version": 1}"#]), "/b", Perm::ReadFile).0,
        Verdict::Deny
    );
}

#[test]
fn severity_beats_order_and_the_bundle_beats_defaults_only() {
    let policy = merged(&[
        r#"{"version": 1, "defaults": {"fs": "deny"}, "fs": {"rules": [
        {"action": "deny", "path": "/d/secret"}, {"action": "allow", "path": "/d"},
        {"action": "warn", "path": "/d/log"}, {"action": "ask", "path": "/d/log/q"},
        {"action": "deny", "path": "/usr/lib/private"}, {"action": "deny", "path": "/d/**/*.key"}]}}"#,
    ]);
    assert_eq!(fs(&policy, "/d/x", Perm::ReadFile).0, Verdict::Allow);
    assert_eq!(fs(&policy, "/d/secret/x", Perm::ReadFile).0, Verdict::Deny);
    assert_eq!(
        fs(&policy, "/d/secret_not", Perm::ReadFile).0,
        Verdict::Allow
    );
    assert_eq!(fs(&policy, "/d/log/x", Perm::ReadFile).0, Verdict::Warn);
    assert_eq!(
        fs(&policy, "/d/log/q/x", Perm::ReadFile),
        (Verdict::Ask, "fs[3] of test.json".into())
    );
    assert_eq!(
        fs(&policy, "/d/log/q/x.key", Perm::ReadFile),
        (Verdict::Deny, "fs[5] of test.json".into())
    );
    assert_eq!(fs(&policy, "/usr/lib/x", Perm::ReadFile).0, Verdict::Allow);
    assert_eq!(
        fs(&policy, "/usr/lib/private/x", Perm::ReadFile).0,
        Verdict::Deny
    );
    for nonsense in ["relative", "", "/a\0b"] {
        assert_eq!(fs(&policy, nonsense, Perm::ReadFile).0, Verdict::Deny);
    }
}

fn flags(over_policy: bool) -> Flags {
    Flags {
        over_policy,
        ..Flags::default()
    }
}

#[test]
fn flags_alone_are_the_policy() {
    let asked = Flags {
        allow_read: Some(vec!["/data".into(), "sub".into()]),
        deny_read: Some(vec!["/data/secret".into()]),
        allow_write: Some(vec!["/data/out".into()]),
        allow_net: Some(vec!["example.org:443".into()]),
        allow_run: Some(vec!["/usr/bin/git".into()]),
        limits: Limits {
            memory: Some(2 << 30),
            ..Limits::default()
        },
        ..Flags::default()
    };
    let layer = Layer::from_flags(&asked, &vars()).unwrap();
    let policy = Policy::merge(vec![layer], bundle()).unwrap();
    assert_eq!(
        fs(&policy, "/data/x", Perm::ReadFile),
        (Verdict::Allow, "--allow-read=/data".into())
    );
    assert_eq!(fs(&policy, "/work/sub/x", Perm::ReadDir).0, Verdict::Allow);
    assert_eq!(
        fs(&policy, "/data/secret", Perm::ReadFile),
        (Verdict::Deny, "--deny-read=/data/secret".into())
    );
    assert_eq!(fs(&policy, "/data/x", Perm::WriteFile).0, Verdict::Deny);
    assert_eq!(fs(&policy, "/data/out/x", Perm::WriteDir).0, Verdict::Allow);
    assert_eq!(fs(&policy, "/data/out/x", Perm::MakeChar).0, Verdict::Deny);
    assert_eq!(exec(&policy, "/usr/bin/git"), Verdict::Allow);
    assert_eq!(
        fs(&policy, "/usr/bin/git", Perm::ReadFile).0,
        Verdict::Allow
    );
    assert_eq!(net(&policy, "EXAMPLE.org.", 443), Verdict::Allow);
    assert_eq!(net(&policy, "example.org", 80), Verdict::Deny);
    assert_eq!(
        (policy.limits().memory, policy.limits().pids),
        (Some(2 << 30), Some(64))
    );
}

#[test]
fn flags_over_a_policy_only_narrow_it() {
    let file = r#"{"version": 1, "fs": {"rules": [{"action": "allow", "path": "/data"}, {"action": "allow", "path": "/other"}]},
        "limits": {"memory": "1G"}}"#;
    let merge = |asked: Flags| {
        Policy::merge(
            vec![parse(file), Layer::from_flags(&asked, &vars()).unwrap()],
            bundle(),
        )
    };
    let policy = merge(Flags {
        allow_read: Some(vec!["/data/in".into()]),
        ..flags(true)
    })
    .unwrap();
    assert_eq!(fs(&policy, "/data/in/x", Perm::ReadFile).0, Verdict::Allow);
    assert_eq!(
        fs(&policy, "/data/x", Perm::ReadFile),
        (Verdict::Deny, "--allow-read=/data/in".into())
    );
    assert_eq!(
        fs(&policy, "/other/x", Perm::WriteFile).0,
        Verdict::Allow,
        "no flag speaks of writing"
    );
    assert_eq!(
        fs(&policy, "/usr/lib/x", Perm::ReadFile).0,
        Verdict::Allow,
        "the bundle stays"
    );

    for (asked, words) in [
        (
            Flags {
                allow_read: Some(vec!["/etc2".into()]),
                ..flags(true)
            },
            ["--allow-read=/etc2", "defaults.fs of test.json"],
        ),
        (
            Flags {
                allow_read: Some(vec![]),
                ..flags(true)
            },
            ["--allow-read", "defaults.fs of test.json"],
        ),
        (
            Flags {
                allow_run: Some(vec!["/usr/bin/git".into()]),
                ..flags(true)
            },
            ["--allow-run=/usr/bin/git", "defaults.exec"],
        ),
        (
            Flags {
                allow_net: Some(vec!["a.example".into()]),
                ..flags(true)
            },
            ["--allow-net=a.example", "defaults.net"],
        ),
        (
            Flags {
                limits: Limits {
                    memory: Some(2 << 30),
                    ..Limits::default()
                },
                ..flags(true)
            },
            ["--memory", "limits.memory of test.json"],
        ),
    ] {
        let error = merge(asked).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let bad = Flags {
        allow_net: Some(vec!["a..b".into()]),
        ..flags(false)
    };
    assert!(
        Layer::from_flags(&bad, &vars())
            .unwrap_err()
            .to_string()
            .starts_with("--allow-net=a..b: ")
    );
}

#[test]
fn audit_violation_and_plugins_take_the_stricter() {
    let strict = merged(&[
        r#"{"version": 1, "audit": {"enabled": true, "events": ["net"]}, "plugins": {"landlock": true}}"#,
        r#"{"version": 1, "audit": {"enabled": true, "events": ["fs"]}, "onViolation": "kill", "plugins": {"seccomp": true}}"#,
        r#"{"version": 1, "limits": {"wall": "500ms"}}"#,
        r#"{"version": 1, "limits": {"wall": 2}}"#,
    ]);
    assert_eq!(strict.audit().events, ["fs", "net"]);
    assert_eq!(strict.on_violation(), OnViolation::Kill);
    assert!(
        strict.required().landlock && strict.required().seccomp && !strict.required().namespaces
    );
    assert_eq!(strict.limits().wall, Some(Duration::from_millis(500)));
}

/// The plans as they are shown, word for word. `WRITE_PLANS=1` writes them anew.
#[test]
fn the_plan_of_each_shipped_policy_is_as_written_down() {
    let host = world(&[
        ("/work", EntryKind::Dir),
        ("/work/out", EntryKind::Dir),
        ("/usr/bin/cat", EntryKind::File),
        ("/usr/bin/ls", EntryKind::File),
    ]);
    for name in shipped_names() {
        let layer = Layer::shipped(name, &vars()).unwrap();
        let policy = Policy::merge(vec![layer], bundle()).unwrap();
        let text = match policy.compile(&host) {
            Ok(plan) => format!("{}\n", policy.shown(plan, Vec::new())),
            Err(refused) => format!("{refused}\n"),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/plans/{name}.txt"));
        if std::env::var_os("WRITE_PLANS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, written, "{}", path.display());
    }
}
