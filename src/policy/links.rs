//! The names that a path of a rule has by symbolic links.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::matching::PathPattern;
use super::plan::World;
use super::request::Verdict;

/// What paths of the snapshot lead to, where that is another path.
#[derive(Debug, Default)]
pub(super) struct Links<'w> {
    real: BTreeMap<&'w Path, &'w Path>,
    through: BTreeMap<&'w Path, &'w [PathBuf]>,
}

impl<'w> Links<'w> {
    pub fn of(world: Option<&'w World>) -> Links<'w> {
        let Some(world) = world else {
            return Links::default();
        };
        let elsewhere = world
            .entries
            .iter()
            .filter(|(path, entry)| **path != entry.real);
        let through = world.through.iter();
        Links {
            real: elsewhere
                .map(|(path, entry)| (path.as_path(), entry.real.as_path()))
                .collect(),
            through: through
                .map(|(path, names)| (path.as_path(), names.as_slice()))
                .collect(),
        }
    }

    /// The path without symbolic links.
    pub fn real<'p>(&self, path: &'p Path) -> &'p Path
    where
        'w: 'p,
    {
        self.real.get(path).copied().unwrap_or(path)
    }

    /// The names that a path leads through: whatever takes the place of the link that one of them begins
    /// with is what the path leads to.
    pub fn through(&self, path: &Path) -> &'w [PathBuf] {
        self.through.get(path).copied().unwrap_or_default()
    }

    /// The path, and the other names that it has for a rule: what it leads to, and where a rule does more
    /// than allow, what it leads through.
    pub fn names(&self, path: PathBuf, action: Verdict) -> Vec<PathBuf> {
        let through = match action {
            Verdict::Allow => &[],
            Verdict::Warn | Verdict::Ask | Verdict::Deny => self.through(&path),
        };
        let real = self.real(&path).to_owned();
        let mut names = vec![path];
        for name in through.iter().cloned().chain([real]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The pattern of a rule, and the pattern at each other name of where it begins.
pub(super) fn places(
    action: Verdict,
    pattern: &PathPattern,
    links: &Links<'_>,
) -> Vec<PathPattern> {
    let literal = pattern.as_literal();
    let is_literal = literal.is_some();
    let Some(named) = literal.or_else(|| pattern.beginning()) else {
        return vec![pattern.clone()];
    };
    let others = links.names(named, action).into_iter().skip(1);
    let others = others.filter_map(|name| match is_literal {
        true => PathPattern::literal(&name).ok(),
        false => pattern.beginning_at(&name).ok(),
    });
    std::iter::once(pattern.clone()).chain(others).collect()
}
