//! Rules over paths, prepared so that one walk down a path answers for all layers at once.
//!
//! A tree of literal components. What a rule says about a path it says about everything below,
//! so each node carries, for each layer and permission, the most severe rule on the way to it,
//! and the meet of all layers is computed before anybody asks. Rules with wildcards or digests
//! hang on the node of their literal beginning and are tried when a walk passes it.

use serde::{Deserialize, Serialize};

use super::matching::{Component, covers};
use super::names::Name;
use super::perm::{Perm, PermSet};
use super::request::{RuleRef, Verdict};

mod residual;

pub(super) use residual::{Possible, Reach};

/// The most layers; a bounded number lets a decision do without allocation.
pub(super) const MAX_LAYERS: usize = 16;

/// What one layer says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "(Option<Verdict>, u32)", into = "(Option<Verdict>, u32)")]
struct Cell {
    verdict: Option<Verdict>,
    rule: u32,
}

impl From<(Option<Verdict>, u32)> for Cell {
    fn from((verdict, rule): (Option<Verdict>, u32)) -> Cell {
        Cell { verdict, rule }
    }
}

impl From<Cell> for (Option<Verdict>, u32) {
    fn from(cell: Cell) -> (Option<Verdict>, u32) {
        (cell.verdict, cell.rule)
    }
}

const SILENT: Cell = Cell {
    verdict: None,
    rule: 0,
};

/// How a verdict came about; the greater is the better reason to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// No rule matched.
    Default,
    /// The bundle allows it.
    Bundle,
    /// A rule matched.
    Rule,
}

/// The meet of all layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub verdict: Verdict,
    pub reason: Reason,
    /// Whether a rule of some layer does more than deny it by name.
    pub named: bool,
    rule: u32,
}

/// A rule that the tree alone cannot match.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Conditional {
    rest: Box<[Component]>,
    /// What some name of the path has to begin with; see [`Component::needs`].
    needs: (u64, u64),
    sha256: Option<Box<str>>,
    layer: usize,
    perms: PermSet,
    cell: Cell,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Child {
    head: u64,
    name: Box<[u8]>,
    branch: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Branch {
    /// What the bundle allows above does not reach here.
    closed: bool,
    /// Sorted by name.
    children: Vec<Child>,
    conditionals: Vec<Conditional>,
}

/// A rule on its way into the index.
pub(super) struct Entry<'e> {
    pub layer: usize,
    pub components: &'e [Component],
    pub perms: PermSet,
    pub verdict: Verdict,
    pub sha256: Option<&'e str>,
    pub rule: &'e RuleRef,
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Index {
    layers: usize,
    branches: Vec<Branch>,
    /// Of each branch, of each layer and last the bundle, of each permission.
    cells: Vec<[Cell; Perm::COUNT]>,
    /// What [`Index::finish`] makes of the rest.
    #[serde(skip)]
    outcomes: Vec<[Outcome; Perm::COUNT]>,
    defaults: Vec<[Cell; Perm::COUNT]>,
    rules: Vec<RuleRef>,
    conditional: bool,
}

impl Index {
    /// An empty index; `floor` is named when no layer says anything, which is deny.
    pub fn new(layers: usize, floor: RuleRef) -> Index {
        let mut index = Index {
            layers,
            branches: Vec::new(),
            cells: Vec::new(),
            outcomes: Vec::new(),
            defaults: vec![[SILENT; Perm::COUNT]; layers],
            rules: vec![floor, RuleRef::bundle()],
            conditional: false,
        };
        index.grow();
        index
    }

    /// The layer number of the bundle, whose allows stand before each layer's default.
    pub fn bundle(&self) -> usize {
        self.layers
    }

    fn grow(&mut self) -> u32 {
        self.branches.push(Branch::default());
        self.cells
            .resize(self.cells.len() + self.layers + 1, [SILENT; Perm::COUNT]);
        (self.branches.len() - 1) as u32
    }

    fn remember(&mut self, rule: &RuleRef) -> u32 {
        if self.rules.last() != Some(rule) {
            self.rules.push(rule.clone());
        }
        (self.rules.len() - 1) as u32
    }

    /// What the layer says where no rule of it matches.
    pub fn default(&mut self, layer: usize, perms: PermSet, verdict: Verdict, rule: &RuleRef) {
        let cell = Cell {
            verdict: Some(verdict),
            rule: self.remember(rule),
        };
        for perm in perms.iter() {
            self.defaults[layer][perm as usize] = cell;
        }
    }

    /// Adds one rule.
    pub fn insert(&mut self, entry: &Entry<'_>) {
        let cell = Cell {
            verdict: Some(entry.verdict),
            rule: self.remember(entry.rule),
        };
        let mut branch = 0u32;
        let mut depth = 0;
        while let Some(Component::Literal(name)) = entry.components.get(depth) {
            branch = self.child_or_new(branch, name);
            depth += 1;
        }
        let rest = &entry.components[depth..];
        if !rest.is_empty() || entry.sha256.is_some() {
            self.conditional = true;
            self.branches[branch as usize]
                .conditionals
                .push(Conditional {
                    rest: rest.into(),
                    needs: rest
                        .iter()
                        .map(Component::needs)
                        .max_by_key(|needs| needs.1)
                        .unwrap_or_default(),
                    sha256: entry.sha256.map(Into::into),
                    layer: entry.layer,
                    perms: entry.perms,
                    cell,
                });
            return;
        }
        let cells = &mut self.cells[branch as usize * (self.layers + 1) + entry.layer];
        for perm in entry.perms.iter() {
            let held = &mut cells[perm as usize];
            if cell.verdict > held.verdict {
                *held = cell;
            }
        }
    }

    /// Ends at a literal path what the bundle allows above it; what it allows there stays.
    pub fn close_to_bundle(&mut self, components: &[Component]) {
        let mut branch = 0u32;
        for component in components {
            let Component::Literal(name) = component else {
                return;
            };
            branch = self.child_or_new(branch, name);
        }
        self.branches[branch as usize].closed = true;
    }

    fn child(&self, branch: u32, name: &Name<'_>) -> Result<u32, usize> {
        let children = &self.branches[branch as usize].children;
        let order = |child: &Child| {
            child
                .head
                .cmp(&name.head)
                .then_with(|| (*child.name).cmp(name.bytes))
        };
        children
            .binary_search_by(order)
            .map(|at| children[at].branch)
    }

    fn child_or_new(&mut self, branch: u32, name: &[u8]) -> u32 {
        let name = Name::of(name);
        match self.child(branch, &name) {
            Ok(child) => child,
            Err(at) => {
                let new = self.grow();
                let child = Child {
                    head: name.head,
                    name: name.bytes.into(),
                    branch: new,
                };
                self.branches[branch as usize].children.insert(at, child);
                new
            }
        }
    }

    /// Lets every branch know what stands above it. A branch is always made after its parent. To do it
    /// again changes nothing.
    pub fn finish(mut self) -> Index {
        self.outcomes.clear();
        let width = self.layers + 1;
        for parent in 0..self.branches.len() {
            let children = std::mem::take(&mut self.branches[parent].children);
            for child in &children {
                let closed = self.branches[child.branch as usize].closed;
                let reach = if closed { self.layers } else { width };
                for layer in 0..reach {
                    let above = self.cells[parent * width + layer];
                    let own = &mut self.cells[child.branch as usize * width + layer];
                    for (held, inherited) in own.iter_mut().zip(above) {
                        if inherited.verdict > held.verdict {
                            *held = inherited;
                        }
                    }
                }
            }
            self.branches[parent].children = children;
            let cells = &self.cells[parent * width..(parent + 1) * width];
            let outcome = |perm: Perm| self.meet(perm, |layer| cells[layer][perm as usize]);
            let outcomes = Perm::ALL.map(outcome);
            self.outcomes.push(outcomes);
        }
        self
    }

    /// The meet of what each layer's cell says.
    fn meet(&self, perm: Perm, cell: impl Fn(usize) -> Cell) -> Outcome {
        let from = |cell: Cell, reason| {
            cell.verdict.map(|verdict| Outcome {
                verdict,
                reason,
                named: false,
                rule: cell.rule,
            })
        };
        let bundle = from(cell(self.layers), Reason::Bundle);
        let mut worst: Option<Outcome> = None;
        let mut named = false;
        for layer in 0..self.layers {
            let own = from(cell(layer), Reason::Rule);
            named |= own.is_some_and(|own| own.verdict != Verdict::Deny);
            let default = from(self.defaults[layer][perm as usize], Reason::Default);
            let Some(says) = own.or(bundle).or(default) else {
                continue;
            };
            let rank = |outcome: &Outcome| (outcome.verdict, outcome.reason);
            if worst.as_ref().is_none_or(|worst| rank(&says) > rank(worst)) {
                worst = Some(says);
            }
        }
        let floor = Outcome {
            verdict: Verdict::Deny,
            reason: Reason::Default,
            named: false,
            rule: 0,
        };
        Outcome {
            named,
            ..worst.or(bundle).unwrap_or(floor)
        }
    }

    /// The answer for one path and permission.
    pub fn decide(&self, names: &[Name<'_>], perm: Perm, sha256: Option<&str>) -> Outcome {
        self.decide_to(names.len(), names, perm, sha256)
    }

    /// The answer by what is said of the directories around a path and of names that fit a pattern,
    /// and not by what is said of that one path.
    pub fn decide_around(&self, names: &[Name<'_>], perm: Perm) -> Outcome {
        self.decide_to(names.len().saturating_sub(1), names, perm, None)
    }

    /// The answer by the rules whose literal beginning is at most `deepest` names long.
    fn decide_to(
        &self,
        deepest: usize,
        names: &[Name<'_>],
        perm: Perm,
        sha256: Option<&str>,
    ) -> Outcome {
        let mut branch = 0u32;
        let mut depth = 0;
        if !self.conditional {
            while let Some(name) = names[..deepest].get(depth)
                && let Ok(child) = self.child(branch, name)
            {
                branch = child;
                depth += 1;
            }
            return self.outcomes[branch as usize][perm as usize];
        }
        let mut found = [SILENT; MAX_LAYERS + 1];
        let mut any = false;
        loop {
            for conditional in &self.branches[branch as usize].conditionals {
                let held = &mut found[conditional.layer];
                if conditional.cell.verdict > held.verdict
                    && conditional.perms.contains(perm)
                    && conditional.accepts(sha256)
                    && conditional.could_cover(&names[depth..])
                    && covers(&conditional.rest, &names[depth..])
                {
                    *held = conditional.cell;
                    any = true;
                }
            }
            let Some(name) = names[..deepest].get(depth) else {
                break;
            };
            let Ok(child) = self.child(branch, name) else {
                break;
            };
            branch = child;
            depth += 1;
        }
        if !any {
            return self.outcomes[branch as usize][perm as usize];
        }
        let cells = &self.cells[branch as usize * (self.layers + 1)..];
        self.meet(perm, |layer| {
            let literal = cells[layer][perm as usize];
            if found[layer].verdict > literal.verdict {
                found[layer]
            } else {
                literal
            }
        })
    }

    /// Whether a rule with a digest speaks of the path.
    pub fn compares_digest_of(&self, names: &[Name<'_>]) -> bool {
        let (mut branch, mut depth) = (0u32, 0);
        loop {
            let speaks = |conditional: &Conditional| {
                conditional.sha256.is_some() && covers(&conditional.rest, &names[depth..])
            };
            if self.branches[branch as usize]
                .conditionals
                .iter()
                .any(speaks)
            {
                return true;
            }
            let Some(name) = names.get(depth) else {
                return false;
            };
            let Ok(child) = self.child(branch, name) else {
                return false;
            };
            branch = child;
            depth += 1;
        }
    }

    /// Whether any rule with a wildcard or digest does more than deny.
    pub fn conditionals_permit(&self) -> bool {
        let mut all = self.branches.iter().flat_map(|branch| &branch.conditionals);
        all.any(|conditional| conditional.cell.verdict != Some(Verdict::Deny))
    }

    /// The rule behind an outcome.
    pub fn rule(&self, outcome: Outcome) -> &RuleRef {
        &self.rules[outcome.rule as usize]
    }
}

impl Conditional {
    fn could_cover(&self, names: &[Name<'_>]) -> bool {
        let (head, mask) = self.needs;
        mask == 0 || names.iter().any(|name| name.head & mask == head)
    }

    /// A digest that is not known fits every rule but an allow.
    fn accepts(&self, sha256: Option<&str>) -> bool {
        match (&self.sha256, sha256) {
            (None, _) => true,
            (Some(wanted), Some(digest)) => wanted.eq_ignore_ascii_case(digest),
            (Some(_), None) => self.cell.verdict != Some(Verdict::Allow),
        }
    }
}
