//! `delete`: removes everything of a container that has ended, or with force of any.

use std::time::Duration;

use super::record::{Found, Held, Status};
use super::start::state_text;
use super::store::Entry;
use super::supervised::{ends_within, see_off};
use super::{Runtime, VerbError};
use crate::launch::container::run_every_hook;
use crate::launch::group::{Group, GroupError};
use crate::launch::rootfs::RootMount;

/// How long a killed process may take to end.
const DYING: Duration = Duration::from_secs(10);

/// How long one takes that nothing holds.
const SOON: Duration = Duration::from_millis(500);

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
        let hooks = found.entry.hooks();
        let complete = found.record.complete;
        self.clear(found.entry)?;
        match hooks {
            Ok(hooks) if complete => {
                run_every_hook("poststop", hooks.poststop().as_ref(), &stopped);
            }
            Err(error) if complete => tracing::warn!(%error, "no poststop hook is run"),
            _ => {}
        }
        Ok(())
    }

    /// Deletes each container whose id the regular expression `pattern` matches, as `delete` does.
    ///
    /// # Errors
    /// It is no regular expression, or a container could not be deleted: the first one's error, when
    /// all were tried.
    pub fn delete_matching(&self, pattern: &str, force: bool) -> Result<(), VerbError> {
        let wrong = |error: regex::Error| VerbError::argument("--regex", error.to_string());
        let pattern = regex::Regex::new(pattern).map_err(wrong)?;
        let ids = self.store.ids()?.into_iter();
        let mut first = Ok(());
        for id in ids.filter(|id| pattern.is_match(id)) {
            let deleted = self.delete(&id, force);
            first = first.and(deleted);
        }
        first
    }

    /// Waits until the supervisor of a container that has ended has copied its output and recorded
    /// its end.
    pub(super) fn settle(&self, id: &str) -> Result<(), VerbError> {
        let found = self.seen(id)?;
        match found.record.supervisor() {
            Some(supervisor) => see_off(supervisor),
            None => Ok(()),
        }
    }

    /// Ends what is left in the container's control group, and removes its mounts, the group and the
    /// directory.
    pub(super) fn clear(&self, entry: Entry) -> Result<(), VerbError> {
        if let Ok(Some(record)) = entry.state() {
            if let Some(supervisor) = record.supervisor() {
                see_off(supervisor)?;
            }
            // One that stays does not keep the processes alive.
            let unmounted = record.root_mount.as_ref().map(RootMount::take_away);
            let group = Group::of(&record.group);
            match (record.group.is_empty(), record.first) {
                (true, _) => {}
                (false, None) => forgo(&group)?,
                (false, Some(_)) => {
                    group.kill(libc::SIGKILL)?;
                    group.remove()?;
                }
            }
            unmounted.transpose()?;
        }
        entry.remove()
    }
}

/// Removes the group of a container whose creation was cut short before it had a process. It may
/// never have been made, and somebody else's be at its place by now: that one's processes stay.
fn forgo(group: &Group) -> Result<(), VerbError> {
    match group.remove() {
        Err(error @ GroupError::Populated { .. }) => {
            tracing::warn!(%error, "the control group is somebody else's");
            Ok(())
        }
        other => Ok(other?),
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
    if ends_within(first, SOON).map_err(failed)? {
        return Ok(());
    }
    // Somebody may have moved it to a group of v1 that is frozen.
    group.take_back(first.pid)?;
    match ends_within(first, DYING).map_err(failed)? {
        true => Ok(()),
        false => {
            let cause = "it does not end; it may wait in the kernel for a device";
            Err(failed(std::io::Error::other(cause)))
        }
    }
}
