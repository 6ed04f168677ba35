//! The flags before the verb that give a container a policy.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::oci::container::{EgressFrom, PolicyChoice};

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
    /// In whose network the connections of containers with a policy are made: the one that their
    /// configuration gives them, or the one in which this is called
    #[arg(long, value_name = "WHOSE", default_value = "container")]
    egress: Whose,
}

/// See [`PolicyArgs::egress`].
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Whose {
    #[default]
    Container,
    Host,
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
            egress: match self.egress {
                Whose::Container => EgressFrom::Container,
                Whose::Host => EgressFrom::Host,
            },
            events: self
                .events
                .as_deref()
                .map(std::path::absolute)
                .transpose()?,
            ..PolicyChoice::default()
        })
    }
}
