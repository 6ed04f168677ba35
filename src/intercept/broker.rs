//! The broker: it hears calls, makes those that may be made, and keeps those that wait for a word
//! of the supervisor.

mod reload;

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;

use super::act::{Act, Done, Looking, Prepared, Task};
use super::calls::{self, Call};
use super::exec::{self, Execution, Executions, Seen};
use super::need::{Id, Judge, Known, Need};
use super::outcome::{self, Outcome};
use super::question::Question;
use super::quick::{self, Quick};
use super::reply::{Given, Handed, answer, refuse};
use super::view::{Caller, Target, View};
use super::waiter::Waiter;
use crate::policy::{Intercept, Perm, PermSet, Policy};
use crate::sys::names;
use crate::sys::seccomp::{self, Answer, Notification};
use crate::sys::trace::Stop;

/// How often a call is looked at anew when something came between.
const TRIES: usize = 16;

/// What the supervisor is told.
#[derive(Debug)]
pub enum Word {
    /// It is to answer.
    Question(Question),
    /// It is to know: nothing is answered before it has been told.
    Outcome(Outcome),
}

/// Tells the supervisor.
pub type Tell<'a> = &'a mut dyn FnMut(Word) -> io::Result<()>;

/// See the module.
#[derive(Debug)]
pub struct Broker {
    view: View,
    judge: Judge,
    waiting: HashMap<u64, Waiting>,
    asked: u64,
    waiters: Vec<Waiter>,
    executions: Executions,
    /// Executions that may go on when no other thread of their process is followed.
    queued: Vec<Queued>,
    perms: PermSet,
}

/// An execution that may go on, but not yet.
#[derive(Debug)]
struct Queued {
    id: u64,
    caller: Caller,
    execution: Execution,
}

/// A call that waits for the supervisor.
struct Waiting {
    id: u64,
    caller: Caller,
    call: Call,
    /// What the call needs and not everybody may.
    needs: Vec<Need>,
    /// What is to be asked after this.
    next: Vec<Need>,
    act: Act,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Waiting")
            .field("id", &self.id)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// Names of files with several, by device and inode.
fn known(linked: &[PathBuf]) -> io::Result<HashMap<Id, Vec<Known>>> {
    let mut known: HashMap<Id, Vec<Known>> = HashMap::new();
    for path in linked {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => file,
            // It has gone meanwhile, and what comes there is judged by its name.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            continue;
        }
        let of_file = known.entry((stat.st_dev, stat.st_ino)).or_default();
        of_file.push(Known {
            name: path.clone(),
            born: names::birth(&file),
        });
    }
    Ok(known)
}

/// Lets the call fail, so that nothing is given.
fn refused(listener: BorrowedFd<'_>, id: u64, errno: Errno) -> io::Result<Option<Given>> {
    refuse(listener, id, errno).map(|()| None)
}

impl Broker {
    /// Takes up its work in the worker's root: from here on paths mean what they mean to the worker.
    /// The files that `intercept` names as linked are known under every name that they have.
    ///
    /// # Errors
    /// What the kernel says of /proc or of a linked file.
    pub fn open(policy: Policy, intercept: &Intercept) -> io::Result<Broker> {
        Ok(Broker {
            view: View::open()?,
            judge: Judge::new(
                policy,
                known(&intercept.linked)?,
                exec::loaders(&intercept.loaders),
            ),
            waiting: HashMap::new(),
            asked: 0,
            waiters: Vec::new(),
            executions: Executions::default(),
            queued: Vec::new(),
            perms: intercept.perms,
        })
    }

    /// Whether it decides about executions too.
    #[must_use]
    pub fn decides_executions(&self) -> bool {
        self.perms.contains(Perm::Execute)
    }

    /// The permissions that it decides about.
    #[must_use]
    pub fn perms(&self) -> PermSet {
        self.perms
    }

    /// Whether the program that was chosen on the command line may start: what denies it by its digest
    /// is not overruled by that. Nobody else is there yet to put another program in its place.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn may_start(&self, program: &Path) -> Result<(), Errno> {
        if !self.decides_executions() {
            return Ok(());
        }
        let caller = Caller {
            tid: std::process::id(),
        };
        let target = Target {
            base: None,
            path: program.as_os_str().as_bytes().to_vec(),
        };
        let (needs, _) = exec::look(&self.view, &self.judge, caller, &target, true)?;
        match needs.iter().any(|need| self.judge.denies_start(need)) {
            true => Err(Errno::ACCESS),
            false => Ok(()),
        }
    }

    /// Learns which threads of this process /proc shows, once all of them are there: they are hidden
    /// from the worker as the process is.
    ///
    /// # Errors
    /// What the kernel says of /proc.
    pub fn know_own_threads(&mut self) -> io::Result<()> {
        self.view.know_own_threads()
    }

    /// Who hands over what it gives.
    #[must_use]
    pub fn handed(&self) -> Handed {
        self.view.handed.clone()
    }

    /// The descriptors that it keeps.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        self.view.descriptors()
    }

    /// Answers a call at once where that is plain, which changes nothing here. It may be done in several
    /// threads at a time, but not while another call is looked at.
    #[must_use]
    pub fn quickly(&self, notification: &Notification) -> Quick {
        quick::open(&self.view, &self.judge, notification)
    }

    /// Answers a call that cannot be answered at once, or keeps it until the supervisor has said what it
    /// is asked by `tell`. What is given is the answer, which is to be handed over. `path` is that of the
    /// call, where it is copied already.
    ///
    /// # Errors
    /// The listener fails. A caller that is gone is none.
    pub fn hear(
        &mut self,
        listener: BorrowedFd<'_>,
        notification: &Notification,
        path: Option<Vec<u8>>,
        tell: Tell<'_>,
    ) -> io::Result<Option<Given>> {
        let id = notification.id;
        let caller = Caller {
            tid: notification.pid,
        };
        match calls::copied(&self.view, notification, path) {
            // A process that took over the number meanwhile is not the caller.
            Ok(_) if !seccomp::still_waits(listener, id) => Ok(None),
            Ok(call) => self.look(listener, (id, caller), call, tell),
            Err(errno) => refused(listener, id, errno),
        }
    }

    /// Goes on with the call about which `number` was asked. A number of no call is passed over.
    ///
    /// # Errors
    /// As [`Broker::hear`].
    pub fn answered(
        &mut self,
        listener: BorrowedFd<'_>,
        number: u64,
        permit: bool,
        tell: Tell<'_>,
    ) -> io::Result<Option<Given>> {
        let Some(waiting) = self.waiting.remove(&number) else {
            return Ok(None);
        };
        if !permit {
            return refused(listener, waiting.id, Errno::ACCESS);
        }
        if !waiting.next.is_empty() {
            return self.wait(listener, waiting, tell);
        }
        if !seccomp::still_waits(listener, waiting.id) {
            return Ok(None);
        }
        let Waiting {
            id,
            caller,
            call,
            needs,
            act,
            ..
        } = waiting;
        match act(&self.view, caller) {
            Ok(Done::Again) => self.look(listener, (id, caller), call, tell),
            done => {
                if self.judge.learns() {
                    let outcomes = outcome::of(&self.view, caller, &call, &needs, &done);
                    for outcome in outcomes {
                        tell(Word::Outcome(outcome))?;
                    }
                }
                self.reply(listener, (id, caller), done)
            }
        }
    }

    fn look(
        &mut self,
        listener: BorrowedFd<'_>,
        (id, caller): (u64, Caller),
        call: Call,
        tell: Tell<'_>,
    ) -> io::Result<Option<Given>> {
        for waiter in &self.waiters {
            waiter.settle(listener)?;
        }
        for _ in 0..TRIES {
            let looking = Looking {
                view: &self.view,
                judge: &self.judge,
                caller,
            };
            let Prepared { needs, act } = match looking.prepare(&call) {
                Ok(prepared) => prepared,
                Err(errno) => {
                    if self.judge.learns()
                        && let Some(outcome) = outcome::of_nothing(&self.view, &call, errno)
                    {
                        tell(Word::Outcome(outcome))?;
                    }
                    return refused(listener, id, errno);
                }
            };
            let next = self.judge.open_questions(needs);
            if !next.is_empty() {
                let waiting = Waiting {
                    id,
                    caller,
                    call,
                    needs: next.clone(),
                    next,
                    act,
                };
                return self.wait(listener, waiting, tell);
            }
            match act(&self.view, caller) {
                Ok(Done::Again) => {}
                done => return self.reply(listener, (id, caller), done),
            }
        }
        // Somebody changes the place all the time.
        refused(listener, id, Errno::AGAIN)
    }

    fn wait(
        &mut self,
        listener: BorrowedFd<'_>,
        mut waiting: Waiting,
        tell: Tell<'_>,
    ) -> io::Result<Option<Given>> {
        let Some(need) = waiting.next.pop() else {
            return refused(listener, waiting.id, Errno::ACCESS);
        };
        self.asked += 1;
        let pid = self.view.process_of(waiting.caller);
        let question = Question {
            number: self.asked,
            pid: pid.unwrap_or(waiting.caller.tid),
            asked: need.question(),
        };
        match tell(Word::Question(question)) {
            Ok(()) => {
                self.waiting.insert(self.asked, waiting);
                Ok(None)
            }
            // What cannot be recorded or asked is not done.
            Err(_) => refused(listener, waiting.id, Errno::ACCESS),
        }
    }

    fn reply(
        &mut self,
        listener: BorrowedFd<'_>,
        (id, caller): (u64, Caller),
        done: Result<Done, Errno>,
    ) -> io::Result<Option<Given>> {
        match done {
            Ok(Done::Descriptor(descriptor, close_on_exec)) => {
                return Ok(Some(Given::of(id, (descriptor, close_on_exec))?));
            }
            Ok(Done::Execute(execution)) => self.execute(listener, (id, caller), execution),
            Ok(Done::Value(value)) => answer(listener, id, Answer::Value(value)),
            Ok(Done::Wait(task)) => self.wait_elsewhere(listener, (id, caller), (task, true, None)),
            Ok(Done::Send(task, begun)) => {
                self.wait_elsewhere(listener, (id, caller), (task, false, begun))
            }
            Ok(Done::Again) => refuse(listener, id, Errno::AGAIN),
            Err(errno) => refuse(listener, id, errno),
        }?;
        Ok(None)
    }

    /// Lets an execution go on, which is looked at again when it has happened.
    fn execute(
        &mut self,
        listener: BorrowedFd<'_>,
        (id, caller): (u64, Caller),
        execution: Execution,
    ) -> io::Result<()> {
        let process = match self.view.process_of(caller) {
            Ok(process) => process,
            Err(errno) => return refuse(listener, id, errno),
        };
        if self.executions.has_another(&self.view, caller, process) {
            self.queued.push(Queued {
                id,
                caller,
                execution,
            });
            return Ok(());
        }
        if let Err(errno) = self
            .executions
            .follow(&self.view, (caller, process), execution)
        {
            return refuse(listener, id, errno);
        }
        self.view.handed.wait_for_all();
        // Followed is whoever has the number now: if that is not the caller, it is let go again.
        if seccomp::still_waits(listener, id) {
            answer(listener, id, Answer::Continue)?;
        }
        self.executions.expect(caller)
    }

    /// Lets go on what waited for another thread of its process.
    fn go_on(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        for queued in std::mem::take(&mut self.queued) {
            let Queued {
                id,
                caller,
                execution,
            } = queued;
            if seccomp::still_waits(listener, id) {
                self.execute(listener, (id, caller), execution)?;
            }
        }
        Ok(())
    }

    /// Hears that a thread has stopped. Gives the program that was executed and must not have been,
    /// which is killed.
    ///
    /// # Errors
    /// It cannot be gone on with.
    pub fn stopped(
        &mut self,
        listener: BorrowedFd<'_>,
        thread: u32,
        stop: Stop,
    ) -> io::Result<Option<PathBuf>> {
        let seen = self.executions.stopped(&self.view, thread, stop)?;
        self.go_on(listener)?;
        match seen {
            Seen::Nothing => Ok(None),
            Seen::Another(path) => Ok(Some(path)),
        }
    }

    /// Makes a call in a process of its own, which may wait for ever.
    fn wait_elsewhere(
        &mut self,
        listener: BorrowedFd<'_>,
        (id, caller): (u64, Caller),
        call: (Task, bool, Option<i64>),
    ) -> io::Result<()> {
        let begun = call.2;
        match (
            Waiter::start(&self.view, listener, (id, caller), call),
            begun,
        ) {
            (Ok(waiter), _) => {
                self.waiters.push(waiter);
                Ok(())
            }
            (Err(_), Some(begun)) => answer(listener, id, Answer::Value(begun)),
            (Err(_), None) => refuse(listener, id, Errno::NOMEM),
        }
    }

    /// Whether something waits that tells nobody when it is over, so that [`Broker::tend`] is to be called
    /// now and then.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.waiters.is_empty() || !self.queued.is_empty()
    }

    /// Ends what waits for callers that are gone, or that have a signal to be delivered; and lets go on
    /// what waited for a thread that has ended.
    ///
    /// # Errors
    /// As [`Broker::hear`].
    pub fn tend(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.go_on(listener)?;
        let mut waiters = self.waiters.iter();
        waiters.try_for_each(|waiter| waiter.tend(&self.view, listener))
    }

    /// Hears that the process `process` has ended. One of its own that was ended before it answered
    /// leaves nobody waiting.
    ///
    /// # Errors
    /// As [`Broker::hear`].
    pub fn reaped(&mut self, listener: BorrowedFd<'_>, process: i32) -> io::Result<()> {
        self.executions.ended(process as u32);
        self.go_on(listener)?;
        let mut found = self.waiters.iter();
        let Some(at) = found.position(|waiter| waiter.process == process) else {
            return Ok(());
        };
        let waiter = self.waiters.swap_remove(at);
        waiter.answer_for(listener)
    }
}
