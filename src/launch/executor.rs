//! Our part inside libcontainer's init: verify, restrict, report, and become init.
//!
//! Called with the new root entered, ids changed and capabilities gone. Verifies by asking the
//! kernel, not by trusting that an earlier call worked.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use caps::CapSet;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};

use super::courier::Courier;
use super::doors::Doors;
use super::init::{self, Duties};
use super::notice::{self, Failure, FailureKind, Notice};
use super::request::Program;
use super::rlimits::ResourceLimits;
use super::seccomp::Filters;
use super::{Enforced, Require, State, connection, landlock};
use crate::intercept::Broker;
use crate::policy::{Grant, Intercept, Policy};
use crate::sys::mount::attr;
use crate::sys::{clone, memory, process, socket, terminal};

/// The network namespace holds TCP; Landlock is not asked to.
const DENY_TCP: bool = false;

/// What is left to do when libcontainer is done.
pub(super) struct Stage {
    pub terminal: Option<OwnedFd>,
    pub stdio: [Option<OwnedFd>; 3],
    pub channel: Option<Channel>,
    /// The supervisor's sockets in the sandbox's network.
    pub doors: Option<Doors>,
    pub expected: Vec<(PathBuf, u64)>,
    pub grants: Vec<Grant>,
    pub landlock_abi: u32,
    pub filters: Filters,
    pub rlimits: ResourceLimits,
    pub program: Program,
    pub notices: OwnedFd,
    pub uid: u32,
    /// What is answered call by call, and by which policy.
    pub intercept: Option<(Intercept, Policy)>,
    /// What has to hold before the program may start.
    pub require: Require,
}

/// The channel's ends: two for the supervisor, one for the worker, and where the socket is seen.
pub(super) struct Channel {
    pub listener: OwnedFd,
    pub segment: File,
    pub connection: OwnedFd,
    pub socket: PathBuf,
}

/// libcontainer wants its executors cloneable; the stage is shared, not copied.
#[derive(Clone)]
pub(super) struct Executor(Rc<Stage>);

impl Executor {
    pub(super) fn new(stage: Stage) -> Executor {
        Executor(Rc::new(stage))
    }
}

impl libcontainer::workload::Executor for Executor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        match self.0.run() {
            // Here and now: libcontainer's own way out would close descriptors that are ours.
            Err(failure) => give_up(&self.0.notices, failure, 0),
            Ok(never) => match never {},
        }
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The program's environment is handed to execve(2); the process's own is never changed.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Tells the supervisor why nothing runs, and ends the process with `status`.
pub(super) fn give_up(notices: &OwnedFd, failure: Failure, status: i32) -> ! {
    // Nobody is there to be told when this fails; the supervisor sees the end of the socket.
    let told = notice::send(notices.as_fd(), &Notice::Failed(failure), &[]);
    clone::exit_now(if told.is_err() { 1 } else { status })
}

/// The status of a process that should have become the program, as shells give it.
pub(super) const NOT_STARTED: i32 = 127;

/// The word of the program's process that it is restricted.
pub(super) const RESTRICTED: &[u8] = b"restricted";

/// Init's wait for the first word from the program's process: it is restricted and about to run.
/// Gives the filter's listener, where it has one.
pub(super) fn hear_restricted(from_program: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
    let (word, mut listeners) = socket::receive_record(from_program.as_fd())
        .map_err(|c| Failure::new("hear from", "the program's process", c))?;
    if word != RESTRICTED {
        // It has told the supervisor why itself.
        clone::exit_now(0);
    }
    Ok(listeners.pop())
}

/// Asks the kernel whether no privilege can be gained and every one of `sets` is empty.
pub(super) fn verify_unprivileged(sets: &[CapSet]) -> Result<(), Failure> {
    let wrong = |object: &str, cause: String| Failure::new("verify", object, cause);
    if !process::no_new_privs().is_ok_and(|set| set) {
        return Err(wrong("no_new_privs", "it is not set".to_owned()));
    }
    for set in sets {
        match caps::read(None, *set) {
            Ok(held) if held.is_empty() => {}
            Ok(held) => {
                return Err(wrong(
                    "capabilities",
                    format!("{set:?} still holds {held:?}"),
                ));
            }
            Err(error) => return Err(wrong("capabilities", error.to_string())),
        }
    }
    Ok(())
}

/// Puts the program's descriptors 0, 1 and 2 into their places.
pub(super) fn connect_stdio(stdio: &[Option<OwnedFd>; 3]) -> Result<(), Failure> {
    for (number, end) in (0..).zip(stdio) {
        if let Some(end) = end {
            process::duplicate_onto(end.as_raw_fd(), number)
                .map_err(|c| Failure::new("connect", format!("descriptor {number}"), c))?;
        }
    }
    Ok(())
}

/// The last restriction: puts the filter in force, asks the kernel whether it is, and gives init
/// its listener. Where it holds the call that sends one, a courier brings it.
pub(super) fn filter(
    filters: &Filters,
    to_init: &OwnedFd,
    holds_messages: bool,
) -> Result<(), Failure> {
    const FILTER: &str = "the system call filter";
    let reported = |c: io::Error| Failure::new("report to", "init", c);
    let courier = match holds_messages {
        true => Some(Courier::start(to_init).map_err(no_courier)?),
        false => None,
    };
    let listener = filters
        .install()
        .map_err(|c| Failure::new("apply", FILTER, c))?;
    if process::seccomp_mode().ok() != Some(2) {
        return Err(Failure::new("verify", FILTER, "it is not in force"));
    }
    match (courier, &listener) {
        (Some(courier), Some(listener)) => courier.bring(listener.as_fd()),
        (_, listener) => {
            let carried: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
            socket::send_record(to_init.as_fd(), RESTRICTED, &carried)
        }
    }
    .map_err(reported)
}

fn no_courier(cause: io::Error) -> Failure {
    let cause = match cause.kind() {
        io::ErrorKind::WouldBlock => "the policy decides sockets call by call, which takes a \
                                      process more: raise the limit (--pids)"
            .to_owned(),
        _ => cause.to_string(),
    };
    Failure::new("start", "the system call filter's courier", cause)
}

/// Whether what was verified is what was required.
pub(super) fn enough(require: Require, enforced: &Enforced) -> Result<(), Failure> {
    require.check(enforced).map_err(|less| {
        let asked = format!("what --require {} asks for", require.name());
        Failure::new("hold", asked, less.reasons())
    })
}

impl Stage {
    fn run(&self) -> Result<std::convert::Infallible, Failure> {
        memory::wipe_environment();
        memory::wipe_arguments().map_err(|c| Failure::new("wipe", "init's arguments", c))?;
        process::set_not_dumpable().map_err(|c| Failure::new("protect", "init's memory", c))?;
        // The change of ids has cleared it.
        process::set_parent_death_signal(libc::SIGKILL)
            .map_err(|c| Failure::new("set", "the parent death signal", c))?;
        let enforced = self.verify()?;
        enough(self.require, &enforced)?;
        self.rlimits
            .apply()
            .map_err(|c| Failure::new("limit", "resources", c))?;
        let mut carried: Vec<BorrowedFd<'_>> = Vec::new();
        carried.extend(self.terminal.as_ref().map(AsFd::as_fd));
        if let Some(channel) = &self.channel {
            carried.extend([channel.listener.as_fd(), channel.segment.as_fd()]);
        }
        carried.extend(self.doors.iter().flat_map(Doors::to_carry));
        let broker = self.broker()?;
        let (to_init, from_init) =
            socket::record_pair().map_err(|c| Failure::new("make", "init's socket", c))?;
        match clone::fork().map_err(|c| Failure::new("fork", "the program's process", c))? {
            0 => self.become_program(&to_init),
            program => {
                drop(to_init);
                let listener = hear_restricted(&from_init)?;
                let ready = Notice::Ready { enforced };
                notice::send(self.notices.as_fd(), &ready, &carried)
                    .map_err(|c| Failure::new("report to", "the supervisor", c))?;
                let duties = Duties {
                    path: self.program.path.clone(),
                    listener,
                    census: None,
                    broker,
                };
                init::live(&self.notices, &from_init, program, duties)
            }
        }
    }

    /// Who answers calls, in this root and as this user.
    fn broker(&self) -> Result<Option<Broker>, Failure> {
        let Some((intercept, policy)) = &self.intercept else {
            return Ok(None);
        };
        Broker::open(policy.clone(), intercept)
            .map(Some)
            .map_err(|c| Failure::new("prepare", "the interceptor", c))
    }

    /// Asks the kernel whether what was done holds.
    fn verify(&self) -> Result<Enforced, Failure> {
        let wrong = |object: &str, cause: &str| Failure::new("verify", object, cause);
        verify_unprivileged(&[
            CapSet::Effective,
            CapSet::Permitted,
            CapSet::Inheritable,
            CapSet::Bounding,
            CapSet::Ambient,
        ])?;
        if rustix::process::getuid().as_raw() != self.uid
            || rustix::process::geteuid().as_raw() != self.uid
        {
            return Err(wrong("the user id", "it did not change"));
        }
        let mut verified = 0_usize;
        for (path, wanted) in &self.expected {
            verified += usize::from(verify_mount(path, *wanted)?);
        }
        let mut enforced = Enforced::default();
        enforced.full("no_new_privs", "set, verified");
        enforced.full("capabilities", "none in any set, verified");
        enforced.full(
            "mounts",
            match self.expected.len() - verified {
                0 => format!("{verified} places with their flags verified"),
                hidden => {
                    format!("{verified} places with their flags verified, {hidden} out of reach")
                }
            },
        );
        let missing = landlock::missing(self.landlock_abi, DENY_TCP);
        let detail = format!(
            "ABI {}, {} rules{}",
            self.landlock_abi,
            self.grants.len(),
            lacking(&missing)
        );
        let state = match (self.landlock_abi, missing.is_empty()) {
            (0, _) => State::None,
            (_, true) => State::Full,
            (_, false) => State::Partial,
        };
        enforced.note("landlock", state, detail);
        if let Some((intercept, _)) = &self.intercept {
            let detail = format!("each call that needs {} is decided", intercept.perms);
            enforced.full("interceptor", detail);
        }
        enforced.full(
            "seccomp",
            format!("{} instructions, verified", self.filters.instructions()),
        );
        Ok(enforced)
    }

    /// In the program's own process: nothing of ours is left but the last call.
    fn become_program(&self, to_init: &OwnedFd) -> ! {
        let failure = match self.restrict(to_init) {
            Err(failure) => failure,
            Ok(program) => execute(&program),
        };
        give_up(&self.notices, failure, NOT_STARTED)
    }

    /// Gives the program as it is to be executed.
    fn restrict(&self, to_init: &OwnedFd) -> Result<Program, Failure> {
        process::new_session().map_err(|c| Failure::new("start", "a session", c))?;
        connect_stdio(&self.stdio)?;
        if self.terminal.is_some() {
            terminal::make_controlling(io::stdin().as_fd())
                .map_err(|c| Failure::new("take", "the terminal", c))?;
        }
        process::close_on_exec_from(3).map_err(|c| Failure::new("mark", "descriptors", c))?;
        let mut program = self.program.clone();
        if let Some(channel) = &self.channel {
            connection::hand_over(&channel.connection, &channel.socket, &mut program.args)
                .map_err(|c| Failure::new("hand over", "the channel's connection", c))?;
        }
        landlock::restrict(&self.grants, self.landlock_abi, DENY_TCP)
            .map_err(|c| Failure::new("apply", "Landlock", c))?;
        process::reset_signals().map_err(|c| Failure::new("reset", "signals", c))?;
        let intercept = self.intercept.as_ref();
        let holds_messages =
            intercept.is_some_and(|(intercept, _)| intercept.decides_named_sockets());
        filter(&self.filters, to_init, holds_messages)?;
        if intercept.is_some() {
            hear_of_receivers(to_init)?;
        }
        self.rlimits
            .apply_asked()
            .map_err(|c| Failure::new("limit", "resources as the bundle asks", c))?;
        Ok(program)
    }
}

/// The program's wait for init's word that its calls are heard.
fn hear_of_receivers(to_init: &OwnedFd) -> Result<(), Failure> {
    let wait = |cause: String| Failure::new("hear from", "init", cause);
    match rustix::io::read(to_init, &mut [0; 8]) {
        Ok(1..) => Ok(()),
        Ok(0) => Err(wait("it has ended".to_owned())),
        Err(error) => Err(wait(error.to_string())),
    }
}

/// Becomes the program; returns only with the reason why not.
pub(super) fn execute(program: &Program) -> Failure {
    let path = &program.path;
    let fail = |cause: String| Failure::new("execute", path.display().to_string(), cause);
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| fail("it has a NUL byte".to_owned()));
    let prepared = || -> Result<_, Failure> {
        let args: Result<Vec<_>, _> = program
            .args
            .iter()
            .map(|arg| text(arg.as_bytes()))
            .collect();
        let pairs: Result<Vec<_>, _> = program
            .env
            .iter()
            .map(|(key, value)| text(&[key.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        Ok((text(path.as_os_str().as_bytes())?, args?, pairs?))
    };
    match prepared() {
        Err(failure) => failure,
        Ok((path, args, env)) => {
            let error = clone::execve(&path, &args, &env);
            let kind = match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => FailureKind::NotFound,
                _ => FailureKind::NotExecutable,
            };
            fail(error.to_string()).of_kind(kind)
        }
    }
}

fn lacking(missing: &[&str]) -> String {
    if missing.is_empty() {
        String::new()
    } else {
        format!("; not held: {}", missing.join(", "))
    }
}

/// Whether the mount at `path` could be looked at and has the wanted attributes.
fn verify_mount(path: &std::path::Path, wanted: u64) -> Result<bool, Failure> {
    let found = match rustix::fs::statvfs(path) {
        Ok(found) => found.f_flag.bits(),
        // Below a directory that the worker may not enter, such as a mask: it has the attributes
        // that its tree was given before it was put there, and cannot be reached.
        Err(rustix::io::Errno::ACCESS) => return Ok(false),
        Err(error) => {
            return Err(Failure::new(
                "verify",
                path.display().to_string(),
                io::Error::from(error),
            ));
        }
    };
    let pairs = [
        (attr::RDONLY, libc::ST_RDONLY, "read-only"),
        (attr::NOSUID, libc::ST_NOSUID, "nosuid"),
        (attr::NODEV, libc::ST_NODEV, "nodev"),
        (attr::NOEXEC, libc::ST_NOEXEC, "noexec"),
    ];
    for (attribute, flag, name) in pairs {
        if wanted & attribute != 0 && found & flag == 0 {
            let cause = format!("it is not {name}");
            return Err(Failure::new("verify", path.display().to_string(), cause));
        }
    }
    Ok(true)
}
