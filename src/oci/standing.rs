//! The ground that policies are compiled on, at the start of a run and while it lives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::OciError;
use super::program::Place;
use super::{aliases, world};
use crate::launch::Piece;
use crate::policy::{Entry, ExecPlan, Grant, Intercept, Layer, Plan, Policy, World};

/// What is known of the root, whatever the policy.
#[derive(Debug)]
pub(super) struct Ground {
    /// Where paths are resolved.
    pub place: Place,
    /// What the root is made of.
    pub pieces: Vec<Piece>,
    /// The program, without symbolic links.
    pub command: PathBuf,
    /// What the kernel runs on the way to it.
    pub loaders: Vec<PathBuf>,
    /// What the bundle allows.
    pub grants: Vec<Grant>,
    pub landlock_abi: u32,
    pub namespaces: bool,
}

impl Ground {
    /// The resolved policy of these layers, and its plan.
    pub fn compile(&self, layers: Vec<Layer>) -> Result<(Policy, Plan), OciError> {
        let policy = Policy::merge(layers, self.grants.clone())?;
        let mut world = self.world(&policy, &[])?;
        let mut plan = policy.compile(&world)?;
        if matches!(plan.exec, ExecPlan::Programs(_)) {
            // Where programs may run, those in library directories must be out of the loader's reach.
            world.helpers = world::helpers(&self.place)?;
            plan = policy.compile(&world)?;
        }
        // With the helpers: where reading is decided live, it is decided by this.
        Ok((policy.resolve(&world), plan))
    }

    /// How things are now, at what the policy names and at these paths.
    ///
    /// # Errors
    /// The host's mounts cannot be read.
    fn world(&self, policy: &Policy, more: &[PathBuf]) -> Result<World, OciError> {
        let named = policy
            .literal_paths()
            .into_iter()
            .chain(more.iter().cloned());
        let mut entries: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        let mut through = BTreeMap::new();
        for path in named {
            let (entry, names) = world::entry(&self.place, &self.pieces, &path);
            if !names.is_empty() {
                through.insert(path.clone(), names);
            }
            entries.insert(path, entry);
        }
        let aliases = aliases::of(&aliases::Known {
            policy,
            entries: &entries,
            place: &self.place,
        })?;
        Ok(World {
            entries,
            through,
            aliases,
            private: world::private(&self.pieces),
            namespaces: self.namespaces,
            landlock_abi: self.landlock_abi,
            command: Some(self.command.clone()),
            loaders: self.loaders.clone(),
            helpers: Vec::new(),
            container: None,
        })
    }
}

/// What a launch has fixed: the ground, and the plan that was carried out.
#[derive(Debug)]
pub struct Standing {
    ground: Ground,
    plan: Plan,
    /// The directory of the host that the program may write.
    out: Option<PathBuf>,
}

impl Standing {
    pub(super) fn new(ground: Ground, plan: Plan, out: Option<PathBuf>) -> Standing {
        Standing { ground, plan, out }
    }

    /// The resolved policy of these layers and the interceptor's part of it, where what the launch has
    /// fixed carries it.
    ///
    /// # Errors
    /// [`OciError::Restart`] where it does not, and what is wrong with the layers.
    pub fn reload(&self, layers: Vec<Layer>) -> Result<(Policy, Option<Intercept>), OciError> {
        let policy = Policy::merge(layers, self.ground.grants.clone())?;
        let shown: Vec<PathBuf> = self
            .plan
            .binds
            .iter()
            .map(|bind| bind.path.clone())
            .collect();
        let mut world = self.ground.world(&policy, &shown)?;
        if matches!(self.plan.exec, ExecPlan::Programs(_)) {
            world.helpers = world::helpers(&self.ground.place)?;
        }
        let intercept = policy.reload(&world, &self.plan, self.out.as_slice())?;
        Ok((policy.resolve(&world), intercept))
    }
}
