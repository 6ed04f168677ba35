//! A program that is run to its end, to the end of patience, or until a person has had enough.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::supervisor::Ending;

/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long a program may take to clear away what is its own when it is told to end.
const LAST: Duration = Duration::from_secs(5);

/// The run was ended by a signal, by its number.
#[derive(Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub(super) struct Interrupted(pub(super) i32);

/// How a program ended and what it printed.
#[derive(Debug)]
pub(super) struct Ended {
    status: Option<ExitStatus>,
    pub(super) out: String,
    err: String,
}

impl Ended {
    pub(super) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// What each attempt printed.
    pub(super) fn attempts(&self) -> BTreeMap<String, String> {
        let told = self.out.lines().filter_map(|line| line.split_once(": "));
        told.map(|(name, end)| (name.to_owned(), end.to_owned()))
            .collect()
    }

    /// The last words, on one line.
    pub(super) fn said(&self) -> String {
        let last: Vec<&str> = self
            .err
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let from = last.len().saturating_sub(2);
        let text = last.get(from..).unwrap_or_default().join(" ");
        match self.status {
            None => format!("it did not end in time {text}"),
            Some(status) => format!("{status} {text}"),
        }
    }
}

/// Runs a program with what it prints in files of a folder: a pipe that nobody empties would stop it.
/// It is the first of its process group.
pub(super) fn ended(
    mut command: Command,
    folder: &Path,
    patience: Duration,
    ending: &Ending,
) -> anyhow::Result<Ended> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let make = |path: &Path| File::create(path).with_context(|| format!("make {}", path.display()));
    command.stdout(make(&out)?).stderr(make(&err)?);
    let shown = command.get_program().display().to_string();
    let mut child = command.spawn().with_context(|| format!("start {shown}"))?;
    let end = Instant::now() + patience;
    let mut status = until(&mut child, || {
        ending.asked().is_some() || Instant::now() > end
    })?;
    let asked = ending.asked();
    if status.is_none() && asked.is_some() {
        signal_group(&child, Signal::TERM)?;
        let last = Instant::now() + LAST;
        status = until(&mut child, || Instant::now() > last)?;
    }
    if status.is_none() {
        // What it has started is in its group.
        signal_group(&child, Signal::KILL)?;
        child.wait().with_context(|| format!("wait for {shown}"))?;
    }
    if let Some(number) = asked {
        return Err(Interrupted(number).into());
    }
    let read = |path: &Path| -> anyhow::Result<String> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Ended {
        status,
        out: read(&out)?,
        err: read(&err)?,
    })
}

/// How the child ended, if that was before somebody had enough.
fn until(child: &mut Child, is_enough: impl Fn() -> bool) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait().context("wait for an attack")?;
        if status.is_some() || is_enough() {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
    }
}

fn signal_group(child: &Child, signal: Signal) -> anyhow::Result<()> {
    match kill_process_group(Pid::from_child(child), signal) {
        Err(error) if error != rustix::io::Errno::SRCH => Err(error).context("end an attack"),
        _ => Ok(()),
    }
}
