//! The events of a session.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{Perm, Proto, RuleRef, Scope, Verdict};

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
        /// The name by which the run is found while it lives.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
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
    /// The program of a container begins.
    ContainerStart,
    /// A further process joins a container.
    ContainerExec {
        /// Its name and arguments.
        program: Vec<String>,
        /// Its user id, as the container counts.
        uid: u32,
    },
    /// Every process of a container is frozen.
    ContainerPause,
    /// They go on.
    ContainerResume,
    /// The limits of a container are changed.
    ContainerUpdate {
        /// What is changed, as `linux.resources` of a configuration.
        resources: Value,
    },
    /// The run is to go over to another policy. What is decided from here on without a word that it
    /// did not is decided by that one.
    Reload(Reload),
    /// The run has not gone over to another policy: the former one holds.
    ReloadRefused {
        /// Why.
        why: String,
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
        /// The permission in question, for an operation on a path.
        #[serde(skip_serializing_if = "Option::is_none")]
        perm: Option<Perm>,
        /// The process that wants it, as its sandbox counts, where the interceptor asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// The policy's word.
        verdict: Verdict,
        /// The rule it comes from.
        rule: RuleRef,
        /// Who asked.
        origin: Origin,
        /// What the worker is told.
        answer: Answer,
        /// The question to a person by which it was answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<u64>,
        /// The connection or the name, where that is what leaves the sandbox.
        #[serde(skip_serializing_if = "Option::is_none")]
        net: Option<Leaving>,
        /// Why it is denied, where the rule does not say it by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// The number of the policy that decides, where it is not that of the start.
        #[serde(skip_serializing_if = "is_first")]
        generation: u64,
    },
    /// A connection leads to this one of several addresses; nothing has been said on it yet.
    ConnectionBegin {
        /// The host and port, as in the decision.
        target: String,
        /// What it is.
        net: Leaving,
    },
    /// A connection that was to leave the sandbox is over, or could not be made.
    ConnectionEnd {
        /// The host and port, as in the decision.
        target: String,
        /// What it was.
        net: Leaving,
        /// Where it led; `None` where it was not made.
        address: Option<IpAddr>,
        /// Bytes that went to the host.
        sent_bytes: u64,
        /// Bytes that came from there.
        received_bytes: u64,
        /// How long it was there.
        seconds: f64,
        /// What ended it first: `program`, `host`, `policy`, `timeout`, `error` or `run`.
        ended_by: &'static str,
        /// In words, where there is more to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Somebody is asked about an operation that waits.
    Asked {
        /// The question's number in this session.
        number: u64,
        /// What is wanted.
        operation: Operation,
        /// The path, or the host and port.
        target: String,
        /// The permission in question.
        #[serde(skip_serializing_if = "Option::is_none")]
        perm: Option<Perm>,
        /// The process that wants it, as its sandbox counts, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// The connection, where it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        net: Option<Leaving>,
        /// The rule that asks.
        rule: RuleRef,
        /// Who is asked.
        of: String,
        /// How long the answer may take.
        timeout_seconds: f64,
    },
    /// A question has its answer, or will have none.
    Answered {
        /// The question's number.
        number: u64,
        /// Whether the answer allows it.
        allowed: bool,
        /// How far it reaches.
        scope: Option<Scope>,
        /// The path up to which it reaches, where that is its scope.
        path: Option<String>,
        /// Why there was no answer of its own; who was asked stands in [`Event::Asked`].
        why: Option<String>,
        /// How long the operation has waited.
        waited_seconds: f64,
        /// How many calls waited for it.
        calls: usize,
    },
    /// The worker broke the channel's rules.
    Violation {
        /// How.
        reason: String,
    },
    /// A limit was reached.
    Limit {
        /// Its name in a policy's `limits`; `channel` when a container's channel has had as much
        /// recorded as it may.
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

/// What leaves a sandbox: a connection, or the question for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// How it came: `transparent`, `http`, `connect`, `socks` or `dns`.
    pub ingress: &'static str,
    /// The connection's number in its sandbox, by which its events are found; none for a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// The name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where it may lead, where it is permitted: the first of these that answers. Otherwise where it
    /// would have led.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<Proto>,
    /// The names of the secrets that a request has, or was to have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

fn is_first(generation: &u64) -> bool {
    *generation == 1
}

/// Another policy for a run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reload {
    /// Its number; that of the start is 1.
    pub generation: u64,
    /// The SHA-256 of what the former policies say.
    pub from: String,
    /// The SHA-256 of what these say.
    pub to: String,
    /// The layers, lowest first.
    pub layers: Vec<String>,
}

/// One mechanism of the kernel and how far it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Change the mode, owner, times or attributes of a file.
    Change,
    /// Connect to an address.
    Connect,
    /// Have something of a host by a request of HTTP.
    Request,
    /// Have the address of a name.
    Resolve,
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
            Self::Change => "change",
            Self::Connect => "connect",
            Self::Request => "request",
            Self::Resolve => "resolve",
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
    /// The kernel holds the operation until it is answered.
    Interceptor,
    /// A connection of the sandbox arrived at the egress plane, or a query for a name.
    Egress,
}

/// What the worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Go on.
    Allowed,
    /// Nothing yet: the kernel holds the operation when it is made, and asks then.
    Held,
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
