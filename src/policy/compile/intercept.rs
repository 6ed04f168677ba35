//! What of the plan is the interceptor's.

use std::path::{Path, PathBuf};

use super::descend::Outline;
use super::places::kernel_made;
use super::spots::Spot;
use super::state::{Origin, State};
use crate::policy::index::Reach;
use crate::policy::merge::Policy;
use crate::policy::names::Names;
use crate::policy::perm::{Grant, Perm, PermSet};
use crate::policy::plan::{EntryKind, Intercept, Plan, World};
use crate::policy::request::Request;

/// The interceptor's part, if it has one. Of a worker that was started with the plan `in_force`, which
/// could give a file another name before this is known, each file counts as one that has several.
pub(super) fn of(
    policy: &Policy,
    world: &World,
    outline: &Outline,
    live: PermSet,
    in_force: Option<&Plan>,
) -> Option<Intercept> {
    if live.is_empty() {
        return None;
    }
    let spots = outline.spots.iter().zip(&outline.states);
    let strict = spots.filter(|(spot, state)| is_stricter(policy, spot, state, live));
    let (several, one): (Vec<&Spot>, Vec<&Spot>) = strict
        .map(|(spot, _)| spot)
        .partition(|spot| spot.links > 1);
    // The kernel knows no file under every name.
    let readable = match several.is_empty() {
        true => readable(policy, world, outline, live, in_force),
        false => Vec::new(),
    };
    let counted = one.into_iter().filter(|_| in_force.is_some());
    let mut linked: Vec<PathBuf> = counted
        .chain(several)
        .map(|spot| spot.path.clone())
        .collect();
    linked.sort_unstable();
    Some(Intercept {
        perms: live,
        linked,
        readable,
    })
}

/// Whether it is a file that is judged more severely than what lies around it.
fn is_stricter(policy: &Policy, spot: &Spot, state: &State, live: PermSet) -> bool {
    let there = state.visible && matches!(spot.kind, EntryKind::File | EntryKind::Other);
    let Some(around) = spot.path.parent() else {
        return false;
    };
    let file = |path, perm| policy.decide(&Request::Fs { path, perm }).verdict;
    let program = |path| policy.decide(&Request::Exec { path, sha256: None }).verdict;
    let is_stricter = live
        .iter()
        .any(|perm| file(&spot.path, perm) > file(around, perm))
        || (live.contains(Perm::Execute) && program(&spot.path) > program(around));
    there && is_stricter
}

/// Where the kernel alone can decide what is read, with nothing anywhere that the ruleset lets be read
/// and the policy does not always allow. What was settled at the start is not more later.
fn readable(
    policy: &Policy,
    world: &World,
    outline: &Outline,
    live: PermSet,
    in_force: Option<&Plan>,
) -> Vec<PathBuf> {
    let reads = live.intersection(PermSet::READ);
    let audit = policy.audit();
    let is_recorded = audit.enabled && audit.events.iter().any(|event| event == "fs");
    if reads.is_empty() || is_recorded || world.landlock_abi == 0 {
        return Vec::new();
    }
    let spots = || outline.spots.iter().zip(&outline.states);
    let is_always = |path: &Path| {
        let is_file = |spot: &Spot| spot.path == path && !spot.is_dir();
        let (perms, reach) = match outline.spots.iter().any(is_file) {
            true => (reads.without(Perm::ReadDir), Reach::Path),
            false => (reads, Reach::All),
        };
        let names = Names::of(path);
        names.is_some_and(|names| policy.fs.always_allows(names.as_slice(), perms, reach))
    };
    if let Some(in_force) = in_force {
        let settled = in_force.intercept.iter().flat_map(|own| &own.readable);
        return settled.filter(|path| is_always(path)).cloned().collect();
    }
    // What may be moved could get a name under which it is not to be read, but for a whole mount.
    let is_mount =
        |spot: &Spot| spot.private || outline.binds.iter().any(|bind| bind.path == spot.path);
    let stays = |path: &Path| {
        spots().any(|(spot, state)| spot.path == path && (!state.writable || is_mount(spot)))
    };
    let grants = outline.landlock.iter();
    let mut read_to_run = grants.filter(|grant| is_read_to_run(grant, live));
    if read_to_run.any(|grant| !stays(&grant.path) || !is_always(&grant.path)) {
        return Vec::new();
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for (spot, state) in spots() {
        let of_bundle = state.visible && state.origin == Origin::Bundle;
        // They come from the root down.
        let is_covered = found.iter().any(|path| spot.path.starts_with(path));
        if of_bundle && !kernel_made(&spot.path) && !is_covered && is_always(&spot.path) {
            found.push(spot.path.clone());
        }
    }
    found
}

/// Whether Landlock has to let it be read, although that is decided live: the kernel reads what it
/// executes, and asks Landlock for that right too.
fn is_read_to_run(grant: &Grant, live: PermSet) -> bool {
    live.contains(Perm::ReadFile) && grant.perms.contains(Perm::Execute)
}

/// The Landlock ruleset with what is read by its leave although that is decided live.
pub(super) fn with_reads(
    mut landlock: Vec<Grant>,
    live: PermSet,
    intercept: Option<&Intercept>,
) -> Vec<Grant> {
    for grant in landlock
        .iter_mut()
        .filter(|grant| is_read_to_run(grant, live))
    {
        grant.perms = grant.perms.with(Perm::ReadFile);
    }
    let reads = live.intersection(PermSet::READ);
    for path in intercept.iter().flat_map(|own| &own.readable) {
        match landlock.iter_mut().find(|grant| grant.path == *path) {
            Some(grant) => grant.perms = grant.perms.union(reads),
            None => landlock.push(Grant {
                path: path.clone(),
                perms: reads,
            }),
        }
    }
    landlock.sort_by(|one, other| one.path.cmp(&other.path));
    landlock
}
