//! What a container's supervisor decides by: the world that the first process has seen when it
//! compiled the policy, so that both give the same answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::confinement::Granted;
use crate::launch::Failure;
use crate::policy::{Contained, Entry, EntryKind, Grant, Layer, Policy, World};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oracle {
    /// What the container has without a rule.
    grants: Vec<Granted>,
    /// Each path that a rule names, and what it is without links.
    paths: Vec<(PathBuf, PathBuf)>,
    /// The names that some of them lead through.
    through: Vec<(PathBuf, Vec<PathBuf>)>,
    volumes: Vec<PathBuf>,
    closed: Vec<PathBuf>,
    landlock_abi: u32,
}

impl Oracle {
    pub(super) fn of(grants: &[Grant], world: &World) -> Oracle {
        let container = world.container.clone().unwrap_or_default();
        let entries = world.entries.iter();
        Oracle {
            grants: grants.iter().map(Into::into).collect(),
            paths: entries
                .map(|(path, entry)| (path.clone(), entry.real.clone()))
                .collect(),
            through: world.through.clone().into_iter().collect(),
            volumes: container.volumes,
            closed: container.closed,
            landlock_abi: world.landlock_abi,
        }
    }

    /// The policy of `layers` in that world.
    ///
    /// # Errors
    /// The layers do not fit together, or this was not written by the first process.
    pub fn policy(&self, layers: Vec<Layer>) -> Result<Policy, Failure> {
        let grants: Result<_, _> = self.grants.iter().map(Granted::grant).collect();
        let policy = Policy::merge(layers, grants?)
            .map_err(|error| Failure::new("read", "the container's policy", error))?;
        let entry = |(path, real): &(PathBuf, PathBuf)| {
            let entry = Entry {
                kind: EntryKind::Other,
                links: 1,
                in_bundle: true,
                real: real.clone(),
            };
            (path.clone(), entry)
        };
        let container = Contained {
            volumes: self.volumes.clone(),
            closed: self.closed.clone(),
        };
        Ok(policy.resolve(&World {
            entries: self.paths.iter().map(entry).collect(),
            through: self.through.iter().cloned().collect(),
            namespaces: true,
            landlock_abi: self.landlock_abi,
            container: Some(container),
            ..World::default()
        }))
    }
}
