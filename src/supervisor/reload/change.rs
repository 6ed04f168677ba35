//! Whether a run can go over to other policies, and what that comes to.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Asked, Reloaded};
use crate::oci::Standing;
use crate::policy::{Intercept, Layer, LiveRules, Policy};
use crate::supervisor::error::RunError;
use crate::supervisor::layers::load_regular;
use crate::supervisor::options::PolicySource;
use crate::supervisor::start::recorded;

/// What a reload of this run starts from.
#[derive(Debug)]
pub(in crate::supervisor) struct Ground {
    /// What the launch has fixed, or why nothing can be compared with it.
    pub standing: Result<Standing, &'static str>,
    /// The policies of the command line, absolute.
    pub policies: Vec<PolicySource>,
    /// The layers above them, as they were at the start.
    pub kept: Vec<Layer>,
    /// Where the program may write.
    pub writable: Vec<PathBuf>,
    /// Whether there is an event log.
    pub is_logged: bool,
    /// The SHA-256 of what the policies say that hold now.
    pub digest: String,
    /// The policy that holds now.
    pub policy: Policy,
}

/// A policy that can be gone over to.
#[derive(Debug)]
pub(in crate::supervisor) struct Changed {
    pub policy: Policy,
    /// What init is to decide by, where it decides anything.
    pub rules: Option<LiveRules>,
    pub policies: Vec<PolicySource>,
    pub layers: Vec<String>,
    pub digest: String,
    pub notes: Vec<String>,
}

impl Changed {
    /// As the caller is told of it.
    pub(in crate::supervisor) fn told(&self, id: &str, generation: u64, from: &str) -> Reloaded {
        Reloaded {
            id: id.to_owned(),
            generation,
            from: from.to_owned(),
            to: self.digest.clone(),
            layers: self.layers.clone(),
            notes: self.notes.clone(),
        }
    }
}

impl Ground {
    /// Compares what is asked for with what holds. Changes nothing.
    ///
    /// # Errors
    /// Why the run keeps its policy.
    pub(in crate::supervisor) fn change(&self, asked: &Asked) -> Result<Changed, String> {
        let standing = self.standing.as_ref().map_err(|why| (*why).to_owned())?;
        if self.policies.is_empty() {
            return Err(
                "it was started without --policy, and its flags cannot be changed; a restart \
                        is needed"
                    .to_owned(),
            );
        }
        let policies: Vec<PolicySource> = match asked.policies.is_empty() {
            true => self.policies.clone(),
            false => asked
                .policies
                .iter()
                .cloned()
                .map(PolicySource::from)
                .collect(),
        };
        let changed = self.changed(standing, policies);
        changed.map_err(|error| error.to_string())
    }

    fn changed(
        &self,
        standing: &Standing,
        policies: Vec<PolicySource>,
    ) -> Result<Changed, RunError> {
        for policy in &policies {
            self.unwritable(policy)?;
        }
        let mut layers = load_regular(&policies)?;
        let digest = digest(&layers);
        layers.extend(self.kept.iter().cloned());
        let names = layers.iter().map(|layer| layer.name().to_owned()).collect();
        let (policy, intercept) = standing.reload(layers)?;
        recorded(&policy, self.is_logged)?;
        let rules = intercept
            .as_ref()
            .map(|it: &Intercept| policy.live_rules(it));
        let mut notes = Vec::new();
        if policy.narrows(&self.policy) {
            notes.push(HELD.to_owned());
        }
        Ok(Changed {
            policy,
            rules,
            policies,
            layers: names,
            digest,
            notes,
        })
    }

    /// A policy that the program could have written is not the person's.
    fn unwritable(&self, policy: &PolicySource) -> Result<(), RunError> {
        let PolicySource::File(named) = policy else {
            return Ok(());
        };
        let real = named.canonicalize();
        let real = real.map_err(RunError::io("find the policy", named.display().to_string()))?;
        let places = [named.as_path(), real.as_path()];
        let within = |place: &&PathBuf| places.iter().any(|path| path.starts_with(place));
        match self.writable.iter().find(within) {
            None => Ok(()),
            Some(place) => Err(RunError::Exposed {
                what: "the policy",
                path: named.display().to_string(),
                place: place.display().to_string(),
            }),
        }
    }
}

const HELD: &str = "what the program has open or mapped already it keeps, and names of what was shown \
                    to it can still be looked up; a restart ends that";

/// Of everything that policies say, in their order.
pub(in crate::supervisor) fn digest(layers: &[Layer]) -> String {
    let mut hasher = Sha256::new();
    for layer in layers {
        for statement in layer.statements() {
            hasher.update(statement.as_bytes());
            hasher.update(b"\n");
        }
        hasher.update(b"\0");
    }
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
