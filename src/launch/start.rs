//! The supervisor's side of a launch: prepare, clone, map, and hear that all is in place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::child::{self, Birth};
use super::doors::{Asked, Doors};
use super::features;
use super::filter::{seccomp_request, unix_sockets};
use super::identity::{self, Identity};
use super::notice::{self, Failure, FailureKind, Notice};
use super::request::{LaunchRequest, Piece, StdioRequest};
use super::rlimits::{ResourceLimits, UnheldLimit};
use super::seccomp::Filters;
use super::source::{OwnerMaps, Source};
use super::{Bare, Cgroup, Enforced, Mechanism, State, bare, cgroup, confine, link};
use crate::policy::{ExecPlan, Intercept, NetPlan};
use crate::sys::clone::{self, Cloned};
use crate::sys::{process, socket};

/// A worker that is restricted and about to run, and everything that its supervisor holds of it.
#[derive(Debug)]
pub struct Launched {
    /// Init's pid.
    pub pid: i32,
    /// Init's pidfd: readable when nothing inside is alive any more.
    pub init: OwnedFd,
    /// Init's socket: see [`notice`].
    pub notices: OwnedFd,
    /// The writing end of the program's standard input.
    pub stdin: Option<OwnedFd>,
    /// The reading end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// The reading end of its standard error.
    pub stderr: Option<OwnedFd>,
    /// The terminal's master.
    pub terminal: Option<OwnedFd>,
    /// The control socket, to which the worker is connected already, and the segment.
    pub channel: Option<(OwnedFd, File)>,
    /// The sandbox's ways to the egress plane, where the policy lets anything out.
    pub doors: Option<Doors>,
    /// The control group, to be asked and removed.
    pub cgroup: Option<Cgroup>,
    /// What holds.
    pub enforced: Enforced,
    /// What there is to hold and to remove besides, of a worker without namespaces.
    pub bare: Option<Bare>,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A limit of the policy cannot be held on this host.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Limits(Vec<UnheldLimit>),
    /// The policy requires an isolation that this host lacks.
    #[error("the policy requires {what}, which this host does not have; {advice}")]
    Required {
        /// The isolation.
        what: &'static str,
        /// What to change.
        advice: String,
    },
    /// Namespaces cannot be created, and the policy needs them to be exact.
    #[error(
        "cannot create the sandbox's namespaces: {0}; permit user namespaces here \
         (sysctl user.max_user_namespaces, or the container's seccomp profile), or run as root"
    )]
    Namespaces(String),
    /// Less holds than was required.
    #[error("cannot {0}")]
    Less(#[from] super::Less),
    /// Without namespaces there is nobody as whom the worker could run.
    #[error(transparent)]
    User(#[from] super::UserError),
    /// A worker without namespaces could not be given its directory.
    #[error(transparent)]
    Place(#[from] super::PlaceError),
    /// The control group could not be made.
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    /// The filter could not be compiled.
    #[error(transparent)]
    Seccomp(#[from] super::seccomp::SeccompError),
    /// A step failed; nothing ran and nothing is left.
    #[error("{0}")]
    Failed(Failure),
    /// A system call of the supervisor failed.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

pub(super) fn system(operation: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::System { operation, source }
}

/// Where a system keeps its programs, libraries and their data, which every run may see.
pub const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// Launches the program of `request` and returns when it is restricted and about to run. What the
/// caller does `meanwhile`, while the sandbox is being built, must not start a thread.
///
/// # Errors
/// See [`LaunchError`]; nothing runs and nothing is left behind then.
pub fn launch<T>(
    mut request: LaunchRequest,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Launched, T), LaunchError> {
    check_required(&request)?;
    if let Some(bare) = request.bare.take() {
        return bare::launch(request, bare, meanwhile);
    }
    let mut cgroup = None;
    match launch_in(request, &mut cgroup, meanwhile) {
        Ok((launched, done)) => Ok((Launched { cgroup, ..launched }, done)),
        Err(error) => {
            if let Some(Err(leftover)) = cgroup.map(|group| group.remove()) {
                tracing::debug!(%leftover, "the control group stays until the next start sweeps it");
            }
            Err(error)
        }
    }
}

/// Makes the control group, once what a killed supervisor left is gone. A group of its that cannot
/// be removed limits nobody else.
pub(super) fn make_cgroup(request: &LaunchRequest) -> Result<Option<Cgroup>, LaunchError> {
    if let Err(leftover) = cgroup::sweep(&request.features.cgroup) {
        tracing::warn!(%leftover, "a control group of a killed supervisor stays behind");
    }
    let made = Cgroup::create(&request.features.cgroup, &confine::limits(&request.plan))?;
    Ok(made)
}

fn check_required(request: &LaunchRequest) -> Result<(), LaunchError> {
    let landlock = request.features.landlock_abi > 0;
    if request.plan.required.landlock && !landlock {
        let advice = "boot a kernel with CONFIG_SECURITY_LANDLOCK and landlock in lsm=".to_owned();
        return Err(LaunchError::Required {
            what: "Landlock",
            advice,
        });
    }
    if request.bare.is_none() && !request.features.user_namespaces.available {
        let why = request.features.user_namespaces.why_not.clone();
        return Err(LaunchError::Namespaces(
            why.unwrap_or_else(|| "they are not available".to_owned()),
        ));
    }
    Ok(())
}

fn launch_in<T>(
    request: LaunchRequest,
    cgroup: &mut Option<Cgroup>,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Launched, T), LaunchError> {
    let identity = Identity::choose();
    let limits = &request.plan.limits;
    let born_into_it = Cgroup::is_for_the_clone(&request.features.cgroup, limits);
    if born_into_it {
        *cgroup = make_cgroup(&request)?;
    }
    let mut sources = Sources::of(&request, &identity).map_err(LaunchError::Failed)?;
    let parts = Enforced(parts(&mut sources));
    request.require.check(&parts)?;
    let (ours, theirs) = socket::record_pair().map_err(system("make init's socket"))?;
    let (our_ends, their_ends) = pipes(request.stdio).map_err(system("make the pipes"))?;
    for end in their_ends.iter().flatten() {
        if let Err(error) = identity.give(end.as_fd()) {
            tracing::warn!(%error, "the program cannot open /dev/stdin, /dev/stdout and /dev/stderr");
        }
    }
    let base = identity::base_directory()
        .map_err(system("find a base directory"))?
        .to_owned();
    let channel_asked = request.channel.is_some();
    let egress_asked = request.doors();
    let terminal_asked = matches!(request.stdio, StdioRequest::Terminal { .. });
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    let group = cgroup.as_ref().and_then(Cgroup::dir_fd);
    let cloned = clone::clone(flags as u64, group).map_err(not_cloned)?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop(ours);
        child::live(Birth {
            request,
            identity,
            sources,
            base,
            notices: theirs,
            pipes: their_ends,
        });
    };
    drop((theirs, their_ends, sources));
    identity
        .write_maps(pid)
        .map_err(system("map the worker's ids"))
        .inspect_err(|_| end(pid, &pidfd))?;
    let asked = (terminal_asked, channel_asked, egress_asked);
    let sort = |carried| Carried::sort(asked, carried).map_err(LaunchError::Failed);
    let confined = || {
        if !born_into_it {
            *cgroup = make_cgroup(&request)?;
        }
        let described = confine(&ours, &request, &identity, cgroup.as_ref())?;
        Ok((described, meanwhile()))
    };
    let (
        verified,
        Carried {
            terminal,
            channel,
            doors,
        },
        (mut enforced, done),
    ) = follow(&ours, (pid, &pidfd), confined, sort)?;
    enforced.0.extend(parts.0);
    enforced.0.extend(verified.0);
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
        doors,
        cgroup: None,
        enforced,
        bare: None,
    };
    Ok((launched, done))
}

fn not_cloned(source: io::Error) -> LaunchError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::ENOSYS) => {
            LaunchError::Namespaces(features::why_no_clone(&source))
        }
        _ => LaunchError::System {
            operation: "clone the sandbox's first process",
            source,
        },
    }
}

/// Tells the child what it is confined by, and gives what it comes to for the report.
fn confine(
    ours: &OwnedFd,
    request: &LaunchRequest,
    identity: &Identity,
    cgroup: Option<&Cgroup>,
) -> Result<Enforced, LaunchError> {
    let held = cgroup.map(Cgroup::held).unwrap_or_default();
    let ground = confine::ground(held, identity.is_host_root());
    let rlimits = confine::resource_limits(request, ground).map_err(LaunchError::Limits)?;
    let filters = Filters::compile(&seccomp_request(request))?;
    let described = describe(request, identity, cgroup, &rlimits);
    request.require.check(&described)?;
    match confine::send(ours.as_fd(), cgroup, ground, &filters) {
        // The child has failed, and its last word says how.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {}
        sent => sent.map_err(system("confine the sandbox"))?,
    }
    Ok(described)
}

/// The descriptors that came with [`Notice::Ready`].
struct Carried {
    terminal: Option<OwnedFd>,
    channel: Option<(OwnedFd, File)>,
    doors: Option<Doors>,
}

impl Carried {
    /// `asked`: whether there is to be a terminal, a channel, and a way out, that with which doors.
    /// Exactly what was asked for came.
    fn sort(asked: (bool, bool, Option<Asked>), carried: Vec<OwnedFd>) -> Result<Carried, Failure> {
        let mut carried = carried.into_iter();
        let terminal = asked.0.then(|| carried.next()).flatten();
        let channel = asked
            .1
            .then(|| carried.next().zip(carried.next().map(File::from)))
            .flatten();
        let doors = asked
            .2
            .and_then(|asked| Doors::from_carried(asked, &mut carried));
        let came = (terminal.is_some(), channel.is_some(), doors.is_some());
        let asked = (asked.0, asked.1, asked.2.is_some());
        if came == asked && carried.next().is_none() {
            Ok(Carried {
                terminal,
                channel,
                doors,
            })
        } else {
            let cause = "its first process sent other descriptors than were asked for";
            Err(Failure::new("start", "the sandbox", cause))
        }
    }
}

/// Sends the child on, does what the caller does meanwhile, and hears that all is in place; `sort`
/// takes the descriptors that came. Where any of it fails, the child is ended.
pub(super) fn follow<T, E>(
    ours: &OwnedFd,
    (pid, pidfd): (i32, &OwnedFd),
    meanwhile: impl FnOnce() -> Result<T, LaunchError>,
    sort: impl FnOnce(Vec<OwnedFd>) -> Result<E, LaunchError>,
) -> Result<(Enforced, E, T), LaunchError> {
    let sent = socket::send_record(ours.as_fd(), b"go", &[]);
    let followed = sent.map_err(system("start the sandbox")).and_then(|()| {
        let done = meanwhile()?;
        let (enforced, carried) = hear_ready(ours)?;
        Ok((enforced, sort(carried)?, done))
    });
    followed.inspect_err(|_| end(pid, pidfd))
}

fn hear_ready(ours: &OwnedFd) -> Result<(Enforced, Vec<OwnedFd>), LaunchError> {
    match notice::receive(ours.as_fd()).map_err(system("hear from the sandbox"))? {
        Some((Notice::Ready { enforced }, carried)) => Ok((enforced, carried)),
        Some((Notice::Failed(failure), _)) if failure.kind == FailureKind::Namespaces => {
            Err(LaunchError::Namespaces(failure.to_string()))
        }
        Some((Notice::Failed(failure), _)) => Err(LaunchError::Failed(failure)),
        Some(_) | None => Err(LaunchError::Failed(Failure::new(
            "start",
            "the sandbox",
            "its first process ended without a word; where the memory limit is below a few megabytes, raise it (--memory)",
        ))),
    }
}

/// Ends a child that has not become a worker. It may have ended by itself already.
fn end(pid: i32, pidfd: &OwnedFd) {
    let killed = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let reaped = process::wait_for(pid);
    tracing::debug!(?killed, ?reaped, "ended the child of a failed launch");
}

/// Where the binds come from.
#[derive(Debug)]
pub(super) struct Sources {
    /// One for each bind among the pieces, in their order; `None` is optional and missing.
    pub bundle: Vec<Option<Source>>,
    /// Those of the policy.
    pub policy: Vec<Source>,
}

impl Sources {
    fn of(request: &LaunchRequest, identity: &Identity) -> Result<Sources, Failure> {
        let binds = request
            .pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Bind { .. }));
        let of_policy = request.plan.binds.iter().map(Source::of_bind);
        let mut sources = Sources {
            bundle: binds.map(Source::of_piece).collect::<Result<_, _>>()?,
            policy: of_policy
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
        };
        if identity.own.is_some() {
            let mut maps = OwnerMaps::new(identity);
            for source in sources.bundle.iter_mut().flatten() {
                let lent = !source.is_read_only();
                source.open(lent.then_some(&mut maps))?;
            }
            for source in &mut sources.policy {
                source.open(Some(&mut maps))?;
            }
        }
        Ok(sources)
    }

    /// All that there are.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Source> {
        self.bundle.iter_mut().flatten().chain(&mut self.policy)
    }
}

type Ends = [Option<OwnedFd>; 3];

/// Our ends and the program's: its input is written, its outputs are read.
pub(super) fn pipes(stdio: StdioRequest) -> io::Result<(Ends, Ends)> {
    let wanted = match stdio {
        StdioRequest::Pipes => [true, true, true],
        StdioRequest::Terminal { stderr_is_pipe, .. } => [false, false, stderr_is_pipe],
    };
    let (mut ours, mut theirs) = (Ends::default(), Ends::default());
    for (number, wanted) in wanted.into_iter().enumerate() {
        if wanted {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let (our_end, their_end) = if number == 0 {
                (write, read)
            } else {
                (read, write)
            };
            (ours[number], theirs[number]) = (Some(our_end), Some(their_end));
        }
    }
    Ok((ours, theirs))
}

fn describe(
    request: &LaunchRequest,
    identity: &Identity,
    cgroup: Option<&Cgroup>,
    rlimits: &ResourceLimits,
) -> Enforced {
    let mut enforced = Enforced::default();
    enforced.full("user namespace", identity.describe());
    enforced.full("mount namespace", "a root of its own, read-only");
    enforced.full(
        "pid namespace",
        "no process outside can be seen or signalled",
    );
    enforced.full(
        "network namespace",
        match request.plan.net {
            NetPlan::Egress => link::of_sandbox(request.link, request.plan.datagrams),
            NetPlan::None | NetPlan::Sealed => "loopback only".to_owned(),
        },
    );
    enforced.full("ipc, uts and cgroup namespaces", "its own");
    let exec = match &request.plan.exec {
        ExecPlan::Once => "the command runs once, nothing after it".to_owned(),
        ExecPlan::Programs(programs) => format!("the command and {} more paths", programs.len()),
        ExecPlan::Any => "every visible program".to_owned(),
    };
    enforced.full("exec", exec);
    let intercept = request.plan.intercept.as_ref();
    let decided = intercept.is_some_and(Intercept::decides_named_sockets);
    let sockets = match (unix_sockets(request), decided) {
        (true, true) => "with names too: each call that takes one is decided",
        (true, false) => "with names too: nothing is shown that could hold one of the host",
        (false, true) => "no names: the kernel has no Landlock to hold them with",
        (false, false) => "no names: a folder is shown that could hold a socket of the host",
    };
    enforced.full("unix sockets", sockets);
    if let Some(cgroup) = cgroup {
        enforced.full("control group", cgroup.describe());
    }
    rlimits.note(&mut enforced);
    enforced.0.extend(request.remarks.iter().cloned());
    enforced
}

/// What of the binds is less than whole: owners that could not be translated, and what is left
/// out of a directory that is shown by its entries.
fn parts(sources: &mut Sources) -> Vec<Mechanism> {
    let left_out: Vec<String> = sources
        .each()
        .filter(|source| source.left_out && source.dir)
        .map(|source| source.path.display().to_string())
        .collect();
    let own = (!left_out.is_empty()).then(|| Mechanism {
        mechanism: "binds".to_owned(),
        state: State::Partial,
        detail: format!(
            "the worker has its own of {}, or none: what is around them is shown by its entries, \
             as they were at the start and without sockets",
            left_out.join(", ")
        ),
    });
    let noted = sources.each().filter_map(|source| {
        let why = source.unmapped.as_ref()?;
        Some(Mechanism {
            mechanism: "idmapped mount".to_owned(),
            state: State::None,
            detail: format!(
                "{}: owners are shown as on the host: {why}",
                source.path.display()
            ),
        })
    });
    own.into_iter().chain(noted).collect()
}
