//! How each rule is enforced, for people.

use std::path::Path;

use super::descend::Outline;
use crate::policy::layer::Layer;
use crate::policy::links::Links;
use crate::policy::merge::{ExecMode, Policy};
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{EntryKind, MaskKind, NetPlan, RuleMechanism, World};
use crate::policy::request::{RuleRef, Verdict};

/// One line for every rule of every layer.
pub(super) fn of(
    policy: &Policy,
    world: &World,
    outline: &Outline,
    (net, live): (NetPlan, PermSet),
) -> Vec<RuleMechanism> {
    let mut list = Vec::new();
    for layer in policy.layers.iter() {
        paths(layer, world, outline, live, &mut list);
        programs(layer, policy.mode, live, &mut list);
        connections(layer, world, net, &mut list);
        requests(layer, net, &mut list);
        if !layer.deny_syscalls.is_empty() {
            list.push(mechanism(&layer.syscalls_rule, "seccomp"));
        }
    }
    list
}

fn mechanism(rule: &RuleRef, mechanism: impl Into<String>) -> RuleMechanism {
    RuleMechanism {
        rule: rule.clone(),
        mechanism: mechanism.into(),
    }
}

fn paths(
    layer: &Layer,
    world: &World,
    outline: &Outline,
    live: PermSet,
    list: &mut Vec<RuleMechanism>,
) {
    for default in &layer.fs_defaults {
        let how = match (default.verdict, world.namespaces) {
            (Verdict::Allow, _) => "what the bundle's root shows",
            (_, true) if world.container.is_none() => "not visible, and landlock",
            _ => "landlock",
        };
        list.push(mechanism(
            &default.rule,
            with_live(default.perms, live, how),
        ));
    }
    let links = Links::of(Some(world));
    for rule in &layer.fs {
        let how = match rule.pattern.as_literal() {
            Some(path) => at_path(links.real(&path), rule.action, outline),
            // Of a pattern nothing is the kernel's; what is not decided live is denied anyway.
            None if rule.perms.intersects(live) => {
                list.push(mechanism(&rule.rule, INTERCEPTOR));
                continue;
            }
            None => "nothing is allowed there".into(),
        };
        list.push(mechanism(&rule.rule, with_live(rule.perms, live, &how)));
    }
}

const INTERCEPTOR: &str = "interceptor";

/// What the interceptor has of the rule's permissions, before what the kernel has.
fn with_live(perms: PermSet, live: PermSet, how: &str) -> String {
    let kernel = perms.difference(live).without(Perm::WriteDir);
    let decided = perms.intersection(live).without(Perm::WriteDir);
    match (decided.is_empty(), kernel.without(Perm::Execute).is_empty()) {
        (true, _) => how.to_owned(),
        (false, true) => INTERCEPTOR.to_owned(),
        (false, false) => format!("{INTERCEPTOR} for {decided}; {how}"),
    }
}

fn at_path(path: &Path, action: Verdict, outline: &Outline) -> String {
    if outline.absent.iter().any(|absent| absent.path == path) {
        return "nothing is there; it ends when something is".into();
    }
    let found = outline.spots.iter().position(|spot| spot.path == path);
    let Some((spot, state)) = found.map(|index| (&outline.spots[index], &outline.states[index]))
    else {
        return "nothing is there".into();
    };
    if spot.kind == EntryKind::Missing {
        return "nothing is there".into();
    }
    let masks: Vec<&str> = outline
        .masks
        .iter()
        .filter(|mask| mask.path == path)
        .map(|mask| match mask.kind {
            MaskKind::Hidden => "hidden by a mount",
            MaskKind::ReadOnly => "read-only mount",
            MaskKind::NoExec => "noexec mount",
        })
        .collect();
    if !masks.is_empty() {
        return masks.join(", ");
    }
    let bound = outline.binds.iter().any(|bind| bind.path == path);
    match (action, state.visible) {
        (_, false) => "not visible".into(),
        (Verdict::Deny, true) => "landlock: not granted".into(),
        (_, true) if bound => "bind, and landlock".into(),
        (_, true) => "landlock".into(),
    }
}

fn programs(layer: &Layer, mode: ExecMode, live: PermSet, list: &mut Vec<RuleMechanism>) {
    let how = match mode {
        _ if live.contains(Perm::Execute) => "interceptor: each program is looked at as it starts",
        ExecMode::Once => "exec once: seccomp lets the command start and nothing after it",
        ExecMode::Programs => "landlock execute, noexec mounts, other programs hidden",
        ExecMode::Any => "what is visible may run; denied programs are hidden",
    };
    let rules = layer.exec.iter().map(|rule| &rule.rule);
    for rule in layer
        .exec_default
        .iter()
        .map(|default| &default.rule)
        .chain(rules)
    {
        list.push(mechanism(rule, how));
    }
}

fn connections(layer: &Layer, world: &World, net: NetPlan, list: &mut Vec<RuleMechanism>) {
    let how = match (net, world.namespaces) {
        (NetPlan::None, true) if world.container.is_none() => {
            "empty network namespace with loopback"
        }
        (NetPlan::Egress, _) => "egress plane: each connection is decided as it is made",
        _ => "seccomp: no internet socket",
    };
    let rules = layer.net.iter().map(|rule| &rule.rule);
    for rule in layer
        .net_default
        .iter()
        .map(|default| &default.rule)
        .chain(rules)
    {
        list.push(mechanism(rule, how));
    }
}

fn requests(layer: &Layer, net: NetPlan, list: &mut Vec<RuleMechanism>) {
    let (read, put) = match net {
        NetPlan::Egress => (
            "egress plane: each request is read, out of TLS too",
            "egress plane: put into requests over TLS, for what stands for it",
        ),
        NetPlan::None | NetPlan::Sealed => ("nothing leaves", "nothing leaves"),
    };
    let rules = layer.http.iter().map(|rule| mechanism(&rule.rule, read));
    let secrets = layer.secrets.iter().map(|one| mechanism(one.rule(), put));
    list.extend(rules.chain(secrets));
}
