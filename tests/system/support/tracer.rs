//! Runs that are killed at an exact point: ptrace(2) stops every process of a start before and
//! after each of its system calls, and the victim gets SIGKILL at the stop that was asked for.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::descendants::{Descendants, Ending, GIVEN_UP};
use super::{PATH, PATIENCE};

/// Whose stops are counted, each at the beginning and at the end of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The supervisor's own, from its first instruction until the program runs and it waits.
    Supervisor,
    /// The supervisor's own from the program's first instruction to its own end.
    SupervisorAtTheEnd,
    /// Those of the processes that it makes, until one of them has become the program.
    Sandbox,
}

/// Who is killed at the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process that the person started.
    Supervisor,
    /// Its child: the sandbox's first process, later its init.
    First,
}

/// What is started each time.
#[derive(Debug, Clone)]
pub struct Start {
    /// A command that makes the conditions and then becomes the command it is given; may be empty.
    pub within: Vec<String>,
    /// Buntime.
    pub binary: String,
    /// The home and the working directory, where they are not the test's own.
    pub home: Option<String>,
    /// The Python that the worker runs.
    pub code: String,
}

/// What a kill came to.
pub struct Killed {
    /// When everything had ended.
    pub ending: Ending,
    /// Whether the kernel ended the sandbox's first process at once with the supervisor; `None`
    /// when that was not to be seen, because the process did not exist or ran.
    pub at_once: Option<bool>,
    /// The supervisor's exit status, where it was not killed.
    pub status: Option<i32>,
}

/// Counts the stops of `whose` in one run of `start`, and ends it. It differs by a few from run
/// to run.
pub fn stops(whose: Whose, start: &Start) -> usize {
    let mut traced = Traced::start(whose, start);
    traced.run_to(usize::MAX);
    let stops = traced.counted;
    traced.kill(Victim::Supervisor);
    stops
}

/// Makes `start` and kills `victim` at stop `index` of `whose`, counted from 1. `None` when the
/// run was over before: then it is ended all the same.
///
/// Nothing of the run is alive afterwards; what does not end is a failure.
pub fn kill_at(victim: Victim, whose: Whose, index: usize, start: &Start) -> Option<Killed> {
    let mut traced = Traced::start(whose, start);
    let reached = traced.run_to(index);
    let killed = traced.kill(victim);
    reached.then_some(killed)
}

struct Traced {
    whose: Whose,
    supervisor: Pid,
    /// The supervisor's only child.
    first: Option<Pid>,
    /// The program runs: an exec by a process of the sandbox has gone well.
    program_runs: bool,
    counted: usize,
    /// Who stands at a stop and has not been let go.
    held: Vec<Pid>,
    /// The supervisor's standard input stays open, as a person's would.
    child: Child,
    /// The supervisor's exit status.
    status: Option<i32>,
    ended: bool,
    /// There is nothing to count any more.
    over: bool,
    descendants: Descendants,
}

impl Traced {
    fn start(whose: Whose, start: &Start) -> Traced {
        let descendants = Descendants::adopt();
        // The shell waits for a line, so that it is traced before it becomes the supervisor; and
        // it says when it is there, so that nothing that comes before it is.
        let shell = "echo && read -r line && exec \"$0\" \"$@\" >/dev/null";
        let line = start.within.iter().map(String::as_str);
        let mut line = line.chain(["sh", "-c", shell, &start.binary, "run", "-c", &start.code]);
        let mut command = Command::new(line.next().expect("the line has a shell"));
        if let Some(home) = &start.home {
            command.env("HOME", home).current_dir(home);
        }
        let mut child = command
            .args(line)
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let mut stdout = child.stdout.take().expect("stdout was piped");
        stdout.read_exact(&mut [0]).expect("the shell says so");
        let supervisor = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(supervisor, options).expect("a child can be traced");
        let stdin = child.stdin.as_mut().expect("stdin was piped");
        stdin.write_all(b"\n").expect("the shell reads");
        Traced {
            whose,
            supervisor,
            first: None,
            program_runs: false,
            counted: 0,
            held: Vec::new(),
            child,
            status: None,
            ended: false,
            over: false,
            descendants,
        }
    }

    /// Runs until stop `index`, and leaves whoever made it there. False when the run was over.
    fn run_to(&mut self, index: usize) -> bool {
        let mut begun = false;
        let mut quiet = Instant::now();
        while !self.ended {
            let Some(status) = changed() else {
                let silence = quiet.elapsed();
                let waits = self.program_runs && self.whose != Whose::SupervisorAtTheEnd;
                if waits && silence > Duration::from_millis(300) {
                    return false;
                }
                assert!(silence < PATIENCE, "the run stands still");
                pause(silence);
                continue;
            };
            quiet = Instant::now();
            match status {
                WaitStatus::PtraceEvent(pid, _, event)
                    if event == Event::PTRACE_EVENT_EXEC as i32 =>
                {
                    if pid == self.supervisor {
                        begun = true;
                        self.go_on(pid, None);
                        continue;
                    }
                    // The program makes calls of its own; the start is over.
                    self.program_runs = true;
                    ptrace::detach(pid, None).expect("a stopped process is let go");
                    if self.whose == Whose::Sandbox {
                        return false;
                    }
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.counted += usize::from(begun && self.counts(pid));
                    if begun && self.counts(pid) && self.counted == index {
                        self.held.push(pid);
                        return true;
                    }
                    self.go_on(pid, None);
                }
                other => self.take(other),
            }
        }
        false
    }

    fn counts(&self, pid: Pid) -> bool {
        match self.whose {
            Whose::Supervisor => pid == self.supervisor,
            Whose::SupervisorAtTheEnd => pid == self.supervisor && self.program_runs,
            Whose::Sandbox => pid != self.supervisor,
        }
    }

    /// What is the same before the kill and after it.
    fn take(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceEvent(pid, _, event) => {
                let birth = [
                    Event::PTRACE_EVENT_CLONE as i32,
                    Event::PTRACE_EVENT_FORK as i32,
                    Event::PTRACE_EVENT_VFORK as i32,
                ];
                if pid == self.supervisor && birth.contains(&event) {
                    // A process that is gone by now was killed with the one that made it.
                    let born = ptrace::getevent(pid).ok();
                    self.first = born.map(|born| Pid::from_raw(born as i32)).or(self.first);
                }
                self.go_on(pid, None);
            }
            WaitStatus::PtraceSyscall(pid) => self.go_on(pid, None),
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal)),
            WaitStatus::Exited(pid, status) if pid == self.supervisor => {
                (self.ended, self.status) = (true, Some(status));
            }
            WaitStatus::Signaled(pid, ..) if pid == self.supervisor => self.ended = true,
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
            other => panic!("an unexpected change: {other:?}"),
        }
    }

    /// Kills, and waits until nothing of the run is alive.
    fn kill(mut self, victim: Victim) -> Killed {
        let target = match victim {
            Victim::Supervisor => Some(self.supervisor),
            Victim::First => self.first,
        };
        self.over = true;
        let began = Instant::now();
        if !self.ended {
            let target = target.expect("the victim has been born");
            match kill(target, Signal::SIGKILL) {
                Ok(()) => {}
                // The first process may have ended by itself, and been reaped.
                Err(Errno::ESRCH) if victim == Victim::First => {}
                Err(error) => panic!("killing {target}: {error}"),
            }
        }
        let at_once = (victim == Victim::Supervisor).then(|| self.ends_at_once());
        // A child that does not know yet that the supervisor is dead goes on from where it was.
        for held in std::mem::take(&mut self.held) {
            self.go_on(held, None);
        }
        let mut alive = Duration::ZERO;
        loop {
            let looked = began.elapsed();
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            match waitpid(None, Some(flags)) {
                // Orphans are ours, so that nothing of the run is left when we have no child.
                Err(Errno::ECHILD) => break,
                Err(error) => panic!("waiting for what was killed: {error}"),
                Ok(WaitStatus::StillAlive) => {
                    alive = looked;
                    assert!(
                        looked < GIVEN_UP,
                        "something lives on: {:?}",
                        self.descendants.described()
                    );
                    pause(looked);
                }
                Ok(status) => self.take(status),
            }
        }
        drop(self.child.stdin.take());
        Killed {
            ending: Ending {
                alive,
                gone: began.elapsed(),
            },
            at_once: at_once.flatten(),
            status: self.status,
        }
    }

    /// Whether the first process, held at a stop, has been ended with the supervisor. The kernel
    /// signals it before the supervisor can be reaped, so that it is known then.
    fn ends_at_once(&mut self) -> Option<bool> {
        while !self.ended {
            match waitpid(self.supervisor, Some(WaitPidFlag::__WALL)) {
                Ok(status) => self.take(status),
                Err(error) => panic!("waiting for the killed supervisor: {error}"),
            }
        }
        let first = self.first.filter(|first| self.held.contains(first))?;
        let stat = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
        // proc(5): t is a stop for a tracer, which only SIGKILL ends.
        Some(
            !stat
                .rsplit(')')
                .next()
                .unwrap_or("")
                .trim()
                .starts_with('t'),
        )
    }

    /// Lets a stopped process go on, to its next stop if its stops are counted. One that was
    /// killed meanwhile has none.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        let stops = (pid == self.supervisor) == (self.whose != Whose::Sandbox);
        let resumed = if stops && !self.over {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        };
        match resumed {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("resuming {pid}: {error}"),
        }
    }
}

/// A change of any process of ours, if there is one.
fn changed() -> Option<WaitStatus> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    match waitpid(None, Some(flags)).expect("the supervisor is still there") {
        WaitStatus::StillAlive => None,
        status => Some(status),
    }
}

/// A stop comes within microseconds as a rule; then this thread only makes room for others.
fn pause(silence: Duration) {
    if silence < Duration::from_micros(500) {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(100));
    }
}
