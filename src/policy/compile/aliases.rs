//! Rules about what has other names on this host than the rules can know.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::Refusals;
use super::intercept::is_judged_more_severely;
use crate::policy::layer::Layer;
use crate::policy::matching::PathPattern;
use crate::policy::merge::Policy;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{Alias, Entry, World};
use crate::policy::request::{RuleRef, Verdict};

/// Refuses rules that would not hold for what they are about under another of its names.
pub(super) fn rules(policy: &Policy, world: &World, refusals: &mut Refusals) {
    for layer in policy.layers.iter() {
        for (_, pattern, rule) in of(layer).filter(|(action, ..)| *action != Verdict::Allow) {
            let path = pattern.place();
            through(rule, (&path, world), refusals);
            for alias in world.aliases.get(&path).into_iter().flatten() {
                refuse((policy, world), (rule, pattern), (&path, alias), refusals);
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
    (policy, world): (&Policy, &World),
    (rule, pattern): (&RuleRef, &PathPattern),
    (path, alias): (&Path, &Alias),
    refusals: &mut Refusals,
) {
    let is_literal = pattern.as_literal().is_some();
    match alias {
        Alias::Case => folding(rule, path, refusals),
        Alias::CaseWithin { at } => {
            if !is_literal && pattern.reaches_into(at) {
                folding(rule, at, refusals);
            }
        }
        Alias::Mount { of, at } => {
            let is_visible = policy.may_show(at, &world.entries);
            if is_visible && policy.carries(of, at, true).is_err() {
                let at = at.display();
                refusals.add(
                    rule,
                    format!("the host shows the same at {at} too, where the policy says less"),
                    format!("write the same rules for {at}, deny it as a whole, or unmount it"),
                );
            }
        }
        Alias::HardLinks => {
            let entry = world.entries.get(path);
            let real = entry.map_or(path, |entry| &entry.real);
            let perms = PermSet::ALL.without(Perm::WriteDir);
            if is_literal && is_judged_more_severely(policy, real, perms) {
                refusals.add(
                    rule,
                    format!(
                        "{} has other names (hard links), and on its file system (an overlay, FUSE, a network) each of them can be a file of its own, for which it would not hold",
                        real.display()
                    ),
                    "copy the file in its place, so that it has one name, and deny or remove the others",
                );
            }
        }
    }
}

fn folding(rule: &RuleRef, at: &Path, refusals: &mut Refusals) {
    refusals.add(
        rule,
        format!(
            "upper and lower case make no difference to names at {}, and it would not hold for another spelling",
            at.display()
        ),
        "deny the whole file system, or keep the files on another one",
    );
}

impl Policy {
    /// Whether a path without symbolic links, or something below it, may be shown to the worker: a
    /// default alone shows nothing. `entries` has what the rules name.
    pub fn may_show(&self, path: &Path, entries: &BTreeMap<PathBuf, Entry>) -> bool {
        let is_near = |shown: &Path| path.starts_with(shown) || shown.starts_with(path);
        let rules = self.layers.iter().flat_map(of);
        // One that begins at the root speaks of what is there anyway.
        let mut shown = rules
            .filter(|(action, ..)| *action != Verdict::Deny)
            .filter_map(|(_, pattern, _)| pattern.as_literal().or_else(|| pattern.beginning()));
        let behind = |shown: &PathBuf| entries.get(shown).is_some_and(|entry| is_near(&entry.real));
        shown.any(|shown| is_near(&shown) || behind(&shown))
            || self.bundle.iter().any(|grant| is_near(&grant.path))
    }
}
