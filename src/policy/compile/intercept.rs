//! What of the plan is the interceptor's.

use std::path::{Path, PathBuf};

use super::descend::Outline;
use super::spots::Spot;
use super::state::State;
use crate::policy::merge::Policy;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::plan::{EntryKind, Intercept, World};
use crate::policy::request::Request;

/// The interceptor's part, if it has one. A worker that runs could give a file another name before
/// this is known (`lives`): then each file counts as one that has several.
pub(super) fn of(
    (policy, world): (&Policy, &World),
    outline: &Outline,
    live: PermSet,
    lives: bool,
) -> Option<Intercept> {
    if live.is_empty() {
        return None;
    }
    let spots = outline.spots.iter().zip(&outline.states);
    let linked: Vec<PathBuf> = spots
        .filter(|(spot, _)| lives || spot.links > 1)
        .filter(|(spot, state)| is_stricter(policy, spot, state, live))
        .map(|(spot, _)| spot.path.clone())
        .collect();
    Some(Intercept {
        perms: live,
        linked,
        loaders: world.loaders.clone(),
    })
}

/// Whether it is a file that is judged more severely than what lies around it.
fn is_stricter(policy: &Policy, spot: &Spot, state: &State, live: PermSet) -> bool {
    let there = state.visible && matches!(spot.kind, EntryKind::File | EntryKind::Other);
    there && is_judged_more_severely(policy, &spot.path, live)
}

/// Whether one of these permissions is judged more severely at a path than around it.
pub(super) fn is_judged_more_severely(policy: &Policy, path: &Path, perms: PermSet) -> bool {
    let Some(around) = path.parent() else {
        return false;
    };
    let file = |path, perm| policy.decide(&Request::Fs { path, perm }).verdict;
    let program = |path| policy.decide(&Request::Exec { path, sha256: None }).verdict;
    perms
        .iter()
        .any(|perm| file(path, perm) > file(around, perm))
        || (perms.contains(Perm::Execute) && program(path) > program(around))
}
