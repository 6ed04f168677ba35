//! A launch without namespaces: Landlock and the system call filter carry the policy alone.
//!
//! Trusts the plan, which was compiled for a host without namespaces and so asks for nothing that
//! a mount would have to carry. What the namespaces gave is held otherwise or refused, each by
//! name in the report: the worker is one process that dies with init as init dies with the
//! supervisor, it has no socket, and its own directory stands in for /tmp. Never takes the place
//! of namespaces unasked: the caller says so, and why, in [`BareRequest`].

mod census;
mod child;
mod place;
mod report;
mod user;

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, openpt};

pub(super) use census::Census;
pub use place::{Layout, Place, PlaceError};
pub use user::UserError;

use self::child::Birth;
use self::user::User;
use super::Cgroup;
use super::request::{LaunchRequest, StdioRequest};
use super::rlimits::{self, Ground};
use super::start::{self, LaunchError, Launched, system};
use crate::policy::ExecPlan;
use crate::sys::clone::{self, Cloned};
use crate::sys::{process, socket, terminal};

/// What a launch without namespaces needs beside the rest.
#[derive(Debug, Clone)]
pub struct BareRequest {
    /// Why there are no namespaces, for the report.
    pub why: String,
    /// The worker's own directory, still to be made.
    pub layout: Layout,
    /// Files that stand beside the channel, read-only for the worker: name and content.
    pub files: Vec<(String, Cow<'static, [u8]>)>,
}

/// Launches the program of `request` without namespaces; as [`super::launch`] otherwise.
///
/// # Errors
/// See [`LaunchError`]; nothing runs and nothing is left behind then.
pub(super) fn launch<T>(
    request: LaunchRequest,
    bare: BareRequest,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Launched, T), LaunchError> {
    if request.plan.exec != ExecPlan::Once {
        return Err(LaunchError::Required {
            what: "namespaces, to hold the programs that it lets be started",
            advice: "permit user namespaces here, or let it start none".to_owned(),
        });
    }
    let user = User::choose()?;
    if let Err(leftover) = place::sweep(bare.layout.base()) {
        tracing::warn!(%leftover, "the directory of a killed supervisor stays behind");
    }
    let cgroup = start::make_cgroup(&request)?;
    match launch_in(request, bare, user, cgroup.as_ref(), meanwhile) {
        Ok((launched, done)) => Ok((Launched { cgroup, ..launched }, done)),
        Err(error) => {
            if let Some(Err(leftover)) = cgroup.map(|group| group.remove()) {
                tracing::debug!(%leftover, "the control group stays until the next start sweeps it");
            }
            Err(error)
        }
    }
}

fn launch_in<T>(
    request: LaunchRequest,
    bare: BareRequest,
    user: User,
    cgroup: Option<&Cgroup>,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Launched, T), LaunchError> {
    let held = cgroup.map(Cgroup::held).unwrap_or_default();
    let ground = Ground {
        held,
        threads_counted: true,
        may_lack: request.allow_degraded,
        ..Ground::default()
    };
    let mut rlimits = rlimits::plan(&request.plan.limits, ground).map_err(LaunchError::Limits)?;
    rlimits.asked.clone_from(&request.rlimits);
    // Dropping it on any failure from here on removes it again.
    let place = Place::make(&bare.layout, &bare.files, user.own)?;
    let channel = request
        .channel
        .as_ref()
        .map(|asked| place.open_channel(asked.segment_bytes))
        .transpose()?;
    let enforced = report::before(&request, &bare.why, &user, cgroup, &rlimits);
    request.require.check(&enforced)?;
    let (ours, theirs) = socket::record_pair().map_err(system("make init's socket"))?;
    let (our_ends, mut their_ends) =
        start::pipes(request.stdio).map_err(system("make the pipes"))?;
    let terminal = open_terminal(request.stdio, &mut their_ends)
        .map_err(system("open a terminal for the program"))?;
    let supervisor = rustix::process::getpid();
    let cloned = fork_into(cgroup).map_err(system("fork the sandbox's first process"))?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop((ours, terminal));
        child::live(Birth {
            counted: request.plan.limits.pids.filter(|_| !held.pids),
            request,
            layout: bare.layout,
            user,
            rlimits,
            cgroup,
            supervisor,
            notices: theirs,
            stdio: their_ends,
            enforced,
        });
    };
    drop((theirs, their_ends));
    let sort = |mut carried: Vec<OwnedFd>| {
        carried.pop().ok_or_else(|| LaunchError::System {
            operation: "hear which process the program is",
            source: io::ErrorKind::InvalidData.into(),
        })
    };
    let (enforced, program, done) = start::follow(&ours, (pid, &pidfd), || Ok(meanwhile()), sort)?;
    let [stdin, stdout, stderr] = our_ends;
    let launched = Launched {
        pid,
        init: pidfd,
        notices: ours,
        stdin,
        stdout,
        stderr,
        terminal,
        channel,
        doors: None,
        cgroup: None,
        enforced,
        bare: Some(Bare { program, place }),
    };
    Ok((launched, done))
}

/// What the supervisor holds of a worker without namespaces, beside the rest.
#[derive(Debug)]
pub struct Bare {
    /// The program's pidfd: it is not init's death alone that ends it.
    pub program: OwnedFd,
    /// The directory to remove.
    pub place: Place,
}

/// A child in the control group. Where a filter around this process knows no clone3, the older
/// call does as well, unless the child has to be born in a group.
fn fork_into(cgroup: Option<&Cgroup>) -> io::Result<Cloned> {
    match clone::clone(0, cgroup.and_then(Cgroup::dir_fd)) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
                && cgroup.and_then(Cgroup::dir_fd).is_none() => {}
        other => return other,
    }
    match clone::fork()? {
        0 => Ok(Cloned::Child),
        pid => match pidfd_of(pid) {
            Ok(pidfd) => Ok(Cloned::Parent { pid, pidfd }),
            Err(error) => {
                // It waits for a word that now never comes, but nobody could wait for it.
                process::kill(pid, libc::SIGKILL)?;
                process::wait_for(pid)?;
                Err(error)
            }
        },
    }
}

fn pidfd_of(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A terminal of the host's, whose other end becomes the descriptors that are no pipes.
fn open_terminal(
    stdio: StdioRequest,
    ends: &mut [Option<OwnedFd>; 3],
) -> io::Result<Option<OwnedFd>> {
    let StdioRequest::Terminal { rows, columns, .. } = stdio else {
        return Ok(None);
    };
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    let peer = terminal::open_peer(master.as_fd())?;
    terminal::set_window_size(peer.as_fd(), rows, columns)?;
    for slot in ends {
        if slot.is_none() {
            *slot = Some(peer.try_clone()?);
        }
    }
    Ok(Some(master))
}
