//! The life of one session: one loop that waits for whatever happens next.
//!
//! Every branch is safe to drop half-way, so nothing is lost when another one is
//! faster. Timers are a branch like all others and nothing here blocks, so that
//! the wall limit holds whatever the program or the caller's descriptors do.

mod fate;
mod finish;
mod leaving;
mod next;
mod orders;
mod questions;
mod reload;
mod said;

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::fate::Fate;
use self::next::{at, next_call, next_command, next_leaving, next_lost, next_message, next_signal};
use self::reload::Reloads;
use super::ask::{Desk, Reply};
use super::copies::{Copies, CopyEnd};
use super::error::RunError;
use super::gate::{Gate, Ruling, told};
use super::learner::Learner;
use super::masks::{Listening, Lost, MaskWatch};
use super::outcome::{self, Cause, Outcome, ProgramEnd};
use super::plane;
use super::reload::Call;
use super::remark::{Audience, Remark, SessionEvent, State, Stream};
use super::sandbox::{Sandbox, Used};
use super::signals::{Incoming, Signals, stop_ourselves};
use super::start::{Begun, Started};
use super::stdio::{OutputBudget, OutputEnd};
use super::terminal::{RawTerminal, copy_window};
use crate::approval::Answer;
use crate::audit::{Answer as Told, Event, LogError, Reload};
use crate::egress::{Heard, Plane};
use crate::ipc::{Channel, ChannelError, Message};
use crate::launch::{FailureKind, Notice};

/// How long a program may take to end after a SIGTERM or SIGHUP, as docker-stop(1)
/// and systemd do with longer times.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker may take until it says READY.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long killed programs' last output may take to be handed on.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long killed processes may take to end. Those that wait for a file system which does not
/// answer do not end at all, and must not keep the caller.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long init may live on after it has reported the program's end.
const INIT_LIMIT: Duration = Duration::from_secs(2);

/// What a library session's owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Run a piece of code.
    Code(Vec<u8>),
    /// Answer the question of this number.
    Answer(u64, Answer),
    /// End the session.
    Stop,
}

/// The worker's side of a session that has one.
pub(super) struct Worker {
    pub channel: Channel,
    /// Whether it serves a library session: its output may come through the ring, and the
    /// session is over when it closes the channel. Otherwise it has its descriptors, and a
    /// program that may go on without it.
    pub of_session: bool,
}

/// The caller's terminal and the program's.
pub(super) struct Interactive {
    /// `None` when the caller's input is no terminal.
    pub raw: Option<RawTerminal>,
    /// Where the window size is read.
    pub caller: OwnedFd,
    /// The program's terminal, our side.
    pub program: OwnedFd,
}

/// Everything that one session's loop needs.
pub(super) struct Drive {
    pub sandbox: Sandbox,
    pub gate: Gate,
    /// What the run is learned into.
    pub learner: Option<Learner>,
    /// What is asked, and whom.
    pub desk: Desk,
    pub worker: Option<Worker>,
    /// The masks that the host could take away.
    pub masks: Option<Listening>,
    /// What carries the sandbox's connections.
    pub plane: Option<Plane>,
    /// Where another policy can be asked for.
    pub reloads: Option<Reloads>,
    pub audience: Audience,
    pub copies: Copies,
    pub budget: OutputBudget,
    pub signals: Option<Signals>,
    pub commands: Option<mpsc::Receiver<Command>>,
    pub interactive: Option<Interactive>,
    /// When the wall limit is reached.
    pub wall: Option<Instant>,
    pub state: watch::Sender<State>,
    fate: Fate,
}

/// The supervisor's ends of the program's streams, to be connected with somebody.
pub(super) struct Ends {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub terminal: Option<OwnedFd>,
}

impl Drive {
    /// Takes over a launched sandbox, for `audience`. Inside the runtime. Signals that were held
    /// back over the launch come through from here on.
    pub(super) fn over(
        begun: Begun,
        mut audience: Audience,
        state: watch::Sender<State>,
    ) -> Result<(Drive, Ends), RunError> {
        let Begun {
            mut gate,
            learner,
            started,
            found,
            ..
        } = begun;
        let Started {
            launched,
            bare,
            degraded,
            at,
            limits,
            worker,
            masks,
            reading,
            held,
            program,
            ..
        } = started;
        drop(held);
        bare.into_iter()
            .for_each(|why| audience.remark(Remark::Bare { why }));
        degraded
            .into_iter()
            .for_each(|text| audience.remark(Remark::Degraded { text }));
        let (notices, cgroup) = (launched.notices, launched.cgroup);
        let sandbox = Sandbox::adopt(launched.init, notices, cgroup, launched.bare, at)
            .map_err(RunError::io("watch", "the sandbox"))?;
        let worker = match worker {
            Some(worker) => Some(Worker {
                channel: worker.open(launched.channel)?,
                of_session: matches!(audience, Audience::Subscriber(..)),
            }),
            None => None,
        };
        let masks = masks
            .map(MaskWatch::listen)
            .transpose()
            .map_err(RunError::io("watch", "the host's folders"))?;
        let plane = launched
            .doors
            .map(|doors| plane::open(plane::sockets(doors), reading, plane::host()?, &limits))
            .transpose()?;
        if plane.is_some() {
            gate.has_plane();
        }
        let ends = Ends {
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            terminal: launched.terminal,
        };
        let drive = Drive {
            sandbox,
            desk: Desk::new(gate.approval(), &program),
            gate,
            learner,
            fate: Fate::open(worker.is_some()),
            worker,
            masks,
            plane,
            reloads: found.map(Reloads::of).transpose()?,
            audience,
            copies: Copies::new(),
            budget: OutputBudget::new(limits.output),
            signals: None,
            commands: None,
            interactive: None,
            wall: limits.wall.map(|wall| Instant::from_std(at) + wall),
            state,
        };
        Ok((drive, ends))
    }
}

/// How a session ended, with what only the report needs.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub gate: Gate,
    pub violations: Vec<String>,
    pub reloads: Vec<Reload>,
}

/// The one thing that happened.
enum Happening {
    Notice(io::Result<Option<Notice>>),
    Said(Result<Message, ChannelError>),
    Copy(CopyEnd),
    Reply(Reply),
    Room(io::Result<()>),
    Signal(Incoming),
    Command(Option<Command>),
    Unmasked(io::Result<Lost>),
    Asked(Call),
    Leaving(Heard),
    Delivered,
    Wall,
    Patience,
    Stuck,
    Died,
}

impl Drive {
    /// Runs the session until nothing of it is alive and its output was handed on.
    pub(super) async fn run(mut self) -> Ended {
        while !matches!(self.next().await, Some(Happening::Died | Happening::Stuck)) {}
        self.stop_asking("the run ended before it was answered");
        self.take_last_notices();
        if let Some(Err(error)) = self.worker.as_mut().map(|worker| worker.channel.seal()) {
            self.end(Cause::Failure(error.to_string()));
        }
        self.copies.sandbox_ended();
        self.drain().await;
        self.close_plane().await;
        self.finish().await
    }

    /// Waits for one happening and deals with it; gives back what ends the loop.
    async fn next(&mut self) -> Option<Happening> {
        let patience = self.fate.patience.as_ref().map(|(end, _)| *end);
        // A slow subscriber slows the worker down, and nothing else.
        let listening = self.audience.is_idle();
        let happening = tokio::select! {
            notice = self.sandbox.notices.next(), if !self.fate.deaf => {
                Happening::Notice(notice)
            }
            said = next_message(&mut self.worker), if listening => Happening::Said(said),
            end = self.copies.next(), if !self.desk.has_the_terminal() => Happening::Copy(end),
            reply = self.desk.next() => Happening::Reply(reply),
            signal = next_signal(&mut self.signals) => Happening::Signal(signal),
            command = next_command(&mut self.commands) => Happening::Command(command),
            lost = next_lost(&self.masks) => Happening::Unmasked(lost),
            call = next_call(&mut self.reloads) => Happening::Asked(call),
            leaving = next_leaving(&mut self.plane) => Happening::Leaving(leaving),
            room = self.sandbox.notices.room() => Happening::Room(room),
            () = self.audience.deliver(), if !listening => Happening::Delivered,
            () = at(self.wall) => Happening::Wall,
            () = at(patience) => Happening::Patience,
            () = at(self.fate.killed) => Happening::Stuck,
            _ = self.sandbox.died() => Happening::Died,
        };
        match happening {
            Happening::Died => return Some(Happening::Died),
            Happening::Stuck => {
                self.sandbox.give_up();
                return Some(Happening::Stuck);
            }
            Happening::Notice(notice) => self.take_notice(notice),
            Happening::Said(said) => self.take_message(said),
            Happening::Copy(end) => self.take_copy_end(end),
            Happening::Signal(signal) => self.take_signal(signal),
            Happening::Command(command) => self.take_command(command),
            Happening::Unmasked(lost) => self.take_lost(lost),
            Happening::Asked(call) => self.take_call(call),
            Happening::Leaving(heard) => self.take_leaving(heard),
            Happening::Reply(reply) => self.take_reply(reply),
            Happening::Room(room) => self.take_room(room),
            Happening::Delivered => {}
            Happening::Wall => {
                self.wall = None;
                self.end(Cause::Timeout);
            }
            Happening::Patience => {
                if let Some((_, cause)) = self.fate.patience.take() {
                    self.fate.cause = self.fate.cause.take().or(cause);
                    self.kill();
                }
            }
        }
        None
    }

    /// Kills everything. The first cause is the one that counts.
    pub(super) fn end(&mut self, cause: Cause) {
        self.fate.cause.get_or_insert(cause);
        self.kill();
    }

    fn kill(&mut self) {
        self.sandbox.kill();
        self.fate
            .killed
            .get_or_insert_with(|| Instant::now() + KILL_LIMIT);
    }

    fn take_notice(&mut self, notice: io::Result<Option<Notice>>) {
        match notice {
            Ok(Some(Notice::ExecDenied { path, missing, .. })) => {
                let ruling = self.gate.exec_denied(path.as_bytes(), missing);
                self.obey(ruling);
            }
            Ok(Some(Notice::Question(question))) => self.take_question(&question),
            Ok(Some(Notice::Outcome(outcome))) => self.take_outcome(outcome),
            Ok(Some(Notice::Reloaded { generation, failed })) => {
                self.take_reloaded(generation, failed);
            }
            Ok(Some(Notice::PidsReached)) => self.fate.pids_reached = true,
            Ok(Some(Notice::Exit {
                code,
                signal,
                user_us,
                system_us,
                max_rss_kib,
            })) => {
                self.fate.program = signal
                    .map(ProgramEnd::Signal)
                    .or(code.map(ProgramEnd::Code));
                self.fate.used = Some(Used {
                    user_us,
                    system_us,
                    max_rss_kib,
                });
                self.fate.patience = Some((Instant::now() + INIT_LIMIT, None));
            }
            Ok(Some(Notice::Failed(failure))) => {
                let detail = failure.to_string();
                self.end(match failure.kind {
                    FailureKind::NotFound => Cause::Unstarted {
                        missing: true,
                        detail,
                    },
                    FailureKind::NotExecutable => Cause::Unstarted {
                        missing: false,
                        detail,
                    },
                    FailureKind::Namespaces | FailureKind::Other => Cause::Failure(detail),
                });
            }
            Ok(Some(Notice::Ready { .. })) => {
                self.end(Cause::Failure(
                    "the sandbox's init said ready twice".to_owned(),
                ));
            }
            // Init is gone or going, and everything inside with it; its death is what counts.
            // After it has told the program's end, it has its time for that.
            Ok(None) => {
                self.fate.deaf = true;
                if self.fate.program.is_none() {
                    self.kill();
                }
            }
            Err(error) => {
                self.fate.deaf = true;
                let failure = format!("read the notices of the sandbox's init: {error}");
                self.end(Cause::Failure(failure));
            }
        }
    }

    /// What stands in the place of a lost mask would be seen, so nothing goes on.
    fn take_lost(&mut self, lost: io::Result<Lost>) {
        self.masks = None;
        self.end(Cause::Failure(match lost {
            Ok(Lost { path, rule }) => {
                let path = path.display();
                format!("{path}, of which {rule} speaks, was changed on the host during the run")
            }
            Err(error) => format!("watch what the policy takes away: {error}"),
        }));
    }

    /// Says what a person should hear, and kills where the policy or a failing log
    /// asks for it.
    fn obey(&mut self, ruling: Result<Ruling, LogError>) {
        match ruling {
            Ok(Ruling {
                answer,
                reason,
                remark,
            }) => {
                if let Some(remark) = remark {
                    self.audience.remark(remark);
                }
                if answer == Told::Killed {
                    self.audience.remark(Remark::Killed {
                        reason: reason.clone(),
                    });
                    self.end(Cause::Policy(reason));
                }
            }
            Err(error) => self.end(Cause::Failure(error.to_string())),
        }
    }

    fn violated(&mut self, reason: String) {
        self.record(&Event::Violation {
            reason: reason.clone(),
        });
        self.audience.remark(Remark::Violation {
            reason: reason.clone(),
        });
        self.fate.violations.push(reason.clone());
        self.worker = None;
        self.end(Cause::Violation(reason));
    }

    fn over_limit(&mut self, limit: &'static str) {
        self.end(Cause::Limit(limit));
    }

    fn take_copy_end(&mut self, end: CopyEnd) {
        match end {
            CopyEnd::Output(_, OutputEnd::Finished | OutputEnd::ReaderGone) => {}
            CopyEnd::Output(_, OutputEnd::OverLimit) => self.over_limit("output"),
            CopyEnd::Output(stream, OutputEnd::Failed(error)) => {
                let name = if stream == Stream::Stdout {
                    "output"
                } else {
                    "error"
                };
                self.end(Cause::Failure(format!("copy standard {name}: {error}")));
            }
            CopyEnd::Input(Ok(())) => {}
            CopyEnd::Input(Err(error)) => {
                let text = format!("read standard input: {error}; the program sees its end");
                self.audience.remark(Remark::Trouble { text });
            }
        }
    }

    /// Records what has no answer that could be a denial; a log that fails ends
    /// the session.
    fn record(&mut self, event: &Event) {
        if let Err(error) = self.gate.record(event) {
            self.end(Cause::Failure(error.to_string()));
        }
    }
}
