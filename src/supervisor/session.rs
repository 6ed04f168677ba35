//! The library's sessions: a worker that takes one piece of code after another.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::ask::Owner;
use super::drive::{Command, Drive, Ended};
use super::error::RunError;
use super::options::{PolicyChoice, PolicySource, Program, Surroundings};
use super::outcome::Outcome;
use super::remark::{Audience, SessionEvent, State, Stream};
use super::start::{self, Begun, Name, Wanted};
use super::stdio::{Sink, copy_output};
use crate::approval::Answer;
use crate::ipc::DEFAULT_SEGMENT;
use crate::launch::{Require, StdioRequest};
use crate::policy::Flags;

/// Events and commands that may wait to be taken.
const QUEUE: usize = 64;

/// Which language a worker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerType {
    /// CPython.
    #[default]
    Python,
}

/// What a session is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The worker's language.
    pub worker_type: WorkerType,
    /// Bytes of the shared segment: both rings with their headers. 1 MiB unless told
    /// otherwise; a multiple of 16.
    pub shm_size: u64,
    /// The policies, lowest first; without any, `flags` over the shipped `default`.
    pub policies: Vec<PolicySource>,
    /// What the command line's flags would be.
    pub flags: Flags,
    /// The environment, beside the clean one.
    pub env: Vec<(OsString, OsString)>,
    /// The worker's directory.
    pub workdir: Option<PathBuf>,
    /// The interpreter.
    pub python: Option<PathBuf>,
    /// A virtual environment.
    pub venv: Option<PathBuf>,
    /// The file of the event log, which is appended to.
    pub events: Option<PathBuf>,
    /// Whether the owner answers [`SessionEvent::Ask`]. Otherwise what should be asked is denied.
    pub answers: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            worker_type: WorkerType::Python,
            shm_size: DEFAULT_SEGMENT,
            policies: Vec::new(),
            flags: Flags::default(),
            env: Vec::new(),
            workdir: None,
            python: None,
            venv: None,
            events: None,
            answers: false,
        }
    }
}

/// One session with one isolated worker.
///
/// Made by [`Supervisor::new`], which touches nothing. [`Supervisor::start`] launches
/// the worker; it needs a process with one thread, hence a `current_thread` runtime.
/// Dropping a supervisor ends its session.
///
/// ```no_run
/// # use buntime::supervisor::{Config, RunError, SessionEvent, Supervisor};
/// # async fn example() -> Result<(), RunError> {
/// let mut supervisor = Supervisor::new(Config::default());
/// let mut events = supervisor.events();
/// supervisor.start().await?;
/// supervisor.send_code("print(6 * 7)").await?;
/// while let Some(event) = events.recv().await {
///     if let SessionEvent::Output { bytes, .. } = event {
///         assert_eq!(bytes, b"42\n");
///         break;
///     }
/// }
/// supervisor.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    state: watch::Receiver<State>,
    announce: Option<watch::Sender<State>>,
    events: Option<mpsc::Sender<SessionEvent>>,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    commands: mpsc::Sender<Command>,
    session: JoinHandle<Outcome>,
}

impl Supervisor {
    /// A session that has not begun. Touches nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (announce, state) = watch::channel(State::Starting);
        Self {
            config,
            state,
            announce: Some(announce),
            events: None,
            live: None,
        }
    }

    /// The stream of everything that happens. To be called before
    /// [`Supervisor::start`]; a later call takes the stream away from an earlier
    /// one. A stream that is not read slows the worker down, and a dropped one does
    /// not.
    pub fn events(&mut self) -> mpsc::Receiver<SessionEvent> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.events = Some(sender);
        receiver
    }

    /// Launches the worker and waits until it is ready for code.
    ///
    /// # Errors
    /// When the process has more than one thread, the policy cannot be enforced here,
    /// the sandbox cannot be built, or the worker does not become ready.
    pub async fn start(&mut self) -> Result<(), RunError> {
        let announce = self.announce.take().ok_or(RunError::AlreadyStarted)?;
        let config = &self.config;
        let policy = PolicyChoice {
            policies: config.policies.clone(),
            flags: config.flags.clone(),
            ..PolicyChoice::default()
        };
        let surroundings = Surroundings {
            env: config.env.clone(),
            workdir: config.workdir.clone(),
            python: config.python.clone(),
            venv: config.venv.clone(),
            ..Surroundings::default()
        };
        let program = Program::Code {
            code: Vec::new(),
            name: "-c".into(),
            args: Vec::new(),
        };
        let wanted = Wanted {
            program: &program,
            policy: &policy,
            surroundings: &surroundings,
            session: Some(config.shm_size),
            stdio: StdioRequest::Pipes,
            events: config.events.as_deref(),
            report: None,
            require: Require::Policy,
            allow_degraded: false,
            name: Name::Nobody,
        };
        let (begun, ()) = start::begin(&wanted, || Ok(()))?;
        let (commands, orders) = mpsc::channel(QUEUE);
        let events = self.events.take().unwrap_or_else(|| mpsc::channel(1).0);
        let mut drive = background(begun, announce, orders, events)?;
        drive.desk.seat(match config.answers {
            true => Ok(Box::new(Owner)),
            false => Err("the session's owner answers nothing, as its Config says"),
        });
        let session = tokio::spawn(async move {
            let Ended { outcome, .. } = drive.run().await;
            outcome
        });
        self.live = Some(Live { commands, session });
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), RunError> {
        let settled = self.state.wait_for(|state| *state != State::Starting).await;
        if settled.is_ok_and(|state| *state != State::Stopped) {
            return Ok(());
        }
        let reason = match self.wait().await {
            Ok(Outcome { exit, .. }) => exit
                .detail
                .unwrap_or_else(|| format!("it ended at once, with status {}", exit.status)),
            Err(error) => error.to_string(),
        };
        Err(RunError::Worker { reason })
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Gives the worker a piece of code; it runs after all earlier ones, in the same
    /// module. Output, result and exceptions come as events.
    ///
    /// # Errors
    /// When the session is not running.
    pub async fn send_code(&self, code: impl Into<Vec<u8>>) -> Result<(), RunError> {
        let live = self.live.as_ref().ok_or(RunError::NotRunning)?;
        let sent = live.commands.send(Command::Code(code.into())).await;
        sent.map_err(|_closed| RunError::NotRunning)
    }

    /// Answers a [`SessionEvent::Ask`] by its number. One that is too late, or of no such number,
    /// changes nothing; one that does not fit the question, or reaches further than its `scopes`, is
    /// a no.
    ///
    /// # Errors
    /// When the session is not running.
    pub async fn answer(&self, number: u64, answer: Answer) -> Result<(), RunError> {
        let live = self.live.as_ref().ok_or(RunError::NotRunning)?;
        let sent = live.commands.send(Command::Answer(number, answer)).await;
        sent.map_err(|_closed| RunError::NotRunning)
    }

    /// Ends the session and everything in its sandbox, and waits until nothing is
    /// left of it.
    ///
    /// # Errors
    /// When the session was not running.
    pub async fn stop(&mut self) -> Result<Outcome, RunError> {
        let live = self.live.as_ref().ok_or(RunError::NotRunning)?;
        // A session that ended by itself takes no commands any more.
        if live.commands.send(Command::Stop).await.is_err() {
            tracing::debug!("the session had ended before it was stopped");
        }
        self.wait().await
    }

    /// Waits until the session has ended by itself, by a limit or by a violation.
    ///
    /// # Errors
    /// When the session was not running.
    pub async fn wait(&mut self) -> Result<Outcome, RunError> {
        let live = self.live.take().ok_or(RunError::NotRunning)?;
        let Live { commands, session } = live;
        let ended = session.await;
        drop(commands);
        ended.map_err(|error| RunError::Worker {
            reason: error.to_string(),
        })
    }
}

/// Connects a launched sandbox with an owner who is a program.
fn background(
    begun: Begun,
    state: watch::Sender<State>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<SessionEvent>,
) -> Result<Drive, RunError> {
    let audience = Audience::Subscriber(events.clone(), Default::default());
    // What the worker's own process and its children write to their descriptors
    // comes here; nothing is typed into it.
    let (mut drive, ends) = Drive::over(begun, audience, state)?;
    for (stream, source) in [(Stream::Stdout, ends.stdout), (Stream::Stderr, ends.stderr)] {
        if let Some(source) = source {
            let sink = Sink::Events(events.clone(), stream);
            let ended = drive.copies.watch_end();
            let copy = copy_output(source, sink, drive.budget.clone(), ended);
            drive.copies.output(stream, copy);
        }
    }
    drive.commands = Some(commands);
    Ok(drive)
}
