//! Properties of the policy over random documents, paths and worlds.

mod policy_model;

use std::net::IpAddr;
use std::path::Path;

use buntime::policy::*;
use policy_model::*;
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The law of the compiler: wherever a plan comes out, the kernel that it describes and the
    /// oracle give the same answer for every path and permission.
    #[test]
    fn a_plan_agrees_with_the_oracle(layers in layers(false), bundle in bundle(), world in world()) {
        let policy = merge(&layers, &bundle);
        let world = world.for_bundle(&bundle);
        let Ok(plan) = policy.compile(&world) else { return Ok(()) };
        let policy = policy.resolve(&world);
        let kernel = Kernel::new(&plan, &world);
        for path in every_path() {
            if !kernel.visible(&path) {
                continue;
            }
            for perm in Perm::ALL {
                if perm == Perm::WriteDir || !kernel.has_meaning(&path, perm) {
                    continue;
                }
                let decision = policy.decide(&Request::Fs { path: &path, perm });
                let says = decision.verdict == Verdict::Allow;
                let does = kernel.allows(&path, perm);
                // What the oracle denies the kernel denies, whatever is mounted.
                prop_assert!(says || !does, "{} {} by {}\n{:#?}", path.display(), perm, decision.rule, plan);
                if decision.rule.what.starts_with("defaults.") && kernel.is_bundle(&path) && (PermSet::CHANGE.contains(perm) || perm == Perm::Execute) {
                    continue;
                }
                let runs = perm != Perm::Execute || {
                    let program = policy.decide(&Request::Exec { path: &path, sha256: None });
                    let starts = world.command.as_ref() == Some(&path) && plan.exec == ExecPlan::Once;
                    program.verdict == Verdict::Allow || starts
                };
                prop_assert_eq!(does, says && runs, "{} {} by {}\n{:#?}", path.display(), perm, decision.rule, plan);
            }
            // Under a list of programs nothing else can be loaded as code.
            if let ExecPlan::Programs(_) = plan.exec && kernel.is_file(&path) && kernel.maps_code(&path) {
                let runs = policy.decide(&Request::Exec { path: &path, sha256: None }).verdict == Verdict::Allow;
                prop_assert!(runs || (path.starts_with("/lib") && !world.helpers.contains(&path)), "{} in {:#?}", path.display(), plan);
            }
        }
    }
}
