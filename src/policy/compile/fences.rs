//! Landlock grants and masks: what makes the kernel agree with the oracle at a spot.

use std::path::PathBuf;

use super::descend::Descent;
use super::places::starts_programs;
use super::spots::Spot;
use super::state::{Origin, State};
use crate::policy::perm::{Grant, Perm, PermSet};
use crate::policy::plan::{Mask, MaskKind};
use crate::policy::request::RuleRef;

/// Whether Landlock lets a file be truncated that may not be written: truncate(2), and open(2) for
/// reading with `O_TRUNC`.
fn truncates(landlock_abi: u32) -> bool {
    (1..3).contains(&landlock_abi)
}

impl Descent<'_> {
    /// Makes Landlock and the masks agree with the oracle at a visible spot.
    pub(super) fn fence(&mut self, spot: &Spot, mut state: State) -> State {
        let relevant = if spot.is_dir() {
            PermSet::ALL
        } else {
            PermSet::FILE
        };
        let before = state.blocked;
        let want = spot.wanted(self.live).intersection(relevant);
        let have = state.have().intersection(relevant);
        let (lost, gained) = (have.difference(want), want.difference(have));
        if gained.intersects(state.blocked) {
            self.refuse_below_mask(spot, gained.intersection(state.blocked));
        }
        if !lost.is_empty() {
            state.blocked = state.blocked.union(self.mask(spot, want, lost));
        }
        let unwanted = state.origin == Origin::Host && state.executable;
        let runs_below =
            spot.kept(self.live).contains(Perm::Execute) || self.is_out_of_reach_of_code(spot);
        if self.world.namespaces && unwanted && !spot.allowed.contains(Perm::Execute) && !runs_below
        {
            state = self.no_code(spot, state);
        }
        if self.world.in_volume(&spot.path) {
            state = self.guard_volume(spot, want, state);
        }
        let written = want.union(state.blocked).contains(Perm::WriteFile);
        if truncates(self.world.landlock_abi) && state.writable && !written {
            self.leave(PermSet::of(&[Perm::WriteFile]));
        }
        // To remove a file, or to put another in its place, is its directory's to permit, unless it is
        // a mount: where a rule says less of the file itself, only a live decision knows.
        let kept = state.have().difference(spot.wanted(self.live));
        if !spot.is_dir() && state.blocked == before && kept.intersects(PermSet::ENTRIES) {
            self.leave(kept.intersection(PermSet::ENTRIES));
        }
        // Whoever runs a program can read it in the memory of that process. Where each execution is looked
        // at, what may not be read does not run.
        if want.contains(Perm::Execute) && !spot.allowed.contains(Perm::ReadFile) {
            self.leave(PermSet::of(&[Perm::ReadFile, Perm::Execute]));
        }
        if !gained.is_empty() {
            self.out.landlock.push(Grant {
                path: spot.path.clone(),
                perms: want,
            });
            state.reach = state.reach.union(want);
        }
        state
    }

    /// Landlock does not see a change of owners, modes and times, and a file of the host has them.
    fn guard_volume(&mut self, spot: &Spot, want: PermSet, state: State) -> State {
        let shown = !want.is_empty() && !want.intersects(PermSet::CHANGE);
        if !shown || state.blocked.is_superset(PermSet::CHANGE) {
            return state;
        }
        let rule = self.rule_of(&spot.path, Perm::WriteFile);
        self.push_mask(spot, MaskKind::ReadOnly, &rule);
        State {
            blocked: state.blocked.union(PermSet::CHANGE),
            ..state
        }
    }

    fn refuse_below_mask(&mut self, spot: &Spot, gained: PermSet) {
        if self.leave(gained) {
            return;
        }
        for perm in gained.iter().take(1) {
            let rule = self.rule_of(&spot.path, perm);
            let path = spot.path.display();
            self.out.refusals.add(
                &rule,
                format!("it allows {perm} on {path}, below a path that another rule has to hide or make read-only as a whole"),
                "narrow the deny above it, or remove this rule",
            );
        }
    }

    /// Takes away what is allowed above and not here. Returns what the masks block.
    fn mask(&mut self, spot: &Spot, want: PermSet, lost: PermSet) -> PermSet {
        let Some(first) = lost.iter().next() else {
            return PermSet::NONE;
        };
        let rule = self.rule_of(&spot.path, first);
        let path = spot.path.display();
        if !self.world.namespaces {
            self.out.refusals.add(
                &rule,
                format!("it takes {path} out of something that is allowed, which needs a mount, and this host does not let namespaces be created"),
                "allow only what is wanted, directory by directory",
            );
            return PermSet::ALL;
        }
        if spot.links > 1 && !spot.is_dir() {
            if self.leave(lost) {
                return PermSet::NONE;
            }
            self.out.refusals.add(
                &rule,
                format!(
                    "{path} has {} hard links, and a mask covers only one of its names",
                    spot.links
                ),
                "copy the file, or keep its directories out of what is allowed",
            );
            return PermSet::ALL;
        }
        if starts_programs(&spot.path) {
            self.out.refusals.add(
                &rule,
                format!("it hides {path}, through which the program is started and looked after"),
                "name the files in /proc that it is about",
            );
            return PermSet::ALL;
        }
        // A mount cannot be removed or replaced, and this file may be.
        let replaced = spot.wanted(self.live).intersects(PermSet::ENTRIES);
        if replaced && !spot.is_dir() && self.leave(lost) {
            return PermSet::NONE;
        }
        // What may be allowed here or below by a live decision must stay within reach of it.
        let left = want.union(spot.kept(self.live));
        if left.is_empty() {
            self.push_mask(spot, MaskKind::Hidden, &rule);
            return PermSet::ALL;
        }
        let mut blocked = PermSet::NONE;
        if lost.intersects(PermSet::CHANGE) && !left.intersects(PermSet::CHANGE) {
            self.push_mask(spot, MaskKind::ReadOnly, &rule);
            blocked = blocked.union(PermSet::CHANGE);
        }
        // Where each execution is decided, nothing is lost by leaving it to that.
        let mut decided = PermSet::NONE;
        if left.contains(Perm::Execute) {
            decided = decided.with(Perm::Execute);
        } else if lost.contains(Perm::Execute) {
            self.push_mask(spot, MaskKind::NoExec, &rule);
            blocked = blocked.with(Perm::Execute);
        }
        let rest = lost.difference(blocked).difference(decided);
        if !rest.is_empty() && !self.leave(rest) {
            self.out.refusals.add(
                &rule,
                format!("no mount takes {rest} from {path} and leaves {want}"),
                self.instead_of_a_part(spot, rest),
            );
        }
        blocked
    }

    fn instead_of_a_part(&self, spot: &Spot, lost: PermSet) -> &'static str {
        let private = |place: &PathBuf| spot.path.starts_with(place);
        if PermSet::READ.is_superset(lost) && self.world.private.iter().any(private) {
            "allow reading there too (--allow-read), because the worker's own place around it is \
             readable, or name a directory outside of it"
        } else {
            "deny everything there (no perms), or all writing (write_file, write_dir), or execute"
        }
    }

    /// Where nothing may run no code is mapped either, though Landlock does not ask for it.
    fn no_code(&mut self, spot: &Spot, state: State) -> State {
        if !state.blocked.contains(Perm::Execute) {
            let rule = self.rule_of(&spot.path, Perm::Execute);
            self.push_mask(spot, MaskKind::NoExec, &rule);
        }
        State {
            executable: false,
            blocked: state.blocked.with(Perm::Execute),
            ..state
        }
    }

    /// Whether a live decision keeps the spot from being run and from being read, so that no code is
    /// mapped from it, whatever it was mounted with.
    fn is_out_of_reach_of_code(&self, spot: &Spot) -> bool {
        let code = self.live.is_superset(PermSet::PROGRAM);
        self.standing.is_some() && code && !spot.allowed.contains(Perm::ReadFile)
    }

    fn push_mask(&mut self, spot: &Spot, kind: MaskKind, rule: &RuleRef) {
        self.out.masks.push(Mask {
            path: spot.path.clone(),
            dir: spot.is_dir(),
            kind,
            rule: rule.to_string(),
        });
    }
}
