//! `buntime run`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::json;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::config;
use super::meant::{Asked, Meant, asked, meant};
use super::said::{LogLevel, RunArgs};
use super::voice::{Voice, say};
use super::{FAILED, told, unwritten};
use crate::audit::{Operation, RefusalReport, ReportFile};
use crate::policy::Verdict;
use crate::supervisor::{self, Capture, Finished, Left, NOT_FOUND, Program, Remark};

/// Code on standard input is kept in memory, so it has a bound.
const MAX_CODE: u64 = 64 * 1024 * 1024;

/// Runs the program and returns its exit status, or Buntime's.
///
/// # Errors
/// When nothing was run because of something that was said.
pub(super) fn run(said: RunArgs, raw: &[OsString]) -> anyhow::Result<ExitCode> {
    let as_json = said.output.json;
    let report = said.output.report.clone();
    let unstarted = |text: &str, status: u8, as_json: bool| {
        if let Some(path) = &report {
            refusal(path, raw, text, status);
        }
        failure(text, status, as_json)
    };
    let asked = match asked(&said, raw) {
        Ok(asked) => asked,
        Err(error) => return unstarted(&told(&error), FAILED, as_json),
    };
    if let (Asked::Command(..), Some(venv)) = (&asked, &said.surroundings.venv) {
        let text = format!(
            "--venv {}: an environment is for code and scripts, and a command would not see it; \
             give its interpreter by --allow-read and -- DIR/bin/python, or leave -- out",
            venv.display()
        );
        return unstarted(&text, FAILED, as_json);
    }
    if let Asked::Script(path, _) = &asked
        && matches!(path.try_exists(), Ok(false))
    {
        let path = path.display();
        let text = match path.to_string().as_str() {
            "" => "the name of the script is empty".to_owned(),
            path => format!("no file {path}; a program is run by: buntime run -- {path}"),
        };
        return unstarted(&text, NOT_FOUND, as_json);
    }
    let caller = config::caller(|name| std::env::var_os(name));
    let wanted = program(asked).and_then(|program| meant(said, program, &caller));
    let Meant {
        options,
        json,
        quiet,
        log_level,
        absent,
    } = match wanted {
        Ok(meant) => meant,
        Err(error) => return unstarted(&told(&error), FAILED, as_json),
    };
    start_log(log_level);
    let voice = Voice::default();
    if !quiet {
        absent.iter().for_each(|text| voice.mention(text));
    }
    let heard = voice.clone();
    let hear = move |remark: Remark| {
        // What holds less than was asked for is said to whoever wants to hear nothing else, too.
        if !quiet || matches!(remark, Remark::Degraded { .. }) {
            heard.mention(&sentence(&remark));
        }
    };
    let result = supervisor::run(options, hear);
    if let Ok(finished) = &result {
        explain(finished, &voice);
    }
    voice.finish();
    match result {
        Ok(finished) if json => print_json(&finished),
        Ok(finished) => Ok(ExitCode::from(finished.outcome.exit.status)),
        Err(error) => failure(&error.to_string(), error.exit_status(), as_json),
    }
}

/// Reads what has to be read before the program is known whole.
fn program(asked: Asked) -> anyhow::Result<Program> {
    Ok(match asked {
        Asked::Code(code, args) => Program::Code {
            code: code.into_vec(),
            name: "-c".into(),
            args,
        },
        Asked::StandardInput(args) => Program::Code {
            code: code(io::stdin().lock(), "standard input")?,
            name: "-".into(),
            args,
        },
        // A pipe, as of `<(...)`, cannot be shown to the program: it is read here.
        Asked::Script(path, args) if is_stream(&path) => {
            let file =
                File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            Program::Code {
                code: code(file, &path.display().to_string())?,
                name: path.into_os_string(),
                args,
            }
        }
        Asked::Script(path, args) => Program::Script { path, args },
        Asked::Command(name, args) => Program::Command { name, args },
        Asked::OfBundle => Program::OfBundle,
    })
}

fn is_stream(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn code(from: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut code = Vec::new();
    from.take(MAX_CODE + 1)
        .read_to_end(&mut code)
        .with_context(|| format!("cannot read the code from {name}"))?;
    ensure!(
        code.len() as u64 <= MAX_CODE,
        "the code from {name} is longer than {MAX_CODE} bytes"
    );
    Ok(code)
}

fn start_log(level: LogLevel) {
    let level = match level {
        LogLevel::Off => return,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What a library says about its failure, we say in our own words.
    let others = match level {
        LevelFilter::DEBUG | LevelFilter::TRACE => level,
        _ => LevelFilter::OFF,
    };
    let ours = Targets::new()
        .with_default(others)
        .with_target("buntime", level);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish()
        .with(ours);
    if let Err(error) = log.try_init() {
        say(&format!("nothing is logged: {error}"));
    }
}

fn sentence(remark: &Remark) -> String {
    match remark {
        Remark::Decided {
            operation,
            target,
            verdict,
            rule,
            remedy,
        } => {
            let verb = operation.verb();
            match verdict {
                Verdict::Allow | Verdict::Warn => format!("warning: {verb} {target} (rule {rule})"),
                Verdict::Ask | Verdict::Deny => {
                    format!("denied {verb} {target} (rule {rule}); {remedy}")
                }
            }
        }
        Remark::Bare { why } => format!(
            "without namespaces ({why}): Landlock and seccomp alone hold the program, which is one \
             process, has no socket, and has its own directory ($TMPDIR) for /tmp; file names and \
             sizes outside can be seen; `enforced` in --report tells all"
        ),
        Remark::Degraded { text } => format!("degraded: {text}"),
        Remark::MoreDenied { count } => format!("{count} more denials were not shown"),
        Remark::Counted {
            rule,
            verdict: Verdict::Ask,
            allowed,
            denied,
        } => format!("rule {rule} asked: {allowed} allowed, {denied} denied"),
        Remark::Counted { rule, allowed, .. } => format!("rule {rule} warned {allowed} times"),
        Remark::MoreWarned { count } => format!("{count} more warnings were not shown"),
        Remark::Unlearned {
            operation,
            target,
            why,
        } => unlearned(*operation, target, *why),
        Remark::MoreUnlearned { count } => {
            format!("{count} more things are not in what was learned")
        }
        Remark::Learned {
            path,
            rules,
            before,
        } => {
            let rules = match rules {
                0 => "no rule, for nothing was needed beyond what every program has".to_owned(),
                1 => "1 rule".to_owned(),
                rules => format!("{rules} rules"),
            };
            let before = before.map(|before| format!(" ({before} before)"));
            let before = before.unwrap_or_default();
            format!("learned: {path} has {rules}{before}; run under it with --policy {path}")
        }
        Remark::Reloaded { generation, layers } => {
            format!(
                "another policy holds now ({}): number {generation}",
                layers.join(", ")
            )
        }
        Remark::Limit { limit, ended: true } => {
            format!(
                "the {limit} limit ended the run; --{} sets it",
                flag_of(limit)
            )
        }
        Remark::Limit {
            limit,
            ended: false,
        } => {
            format!(
                "the {limit} limit was reached; --{} sets it",
                flag_of(limit)
            )
        }
        Remark::Violation { reason } => {
            format!("the worker broke the rules of its channel and was killed: {reason}")
        }
        Remark::Killed { reason } => {
            format!("the program was killed, as the policy's onViolation says: {reason}")
        }
        Remark::Trouble { text } => text.clone(),
    }
}

/// What was wanted and is not in what was learned, and what can be done about it.
fn unlearned(operation: Operation, target: &str, why: Left) -> String {
    let flag = match operation {
        Operation::Write | Operation::Change => "--allow-write",
        _ => "--allow-read",
    };
    let why = match why {
        Left::Hidden => format!("it is not shown; to learn it, add {flag}={target}"),
        Left::Forbidden => "the file's owner, mode or file system does not let it".to_owned(),
        Left::Wide => "a rule would say too much; write one by hand if it is needed".to_owned(),
    };
    format!("not learned: {} {target}: {why}", operation.verb())
}

/// The flag of a policy's limit.
fn flag_of(limit: &str) -> &str {
    match limit {
        "wall" => "timeout",
        "output" => "max-output",
        other => other,
    }
}

/// A word about the end when it was Buntime that failed.
fn explain(finished: &Finished, voice: &Voice) {
    let exit = &finished.outcome.exit;
    if exit.cause == "failure"
        && let Some(detail) = &exit.detail
    {
        voice.mention(detail);
    }
}

fn print_json(finished: &Finished) -> anyhow::Result<ExitCode> {
    let text = |capture: Option<&Capture>| capture.map(Capture::text).unwrap_or_default();
    let truncated = |capture: Option<&Capture>| capture.is_some_and(Capture::truncated);
    let stdout = finished.captured.as_ref().map(|(stdout, _)| stdout);
    let stderr = finished.captured.as_ref().map(|(_, stderr)| stderr);
    let status = finished.outcome.exit.status;
    let document = json!({
        "status": status,
        "stdout": text(stdout),
        "stdout_truncated": truncated(stdout),
        "stderr": text(stderr),
        "stderr_truncated": truncated(stderr),
        "report": finished.report,
    });
    print(&document, status)
}

/// Says in the report that was asked for why nothing was run. The caller hears it in any case.
fn refusal(path: &Path, raw: &[OsString], error: &str, status: u8) {
    let program = raw.iter().map(|word| word.to_string_lossy().into_owned());
    let refusal = RefusalReport {
        version: env!("CARGO_PKG_VERSION"),
        program: program.collect(),
        started: false,
        error: error.to_owned(),
        status,
    };
    if let Err(unwritten) = ReportFile::open(path).and_then(|file| file.write(&refusal)) {
        say(&unwritten.to_string());
    }
}

/// A failure of ours, on standard error in any case.
fn failure(text: &str, status: u8, as_json: bool) -> anyhow::Result<ExitCode> {
    say(text);
    if as_json {
        return print(&json!({ "status": status, "error": text }), status);
    }
    Ok(ExitCode::from(status))
}

/// Prints the one object, and gives back the run's status also when nobody reads it.
fn print(document: &serde_json::Value, status: u8) -> anyhow::Result<ExitCode> {
    let mut text = serde_json::to_vec(document)?;
    text.push(b'\n');
    let mut out = io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(error).into()),
        _ => Ok(ExitCode::from(status)),
    }
}
