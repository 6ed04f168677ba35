//! Layers and the bundle's allows, merged.

use std::path::PathBuf;

use super::layer::Layer;
use super::limits::{Audit, Limits, OnViolation, Plugins};
use super::perm::Grant;
use super::plan::{ExecPlan, NetPlan, Plan, World};
use super::refused::Refused;
use super::request::{Decision, Request, RuleRef, Verdict};

/// The layers do not fit together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MergeError {
    /// A flag asks for more than a file gives.
    #[error(
        "{flag} would widen the policy: {rule} does not allow {what}; change that file, or leave the flag away"
    )]
    Widens {
        /// The flag as it was given.
        flag: String,
        /// What it asks for.
        what: String,
        /// The rule that stands against it.
        rule: RuleRef,
    },
}

/// The merged policy: the oracle.
#[derive(Debug, Clone)]
pub struct Policy {
    limits: Limits,
    audit: Audit,
}

impl Policy {
    /// Merges the layers, lowest first; a layer can only narrow.
    pub fn merge(_layers: Vec<Layer>, _bundle: Vec<Grant>) -> Result<Policy, MergeError> {
        Ok(Policy {
            limits: Limits::default(),
            audit: Audit::default(),
        })
    }

    /// The same policy after looking up what its rules name in the snapshot: a rule then also
    /// covers the real path behind symbolic links, and the bundle grants the command and loaders.
    #[must_use]
    pub fn resolve(&self, _world: &World) -> Policy {
        self.clone()
    }

    /// The answer to one request.
    pub fn decide(&self, _request: &Request<'_>) -> Decision {
        Decision {
            verdict: Verdict::Deny,
            rule: RuleRef::bundle(),
        }
    }

    /// The absolute literal paths that fs and exec rules name, sorted.
    pub fn literal_paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What a run may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is recorded.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What happens after a violation.
    pub fn on_violation(&self) -> OnViolation {
        OnViolation::Deny
    }

    /// The isolation without which the start must fail.
    pub fn required(&self) -> Plugins {
        Plugins::default()
    }

    /// The plan that makes the kernel agree with [`Policy::decide`], or the rules that have no
    /// exact mechanism on this host.
    pub fn compile(&self, _world: &World) -> Result<Plan, Refused> {
        Ok(Plan {
            binds: Vec::new(),
            links: Vec::new(),
            masks: Vec::new(),
            landlock: Vec::new(),
            private_executable: Vec::new(),
            exec: ExecPlan::Once,
            net: NetPlan::None,
            deny_syscalls: Vec::new(),
            limits: self.limits,
            mechanisms: Vec::new(),
            required: Plugins::default(),
        })
    }
}
