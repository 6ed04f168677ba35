//! Rules about what has other names on this host than the rules can know.

use std::path::Path;

use super::Refusals;
use crate::policy::index::Reason;
use crate::policy::layer::Layer;
use crate::policy::matching::PathPattern;
use crate::policy::merge::Policy;
use crate::policy::names::Names;
use crate::policy::perm::PermSet;
use crate::policy::plan::{Alias, World};
use crate::policy::request::{RuleRef, Verdict};

/// Refuses rules that would not hold for what they are about under another of its names.
pub(super) fn rules(policy: &Policy, world: &World, refusals: &mut Refusals) {
    for layer in policy.layers.iter() {
        for rule in of(layer) {
            let pattern = rule.pattern;
            let Some(path) = pattern.as_literal().or_else(|| pattern.beginning()) else {
                continue;
            };
            for alias in world.aliases.get(&path).into_iter().flatten() {
                refuse(policy, &rule, (&path, alias), refusals);
            }
        }
    }
}

/// A rule that does not simply allow.
struct Strict<'l> {
    action: Verdict,
    pattern: &'l PathPattern,
    perms: PermSet,
    rule: &'l RuleRef,
}

fn of(layer: &Layer) -> impl Iterator<Item = Strict<'_>> {
    let files = layer.fs.iter().map(|rule| Strict {
        action: rule.action,
        pattern: &rule.pattern,
        perms: rule.perms,
        rule: &rule.rule,
    });
    let programs = layer.exec.iter().map(|rule| Strict {
        action: rule.action,
        pattern: &rule.pattern,
        perms: PermSet::PROGRAM,
        rule: &rule.rule,
    });
    let all = files.chain(programs);
    all.filter(|rule| rule.action != Verdict::Allow)
}

fn refuse(
    policy: &Policy,
    strict: &Strict<'_>,
    (path, alias): (&Path, &Alias),
    refusals: &mut Refusals,
) {
    let is_literal = strict.pattern.as_literal().is_some();
    match alias {
        Alias::CaseWithin if is_literal => {}
        Alias::Case | Alias::CaseWithin => refusals.add(
            strict.rule,
            format!(
                "upper and lower case make no difference to names at {}, and it would not hold for another spelling",
                path.display()
            ),
            "deny the whole file system, or keep the files on another one",
        ),
        Alias::Mount(other) => {
            // What a default alone speaks of is not shown.
            let permits = |perm| {
                let names = Names::of(other);
                let outcome = names.map(|names| policy.fs_outcome(names.as_slice(), perm));
                outcome.is_some_and(|outcome| {
                    outcome.verdict < strict.action && outcome.reason != Reason::Default
                })
            };
            if strict.perms.iter().any(permits) {
                refusals.add(
                    strict.rule,
                    format!("the host shows the same at {} too", other.display()),
                    format!("write the rule for {} as well, or unmount it", other.display()),
                );
            }
        }
        Alias::Copy => {
            let changes = policy.change(path).verdict != Verdict::Deny;
            if changes && is_literal {
                refusals.add(
                    strict.rule,
                    "the file has other names (hard links) on an overlay file system, and one that is written to becomes a file of its own",
                    "deny it without perms, or copy the file",
                );
            }
        }
    }
}
