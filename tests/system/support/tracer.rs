//! Runs that are killed at an exact point: ptrace(2) stops every process of a start before and
//! after each of its system calls, and the supervisor gets SIGKILL at the stop that was asked for.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{PATIENCE, binary};

/// Whose stops are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The supervisor's own, from its first instruction on.
    Supervisor,
    /// Those of the processes that it makes, until one of them has become the program.
    Sandbox,
}

/// Starts `code` and kills its supervisor at stop `index` of `whose`, counted from 1. False when
/// the start was over before: the program runs, and the supervisor waits for something to happen.
///
/// Reaps every process that was traced. One that does not end is a failure.
pub fn kill_supervisor_at(whose: Whose, index: usize, code: &str) -> bool {
    let mut traced = Traced::start(code);
    let reached = traced.run_to(whose, index);
    traced.kill();
    reached
}

struct Traced {
    supervisor: Pid,
    /// The supervisor's standard input stays open, as a person's would.
    child: std::process::Child,
    /// Who stands at the stop that was asked for.
    held: Option<Pid>,
}

impl Traced {
    fn start(code: &str) -> Traced {
        // The shell waits for a line, so that it is traced before it becomes the supervisor.
        let mut child = Command::new("sh")
            .args(["-c", "read -r line && exec \"$0\" \"$@\""])
            .arg(binary())
            .args(["run", "-c", code])
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let supervisor = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(supervisor, options).expect("a child can be traced");
        let input = child.stdin.as_mut().expect("stdin was piped");
        input.write_all(b"\n").expect("the shell reads");
        Traced {
            supervisor,
            child,
            held: None,
        }
    }

    /// Runs until stop `index` of `whose`, and leaves it there.
    fn run_to(&mut self, whose: Whose, index: usize) -> bool {
        let (mut counted, mut begun, mut program_runs) = (0, false, false);
        let mut quiet = Instant::now();
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            let status = waitpid(None, Some(flags)).expect("the supervisor is still there");
            if status == WaitStatus::StillAlive {
                let silence = quiet.elapsed();
                if program_runs && silence > Duration::from_millis(300) {
                    return false;
                }
                assert!(silence < PATIENCE, "the start stands still");
                std::thread::sleep(Duration::from_micros(20));
                continue;
            }
            quiet = Instant::now();
            match status {
                WaitStatus::PtraceEvent(pid, _, event)
                    if event == Event::PTRACE_EVENT_EXEC as i32 =>
                {
                    if pid == self.supervisor {
                        begun = true;
                        resume(pid, None);
                    } else {
                        // The program makes calls of its own; the start is over.
                        program_runs = true;
                        ptrace::detach(pid, None).expect("a stopped process is let go");
                        if whose == Whose::Sandbox {
                            return false;
                        }
                    }
                }
                WaitStatus::PtraceSyscall(pid) => {
                    let mine = (pid == self.supervisor) == (whose == Whose::Supervisor);
                    counted += usize::from(mine && begun);
                    if mine && counted == index {
                        self.held = Some(pid);
                        return true;
                    }
                    resume(pid, None);
                }
                WaitStatus::PtraceEvent(pid, ..) => resume(pid, None),
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                    assert_ne!(pid, self.supervisor, "the run ended by itself: {status:?}");
                }
                other => panic!("an unexpected stop: {other:?}"),
            }
        }
    }

    /// Kills the supervisor and reaps all that was traced, which has nobody else to end it.
    fn kill(mut self) {
        kill(self.supervisor, Signal::SIGKILL).expect("the supervisor is there to be killed");
        let end = Instant::now() + PATIENCE;
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            match waitpid(None, Some(flags)) {
                Err(Errno::ECHILD) => break,
                Err(error) => panic!("waiting for what was killed: {error}"),
                Ok(WaitStatus::StillAlive) => {
                    assert!(
                        Instant::now() < end,
                        "something that was traced lives on: {:?}",
                        traced_processes()
                    );
                    std::thread::sleep(Duration::from_micros(100));
                }
                Ok(WaitStatus::PtraceSyscall(pid) | WaitStatus::PtraceEvent(pid, ..)) => {
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => resume(pid, Some(signal)),
                // The supervisor is dead; a child that does not know yet goes on from where it was.
                Ok(WaitStatus::Signaled(pid, ..)) if pid == self.supervisor => {
                    self.held
                        .take()
                        .into_iter()
                        .for_each(|held| resume(held, None));
                }
                Ok(_) => {}
            }
        }
        drop(self.child.stdin.take());
    }
}

/// Lets a stopped process go on to its next stop. One that was killed meanwhile has none.
fn resume(pid: Pid, signal: Option<Signal>) {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("resuming {pid}: {error}"),
    }
}

/// What is known of the processes that are traced, for a failure's text.
fn traced_processes() -> Vec<String> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        let of = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let status = of("status");
        let is_traced = !status.contains("TracerPid:\t0\n") && !status.is_empty();
        let lines: Vec<&str> = status.lines().take(9).collect();
        is_traced.then(|| format!("{} in {} {}", lines.join(", "), of("wchan"), of("syscall")))
    };
    folders.filter_map(read).collect()
}
