//! The two processes of a sandbox without namespaces: init, which is not restricted and watches,
//! and the program's, which restricts itself and then becomes the program.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use caps::CapSet;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::place::Layout;
use super::user::User;
use super::{Census, pidfd_of, report};
use crate::launch::init::{self, Duties};
use crate::launch::notice::{self, Failure, Notice};
use crate::launch::request::{LaunchRequest, Program};
use crate::launch::rlimits::ResourceLimits;
use crate::launch::seccomp::{Alone, Filters, SeccompRequest};
use crate::launch::{Cgroup, Enforced, landlock};
use crate::launch::{connection, executor};
use crate::policy::{Grant, PermSet};
use crate::sys::{clone, memory, process, socket, terminal};

/// Landlock refuses TCP too where it can; the filter refuses every socket anyway.
const DENY_TCP: bool = true;

/// The Landlock ABI from which truncation is restricted.
const ABI_TRUNCATE: u32 = 3;

/// Everything init was born with.
pub(super) struct Birth<'a> {
    pub request: LaunchRequest,
    pub layout: Layout,
    pub user: User,
    pub rlimits: ResourceLimits,
    pub cgroup: Option<&'a Cgroup>,
    /// How many threads init lets the program have, when nothing else counts them.
    pub counted: Option<u64>,
    pub supervisor: Pid,
    pub notices: OwnedFd,
    /// The program's descriptors 0, 1 and 2.
    pub stdio: [Option<OwnedFd>; 3],
    pub enforced: Enforced,
}

type Never = std::convert::Infallible;

/// Lives init's life; returns never.
pub(super) fn live(mut birth: Birth<'_>) -> ! {
    let failure = match birth.run() {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    executor::give_up(&birth.notices, failure, 0)
}

fn step<E: ToString>(operation: &'static str, object: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(operation, object, cause)
}

impl Birth<'_> {
    fn run(&mut self) -> Result<Never, Failure> {
        die_with(self.supervisor)?;
        process::block_all_signals().map_err(step("block", "signals"))?;
        match socket::receive_record(self.notices.as_fd()) {
            Ok((record, _)) if record == b"go" => {}
            Ok(_) => return Err(step("wait for", "the supervisor")("it is gone")),
            Err(cause) => return Err(step("wait for", "the supervisor")(cause)),
        }
        if let Some(cgroup) = self.cgroup {
            cgroup.enter().map_err(step("enter", "the control group"))?;
        }
        // With the caller's rights, which another user need not have on the way there.
        let cwd = &self.request.program.cwd;
        rustix::process::chdir(cwd)
            .map_err(|c| Failure::new("enter", cwd.display().to_string(), io::Error::from(c)))?;
        rustix::process::umask(Mode::from_raw_mode(self.request.umask));
        let bounded = self.lose_privileges()?;
        memory::wipe_environment();
        process::set_not_dumpable().map_err(step("protect", "init's memory"))?;
        // The change of ids has cleared it.
        die_with(self.supervisor)?;
        self.verify()?;
        let unreachable = self.leave_out_what_cannot_be_reached();
        let mut enforced = std::mem::take(&mut self.enforced);
        report::after(&mut enforced, &self.request, bounded, &unreachable);
        executor::enough(self.request.require, &enforced)?;
        self.split(enforced)
    }

    /// Becomes the worker's user, without a capability and without a way to get one. Says whether
    /// the bounding set is empty too, which only a privileged process can see to.
    fn lose_privileges(&self) -> Result<bool, Failure> {
        let caps = |c: caps::errors::CapsError| Failure::new("drop", "capabilities", c);
        let bounded = caps::clear(None, CapSet::Bounding).is_ok();
        if self.user.own.is_some() {
            process::drop_groups().map_err(step("drop", "the supplementary groups"))?;
        }
        process::become_ids(self.user.uid, self.user.gid).map_err(step("become", "the user"))?;
        for set in [
            CapSet::Ambient,
            CapSet::Effective,
            CapSet::Inheritable,
            CapSet::Permitted,
        ] {
            caps::clear(None, set).map_err(caps)?;
        }
        rustix::thread::set_no_new_privs(true)
            .map_err(|c| step("set", "no_new_privs")(io::Error::from(c)))?;
        Ok(bounded)
    }

    /// Asks the kernel whether what was done holds.
    fn verify(&self) -> Result<(), Failure> {
        executor::verify_unprivileged(&[
            CapSet::Effective,
            CapSet::Permitted,
            CapSet::Inheritable,
            CapSet::Ambient,
        ])?;
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        if uid.as_raw() != self.user.uid
            || gid.as_raw() != self.user.gid
            || uid != rustix::process::geteuid()
            || gid != rustix::process::getegid()
        {
            let wrong = step::<&str>("verify", "the user id");
            return Err(wrong("it is not what it should be"));
        }
        Ok(())
    }

    /// A user of its own has its own rights: where they do not reach, a rule of Landlock could
    /// not be made and would grant nothing. Gives the paths.
    fn leave_out_what_cannot_be_reached(&mut self) -> Vec<String> {
        let mut unreachable = Vec::new();
        if self.user.own.is_some() {
            self.request.plan.landlock.retain(|Grant { path, .. }| {
                let opened =
                    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                let reached = !matches!(opened, Err(Errno::ACCESS));
                if !reached {
                    unreachable.push(path.display().to_string());
                }
                reached
            });
        }
        unreachable
    }

    /// Parts into init and the program's process.
    fn split(&self, enforced: Enforced) -> Result<Never, Failure> {
        let (to_init, from_init) = socket::record_pair().map_err(step("make", "init's socket"))?;
        let init = rustix::process::getpid();
        let program = match clone::fork().map_err(step("fork", "the program's process"))? {
            0 => self.become_program(init, &to_init),
            program => program,
        };
        drop(to_init);
        let pidfd = pidfd_of(program).map_err(step("hold", "the program's process"))?;
        let listener = executor::hear_restricted(&from_init)?;
        notice::send(
            self.notices.as_fd(),
            &Notice::Ready { enforced },
            &[pidfd.as_fd()],
        )
        .map_err(step("report to", "the supervisor"))?;
        let census = self.counted.map(Census::new);
        let duties = Duties {
            path: self.request.program.path.clone(),
            listener,
            census,
            broker: None,
        };
        init::live(&self.notices, &from_init, program, duties)
    }

    /// In the program's own process: nothing of ours is left but the last call.
    fn become_program(&self, init: Pid, to_init: &OwnedFd) -> ! {
        let failure = match self.restrict(init, to_init) {
            Err(failure) => failure,
            Ok(program) => executor::execute(&program),
        };
        executor::give_up(&self.notices, failure, executor::NOT_STARTED)
    }

    fn restrict(&self, init: Pid, to_init: &OwnedFd) -> Result<Program, Failure> {
        die_with(init)?;
        process::new_session().map_err(step("start", "a session"))?;
        executor::connect_stdio(&self.stdio)?;
        if rustix::termios::isatty(io::stdin()) {
            terminal::make_controlling(io::stdin().as_fd())
                .map_err(step("take", "the terminal"))?;
        }
        process::close_on_exec_from(3).map_err(step("mark", "descriptors"))?;
        let mut program = self.request.program.clone();
        self.connect(&mut program)?;
        self.rlimits.apply().map_err(step("limit", "resources"))?;
        let abi = self.request.features.landlock_abi;
        landlock::restrict(&self.request.plan.landlock, abi, DENY_TCP)
            .map_err(step("apply", "Landlock"))?;
        process::reset_signals().map_err(step("reset", "signals"))?;
        executor::filter(&self.filters()?, to_init, false)?;
        self.rlimits
            .apply_asked()
            .map_err(step("limit", "resources as the bundle asks"))?;
        Ok(program)
    }

    /// Connects to the supervisor for the worker, which may make no socket itself.
    fn connect(&self, program: &mut Program) -> Result<(), Failure> {
        let Some(asked) = &self.request.channel else {
            return Ok(());
        };
        let fail = step::<io::Error>("connect", "the channel");
        let stream = UnixStream::connect(self.layout.control()).map_err(&fail)?;
        connection::hand_over(&stream, &asked.socket, &mut program.args)
            .map(drop)
            .map_err(&fail)
    }

    fn filters(&self) -> Result<Filters, Failure> {
        let alone = Alone {
            pid: std::process::id(),
            count_threads: self.counted.is_some(),
            guard_truncation: self.request.features.landlock_abi < ABI_TRUNCATE,
        };
        let request = SeccompRequest {
            exec_once: true,
            // Memory that is no process's would be beside the limit of its address space.
            deny_memfd: true,
            network: false,
            interfaces: false,
            // Pairs of connected streams are left: one of datagrams could send to any socket of
            // the host, and nothing else here would keep it from that.
            unix: false,
            deny: self.request.plan.deny_syscalls.clone(),
            exec_at: None,
            kill: false,
            stacked: false,
            intercept: PermSet::NONE,
            alone: Some(alone),
        };
        Filters::compile(&request).map_err(step("compile", "the system call filter"))
    }
}

/// Has this process killed when `parent` ends, also if that was before now.
fn die_with(parent: Pid) -> Result<(), Failure> {
    let set = step("set", "the parent death signal");
    process::set_parent_death_signal(libc::SIGKILL).map_err(set)?;
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(step("set", "the parent death signal")("the parent is gone"))
    }
}
