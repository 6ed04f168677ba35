//! What the rules still say of whatever lies below a path, and whether that is as much elsewhere.

use std::collections::HashMap;

use super::super::matching::{Component, ahead};
use super::super::names::Name;
use super::super::perm::{Perm, PermSet};
use super::super::request::{RuleRef, Verdict};
use super::{Cell, Index, SILENT};

/// A rule that may still come to match below the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pending<'i> {
    layer: usize,
    verdict: Verdict,
    sha256: Option<&'i str>,
    /// What has to follow. Nothing, where only the digest is open.
    rest: Vec<Component>,
}

/// How far down a question goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Reach {
    /// The path alone.
    Path,
    /// Also what patterns may say of what lies below it.
    Patterns,
    /// Also what is said of paths below it by name.
    All,
}

/// What the rules may allow, whatever the digest.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::policy) struct Possible {
    /// What is not denied.
    pub allowed: PermSet,
    /// The part of it of which a rule speaks.
    pub named: PermSet,
    /// The part of it of which a rule without wildcards speaks.
    pub named_itself: PermSet,
}

/// Which permissions it is about, and the rule.
type Pendings<'i> = HashMap<Pending<'i>, (PermSet, u32)>;

/// What is known after a walk down a path.
struct Residual<'i> {
    /// What each layer, and last the bundle, says from here on.
    cells: Vec<[Cell; Perm::COUNT]>,
    /// The same without patterns.
    literal: &'i [[Cell; Perm::COUNT]],
    pending: Pendings<'i>,
}

impl Index {
    /// The first rule that would hold less at `to` than at `from`, of what is done with the contents; with
    /// `below`, of whatever is asked there or below. With whatever digest. `None` when there is none; where that
    /// cannot be told, a rule.
    pub fn loses(&self, from: &[Name<'_>], to: &[Name<'_>], below: bool) -> Option<u32> {
        let (reach, about) = match below {
            true => (Reach::All, PermSet::ALL),
            // To remove it, or to make something in its place, is done to its directory.
            false => (Reach::Path, PermSet::FILE),
        };
        let from = self.residual(from, reach);
        let to = self.residual(to, reach);
        // Without an allow there is no more allowed, and with one more deny neither.
        let of_from = from.has_beside(&to, about, |verdict| verdict != Verdict::Allow);
        let of_to = || to.has_beside(&from, about, |verdict| verdict != Verdict::Deny);
        if let Some(rule) = of_from.or_else(of_to) {
            return Some(rule);
        }
        let all = || from.pending.values().chain(to.pending.values());
        let open = all().fold(PermSet::NONE, |open, (perms, _)| open.union(*perms));
        let lost = |perm: &Perm| match open.contains(*perm) {
            true => self.layer_loses(&from, &to, *perm),
            false => self.meet_loses(&from, &to, *perm),
        };
        let mut perms = Perm::ALL.iter().filter(|perm| about.contains(**perm));
        perms.find_map(lost)
    }

    /// A rule that denies one of these permissions at `to` or of something that could lie below, and not of the
    /// same at `from`.
    pub fn denies_more(&self, from: &[Name<'_>], to: &[Name<'_>], perms: PermSet) -> Option<u32> {
        let (from, to) = (
            self.residual(from, Reach::All),
            self.residual(to, Reach::All),
        );
        let below = to.has_beside(&from, perms, |verdict| verdict == Verdict::Deny);
        let mut cells = to.cells.iter().zip(&from.cells);
        below.or_else(|| {
            cells.find_map(|(to, from)| {
                let denied = |at: &[Cell], perm| at[perm as usize].verdict == Some(Verdict::Deny);
                let only = |perm: &Perm| denied(to, *perm) && !denied(from, *perm);
                perms.iter().find(only).map(|perm| to[perm as usize].rule)
            })
        })
    }

    /// A rule that asks about one of these permissions of something that could lie below a path.
    pub fn asks_below(&self, names: &[Name<'_>], perms: PermSet) -> Option<u32> {
        let at = self.residual(names, Reach::All);
        let asks = at
            .pending
            .iter()
            .filter(|(pending, (of, _))| pending.verdict == Verdict::Ask && of.intersects(perms));
        asks.map(|(_, (_, rule))| *rule).min()
    }

    /// Nothing below changes the answer, so that the meet of all layers is all there is.
    fn meet_loses(&self, from: &Residual<'_>, to: &Residual<'_>, perm: Perm) -> Option<u32> {
        let meet = |at: &Residual<'_>| self.meet(perm, |layer| at.cells[layer][perm as usize]);
        let (held, holds) = (meet(from), meet(to));
        (holds.verdict < held.verdict).then_some(held.rule)
    }

    /// A rule below may change what any layer says, so that each has to say as much by itself.
    fn layer_loses(&self, from: &Residual<'_>, to: &Residual<'_>, perm: Perm) -> Option<u32> {
        (0..self.layers).find_map(|layer| {
            let says = |at: &Residual<'_>| {
                let own = at.cells[layer][perm as usize];
                let bundle = at.cells[self.layers][perm as usize];
                let default = self.defaults[layer][perm as usize];
                let spoken = [own, bundle, default];
                let first = spoken.into_iter().find(|cell| cell.verdict.is_some());
                (own.verdict.max(Some(Verdict::Allow)), first)
            };
            let ((own, held), (other, holds)) = (says(from), says(to));
            let verdict = |cell: Option<Cell>| cell.and_then(|cell| cell.verdict);
            // A layer that says nothing leaves it to the others, or to deny where all are silent.
            let speaks = held.is_none() && holds.is_some();
            let less = holds.is_some() && verdict(holds) < verdict(held);
            let named = || held.or(holds).map_or(0, |cell| cell.rule);
            (speaks || less || other < own).then(named)
        })
    }

    /// What may be allowed at a path and, as far as that goes, below.
    pub fn possible(&self, names: &[Name<'_>], reach: Reach) -> Possible {
        let at = self.residual(names, reach);
        let mut coming = vec![PermSet::NONE; self.layers + 1];
        for (pending, (perms, _)) in &at.pending {
            if pending.verdict != Verdict::Deny {
                coming[pending.layer] = coming[pending.layer].union(*perms);
            }
        }
        let mut possible = Possible::default();
        for perm in Perm::ALL {
            let bundle = coming[self.layers].contains(perm)
                || speaks(at.cells[self.layers][perm as usize].verdict);
            // Where every layer is silent nothing is allowed but what the bundle allows.
            let mut allowed = None;
            let mut named = false;
            for (layer, coming) in coming.iter().enumerate().take(self.layers) {
                let own = at.cells[layer][perm as usize].verdict;
                let default = self.defaults[layer][perm as usize].verdict;
                let named_here = speaks(own) || coming.contains(perm);
                let may = match own {
                    Some(Verdict::Deny) => Some(false),
                    _ if named_here || bundle => Some(true),
                    _ => default.map(|_| speaks(default)),
                };
                named |= named_here;
                allowed = match (allowed, may) {
                    (Some(one), Some(other)) => Some(one && other),
                    (one, other) => one.or(other),
                };
            }
            if !allowed.unwrap_or(bundle) {
                continue;
            }
            let mut own = at.literal.iter().take(self.layers);
            let itself = own.any(|cells| speaks(cells[perm as usize].verdict));
            possible.allow(perm, named, itself);
        }
        possible
    }

    fn residual(&self, names: &[Name<'_>], reach: Reach) -> Residual<'_> {
        let mut pending = Pendings::new();
        let mut found = vec![[SILENT; Perm::COUNT]; self.layers + 1];
        let (mut branch, mut depth) = (0u32, 0);
        loop {
            for conditional in &self.branches[branch as usize].conditionals {
                let positions = ahead(&conditional.rest, &names[depth..]);
                let sha256 = conditional.sha256.as_deref();
                let whole = positions.iter().any(|rest| rest.is_empty());
                if whole && sha256.is_none() {
                    for perm in conditional.perms.iter() {
                        raise(
                            &mut found[conditional.layer][perm as usize],
                            conditional.cell,
                        );
                    }
                    continue;
                }
                for rest in positions.iter().filter(|rest| rest.is_empty() || !whole) {
                    if reach != Reach::Path || rest.is_empty() {
                        let rest = rest.to_vec();
                        let (layer, perms) = (conditional.layer, conditional.perms);
                        note(&mut pending, layer, conditional.cell, perms, sha256, rest);
                    }
                }
            }
            let Some(name) = names.get(depth) else { break };
            let Ok(child) = self.child(branch, name) else {
                break;
            };
            branch = child;
            depth += 1;
        }
        let width = self.layers + 1;
        let literal = &self.cells[branch as usize * width..][..width];
        let mut cells = literal.to_vec();
        for (cells, found) in cells.iter_mut().zip(found) {
            for (held, found) in cells.iter_mut().zip(found) {
                raise(held, found);
            }
        }
        if reach == Reach::All && depth == names.len() {
            self.subtree(branch, &mut Vec::new(), &mut pending);
        }
        // What a layer says already is said no louder by a rule that says less.
        for (key, (perms, _)) in &mut pending {
            let said = &cells[key.layer];
            let louder = |perm: &Perm| said[*perm as usize].verdict < Some(key.verdict);
            *perms = perms.iter().filter(louder).collect();
        }
        pending.retain(|_, (perms, _)| !perms.is_empty());
        Residual {
            cells,
            literal,
            pending,
        }
    }

    /// What stands in the tree below a branch, as if it were patterns.
    fn subtree<'i>(&'i self, branch: u32, way: &mut Vec<Component>, pending: &mut Pendings<'i>) {
        let width = self.layers + 1;
        let cells = |branch: u32| &self.cells[branch as usize * width..][..width];
        for child in &self.branches[branch as usize].children {
            way.push(Component::Literal(child.name.clone()));
            let below = &self.branches[child.branch as usize];
            let pairs = cells(branch).iter().zip(cells(child.branch));
            for (layer, (above, own)) in pairs.enumerate() {
                for perm in PermSet::ALL.iter() {
                    let own = own[perm as usize];
                    if own.verdict > above[perm as usize].verdict {
                        let perms = PermSet::of(&[perm]);
                        note(pending, layer, own, perms, None, way.clone());
                    }
                }
            }
            if below.closed {
                // Where the bundle's allows end is no rule of its own; it takes away, as a deny does.
                let end = Cell {
                    verdict: Some(Verdict::Deny),
                    rule: 1,
                };
                note(pending, self.layers, end, PermSet::ALL, None, way.clone());
            }
            for conditional in &below.conditionals {
                let rest = [&way[..], &conditional.rest].concat();
                let sha256 = conditional.sha256.as_deref();
                let (layer, perms) = (conditional.layer, conditional.perms);
                note(pending, layer, conditional.cell, perms, sha256, rest);
            }
            self.subtree(child.branch, way, pending);
            way.pop();
        }
    }

    /// The rule of that number.
    pub fn numbered(&self, rule: u32) -> &RuleRef {
        &self.rules[rule as usize]
    }
}

impl Residual<'_> {
    /// A rule of such a verdict that may come to match below here, about some of these permissions, and not
    /// below the other.
    fn has_beside(
        &self,
        other: &Residual<'_>,
        about: PermSet,
        of: impl Fn(Verdict) -> bool,
    ) -> Option<u32> {
        let mut pending = self.pending.iter();
        pending.find_map(|(pending, (perms, rule))| {
            let there = other.pending.get(pending);
            let there = there.map_or(PermSet::NONE, |(perms, _)| *perms);
            let only = perms.difference(there).intersection(about);
            (of(pending.verdict) && !only.is_empty()).then_some(*rule)
        })
    }
}

impl Possible {
    fn allow(&mut self, perm: Perm, named: bool, named_itself: bool) {
        self.allowed = self.allowed.with(perm);
        if named {
            self.named = self.named.with(perm);
        }
        if named_itself {
            self.named_itself = self.named_itself.with(perm);
        }
    }
}

/// Whether something is said, and it is not a denial.
fn speaks(verdict: Option<Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict != Verdict::Deny)
}

fn raise(held: &mut Cell, cell: Cell) {
    if cell.verdict > held.verdict {
        *held = cell;
    }
}

fn note<'i>(
    pending: &mut Pendings<'i>,
    layer: usize,
    cell: Cell,
    perms: PermSet,
    sha256: Option<&'i str>,
    rest: Vec<Component>,
) {
    let Some(verdict) = cell.verdict else { return };
    let key = Pending {
        layer,
        verdict,
        sha256,
        rest,
    };
    let held = pending.entry(key).or_insert((PermSet::NONE, cell.rule));
    held.0 = held.0.union(perms);
}
