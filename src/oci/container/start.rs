//! `start`: lets the first process become its program.

use super::readiness::Readiness;
use super::record::{Found, Held, State, Status};
use super::supervised::Request;
use super::{Runtime, VerbError};
use crate::launch::container::{open_gate, run_every_hook};

impl Runtime {
    /// Starts the container `id`.
    ///
    /// # Errors
    /// It is not one that waits for its start, or its program could not be executed.
    pub fn start(&self, id: &str) -> Result<(), VerbError> {
        match self.begin(id)? {
            Some((readiness, first)) => readiness.wait(&first),
            None => Ok(()),
        }
    }

    /// As `start`, without the wait for the container's word that it is ready: gives where it is to be
    /// heard, and the first process.
    pub(super) fn begin(&self, id: &str) -> Result<Option<(Readiness, Held)>, VerbError> {
        let mut found = self.locked(id)?;
        match found.status {
            Status::Created => {}
            Status::Stopped => {
                return Err(found.wrong_state("start", "; its first process is gone"));
            }
            _ => return Err(found.wrong_state("start", "")),
        }
        let first = found.living("start")?;
        let hooks = found.entry.hooks()?;
        found.ask(&Request::Start)?;
        let readiness = Readiness::listen(&found.entry)?;
        open_gate(found.entry.dir(), first.pidfd())?;
        let poststart = hooks.poststart().as_ref();
        if poststart.is_some_and(|hooks| !hooks.is_empty()) {
            let state = state_text(&found, Status::Running)?;
            run_every_hook("poststart", poststart, &state);
        }
        Ok(readiness.zip(found.first.take()))
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
