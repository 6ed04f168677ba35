//! Rules about what has other names on this host than the rules can know.

use std::path::{Component, Path, PathBuf};

use super::Refusals;
use crate::policy::layer::Layer;
use crate::policy::matching::PathPattern;
use crate::policy::merge::Policy;
use crate::policy::plan::{Alias, World};
use crate::policy::request::{RuleRef, Verdict};

/// Refuses rules that would not hold for what they are about under another of its names.
pub(super) fn rules(policy: &Policy, world: &World, refusals: &mut Refusals) {
    for layer in policy.layers.iter() {
        for (_, pattern, rule) in of(layer).filter(|(action, ..)| *action != Verdict::Allow) {
            let path = pattern.place();
            through(rule, (&path, world), refusals);
            for alias in world.aliases.get(&path).into_iter().flatten() {
                let is_literal = pattern.as_literal().is_some();
                refuse(policy, (rule, is_literal), (&path, alias), refusals);
            }
        }
    }
}

/// Refuses a rule whose path leads through a symbolic link and out of where that leads by `..`: it has no
/// name by which what may take the link's place is kept.
fn through(rule: &RuleRef, (path, world): (&Path, &World), refusals: &mut Refusals) {
    let goes_back = |name: &&PathBuf| {
        let mut parts = name.components();
        parts.any(|part| part == Component::ParentDir)
    };
    let names = world.through.get(path).into_iter().flatten();
    if let Some(name) = names.into_iter().find(goes_back) {
        refusals.add(
            rule,
            format!(
                "{} leads through {}, a symbolic link and back out of where that leads",
                path.display(),
                name.display()
            ),
            "name the path without symbolic links",
        );
    }
}

fn of(layer: &Layer) -> impl Iterator<Item = (Verdict, &PathPattern, &RuleRef)> {
    let files = layer.fs.iter();
    let programs = layer.exec.iter();
    files
        .map(|rule| (rule.action, &rule.pattern, &rule.rule))
        .chain(programs.map(|rule| (rule.action, &rule.pattern, &rule.rule)))
}

fn refuse(
    policy: &Policy,
    (rule, is_literal): (&RuleRef, bool),
    (path, alias): (&Path, &Alias),
    refusals: &mut Refusals,
) {
    match alias {
        Alias::CaseWithin if is_literal => {}
        Alias::Case | Alias::CaseWithin => refusals.add(
            rule,
            format!(
                "upper and lower case make no difference to names at {}, and it would not hold for another spelling",
                path.display()
            ),
            "deny the whole file system, or keep the files on another one",
        ),
        Alias::Mount { of, at } => {
            if is_visible(policy, at) && policy.carries(of, at, true).is_err() {
                let at = at.display();
                refusals.add(
                    rule,
                    format!("the host shows the same at {at} too, where the policy says less"),
                    format!("write the same rules for {at}, deny it as a whole, or unmount it"),
                );
            }
        }
        Alias::Copy => {
            let changes = policy.change(path).verdict != Verdict::Deny;
            if changes && is_literal {
                refusals.add(
                    rule,
                    "the file has other names (hard links) on an overlay file system, and one that is written to becomes a file of its own",
                    "deny it without perms, or copy the file",
                );
            }
        }
    }
}

/// Whether a path, or something below it, is shown to the worker: a default alone shows nothing.
fn is_visible(policy: &Policy, path: &Path) -> bool {
    let is_near = |shown: &Path| path.starts_with(shown) || shown.starts_with(path);
    let rules = policy.layers.iter().flat_map(of);
    // One that begins at the root speaks of what is there anyway.
    let mut shown = rules
        .filter(|(action, ..)| *action != Verdict::Deny)
        .filter_map(|(_, pattern, _)| pattern.as_literal().or_else(|| pattern.beginning()));
    shown.any(|shown| is_near(&shown)) || policy.bundle.iter().any(|grant| is_near(&grant.path))
}
