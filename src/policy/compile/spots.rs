//! The paths at which the oracle's answer can change, and what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::policy::index::Outcome;
use crate::policy::merge::{ExecMode, Policy, links, real};
use crate::policy::names::Names;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{Entry, EntryKind, World};
use crate::policy::request::Verdict;

/// One path, its surroundings and what the oracle says there and, up to the next spot, below.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub path: PathBuf,
    /// The spot that covers its parent directory.
    pub parent: Option<usize>,
    pub kind: EntryKind,
    pub links: u64,
    /// The bundle's root shows it.
    pub in_bundle: bool,
    /// The bundle's own writable place.
    pub private: bool,
    /// The bundle names it, though its root does not show it: a script on the command line.
    pub given: bool,
    /// Code of the bundle is loaded from here.
    pub library: bool,
    /// What the oracle allows.
    pub allowed: PermSet,
    /// The part of it that a rule allows by name.
    pub named: PermSet,
    /// The oracle lets it run as a program.
    pub runs: bool,
    /// The command, or what the kernel runs on the way to it.
    pub starts: bool,
}

impl Spot {
    /// What the kernel's Landlock ruleset should allow here.
    pub fn wanted(&self) -> PermSet {
        let wanted = self.allowed.without(Perm::WriteDir);
        if self.runs {
            wanted
        } else {
            wanted.without(Perm::Execute)
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }
}

/// All spots, parents first; the first is the root.
pub(super) fn collect(policy: &Policy, world: &World) -> Vec<Spot> {
    let links = links(Some(world));
    let literal = policy.literal_paths();
    let mut paths: BTreeMap<&Path, EntryKind> = BTreeMap::from([(Path::new("/"), EntryKind::Dir)]);
    for path in &literal {
        paths.insert(real(path, &links), EntryKind::Missing);
    }
    for grant in policy.bundle.iter() {
        let dir = grant.perms.contains(Perm::ReadDir);
        paths.insert(
            &grant.path,
            if dir { EntryKind::Dir } else { EntryKind::File },
        );
    }
    for path in world.private.iter() {
        paths.insert(path, EntryKind::Dir);
    }
    let starts: BTreeSet<&Path> = world
        .command
        .iter()
        .chain(&world.loaders)
        .map(|path| real(path, &links))
        .collect();
    let helpers = world.helpers.iter().map(|path| real(path, &links));
    for path in starts.iter().copied().chain(helpers) {
        paths.entry(path).or_insert(EntryKind::File);
    }
    let entries = known_entries(world);
    let mut spots: Vec<Spot> = Vec::with_capacity(paths.len());
    for (path, assumed) in paths {
        let parent = (0..spots.len())
            .rev()
            .find(|index| path.starts_with(&spots[*index].path));
        let inherited = parent.is_some_and(|parent| spots[parent].library);
        let mut spot = spot(policy, world, path, assumed, entries.get(path).copied());
        spot.parent = parent;
        spot.library |= inherited;
        spot.starts = starts.contains(path);
        if policy.mode == ExecMode::Once {
            spot.runs = spot.starts;
        }
        spots.push(spot);
    }
    spots
}

/// What is known of each path, under its real name.
fn known_entries(world: &World) -> BTreeMap<&Path, &Entry> {
    let mut known: BTreeMap<&Path, &Entry> = BTreeMap::new();
    for (path, entry) in &world.entries {
        if *path == entry.real {
            known.insert(&entry.real, entry);
        } else {
            known.entry(&entry.real).or_insert(entry);
        }
    }
    known
}

fn spot(
    policy: &Policy,
    world: &World,
    path: &Path,
    assumed: EntryKind,
    entry: Option<&Entry>,
) -> Spot {
    let exact = policy.bundle.iter().any(|grant| grant.path == path);
    let covered = policy
        .bundle
        .iter()
        .any(|grant| path.starts_with(&grant.path));
    let root = path == Path::new("/");
    let private = world.private.iter().any(|place| place == path);
    let in_bundle = root || private || entry.map_or(covered, |entry| entry.in_bundle);
    let outcomes = outcomes(policy, path);
    let set = |keep: fn(&Outcome) -> bool| {
        outcomes
            .iter()
            .filter(|(_, outcome)| keep(outcome))
            .map(|(perm, _)| *perm)
            .collect()
    };
    Spot {
        path: path.to_owned(),
        parent: None,
        kind: if root || private {
            EntryKind::Dir
        } else {
            entry.map_or(assumed, |entry| entry.kind)
        },
        links: entry.map_or(1, |entry| entry.links),
        in_bundle,
        private,
        given: exact && !in_bundle,
        library: policy
            .bundle
            .iter()
            .any(|grant| grant.path == path && grant.perms.contains(Perm::Execute)),
        allowed: set(|outcome| outcome.verdict == Verdict::Allow),
        named: set(|outcome| outcome.verdict == Verdict::Allow && outcome.named),
        runs: runs(policy, path),
        starts: false,
    }
}

fn outcomes(policy: &Policy, path: &Path) -> Vec<(Perm, Outcome)> {
    let Some(names) = Names::of(path) else {
        return Vec::new();
    };
    Perm::ALL
        .into_iter()
        .map(|perm| (perm, policy.fs_outcome(names.as_slice(), perm)))
        .collect()
}

fn runs(policy: &Policy, path: &Path) -> bool {
    let Some(names) = Names::of(path) else {
        return false;
    };
    policy
        .exec
        .decide(names.as_slice(), Perm::Execute, None)
        .verdict
        == Verdict::Allow
}
