//! The compiler: rules become a plan that the kernel carries out exactly, or refusals.
//!
//! Without wildcards the answer of the oracle only changes at the paths that rules and the
//! bundle name. Those are the *spots*; between them nothing changes. So the compiler walks the
//! spots from the root down, compares what the kernel would allow there so far with what the
//! oracle says, adds a Landlock grant where more is allowed and a mask where less is, and
//! refuses where neither fits. The plan then agrees with the oracle by construction.

mod descend;
mod mechanisms;
mod pins;
mod places;
mod spots;
mod state;
mod unsupported;

use super::merge::{ExecMode, Policy};
use super::plan::{ExecPlan, Plan, World};
use super::refused::{Refusal, Refused};
use super::request::RuleRef;
use descend::Descent;

impl Policy {
    /// The plan that makes the kernel agree with [`Policy::decide`] of the resolved policy, or
    /// every rule that has no exact mechanism on this host.
    pub fn compile(&self, world: &World) -> Result<Plan, Refused> {
        let policy = self.resolve(world);
        let mut refusals = Refusals::default();
        unsupported::rules(&policy, &mut refusals);
        unsupported::host(&policy, world, &mut refusals);
        let net = unsupported::network(&policy, &mut refusals);
        // Wildcards have no place among the spots: say what is wrong before going on.
        if !refusals.rules.is_empty() {
            return Err(refusals.into());
        }
        let mut descent = Descent::new(&policy, world, spots::collect(&policy, world));
        descent.run();
        let outline = descent.finish();
        refusals
            .rules
            .extend(outline.refusals.rules.iter().cloned());
        if !refusals.rules.is_empty() {
            return Err(refusals.into());
        }
        let mechanisms = mechanisms::of(&policy, world, &outline, net);
        let exec = match policy.mode {
            ExecMode::Once => ExecPlan::Once,
            ExecMode::Programs => ExecPlan::Programs(outline.programs),
            ExecMode::Any => ExecPlan::Any,
        };
        Ok(Plan {
            binds: outline.binds,
            links: outline.links,
            masks: outline.masks,
            landlock: outline.landlock,
            private_executable: outline.private_executable,
            exec,
            net,
            deny_syscalls: deny_syscalls(&policy),
            limits: *policy.limits(),
            mechanisms,
            required: policy.required(),
        })
    }
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
