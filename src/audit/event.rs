//! The events of a session.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::policy::{RuleRef, Verdict};

/// One thing that happened. In the log each is one JSON object with `type`, and
/// with the fields that [`EventLog`](super::EventLog) adds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A session begins; nothing has been launched yet.
    SessionStart {
        /// Buntime's version.
        version: &'static str,
        /// The supervisor's process id.
        supervisor: u32,
        /// What is to be run: its name and arguments.
        program: Vec<String>,
        /// The policy's layers, lowest first.
        layers: Vec<String>,
    },
    /// Nothing was run: the policy cannot be carried here, or the launch failed.
    Refused {
        /// Why, as it is said to the caller.
        error: String,
        /// Buntime's own exit status.
        status: u8,
    },
    /// The launch is over, and this is what holds now.
    LaunchEnforced {
        /// The process id of the sandbox's init on the host.
        init: i32,
        /// Every mechanism, also the ones that are not there.
        mechanisms: Vec<Mechanism>,
    },
    /// The worker is ready for code, or says something about its state.
    WorkerState {
        /// The worker's own word for it.
        event: String,
        /// What came with it.
        data: Value,
    },
    /// The policy was asked, or the kernel refused something and told us.
    Decision {
        /// What was wanted.
        operation: Operation,
        /// The path, or the host and port.
        target: String,
        /// The policy's word.
        verdict: Verdict,
        /// The rule it comes from.
        rule: RuleRef,
        /// Who asked.
        origin: Origin,
        /// What the worker is told.
        answer: Answer,
    },
    /// The worker broke the channel's rules.
    Violation {
        /// How.
        reason: String,
    },
    /// A limit was reached.
    Limit {
        /// Its name in a policy's `limits`.
        limit: &'static str,
        /// Whether it ended the session.
        ended: bool,
    },
    /// A person or another process signalled us, and the signal was passed on.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The session is over and nothing of it is left.
    Exit {
        /// The program's exit code, when it ended by itself.
        code: Option<i32>,
        /// The signal that ended the program.
        signal: Option<i32>,
        /// What ended the session: `program`, `timeout`, `limit`, `violation`, `policy`,
        /// `signal`, `stopped`, `failure`.
        cause: &'static str,
        /// What the session used.
        resources: Resources,
    },
}

/// One mechanism of the kernel and how far it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mechanism {
    /// Its name, such as `mount namespace`.
    pub mechanism: String,
    /// `full`, `partial` or `none`.
    pub state: String,
    /// What exactly, or why not.
    pub detail: String,
}

/// What a worker wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Read a file.
    Read,
    /// Write to a file or change a directory.
    Write,
    /// List a directory.
    List,
    /// Connect to an address.
    Connect,
    /// Run a program.
    Run,
}

impl Operation {
    /// The word for messages: `denied read /etc/shadow`.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Connect => "connect",
            Self::Run => "run",
        }
    }
}

/// Where a decision was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The worker asked and waits for the answer.
    Check,
    /// The worker told and goes on; the kernel holds the line.
    Notice,
    /// The kernel stopped the operation, and we were told.
    Kernel,
}

/// What the worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Go on.
    Allowed,
    /// The operation fails with EACCES.
    Denied,
    /// The worker is killed, as the policy's `onViolation` says.
    Killed,
}

/// What a session used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Resources {
    /// Seconds from launch to end.
    pub wall_seconds: f64,
    /// Processor seconds in user mode, of all its processes; `None` when it was not told, as by
    /// a session that was killed.
    pub user_seconds: Option<f64>,
    /// Processor seconds in the kernel, of all its processes, likewise.
    pub system_seconds: Option<f64>,
    /// The largest resident set of one process, in bytes; `None` when it was not told.
    pub max_rss_bytes: Option<u64>,
}

impl Resources {
    /// Only the wall time, for a session whose init could not tell the rest.
    #[must_use]
    pub fn wall(elapsed: Duration) -> Self {
        Self {
            wall_seconds: elapsed.as_secs_f64(),
            ..Self::default()
        }
    }
}
