//! `pause` and `resume`.

use super::record::Status;
use super::{Runtime, VerbError};
use crate::launch::group::Group;

impl Runtime {
    /// Freezes every process of the container `id`.
    ///
    /// # Errors
    /// It does not run, or has no control group.
    pub fn pause(&self, id: &str) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        match found.status {
            Status::Running | Status::Created => Ok(Group::of(&found.record.group).freeze()?),
            _ => Err(found.wrong_state("pause", "; container not running")),
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self, id: &str) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        match found.status {
            Status::Paused => Ok(Group::of(&found.record.group).thaw()?),
            _ => Err(found.wrong_state("resume", "; container not paused")),
        }
    }
}
