//! `update`: other limits for a container that exists.

use oci_spec::runtime::LinuxResources;

use super::record::Status;
use super::supervised::Request;
use super::{ConfigError, Runtime, VerbError};
use crate::launch::group::Group;

impl Runtime {
    /// Changes the limits of the container `id` to what `asked` says; what it does not say
    /// stays.
    ///
    /// # Errors
    /// It has ended, or a limit cannot be held.
    pub fn update(&self, id: &str, asked: &serde_json::Value) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        if found.status == Status::Stopped {
            return Err(found.wrong_state("update", "; container not running"));
        }
        let parsed: Result<LinuxResources, _> = serde_path_to_error::deserialize(asked);
        let mut resources = parsed.map_err(|error| ConfigError::Field {
            field: format!("resources.{}", error.path()),
            cause: error.inner().to_string(),
        })?;
        // A policy's limits are not an update's to lift.
        if let Some(policy) = &found.record.policy {
            policy.bounds.narrow(&mut resources, false);
        }
        // Callers send back the list that the container has, and hooks may have added to what came of
        // it: only another list is a change.
        let spec = found.entry.config()?;
        let own = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().as_ref());
        if own.is_some_and(|own| own.devices() == resources.devices()) {
            resources.set_devices(None);
        }
        found.ask(&Request::Update {
            resources: asked.clone(),
        })?;
        Ok(Group::of(&found.record.group).update(&resources, self.rootless)?)
    }
}
