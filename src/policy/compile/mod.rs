//! The compiler: rules become a plan that the kernel carries out exactly, or refusals.
//!
//! Without wildcards the answer of the oracle only changes at the paths that rules and the
//! bundle name. Those are the *spots*; between them nothing changes. So the compiler walks the
//! spots from the root down, compares what the kernel would allow there so far with what the
//! oracle says, adds a Landlock grant where more is allowed and a mask where less is. The plan
//! then agrees with the oracle by construction.
//!
//! What wildcards, `warn`, `ask` and digests speak of, and what no mount carries, is decided as
//! each call is made: those permissions are *live*. No Landlock grant and no mask speaks of them,
//! and the mounts show what may be allowed. What that cannot carry either is refused.

mod aliases;
mod descend;
mod fences;
mod intercept;
mod live;
mod mechanisms;
mod pins;
mod places;
mod spots;
mod standing;
mod state;
mod unsupported;

use super::merge::{ExecMode, Policy};
use super::perm::{Grant, Perm, PermSet};
use super::plan::{ExecPlan, Plan, World};
use super::refused::{Refusal, Refused};
use super::request::RuleRef;
use descend::{Descent, Outline};
pub(super) use unsupported::{UNSEEN, UNSEEN_OF_THE_KERNEL, UNSEEN_WITHOUT_WAY_OUT};

impl Policy {
    /// The plan that makes the kernel agree with [`Policy::decide`] of the resolved policy, or
    /// every rule that has no exact mechanism on this host.
    pub fn compile(&self, world: &World) -> Result<Plan, Refused> {
        let policy = self.resolve(world);
        let mut refusals = Refusals::default();
        unsupported::rules(&policy, world, &mut refusals);
        aliases::rules(&policy, world, &mut refusals);
        unsupported::host(&policy, world, &mut refusals);
        let net = unsupported::network(&policy, world, &mut refusals);
        // Where nothing is decided live wildcards have no place among the spots: say what is wrong
        // before going on.
        if !refusals.rules.is_empty() {
            return Err(refusals.into());
        }
        let (outline, live) = walk(&policy, world);
        refusals
            .rules
            .extend(outline.refusals.rules.iter().cloned());
        if !refusals.rules.is_empty() {
            return Err(refusals.into());
        }
        let mechanisms = mechanisms::of(&policy, world, &outline, (net, live));
        let intercept = intercept::of((&policy, world), &outline, live, false);
        let exec = match policy.mode {
            ExecMode::Once => ExecPlan::Once,
            ExecMode::Programs => ExecPlan::Programs(outline.programs),
            ExecMode::Any => ExecPlan::Any,
        };
        Ok(Plan {
            binds: outline.binds,
            links: outline.links,
            masks: outline.masks,
            absent: outline.absent,
            landlock: openable_to_execute(outline.landlock, live),
            private_executable: outline.private_executable,
            exec,
            net,
            datagrams: unsupported::datagrams(&policy, net),
            intercept,
            deny_syscalls: deny_syscalls(&policy),
            limits: *policy.limits(),
            mechanisms,
            required: policy.required(),
        })
    }
}

/// Walks the spots, and leaves to the interceptor what the walk finds to be its own, until nothing
/// more is found: each time fewer permissions are the kernel's.
fn walk(policy: &Policy, world: &World) -> (Outline, PermSet) {
    let mut live = live::of_rules(policy, world);
    loop {
        let spots = spots::collect(policy, world, live, None);
        let mut descent = Descent::new(policy, world, spots, live);
        descent.run();
        let outline = descent.finish();
        if live.is_superset(outline.carried) {
            return (outline, live);
        }
        live = live.union(outline.carried);
    }
}

/// The kernel reads what it executes, and asks Landlock for that right too. The worker's own reading
/// is decided live, so nothing else is let happen by it.
fn openable_to_execute(mut landlock: Vec<Grant>, live: PermSet) -> Vec<Grant> {
    let runs = |grant: &&mut Grant| grant.perms.contains(Perm::Execute);
    for grant in landlock.iter_mut().filter(runs) {
        if live.contains(Perm::ReadFile) {
            grant.perms = grant.perms.with(Perm::ReadFile);
        }
    }
    landlock
}

fn deny_syscalls(policy: &Policy) -> Vec<String> {
    let layers = policy.layers.iter();
    let mut names: Vec<String> = layers
        .flat_map(|layer| layer.deny_syscalls.iter().cloned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What cannot be enforced, each rule and reason once.
#[derive(Debug, Default)]
struct Refusals {
    rules: Vec<Refusal>,
}

impl Refusals {
    fn add(&mut self, rule: &RuleRef, missing: impl Into<String>, change: impl Into<String>) {
        let refusal = Refusal {
            rule: rule.clone(),
            missing: missing.into(),
            change: change.into(),
        };
        if !self.rules.contains(&refusal) {
            self.rules.push(refusal);
        }
    }
}

impl From<Refusals> for Refused {
    fn from(refusals: Refusals) -> Refused {
        Refused {
            rules: refusals.rules,
        }
    }
}
