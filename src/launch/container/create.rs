//! The runtime's side of a creation: clone, map, limit, and hear that all is in place.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Hooks, Spec};

use super::channel::ChannelEnds;
use super::gate::Gate;
use super::hooks::run_hooks;
use super::init::{self, Birth, with_status};
use super::interfaces::Interfaces;
use super::limits::Limits;
use super::listener::ListenerRoute;
use super::maps::IdMaps;
use super::namespaces::{Namespaces, kind};
use super::network::WayOut;
use super::process::ProcessPlan;
use super::trust::TrustEnds;
use super::word::{Word, hear, let_go, let_go_with, unexpected};
use super::{Confinement, ContainerError, ContainerPolicy};
use crate::launch::Failure;
use crate::launch::group::{Group, SubGroups};
use crate::launch::rootfs::Rootfs;
use crate::sys::clone::Cloned;
use crate::sys::{memory, process, socket};

/// What a creation needs beside the configuration.
pub struct Creation<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its first process.
    pub process: ProcessPlan,
    /// Its namespaces and id maps.
    pub isolation: Isolation,
    /// Its root.
    pub rootfs: Rootfs,
    /// Its policy, if it has one.
    pub policy: Option<ContainerPolicy>,
    /// Where the first process waits for the start.
    pub gate: Gate,
    /// Its control group.
    pub group: &'a Group,
    /// Where the terminal's master goes, if there is a terminal.
    pub console_socket: Option<OwnedFd>,
    /// The caller's lock: the first process, which outlives the caller, gives its copy back.
    pub lock: BorrowedFd<'a>,
    /// Change the root by chroot(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
}

/// What of a container its supervisor gets.
#[derive(Debug, Default)]
pub struct Ends {
    /// Its root, where something in it is to be watched.
    pub root: Option<OwnedFd>,
    /// Of the channel, where it has one.
    pub channel: Option<ChannelEnds>,
    /// Of what its programs trust, where requests of it are read.
    pub trust: Option<TrustEnds>,
    /// Of its network, where its policy lets something leave.
    pub way_out: Option<WayOut>,
}

/// What the caller records on the way. An error ends the creation.
pub trait Steps {
    /// There is a first process, which has not done anything yet. Gives the state that hooks are
    /// shown, as JSON.
    ///
    /// # Errors
    /// It could not be recorded.
    fn born(&mut self, pid: i32) -> Result<Vec<u8>, ContainerError>;

    /// All is in place, and the first process is about to wait for its start. `confinement` is what
    /// holds it by its policy, and `ends` what the supervisor gets.
    ///
    /// # Errors
    /// It could not be recorded.
    fn created(
        &mut self,
        pid: i32,
        confinement: Option<Confinement>,
        ends: Ends,
    ) -> Result<(), ContainerError>;
}

/// A container's namespaces, opened, and its id maps.
#[derive(Debug)]
pub struct Isolation {
    pub(super) namespaces: Namespaces,
    /// The id maps.
    pub maps: IdMaps,
}

impl Isolation {
    /// Reads and opens what `spec` says.
    ///
    /// # Errors
    /// A namespace that cannot be opened, maps that are missing.
    pub fn of(spec: &Spec) -> Result<Isolation, ContainerError> {
        let namespaces = Namespaces::of(spec.linux().as_ref())?;
        let maps = IdMaps::of(spec, namespaces.creates(kind::USER))?;
        Ok(Isolation { namespaces, maps })
    }

    /// Whether it has a user namespace other than the caller's.
    #[must_use]
    pub fn has_user_namespace(&self) -> bool {
        self.namespaces.has(kind::USER)
    }

    /// Whether it makes a user namespace.
    #[must_use]
    pub fn makes_user_namespace(&self) -> bool {
        self.namespaces.creates(kind::USER)
    }

    /// Whether it has a mount namespace other than the caller's.
    #[must_use]
    pub fn has_mount_namespace(&self) -> bool {
        self.namespaces.has(kind::MOUNT)
    }

    /// Whether it has a cgroup namespace other than the caller's.
    #[must_use]
    pub fn has_cgroup_namespace(&self) -> bool {
        self.namespaces.has(kind::CGROUP)
    }

    /// Whether it makes a pid namespace.
    #[must_use]
    pub fn makes_pid_namespace(&self) -> bool {
        self.namespaces.creates(kind::PID)
    }

    /// Whether it has a network namespace other than the caller's.
    #[must_use]
    pub fn has_network_namespace(&self) -> bool {
        self.namespaces.has(kind::NETWORK)
    }

    /// Whether it has a namespace of its own for IPC.
    #[must_use]
    pub fn has_ipc_namespace(&self) -> bool {
        self.namespaces.has(kind::IPC)
    }

    /// Whether it has a namespace of its own for host names.
    #[must_use]
    pub fn has_uts_namespace(&self) -> bool {
        self.namespaces.has(kind::UTS)
    }
}

/// A child of this process that is on its way.
struct Child {
    pid: i32,
    words: OwnedFd,
}

/// What the runtime keeps of a creation when the child has taken the rest.
struct Kept<'a> {
    spec: &'a Spec,
    maps: IdMaps,
    limits: Limits,
    listener: ListenerRoute,
    runs_ahead: bool,
    makes_user_namespace: bool,
    has_policy: bool,
    has_channel: bool,
    reads_requests: bool,
    group: &'a Group,
    /// The first process could not be born into the group.
    outside: bool,
    interfaces: Interfaces,
    /// The network namespace that the first process joins later.
    network: Option<File>,
}

/// Creates the container; gives its first process's pid, which waits at the gate.
///
/// # Errors
/// See [`ContainerError`]; the first process is gone then, and its control group is the caller's
/// to remove.
pub fn create(creation: Creation<'_>, steps: &mut dyn Steps) -> Result<i32, ContainerError> {
    let (ours, theirs) = socket::record_pair()
        .map_err(ContainerError::system("make", "the first process's socket"))?;
    let group = creation.group;
    let entry = group
        .entry(&SubGroups::default(), None)
        .map_err(|error| ContainerError::Group(error.to_string()))?;
    let isolation = creation.isolation;
    let namespaces = isolation.namespaces;
    let mut kept = Kept {
        spec: creation.spec,
        maps: isolation.maps,
        limits: Limits::of(&creation.process),
        listener: ListenerRoute::of(creation.process.profile.as_ref()),
        runs_ahead: namespaces.need_forerunner(),
        makes_user_namespace: namespaces.creates(kind::USER),
        has_policy: creation.policy.is_some(),
        has_channel: creation
            .policy
            .as_ref()
            .is_some_and(|policy| policy.channel),
        reads_requests: creation
            .policy
            .as_ref()
            .is_some_and(|policy| policy.trust.is_some()),
        group,
        outside: false,
        interfaces: Interfaces::of(creation.spec)?,
        network: namespaces.handle(kind::NETWORK)?,
    };
    let flags = match kept.runs_ahead {
        true => 0,
        false => namespaces.created & !kind::CGROUP,
    };
    let (cloned, outside) = entry.clone(flags).map_err(|error| {
        let error = match namespaces.created & kind::USER {
            0 => with_remedy(error),
            _ => error,
        };
        ContainerError::system("make", "the first process and its namespaces")(error)
    })?;
    let Cloned::Parent { pid, .. } = cloned else {
        drop(ours);
        let hooks = creation.spec.hooks().as_ref();
        let inherit = hooks.is_some_and(|hooks| hooks.create_container().is_some());
        let environment = inherit.then(|| std::env::vars_os().collect());
        memory::wipe_environment();
        let birth = Birth {
            id: creation.id,
            spec: creation.spec,
            namespaces,
            process: creation.process,
            rootfs: Some(creation.rootfs),
            policy: creation.policy,
            network: None,
            gate: creation.gate,
            entry,
            console_socket: creation.console_socket,
            words: theirs,
            environment: environment.unwrap_or_default(),
            lock: creation.lock,
            state: Vec::new(),
            no_pivot: creation.no_pivot,
            no_new_keyring: creation.no_new_keyring,
        };
        match kept.runs_ahead {
            true => init::forerun(birth),
            false => init::live(birth),
        }
    };
    // The child's copies are the ones that count: while ours are open, no end of theirs is seen.
    drop((
        theirs,
        entry,
        creation.rootfs,
        creation.gate,
        creation.console_socket,
    ));
    kept.outside = outside;
    let mut child = Child { pid, words: ours };
    match bring_up(&mut child, &kept, steps) {
        Ok(()) => Ok(child.pid),
        Err(error) => {
            end(child.pid);
            Err(error)
        }
    }
}

fn bring_up(
    child: &mut Child,
    kept: &Kept<'_>,
    steps: &mut dyn Steps,
) -> Result<(), ContainerError> {
    if kept.runs_ahead {
        follow_forerunner(child, kept)?;
    } else {
        if kept.makes_user_namespace {
            kept.maps.write(child.pid)?;
        }
        kept.limits.set_score(child.pid)?;
    }
    if kept.outside {
        let added = kept.group.add(child.pid, &SubGroups::default());
        added.map_err(|error| ContainerError::Group(error.to_string()))?;
    }
    kept.limits.set(child.pid)?;
    let network = kept.network.as_ref();
    kept.interfaces.hand_over(child.pid, network)?;
    let state = steps.born(child.pid)?;
    let_go_with(&child.words, &state)?;
    let (confinement, ends) = hear_ready(child, kept, &state)?;
    let has_network = confinement.as_ref().is_some_and(|held| held.network);
    let said = [
        (confinement.is_some(), kept.has_policy),
        (
            ends.root.is_some(),
            confinement.as_ref().is_some_and(Confinement::is_watched),
        ),
        (ends.channel.is_some(), kept.has_channel),
        (ends.trust.is_some(), kept.reads_requests),
        (ends.way_out.is_some(), has_network),
    ];
    if said.iter().any(|(said, wanted)| said != wanted) {
        let said = "it did not say what holds it, or what its supervisor is to have";
        return Err(ContainerError::Failed(Failure::new(
            "confine",
            "the first process",
            said,
        )));
    }
    steps.created(child.pid, confinement, ends)?;
    let_go(&child.words)
}

/// Maps the forerunner's user namespace where it makes one, and learns of the first process.
fn follow_forerunner(child: &mut Child, kept: &Kept<'_>) -> Result<(), ContainerError> {
    let forerunner = child.pid;
    kept.limits.set_score(forerunner)?;
    let_go(&child.words)?;
    loop {
        match hear(&child.words)? {
            (Word::MapMe, _) => {
                kept.maps.write(forerunner)?;
                let_go(&child.words)?;
            }
            (Word::Forked { pid }, _) => {
                child.pid = pid;
                process::wait_for(forerunner)
                    .map_err(ContainerError::system("wait for", "the forerunner"))?;
                return Ok(());
            }
            (word, _) => return Err(unexpected(&word)),
        }
    }
}

/// What the first process has said by the time that all is in place.
type Said = (Option<Confinement>, Ends);

/// Runs the hooks outside when it is their time, and hears that all is in place.
fn hear_ready(child: &Child, kept: &Kept<'_>, state: &[u8]) -> Result<Said, ContainerError> {
    let mut ends = Ends::default();
    loop {
        match hear(&child.words)? {
            (Word::Assembled, _) => {
                if let Some(hooks) = kept.spec.hooks() {
                    run_outside(hooks, state)?;
                }
                let_go(&child.words)?;
            }
            (Word::Listener, carried) if carried.len() == 1 => {
                kept.listener.send(carried[0].as_fd(), child.pid, state)?;
            }
            (Word::Channel, mut carried) if carried.len() == 2 && ends.channel.is_none() => {
                let segment = carried.pop().map(File::from);
                ends.channel = segment
                    .zip(carried.pop())
                    .map(|(segment, listener)| ChannelEnds { listener, segment });
            }
            (Word::Root, carried) if ends.root.is_none() => {
                ends.root = carried.into_iter().next();
            }
            (Word::Trust, carried) if ends.trust.is_none() => {
                ends.trust = TrustEnds::from_carried(carried);
            }
            (Word::WayOut { shape }, carried) if ends.way_out.is_none() => {
                ends.way_out = WayOut::from_carried(shape, carried.into_iter());
            }
            (Word::Ready { confinement }, _) => {
                return Ok((confinement.map(|held| *held), ends));
            }
            (word, _) => return Err(unexpected(&word)),
        }
    }
}

fn run_outside(hooks: &Hooks, state: &[u8]) -> Result<(), ContainerError> {
    // It was made for a start in which all is created but the program, and hears that word.
    if let Some(listed) = init::prestart(hooks).filter(|listed| !listed.is_empty()) {
        let state = with_status(state, "created").map_err(ContainerError::Failed)?;
        run_hooks("prestart", Some(listed), &state, None)?;
    }
    run_hooks(
        "createRuntime",
        hooks.create_runtime().as_ref(),
        state,
        None,
    )?;
    Ok(())
}

/// What an ordinary user can do about a refusal, who has given the container no user namespace.
fn with_remedy(error: std::io::Error) -> std::io::Error {
    let is_root = rustix::process::geteuid().is_root();
    match error.raw_os_error() {
        Some(libc::EPERM) if !is_root => std::io::Error::other(format!(
            "{error}; an ordinary user's container needs a user namespace: spec --rootless writes a \
             configuration with one"
        )),
        _ => error,
    }
}

/// Ends a child that has not become a container. It may have ended by itself already.
fn end(pid: i32) {
    let killed = process::kill(pid, libc::SIGKILL);
    let reaped = process::wait_for(pid);
    tracing::debug!(
        ?killed,
        ?reaped,
        "ended the first process of a failed creation"
    );
}
