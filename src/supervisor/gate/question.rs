//! What the interceptor asks about a call that the kernel holds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Gate, Ruling, Target, known_as};
use crate::approval::{Act, Wish};
use crate::audit::{Answer, Event, LogError, Operation, Origin};
use crate::egress::{Question as Leave, Way};
use crate::intercept::{Asked, Question};
use crate::policy::{Approval, Decision, Perm, Request, Verdict};
use crate::supervisor::printable::printable;

/// What is to be done about a call that waits.
pub(in crate::supervisor) enum Course {
    /// To answer it so.
    Ruled(Ruling),
    /// To ask somebody.
    Ask(Box<Held>),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(in crate::supervisor) enum Waiting {
    /// The interceptor, with its question of this number.
    Call(u64),
    /// The plane, with a connection or a request that may then go so far.
    Connection(Box<Leave>, Way),
}

/// An operation that waits for somebody's answer.
#[derive(Debug)]
pub(in crate::supervisor) struct Held {
    /// Who waits for the answer.
    pub waiting: Waiting,
    /// What is to be asked.
    pub wish: Wish,
    pub(super) asked: Target,
    pub(super) decision: Decision,
}

impl Held {
    /// The process, as its sandbox counts, where that is known.
    pub(in crate::supervisor) fn pid(&self) -> Option<u32> {
        self.asked.pid
    }

    /// As people hear of it.
    pub(in crate::supervisor) fn target(&self) -> &str {
        &self.asked.target
    }

    /// The event of asking about it.
    pub(in crate::supervisor) fn event(
        &self,
        number: u64,
        of: String,
        timeout_seconds: f64,
    ) -> Event {
        Event::Asked {
            number,
            operation: self.asked.operation,
            target: self.asked.target.clone(),
            perm: self.asked.perm,
            pid: self.pid(),
            net: self.asked.net.clone(),
            rule: self.decision.rule.clone(),
            of,
            timeout_seconds,
        }
    }
}

impl Gate {
    /// How the policy wants to be asked.
    pub(in crate::supervisor) fn approval(&self) -> &Approval {
        self.policy.approval()
    }

    /// Rules on a call that waits: decides again, whatever the interceptor has made of it, and
    /// records the answer, unless somebody is to be asked.
    ///
    /// # Errors
    /// When the decision cannot be recorded. The answer is then a denial.
    pub(in crate::supervisor) fn question(
        &mut self,
        question: &Question,
    ) -> Result<Course, LogError> {
        let request = request(&question.asked);
        let decision = match (&question.asked, &request) {
            (Asked::Change { .. }, Request::Fs { path, .. }) => self.policy.change(path),
            (Asked::Load { .. }, _) => Decision {
                verdict: Verdict::Deny,
                ..self.policy.decide(&request)
            },
            _ => self.policy.operation(&request),
        };
        let (operation, perm, path) = wanted(&question.asked);
        let target = printable(path);
        let asked = Target {
            operation,
            known_as: known_as(operation, &target),
            target,
            perm,
            pid: Some(question.pid),
            origin: Origin::Interceptor,
            asked: None,
            net: None,
            why: None,
        };
        if decision.verdict != Verdict::Ask {
            let ruling = self.rule(asked, &decision, request.flag());
            return ruling.map(Course::Ruled);
        }
        let path = Path::new(OsStr::from_bytes(path));
        let Some(wish) = Wish::new(act(&question.asked), path, decision.rule.clone()) else {
            let why = "its path is not resolved, so nobody can be asked".to_owned();
            let answer = self.denial();
            let ruling = self.settle(asked, &decision, answer, why);
            return ruling.map(Course::Ruled);
        };
        Ok(Course::Ask(Box::new(Held {
            waiting: Waiting::Call(question.number),
            wish,
            asked,
            decision,
        })))
    }

    /// Lets a call go on, as the question of this number was answered.
    ///
    /// # Errors
    /// When that cannot be recorded. The answer is then a denial.
    pub(in crate::supervisor) fn allow(
        &mut self,
        held: &Held,
        number: u64,
    ) -> Result<Ruling, LogError> {
        let asked = Target {
            asked: Some(number),
            ..held.asked.clone()
        };
        self.settle(asked, &held.decision, Answer::Allowed, String::new())
    }

    /// Denies a call, by the question of this number or without one. Without a reason it is what was
    /// answered, which whoever answered knows.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub(in crate::supervisor) fn refuse(
        &mut self,
        held: &Held,
        number: Option<u64>,
        why: Option<String>,
    ) -> Result<Ruling, LogError> {
        let asked = Target {
            asked: number,
            known_as: held.asked.known_as.clone().filter(|_| why.is_some()),
            why: held.asked.net.as_ref().and(why.clone()),
            ..held.asked.clone()
        };
        let answer = self.denial();
        let why = why.unwrap_or_else(|| "that was the answer".to_owned());
        self.settle(asked, &held.decision, answer, why)
    }
}

fn act(asked: &Asked) -> Act {
    match asked {
        Asked::Fs { perm, .. } => Act::Fs(*perm),
        Asked::Change { .. } => Act::Change,
        Asked::Exec { sha256, .. } => Act::Exec(sha256.clone()),
        Asked::Load { .. } => Act::Exec(None),
    }
}

/// As the policy is asked about it.
fn request(asked: &Asked) -> Request<'_> {
    let path = |path| Path::new(OsStr::from_bytes(path));
    match asked {
        Asked::Fs { path: named, perm } => Request::Fs {
            path: path(named),
            perm: *perm,
        },
        Asked::Change { path: named } => Request::Fs {
            path: path(named),
            perm: Perm::WriteFile,
        },
        Asked::Load { path: named } => Request::Exec {
            path: path(named),
            sha256: None,
        },
        Asked::Exec {
            path: named,
            sha256,
        } => Request::Exec {
            path: path(named),
            sha256: sha256.as_deref(),
        },
    }
}

/// As people hear of it.
pub(in crate::supervisor) fn wanted(asked: &Asked) -> (Operation, Option<Perm>, &[u8]) {
    match asked {
        Asked::Fs { path, perm } => {
            let operation = match perm {
                Perm::ReadFile => Operation::Read,
                Perm::ReadDir => Operation::List,
                Perm::Execute => Operation::Run,
                _ => Operation::Write,
            };
            (operation, Some(*perm), path)
        }
        Asked::Change { path } => (Operation::Change, None, path),
        Asked::Exec { path, .. } | Asked::Load { path } => (Operation::Run, None, path),
    }
}

#[cfg(test)]
mod tests;
