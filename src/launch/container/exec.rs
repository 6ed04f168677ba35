//! A further process in a container that runs: it joins every namespace, the user namespace first,
//! and gets the limits, capabilities and filter of the configuration as the first process has.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};

use super::become_program::{self, join_keyring, take_terminal};
use super::limits::Limits;
use super::listener::ListenerRoute;
use super::namespaces::kind;
use super::process::ProcessPlan;
use super::word::{
    Word, hear, hear_executed, let_go, tell, unexpected, wait_for_go, wait_for_state,
};
use super::{Confinement, ContainerError, console};
use crate::launch::Failure;
use crate::launch::group::{Entry, Group, SubGroups};
use crate::sys::clone::{self, Cloned};
use crate::sys::{memory, namespace, process, socket};

/// What one execution needs.
pub struct Execution<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its first process, which was seen to be the container's since its pidfd was opened.
    pub first: (i32, BorrowedFd<'a>),
    /// What runs.
    pub process: ProcessPlan,
    /// The container's group, and the groups below it to run in.
    pub group: &'a Group,
    /// See `group`.
    pub sub_groups: &'a SubGroups,
    /// Where the terminal's master goes, if there is a terminal.
    pub console_socket: Option<OwnedFd>,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// What holds the container's processes by its policy, if it has one.
    pub confinement: Option<Confinement>,
    /// The container's state as JSON, for who listens to the filter.
    pub state: &'a [u8],
}

/// What the new process is born with.
struct Birth<'a> {
    id: &'a str,
    first: BorrowedFd<'a>,
    kinds: u64,
    /// The first process's root, where no namespace that is joined has it.
    root: Option<OwnedFd>,
    process: ProcessPlan,
    entry: Entry,
    confinement: Option<Confinement>,
    console_socket: Option<OwnedFd>,
    words: OwnedFd,
    no_new_keyring: bool,
}

const KINDS: [(&str, u64); 8] = [
    ("user", kind::USER),
    ("mnt", kind::MOUNT),
    ("pid", kind::PID),
    ("net", kind::NETWORK),
    ("ipc", kind::IPC),
    ("uts", kind::UTS),
    ("cgroup", kind::CGROUP),
    ("time", kind::TIME),
];

/// The kinds of namespace in which the process `pid` is elsewhere than this one.
fn foreign_kinds(pid: i32) -> Result<u64, ContainerError> {
    let mut kinds = 0;
    for (name, kind) in KINDS {
        let of = |process: &str| match std::fs::metadata(format!("/proc/{process}/ns/{name}")) {
            Ok(found) => Ok(Some((found.st_dev(), found.st_ino()))),
            // A kernel without this kind.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ContainerError::system(
                "look at",
                format!("the {name} namespace of process {process}"),
            )(error)),
        };
        if of("self")? != of(&pid.to_string())? {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// The root of the first process where it is in this process's mount namespace: then joining leads
/// to no other root.
fn root_of(first: (i32, BorrowedFd<'_>), kinds: u64) -> io::Result<Option<OwnedFd>> {
    if kinds & kind::MOUNT != 0 {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{}/root", first.0), flags, Mode::empty())?;
    // It has not ended, so the number was its own.
    process::pidfd_signal(first.1, 0)?;
    Ok(Some(root))
}

/// Starts the process; gives its pid, which is a child of this process. `ready` is told the pid
/// before the program runs; its error ends the process.
///
/// # Errors
/// See [`ContainerError`]; nothing runs then.
pub fn execute(
    execution: Execution<'_>,
    ready: &mut dyn FnMut(i32) -> Result<(), ContainerError>,
) -> Result<i32, ContainerError> {
    let (ours, theirs) = socket::record_pair()
        .map_err(ContainerError::system("make", "the new process's socket"))?;
    let kinds = foreign_kinds(execution.first.0)?;
    let root = root_of(execution.first, kinds)
        .map_err(ContainerError::system("open", "the container's root"))?;
    let limits = Limits::of(&execution.process);
    let listener = ListenerRoute::of(execution.process.profile.as_ref());
    let entry = execution
        .group
        .entry(execution.sub_groups, Some(execution.first.0))
        .map_err(|error| ContainerError::Group(error.to_string()))?;
    let (cloned, outside) = entry.clone(0).map_err(ContainerError::system(
        "make",
        "a process to join the container",
    ))?;
    let Cloned::Parent { pid, .. } = cloned else {
        drop(ours);
        memory::wipe_environment();
        join(Birth {
            id: execution.id,
            first: execution.first.1,
            kinds,
            root,
            process: execution.process,
            entry,
            confinement: execution.confinement,
            console_socket: execution.console_socket,
            words: theirs,
            no_new_keyring: execution.no_new_keyring,
        });
    };
    drop((theirs, entry, root, execution.console_socket));
    let mut current = pid;
    let state = execution.state;
    let mut bring_up = || -> Result<(), ContainerError> {
        match hear(&ours)? {
            (Word::Forked { pid: born }, _) => {
                current = born;
                process::wait_for(pid)
                    .map_err(ContainerError::system("wait for", "the joining process"))?;
            }
            (word, _) => return Err(unexpected(&word)),
        }
        if outside {
            let added = execution.group.add(current, execution.sub_groups);
            added.map_err(|error| ContainerError::Group(error.to_string()))?;
        }
        limits.set(current)?;
        limits.set_score(current)?;
        let_go(&ours)?;
        loop {
            match hear(&ours)? {
                (Word::Listener, carried) if carried.len() == 1 => {
                    listener.send(carried[0].as_fd(), current, state)?;
                }
                (Word::Ready { .. }, _) => break,
                (word, _) => return Err(unexpected(&word)),
            }
        }
        ready(current)?;
        let_go(&ours)?;
        hear_executed(&ours)
    };
    match bring_up() {
        Ok(()) => Ok(current),
        Err(error) => {
            let killed = process::kill(current, libc::SIGKILL);
            let reaped = process::wait_for(current);
            tracing::debug!(?killed, ?reaped, "ended the process of a failed exec");
            Err(error)
        }
    }
}

fn step<E: ToString>(operation: &'static str, object: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(operation, object, cause)
}

/// Closes what the runtime has open beside what is needed from here on: its directories lead to
/// all of the host, and the container's processes are about to see this one.
fn let_go_of(birth: &Birth<'_>) -> io::Result<()> {
    let mut keep = vec![birth.words.as_fd(), birth.first];
    keep.extend(birth.root.as_ref().map(AsFd::as_fd));
    keep.extend(birth.console_socket.as_ref().map(AsFd::as_fd));
    keep.extend(birth.entry.doors().iter().map(AsFd::as_fd));
    process::close_all_but(&birth.process.preserved_fds, &keep)
}

/// Joins the namespaces and gives birth to the process as a child of the runtime; returns never.
fn join(mut birth: Birth<'_>) -> ! {
    let outputs = birth.process.connect_outputs();
    let joined = || -> Result<Cloned, Failure> {
        outputs?;
        process::set_parent_death_signal(libc::SIGKILL)
            .map_err(step("set", "the parent death signal"))?;
        let_go_of(&birth).map_err(step("close", "the runtime's descriptors"))?;
        birth.process.attributes.begin()?;
        // Before the container's pid namespace shows this process to anyone.
        process::set_not_dumpable().map_err(step("protect", "the process's memory"))?;
        if birth.kinds != 0 {
            namespace::enter(birth.first, birth.kinds)
                .map_err(step("join", "the container's namespaces"))?;
        }
        if birth.kinds & kind::USER != 0 {
            process::become_ids(0, 0).map_err(step("become", "the root of the user namespace"))?;
        }
        if let Some(root) = &birth.root {
            change_root(root.as_fd()).map_err(step("change into", "the container's root"))?;
        }
        clone::clone_sibling(0).map_err(step("make", "the process"))
    };
    let failure = match joined() {
        Ok(Cloned::Child) => live(birth),
        Ok(Cloned::Parent { pid, .. }) => match tell(birth.words.as_fd(), &Word::Forked { pid }) {
            Ok(()) => clone::exit_now(0),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    give_up(&birth.words, &failure)
}

fn give_up(words: &OwnedFd, failure: &Failure) -> ! {
    let told = tell(words.as_fd(), &Word::Failed(failure.clone()));
    // Without a word the runtime sees that the socket ends.
    clone::exit_now(if told.is_ok() { 127 } else { 1 })
}

fn change_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// The new process, inside. It drops nothing of its birth, of which most is closed by now.
fn live(mut birth: Birth<'_>) -> ! {
    let failure = match be(&mut birth) {
        Ok(failure) | Err(failure) => failure,
    };
    give_up(&birth.words, &failure)
}

fn be(birth: &mut Birth<'_>) -> Result<Failure, Failure> {
    process::set_parent_death_signal(libc::SIGKILL)
        .map_err(step("set", "the parent death signal"))?;
    let words = birth.words.as_fd();
    wait_for_state(words)?;
    process::new_session().map_err(step("start", "a session"))?;
    birth
        .entry
        .enter()
        .map_err(step("enter", "the control group"))?;
    if !birth.no_new_keyring {
        join_keyring(birth.id)?;
    }
    if birth.process.terminal {
        let root = File::open("/").map_err(step("open", "the container's root"))?;
        let (master, slave) = console::pair(root.as_fd(), &birth.process)?;
        console::hand_over(birth.console_socket.as_ref(), &master)?;
        take_terminal(&slave)?;
    }
    become_program::home_of(&mut birth.process);
    let confinement = birth.confinement.take();
    let program = become_program::restrict(&mut birth.process, confinement, words, &[], |_| {
        tell(words, &Word::ready(None))?;
        wait_for_go(words)
    })?;
    Ok(program.execute())
}
