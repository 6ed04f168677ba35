//! The report of one session: one JSON document for `--report` and `--json`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::event::{Answer, Mechanism, Operation, Reload, Resources};
use crate::policy::{Limits, RuleMechanism, RuleRef, Verdict};

/// Targets shown for each rule; further ones are only counted.
const EXAMPLES: usize = 5;

/// What `--report` writes.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Buntime's version.
    pub version: &'static str,
    /// The session's random name, as in the event log.
    pub session: String,
    /// The name by which the run was found while it lived.
    pub id: Option<String>,
    /// What was run.
    pub program: Vec<String>,
    /// The policy's layers at the start, lowest first.
    pub layers: Vec<String>,
    /// The policies that it went over to while it ran.
    pub reloads: Vec<Reload>,
    /// What the kernel was made to enforce, mechanism by mechanism.
    pub enforced: Vec<Mechanism>,
    /// How each rule of the policy is enforced.
    pub rules: Vec<RuleMechanism>,
    /// What the supervisor decided or was told, by rule.
    pub decisions: Vec<Counted>,
    /// What has passed between the program and other hosts, by the way it took.
    pub traffic: Vec<Traffic>,
    /// What is not in `decisions`, in words.
    pub not_recorded: &'static str,
    /// The channel rules that the worker broke.
    pub violations: Vec<String>,
    /// The limits of the run.
    pub limits: Limits,
    /// The limits that were reached.
    pub limits_reached: Vec<&'static str>,
    /// What the run used.
    pub resources: Resources,
    /// How it ended.
    pub exit: Exit,
}

/// What `--report` writes where there is no whole report, which is where nothing was run; or, by
/// a failure right after the launch, not for long.
#[derive(Debug, Clone, Serialize)]
pub struct RefusalReport {
    /// Buntime's version.
    pub version: &'static str,
    /// What was to be run.
    pub program: Vec<String>,
    /// Whether it may have run.
    pub started: bool,
    /// Why not, or not for longer.
    pub error: String,
    /// Buntime's own exit status.
    pub status: u8,
}

impl Report {
    /// The honest sentence about denials that only the kernel saw.
    pub const NOT_RECORDED: &'static str = "what Landlock, an absent or masked path or the empty \
        network denies in the kernel is not recorded unless the worker asked first; system calls \
        that the filter denies are not recorded";
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// Buntime's own exit status.
    pub status: u8,
    /// The program's exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended the program.
    pub signal: Option<i32>,
    /// `program`, `timeout`, `limit`, `violation`, `policy`, `signal`, `stopped` or `failure`.
    pub cause: &'static str,
    /// One sentence, when there is more to say.
    pub detail: Option<String>,
}

/// The decisions that share a rule, an operation and an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Counted {
    /// The rule.
    pub rule: RuleRef,
    /// What was wanted.
    pub operation: Operation,
    /// The policy's word.
    pub verdict: Verdict,
    /// What the worker was told.
    pub answer: Answer,
    /// How often.
    pub count: u64,
    /// The first few targets.
    pub examples: Vec<String>,
}

/// The connections that took the same way out and are over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The way, as the events name it.
    pub ingress: &'static str,
    /// How many were made.
    pub connections: u64,
    /// How many were permitted and could not be made.
    pub failed: u64,
    /// Bytes to other hosts.
    pub sent_bytes: u64,
    /// Bytes from there.
    pub received_bytes: u64,
}

impl Traffic {
    /// None by this way.
    #[must_use]
    pub fn by(ingress: &'static str) -> Traffic {
        Traffic {
            ingress,
            connections: 0,
            failed: 0,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }
}

/// Counts decisions in a space bounded by the number of the policy's rules.
#[derive(Debug, Default)]
pub struct Tally {
    counted: BTreeMap<(RuleRef, Operation, Verdict, Answer), Counted>,
}

impl Tally {
    /// Counts one decision.
    pub fn add(
        &mut self,
        operation: Operation,
        target: &str,
        (rule, verdict): (&RuleRef, Verdict),
        answer: Answer,
    ) {
        let key = (rule.clone(), operation, verdict, answer);
        let counted = self.counted.entry(key).or_insert_with(|| Counted {
            rule: rule.clone(),
            operation,
            verdict,
            answer,
            count: 0,
            examples: Vec::new(),
        });
        counted.count += 1;
        let known = counted.examples.iter().any(|example| example == target);
        if !known && counted.examples.len() < EXAMPLES {
            counted.examples.push(target.to_owned());
        }
    }

    /// What was counted until now.
    pub fn counted(&self) -> impl Iterator<Item = &Counted> {
        self.counted.values()
    }

    /// Everything counted, by rule.
    #[must_use]
    pub fn into_counted(self) -> Vec<Counted> {
        self.counted.into_values().collect()
    }
}

/// Why a report could not be written.
#[derive(Debug, Error)]
#[error("{operation} the report {}: {source}; name a file that you may write", path.display())]
pub struct ReportError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file of a report. It is opened before anything runs, so that a run never
/// ends without the report that was asked for, and so that the program cannot
/// put something else in its place.
#[derive(Debug)]
pub struct ReportFile {
    file: File,
    path: PathBuf,
}

impl ReportFile {
    /// Opens or creates `path`; an existing file keeps its contents until the end.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        match opened {
            Ok(file) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(source) => Err(ReportError {
                operation: "open",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes the report as indented JSON.
    ///
    /// # Errors
    /// When it cannot be written whole.
    pub fn write(mut self, report: &impl Serialize) -> Result<(), ReportError> {
        self.replace(report).map_err(|source| ReportError {
            operation: "write",
            path: self.path,
            source,
        })
    }

    fn replace(&mut self, report: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(report)?;
        text.push(b'\n');
        // A pipe or a terminal has no length to set.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(&text)
    }
}
