//! One run in the foreground, from what was meant to an exit status.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::ask::{Approver, Prompt};
use super::copies::Copies;
use super::drive::{Drive, Ended, Interactive};
use super::error::RunError;
use super::options::{AskChoice, RunOptions, TerminalChoice};
use super::outcome::{Cause, Outcome};
use super::plane;
use super::remark::{Audience, Remark, State, Stream};
use super::signals::Signals;
use super::start::{self, Begun, Name, Wanted};
use super::stdio::{Capture, OutputBudget, Sink, copy_input, copy_output};
use super::terminal::{self, RawTerminal};
use crate::audit::{RefusalReport, Report, ReportFile};
use crate::launch::StdioRequest;

/// Standard output and standard error, as far as they are kept.
type Captured = (Arc<Mutex<Capture>>, Arc<Mutex<Capture>>);

/// What a run in the foreground came to.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The same, with everything around it; also written to the report's file.
    pub report: Report,
    /// The program's standard output and error, when they were to be captured.
    pub captured: Option<(Capture, Capture)>,
}

/// Runs a program and waits for its end. The calling process must have one thread.
///
/// `hear` gets every remark at once; what it prints must not block.
///
/// # Errors
/// When nothing was started, or when the report could not be written at the end.
pub fn run(
    options: RunOptions,
    hear: impl FnMut(Remark) + Send + 'static,
) -> Result<Finished, RunError> {
    let report = options
        .report
        .as_deref()
        .map(ReportFile::open)
        .transpose()?;
    let program = options.program.words();
    let finished = run_recorded(options, hear);
    match (report, &finished) {
        (Some(file), Ok(finished)) => file.write(&finished.report)?,
        (Some(file), Err(error)) => {
            let refusal = RefusalReport {
                version: env!("CARGO_PKG_VERSION"),
                program,
                started: matches!(error, RunError::Ended(_)),
                error: error.to_string(),
                status: error.exit_status(),
            };
            // The caller hears of the error itself in any case.
            if let Err(unwritten) = file.write(&refusal) {
                tracing::warn!(%unwritten, "the refusal is in no report");
            }
        }
        (None, _) => {}
    }
    finished
}

fn run_recorded(
    options: RunOptions,
    hear: impl FnMut(Remark) + Send + 'static,
) -> Result<Finished, RunError> {
    let terminal = wants_terminal(options.terminal);
    let wanted = Wanted {
        program: &options.program,
        policy: &options.policy,
        surroundings: &options.surroundings,
        session: None,
        stdio: stdio_request(terminal),
        events: options.events.as_deref(),
        report: options.report.as_deref(),
        require: options.require,
        allow_degraded: options.allow_degraded,
        name: options.name.as_deref().map_or(Name::Session, Name::Given),
    };
    let (begun, (runtime, signals)) = start::begin(&wanted, event_loop)?;
    let capture = options.capture.then(Captured::default);
    let about = About::of(&begun);
    let ended = runtime.block_on(async {
        let mut drive = foreground(begun, signals, terminal, capture.clone(), Box::new(hear))?;
        drive.desk.seat(somebody(options.ask));
        Ok::<_, RunError>(drive.run().await)
    })?;
    let (outcome, report) = about.report(ended);
    let captured = capture.map(|(stdout, stderr)| (take(&stdout), take(&stderr)));
    Ok(Finished {
        outcome,
        report,
        captured,
    })
}

/// Who is asked where the policy says so.
fn somebody(choice: AskChoice) -> Result<Box<dyn Approver>, &'static str> {
    match choice {
        AskChoice::Auto => {
            let term = std::env::var("TERM").ok();
            Ok(Box::new(Prompt::new(term.as_deref())))
        }
        AskChoice::Never => Err("nobody is asked, as --ask=never says"),
    }
}

/// The loop, with handlers in place before the signals that were held back are let through.
fn event_loop() -> Result<(Runtime, Signals), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::io("start", "the event loop"))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::listen().map_err(RunError::io("listen for", "signals"))?
    };
    Ok((runtime, signals))
}

fn wants_terminal(choice: TerminalChoice) -> bool {
    match choice {
        TerminalChoice::Auto => terminal::interactive(io::stdin(), io::stdout()),
        TerminalChoice::Always => true,
        TerminalChoice::Never => false,
    }
}

fn stdio_request(terminal: bool) -> StdioRequest {
    if !terminal {
        return StdioRequest::Pipes;
    }
    let (rows, columns) = terminal::window(io::stdout());
    let stderr_is_pipe = !rustix::termios::isatty(io::stderr());
    StdioRequest::Terminal {
        stderr_is_pipe,
        rows,
        columns,
    }
}

fn take(capture: &Arc<Mutex<Capture>>) -> Capture {
    std::mem::take(&mut capture.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Connects a launched sandbox with the caller's descriptors and signals. Inside
/// the runtime.
fn foreground(
    begun: Begun,
    signals: Signals,
    terminal: bool,
    capture: Option<Captured>,
    hear: Box<dyn FnMut(Remark) + Send>,
) -> Result<Drive, RunError> {
    let state = watch::Sender::new(State::Starting);
    let over = Drive::over(begun, Audience::Person(hear, None), state);
    let (mut drive, ends) = over.map_err(RunError::ended)?;
    drive.signals = Some(signals);
    if drive.plane.is_some() {
        plane::take_descriptors();
    }
    let connected = Connect {
        copies: &mut drive.copies,
        budget: &drive.budget,
        capture,
    };
    let connected = match ends.terminal {
        Some(program) if terminal => connected.terminal(program, ends.stderr).map(Some),
        _ => connected
            .pipes(ends.stdin, ends.stdout, ends.stderr)
            .map(|()| None),
    };
    match connected {
        Ok(interactive) => drive.interactive = interactive,
        // The program runs already: it ends as a run does, with its records.
        Err(error) => drive.end(Cause::Failure(error.to_string())),
    }
    Ok(drive)
}

/// Connects the program's streams with the caller's.
struct Connect<'a> {
    copies: &'a mut Copies,
    budget: &'a OutputBudget,
    capture: Option<Captured>,
}

impl Connect<'_> {
    fn pipes(
        mut self,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> Result<(), RunError> {
        for (stream, source) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            if let Some(source) = source {
                self.output(stream, source)?;
            }
        }
        if let Some(sink) = stdin {
            self.copies.input(copy_input(caller_input()?, sink, b""));
        }
        Ok(())
    }

    fn terminal(
        mut self,
        program: OwnedFd,
        stderr: Option<OwnedFd>,
    ) -> Result<Interactive, RunError> {
        let same = || {
            program
                .try_clone()
                .map_err(RunError::io("duplicate", "the program's terminal"))
        };
        let raw = if rustix::termios::isatty(io::stdin()) {
            let raw = RawTerminal::enter(io::stdin());
            Some(raw.map_err(RunError::io("configure", "the terminal"))?)
        } else {
            None
        };
        let caller = if rustix::termios::isatty(io::stdout()) {
            io::stdout().as_fd().try_clone_to_owned()
        } else {
            caller_stdin()
        };
        let caller = caller.map_err(RunError::io("duplicate", "the caller's terminal"))?;
        self.output(Stream::Stdout, same()?)?;
        if let Some(source) = stderr {
            self.output(Stream::Stderr, source)?;
        }
        // Where input is no terminal, its end is typed as Ctrl-D.
        self.copies
            .input(copy_input(caller_input()?, same()?, b"\x04"));
        Ok(Interactive {
            raw,
            caller,
            program,
        })
    }

    fn output(&mut self, stream: Stream, source: OwnedFd) -> Result<(), RunError> {
        let sink = self.sink(stream)?;
        let ended = self.copies.watch_end();
        let copy = copy_output(source, sink, self.budget.clone(), ended);
        self.copies.output(stream, copy);
        Ok(())
    }

    fn sink(&self, stream: Stream) -> Result<Sink, RunError> {
        match (&self.capture, stream) {
            (Some((stdout, _)), Stream::Stdout) => Ok(Sink::Capture(Arc::clone(stdout))),
            (Some((_, stderr)), Stream::Stderr) => Ok(Sink::Capture(Arc::clone(stderr))),
            (None, Stream::Stdout) => {
                Sink::caller(io::stdout()).map_err(RunError::io("duplicate", "standard output"))
            }
            (None, Stream::Stderr) => {
                Sink::caller(io::stderr()).map_err(RunError::io("duplicate", "standard error"))
            }
        }
    }
}

fn caller_stdin() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

fn caller_input() -> Result<OwnedFd, RunError> {
    caller_stdin().map_err(RunError::io("duplicate", "standard input"))
}

/// What is known before the loop and belongs into the report after it.
struct About {
    report: Report,
}

impl About {
    fn of(begun: &Begun) -> Self {
        let outcome = super::outcome::exit(None, None);
        Self {
            report: Report {
                version: env!("CARGO_PKG_VERSION"),
                session: begun.session.clone(),
                id: begun.found.as_ref().map(|found| found.listening.id.clone()),
                program: begun.started.program.clone(),
                layers: begun.started.layers.clone(),
                reloads: Vec::new(),
                enforced: begun.started.enforced.clone(),
                rules: begun.started.rules.clone(),
                decisions: Vec::new(),
                traffic: Vec::new(),
                not_recorded: Report::NOT_RECORDED,
                violations: Vec::new(),
                limits: begun.started.limits,
                limits_reached: Vec::new(),
                resources: crate::audit::Resources::default(),
                exit: outcome,
            },
        }
    }

    fn report(self, ended: Ended) -> (Outcome, Report) {
        let Ended {
            outcome,
            mut gate,
            violations,
            reloads,
        } = ended;
        let report = Report {
            reloads,
            decisions: gate.counted(),
            traffic: gate.traffic(),
            violations,
            limits_reached: outcome.limits_reached.clone(),
            resources: outcome.resources,
            exit: outcome.exit.clone(),
            ..self.report
        };
        (outcome, report)
    }
}
