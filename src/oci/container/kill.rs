//! `kill`: a signal to the first process, or to all.

use super::record::Status;
use super::supervised::Request;
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
        if found.status != Status::Stopped {
            found.tell(&Request::Kill { signal: number });
        }
        let sent = |error| VerbError::system("signal", format!("container {id:?}"))(error);
        // Where the container shares its processes' namespace, the end of the first process takes
        // none of the others along.
        let takes_all = number == libc::SIGKILL && !found.record.own_pids;
        if (all || takes_all) && !found.record.group.is_empty() {
            let group = Group::of(&found.record.group);
            group.kill(number)?;
            return Ok(());
        }
        let ended = || match all {
            // Every process that there is has been told; so it is where there is a group, too.
            true => Ok(()),
            false => Err(VerbError::NotRunning(id.to_owned())),
        };
        let Some(first) = &found.first else {
            return ended();
        };
        match first.signal(number) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return ended(),
            Err(error) => return Err(sent(error)),
        }
        // What is frozen dies of it only once it goes on; and it may have been frozen only now.
        let group = Group::of(&found.record.group);
        if number == libc::SIGKILL && group.is_frozen()? {
            group.thaw()?;
        }
        Ok(())
    }
}
