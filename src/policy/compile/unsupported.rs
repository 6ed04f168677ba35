//! What no mechanism of this program, or of this host, carries yet.

use super::{Refusals, live};
use crate::policy::index::Reason;
use crate::policy::layer::{Layer, NetRule};
use crate::policy::links::Links;
use crate::policy::matching::PathPattern;
use crate::policy::merge::{ExecMode, Policy};
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{NetPlan, World};
use crate::policy::request::{Proto, Request, RuleRef, Verdict};

/// Rules that need somebody to look at each operation, where nobody does.
pub(super) fn rules(policy: &Policy, world: &World, refusals: &mut Refusals) {
    let live = live::is_possible(world);
    for layer in policy.layers.iter() {
        if !live {
            looked_at(layer, refusals);
        }
        let connections = layer.net.iter().map(|rule| (rule.action, &rule.rule));
        let requests = layer.http.iter().map(|rule| (rule.action, &rule.rule));
        let default = layer.net_default.iter().map(|it| (it.verdict, &it.rule));
        for (verdict, rule) in default.chain(connections).chain(requests) {
            // Whoever connects is heard where there is a way out, and beside a container stands nobody who
            // could be asked.
            let is_unasked = verdict == Verdict::Ask && world.container.is_some();
            if !world.namespaces || is_unasked {
                action(verdict, rule, refusals);
            }
        }
        events(layer, (live, world.namespaces), refusals);
        for rule in &layer.risk {
            refusals.add(
                rule,
                "nothing here classifies operations by risk yet",
                "remove the rule",
            );
        }
    }
}

/// Rules about files and programs that the kernel does not carry by itself.
fn looked_at(layer: &Layer, refusals: &mut Refusals) {
    for default in layer.fs_defaults.iter().chain(&layer.exec_default) {
        action(default.verdict, &default.rule, refusals);
    }
    for rule in &layer.fs {
        action(rule.action, &rule.rule, refusals);
        pattern(&rule.pattern, &rule.rule, refusals);
    }
    for rule in &layer.exec {
        action(rule.action, &rule.rule, refusals);
        pattern(&rule.pattern, &rule.rule, refusals);
        if rule.sha256.is_some() {
            refusals.add(
                    &rule.rule,
                    "a digest must be compared each time a program starts, and nothing here does that yet",
                    "leave sha256 out, and name a path that the worker cannot write",
                );
        }
    }
}

/// What no log can have whole: the kernel denies and allows these by itself and tells nobody.
pub(in crate::policy) const UNSEEN: [&str; 1] = ["syscalls"];

/// The same where no call is decided live.
pub(in crate::policy) const UNSEEN_OF_THE_KERNEL: [&str; 2] = ["exec", "fs"];

/// The same where no connection is.
pub(in crate::policy) const UNSEEN_WITHOUT_WAY_OUT: [&str; 1] = ["net"];

/// Kinds of events that are asked for by name. A layer that names none asks for what there is.
fn events(layer: &Layer, (live, has_way_out): (bool, bool), refusals: &mut Refusals) {
    let asked = layer.audit.events.iter().map(String::as_str);
    let unseen: Vec<&str> = asked
        .filter(|event| {
            UNSEEN.contains(event)
                || (!live && UNSEEN_OF_THE_KERNEL.contains(event))
                || (!has_way_out && UNSEEN_WITHOUT_WAY_OUT.contains(event))
        })
        .collect();
    if layer.audit.enabled && !unseen.is_empty() {
        refusals.add(
            &layer.audit_rule,
            format!(
                "the kernel decides about {} by itself, and nothing here sees each operation to record it yet",
                unseen.join(", ")
            ),
            "leave them out; what Buntime itself is asked is recorded in any case",
        );
    }
}

fn action(verdict: Verdict, rule: &RuleRef, refusals: &mut Refusals) {
    match verdict {
        Verdict::Ask => refusals.add(
            rule,
            "ask needs somebody who is asked while the operation waits, and nothing here holds it yet",
            "write allow or deny",
        ),
        Verdict::Warn => refusals.add(
            rule,
            "warn needs each operation to be recorded as it happens, and nothing here sees them all yet",
            "write allow or deny",
        ),
        Verdict::Allow | Verdict::Deny => {}
    }
}

fn pattern(pattern: &PathPattern, rule: &RuleRef, refusals: &mut Refusals) {
    if pattern.as_literal().is_none() {
        refusals.add(
            rule,
            "a wildcard speaks of paths that do not exist yet, and the kernel's rules name only paths that do",
            "name the files or the directory",
        );
    }
}

/// What the host as a whole cannot do for this policy.
pub(super) fn host(policy: &Policy, world: &World, refusals: &mut Refusals) {
    let plugins =
        |wanted: fn(&Layer) -> bool| policy.layers.iter().find(move |layer| wanted(layer));
    if let Some(layer) = plugins(|layer| layer.plugins.namespaces).filter(|_| !world.namespaces) {
        refusals.add(
            &layer.plugins_rule,
            "namespaces are required and this host does not let them be created",
            "set plugins.namespaces to false, or allow user namespaces on the host",
        );
    }
    let first = policy.layers.first().map(|layer| &layer.plugins_rule);
    let Some(first) = first.cloned() else { return };
    if world.landlock_abi == 0 {
        refusals.add(
            &first,
            "this kernel has no Landlock, which carries the rules about paths",
            "use a kernel from 5.13 on with lsm=landlock, and in a container a seccomp profile that lets it be used",
        );
    }
    if world.namespaces {
        if world.container.is_some() {
            programs_of_an_image(policy, refusals);
        }
        return;
    }
    let outcomes = PermSet::ALL.iter().map(|perm| policy.fs_outcome(&[], perm));
    for outcome in outcomes.filter(|outcome| outcome.verdict == Verdict::Allow) {
        if outcome.reason == Reason::Default {
            refusals.add(
                policy.fs.rule(outcome),
                "a default that allows speaks of the bundle's own root, and without namespaces there is none",
                "set defaults.fs to deny and allow directories by name",
            );
        }
    }
    programs_without_namespaces(policy, refusals);
}

/// Of the programs of an image some cannot be let run and others not: its dynamic loader loads
/// whatever can be read.
fn programs_of_an_image(policy: &Policy, refusals: &mut Refusals) {
    if policy.mode != ExecMode::Programs {
        return;
    }
    let rules = policy.layers.iter().flat_map(|layer| &layer.exec);
    for rule in rules.filter(|rule| rule.action == Verdict::Allow) {
        refusals.add(
            &rule.rule,
            "in a container a list of programs is not held: the image's own loader could load any other program of the image that can be read",
            "let all programs run (defaults.exec allow) and deny some by name, or let none but the container's own run (defaults.exec deny and no rule)",
        );
    }
}

/// A program is started by a process that is made for it, and that could outlive everything that
/// a killed supervisor takes with it.
fn programs_without_namespaces(policy: &Policy, refusals: &mut Refusals) {
    let change = "allow no program but the command, or allow user namespaces on the host";
    let missing = match policy.mode {
        ExecMode::Once => return,
        ExecMode::Programs => {
            "a list of programs needs noexec mounts, so that ld.so cannot load others, and without namespaces nothing can be mounted"
        }
        ExecMode::Any => {
            "programs run in processes of their own, and without namespaces nothing surely ends those that a killed supervisor leaves"
        }
    };
    for layer in policy.layers.iter() {
        let rules = layer.exec.iter().map(|rule| (rule.action, &rule.rule));
        let default = layer.exec_default.iter();
        for (verdict, rule) in rules.chain(default.map(|default| (default.verdict, &default.rule)))
        {
            if verdict == Verdict::Allow {
                refusals.add(rule, missing, change);
            }
        }
    }
}

/// Which network there is. What lets packets out is refused where there is no way for them, unless
/// some layer closes the network as a whole.
pub(super) fn network(policy: &Policy, world: &World, refusals: &mut Refusals) -> NetPlan {
    // Who wants to go somewhere is seen where there is a way out, though it lets nobody through.
    let lets_out = is_open(policy) || is_seen(policy) && world.namespaces;
    if is_open(policy) {
        for layer in policy.layers.iter() {
            let rules = layer.net.iter().filter(|rule| rule.action != Verdict::Deny);
            for rule in rules {
                no_way_out(&rule.rule, world, refusals);
            }
            let default = layer.net_default.as_ref();
            if let Some(default) = default.filter(|default| default.verdict != Verdict::Deny) {
                no_way_out(&default.rule, world, refusals);
            }
        }
    }
    let mut sealed = false;
    for layer in policy.layers.iter() {
        let denies: Vec<&NetRule> = layer
            .net
            .iter()
            .filter(|rule| rule.action == Verdict::Deny && rule.pattern.touches_loopback())
            .collect();
        if denies.iter().any(|rule| rule.pattern.is_everything()) {
            sealed = true;
            continue;
        }
        for rule in denies {
            refusals.add(
                &rule.rule,
                "the worker's own loopback can be taken away as a whole, and not in parts",
                "deny every address ({\"action\": \"deny\"}), or leave the worker its loopback",
            );
        }
    }
    match (sealed, lets_out) {
        (true, _) => NetPlan::Sealed,
        (false, true) => NetPlan::Egress,
        (false, false) => NetPlan::None,
    }
}

impl Policy {
    /// Whether there is a network with a way out, where there can be one.
    #[must_use]
    pub fn has_way_out(&self) -> bool {
        is_open(self) || is_seen(self)
    }
}

/// Whether something is let out.
fn is_open(policy: &Policy) -> bool {
    let is_named = |layer: &Layer| {
        let rules = layer.net.iter().map(|rule| rule.action);
        let default = layer.net_default.iter().map(|default| default.verdict);
        rules.chain(default).any(|verdict| verdict != Verdict::Deny)
    };
    let layers = || policy.layers.iter();
    !layers().any(closed) && layers().any(is_named)
}

/// Whether everybody who wants to go somewhere is to be recorded.
fn is_seen(policy: &Policy) -> bool {
    let audit = policy.audit();
    audit.enabled && audit.events.iter().any(|event| event == "net")
}

/// Whether some UDP could be let out, where each layer has a say.
pub(super) fn datagrams(policy: &Policy, net: NetPlan) -> bool {
    let layers = policy.layers.iter();
    let lets = |layer: &Layer| {
        let default = layer.net_default.as_ref();
        default.is_some_and(|default| default.verdict != Verdict::Deny)
            || layer.net.iter().any(lets_datagrams)
    };
    net == NetPlan::Egress
        && layers.clone().any(lets)
        && !layers.into_iter().any(|layer| {
            let default = layer.net_default.as_ref();
            default.is_some_and(|it| it.verdict == Verdict::Deny) && !lets(layer)
        })
}

fn lets_datagrams(rule: &NetRule) -> bool {
    rule.action != Verdict::Deny && rule.pattern.proto != Some(Proto::Tcp)
}

fn no_way_out(rule: &RuleRef, world: &World, refusals: &mut Refusals) {
    if !world.namespaces {
        refusals.add(
            rule,
            "without namespaces there is no network of its own whose way out could be held",
            "deny the network (--deny-net, or defaults.net deny and no rule that allows)",
        );
    }
}

/// Whether the layer lets nothing out by itself: it denies everything by a rule, or has a
/// default of deny and no rule that does more. A layer without a default says nothing, which
/// is deny when no other layer says more.
fn closed(layer: &Layer) -> bool {
    if layer
        .net
        .iter()
        .any(|rule| rule.action == Verdict::Deny && rule.pattern.is_everything())
    {
        return true;
    }
    let default = layer.net_default.as_ref();
    default.is_some_and(|default| default.verdict == Verdict::Deny)
        && layer.net.iter().all(|rule| rule.action == Verdict::Deny)
}

/// Whether the command may be run at all: what denies it by name is not overruled by its
/// being on the command line.
pub(super) fn command(policy: &Policy, world: &World, refusals: &mut Refusals) {
    let Some(command) = &world.command else {
        return;
    };
    let denied = "it denies the command itself";
    let change = "run another command, or change the rule";
    if policy.mode == ExecMode::Once {
        let links = Links::of(Some(world));
        let rules = policy.layers.iter().flat_map(|layer| &layer.exec);
        for rule in rules.filter(|rule| rule.action == Verdict::Deny) {
            let named = rule.pattern.as_literal();
            let named = named.as_deref().map(|path| links.real(path));
            if named == Some(command.as_path()) {
                refusals.add(&rule.rule, denied, change);
            }
        }
    }
    for perm in [Perm::ReadFile, Perm::Execute] {
        let request = Request::Fs {
            path: command,
            perm,
        };
        let decision = policy.decide(&request);
        if decision.verdict == Verdict::Deny {
            refusals.add(&decision.rule, denied, change);
        }
    }
}
