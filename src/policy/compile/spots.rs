//! The paths at which the oracle's answer can change, and what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::live;
use crate::policy::index::{Outcome, Possible, Reach};
use crate::policy::links::Links;
use crate::policy::merge::{ExecMode, Policy};
use crate::policy::names::Names;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{Entry, EntryKind, Plan, World};
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
    /// What the oracle allows; of what is decided live, what it may allow here or below.
    pub allowed: PermSet,
    /// The part of it that a rule allows by name, or by a pattern that begins here.
    pub named: PermSet,
    /// The part of it that a rule allows by name.
    pub named_itself: PermSet,
    /// What is allowed here and at the spots below.
    pub below: PermSet,
    /// The oracle lets it run as a program, or may where executions are decided live.
    pub runs: bool,
    /// The command, or what the kernel runs on the way to it.
    pub starts: bool,
}

impl Spot {
    /// What of the permissions that are decided live may be allowed here.
    pub fn live(&self, live: PermSet) -> PermSet {
        self.allowed.intersection(live)
    }

    /// What of them may be allowed here or at a spot below.
    pub fn kept(&self, live: PermSet) -> PermSet {
        self.below.intersection(live)
    }

    /// What the kernel's Landlock ruleset should allow here. An execution that is decided live goes
    /// on in the kernel before it is looked at.
    pub fn wanted(&self, live: PermSet) -> PermSet {
        let held = live.without(Perm::Execute);
        let wanted = self.allowed.without(Perm::WriteDir).difference(held);
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

/// All spots, parents first; the first is the root. What an earlier plan has shown is among them.
pub(super) fn collect(
    policy: &Policy,
    world: &World,
    live: PermSet,
    standing: Option<&Plan>,
) -> Vec<Spot> {
    let links = Links::of(Some(world));
    let (literal, strict) = (policy.literal_paths(), policy.strict_paths());
    let mut paths: BTreeMap<&Path, EntryKind> = BTreeMap::from([(Path::new("/"), EntryKind::Dir)]);
    for path in &literal {
        paths.insert(links.real(path), EntryKind::Missing);
    }
    // Nothing stands at a path that leads through a link, until something takes the link's place.
    for path in &strict {
        let itself = Some(path).filter(|path| links.real(path) != **path);
        for name in links.through(path).iter().chain(itself) {
            paths.entry(name).or_insert(EntryKind::Missing);
        }
    }
    for grant in policy.bundle.iter() {
        let dir = grant.perms.contains(Perm::ReadDir);
        paths.insert(
            &grant.path,
            if dir { EntryKind::Dir } else { EntryKind::File },
        );
    }
    for bind in standing.iter().flat_map(|plan| &plan.binds) {
        let kind = if bind.dir {
            EntryKind::Dir
        } else {
            EntryKind::File
        };
        paths.entry(&bind.path).or_insert(kind);
    }
    let volumes = world
        .container
        .iter()
        .flat_map(|container| &container.volumes);
    for path in world.private.iter().chain(volumes) {
        paths.insert(path, EntryKind::Dir);
    }
    let starts: BTreeSet<&Path> = world
        .command
        .iter()
        .chain(&world.loaders)
        .map(|path| links.real(path))
        .collect();
    let helpers = world.helpers.iter().map(|path| links.real(path));
    for path in starts.iter().copied().chain(helpers) {
        paths.entry(path).or_insert(EntryKind::File);
    }
    let beginnings = live::beginnings(policy);
    let beginnings: BTreeSet<&Path> = beginnings.iter().map(|path| links.real(path)).collect();
    let entries = known_entries(world);
    let mut of_bundle: BTreeMap<&Path, PermSet> = BTreeMap::new();
    for grant in policy.bundle.iter() {
        let perms = of_bundle.entry(&grant.path).or_insert(PermSet::NONE);
        *perms = perms.union(grant.perms);
    }
    let mut spots: Vec<Spot> = Vec::with_capacity(paths.len());
    // The spots on the way down to the next path. Each grant of the bundle is a spot, so what the
    // bundle covers is known from the spot above.
    let mut above: Vec<(usize, bool)> = Vec::new();
    for (path, assumed) in paths {
        while let Some((index, _)) = above.last()
            && !path.starts_with(&spots[*index].path)
        {
            above.pop();
        }
        let grant = of_bundle.get(path).copied();
        let covered = grant.is_some() || above.last().is_some_and(|(_, covered)| *covered);
        let parent = above.last().map(|(index, _)| *index);
        let known = Known {
            assumed,
            entry: entries.get(path).copied(),
            grant,
            covered,
            begins: beginnings.contains(path),
            starts: starts.contains(path),
        };
        let mut spot = spot(policy, world, path, &known, live);
        spot.parent = parent;
        spot.library |= parent.is_some_and(|parent| spots[parent].library);
        spot.starts = known.starts;
        above.push((spots.len(), covered));
        if policy.mode == ExecMode::Once {
            // In a container the one execution is held by the filter, whatever it is.
            spot.runs = spot.starts || world.container.is_some();
        }
        spots.push(spot);
    }
    tell_parents(&mut spots, world, live);
    spots
}

/// Lets every spot know what is below it. What is yet to be made is run with the rights of where it
/// is made, so that these have to let it run where a live decision may.
fn tell_parents(spots: &mut [Spot], world: &World, live: PermSet) {
    for index in (0..spots.len()).rev() {
        let spot = &spots[index];
        let Some(parent) = spot.parent else { continue };
        let own = |place: &PathBuf| spot.path != *place && spot.path.starts_with(place);
        let made = spot.kind == EntryKind::Missing || world.private.iter().any(own);
        let runs = made && spot.runs && spot.live(live).contains(Perm::Execute);
        let below = spot.below;
        spots[parent].below = spots[parent].below.union(below);
        if !runs {
            continue;
        }
        // Below a file nothing is made before a directory has taken its place.
        let mut around = parent;
        while !spots[around].is_dir()
            && let Some(parent) = spots[around].parent
        {
            around = parent;
        }
        spots[around].runs = true;
        spots[around].allowed = spots[around].allowed.with(Perm::Execute);
    }
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

/// What is known of a path before the oracle is asked.
struct Known<'k> {
    assumed: EntryKind,
    entry: Option<&'k Entry>,
    /// What the bundle grants at the path itself.
    grant: Option<PermSet>,
    /// The bundle grants something at the path or above it.
    covered: bool,
    /// Patterns that do more than deny begin here.
    begins: bool,
    /// See [`Spot::starts`].
    starts: bool,
}

fn spot(policy: &Policy, world: &World, path: &Path, known: &Known<'_>, live: PermSet) -> Spot {
    let &Known {
        assumed,
        entry,
        grant,
        covered,
        begins,
        starts,
    } = known;
    let root = path == Path::new("/");
    let private = world.private.iter().any(|place| place == path);
    let in_bundle = root || private || entry.map_or(covered, |entry| entry.in_bundle);
    let kind = if root || private {
        EntryKind::Dir
    } else {
        entry.map_or(assumed, |entry| entry.kind)
    };
    let outcomes = outcomes(policy, path);
    let set = |keep: fn(&Outcome) -> bool| {
        let kept = outcomes.iter().filter(|(_, outcome)| keep(outcome));
        let kept: PermSet = kept.map(|(perm, _)| *perm).collect();
        kept.difference(live)
    };
    let may = match live.is_empty() && !starts {
        // Nothing is asked of it.
        true => Possible::default(),
        false => may(policy, path, kind == EntryKind::Dir),
    };
    let named_itself = set(|outcome| outcome.verdict == Verdict::Allow && outcome.named)
        .union(may.named_itself.intersection(live));
    let mut allowed = match world.in_volume(path) {
        // A default speaks of the image: it never brings in what is the host's.
        true => named_itself,
        false => {
            set(|outcome| outcome.verdict == Verdict::Allow).union(may.allowed.intersection(live))
        }
    };
    if starts && policy.mode == ExecMode::Once && may.allowed.contains(Perm::Execute) {
        // What was chosen on the command line starts, whatever is recorded or asked of it.
        allowed = allowed.with(Perm::Execute);
    }
    Spot {
        path: path.to_owned(),
        parent: None,
        kind,
        links: entry.map_or(1, |entry| entry.links),
        in_bundle,
        private,
        given: grant.is_some() && !in_bundle,
        library: grant.is_some_and(|perms| perms.contains(Perm::Execute)),
        allowed,
        named: match begins {
            true => named_itself.union(may.named.intersection(live)),
            false => named_itself,
        },
        named_itself,
        below: allowed,
        runs: runs(policy, path, kind == EntryKind::Dir, live),
        starts: false,
    }
}

/// What may be allowed at the path, and below a directory by patterns.
fn may(policy: &Policy, path: &Path, dir: bool) -> Possible {
    let reach = if dir { Reach::Patterns } else { Reach::Path };
    Names::of(path).map_or_else(Possible::default, |names| {
        policy.fs.possible(names.as_slice(), reach)
    })
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

fn runs(policy: &Policy, path: &Path, dir: bool, live: PermSet) -> bool {
    let Some(names) = Names::of(path) else {
        return false;
    };
    let names = names.as_slice();
    if live.contains(Perm::Execute) {
        let reach = if dir { Reach::Patterns } else { Reach::Path };
        return policy
            .exec
            .possible(names, reach)
            .allowed
            .contains(Perm::Execute);
    }
    policy.exec.decide(names, Perm::Execute, None).verdict == Verdict::Allow
}
