//! What a session has to say while it lives, to a person or to a program.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::ask::AskRequest;
use super::learner::Left;
use super::outcome::Outcome;
use crate::audit::Operation;
use crate::policy::{RuleRef, Verdict};

/// Something that a person who watches a run should know at once. All text in it
/// is safe to print.
#[derive(Debug, Clone)]
pub enum Remark {
    /// An operation was denied, or permitted with a warning. Each distinct one is
    /// said once.
    Decided {
        /// What was wanted.
        operation: Operation,
        /// The path, or the host and port.
        target: String,
        /// [`Verdict::Deny`], [`Verdict::Ask`] without anybody to ask, or [`Verdict::Warn`].
        verdict: Verdict,
        /// The rule.
        rule: RuleRef,
        /// What would allow it; nothing where it was permitted.
        remedy: String,
    },
    /// There are no namespaces here: Landlock and seccomp carry the policy alone.
    Bare {
        /// Why, and what to change.
        why: String,
    },
    /// A rule is carried more strictly than it stands, or not at all, or a limit is not held, as
    /// the person allowed.
    Degraded {
        /// Which one, why, and what holds instead.
        text: String,
    },
    /// So many more denials were not shown.
    MoreDenied {
        /// How many.
        count: u64,
    },
    /// So many more warnings were not shown.
    MoreWarned {
        /// How many.
        count: u64,
    },
    /// So often a rule warned or asked, once the session is over.
    Counted {
        /// The rule.
        rule: RuleRef,
        /// [`Verdict::Warn`] or [`Verdict::Ask`].
        verdict: Verdict,
        /// How often it was permitted.
        allowed: u64,
        /// How often it was denied.
        denied: u64,
    },
    /// Something was wanted in a run that is learned from, and is not in what was learned.
    Unlearned {
        /// What was wanted.
        operation: Operation,
        /// The path.
        target: String,
        /// Why it is not.
        why: Left,
    },
    /// So many more things are not in what was learned.
    MoreUnlearned {
        /// How many.
        count: u64,
    },
    /// What was learned has been written.
    Learned {
        /// The file.
        path: String,
        /// How many rules it has now.
        rules: usize,
        /// How many it had, if it was there.
        before: Option<usize>,
    },
    /// The run has gone over to another policy, as somebody outside asked.
    Reloaded {
        /// Its number; that of the start is 1.
        generation: u64,
        /// Its layers, lowest first.
        layers: Vec<String>,
    },
    /// A limit was reached.
    Limit {
        /// Its name in a policy's `limits`.
        limit: &'static str,
        /// Whether it ended the run.
        ended: bool,
    },
    /// The worker broke the channel's rules and was killed.
    Violation {
        /// How.
        reason: String,
    },
    /// The policy answers a denial by killing.
    Killed {
        /// The rule.
        reason: String,
    },
    /// Something of ours failed and the run goes on.
    Trouble {
        /// What, and what it means.
        text: String,
    },
}

/// One of the program's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started, or not ready yet.
    Starting,
    /// The worker waits for code.
    Ready,
    /// The worker runs code.
    Running,
    /// The session is over, and nothing of it is left.
    Stopped,
}

/// What the event stream of a [`Supervisor`](super::Supervisor) carries.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// The session has a new state.
    State(State),
    /// The worker wrote something.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        bytes: Vec<u8>,
    },
    /// The worker's own events: `exec_start`, `exec_end`, `exception`.
    Worker {
        /// The event's name.
        event: String,
        /// What came with it: the traceback, the value of a last expression.
        data: Value,
    },
    /// A denial, a limit, a violation.
    Remark(Remark),
    /// An operation waits for [`Supervisor::answer`](super::Supervisor::answer).
    Ask(AskRequest),
    /// A question needs no answer any more.
    Asked {
        /// Its number.
        number: u64,
    },
    /// The end; nothing follows.
    Exit(Outcome),
}

/// Who hears the remarks.
pub(super) enum Audience {
    /// A person, through the command line: at once, or once the terminal is free again.
    Person(Box<dyn FnMut(Remark) + Send>, Option<Vec<Remark>>),
    /// A program, which may be slow: what it has not taken yet waits here, and as
    /// long as something waits the session reads nothing more from the worker.
    Subscriber(mpsc::Sender<SessionEvent>, VecDeque<SessionEvent>),
}

impl Audience {
    pub(super) fn remark(&mut self, remark: Remark) {
        match self {
            Self::Person(_, Some(held)) => held.push(remark),
            Self::Person(hear, None) => hear(remark),
            Self::Subscriber(_, waiting) => waiting.push_back(SessionEvent::Remark(remark)),
        }
    }

    /// Keeps back what a person should hear while a question stands on the terminal, and says it
    /// when the question is gone.
    pub(super) fn hold(&mut self, is_asking: bool) {
        let Self::Person(hear, held) = self else {
            return;
        };
        if is_asking {
            held.get_or_insert_default();
        } else {
            held.take().into_iter().flatten().for_each(hear);
        }
    }

    /// Gives an event to a subscriber; a person is not told.
    pub(super) fn event(&mut self, event: SessionEvent) {
        if let Self::Subscriber(_, waiting) = self {
            waiting.push_back(event);
        }
    }

    /// Whether everything said so far was taken.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Person(..) => true,
            Self::Subscriber(_, waiting) => waiting.is_empty(),
        }
    }

    /// Hands over one waiting event. Safe to drop: nothing is lost.
    pub(super) async fn deliver(&mut self) {
        let Self::Subscriber(events, waiting) = self else {
            return;
        };
        match events.reserve().await {
            Ok(place) => {
                if let Some(event) = waiting.pop_front() {
                    place.send(event);
                }
            }
            // Nobody listens any more; the session goes on without.
            Err(_closed) => waiting.clear(),
        }
    }

    /// Hands over what still waits, without making the end of the session wait for a
    /// subscriber who may be waiting for that end.
    pub(super) fn deliver_rest(mut self) {
        if !self.is_idle() {
            tokio::spawn(async move {
                while !self.is_idle() {
                    self.deliver().await;
                }
            });
        }
    }
}
