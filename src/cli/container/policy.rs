//! The flags before the verb that give a container a policy.

use std::path::PathBuf;

use clap::Args;

use crate::oci::container::PolicyChoice;

/// See the module.
#[derive(Debug, Args, Default)]
pub(in crate::cli) struct PolicyArgs {
    /// Hold the containers that are created to this policy; each further one narrows
    #[arg(long, value_name = "NAME|FILE")]
    policy: Vec<PathBuf>,
    /// Create a container although something of its policy is not carried out
    #[arg(long)]
    allow_degraded: bool,
    /// Log of events of containers with a policy [default: /var/log/buntime/events.jsonl, or
    /// $XDG_STATE_HOME/buntime/events.jsonl, where the policy has audit.enabled]
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

impl PolicyArgs {
    /// Paths mean what they mean where the caller is.
    pub(super) fn choice(&self) -> anyhow::Result<PolicyChoice> {
        let policies = self.policy.iter().map(|named| {
            let is_path = named.as_os_str().as_encoded_bytes().contains(&b'/') || named.exists();
            match is_path {
                true => std::path::absolute(named),
                false => Ok(named.clone()),
            }
        });
        Ok(PolicyChoice {
            policies: policies.collect::<Result<_, _>>()?,
            allow_degraded: self.allow_degraded,
            events: self
                .events
                .as_deref()
                .map(std::path::absolute)
                .transpose()?,
            ..PolicyChoice::default()
        })
    }
}
