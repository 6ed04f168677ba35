//! What only a live decision can carry, as far as the rules themselves tell.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::policy::index::{Possible, Reach};
use crate::policy::layer::Layer;
use crate::policy::links::Links;
use crate::policy::matching::PathPattern;
use crate::policy::merge::{ExecMode, Policy};
use crate::policy::names::Names;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::World;
use crate::policy::request::{RuleRef, Verdict};

/// Whether there can be an interceptor: in a root that the plan puts together, whose first process
/// is ours.
pub(super) fn is_possible(world: &World) -> bool {
    world.namespaces && world.container.is_none()
}

/// Where the patterns begin that do more than deny: what they speak of is shown from there on.
pub(super) fn beginnings(policy: &Policy) -> BTreeSet<PathBuf> {
    let layers = policy.layers.iter();
    let patterns = layers.flat_map(|layer| {
        let files = layer.fs.iter().map(|rule| (rule.action, &rule.pattern));
        files.chain(layer.exec.iter().map(|rule| (rule.action, &rule.pattern)))
    });
    patterns
        .filter(|(action, _)| *action != Verdict::Deny)
        .filter_map(|(_, pattern)| pattern.beginning())
        .collect()
}

/// The permissions of which some rule says what only a live decision can carry, as far as anything
/// may be allowed there: a deny of what is denied anyway needs nobody.
pub(super) fn of_rules(policy: &Policy, world: &World) -> PermSet {
    if !is_possible(world) {
        return PermSet::NONE;
    }
    let links = Links::of(Some(world));
    let mut live = PermSet::NONE;
    for layer in policy.layers.iter() {
        live = live.union(of_layer(policy, layer, &links));
    }
    let audit = policy.audit();
    let recorded = |kind: &str| audit.enabled && audit.events.iter().any(|event| event == kind);
    if recorded("fs") {
        live = live.union(PermSet::ALL.without(Perm::Execute));
    }
    if recorded("exec") {
        live = live.with(Perm::Execute);
    }
    // The filter lets the one command start, and whatever else would run is told to the supervisor.
    if policy.mode == ExecMode::Once {
        live = live.without(Perm::Execute);
    }
    live.without(Perm::WriteDir)
}

fn of_layer(policy: &Policy, layer: &Layer, links: &Links<'_>) -> PermSet {
    let mut live = PermSet::NONE;
    let mut add =
        |perms: PermSet, at: &Path| live = live.union(perms.intersection(may(policy, at)));
    let root = Path::new("/");
    for default in layer
        .fs_defaults
        .iter()
        .filter(|default| is_live(default.verdict))
    {
        add(default.perms, root);
    }
    for rule in &layer.fs {
        if is_live(rule.action) || rule.pattern.as_literal().is_none() {
            for at in places(rule.action, &rule.pattern, links) {
                add(rule.perms, &at);
            }
        }
    }
    let execute = PermSet::of(&[Perm::Execute]);
    if layer
        .exec_default
        .iter()
        .any(|default| is_live(default.verdict))
    {
        add(execute, root);
    }
    for rule in &layer.exec {
        let pattern = rule.pattern.as_literal().is_none();
        // A pattern that lets programs run lets them be read, and one that denies them hides them.
        let files = match (pattern, rule.action) {
            (false, _) => PermSet::NONE,
            (true, Verdict::Deny) => PermSet::ALL,
            (true, _) => PermSet::PROGRAM,
        };
        for at in places(rule.action, &rule.pattern, links) {
            if pattern || is_live(rule.action) || rule.sha256.is_some() {
                add(files.union(execute), &at);
            }
        }
    }
    live
}

/// Whether this rule has more decided live than `held`, as far as it tells by itself.
pub(super) fn needs_more(policy: &Policy, rule: &RuleRef, held: PermSet) -> bool {
    let with_rule = |layer: &&Layer| {
        let files = layer.fs.iter().any(|it| it.rule == *rule);
        files || layer.exec.iter().any(|it| it.rule == *rule)
    };
    let layer = policy.layers.iter().find(with_rule);
    layer.is_some_and(|layer| {
        let mut alone = layer.clone();
        alone.fs_defaults.clear();
        alone.exec_default = None;
        alone.fs.retain(|it| it.rule == *rule);
        alone.exec.retain(|it| it.rule == *rule);
        let more = of_layer(policy, &alone, &Links::default()).difference(held);
        !more.without(Perm::WriteDir).is_empty()
    })
}

fn is_live(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Warn | Verdict::Ask)
}

/// Where a rule begins to speak, by each of the names that this has.
fn places(action: Verdict, pattern: &PathPattern, links: &Links<'_>) -> Vec<PathBuf> {
    links.names(pattern.place(), action)
}

/// What may be allowed at a path or below it. What runs has to be allowed by both sections.
fn may(policy: &Policy, path: &Path) -> PermSet {
    let Some(names) = Names::of(path) else {
        return PermSet::ALL;
    };
    let names = names.as_slice();
    let Possible { allowed, .. } = policy.fs.possible(names, Reach::All);
    let runs = policy.exec.possible(names, Reach::All).allowed;
    match runs.contains(Perm::Execute) {
        true => allowed,
        false => allowed.without(Perm::Execute),
    }
}
