//! The supervisor's hold on a launched sandbox: its init, its socket, its cgroup.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor::register;
use super::notices::Notices;
use crate::audit::Resources;
use crate::launch::{Bare, Cgroup, Launched};

/// What init counted when the program had ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// User time in microseconds.
    pub user_us: u64,
    /// System time in microseconds.
    pub system_us: u64,
    /// Largest resident set of one process in KiB.
    pub max_rss_kib: u64,
}

/// A running sandbox. Dropping it kills everything inside.
pub(super) struct Sandbox {
    /// What init says, and the way to signal the program.
    pub notices: Notices,
    init: AsyncFd<OwnedFd>,
    cgroup: Option<Cgroup>,
    bare: Option<Bare>,
    started: Instant,
    reaped: bool,
    /// It was killed, and its processes do not end.
    stuck: bool,
}

impl Sandbox {
    /// # Errors
    /// When a descriptor cannot be registered. Must be called inside a tokio runtime.
    pub(super) fn adopt(
        init: OwnedFd,
        notices: OwnedFd,
        cgroup: Option<Cgroup>,
        bare: Option<Bare>,
        started: Instant,
    ) -> io::Result<Self> {
        let init = register(init, Interest::READABLE)?;
        let notices = Notices::adopt(notices)?;
        Ok(Self {
            notices,
            init,
            cgroup,
            bare,
            started,
            reaped: false,
            stuck: false,
        })
    }

    /// Waits for init's death, after which nothing inside is alive. Safe to drop.
    ///
    /// # Errors
    /// None that the runtime names while it runs.
    pub(super) async fn died(&self) -> io::Result<()> {
        self.init.readable().await?.retain_ready();
        Ok(())
    }

    /// Ends everything inside, at once. The kernel kills what shares init's pid
    /// namespace with it; the cgroup reaches what has no such namespace.
    pub(super) fn kill(&self) {
        if let Some(Err(error)) = self.cgroup.as_ref().map(Cgroup::kill) {
            tracing::debug!(%error, "the cgroup was not killed as a whole");
        }
        // Without a pid namespace the program is ended by itself.
        if let Some(Bare { program, .. }) = &self.bare
            && let Err(error) = pidfd_send_signal(program, Signal::KILL)
        {
            tracing::debug!(%error, "the program is already gone");
        }
        if let Err(error) = pidfd_send_signal(self.init.get_ref(), Signal::KILL) {
            tracing::debug!(%error, "init is already gone");
        }
    }

    /// Waits no longer for the end of what was killed.
    pub(super) fn give_up(&mut self) {
        self.stuck = true;
    }

    /// The limits of the cgroup that were reached.
    pub(super) fn exceeded(&self) -> Vec<&'static str> {
        self.cgroup
            .as_ref()
            .map(Cgroup::exceeded)
            .unwrap_or_default()
    }

    /// Time since the launch began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was used until now.
    pub(super) fn resources(&self, used: Option<Used>) -> Resources {
        let mut resources = Resources::wall(self.elapsed());
        if let Some(used) = used {
            resources.user_seconds = Some(used.user_us as f64 / 1e6);
            resources.system_seconds = Some(used.system_us as f64 / 1e6);
            resources.max_rss_bytes = Some(used.max_rss_kib.saturating_mul(1024));
        }
        resources
    }

    /// Reaps the dead init and removes the cgroup.
    ///
    /// # Errors
    /// When something of the sandbox stays behind.
    pub(super) fn clear_away(mut self) -> io::Result<()> {
        if self.stuck {
            return Err(io::Error::other(
                "its processes were killed, but wait in the kernel, most likely for a file \
                 system that does not answer",
            ));
        }
        self.reap()?;
        let emptied = match self.cgroup.take() {
            Some(cgroup) => cgroup.remove().map_err(io::Error::other),
            None => Ok(()),
        };
        let removed = match self.bare.take() {
            Some(bare) => bare.place.remove().map_err(io::Error::other),
            None => Ok(()),
        };
        emptied.and(removed)
    }

    fn reap(&mut self) -> io::Result<()> {
        if !self.reaped {
            waitid(
                WaitId::PidFd(self.init.get_ref().as_fd()),
                WaitIdOptions::EXITED,
            )?;
            if let Some(Bare { program, .. }) = &self.bare {
                gone(program)?;
            }
            self.reaped = true;
        }
        Ok(())
    }
}

/// Waits for the end of a program that was init's child. It has been killed, or the kernel kills
/// it for init's death, so this is a moment.
fn gone(program: &OwnedFd) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(program, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// Ends a sandbox that never got a session.
pub(super) fn abandon(launched: Launched) {
    let Launched {
        init, cgroup, bare, ..
    } = launched;
    if let Err(error) = pidfd_send_signal(&init, Signal::KILL) {
        tracing::debug!(%error, "init is already gone");
    }
    if let Err(error) = waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED) {
        tracing::debug!(%error, "init could not be reaped");
    }
    if let Some(Bare { program, .. }) = &bare
        && let Err(error) = gone(program)
    {
        tracing::debug!(%error, "the program's end was not seen");
    }
    if let Some(Err(error)) = cgroup.map(|cgroup| cgroup.remove()) {
        tracing::debug!(%error, "the cgroup stays until the next start sweeps it");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.reaped || self.stuck {
            return;
        }
        self.kill();
        if let Err(error) = self.reap() {
            tracing::debug!(%error, "init could not be reaped");
        }
        if let Some(Err(error)) = self.cgroup.take().map(|cgroup| cgroup.remove()) {
            tracing::debug!(%error, "the cgroup stays until the next start sweeps it");
        }
    }
}
