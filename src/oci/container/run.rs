//! `run`: create and start, and in the foreground also wait and delete.

use std::os::fd::OwnedFd;

use super::foreground::Foreground;
use super::{CreateInput, Runtime, VerbError};
use crate::sys::process;

/// What `run` is told beside what `create` is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunInput {
    /// Leave it running.
    pub detach: bool,
    /// Keep the container when its process has ended.
    pub keep: bool,
    /// Let orphans of the container go to another process.
    pub no_subreaper: bool,
}

impl Runtime {
    /// Runs a container; gives its exit status, or 0 when it goes on by itself.
    ///
    /// # Errors
    /// See [`VerbError`]; nothing is left then.
    pub fn run(&self, input: &CreateInput, how: RunInput) -> Result<u8, VerbError> {
        if how.detach {
            self.create(input)?;
            self.start(&input.id).inspect_err(|_| self.give_up(input))?;
            return Ok(0);
        }
        if !how.no_subreaper {
            process::become_subreaper()
                .map_err(VerbError::system("adopt", "the container's orphans"))?;
        }
        let wants_terminal = input.console_socket.is_none() && self.has_terminal(input)?;
        let (foreground, console): (Foreground, Option<OwnedFd>) =
            Foreground::prepare(wants_terminal)?;
        let pid = self.create_with(input, console)?;
        let started = self.begin(&input.id);
        let awaited = started.inspect_err(|_| self.give_up(input))?;
        let readiness = awaited.map(|(readiness, _)| readiness);
        let status = foreground.attend(pid, readiness)?;
        match how.keep {
            true => self.settle(&input.id)?,
            false => self.delete(&input.id, true)?,
        }
        Ok(status)
    }

    fn give_up(&self, input: &CreateInput) {
        if let Err(leftover) = self.delete(&input.id, true) {
            tracing::warn!(%leftover, "something of the failed container stays behind");
        }
    }
}
