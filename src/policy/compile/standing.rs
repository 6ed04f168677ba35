//! A policy for a worker that runs already: whether the mounts, the masks, the Landlock ruleset and
//! the filter of its start carry it exactly, together with new live decisions.
//!
//! The walk is the compiler's, over what stands there and not over what the policy would have put
//! there. It has to come to the same plan again, but for what is decided live. What it would make
//! otherwise is a refusal by name: nothing of it can be changed after the start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::descend::{Descent, Outline};
use super::spots::Spot;
use super::state::{Origin, State};
use super::{Refusals, aliases, deny_syscalls, intercept, live, spots, unsupported};
use crate::policy::merge::{ExecMode, Policy};
use crate::policy::perm::{Grant, Perm, PermSet};
use crate::policy::plan::{
    Bind, Entry, EntryKind, ExecPlan, Intercept, Mask, MaskKind, NetPlan, Plan, World,
};
use crate::policy::refused::RestartNeeded;
use crate::policy::request::RuleRef;

/// What a person can do about all of it.
const RESTART: &str = "restart the run to apply it";

impl Policy {
    /// The interceptor's part with which this policy is carried exactly by a worker that was started
    /// with the plan `in_force`: its mechanisms stay as they are. `world` is how things are now, with
    /// what is shown since the start among its entries; `written` are places beside those of the plan
    /// in which the worker may have made something.
    ///
    /// # Errors
    /// Every rule that needs a restart, and what of the start stands against it.
    pub fn reload(
        &self,
        world: &World,
        in_force: &Plan,
        written: &[PathBuf],
    ) -> Result<Option<Intercept>, RestartNeeded> {
        let policy = self.resolve(world);
        let mut refusals = Refusals::default();
        unsupported::rules(&policy, world, &mut refusals);
        aliases::rules(&policy, world, &mut refusals);
        unsupported::host(&policy, world, &mut refusals);
        let net = unsupported::network(&policy, world, &mut refusals);
        let live = in_force
            .intercept
            .as_ref()
            .map_or(PermSet::NONE, |intercept| intercept.perms);
        let mut standing = Standing {
            policy: &policy,
            in_force,
            refusals,
        };
        standing.whole(net);
        standing.links_and_places(world, written);
        standing.calls(live::of_rules(&policy, world), live);
        standing.done()?;
        let spots = spots::collect(&policy, world, live, Some(in_force));
        let mut descent = Descent::new(&policy, world, spots, live).below(in_force);
        descent.run();
        let outline = descent.finish();
        standing.same(&outline, live);
        standing.done()?;
        Ok(intercept::of((&policy, world), &outline, live, true))
    }
}

impl Descent<'_> {
    /// The state at a spot where an earlier plan has put what is there. `asked` is what this policy
    /// would have shown.
    pub(super) fn stand(
        &mut self,
        spot: &Spot,
        standing: &Plan,
        asked: Option<&Bind>,
        (above, wanted): (State, State),
    ) -> State {
        let there = standing.binds.iter().find(|bind| bind.path == spot.path);
        if let Some((perm, missing)) = difference(spot, asked, there, wanted) {
            let rule = self.rule_of(&spot.path, perm);
            let missing = format!("{} {missing}", spot.path.display());
            self.out.refusals.add(&rule, missing, RESTART);
        }
        let Some(there) = there else { return wanted };
        self.out.binds.push(there.clone());
        State {
            visible: true,
            origin: Origin::Host,
            writable: there.writable,
            executable: there.executable,
            live: spot.live(self.live),
            ..above
        }
    }
}

/// What a bind of the start does otherwise than this policy wants it at the spot, where that is more
/// than nothing, and the permission that it is about. A bind that no rule asks for any more stays
/// where everything is denied.
fn difference(
    spot: &Spot,
    asked: Option<&Bind>,
    there: Option<&Bind>,
    wanted: State,
) -> Option<(Perm, &'static str)> {
    let Some(there) = there else {
        return asked.map(|_| {
            (
                Perm::ReadFile,
                "would have to be shown, and is not since the start",
            )
        });
    };
    if !wanted.visible {
        let allowed = spot.allowed.iter().next();
        return allowed.map(|perm| {
            (
                perm,
                "is shown since the start, and no rule names it any more",
            )
        });
    }
    let changes = spot.allowed.intersects(PermSet::CHANGE);
    let runs = spot.allowed.contains(Perm::Execute);
    match (wanted.writable, there.writable) {
        (true, false) if changes => {
            return Some((
                Perm::WriteFile,
                "would have to be writable, and is not since the start",
            ));
        }
        (false, true) if changes => {
            return Some((
                Perm::WriteFile,
                "is the host's and writable since the start",
            ));
        }
        _ => {}
    }
    match (wanted.executable, there.executable) {
        (true, false) if runs => Some((
            Perm::Execute,
            "would have to let code run, and does not since the start",
        )),
        (false, true) if runs => Some((Perm::Execute, "lets code run since the start")),
        _ => None,
    }
}

/// What is compared.
struct Standing<'s> {
    policy: &'s Policy,
    in_force: &'s Plan,
    refusals: Refusals,
}

impl Standing<'_> {
    fn done(&mut self) -> Result<(), RestartNeeded> {
        match std::mem::take(&mut self.refusals.rules) {
            rules if rules.is_empty() => Ok(()),
            rules => Err(RestartNeeded { rules }),
        }
    }

    fn refuse(&mut self, rule: &RuleRef, missing: impl Into<String>) {
        self.refusals.add(rule, missing, RESTART);
    }

    /// A rule that stands in no place of its own.
    fn refuse_whole(&mut self, what: &str, missing: &str) {
        let layer = self.policy.layers.first();
        let layer = layer.map_or("the policy", |layer| &layer.name);
        let rule = RuleRef::named(layer, what);
        self.refuse(&rule, missing);
    }

    fn refuse_at(&mut self, path: &Path, perm: Perm, missing: String) {
        let decided = self
            .policy
            .decide(&crate::policy::Request::Fs { path, perm });
        self.refuse(&decided.rule, missing);
    }

    /// What the start has set for the whole sandbox.
    fn whole(&mut self, net: NetPlan) {
        let policy = self.policy;
        let same_mode = matches!(
            (&self.in_force.exec, policy.mode),
            (ExecPlan::Once, ExecMode::Once)
                | (ExecPlan::Programs(_), ExecMode::Programs)
                | (ExecPlan::Any, ExecMode::Any)
        );
        if !same_mode {
            let missing = "whether programs may run at all, some or every one, is the filter's and the \
                           mounts' since the start";
            self.refuse_whole("exec", missing);
        }
        // Where there is a way out each connection is decided as it is made, and all may be denied.
        let closes = (self.in_force.net, net) == (NetPlan::Egress, NetPlan::None);
        if net != self.in_force.net && !closes {
            self.refuse_whole("net", "which network there is is settled at the start");
        }
        if unsupported::datagrams(policy, net) && !self.in_force.datagrams {
            let missing = "it lets UDP out, and there is no way for that since the start";
            self.refuse_whole("net", missing);
        }
        if *policy.limits() != self.in_force.limits {
            self.refuse_whole("limits", "they are set at the start, and these are others");
        }
        if deny_syscalls(policy) != self.in_force.deny_syscalls {
            let missing = "the filter of the start denies other system calls";
            self.refuse_whole("antiEscape.denySyscalls", missing);
        }
        let (asked, had) = (policy.required(), self.in_force.required);
        if asked.union(had) != had {
            self.refuse_whole("plugins", "it requires what was not required at the start");
        }
    }

    /// A name that leads elsewhere could have been made by the worker, to be taken for what a rule
    /// names; and what is shown must still be what the host has there.
    fn links_and_places(&mut self, world: &World, written: &[PathBuf]) {
        let binds = self.in_force.binds.iter();
        let bound = binds.filter(|bind| bind.writable).map(|bind| &bind.path);
        let places: Vec<&PathBuf> = bound.chain(&world.private).chain(written).collect();
        let is_written = |path: &Path| places.iter().any(|place| path.starts_with(place));
        for path in self.policy.literal_paths() {
            let entry = world.entries.get(&path);
            let leads =
                entry.is_some_and(|entry| entry.real != path) || world.through.contains_key(&path);
            if leads && is_written(&path) {
                let shown = path.display();
                let missing = format!(
                    "{shown} is a symbolic link, or behind one, where the program may have made it"
                );
                self.refuse_at(&path, Perm::ReadFile, missing);
            }
        }
        for bind in &self.in_force.binds {
            let is_it = |entry: &Entry| {
                entry.real == bind.path && (entry.kind == EntryKind::Dir) == bind.dir
            };
            let there = world.entries.get(&bind.path);
            if !there.is_some_and(|entry| is_it(entry) && entry.kind != EntryKind::Missing) {
                let missing = format!("what was shown at {} is gone", bind.path.display());
                self.refuse_at(&bind.path, Perm::ReadFile, missing);
            }
        }
    }

    /// What is decided as each call is made needs the filter to hold these calls.
    fn calls(&mut self, needed: PermSet, held: PermSet) {
        let missing = needed.difference(held);
        if missing.is_empty() {
            return;
        }
        let missing = format!(
            "it has {missing} decided call by call, and the filter of the start does not hold these \
             calls"
        );
        let layers = self.policy.layers.iter();
        let live = |rule: &&RuleRef| live::needs_more(self.policy, rule, held);
        let rules: Vec<RuleRef> = layers
            .flat_map(|layer| {
                let files = layer.fs.iter().map(|rule| &rule.rule);
                let programs = layer.exec.iter().map(|rule| &rule.rule);
                files.chain(programs)
            })
            .filter(live)
            .cloned()
            .collect();
        if rules.is_empty() {
            return self.refuse_whole("defaults and audit.events", &missing);
        }
        for rule in rules {
            self.refuse(&rule, missing.clone());
        }
    }

    /// The walk has come to the plan in force again, but for what is decided live.
    fn same(&mut self, outline: &Outline, live: PermSet) {
        self.refusals
            .rules
            .extend(outline.refusals.rules.iter().cloned());
        let more = outline.carried.difference(live);
        if !more.is_empty() && self.refusals.rules.is_empty() {
            let missing =
                format!("{more} could only be decided call by call, and is not since the start");
            self.refuse_whole("fs", &missing);
        }
        self.same_ruleset(&outline.landlock, live);
        self.same_masks(&outline.masks);
        for absent in &outline.absent {
            if !self.in_force.absent.iter().any(|it| it.path == absent.path) {
                let path = absent.path.display();
                let missing = format!(
                    "nothing is at {path}, or a symbolic link, and whether that changes is not watched since the start"
                );
                self.refuse_at(&absent.path, Perm::ReadFile, missing);
            }
        }
        let binds: BTreeSet<&Path> = self.in_force.binds.iter().map(|it| &*it.path).collect();
        for bind in &outline.binds {
            if !binds.contains(&*bind.path) {
                let path = bind.path.display();
                let missing =
                    format!("{path} would have to be a mount, and is not since the start");
                self.refuse_at(&bind.path, Perm::WriteFile, missing);
            }
        }
        for link in &outline.links {
            if !self.in_force.links.contains(link) {
                let path = link.path.display();
                let missing = format!("the symbolic link {path} is not there since the start");
                self.refuse_at(&link.path, Perm::ReadFile, missing);
            }
        }
        if outline.private_executable != self.in_force.private_executable {
            let missing =
                "where programs may run of the worker's own places is settled at the start";
            self.refuse_whole("exec", missing);
        }
        if let ExecPlan::Programs(programs) = &self.in_force.exec
            && !live.contains(Perm::Execute)
            && *programs != outline.programs
        {
            self.refuse_whole("exec", "which programs may run is settled at the start");
        }
    }

    /// A ruleset takes nothing back and gives nothing more. An execution that is decided live goes
    /// through it first, so that there it has only to let enough through.
    fn same_ruleset(&mut self, wanted: &[Grant], live: PermSet) {
        let settled = |grants: &[Grant]| {
            let mut settled: BTreeMap<PathBuf, PermSet> = BTreeMap::new();
            for grant in grants {
                let perms = settled.entry(grant.path.clone()).or_insert(PermSet::NONE);
                *perms = perms.union(grant.perms);
            }
            settled
        };
        let (had, wanted) = (settled(&self.in_force.landlock), settled(wanted));
        let paths: BTreeSet<&PathBuf> = had.keys().chain(wanted.keys()).collect();
        let of = |grants: &BTreeMap<PathBuf, PermSet>, path: &PathBuf| {
            grants.get(path).copied().unwrap_or(PermSet::NONE)
        };
        for path in paths {
            let (had, wanted) = (of(&had, path), of(&wanted, path));
            let lost = had.difference(wanted).difference(live);
            let gained = wanted.difference(had);
            let gained = gained.difference(live.without(Perm::Execute));
            let shown = path.display();
            if let Some(perm) = lost.iter().next() {
                let missing = format!(
                    "Landlock allows {lost} at {shown} since the start, and takes nothing back"
                );
                self.refuse_at(path, perm, missing);
            } else if let Some(perm) = gained.iter().next() {
                let missing =
                    format!("Landlock does not allow {gained} at {shown} since the start");
                self.refuse_at(path, perm, missing);
            }
        }
    }

    fn same_masks(&mut self, wanted: &[Mask]) {
        let places = |masks: &[Mask]| -> BTreeSet<(PathBuf, MaskKind)> {
            masks
                .iter()
                .map(|mask| (mask.path.clone(), mask.kind))
                .collect()
        };
        let (had, wanted) = (places(&self.in_force.masks), places(wanted));
        for (path, kind) in had.symmetric_difference(&wanted) {
            let (perm, how) = match kind {
                MaskKind::Hidden => (Perm::ReadFile, "hidden by a mount"),
                MaskKind::ReadOnly => (Perm::WriteFile, "made read-only by a mount"),
                MaskKind::NoExec => (Perm::Execute, "mounted without execution"),
            };
            let shown = path.display();
            let missing = match had.contains(&(path.clone(), *kind)) {
                true => format!("{shown} is {how} since the start"),
                false => format!("{shown} would have to be {how}, and is not since the start"),
            };
            self.refuse_at(path, perm, missing);
        }
    }
}
