//! Which rule of a system call is tried first.
//!
//! libseccomp makes a tree of comparisons out of the rules, so that the order in which a profile
//! lists them decides little. The tree is walked like this, and so is the list that comes of it
//! here: rules are compared argument by argument, and a 64-bit argument in two halves, the upper
//! one first. At the first difference,
//!
//! 1. the argument with the higher index goes first,
//! 2. then equality, with or without a mask or a negation, before `LT` and `LE`, those before
//!    `GE` and `GT`,
//! 3. then the larger constant, but for `LT` and `LE` the smaller one,
//! 4. then the comparison that an earlier rule of the profile made first.
//!
//! libseccomp itself errs where its tree shares a comparison between rules that go on differently.
//! It may refuse a profile, never come to an end, forget a rule or answer as if one had matched:
//! with `NE` rules of different actions on one argument, with `NE`, `LT`, `LE`, `GE` or `GT` and
//! a condition on a further argument, and with `LT`, `LE`, `GE` and `GT` of constants that differ
//! in their upper half. Here the list above holds for all of them.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::arch::Width;
use super::rules::{Condition, Rule, Test};
use crate::sys::seccomp::LONGEST_PROGRAM;

/// What the rules of one call come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// This answer, whatever the arguments.
    Always(u32),
    /// The first rule that matches answers.
    Compare(Vec<Rule>),
}

/// Why no order could be found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// Two rules say different things of the same arguments.
    Contradiction,
    /// There are more rules than the longest program has instructions.
    TooMany(usize),
}

/// Settles which of `rules` decides, for arguments of this width. They stand in the profile's
/// order.
pub(super) fn settle(rules: &[Rule], width: Width) -> Result<Settled, Unsettled> {
    let mut narrowed = Vec::with_capacity(rules.len());
    for rule in rules {
        let conditions: Vec<_> = rule.conditions.iter().filter_map(|c| c.at(width)).collect();
        if conditions.is_empty() {
            return Ok(Settled::Always(rule.answer));
        }
        narrowed.push(Rule {
            conditions,
            ..*rule
        });
    }
    let kept = without_shadowed(narrowed)?;
    if kept.len() > LONGEST_PROGRAM {
        return Err(Unsettled::TooMany(kept.len()));
    }
    let mut paths: Vec<Path> = kept.into_iter().map(|rule| Path::of(rule, width)).collect();
    arrange(&mut paths, 0);
    let ordered = paths.into_iter().map(|path| path.rule).collect();
    Ok(Settled::Compare(ordered))
}

/// Without the rules that another one decides already, taken one after the other. A rule whose
/// conditions are where another's begin is the wider one: it must say the same or come first. One
/// whose conditions are in the middle or at the end of another's is tried before it in any case.
fn without_shadowed(rules: Vec<Rule>) -> Result<Vec<Rule>, Unsettled> {
    let mut taken = Taken::default();
    for (at, rule) in rules.iter().enumerate() {
        let keep = taken.take(&rules, at, rule)?;
        taken.keep.push(keep);
    }
    let mut keep = taken.keep.into_iter();
    Ok(rules
        .into_iter()
        .filter(|_| keep.next() == Some(true))
        .collect())
}

/// The rules that were looked at.
#[derive(Default)]
struct Taken<'a> {
    keep: Vec<bool>,
    /// The kept rule with exactly these conditions.
    whole: HashMap<&'a [Condition], usize>,
    /// The rules that were kept at first and have these among their conditions, in a row.
    within: HashMap<&'a [Condition], Vec<usize>>,
}

impl<'a> Taken<'a> {
    /// Whether to keep the rule at `at`.
    fn take(&mut self, rules: &'a [Rule], at: usize, rule: &'a Rule) -> Result<bool, Unsettled> {
        let conditions = rule.conditions.as_slice();
        let kept = |part: &[Condition]| {
            let place = self.whole.get(part).copied()?;
            rules
                .get(place)
                .filter(|_| self.keep.get(place) == Some(&true))
        };
        if let Some(same) = kept(conditions) {
            return match same.answer == rule.answer {
                true => Ok(false),
                false => Err(Unsettled::Contradiction),
            };
        }
        let decides = |(side, part): (Side, &[Condition])| {
            kept(part).is_some_and(|by| side != Side::Middle || by.answer == rule.answer)
        };
        if parts(conditions).any(decides) {
            return Ok(false);
        }
        for &longer in self.within.get(conditions).into_iter().flatten() {
            let (Some(other), Some(keep)) = (rules.get(longer), self.keep.get_mut(longer)) else {
                continue;
            };
            let same = other.answer == rule.answer;
            if *keep && !same && other.conditions.starts_with(conditions) {
                return Err(Unsettled::Contradiction);
            }
            *keep &= !same;
        }
        self.whole.insert(conditions, at);
        for (_, part) in parts(conditions) {
            self.within.entry(part).or_default().push(at);
        }
        Ok(true)
    }
}

/// Where a part of the conditions stands among them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Begin,
    Middle,
    End,
}

/// All rows of conditions that are not the whole.
fn parts(conditions: &[Condition]) -> impl Iterator<Item = (Side, &[Condition])> {
    let length = conditions.len();
    let all = (0..length).flat_map(move |from| (from + 1..=length).map(move |to| (from, to)));
    all.filter(move |(from, to)| to - from < length)
        .filter_map(move |(from, to)| {
            let side = match (from, to) {
                (0, _) => Side::Begin,
                (_, to) if to == length => Side::End,
                _ => Side::Middle,
            };
            Some((side, conditions.get(from..to)?))
        })
}

/// A rule as the comparisons that it makes one after the other.
struct Path {
    rule: Rule,
    steps: Vec<Step>,
}

/// One comparison of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    /// Twice the argument's index, and one more for its upper half.
    place: u8,
    /// The larger the earlier.
    rank: u8,
    constant: u32,
    kind: Kind,
    /// Which way it goes on from here.
    test: Option<Test>,
}

/// Which comparisons share a place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `EQ` and `NE` are one comparison with two ways on.
    Equal,
    Masked(u32),
    /// The upper half is compared in the same way for all of them.
    Ordered,
}

impl Path {
    fn of(rule: Rule, width: Width) -> Path {
        let mut steps = Vec::with_capacity(rule.conditions.len() * 2);
        for condition in &rule.conditions {
            if width == Width::Whole {
                steps.push(Step::of(condition, true));
            }
            steps.push(Step::of(condition, false));
        }
        Path { rule, steps }
    }
}

impl Step {
    fn of(condition: &Condition, upper: bool) -> Step {
        let half = |whole: u64| match upper {
            true => (whole >> 32) as u32,
            false => whole as u32,
        };
        let (rank, kind) = match condition.test {
            Test::Equal | Test::NotEqual => (3, Kind::Equal),
            Test::Masked(mask) => (3, Kind::Masked(half(mask))),
            Test::Less | Test::AtMost => (2, Kind::Ordered),
            Test::AtLeast | Test::Greater => (1, Kind::Ordered),
        };
        Step {
            place: condition.index * 2 + u8::from(upper),
            rank,
            constant: half(condition.datum),
            kind,
            test: (!upper).then_some(condition.test),
        }
    }

    /// What makes it one comparison with another rule's.
    fn node(&self) -> (u8, u8, u32, Kind) {
        (self.place, self.rank, self.constant, self.kind)
    }

    /// Ascending in the order of trial, but for the profile's own order.
    fn key(&self) -> (Reverse<u8>, Reverse<u8>, Reverse<u32>) {
        let constant = match self.rank {
            2 => !self.constant,
            _ => self.constant,
        };
        (Reverse(self.place), Reverse(self.rank), Reverse(constant))
    }
}

/// Puts `paths`, which agree in their first `depth` steps, into the order of trial.
fn arrange(paths: &mut [Path], depth: usize) {
    if paths.len() < 2 {
        return;
    }
    sort_by_first(paths, depth, Step::node, Step::key);
    for same in paths.chunk_by_mut(|a, b| node_at(a, depth) == node_at(b, depth)) {
        // `EQ` and `NE`, or `GE` and `GT`: the ways on are apart.
        sort_by_first(same, depth, |step| step.test, |_| ());
        let test_at = |path: &Path| path.steps.get(depth).map(|step| step.test);
        for agreeing in same.chunk_by_mut(|a, b| test_at(a) == test_at(b)) {
            arrange(agreeing, depth + 1);
        }
    }
}

fn node_at(path: &Path, depth: usize) -> Option<(u8, u8, u32, Kind)> {
    path.steps.get(depth).map(Step::node)
}

/// Sorts by the step at `depth`, and brings together those with the same `group` where the first
/// of them stands.
fn sort_by_first<G: std::hash::Hash + Eq, K: Ord>(
    paths: &mut [Path],
    depth: usize,
    group: impl Fn(&Step) -> G,
    key: impl Fn(&Step) -> K,
) {
    let mut appearance: HashMap<Option<G>, usize> = HashMap::new();
    for (at, path) in paths.iter().enumerate() {
        appearance
            .entry(path.steps.get(depth).map(&group))
            .or_insert(at);
    }
    paths.sort_by_cached_key(|path| {
        let step = path.steps.get(depth);
        (step.map(&key), appearance.get(&step.map(&group)).copied())
    });
}
