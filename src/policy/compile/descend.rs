//! The walk over the spots, from the root down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Refusals;
use super::live;
use super::places::{holds_own_places, kernel_made};
use super::spots::Spot;
use super::state::{Origin, State, wants_code};
use super::unsupported;
use crate::policy::matching::PathPattern;
use crate::policy::merge::{ExecMode, Policy, host_paths_over_private_places};
use crate::policy::perm::{Grant, Perm, PermSet};
use crate::policy::plan::{Absent, Bind, CHANNEL, EntryKind, Link, Mask, OWN_PLACES, Plan, World};
use crate::policy::request::{Request, RuleRef};

/// What the walk found.
pub(super) struct Outline {
    pub binds: Vec<Bind>,
    pub links: Vec<Link>,
    pub masks: Vec<Mask>,
    pub absent: Vec<Absent>,
    pub landlock: Vec<Grant>,
    pub private_executable: Vec<PathBuf>,
    pub programs: Vec<PathBuf>,
    pub refusals: Refusals,
    /// What only the interceptor can carry of the permissions that were thought to need none.
    pub carried: PermSet,
    pub spots: Vec<Spot>,
    pub states: Vec<State>,
}

pub(super) struct Descent<'c> {
    pub(super) policy: &'c Policy,
    pub(super) world: &'c World,
    /// Which permissions are decided as each call is made.
    pub(super) live: PermSet,
    /// The plan that holds since the start, where the root and the filter are there already.
    pub(super) standing: Option<&'c Plan>,
    /// Host paths below the private places that rules allow by name.
    over_private: BTreeSet<PathBuf>,
    pub(super) out: Outline,
}

impl<'c> Descent<'c> {
    pub fn new(
        policy: &'c Policy,
        world: &'c World,
        spots: Vec<Spot>,
        live: PermSet,
    ) -> Descent<'c> {
        let out = Outline {
            binds: Vec::new(),
            links: Vec::new(),
            masks: Vec::new(),
            absent: Vec::new(),
            landlock: Vec::new(),
            private_executable: Vec::new(),
            programs: Vec::new(),
            refusals: Refusals::default(),
            carried: PermSet::NONE,
            spots,
            states: Vec::new(),
        };
        let over_private = host_paths_over_private_places(&policy.layers, world)
            .iter()
            .filter_map(PathPattern::as_literal)
            .collect();
        Descent {
            policy,
            world,
            live,
            standing: None,
            over_private,
            out,
        }
    }

    /// The same below what an earlier plan has put in place, which nothing changes any more.
    pub fn below(self, standing: &'c Plan) -> Descent<'c> {
        Descent {
            standing: Some(standing),
            ..self
        }
    }

    pub fn run(&mut self) {
        unsupported::command(self.policy, self.world, &mut self.out.refusals);
        for index in 0..self.out.spots.len() {
            let spot = self.out.spots[index].clone();
            let above = match spot.parent {
                Some(parent) => self.out.states[parent],
                None => State::outside(self.builds_root()),
            };
            let state = self.place(&spot, above);
            let state = if state.visible {
                self.fence(&spot, state)
            } else {
                self.absent(&spot, above)
            };
            self.out.states.push(state);
        }
        self.pin_parents_of_masks();
        self.collect_links();
        self.collect_programs();
    }

    pub fn finish(mut self) -> Outline {
        self.out
            .binds
            .sort_by(|one, other| one.path.cmp(&other.path));
        self.out.binds.dedup();
        self.out
    }

    /// Whether the root is put together by the plan; without namespaces it is the host's, and of a
    /// container it is there already.
    pub(super) fn builds_root(&self) -> bool {
        live::is_possible(self.world)
    }

    /// Leaves permissions to the interceptor that no mechanism of the kernel carries exactly. False
    /// where there is none, or where a call that the kernel answers by itself would need it.
    pub(super) fn leave(&mut self, perms: PermSet) -> bool {
        let once = self.policy.mode == ExecMode::Once;
        let can = self.builds_root() && !(once && perms.contains(Perm::Execute));
        if can {
            self.out.carried = self.out.carried.union(perms);
        }
        // The filter holds what it holds.
        can && (self.standing.is_none() || self.live.is_superset(perms))
    }

    /// What is mounted at the spot: what the plan wants there, or what is there since the start.
    fn place(&mut self, spot: &Spot, above: State) -> State {
        let Some(standing) = self.standing else {
            return self.mount(spot, above);
        };
        let before = self.out.binds.len();
        let wanted = self.mount(spot, above);
        let asked = self.out.binds.split_off(before).pop();
        self.stand(spot, standing, asked.as_ref(), (above, wanted))
    }

    fn mount(&mut self, spot: &Spot, above: State) -> State {
        let mut state = State {
            visible: spot.kind != EntryKind::Missing,
            live: spot.live(self.live),
            ..above
        };
        if !self.builds_root() {
            return state;
        }
        let code = wants_code(spot, self.policy.mode);
        if spot.private {
            state = State {
                origin: Origin::Private,
                writable: true,
                executable: code,
                ..state
            };
            if code {
                self.out.private_executable.push(spot.path.clone());
            }
            return state;
        }
        if spot.in_bundle {
            return self.place_of_bundle(spot, above, state);
        }
        // What comes in without a rule that names it, such as the command, is not to be changed.
        let writes = !spot.named.is_empty() && spot.allowed.intersects(PermSet::CHANGE);
        let brought = match above.origin {
            Origin::Host if above.visible => {
                (writes && !above.writable) || (code && !above.executable)
            }
            _ => {
                // A rule about a private place speaks of the worker's own: what the host has below
                // it is shown where a rule allows that by its own name, and never by a deny.
                let named = !spot.named.is_empty()
                    && (above.origin != Origin::Private || self.over_private.contains(&spot.path));
                let brought = named || spot.given || spot.starts;
                state.visible &= brought;
                brought
            }
        };
        if state.visible && brought {
            return self.bind(
                spot,
                State {
                    writable: writes,
                    executable: code,
                    ..state
                },
            );
        }
        state
    }

    /// What the bundle shows is the host's only where a rule says so by name: a default that
    /// allows does not open it.
    fn place_of_bundle(&mut self, spot: &Spot, above: State, state: State) -> State {
        let code = wants_code(spot, self.policy.mode);
        let named = spot.named_itself;
        let writes = named.intersects(PermSet::CHANGE);
        let named_code = named.contains(Perm::Execute) && code;
        let root = spot.path == Path::new("/") && !named.is_empty();
        // A bind above shows the host here too, with its own flags.
        let covered = above.origin == Origin::Host && above.visible;
        let (under, wanted) = if covered {
            let wanted = (writes && !above.writable) || (code && !above.executable);
            (state, wanted)
        } else {
            let executable = spot.library || above.executable;
            let under = State {
                origin: Origin::Bundle,
                writable: false,
                executable,
                ..state
            };
            (under, root || writes || (named_code && !executable))
        };
        if wanted && state.visible && !kernel_made(&spot.path) {
            return self.bind(
                spot,
                State {
                    writable: writes,
                    executable: code,
                    ..under
                },
            );
        }
        under
    }

    fn bind(&mut self, spot: &Spot, state: State) -> State {
        self.keep_own_places(spot, state.writable);
        if self.policy.mode == ExecMode::Programs
            && state.writable
            && state.executable
            && !spot.runs
        {
            let rule = self.rule_of(&spot.path, Perm::WriteFile);
            self.out.refusals.add(
                &rule,
                format!("it makes {} writable, from which code is loaded, so that programs outside the list could be put there", spot.path.display()),
                "let it be read only, or set defaults.exec to allow",
            );
        }
        self.out.binds.push(Bind {
            path: spot.path.clone(),
            writable: state.writable,
            executable: state.executable,
            dir: spot.is_dir(),
        });
        State {
            origin: Origin::Host,
            ..state
        }
    }

    /// The worker's own places are neither shown from the host, nor is what holds them changed.
    fn keep_own_places(&mut self, spot: &Spot, writable: bool) {
        let path = spot.path.display();
        let (perm, missing, change) = if spot.path.starts_with(CHANNEL) {
            let perm = if writable {
                Perm::WriteFile
            } else {
                Perm::ReadFile
            };
            let missing = format!("{CHANNEL} is the worker's own, and the host's is never shown");
            (perm, missing, "name another path")
        } else if writable && holds_own_places(&spot.path) {
            let missing = format!(
                "it lets {path} itself be changed, in which the worker has places of its own, such \
                 as {}",
                OWN_PLACES.join(", ")
            );
            (Perm::WriteFile, missing, "allow what is in it by name")
        } else {
            return;
        };
        let rule = self.rule_of(&spot.path, perm);
        self.out.refusals.add(&rule, missing, change);
    }

    /// A path that is not there: whether it could come into being with other rights than the
    /// oracle gives it.
    fn absent(&mut self, spot: &Spot, above: State) -> State {
        let (want, have) = (spot.wanted(self.live), above.have());
        let changed = have.difference(want).union(want.difference(have));
        if above.creatable() && want != have && !self.leave(changed) {
            let lost = have.difference(want).iter().next();
            let perm = lost
                .or_else(|| want.difference(have).iter().next())
                .unwrap_or(Perm::ReadFile);
            let rule = self.rule_of(&spot.path, perm);
            let path = spot.path.display();
            let on_the_host = spot.kind != EntryKind::Missing;
            let (missing, change) = if on_the_host {
                (
                    format!(
                        "the worker has a place of its own around {path}, which it may write, and \
                         could make another {path} there; the host's is not shown"
                    ),
                    "remove the rule, or allow the host's directory around it by name".to_owned(),
                )
            } else if lost.is_some() {
                (
                    format!(
                        "{path} does not exist, and lies in a directory that the worker may write: it could create it"
                    ),
                    format!("create {path} first, or deny its directory"),
                )
            } else {
                (
                    format!(
                        "{path} does not exist, and lies in a directory that the worker may write: what it creates there gets that directory's permissions"
                    ),
                    format!("create {path} first, or remove the rule"),
                )
            };
            self.out.refusals.add(&rule, missing, change);
        }
        let lost = have.difference(want).iter().next();
        if let Some(perm) = lost.filter(|_| above.visible && !above.creatable()) {
            self.out.absent.push(Absent {
                path: spot.path.clone(),
                rule: self.rule_of(&spot.path, perm).to_string(),
            });
        }
        State {
            visible: above.visible && above.creatable(),
            live: spot.live(self.live),
            ..above
        }
    }

    pub(super) fn rule_of(&self, path: &Path, perm: Perm) -> RuleRef {
        self.policy.decide(&Request::Fs { path, perm }).rule
    }

    /// The state that holds at a path which may be no spot.
    pub(super) fn state_at(&self, path: &Path) -> Option<&State> {
        let index = self
            .out
            .spots
            .iter()
            .rposition(|spot| path.starts_with(&spot.path))?;
        self.out.states.get(index)
    }

    fn collect_links(&mut self) {
        if !self.builds_root() {
            return;
        }
        let named = self.policy.literal_paths();
        for (path, entry) in &self.world.entries {
            if *path == entry.real || entry.in_bundle || named.binary_search(path).is_err() {
                continue;
            }
            let seen = self
                .state_at(&entry.real)
                .is_some_and(|state| state.visible);
            let exists = self
                .out
                .spots
                .iter()
                .any(|spot| spot.path == entry.real && spot.kind != EntryKind::Missing);
            // Inside a bind the link is there already.
            let around = path.parent().and_then(|parent| self.state_at(parent));
            let already = around.is_some_and(|state| state.origin == Origin::Host);
            if seen && exists && !already {
                self.out.links.push(Link {
                    path: path.clone(),
                    target: entry.real.clone(),
                });
            }
        }
    }

    fn collect_programs(&mut self) {
        if self.policy.mode != ExecMode::Programs {
            return;
        }
        for (spot, state) in self.out.spots.iter().zip(&self.out.states) {
            let below = spot
                .parent
                .is_some_and(|parent| self.out.spots[parent].runs);
            let there = state.visible && spot.kind != EntryKind::Missing;
            if spot.runs
                && !spot.starts
                && there
                && !below
                && spot.wanted(self.live).contains(Perm::Execute)
            {
                self.out.programs.push(spot.path.clone());
            }
        }
    }
}
