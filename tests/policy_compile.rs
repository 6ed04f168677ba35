//! What rules compile to, and what is refused by name.

#[path = "policy_compile/datagrams.rs"]
mod datagrams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buntime::policy::*;
use serde_json::{Value, json};

fn vars() -> Vars {
    Vars {
        home: "/home/u".into(),
        pwd: "/work".into(),
        workspace: "/work".into(),
    }
}

/// A policy that denies by default, with these sections.
fn policy(sections: Value) -> Policy {
    let mut document =
        json!({"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}});
    for (name, section) in sections.as_object().unwrap() {
        document[name] = section.clone();
    }
    let layer = Layer::parse(document.to_string().as_bytes(), "p.json", &vars()).unwrap();
    Policy::merge(vec![layer], bundle()).unwrap()
}

fn files(rules: Value) -> Policy {
    policy(json!({"fs": {"rules": rules}}))
}

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

fn world() -> World {
    let mut world = World {
        through: BTreeMap::new(),
        aliases: BTreeMap::new(),
        entries: BTreeMap::new(),
        private: vec!["/tmp".into()],
        namespaces: true,
        landlock_abi: 7,
        command: Some("/usr/bin/python3".into()),
        loaders: vec!["/usr/lib/ld.so".into()],
        helpers: vec!["/usr/lib/git-core/git-add".into()],
        container: None,
    };
    for path in [
        "/data",
        "/data/sub",
        "/data/sub/deep",
        "/work",
        "/opt/tools",
    ] {
        add(&mut world, path, EntryKind::Dir);
    }
    for path in [
        "/data/file",
        "/data/sub/deep/file",
        "/usr/bin/git",
        "/usr/bin/sh",
    ] {
        add(&mut world, path, EntryKind::File);
    }
    world
}

fn add(world: &mut World, path: &str, kind: EntryKind) {
    let in_bundle = ["/usr/lib", "/etc", "/tmp"].contains(&path);
    world.entries.insert(
        path.into(),
        Entry {
            kind,
            links: 1,
            in_bundle,
            real: path.into(),
        },
    );
}

fn plan(policy: &Policy) -> Plan {
    policy
        .compile(&world())
        .unwrap_or_else(|refused| panic!("{refused}"))
}

/// The refusals, one rule each.
fn refused(policy: &Policy, world: &World) -> Vec<(String, String)> {
    let refused = policy
        .compile(world)
        .map(|plan| format!("{plan:#?}"))
        .unwrap_err();
    refused
        .rules
        .iter()
        .map(|rule| (rule.rule.what.clone(), rule.to_string()))
        .collect()
}

#[track_caller]
fn refuses(policy: &Policy, world: &World, rule: &str, words: &str) {
    let list = refused(policy, world);
    let found = list
        .iter()
        .any(|(what, text)| what == rule && text.contains(words));
    assert!(found, "{rule} {words:?} in {list:#?}");
}

fn bind<'p>(plan: &'p Plan, path: &str) -> Option<&'p Bind> {
    plan.binds.iter().find(|bind| bind.path == Path::new(path))
}

fn grant(plan: &Plan, path: &str) -> Option<PermSet> {
    plan.landlock
        .iter()
        .find(|grant| grant.path == Path::new(path))
        .map(|grant| grant.perms)
}

fn masks(plan: &Plan) -> Vec<(&str, MaskKind)> {
    plan.masks
        .iter()
        .map(|mask| (mask.path.to_str().unwrap(), mask.kind))
        .collect()
}

/// The plan and its live part.
#[track_caller]
fn live(policy: &Policy, world: &World) -> (Plan, Intercept) {
    let plan = policy
        .compile(world)
        .unwrap_or_else(|refused| panic!("{refused}"));
    let intercept = plan.intercept.clone().expect("something is decided live");
    (plan, intercept)
}

/// How the rule of that name is carried.
fn how<'p>(plan: &'p Plan, rule: &str) -> &'p str {
    let found = plan.mechanisms.iter().find(|entry| entry.rule.what == rule);
    found.map_or("not at all", |entry| &entry.mechanism)
}

const READ: [&str; 2] = ["read_file", "read_dir"];
const EDIT: [&str; 4] = ["read_file", "read_dir", "write_file", "write_dir"];

#[test]
fn an_allowed_directory_is_bound_as_far_as_it_is_allowed() {
    let plan = plan(&files(
        json!([{"action": "allow", "path": "/data", "perms": READ}]),
    ));
    let data = bind(&plan, "/data").unwrap();
    assert_eq!(
        (data.writable, data.executable, data.dir),
        (false, false, true)
    );
    assert_eq!(grant(&plan, "/data"), Some(PermSet::READ));
    assert!(bind(&plan, "/work").is_none() && bind(&plan, "/etc").is_none());
}

#[test]
fn a_deny_below_an_allow_is_a_mask_of_the_right_kind() {
    let deny = |perms: Value| {
        let mut rule = json!({"action": "deny", "path": "/data/sub"});
        if !perms.is_null() {
            rule["perms"] = perms;
        }
        files(json!([{"action": "allow", "path": "/data"}, rule]))
    };
    assert_eq!(
        masks(&plan(&deny(Value::Null))),
        [("/data/sub", MaskKind::Hidden)]
    );
    let changes = json!(["write_file", "write_dir", "make_char", "make_block"]);
    assert_eq!(
        masks(&plan(&deny(changes))),
        [("/data/sub", MaskKind::ReadOnly)]
    );
    assert_eq!(
        masks(&plan(&deny(json!(["execute"])))),
        [("/data/sub", MaskKind::NoExec)]
    );
    for subset in [
        json!(["read_file"]),
        json!(["make_reg"]),
        json!(["write_file"]),
    ] {
        let names: Vec<String> = serde_json::from_value(subset.clone()).unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (plan, live) = live(&deny(subset), &world());
        assert_eq!(live.perms.names(), names);
        assert_eq!(masks(&plan), []);
        // Of the rest the kernel allows what it did.
        let rest = PermSet::ALL.without(Perm::WriteDir).without(Perm::Execute);
        assert_eq!(grant(&plan, "/data"), Some(rest.difference(live.perms)));
    }
}

#[test]
fn a_deny_of_what_is_not_allowed_needs_nothing() {
    let plan = plan(&files(json!([
        {"action": "allow", "path": "/data", "perms": READ},
        {"action": "deny", "path": "/data/sub", "perms": ["write_file"]},
        {"action": "deny", "path": "/home/u/.ssh"},
        {"action": "deny", "path": "/data/missing"},
    ])));
    assert!(plan.masks.is_empty(), "{:?}", plan.masks);
    let how: Vec<&str> = plan
        .mechanisms
        .iter()
        .map(|entry| entry.mechanism.as_str())
        .collect();
    assert!(
        how.contains(&"nothing is there") && how.contains(&"bind, and landlock"),
        "{how:?}"
    );
}

#[test]
fn the_directories_above_a_mask_cannot_be_renamed_away() {
    let plan = plan(&files(json!([
        {"action": "allow", "path": "/data", "perms": EDIT},
        {"action": "deny", "path": "/data/sub/deep/file"},
    ])));
    assert_eq!(masks(&plan), [("/data/sub/deep/file", MaskKind::Hidden)]);
    for pinned in ["/data", "/data/sub", "/data/sub/deep"] {
        assert!(
            bind(&plan, pinned).is_some_and(|bind| bind.writable && bind.dir),
            "{pinned}"
        );
    }
    let order: Vec<&PathBuf> = plan.binds.iter().map(|bind| &bind.path).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn what_masks_cannot_carry_is_decided_live() {
    let below = files(json!([
        {"action": "allow", "path": "/data", "perms": READ},
        {"action": "deny", "path": "/data/sub", "perms": READ},
        {"action": "allow", "path": "/data/sub/deep", "perms": ["write_file"]},
    ]));
    let (plan, intercept) = live(&below, &world());
    assert_eq!(
        intercept.perms.names(),
        ["read_file", "write_file", "read_dir"]
    );
    assert!(
        plan.masks.is_empty() && !intercept.decides_executions() && intercept.linked.is_empty()
    );
    assert!(!bind(&plan, "/data").unwrap().writable);
    assert!(bind(&plan, "/data/sub/deep").unwrap().writable);

    let edit = PermSet::READ.union(PermSet::WRITE).without(Perm::WriteDir);
    let missing = files(json!([
        {"action": "allow", "path": "/data", "perms": EDIT},
        {"action": "deny", "path": "/data/.env"},
    ]));
    let (plan, intercept) = live(&missing, &world());
    assert_eq!((intercept.perms, grant(&plan, "/data")), (edit, None));
    assert!(bind(&plan, "/data").unwrap().writable);
    let private = files(json!([{"action": "deny", "path": "/tmp/x"}]));
    assert_eq!(live(&private, &world()).1.perms, edit);
    let grown = files(json!([
        {"action": "allow", "path": "/data", "perms": EDIT},
        {"action": "allow", "path": "/data/bin", "perms": ["make_char"]},
    ]));
    let (plan, intercept) = live(&grown, &world());
    assert_eq!(intercept.perms.names(), ["make_char"]);
    assert_eq!(grant(&plan, "/data"), Some(edit));

    let linked = files(json!([
        {"action": "allow", "path": "/data", "perms": READ},
        {"action": "deny", "path": "/data/file"},
    ]));
    let mut host = world();
    host.entries.get_mut(Path::new("/data/file")).unwrap().links = 2;
    let (_, intercept) = live(&linked, &host);
    assert_eq!(intercept.perms.names(), ["read_file"]);
    assert_eq!(intercept.linked, [Path::new("/data/file")]);
    let one = linked.compile(&world()).unwrap();
    assert_eq!(masks(&one), [("/data/file", MaskKind::Hidden)]);
    assert_eq!(one.intercept, None);
}

#[test]
fn what_only_a_live_decision_can_say_is_decided_live() {
    let rest = PermSet::ALL.without(Perm::WriteDir).without(Perm::Execute);
    for rule in [
        json!({"action": "allow", "path": "/data/*.csv"}),
        json!({"action": "ask", "path": "/data"}),
        json!({"action": "warn", "path": "/data"}),
    ] {
        let (plan, intercept) = live(&files(json!([rule])), &world());
        // Nothing but the command runs, so that nobody has to look at executions.
        assert_eq!(intercept.perms, rest, "{rule}");
        let data = bind(&plan, "/data").unwrap();
        assert!(data.writable && !data.executable, "{rule}");
        assert_eq!(grant(&plan, "/data"), None, "{rule}");
        assert_eq!(how(&plan, "fs[0]"), "interceptor", "{rule}");

        let exec = policy(json!({"exec": {"rules": [rule]}}));
        let (plan, intercept) = live(&exec, &world());
        assert!(intercept.decides_executions(), "{rule}");
        let data = bind(&plan, "/data").unwrap();
        assert!(data.executable && !data.writable, "{rule}");
        assert!(
            grant(&plan, "/data").unwrap().contains(Perm::Execute),
            "{rule}"
        );
        assert!(how(&plan, "exec[0]").starts_with("interceptor"), "{rule}");
    }
    let digest = json!({"exec": {"rules": [{"action": "allow", "path": "/usr/bin/git", "sha256": "a".repeat(64)}]}});
    let asked = json!({"defaults": {"exec": "ask"}});
    for (exec, rule) in [(digest, "exec[0]"), (asked, "defaults.exec")] {
        let (plan, intercept) = live(&policy(exec), &world());
        assert!(intercept.decides_executions(), "{rule}");
        assert!(how(&plan, rule).starts_with("interceptor"), "{rule}");
    }
    let risk = json!({"risk": {"rules": [{"on": "code", "pattern": "x", "raise": "deny"}]}});
    refuses(&policy(risk), &world(), "risk[0]", "classifies");
}

#[test]
fn what_is_to_be_recorded_is_decided_live() {
    let events = |events: Value| policy(json!({"audit": {"enabled": true, "events": events}}));
    let all = PermSet::ALL.without(Perm::WriteDir);
    let (_, intercept) = live(&events(json!(["fs"])), &world());
    assert_eq!(intercept.perms, all.without(Perm::Execute));
    assert_eq!(
        plan(&events(json!(["exec", "limits"]))).intercept,
        None,
        "the filter tells of each"
    );
    let programs =
        json!({"audit": {"enabled": true, "events": ["exec"]}, "defaults": {"exec": "allow"}});
    assert!(live(&policy(programs), &world()).1.decides_executions());
    // Whoever wants to go somewhere comes by, although nobody may.
    assert_eq!(plan(&events(json!(["net"]))).net, NetPlan::Egress);
    let calls = events(json!(["net", "syscalls"]));
    refuses(&calls, &world(), "audit.events", "decides about syscalls");
}

#[test]
fn what_denies_what_is_denied_needs_nobody() {
    let idle = files(json!([
        {"action": "allow", "path": "/data", "perms": READ},
        {"action": "deny", "path": "/home/**/.ssh"},
        {"action": "deny", "path": "/data/*.key", "perms": ["write_file", "make_reg"]},
        {"action": "deny", "path": "/data/**", "perms": ["write_file", "write_dir"]},
    ]));
    let idle = plan(&idle);
    assert_eq!((idle.intercept.clone(), masks(&idle).len()), (None, 0));
    assert_eq!(how(&idle, "fs[1]"), "nothing is allowed there");
    let keys = files(json!([
        {"action": "allow", "path": "/data", "perms": EDIT},
        {"action": "deny", "path": "/data/*.key", "perms": ["read_file"]},
    ]));
    assert_eq!(live(&keys, &world()).1.perms.names(), ["read_file"]);
}

#[test]
fn a_pattern_shows_where_it_begins_and_never_opens_the_bundle() {
    let written = files(json!([{"action": "allow", "path": "/etc/*.conf", "perms": EDIT}]));
    let mut host = world();
    add(&mut host, "/etc", EntryKind::Dir);
    let (plan, _) = live(&written, &host);
    assert!(
        bind(&plan, "/etc").is_none(),
        "the bundle keeps its own /etc"
    );
    let everywhere = files(json!([
        {"action": "allow", "path": "/**/*.csv", "perms": READ},
        {"action": "deny", "path": "/home/u", "perms": ["write_file"]},
    ]));
    add(&mut host, "/home/u", EntryKind::Dir);
    add(&mut host, "/tmp/data", EntryKind::Dir);
    let (plan, _) = live(&everywhere, &host);
    assert!(
        bind(&plan, "/home/u").is_none(),
        "the host is not brought in"
    );
    let own = files(json!([{"action": "allow", "path": "/tmp/data/*.csv", "perms": READ}]));
    let (plan, _) = live(&own, &host);
    assert!(
        bind(&plan, "/tmp/data").is_none(),
        "the worker has its own /tmp"
    );
    let trailing = files(json!([{"action": "allow", "path": "/data/**", "perms": READ}]));
    let plan = trailing.compile(&host).unwrap();
    assert_eq!(
        (grant(&plan, "/data"), plan.intercept),
        (Some(PermSet::READ), None)
    );

    // What begins behind a symbolic link speaks of what is there.
    let data = host.entries[Path::new("/data")].clone();
    host.entries.insert("/home/u/link".into(), data);
    let linked = files(json!([{"action": "allow", "path": "~/link/*.csv", "perms": READ}]));
    assert!(linked.literal_paths().contains(&"/home/u/link".into()));
    let (plan, _) = live(&linked, &host);
    assert!(bind(&plan, "/data").is_some());
    let request = Request::Fs {
        path: Path::new("/data/a.csv"),
        perm: Perm::ReadFile,
    };
    assert_eq!(
        linked.resolve(&host).decide(&request).verdict,
        Verdict::Allow
    );
}

#[test]
fn where_nobody_decides_live_such_rules_are_refused() {
    let mut bare = world();
    bare.namespaces = false;
    bare.private.clear();
    let mut contained = world();
    contained.private.clear();
    contained.container = Some(Contained::default());
    for host in [&bare, &contained] {
        for (rule, words) in [
            (
                json!({"action": "allow", "path": "/data/*.csv"}),
                "wildcard",
            ),
            (json!({"action": "ask", "path": "/data"}), "ask needs"),
            (json!({"action": "warn", "path": "/data"}), "warn needs"),
        ] {
            refuses(&files(json!([rule])), host, "fs[0]", words);
            let exec = policy(json!({"exec": {"rules": [rule]}}));
            refuses(&exec, host, "exec[0]", words);
        }
        let missing = files(json!([
            {"action": "allow", "path": "/data", "perms": EDIT},
            {"action": "deny", "path": "/data/.env"},
        ]));
        refuses(&missing, host, "fs[1]", "/data/.env does not exist");
        let events = policy(json!({"audit": {"enabled": true, "events": ["fs"]}}));
        refuses(&events, host, "audit.events", "decides about fs");
        let asked = policy(json!({"net": {"rules": [{"action": "ask", "host": "a.example"}]}}));
        refuses(&asked, host, "net[0]", "ask needs");
        refuses(
            &policy(json!({"defaults": {"exec": "ask"}})),
            host,
            "defaults.exec",
            "ask needs",
        );
    }
    let events = policy(json!({"audit": {"enabled": true, "events": ["net"]}}));
    refuses(&events, &bare, "audit.events", "decides about net");
    let mut linked = contained.clone();
    linked
        .entries
        .get_mut(Path::new("/data/file"))
        .unwrap()
        .links = 2;
    let denied = files(json!([
        {"action": "allow", "path": "/data", "perms": READ},
        {"action": "deny", "path": "/data/file"},
    ]));
    refuses(&denied, &linked, "fs[1]", "2 hard links");
}

#[test]
fn a_network_has_a_way_out_unless_a_layer_closes_it() {
    let open = json!({"net": {"rules": [{"action": "allow", "host": "a.example"}]}});
    assert_eq!(plan(&policy(open.clone())).net, NetPlan::Egress);
    let all = policy(json!({"defaults": {"net": "allow"}}));
    assert_eq!(plan(&all).net, NetPlan::Egress);
    let mut without = world();
    without.namespaces = false;
    let missing = "no network of its own";
    refuses(&policy(open.clone()), &without, "net[0]", missing);
    refuses(&all, &without, "defaults.net", missing);
    let asks = json!({"net": {"rules": [{"action": "ask", "host": "a.example"}]}});
    assert_eq!(plan(&policy(asks.clone())).net, NetPlan::Egress);
    refuses(&policy(asks), &without, "net[0]", "ask needs somebody");
    let udp = json!({"net": {"rules": [{"action": "allow", "proto": "udp"}]}});
    assert_eq!(plan(&policy(udp.clone())).net, NetPlan::Egress);
    refuses(&policy(udp), &without, "net[0]", missing);
    let text = json!({"version": 1, "net": open["net"]}).to_string();
    let layer = Layer::parse(text.as_bytes(), "p.json", &vars()).unwrap();
    let flags = Flags {
        deny_net: Some(vec![]),
        over_policy: true,
        ..Flags::default()
    };
    let flags = Layer::from_flags(&flags, &vars()).unwrap();
    let closed = Policy::merge(vec![layer, flags], bundle()).unwrap();
    assert_eq!(plan(&closed).net, NetPlan::Sealed);

    let parts = json!({"net": {"rules": [{"action": "deny", "cidr": "127.0.0.0/8"}]}});
    refuses(&policy(parts), &world(), "net[0]", "not in parts");
    let private = json!({"net": {"rules": [{"action": "deny", "cidr": "10.0.0.0/8"}]}});
    assert_eq!(plan(&policy(private)).net, NetPlan::None);
}

#[test]
fn a_list_of_programs() {
    let listed = policy(
        json!({"exec": {"rules": [{"action": "allow", "path": "/usr/bin/git"}]},
        "fs": {"rules": [{"action": "allow", "path": "/data"}, {"action": "allow", "path": "/opt/tools", "perms": ["read_file", "execute"]}]}}),
    );
    let plan = plan(&listed);
    assert_eq!(plan.exec, ExecPlan::Programs(vec!["/usr/bin/git".into()]));
    assert_eq!(grant(&plan, "/usr/bin/git"), Some(PermSet::PROGRAM));
    // ld.so could load what lies on an executable mount.
    assert!(
        !bind(&plan, "/data").unwrap().executable && !bind(&plan, "/opt/tools").unwrap().executable
    );
    assert!(!grant(&plan, "/data").unwrap().contains(Perm::Execute));
    assert_eq!(
        masks(&plan),
        [("/usr/lib/git-core/git-add", MaskKind::Hidden)]
    );
    let resolved = listed.resolve(&world());
    let helper = Request::Fs {
        path: Path::new("/usr/lib/git-core/git-add"),
        perm: Perm::ReadFile,
    };
    assert_eq!(resolved.decide(&helper).rule.what, "defaults.exec");
    let command = Request::Exec {
        path: Path::new("/usr/bin/python3"),
        sha256: None,
    };
    assert_eq!(resolved.decide(&command).verdict, Verdict::Allow);

    let code = json!([{"action": "allow", "path": "/usr/lib", "perms": EDIT}]);
    let written = policy(
        json!({"fs": {"rules": code}, "exec": {"rules": [{"action": "allow", "path": "/usr/bin/git"}]}}),
    );
    let mut host = world();
    add(&mut host, "/usr/lib", EntryKind::Dir);
    refuses(&written, &host, "fs[0]", "from which code is loaded");
}

#[test]
fn every_program_but_some() {
    let but = policy(
        json!({"defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [{"action": "allow", "path": "/usr/bin", "perms": ["read_file", "execute"]}]},
        "exec": {"rules": [{"action": "deny", "path": "/usr/bin/sh"}]}}),
    );
    let mut host = world();
    add(&mut host, "/usr/bin", EntryKind::Dir);
    let plan = but.compile(&host).unwrap();
    assert_eq!(plan.exec, ExecPlan::Any);
    assert_eq!(masks(&plan), [("/usr/bin/sh", MaskKind::Hidden)]);
    host.entries
        .get_mut(Path::new("/usr/bin/sh"))
        .unwrap()
        .links = 3;
    let (_, intercept) = live(&but, &host);
    assert_eq!(intercept.linked, [Path::new("/usr/bin/sh")]);
    assert!(intercept.perms.contains(Perm::ReadFile));
}

#[test]
fn the_command_is_allowed_unless_a_rule_names_it() {
    let everything = policy(json!({"exec": {"rules": [{"action": "deny", "path": "/"}]}}));
    assert_eq!(plan(&everything).exec, ExecPlan::Once);
    let by_name =
        policy(json!({"exec": {"rules": [{"action": "deny", "path": "/usr/bin/python3"}]}}));
    refuses(&by_name, &world(), "exec[0]", "denies the command itself");
    let unreadable = files(json!([{"action": "deny", "path": "/usr/bin"}]));
    refuses(&unreadable, &world(), "fs[0]", "denies the command itself");
}

#[test]
fn links_lead_to_what_is_bound() {
    let mut host = world();
    let data = host.entries[Path::new("/data")].clone();
    host.entries.insert("/home/u/link".into(), data);
    let linked = files(json!([{"action": "allow", "path": "~/link", "perms": READ}]));
    let plan = linked.compile(&host).unwrap();
    assert!(bind(&plan, "/data").is_some() && bind(&plan, "/home/u/link").is_none());
    assert_eq!(
        plan.links,
        [Link {
            path: "/home/u/link".into(),
            target: "/data".into()
        }]
    );
    let request = Request::Fs {
        path: Path::new("/data/file"),
        perm: Perm::ReadFile,
    };
    assert_eq!(
        linked.resolve(&host).decide(&request).verdict,
        Verdict::Allow
    );

    // A deny by the name of a link denies what is behind it.
    let denied = files(
        json!([{"action": "allow", "path": "/data", "perms": READ}, {"action": "deny", "path": "/a/link"}]),
    );
    let sub = host.entries[Path::new("/data/sub")].clone();
    host.entries.insert("/a/link".into(), sub);
    assert_eq!(
        masks(&denied.compile(&host).unwrap()),
        [("/data/sub", MaskKind::Hidden)]
    );
}

#[test]
fn the_bundle_is_opened_by_name_only() {
    let open = policy(json!({"defaults": {"fs": "allow", "net": "deny", "exec": "deny"}}));
    let plan = plan(&open);
    let bound: Vec<&PathBuf> = plan.binds.iter().map(|bind| &bind.path).collect();
    assert_eq!(
        bound,
        [Path::new("/usr/bin/python3")],
        "the host is not brought in"
    );
    assert!(!plan.binds[0].writable, "{:?}", plan.binds);
    let named = files(json!([{"action": "allow", "path": "/etc", "perms": EDIT}]));
    let mut host = world();
    add(&mut host, "/etc", EntryKind::Dir);
    assert!(
        bind(&named.compile(&host).unwrap(), "/etc")
            .unwrap()
            .writable
    );
    let devices = files(json!([{"action": "allow", "path": "/dev"}]));
    host.entries.insert(
        "/dev".into(),
        Entry {
            kind: EntryKind::Dir,
            links: 1,
            in_bundle: true,
            real: "/dev".into(),
        },
    );
    assert!(
        bind(&devices.compile(&host).unwrap(), "/dev").is_none(),
        "the bundle keeps its own /dev"
    );
}

#[test]
fn the_private_place_runs_code_only_when_the_policy_says_so() {
    let run = policy(
        json!({"defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [{"action": "allow", "path": "/tmp"}]}}),
    );
    assert_eq!(plan(&run).private_executable, [PathBuf::from("/tmp")]);
    let read_only =
        files(json!([{"action": "deny", "path": "/tmp", "perms": ["write_file", "write_dir"]}]));
    assert_eq!(grant(&plan(&read_only), "/tmp"), Some(PermSet::READ));
}

#[test]
fn without_namespaces_only_what_landlock_carries() {
    let mut bare = world();
    bare.namespaces = false;
    bare.private.clear();
    let simple = files(
        json!([{"action": "allow", "path": "/data", "perms": READ}, {"action": "allow", "path": "/data/sub", "perms": EDIT}]),
    );
    let plan = simple.compile(&bare).unwrap();
    assert!(plan.binds.is_empty() && plan.masks.is_empty() && plan.links.is_empty());
    assert_eq!(
        grant(&plan, "/data/sub"),
        Some(PermSet::READ.union(PermSet::WRITE).without(Perm::WriteDir))
    );

    let below = files(
        json!([{"action": "allow", "path": "/data", "perms": READ}, {"action": "deny", "path": "/data/sub"}]),
    );
    refuses(&below, &bare, "fs[1]", "does not let namespaces be created");
    refuses(
        &policy(json!({"defaults": {"fs": "allow"}})),
        &bare,
        "defaults.fs",
        "there is none",
    );
    let programs = json!({"exec": {"rules": [{"action": "allow", "path": "/usr/bin/git"}]}});
    refuses(&policy(programs), &bare, "exec[0]", "noexec mounts");
    refuses(
        &policy(json!({"defaults": {"exec": "allow"}})),
        &bare,
        "defaults.exec",
        "processes of their own",
    );
    refuses(
        &policy(json!({"plugins": {"namespaces": true}})),
        &bare,
        "plugins",
        "namespaces are required",
    );
    // What Landlock does not see of truncation before ABI 3, the system call filter refuses.
    bare.landlock_abi = 2;
    assert!(simple.compile(&bare).is_ok());
    bare.landlock_abi = 0;
    refuses(&simple, &bare, "plugins", "no Landlock");
    let loopback = Request::Net {
        proto: Proto::Tcp,
        host: None,
        addr: "127.0.0.1".parse().ok(),
        port: 80,
    };
    assert_eq!(
        simple.resolve(&bare).decide(&loopback).verdict,
        Verdict::Deny
    );
}

#[test]
fn a_host_path_over_a_private_place_is_not_the_bundles_to_give() {
    let mut world = world();
    add(&mut world, "/tmp/shown", EntryKind::Dir);
    let write = |path: &'static str| Request::Fs {
        path: Path::new(path),
        perm: Perm::WriteFile,
    };
    let read_only = files(json!([
        {"action": "allow", "path": "/tmp/shown", "perms": ["read_file", "read_dir"]}
    ]));
    let oracle = read_only.resolve(&world);
    assert_eq!(oracle.decide(&write("/tmp/shown/x")).verdict, Verdict::Deny);
    assert_eq!(oracle.decide(&write("/tmp/other")).verdict, Verdict::Allow);
    let plan = read_only.compile(&world).unwrap();
    let bind = plan
        .binds
        .iter()
        .find(|bind| bind.path == Path::new("/tmp/shown"));
    assert!(bind.is_some_and(|bind| !bind.writable), "{plan:#?}");
    let writable = files(json!([{"action": "allow", "path": "/tmp/shown"}]));
    let plan = writable.compile(&world).unwrap();
    let bind = plan
        .binds
        .iter()
        .find(|bind| bind.path == Path::new("/tmp/shown"));
    assert!(bind.is_some_and(|bind| bind.writable), "{plan:#?}");
    // Reading is not the bundle's to give either, and no mount takes it alone: it is decided live.
    let unreadable = files(json!([
        {"action": "allow", "path": "/tmp/shown", "perms": ["write_file", "write_dir"]}
    ]));
    let (_, intercept) = live(&unreadable, &world);
    assert_eq!(intercept.perms, PermSet::READ);
}

#[test]
fn what_has_other_names_than_its_rule_is_refused() {
    let policy = files(json!([
        {"action": "allow", "path": "/data"},
        {"action": "deny", "path": "/data/sub"},
        {"action": "warn", "path": "/data/*.key"},
        {"action": "deny", "path": "/data/file", "perms": ["read_file"]},
    ]));
    assert!(policy.compile(&world()).is_ok());
    let with = |path: &str, alias: Alias| {
        let mut world = world();
        world.aliases.insert(path.into(), vec![alias]);
        world
    };
    let mount = |of: &str, at: &str| Alias::Mount {
        of: of.into(),
        at: at.into(),
    };
    let within = |at: &str| Alias::CaseWithin { at: at.into() };
    let shown = mount("/data/sub", "/data/other");
    for (path, alias, rule, words) in [
        ("/data/sub", Alias::Case, "fs[1]", "case make no difference"),
        ("/data", within("/data"), "fs[2]", "case make no difference"),
        ("/data/file", Alias::HardLinks, "fs[3]", "hard links"),
        ("/data/sub", shown, "fs[1]", "at /data/other too"),
    ] {
        refuses(&policy, &with(path, alias), rule, words);
    }
    // Nothing of these is more than the rule knows.
    let hidden = mount("/data/sub", "/elsewhere/sub");
    for (path, alias) in [
        ("/data/sub", hidden),
        ("/data/sub", within("/data/sub")),
        ("/data", Alias::HardLinks),
        ("/other", Alias::Case),
    ] {
        let world = with(path, alias.clone());
        assert!(policy.compile(&world).is_ok(), "{path} {alias:?}");
    }
}
