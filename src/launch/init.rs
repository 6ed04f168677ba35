//! The first process of the sandbox: it reaps, answers exec notifications, forwards signals and
//! tells how the program ended. It ends with the supervisor, and everything inside ends with it.
//!
//! Its memory was the supervisor's before the clone, so it is not dumpable and shares nothing.
//! What it reads of the worker (a path) is copied, cut, recorded, and asked for only to tell a
//! program that is not there from one that may not run.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::RwLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::bare::Census;
use super::notice::{self, Notice, Order};
use super::receivers;
use crate::intercept::{Broker, Given, Quick, Word, answer, refuse};
use crate::sys::seccomp::{self, Answer, Notification};
use crate::sys::trace::{self, Stop};
use crate::sys::{clone, memory, process};

/// What init does beside reaping and passing on signals.
pub(super) struct Duties {
    /// Where the program is.
    pub path: PathBuf,
    /// The end of the filter at which calls are heard.
    pub listener: Option<OwnedFd>,
    /// Counts the threads of a worker without namespaces.
    pub census: Option<Census>,
    /// Answers the calls that are decided one by one.
    pub broker: Option<Broker>,
}

/// Lives init's life for the program `program`; returns never.
pub(super) fn live(notices: &OwnedFd, from_program: &OwnedFd, program: i32, duties: Duties) -> ! {
    let result = process::child_signals().and_then(|children| {
        if process::set_name(c"buntime-init").is_err() {
            clone::exit_now(1);
        }
        let mut kept: Vec<i32> = vec![
            notices.as_raw_fd(),
            children.as_raw_fd(),
            from_program.as_raw_fd(),
        ];
        kept.extend(duties.listener.as_ref().map(AsRawFd::as_raw_fd));
        if let Some(broker) = &duties.broker {
            kept.extend(broker.descriptors().map(|kept| kept.as_raw_fd()));
        }
        close_all_but(&kept)?;
        let listener = duties.listener.as_ref().map(AsFd::as_fd);
        if let Some(listener) = listener {
            // It saves time only, so a kernel that cannot is as good.
            seccomp::wake_in_place(listener);
        }
        let init = Init {
            notices: notices.as_fd(),
            listener,
            program,
            path: duties.path,
            started: false,
            census: duties.census,
            broker: duties.broker,
            passed_on: Vec::new(),
        };
        let sources = [notices.as_fd(), children.as_fd()];
        match listener.filter(|_| init.broker.is_some()) {
            Some(listener) => {
                let ends = receivers::Ends {
                    notices,
                    program: from_program,
                    listener,
                };
                receivers::with(init, ends, |init, kick| {
                    watch(init, &sources, Ear::Kick(kick))
                })
            }
            None => watch(
                &RwLock::new(init),
                &sources,
                listener.map_or(Ear::Deaf, Ear::Listener),
            ),
        }
    });
    clone::exit_now(i32::from(result.is_err()))
}

fn close_all_but(kept: &[i32]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 0;
    for descriptor in kept {
        process::close_range(first, descriptor - 1)?;
        first = descriptor + 1;
    }
    process::close_range(first, i32::MAX)
}

/// How often callers that may have left or been signalled are looked for, while a process waits for one.
const TENDING: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

pub(super) struct Init<'i> {
    notices: BorrowedFd<'i>,
    listener: Option<BorrowedFd<'i>>,
    program: i32,
    path: PathBuf,
    /// Whether the program's own execution has been heard of.
    started: bool,
    census: Option<Census>,
    broker: Option<Broker>,
    /// Executions that were heard by another thread: only the one that follows a thread can let it go.
    passed_on: Vec<Notification>,
}

/// By what init's main thread hears of calls.
#[derive(Clone, Copy)]
enum Ear<'i> {
    /// By the listener itself.
    Listener(BorrowedFd<'i>),
    /// By whoever hears them, when there is something for it.
    Kick(BorrowedFd<'i>),
    /// Nothing is held.
    Deaf,
}

/// Does what there is to do until the program has ended. The lock is let go only to wait.
fn watch(
    init: &RwLock<Init<'_>>,
    sources: &[BorrowedFd<'_>; 2],
    mut ear: Ear<'_>,
) -> io::Result<()> {
    let [notices, children] = *sources;
    let mut tends = false;
    loop {
        let heard = match ear {
            Ear::Listener(fd) | Ear::Kick(fd) => fd,
            Ear::Deaf => notices,
        };
        let input = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut polled = [input(notices), input(children), input(heard)];
        match poll(&mut polled, tends.then_some(&TENDING)) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let ready = polled.map(|polled| polled.revents());
        let mut init = receivers::write(init);
        match ear {
            Ear::Listener(listener) if ready[2].contains(PollFlags::IN) => {
                if let Some(call) = receivers::next(listener)? {
                    init.answer_call(&call)?;
                }
            }
            // No process has the filter any more.
            Ear::Listener(_) if !ready[2].is_empty() => ear = Ear::Deaf,
            Ear::Kick(kick) if !ready[2].is_empty() => {
                receivers::take_kick(kick)?;
                for call in std::mem::take(&mut init.passed_on) {
                    init.answer_call(&call)?;
                }
            }
            _ => {}
        }
        let init = &mut *init;
        if let (Some(broker), Some(listener), true) = (&mut init.broker, init.listener, tends) {
            broker.tend(listener)?;
        }
        if !ready[0].is_empty() && !init.obey()? {
            return Ok(());
        }
        if !ready[1].is_empty() && init.reap(children)? {
            return Ok(());
        }
        tends = init.is_busy();
    }
}

impl Init<'_> {
    fn is_busy(&self) -> bool {
        self.broker.as_ref().is_some_and(Broker::is_busy)
    }

    /// Who hands over what the broker gives, and for which permissions it decides.
    pub(super) fn broker(&self) -> Option<&Broker> {
        self.broker.as_ref()
    }

    /// Hears a call, and hands over what it gives.
    fn answer_call(&mut self, call: &Notification) -> io::Result<()> {
        match (self.hear_call(call, None)?, self.listener) {
            (Some(given), Some(listener)) => given.hand_over(listener),
            _ => Ok(()),
        }
    }

    /// Learns which threads are its own, once all of them are there.
    pub(super) fn know_own_threads(&mut self) -> io::Result<()> {
        let broker = self.broker.as_mut();
        broker.map_or(Ok(()), Broker::know_own_threads)
    }

    /// Answers a call at once, if it is one of the many for which that can be done.
    pub(super) fn quickly(&self, call: &Notification) -> Quick {
        let broker = self.broker.as_ref();
        broker.map_or(Quick::Long(None), |broker| broker.quickly(call))
    }

    /// Hears a call in a thread that only receives them. What it gives is to be handed over without
    /// the lock; what only the main thread can do is left to it.
    pub(super) fn receive_call(
        &mut self,
        call: &Notification,
        path: Option<Vec<u8>>,
    ) -> io::Result<Received> {
        if executes(call) {
            self.passed_on.push(*call);
            return Ok(Received {
                given: None,
                kicks: true,
            });
        }
        let was_busy = self.is_busy();
        let given = self.hear_call(call, path)?;
        let kicks = self.is_busy() && !was_busy;
        Ok(Received { given, kicks })
    }

    fn hear_call(
        &mut self,
        call: &Notification,
        path: Option<Vec<u8>>,
    ) -> io::Result<Option<Given>> {
        let Some(listener) = self.listener else {
            return Ok(None);
        };
        let executes = executes(call);
        match &mut self.broker {
            _ if executes && !self.started => {
                // The launch's own, made by a process with one thread whose memory is ours: to let
                // it go on is sound.
                self.started = true;
                let path = &self.path;
                let broker = self.broker.as_ref();
                match broker.map_or(Ok(()), |broker| broker.may_start(path)) {
                    Ok(()) => answer(listener, call.id, Answer::Continue),
                    Err(errno) => refuse(listener, call.id, errno),
                }?;
            }
            Some(broker) if !executes || broker.decides_executions() => {
                return broker.hear(listener, call, path, &mut tell(self.notices));
            }
            _ if executes => self.deny_execution(listener, call)?,
            _ => self.count_thread(listener, call)?,
        }
        Ok(None)
    }

    /// Without namespaces a thread that is to be made is counted. Nothing else is sent here, and what
    /// is not understood is not done.
    fn count_thread(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> io::Result<()> {
        let is_clone = i64::from(call.number) == libc::SYS_clone;
        let Some(census) = self.census.as_mut().filter(|_| is_clone) else {
            return refuse(listener, call.id, Errno::PERM);
        };
        let before = census.is_reached();
        let judged = census.judge(self.program, call.pid);
        answer(listener, call.id, judged)?;
        if census.is_reached() && !before {
            notice::send(self.notices, &Notice::PidsReached, &[])?;
        }
        Ok(())
    }

    /// Every execution but the launch's own is the worker's, and is refused.
    fn deny_execution(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> io::Result<()> {
        let at = i64::from(call.number) == libc::SYS_execveat;
        let pointer = call.arguments[usize::from(at)];
        let from_cwd = !at || call.arguments[0] as i32 == libc::AT_FDCWD;
        // A process that took over the number meanwhile is not the caller.
        let path = read_path(call.pid, pointer)
            .map(|path| {
                if from_cwd {
                    absolute(call.pid, path)
                } else {
                    path
                }
            })
            .filter(|_| seccomp::still_waits(listener, call.id))
            .unwrap_or_else(|| b"?".to_vec());
        let missing = is_missing(&path);
        let path = String::from_utf8_lossy(&path).into_owned();
        refuse(
            listener,
            call.id,
            if missing { Errno::NOENT } else { Errno::ACCESS },
        )?;
        let denied = Notice::ExecDenied {
            path,
            pid: call.pid,
            missing,
        };
        notice::send(self.notices, &denied, &[])
    }

    /// Returns false when the supervisor is gone.
    fn obey(&mut self) -> io::Result<bool> {
        match notice::receive_order(self.notices)? {
            None => return Ok(false),
            Some((Order::Signal { signal }, _)) => self.signal(signal)?,
            Some((Order::Reload { generation }, documents)) => {
                self.reload(generation, &documents)?;
            }
            Some((Order::Answer { number, permit }, _)) => {
                if let (Some(broker), Some(listener)) = (&mut self.broker, self.listener) {
                    let tell = &mut tell(self.notices);
                    let given = broker.answered(listener, number, permit, tell)?;
                    given.map_or(Ok(()), |given| given.hand_over(listener))?;
                }
            }
        }
        Ok(true)
    }

    /// Goes over to other rules, or keeps those that it has and says why. Which of them hold is said
    /// before the first call is decided by them.
    fn reload(&mut self, generation: u64, documents: &[OwnedFd]) -> io::Result<()> {
        let reloaded = match (&mut self.broker, self.listener) {
            (Some(broker), Some(listener)) => {
                notice::rules_of(documents).and_then(|rules| broker.reload(listener, rules))
            }
            _ => Err(io::Error::other("nothing is decided as it is made")),
        };
        let failed = reloaded.err().map(|error| error.to_string());
        let holds = failed.is_none();
        notice::send(self.notices, &Notice::Reloaded { generation, failed }, &[])?;
        match (&mut self.broker, self.listener) {
            (Some(broker), Some(listener)) if holds => {
                broker.look_again(listener, &mut tell(self.notices))
            }
            _ => Ok(()),
        }
    }

    /// The whole group first; a program that left it is reached by its pid.
    fn signal(&self, signal: i32) -> io::Result<()> {
        let group = process::kill(-self.program, signal);
        match group.or_else(|_| process::kill(self.program, signal)) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }

    /// A thread that is followed to its execution has stopped.
    fn hear_stop(&mut self, thread: i32, stop: Stop) -> io::Result<()> {
        let (Some(broker), Some(listener)) = (&mut self.broker, self.listener) else {
            return Ok(());
        };
        let Some(path) = broker.stopped(listener, thread.unsigned_abs(), stop)? else {
            return Ok(());
        };
        let denied = Notice::ExecDenied {
            path: path.to_string_lossy().into_owned(),
            pid: thread.unsigned_abs(),
            missing: false,
        };
        notice::send(self.notices, &denied, &[])
    }

    /// Reaps what ended; returns true when the program did.
    fn reap(&mut self, children: BorrowedFd<'_>) -> io::Result<bool> {
        let mut information = [0_u8; 128];
        match rustix::io::read(children, &mut information) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(reaped) = process::reap()? {
            if let Some(stop) = trace::stop_of(reaped.status) {
                self.hear_stop(reaped.pid, stop)?;
                continue;
            }
            if reaped.pid != self.program {
                if let (Some(broker), Some(listener)) = (&mut self.broker, self.listener) {
                    broker.reaped(listener, reaped.pid)?;
                }
                continue;
            }
            let usage = process::children_usage();
            let exit = Notice::Exit {
                code: libc::WIFEXITED(reaped.status).then(|| libc::WEXITSTATUS(reaped.status)),
                signal: libc::WIFSIGNALED(reaped.status).then(|| libc::WTERMSIG(reaped.status)),
                user_us: usage.user_us,
                system_us: usage.system_us,
                max_rss_kib: usage.max_rss_kib,
            };
            notice::send(self.notices, &exit, &[])?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// What hearing a call has come to.
pub(super) struct Received {
    /// What the caller is to be given.
    pub given: Option<Given>,
    /// Whether the main thread is to be woken.
    pub kicks: bool,
}

fn executes(call: &Notification) -> bool {
    [libc::SYS_execve, libc::SYS_execveat].contains(&i64::from(call.number))
}

/// Hands the broker's words to the supervisor.
fn tell(notices: BorrowedFd<'_>) -> impl FnMut(Word) -> io::Result<()> {
    move |word| {
        let notice = match word {
            Word::Question(question) => Notice::Question(question),
            Word::Outcome(outcome) => Notice::Outcome(outcome),
        };
        notice::send(notices, &notice, &[])
    }
}

/// Whether nothing is there. A search along `PATH` goes by that, and so do programs that can do
/// without another one. Nothing runs either way, so a path that changes meanwhile gains nothing.
/// Only the root itself is looked at, which is in memory: on what is mounted below it init would
/// wait for somebody's file system, or be asked of its own /proc.
fn is_missing(path: &[u8]) -> bool {
    if path.len() >= LONGEST_PATH || !path.starts_with(b"/") {
        return false;
    }
    let found = rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    );
    matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
}

/// A relative path with the caller's directory before it, which it may have left meanwhile.
fn absolute(pid: u32, path: Vec<u8>) -> Vec<u8> {
    if path.is_empty() || path.starts_with(b"/") {
        return path;
    }
    match rustix::fs::readlink(format!("/proc/{pid}/cwd"), Vec::new()) {
        Ok(directory) => [directory.as_bytes(), b"/", &path].concat(),
        Err(_) => path,
    }
}

/// Bytes of a path that are looked at; a longer one is recorded cut.
const LONGEST_PATH: usize = 512;

/// The path as it stands there now, for the record only.
fn read_path(pid: u32, pointer: u64) -> Option<Vec<u8>> {
    memory::read_text(pid, pointer, LONGEST_PATH).ok()
}
