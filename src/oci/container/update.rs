//! `update`: other limits for a container that exists.

use oci_spec::runtime::LinuxResources;

use super::record::Status;
use super::{ConfigError, Runtime, VerbError};
use crate::launch::group::Group;

impl Runtime {
    /// Changes the limits of the container `id` to what `resources` says; what it does not say
    /// stays.
    ///
    /// # Errors
    /// It has ended, or a limit cannot be held.
    pub fn update(&self, id: &str, resources: &serde_json::Value) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        if found.status == Status::Stopped {
            return Err(found.wrong_state("update", "; container not running"));
        }
        let parsed: Result<LinuxResources, _> = serde_path_to_error::deserialize(resources);
        let mut resources = parsed.map_err(|error| ConfigError::Field {
            field: format!("resources.{}", error.path()),
            cause: error.inner().to_string(),
        })?;
        // A policy's limits are not an update's to lift.
        if let Some(policy) = &found.record.policy {
            policy.bounds.narrow(&mut resources, false);
        }
        Ok(Group::of(&found.record.group).update(&resources, self.rootless)?)
    }
}
