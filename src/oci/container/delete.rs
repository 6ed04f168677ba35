//! `delete`: removes everything of a container that has ended, or with force of any.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::record::{Found, Held, Status};
use super::start::state_text;
use super::store::Entry;
use super::{Runtime, VerbError};
use crate::launch::container::run_hooks;
use crate::launch::group::Group;

/// How long a killed process may take to end.
const DYING: Duration = Duration::from_secs(10);

impl Runtime {
    /// Deletes the container `id`. With `force` it is killed first, and one that does not exist is
    /// no error.
    ///
    /// # Errors
    /// It runs, or something of it cannot be removed.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), VerbError> {
        let entry = match self.store.lock(id) {
            Err(VerbError::NoSuchContainer(_)) if force => return Ok(()),
            other => other?,
        };
        let record = match entry.state() {
            // A creation that was cut short, or a state that somebody else wrote.
            Ok(None) => return self.clear(entry),
            Err(error) if force => {
                tracing::warn!(%error, "the container's state is lost");
                return self.clear(entry);
            }
            other => other?,
        };
        let Some(record) = record else {
            return self.clear(entry);
        };
        let found = Found::of(entry, record)?;
        match found.status {
            Status::Running | Status::Paused | Status::Creating if !force => {
                return Err(found.wrong_state("delete", "; stop it first, or use --force"));
            }
            _ => {}
        }
        if let Some(first) = &found.first {
            end(first, &found)?;
        }
        let stopped = state_text(&found, Status::Stopped)?;
        let spec = found.entry.config();
        let complete = found.record.complete;
        self.clear(found.entry)?;
        if complete && let Ok(spec) = spec {
            let poststop = spec
                .hooks()
                .as_ref()
                .and_then(|hooks| hooks.poststop().as_ref());
            // The specification: a failure is logged, and the rest goes on.
            if let Err(error) = run_hooks("poststop", poststop, &stopped, None) {
                tracing::warn!(%error, "a hook failed");
            }
        }
        Ok(())
    }

    /// Ends what is left in the container's control group, and removes the group and the directory.
    pub(super) fn clear(&self, entry: Entry) -> Result<(), VerbError> {
        if let Ok(Some(record)) = entry.state()
            && !record.group.is_empty()
        {
            let group = Group::of(&record.group);
            group.kill(libc::SIGKILL)?;
            group.remove()?;
        }
        entry.remove()
    }
}

fn end(first: &Held, found: &Found) -> Result<(), VerbError> {
    let failed = |error| VerbError::system("kill", format!("process {}", first.pid))(error);
    match first.signal(libc::SIGKILL) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        other => other.map_err(failed)?,
    }
    // What is frozen ends only once it goes on.
    let group = Group::of(&found.record.group);
    if group.is_frozen()? {
        group.thaw()?;
    }
    let patience = DYING.try_into().ok();
    loop {
        let pidfd = first.pidfd();
        let mut watched = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match poll(&mut watched, patience.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
            Ok(0) => {
                let cause = "it does not end; it may wait in the kernel for a device";
                return Err(failed(std::io::Error::other(cause)));
            }
            Ok(_) => return Ok(()),
        }
    }
}
