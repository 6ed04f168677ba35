//! `kill`: a signal to the first process, or to all.

use super::record::Status;
use super::{Runtime, VerbError};
use crate::launch::group::Group;

impl Runtime {
    /// Sends the signal `number` to the first process of the container `id`, or with `all` to every
    /// process of it.
    ///
    /// # Errors
    /// It has ended; callers look for the words "container not running".
    pub fn kill(&self, id: &str, number: i32, all: bool) -> Result<(), VerbError> {
        let found = self.seen(id)?;
        let sent = |error| VerbError::system("signal", format!("container {id:?}"))(error);
        // Where the container shares its processes' namespace, the end of the first process takes
        // none of the others along.
        let takes_all = number == libc::SIGKILL && !found.record.own_pids;
        if (all || takes_all) && !found.record.group.is_empty() {
            let group = Group::of(&found.record.group);
            group.kill(number)?;
            return Ok(());
        }
        let Some(first) = &found.first else {
            return Err(VerbError::NotRunning(id.to_owned()));
        };
        match first.signal(number) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Err(VerbError::NotRunning(id.to_owned()));
            }
            Err(error) => return Err(sent(error)),
        }
        // What is frozen dies of it only once it goes on.
        if number == libc::SIGKILL && found.status == Status::Paused {
            Group::of(&found.record.group).thaw()?;
        }
        Ok(())
    }
}
