//! `start`: lets the first process become its program.

use super::record::{Found, State, Status};
use super::{Runtime, VerbError};
use crate::launch::container::{open_gate, run_hooks};

impl Runtime {
    /// Starts the container `id`.
    ///
    /// # Errors
    /// It is not one that waits for its start, or its program could not be executed.
    pub fn start(&self, id: &str) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        match found.status {
            Status::Created => {}
            Status::Stopped => {
                return Err(found.wrong_state("start", "; its first process is gone"));
            }
            _ => return Err(found.wrong_state("start", "")),
        }
        let first = found.living("start")?;
        let spec = found.entry.config()?;
        open_gate(found.entry.dir(), first.pidfd())?;
        let poststart = spec
            .hooks()
            .as_ref()
            .and_then(|hooks| hooks.poststart().as_ref());
        if poststart.is_some_and(|hooks| !hooks.is_empty()) {
            let state = state_text(&found, Status::Running)?;
            // The specification: a failure is logged, and the container lives on.
            if let Err(error) = run_hooks("poststart", poststart, &state, None) {
                tracing::warn!(%error, "a hook failed");
            }
        }
        Ok(())
    }

    /// The container `id`, once no other verb holds it.
    pub(super) fn locked(&self, id: &str) -> Result<Found, VerbError> {
        let entry = self.store.lock(id)?;
        let record = entry
            .state()?
            .ok_or_else(|| VerbError::NoSuchContainer(id.to_owned()))?;
        Found::of(entry, record)
    }

    /// The container `id` as it is now, beside whatever holds it.
    pub(super) fn seen(&self, id: &str) -> Result<Found, VerbError> {
        let entry = self.store.look_at(id)?;
        let record = entry
            .state()?
            .ok_or_else(|| VerbError::NoSuchContainer(id.to_owned()))?;
        Found::of(entry, record)
    }
}

/// The state that hooks are shown.
pub(super) fn state_text(found: &Found, status: Status) -> Result<Vec<u8>, VerbError> {
    serde_json::to_vec(&State::of(&found.record, status))
        .map_err(|error| VerbError::system("write", "the container's state")(error.into()))
}
