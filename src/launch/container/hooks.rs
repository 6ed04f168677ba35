//! The programs that a configuration names to be run at points of a container's life.

use std::ffi::OsString;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, poll};

use crate::sys::process;

/// Variables with their values.
pub(super) type Environment = Vec<(OsString, OsString)>;

/// How much of what a hook says is kept for its error.
const KEPT: u64 = 16 * 1024;

/// Why a hook failed. Callers look for the first words.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started.
    #[error("error running hook: the {point} hook {}: {source}", .path.display())]
    NotRun {
        /// `prestart`, `createRuntime`, ...
        point: &'static str,
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended badly.
    #[error("error running hook: the {point} hook {} {ended}{}", .path.display(), said(.output))]
    Failed {
        /// `prestart`, `createRuntime`, ...
        point: &'static str,
        /// The program.
        path: PathBuf,
        /// How it ended.
        ended: String,
        /// What it said on its outputs.
        output: String,
    },
    /// It did not end in the time that it has.
    #[error(
        "error running hook: the {point} hook {} did not end within {seconds} s and was killed",
        .path.display()
    )]
    TimedOut {
        /// `prestart`, `createRuntime`, ...
        point: &'static str,
        /// The program.
        path: PathBuf,
        /// Its `timeout`.
        seconds: u64,
    },
}

fn said(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        output => format!(", and said: {output}"),
    }
}

/// Runs hooks one after the other, each with the container's state on its standard input.
///
/// # Errors
/// Of the first that fails; those after it do not run.
pub(super) fn run_hooks(
    point: &'static str,
    hooks: Option<&Vec<Hook>>,
    state: &[u8],
    own_environment: Option<&Environment>,
) -> Result<(), HookError> {
    for hook in hooks.into_iter().flatten() {
        run(point, hook, state, own_environment)?;
    }
    Ok(())
}

/// The same for hooks of whose failure the specification has a warning and no more: the others run.
pub fn run_every_hook(point: &'static str, hooks: Option<&Vec<Hook>>, state: &[u8]) {
    for hook in hooks.into_iter().flatten() {
        if let Err(error) = run(point, hook, state, None) {
            tracing::warn!(%error, "a hook failed");
        }
    }
}

/// `own_environment`: what a hook without `env` starts with, where it is not the caller's.
fn run(
    point: &'static str,
    hook: &Hook,
    state: &[u8],
    own_environment: Option<&Environment>,
) -> Result<(), HookError> {
    let path = hook.path();
    let not_run = |source| HookError::NotRun {
        point,
        path: path.clone(),
        source,
    };
    let mut command = command(hook, own_environment);
    process::close_descriptors_of(&mut command);
    let stdin = in_memory(state).map_err(not_run)?;
    let (output_end, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| not_run(error.into()))?;
    let copy = output.try_clone().map_err(not_run)?;
    command.stdin(stdin).stdout(output).stderr(copy);
    let mut child = command.spawn().map_err(not_run)?;
    // The command holds copies of the descriptors, which would keep the outputs open.
    drop(command);
    let timeout = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok());
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut said = Vec::new();
    let Some(status) = wait(&mut child, output_end, &mut said, deadline).map_err(not_run)? else {
        child.kill().and_then(|()| child.wait()).map_err(not_run)?;
        return Err(HookError::TimedOut {
            point,
            path: path.clone(),
            seconds: timeout.unwrap_or_default(),
        });
    };
    if status.success() {
        return Ok(());
    }
    Err(HookError::Failed {
        point,
        path: path.clone(),
        ended: ended(status),
        output: String::from_utf8_lossy(&said).into_owned(),
    })
}

fn command(hook: &Hook, own_environment: Option<&Environment>) -> Command {
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    let pairs = |env: &[String]| -> Vec<(String, String)> {
        env.iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    match (hook.env(), own_environment) {
        (Some(env), _) => command.env_clear().envs(pairs(env)),
        (None, Some(own)) => command.env_clear().envs(own.iter().cloned()),
        (None, None) => &mut command,
    };
    command
}

/// The state as a file, so that a hook that never reads it keeps nobody waiting.
fn in_memory(state: &[u8]) -> io::Result<std::fs::File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("state", flags)?);
    file.write_all(state)?;
    file.rewind()?;
    Ok(file)
}

fn ended(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}{}", named(signal)),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// What a signal is about, where that says more than its number: a filter ends a hook by one.
fn named(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (killed)",
        libc::SIGSEGV => " (segmentation fault)",
        libc::SIGSYS => " (bad system call)",
        libc::SIGTERM => " (terminated)",
        _ => "",
    }
}

/// Waits for the end and gathers what is said meanwhile; `None` when the time is over. What the
/// hook left running may hold its output open for ever, so the end of the process counts.
fn wait(
    child: &mut Child,
    output: OwnedFd,
    said: &mut Vec<u8>,
    deadline: Option<Instant>,
) -> io::Result<Option<std::process::ExitStatus>> {
    let pid = rustix::process::Pid::from_child(child);
    let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let mut output = Some(std::fs::File::from(output));
    loop {
        let left = match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
            Some(None) => return Ok(None),
            Some(Some(left)) => Some(left.try_into().map_err(io::Error::other)?),
            None => None,
        };
        let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
        watched.extend(output.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
        match poll(&mut watched, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let has_ended = !watched[0].revents().is_empty();
        let can_read = watched.get(1).is_some_and(|end| !end.revents().is_empty());
        if can_read && let Some(end) = &mut output {
            let mut some = [0; 4096];
            let length = end.read(&mut some)?;
            let room = usize::try_from(KEPT).unwrap_or_default() - said.len();
            said.extend_from_slice(&some[..length.min(room)]);
            if length == 0 {
                output = None;
            }
            continue;
        }
        if has_ended {
            return child.wait().map(Some);
        }
    }
}
