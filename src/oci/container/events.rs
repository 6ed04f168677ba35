//! `events`: statistics of a container, once or for as long as it runs, and its want of memory.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use serde_json::Value;

use super::record::Status;
use super::{Runtime, VerbError};
use crate::launch::group::Group;

/// One line of `events`.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// `stats` or `oom`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The container.
    id: &'a str,
    /// The statistics, of a line that has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Runtime {
    /// Gives `tell` the statistics of the container `id`: once, or every `interval` until it ends,
    /// with a line whenever the kernel kills for memory.
    ///
    /// # Errors
    /// It does not run, or `tell` failed.
    pub fn events(
        &self,
        id: &str,
        interval: Duration,
        once: bool,
        tell: &mut dyn FnMut(&Event<'_>) -> io::Result<()>,
    ) -> Result<(), VerbError> {
        let found = self.seen(id)?;
        if found.status == Status::Stopped {
            return Err(found.wrong_state("watch", "; container not running"));
        }
        let group = Group::of(&found.record.group);
        let mut say = |kind, data| {
            let told = tell(&Event { kind, id, data });
            told.map_err(VerbError::system("write", "an event"))
        };
        let stats = |group: &Group| -> Result<Option<Value>, VerbError> {
            let stats = serde_json::to_value(group.stats()?);
            let failed = VerbError::system("write", "the statistics");
            Ok(Some(stats.map_err(|error| failed(error.into()))?))
        };
        if once {
            return say("stats", stats(&group)?);
        }
        let first = found.living("watch")?;
        let mut kills = group.oom_events()?;
        let mut next = Instant::now();
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                say("stats", stats(&group)?)?;
                next += interval;
                continue;
            }
            let timeout = left
                .try_into()
                .map_err(|_| VerbError::argument("--interval", "it is too long"))?;
            let mut watched = [
                PollFd::from_borrowed_fd(first.pidfd(), PollFlags::IN),
                PollFd::from_borrowed_fd(kills.descriptor(), PollFlags::IN),
            ];
            match poll(&mut watched, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => {
                    other.map_err(|error| VerbError::system("wait for", "events")(error.into()))?
                }
            };
            let has_ended = !watched[0].revents().is_empty();
            let has_more = !watched[1].revents().is_empty();
            if has_more {
                let heard = kills
                    .heard()
                    .map_err(VerbError::system("read", "the control group's events"))?;
                if heard.killed {
                    say("oom", None)?;
                }
                if heard.ended {
                    return Ok(());
                }
            }
            if has_ended {
                return Ok(());
            }
        }
    }
}
