//! The child between its birth and the program: it builds the world it is in, and enters it.
//!
//! Runs as the first process of every new namespace, with all capabilities over them and none
//! over the host. Each step that fails is reported by name, and nothing runs.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use libcontainer::notify_socket::NotifyListener;
use libcontainer::oci_spec::runtime as oci;
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::process::{channel, init::container_init_process};
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::OFlags;

use super::confine::{self, Confinement};
use super::doors::Doors;
use super::executor::{Channel, Executor, Stage, give_up};
use super::identity::Identity;
use super::notice::{Failure, FailureKind};
use super::request::{ChannelRequest, LaunchRequest, StdioRequest};
use super::rlimits::ResourceLimits;
use super::root::{ROOT_NAME, Root};
use super::seccomp::Filters;
use super::start::{LaunchError, Sources};
use crate::policy::{Intercept, Policy};
use crate::sys::{interface, mount, process, socket, terminal};

/// Everything the child was born with.
pub(super) struct Birth {
    pub request: LaunchRequest,
    pub identity: Identity,
    pub sources: Sources,
    pub base: PathBuf,
    pub notices: OwnedFd,
    /// The program's ends of the pipes for descriptors 0, 1 and 2.
    pub pipes: [Option<OwnedFd>; 3],
}

/// Lives the child's life; returns never.
pub(super) fn live(mut birth: Birth) -> ! {
    let failure = match enter(&mut birth) {
        Ok(stage) => run_libcontainer(&birth, stage),
        Err(failure) => failure,
    };
    give_up(&birth.notices, failure, 0)
}

fn step<E: ToString>(operation: &'static str, object: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(operation, object, cause)
}

fn enter(birth: &mut Birth) -> Result<Stage, Failure> {
    process::set_parent_death_signal(libc::SIGKILL)
        .map_err(step("set", "the parent death signal"))?;
    process::block_all_signals().map_err(step("block", "signals"))?;
    wait_for_maps(birth.notices.as_fd())?;
    // Sources that the caller could not clone are opened with the caller's own rights.
    for source in birth.sources.each() {
        source.open(None)?;
    }
    // The caller's directory may be hidden by the base; libcontainer returns to where it was.
    rustix::process::chdir("/").map_err(step("enter", "the host's root"))?;
    if birth.identity.own.is_some() {
        process::drop_groups().map_err(step("drop", "the supplementary groups"))?;
        process::become_ids(0, 0).map_err(step("become", "the namespace's root"))?;
        // The change of ids has cleared it.
        process::set_parent_death_signal(libc::SIGKILL)
            .map_err(step("set", "the parent death signal"))?;
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    mount::make_all_private().map_err(|cause| {
        // A security module may give a user namespace no capabilities, as Ubuntu's does.
        let refused = matches!(cause.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let failure = Failure::new("make private", "the mounts", cause);
        if refused {
            failure.of_kind(FailureKind::Namespaces)
        } else {
            failure
        }
    })?;
    // The filter of a container that this runs in may permit namespaces and not this.
    nix::unistd::sethostname(&birth.request.hostname).map_err(|cause| {
        Failure::new("set", "the host name", cause).of_kind(FailureKind::Namespaces)
    })?;
    interface::loopback_up().map_err(step("bring up", "the loopback interface"))?;
    build(birth)
}

/// Enters the control group that the supervisor has made meanwhile, as the root of a namespace.
fn be_confined(birth: &Birth) -> Result<(Filters, ResourceLimits), Failure> {
    let mut confinement = Confinement::receive(birth.notices.as_fd())?;
    confinement.enter()?;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).map_err(|cause| {
        Failure::new("unshare", "the cgroup namespace", cause).of_kind(FailureKind::Namespaces)
    })?;
    let rlimits = confine::resource_limits(&birth.request, confinement.ground)
        .map_err(|unheld| Failure::new("limit", "resources", LaunchError::Limits(unheld)))?;
    Ok((confinement.filters, rlimits))
}

/// How long the supervisor takes to map the ids, and some more.
const MAPPING: Duration = Duration::from_micros(500);

fn wait_for_maps(notices: BorrowedFd<'_>) -> Result<(), Failure> {
    match socket::receive_record_soon(notices, MAPPING) {
        Ok((record, _)) if record == b"go" => Ok(()),
        Ok(_) => Err(Failure::new(
            "wait for",
            "the id maps",
            "the supervisor is gone",
        )),
        Err(cause) => Err(Failure::new("wait for", "the id maps", cause)),
    }
}

fn build(birth: &mut Birth) -> Result<Stage, Failure> {
    let ids = (birth.identity.worker, birth.identity.group);
    let mut root = Root::begin(&birth.base, ids)?;
    // Directories and file systems first, so that binds find their places; deeper paths later.
    let mut of_bundle = birth.sources.bundle.iter_mut();
    for piece in &birth.request.pieces {
        root.add(piece)?;
        if matches!(piece, super::Piece::Bind { .. })
            && let Some(Some(source)) = of_bundle.next()
        {
            root.bind(source)?;
        }
    }
    for source in &mut birth.sources.policy {
        root.bind(source)?;
    }
    for link in &birth.request.plan.links {
        root.policy_link(link)?;
    }
    for mask in &birth.request.plan.masks {
        root.mask(mask)?;
    }
    let channel = birth
        .request
        .channel
        .as_ref()
        .map(|asked| open_channel(&mut root, asked))
        .transpose()?;
    let (terminal, stdio) = open_stdio(birth, &root)?;
    let doors = birth.request.doors().map(Doors::open).transpose()?;
    let (filters, rlimits) = be_confined(birth)?;
    Ok(Stage {
        terminal,
        stdio,
        channel,
        doors,
        expected: std::mem::take(&mut root.expected),
        grants: birth.request.plan.landlock.clone(),
        landlock_abi: birth.request.features.landlock_abi,
        filters,
        rlimits,
        program: birth.request.program.clone(),
        notices: birth
            .notices
            .try_clone()
            .map_err(step("duplicate", "the notice socket"))?,
        uid: birth.identity.worker,
        require: birth.request.require,
        intercept: intercepting(&mut birth.request)?,
    })
}

/// What is answered call by call, and by which policy.
fn intercepting(request: &mut LaunchRequest) -> Result<Option<(Intercept, Policy)>, Failure> {
    match (request.plan.intercept.take(), request.oracle.take()) {
        (None, _) => Ok(None),
        (Some(intercept), Some(oracle)) => Ok(Some((intercept, oracle))),
        (Some(_), None) => Err(Failure::new(
            "answer",
            "calls",
            "there is no policy to decide by",
        )),
    }
}

fn open_channel(root: &mut Root, asked: &ChannelRequest) -> Result<Channel, Failure> {
    let fail = |cause: std::io::Error| Failure::new("make", "the channel", cause);
    let space = root.channel_space(asked.segment_bytes)?;
    // Through /proc, because the file system is reached by a descriptor and a socket's path is short.
    let inside = |name: &str| PathBuf::from(format!("/proc/self/fd/{}/{name}", space.as_raw_fd()));
    let segment = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(inside("segment"))
        .map_err(fail)?;
    segment.set_len(asked.segment_bytes).map_err(fail)?;
    let listener = std::os::unix::net::UnixListener::bind(inside("control")).map_err(fail)?;
    let connection = UnixStream::connect(inside("control")).map_err(fail)?;
    for (name, path) in [("segment", &asked.segment), ("control", &asked.socket)] {
        let file = inside(name);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(fail)?;
        root.give_to_worker(space.as_fd(), Path::new(name))
            .map_err(fail)?;
        let set = mount::attr::NOSUID | mount::attr::NODEV | mount::attr::NOEXEC;
        root.show(space.as_fd(), Path::new(name), path, set)?;
    }
    Ok(Channel {
        listener: listener.into(),
        segment,
        connection: connection.into(),
        socket: asked.socket.clone(),
    })
}

type Stdio = (Option<OwnedFd>, [Option<OwnedFd>; 3]);

fn open_stdio(birth: &mut Birth, root: &Root) -> Result<Stdio, Failure> {
    let mut stdio = std::mem::take(&mut birth.pipes);
    let StdioRequest::Terminal { rows, columns, .. } = birth.request.stdio else {
        return Ok((None, stdio));
    };
    let fail = |cause: std::io::Error| Failure::new("open", "a terminal in the sandbox", cause);
    let master = root
        .open(Path::new("/dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)
        .map_err(fail)?;
    let peer = terminal::open_peer(master.as_fd()).map_err(fail)?;
    let (uid, gid) = (birth.identity.worker, birth.identity.group);
    rustix::fs::fchown(
        &peer,
        Some(rustix::fs::Uid::from_raw(uid)),
        Some(rustix::fs::Gid::from_raw(gid)),
    )
    .map_err(|error| fail(error.into()))?;
    terminal::set_window_size(peer.as_fd(), rows, columns).map_err(fail)?;
    for slot in &mut stdio {
        if slot.is_none() {
            *slot = Some(peer.try_clone().map_err(fail)?);
        }
    }
    Ok((Some(master), stdio))
}

/// pivot_root, devices, masked and read-only paths, ids and capabilities are libcontainer's work;
/// its executor callback is ours and does not return.
fn run_libcontainer(birth: &Birth, stage: Stage) -> Failure {
    let rootfs = birth.base.join(ROOT_NAME);
    let start = birth.base.join("start.sock");
    let attempt = || -> Result<std::convert::Infallible, String> {
        let spec = spec(birth, &rootfs).map_err(|error| error.to_string())?;
        let notify_listener = NotifyListener::new(&start).map_err(|error| error.to_string())?;
        // The start signal that libcontainer waits for is given beforehand.
        drop(UnixStream::connect(&start).map_err(|error| error.to_string())?);
        let (mut main_sender, _main_receiver) =
            channel::main_channel().map_err(|e| e.to_string())?;
        let (_init_sender, mut init_receiver) =
            channel::init_channel().map_err(|e| e.to_string())?;
        let args = ContainerArgs {
            container_type: ContainerType::InitContainer,
            syscall: SyscallType::Linux,
            spec: Rc::new(spec),
            rootfs: rootfs.clone(),
            console_socket: None,
            notify_listener,
            preserve_fds: 0,
            container: None,
            user_ns_config: None,
            cgroup_config: libcgroups::common::CgroupConfig {
                cgroup_path: PathBuf::new(),
                systemd_cgroup: false,
                container_name: String::new(),
            },
            detached: false,
            executor: Box::new(Executor::new(stage)),
            no_pivot: false,
            stdin: None,
            stdout: None,
            stderr: None,
            as_sibling: false,
            pid_file: None,
        };
        match container_init_process(&args, &mut main_sender, &mut init_receiver) {
            Err(error) => Err(chain(&error)),
            Ok(()) => Err("libcontainer returned without running the program".to_owned()),
        }
    };
    match attempt() {
        Err(cause) => Failure::new("enter", "the new root", cause),
        Ok(never) => match never {},
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// What libcontainer is told: only what is still to be done in the namespaces that the clone made.
fn spec(birth: &Birth, rootfs: &Path) -> Result<oci::Spec, oci_spec::OciSpecError> {
    let none = oci::LinuxCapabilitiesBuilder::default()
        .bounding(std::collections::HashSet::new())
        .effective(std::collections::HashSet::new())
        .permitted(std::collections::HashSet::new())
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()?;
    let user = oci::UserBuilder::default()
        .uid(birth.identity.worker)
        .gid(birth.identity.group)
        .umask(birth.request.umask)
        .build()?;
    let process = oci::ProcessBuilder::default()
        .args(vec![birth.request.program.path.display().to_string()])
        .cwd(birth.request.program.cwd.clone())
        // Without one libcontainer looks for the user's home, and the C library loads what the
        // new root's nsswitch.conf names into this process, on which no filter is in force yet.
        .env(vec!["HOME=/".to_owned()])
        .user(user)
        .capabilities(none)
        .no_new_privileges(true)
        .build()?;
    // The namespace it is in already: joining it again costs nothing, and libcontainer pivots
    // only when it sees a mount namespace in the specification.
    let namespace = oci::LinuxNamespaceBuilder::default()
        .typ(oci::LinuxNamespaceType::Mount)
        .path("/proc/self/ns/mnt")
        .build()?;
    let mut readonly = birth.request.readonly_paths.clone();
    readonly.push("/dev".to_owned());
    let linux = oci::LinuxBuilder::default()
        .namespaces(vec![namespace])
        .masked_paths(birth.request.masked_paths.clone())
        .readonly_paths(readonly)
        .build()?;
    oci::SpecBuilder::default()
        .root(
            oci::RootBuilder::default()
                .path(rootfs)
                .readonly(true)
                .build()?,
        )
        .mounts(Vec::new())
        .process(process)
        .linux(linux)
        .build()
}
