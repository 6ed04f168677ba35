//! `pause` and `resume`.

use super::record::{Held, Status};
use super::supervised::Request;
use super::{Runtime, VerbError};
use crate::launch::group::Group;

impl Runtime {
    /// Freezes every process of the container `id`.
    ///
    /// # Errors
    /// It does not run, has been killed, or has no control group.
    pub fn pause(&self, id: &str) -> Result<(), VerbError> {
        let found = self.locked(id)?;
        match found.status {
            Status::Running | Status::Created => {
                found.tell(&Request::Pause);
                let group = Group::of(&found.record.group);
                group.freeze()?;
                // On v1 what is frozen does not die. Who kills looks after the signal whether it is
                // frozen; who freezes looks after that whether it has been killed: one of them sees.
                match found
                    .first
                    .as_ref()
                    .map_or(Ok(false), Held::is_being_killed)
                {
                    Ok(false) => Ok(()),
                    Ok(true) => {
                        group.thaw()?;
                        Err(VerbError::NotRunning(id.to_owned()))
                    }
                    Err(error) => {
                        group.thaw()?;
                        Err(VerbError::system("look at", "its first process")(error))
                    }
                }
            }
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
            Status::Paused => {
                found.ask(&Request::Resume)?;
                Ok(Group::of(&found.record.group).thaw()?)
            }
            _ => Err(found.wrong_state("resume", "; container not paused")),
        }
    }
}
