//! Properties of the policy over random documents, paths and worlds.

mod policy_model;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use buntime::policy::*;
use policy_model::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// What only the loader knows: the schema takes any text there.
const MEANINGS: [&str; 5] = [
    "is no network",
    "is no host name",
    "is no system call",
    "is no regular expression",
    "not absolute",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn decide_agrees_with_a_naive_reading(layers in layers(true), bundle in bundle(), path in path(), perm in perm()) {
        let policy = merge(&layers, &bundle);
        let naive = naive_fs(&layers, &bundle, &path, perm);
        let decision = policy.decide(&Request::Fs { path: Path::new(&path), perm });
        prop_assert_eq!(decision.verdict, naive, "{} {} by {}", path, perm, decision.rule);
    }

    #[test]
    fn exec_and_net_agree_with_a_naive_reading(layers in layers(true), path in path(), host in host(), port in 0u16..4) {
        let policy = merge(&layers, &[]);
        let decision = policy.decide(&Request::Exec { path: Path::new(&path), sha256: None });
        prop_assert_eq!(decision.verdict, naive_exec(&layers, &path));
        let addr: Option<IpAddr> = host.parse().ok();
        let name = addr.is_none().then_some(host.as_str());
        let decision = policy.decide(&Request::Net { proto: Proto::Tcp, host: name, addr, port });
        prop_assert_eq!(decision.verdict, naive_net(&layers, &host, port));
    }

    #[test]
    fn a_layer_only_narrows(layers in layers_with_defaults(), more in layer(true), bundle in bundle(), path in path(), perm in perm(), host in host()) {
        // A policy without any default at all denies, so that a first layer that speaks may open it.
        let before = merge(&layers, &bundle);
        let mut all = layers.clone();
        all.push(more);
        let after = merge(&all, &bundle);
        let request = Request::Fs { path: Path::new(&path), perm };
        // Whether programs may run at all decides if denied ones are hidden, which a narrower
        // policy need not do: the comparison is of files that no exec rule names.
        if !names_a_program(&all, &path) {
            prop_assert!(after.decide(&request).verdict >= before.decide(&request).verdict);
        }
        let request = Request::Net { proto: Proto::Udp, host: Some(&host), addr: None, port: 1 };
        prop_assert!(after.decide(&request).verdict >= before.decide(&request).verdict);
    }

    #[test]
    fn the_order_of_rules_and_layers_does_not_matter(layers in layers(true), bundle in bundle(), path in path(), perm in perm()) {
        let mut turned = layers.clone();
        turned.reverse();
        for layer in &mut turned {
            layer.fs.reverse();
            layer.exec.reverse();
            layer.net.reverse();
        }
        let (one, other) = (merge(&layers, &bundle), merge(&turned, &bundle));
        let file = Request::Fs { path: Path::new(&path), perm };
        prop_assert_eq!(one.decide(&file).verdict, other.decide(&file).verdict);
        let program = Request::Exec { path: Path::new(&path), sha256: None };
        prop_assert_eq!(one.decide(&program).verdict, other.decide(&program).verdict);
    }

    #[test]
    fn a_written_layer_says_the_same(layers in layers(true), path in path(), perm in perm(), host in host()) {
        let policy = merge(&layers, &[]);
        let again: Vec<Layer> = layers.iter().map(|layer| {
            let text = parse(&layer.text()).to_json().unwrap();
            assert_eq!(schema_violations(text.as_bytes()).unwrap(), Vec::<String>::new());
            parse(&text)
        }).collect();
        let again = Policy::merge(again, Vec::new()).unwrap();
        let file = Request::Fs { path: Path::new(&path), perm };
        prop_assert_eq!(policy.decide(&file).verdict, again.decide(&file).verdict);
        let net = Request::Net { proto: Proto::Tcp, host: Some(&host), addr: None, port: 2 };
        prop_assert_eq!(policy.decide(&net).verdict, again.decide(&net).verdict);
    }

    /// Whatever is moved, with whatever lies in it, allows no more than before.
    #[test]
    fn what_is_carried_permits_no_more(layers in layers(true), bundle in bundle(), from in place(), to in place(), dir in any::<bool>()) {
        let policy = merge(&layers, &bundle);
        let more = |below: &str| {
            let (from, to) = (format!("{from}{below}"), format!("{to}{below}"));
            let severity = |path: &str, perm| naive_fs(&layers, &bundle, path, perm);
            let change = |path: &str| PermSet::CHANGE.iter().map(|perm| severity(path, perm)).min();
            // What is done to the name of a file is done to its directory.
            let about = if dir { PermSet::ALL } else { PermSet::FILE };
            let files = about.iter().any(|perm| severity(&to, perm) < severity(&from, perm));
            files || (!dir && change(&to) < change(&from)) || naive_exec(&layers, &to) < naive_exec(&layers, &from)
        };
        let below = if dir { suffixes() } else { vec![String::new()] };
        let found = below.iter().find(|below| more(below));
        match policy.carries(Path::new(&from), Path::new(&to), dir) {
            Ok(()) => prop_assert_eq!(found, None, "{} to {}", from, to),
            // Of a file it is told exactly.
            Err(rule) => prop_assert!(dir || found.is_some(), "{} to {} by {}", from, to, rule),
        }
        if from == to {
            prop_assert_eq!(policy.carries(Path::new(&from), Path::new(&to), dir), Ok(()));
        }
    }

    /// What another process of ours is given decides as the policy that it comes from.
    #[test]
    fn rules_that_are_handed_over_decide_the_same(layers in layers(true), others in layers(true), bundle in bundle(), path in path(), perm in perm(), dir in any::<bool>()) {
        let policy = merge(&layers, &bundle);
        let rules = serde_json::to_vec(&policy.live_rules(&Intercept::default())).unwrap();
        let given = merge(&others, &[]).with_live_rules(serde_json::from_slice(&rules).unwrap());
        let path = Path::new(&path);
        let requests = [Request::Fs { path, perm }, Request::Exec { path, sha256: None }];
        for request in requests {
            let (one, other) = (policy.decide(&request), given.decide(&request));
            prop_assert_eq!((one.verdict, one.rule), (other.verdict, other.rule));
        }
        let moves = |policy: &Policy| policy.carries(path, Path::new("/a/b"), dir).is_ok();
        prop_assert_eq!(moves(&policy), moves(&given));
        prop_assert_eq!(policy.compares_digest_of(path), given.compares_digest_of(path));
        prop_assert_eq!(policy.audit(), given.audit());
    }

    #[test]
    fn attributes_change_where_anything_may(layers in layers(true), bundle in bundle(), path in path()) {
        let policy = merge(&layers, &bundle);
        let naive = PermSet::CHANGE.iter().map(|perm| naive_fs(&layers, &bundle, &path, perm)).min();
        prop_assert_eq!(Some(policy.change(Path::new(&path)).verdict), naive);
    }

    #[test]
    fn the_parser_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(Layer::parse(&bytes, "fuzz", &vars()));
    }

    #[test]
    fn the_parser_survives_damaged_documents(layer in layer(true), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = layer.text().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = with }
        if let Err(error) = Layer::parse(&bytes, "fuzz", &vars()) {
            prop_assert!(error.to_string().starts_with("fuzz:"), "{}", error);
        }
    }

    #[test]
    fn decide_survives_any_request(layers in layers(true), path in ".{0,40}", host in ".{0,40}") {
        let policy = merge(&layers, &[]);
        for perm in Perm::ALL {
            let decision = policy.decide(&Request::Fs { path: Path::new(&path), perm });
            prop_assert!(path.starts_with('/') || decision.verdict == Verdict::Deny);
        }
        let _decision = policy.decide(&Request::Net { proto: Proto::Tcp, host: Some(&host), addr: None, port: 9 });
    }

    #[test]
    fn the_loader_and_the_schema_agree_about_shapes(document in document()) {
        let text = serde_json::to_vec(&document).unwrap();
        let schema = schema_violations(&text).unwrap();
        match Layer::parse(&text, "shape", &vars()) {
            Ok(_) => prop_assert!(schema.is_empty(), "{} {:?}", document, schema),
            Err(error) => {
                let shape = error.to_string().lines().any(|line| !MEANINGS.iter().any(|meaning| line.contains(meaning)));
                prop_assert!(!schema.is_empty() || !shape, "{} {}", document, error);
            }
        }
    }
}

/// Wherever a plan comes out, the kernel that it describes and the oracle give the same answer for
/// every path and permission, and nothing that is allowed is out of reach.
fn agrees(layers: &[Model], bundle: &[Grant], world: &RandomWorld) -> Result<(), TestCaseError> {
    let policy = merge(layers, bundle);
    let world = world.for_bundle(bundle);
    let Ok(plan) = policy.compile(&world) else {
        return Ok(());
    };
    let policy = policy.resolve(&world);
    carries(layers, &policy, &world, &plan)?;
    linked(&policy, &world, &Kernel::new(&plan, &world, &policy), &plan)
}

/// The kernel that the plan describes and the oracle give the same answers.
fn carries(
    layers: &[Model],
    policy: &Policy,
    world: &World,
    plan: &Plan,
) -> Result<(), TestCaseError> {
    let kernel = Kernel::new(plan, world, policy);
    let live = kernel.live();
    let held = live.without(Perm::Execute);
    for grant in &plan.landlock {
        // The kernel asks for reading too where it executes.
        let held = match grant.perms.contains(Perm::Execute) {
            true => held.without(Perm::ReadFile),
            false => held,
        };
        prop_assert!(!grant.perms.intersects(held), "{:?}", grant);
    }
    let intercept = plan.intercept.as_ref();
    prop_assert_eq!(intercept.is_some(), !live.is_empty());
    let patterns = layers
        .iter()
        .any(|layer| layer.text().contains(['*', '?', '[']));
    for path in every_path() {
        if !kernel.visible(&path) {
            prop_assert!(
                !is_shown_by_a_rule(layers, policy, world, &path),
                "{} in {:#?}",
                path.display(),
                plan
            );
            continue;
        }
        let program = policy
            .decide(&Request::Exec {
                path: &path,
                sha256: None,
            })
            .verdict;
        let starts = world.command.as_ref() == Some(&path) && plan.exec == ExecPlan::Once;
        for perm in Perm::ALL {
            if perm == Perm::WriteDir || !kernel.has_meaning(&path, perm) {
                continue;
            }
            let decision = policy.decide(&Request::Fs { path: &path, perm });
            let verdict = decision.verdict;
            let what = format!(
                "{} {} by {}\n{:#?}",
                path.display(),
                perm,
                decision.rule,
                plan
            );
            let does = kernel.allows(&path, perm);
            // What is recorded or asked is decided live; of what starts at once nothing is asked.
            let settled = matches!(verdict, Verdict::Allow | Verdict::Deny);
            let runs = perm != Perm::Execute || starts || program == Verdict::Allow;
            let dead = perm == Perm::Execute && (starts || program == Verdict::Deny);
            prop_assert!(
                settled || live.contains(perm) || dead || plan.exec == ExecPlan::Once,
                "{}",
                what
            );
            let says = verdict != Verdict::Deny;
            // What the oracle denies the kernel denies, whatever is mounted.
            let late = perm == Perm::Execute && live.contains(perm);
            prop_assert!(says || !does || late, "{}", what);
            let closed = PermSet::CHANGE.contains(perm) || perm == Perm::Execute;
            let by_default = decision.rule.what.starts_with("defaults.");
            if closed && kernel.is_bundle(&path) && (by_default || patterns) {
                continue;
            }
            if late {
                // An execution goes on in the kernel, and is looked at before its first instruction.
                prop_assert!(does || !says || program == Verdict::Deny, "{}", what);
                continue;
            }
            prop_assert_eq!(does, says && runs, "{}", what);
        }
        // Under a list of programs nothing else can be loaded as code.
        if let ExecPlan::Programs(_) = plan.exec
            && !live.contains(Perm::Execute)
            && kernel.is_file(&path)
            && kernel.maps_code(&path)
        {
            let library = path.starts_with("/lib") && !world.helpers.contains(&path);
            prop_assert!(
                program == Verdict::Allow || library,
                "{} in {:#?}",
                path.display(),
                plan
            );
        }
    }
    Ok(())
}

/// Whether a rule says by its name, or by where its pattern begins, that the host's path is shown.
fn is_shown_by_a_rule(layers: &[Model], policy: &Policy, world: &World, path: &Path) -> bool {
    let there = world
        .entries
        .get(path)
        .is_some_and(|entry| entry.kind != EntryKind::Missing && entry.real == path);
    let own = world.private.iter().any(|place| path.starts_with(place));
    // Whether something may be run is the exec section's too.
    let named = PermSet::ALL.without(Perm::Execute).iter().any(|perm| {
        let decision = policy.decide(&Request::Fs { path, perm });
        let layer = decision
            .rule
            .layer
            .parse()
            .ok()
            .and_then(|number: usize| layers.get(number));
        let pattern = layer.and_then(|layer| layer.path_of(&decision.rule.what));
        let begins = pattern.is_some_and(|pattern| {
            let first = pattern
                .split('/')
                .find(|name| !name.is_empty() && *name != ".");
            first.is_none_or(|name| !name.contains(['*', '?', '[']))
        });
        decision.verdict != Verdict::Deny && begins
    });
    world.namespaces && there && !own && named
}

/// Every file of several names that a rule names, and that is judged by more than its surroundings,
/// is known by itself.
fn linked(
    policy: &Policy,
    world: &World,
    kernel: &Kernel<'_>,
    plan: &Plan,
) -> Result<(), TestCaseError> {
    let Some(intercept) = &plan.intercept else {
        return Ok(());
    };
    let literal = policy.literal_paths();
    for (path, entry) in &world.entries {
        let several = entry.links > 1 && entry.kind == EntryKind::File && entry.real == *path;
        let Some(parent) = path.parent().filter(|_| several && kernel.visible(path)) else {
            continue;
        };
        let judged = |path, perm| policy.decide(&Request::Fs { path, perm }).verdict;
        let runs = |path| policy.decide(&Request::Exec { path, sha256: None }).verdict;
        let perms = intercept.perms;
        let more = perms
            .iter()
            .any(|perm| judged(path, perm) > judged(parent, perm))
            || (perms.contains(Perm::Execute) && runs(path) > runs(parent));
        let (known, named) = (intercept.linked.contains(path), literal.contains(path));
        prop_assert!(
            if named { more == known } else { more || !known },
            "{}",
            path.display()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The law of the compiler, for what the kernel carries by itself or nearly so.
    #[test]
    fn a_plan_agrees_with_the_oracle(layers in layers(false), bundle in bundle(), world in world()) {
        agrees(&layers, &bundle, &world)?;
    }

    /// The same for the whole language.
    #[test]
    fn a_plan_with_live_decisions_agrees_with_the_oracle(layers in layers_without_network(), bundle in bundle(), world in world()) {
        agrees(&layers, &bundle, &world)?;
    }

    /// A worker that goes over to another policy is held to it by what stands since its start and by
    /// new live decisions, as exactly as one that is started under it.
    #[test]
    fn what_is_reloaded_agrees_with_the_oracle(layers in layers_without_network(), change in change(), bundle in bundle(), world in world()) {
        reloads(&layers, &change, &bundle, &world)?;
    }
}

/// Goes over from one policy to another. Whether that is possible, with other answers than before.
fn reloads(
    layers: &[Model],
    change: &Change,
    bundle: &[Grant],
    world: &RandomWorld,
) -> Result<bool, TestCaseError> {
    let world = world.for_bundle(bundle);
    let before = merge(layers, bundle);
    let Ok(plan) = before.compile(&world) else {
        return Ok(false);
    };
    let changed = change.made_to(layers);
    let policy = merge(&changed, bundle);
    let Ok(intercept) = policy.reload(&world, &plan, &[]) else {
        return Ok(false);
    };
    let perms = |intercept: &Option<Intercept>| intercept.as_ref().map(|it| it.perms);
    prop_assert_eq!(perms(&intercept), perms(&plan.intercept));
    let now = Plan { intercept, ..plan };
    let (before, policy) = (before.resolve(&world), policy.resolve(&world));
    carries(&changed, &policy, &world, &now)?;
    let differs = |path: &PathBuf| {
        let verdict = |of: &Policy, perm| of.decide(&Request::Fs { path, perm }).verdict;
        let mut perms = Perm::ALL.into_iter();
        perms.any(|perm| verdict(&before, perm) != verdict(&policy, perm))
    };
    Ok(every_path().iter().any(differs))
}

/// The property of what is reloaded is about enough policies that are.
#[test]
fn many_policies_are_gone_over_to() {
    let mut runner = TestRunner::deterministic();
    let strategy = (layers_without_network(), change(), bundle(), world());
    let mut accepted = 0;
    for _ in 0..2000 {
        let tree = strategy.new_tree(&mut runner).unwrap();
        let (layers, change, bundle, world) = tree.current();
        accepted += usize::from(reloads(&layers, &change, &bundle, &world).unwrap());
    }
    assert!(accepted >= 50, "{accepted}");
}
