//! The life of a container's first process, from its birth to its program.
//!
//! Everything that can fail, fails before the runtime has said that the container is created.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Hook, Hooks, Spec};
use rustix::fs::{Mode, OFlags};

use super::become_program::{self, chain, join_keyring, take_terminal};
use super::channel;
use super::confinement::Confinement;
use super::console;
use super::folder::{self, Content};
use super::gate::Gate;
use super::hooks::{Environment, run_hooks};
use super::namespaces::{Namespaces, kind};
use super::network;
use super::policy::ContainerPolicy;
use super::process::ProcessPlan;
use super::word::{Word, tell, tell_with, wait_for_go, wait_for_state};
use crate::launch::Failure;
use crate::launch::doors::Asked;
use crate::launch::group::Entry;
use crate::launch::rootfs::{Assembled, Rootfs};
use crate::sys::{clone, interface, memory, namespace, process};

/// Everything that the first process is born with.
pub(super) struct Birth<'a> {
    pub id: &'a str,
    pub spec: &'a Spec,
    pub namespaces: Namespaces,
    pub process: ProcessPlan,
    /// The root, until it is assembled.
    pub rootfs: Option<Rootfs>,
    /// The policy, if it has one.
    pub policy: Option<ContainerPolicy>,
    /// The network namespace of the configuration, where there is a policy, once it is entered.
    pub network: Option<OwnedFd>,
    pub gate: Gate,
    /// The way into the control group, where it was not born there.
    pub entry: Entry,
    pub console_socket: Option<OwnedFd>,
    pub words: OwnedFd,
    /// The caller's variables, for hooks that have none of their own.
    pub environment: Environment,
    /// The runtime's lock on the container, of which this process has a copy.
    pub lock: BorrowedFd<'a>,
    /// The state that hooks inside are shown.
    pub state: Vec<u8>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
}

/// The status of a process that should have become the program, as shells give it.
const NOT_STARTED: i32 = 127;

fn step<E: ToString>(operation: &'static str, object: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(operation, object, cause)
}

/// Lives the life of the process that goes ahead where one must; returns never.
pub(super) fn forerun(mut birth: Birth<'_>) -> ! {
    let failure = match ahead(&mut birth) {
        Err(failure) => failure,
        Ok(clone::Cloned::Child) => live(birth),
        Ok(clone::Cloned::Parent { pid, .. }) => {
            match tell(birth.words.as_fd(), &Word::Forked { pid }) {
                Ok(()) => clone::exit_now(0),
                Err(failure) => failure,
            }
        }
    };
    give_up(&birth, &failure)
}

/// Joins what must be joined before the first process is born, and gives birth to it as a child
/// of the runtime.
fn ahead(birth: &mut Birth<'_>) -> Result<clone::Cloned, Failure> {
    process::set_parent_death_signal(libc::SIGKILL)
        .map_err(step("set", "the parent death signal"))?;
    birth.process.connect_outputs()?;
    // The runtime has set what it cannot set on a process that nobody may look at.
    wait_for_go(birth.words.as_fd())?;
    let namespaces = &birth.namespaces;
    if !namespaces.creates(kind::USER) {
        protect()?;
    }
    // As who the caller is: the root of a new user namespace may not open it.
    let clocks = match namespaces.creates(kind::TIME) {
        true => Some(open_clocks()?),
        false => None,
    };
    let refused = namespaces.join(|_| true)?;
    if namespaces.creates(kind::USER) {
        namespace::unshare(kind::USER).map_err(step("make", "the user namespace"))?;
        tell(birth.words.as_fd(), &Word::MapMe)?;
        wait_for_go(birth.words.as_fd())?;
    }
    if namespaces.has(kind::USER) {
        become_root()?;
    }
    Namespaces::join_again(&refused)?;
    if let Some(clocks) = clocks {
        namespace::unshare(kind::TIME).map_err(step("make", "the time namespace"))?;
        set_clocks(&clocks, birth.spec)?;
    }
    // Before a pid namespace that others live in shows the first process to them.
    protect()?;
    let rest = namespaces.created & !(kind::USER | kind::TIME | kind::CGROUP);
    clone::clone_sibling(rest).map_err(step("make", "the namespaces"))
}

fn protect() -> Result<(), Failure> {
    process::set_not_dumpable().map_err(step("protect", "the first process's memory"))
}

fn become_root() -> Result<(), Failure> {
    process::become_ids(0, 0).map_err(step("become", "the root of the user namespace"))?;
    // The change of ids has cleared it.
    process::set_parent_death_signal(libc::SIGKILL).map_err(step("set", "the parent death signal"))
}

fn open_clocks() -> Result<File, Failure> {
    let mut options = File::options();
    let opened = options.write(true).open("/proc/self/timens_offsets");
    opened.map_err(step("open", "the clocks of the time namespace"))
}

fn set_clocks(mut clocks: &File, spec: &Spec) -> Result<(), Failure> {
    let linux = spec.linux().as_ref();
    let offsets = linux.and_then(|linux| linux.time_offsets().as_ref());
    for (clock, offset) in offsets.into_iter().flatten() {
        let line = format!(
            "{clock} {} {}",
            offset.secs().unwrap_or(0),
            offset.nanosecs().unwrap_or(0)
        );
        clocks
            .write_all(line.as_bytes())
            .map_err(|cause| Failure::new("set", format!("linux.timeOffsets.{clock}"), cause))?;
    }
    Ok(())
}

/// Lives the life of the first process; returns never.
pub(super) fn live(mut birth: Birth<'_>) -> ! {
    let failure = match be(&mut birth) {
        Ok(failure) => {
            // Nobody may be there any more to be told.
            let told = birth.gate.answer(&failure);
            clone::exit_now(if told.is_ok() { NOT_STARTED } else { 1 })
        }
        Err(failure) => failure,
    };
    give_up(&birth, &failure)
}

fn give_up(birth: &Birth<'_>, failure: &Failure) -> ! {
    let told = tell(birth.words.as_fd(), &Word::Failed(failure.clone()));
    // Without a word the runtime sees that the socket ends.
    clone::exit_now(if told.is_ok() { NOT_STARTED } else { 1 })
}

/// Gives the failure of what comes after the start.
fn be(birth: &mut Birth<'_>) -> Result<Failure, Failure> {
    enter_namespaces(birth)?;
    assemble(birth)?;
    become_program::home_of(&mut birth.process);
    let confinement = birth.policy.as_ref().map(ContainerPolicy::confine);
    let confinement = confinement.transpose()?;
    let words = birth.words.as_fd();
    if confinement.as_ref().is_some_and(Confinement::is_watched) {
        show_root(words)?;
    }
    let network = birth.network.take();
    if let (Some(outer), Some(held)) = (network, &confinement)
        && held.network
    {
        let asked = Asked {
            proxy: None,
            datagrams: held.datagrams,
            link: birth.policy.as_ref().and_then(|policy| policy.link),
        };
        network::enclose(outer, asked, birth.spec, words)?;
    }
    let program = become_program::restrict(
        &mut birth.process,
        confinement,
        words,
        &birth.gate.descriptors(),
        |confinement| {
            tell(words, &Word::ready(confinement))?;
            wait_for_go(words)
        },
    )?;
    birth.gate.wait()?;
    Ok(match start_hooks(birth) {
        Err(failure) => failure,
        Ok(()) => program.execute(),
    })
}

/// Hands over the root: an ordinary user's supervisor may not open it by `/proc/PID/root`.
fn show_root(words: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty());
    let root = root.map_err(step("open", "the container's root"))?;
    tell_with(words, &Word::Root, &[root.as_fd()])
        .map_err(step("hand over", "the container's root"))
}

fn enter_namespaces(birth: &mut Birth<'_>) -> Result<(), Failure> {
    process::set_parent_death_signal(libc::SIGKILL)
        .map_err(step("set", "the parent death signal"))?;
    birth.process.connect_outputs()?;
    birth.state = wait_for_state(birth.words.as_fd())?;
    let lock = birth.lock.as_raw_fd();
    process::close_range(lock, lock).map_err(step("close", "the runtime's lock"))?;
    process::new_session().map_err(step("start", "a session"))?;
    let namespaces = &birth.namespaces;
    let came_behind = namespaces.need_forerunner();
    if namespaces.creates(kind::USER) && !came_behind {
        become_root()?;
    }
    protect()?;
    if !came_behind {
        Namespaces::join_again(&namespaces.join(|_| true)?)?;
    }
    birth
        .entry
        .enter()
        .map_err(step("enter", "the control group"))?;
    if namespaces.creates(kind::CGROUP) {
        namespace::unshare(kind::CGROUP).map_err(step("make", "the cgroup namespace"))?;
    }
    if namespaces.creates(kind::NETWORK) {
        interface::loopback_up().map_err(step("bring up", "the loopback interface"))?;
    }
    if birth.policy.is_some() {
        birth.network = Some(network::outer()?);
    }
    name_host(birth.spec)?;
    if !birth.no_new_keyring {
        join_keyring(birth.id)?;
    }
    Ok(())
}

fn name_host(spec: &Spec) -> Result<(), Failure> {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        nix::unistd::sethostname(name).map_err(step("set", "hostname"))?;
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::setdomainname(name.as_bytes()).map_err(step("set", "domainname"))?;
    }
    Ok(())
}

fn assemble(birth: &mut Birth<'_>) -> Result<(), Failure> {
    let Some(rootfs) = birth.rootfs.take() else {
        return Err(Failure::new(
            "assemble",
            "the root file system",
            "it is gone",
        ));
    };
    let mut root = rootfs.assemble()?;
    give(birth, &root)?;
    let hooks = birth.spec.hooks().as_ref();
    if hooks.is_some_and(has_outside) {
        tell(birth.words.as_fd(), &Word::Assembled)?;
        wait_for_go(birth.words.as_fd())?;
    }
    if let Some(listed) = hooks.and_then(|hooks| hooks.create_container().as_ref()) {
        // Hooks that put something into the root find it where they are, as with other runtimes.
        rustix::process::fchdir(root.root()).map_err(step("enter", "the root file system"))?;
        run_hooks(
            "createContainer",
            Some(listed),
            &birth.state,
            Some(&birth.environment),
        )
        .map_err(|error| Failure::new("run", "hooks.createContainer", chain(&error)))?;
    }
    // Hooks inside, which come later, may look at this process's memory.
    for (_, value) in birth.environment.drain(..) {
        memory::wipe(value);
    }
    if birth.process.terminal {
        let (master, slave) = console::pair(root.root(), &birth.process)?;
        root.console(slave.as_fd())?;
        console::hand_over(birth.console_socket.as_ref(), &master)?;
        take_terminal(&slave)?;
    }
    root.pivot(birth.no_pivot)?;
    root.finish()
}

/// Shows the container what its supervisor gives it.
fn give(birth: &mut Birth<'_>, root: &Assembled) -> Result<(), Failure> {
    let policy = birth.policy.as_ref();
    let trust = policy.and_then(|policy| policy.trust.as_ref());
    let content = Content {
        channel: policy.is_some_and(|policy| policy.channel),
        trust: trust.is_some(),
    };
    if !content.channel && !content.trust {
        return Ok(());
    }
    let folder = folder::show(root, content)?;
    let (folder, words) = (folder.as_fd(), birth.words.as_fd());
    if content.channel {
        channel::open(folder, &mut birth.process, words)?;
    }
    if let Some(trust) = trust {
        trust.open(folder, root.root(), words)?;
    }
    Ok(())
}

/// Whether hooks run outside before the root is entered.
pub(super) fn has_outside(hooks: &Hooks) -> bool {
    let any = |hooks: Option<&Vec<_>>| hooks.is_some_and(|hooks| !hooks.is_empty());
    any(prestart(hooks)) || any(hooks.create_runtime().as_ref())
}

/// The specification has replaced them, and Docker's network is made by one.
pub(super) fn prestart(hooks: &Hooks) -> Option<&Vec<Hook>> {
    hooks.prestart().as_ref()
}

fn start_hooks(birth: &Birth<'_>) -> Result<(), Failure> {
    let Some(hooks) = birth.spec.hooks() else {
        return Ok(());
    };
    let Some(listed) = hooks.start_container() else {
        return Ok(());
    };
    let environment = birth.process.environment();
    let state = with_status(&birth.state, "created")?;
    run_hooks("startContainer", Some(listed), &state, Some(&environment))
        .map_err(|error| Failure::new("run", "hooks.startContainer", chain(&error)))
}

pub(super) fn with_status(state: &[u8], status: &str) -> Result<Vec<u8>, Failure> {
    let read = |error: serde_json::Error| Failure::new("read", "the container's state", error);
    let mut state: serde_json::Value = serde_json::from_slice(state).map_err(read)?;
    state["status"] = status.into();
    serde_json::to_vec(&state).map_err(read)
}
