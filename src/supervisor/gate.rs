//! Decide, record, answer: the one road of every question that a worker or the
//! kernel asks during a session.

mod claim;
mod leaving;
mod question;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use self::claim::{Claim, operation};
pub(super) use self::leaving::Leaves;
pub(super) use self::question::{Course, Held, Waiting, wanted};
use super::printable::printable;
use super::remark::Remark;
use crate::audit::{
    Answer, Counted, Event, EventLog, Leaving, LogError, Operation, Origin, Tally, Traffic,
};
use crate::ipc::{Answer as Told, Check};
use crate::policy::{
    Decision, HOST_NAME, Limits, OnViolation, PROGRAM_FOLDERS, Perm, Policy, Request, RuleRef,
    UNNAMED, Verdict,
};

/// Denials that are said one by one; further ones are only counted.
const REMARKED: usize = 20;

/// What a question led to.
pub(super) struct Ruling {
    /// What the worker is told.
    pub answer: Answer,
    /// The reason of a denial, for the worker's own message.
    pub reason: String,
    /// What a person should hear, unless it was said already.
    pub remark: Option<Remark>,
}

/// What a worker is told of a ruling, also of one that could not be recorded.
pub(super) fn told(ruling: &Result<Ruling, LogError>) -> Told<'_> {
    match ruling {
        // What is held is decided when it is done.
        Ok(Ruling {
            answer: Answer::Allowed | Answer::Held,
            ..
        }) => Told::Allow,
        Ok(ruling) => Told::Deny(&ruling.reason),
        Err(_) => Told::Deny("the decision could not be recorded"),
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
struct Target {
    operation: Operation,
    target: String,
    perm: Option<Perm>,
    /// The process, where the interceptor asks.
    pid: Option<u32>,
    origin: Origin,
    /// The question to a person by which it is answered.
    asked: Option<u64>,
    /// The name under which a person hears of it, once; `None` is not said, but counted and logged.
    known_as: Option<String>,
    /// What it is, where it is a connection or a name that the plane asks about.
    net: Option<Leaving>,
    /// Why it is denied, where it is not the rule by itself.
    why: Option<String>,
}

/// What was said about verdicts of one kind.
#[derive(Default)]
struct Said {
    known: BTreeSet<(Operation, String)>,
    unsaid: u64,
}

impl Said {
    /// Whether to say it: each once, and not without end.
    fn is_new(&mut self, operation: Operation, known_as: String) -> bool {
        let said = (operation, known_as);
        if self.known.contains(&said) {
            return false;
        }
        if self.known.len() >= REMARKED {
            self.unsaid += 1;
            return false;
        }
        self.known.insert(said)
    }
}

/// The policy of one session, its log and its counts.
pub(super) struct Gate {
    policy: Policy,
    /// The number of the policy; that of the start is 1.
    generation: u64,
    log: Option<EventLog>,
    tally: Tally,
    traffic: BTreeMap<&'static str, Traffic>,
    /// Whether a flag can widen the policy, or only a change of its files.
    flags_widen: bool,
    /// Whether connections are the egress plane's to decide about.
    has_plane: bool,
    denials: Said,
    warnings: Said,
}

impl Gate {
    /// `flags_widen`: whether the flags are the policy, so that one more of them is
    /// the remedy of a denial.
    pub(super) fn new(policy: Policy, log: Option<EventLog>, flags_widen: bool) -> Self {
        Self {
            policy,
            generation: 1,
            log,
            tally: Tally::default(),
            traffic: BTreeMap::new(),
            flags_widen,
            has_plane: false,
            denials: Said::default(),
            warnings: Said::default(),
        }
    }

    /// Goes over to the policy that the launch really holds, before anything runs under it.
    pub(super) fn hold_to(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Goes over to another policy while the session lives, and gives its number.
    pub(super) fn go_over(&mut self, policy: Policy) -> u64 {
        self.policy = policy;
        self.generation += 1;
        self.generation
    }

    /// What the policy lets be used.
    pub(super) fn limits(&self) -> &Limits {
        self.policy.limits()
    }

    /// How many bytes the session has recorded.
    pub(super) fn recorded(&self) -> u64 {
        self.log.as_ref().map_or(0, EventLog::written)
    }

    /// What the policy says is to be done to whoever does what is denied.
    pub(super) fn on_violation(&self) -> OnViolation {
        self.policy.on_violation()
    }

    /// The number of the policy that holds.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Records an event of the session's life.
    ///
    /// # Errors
    /// When the log cannot be written. The event's effect must not happen then.
    pub(super) fn record(&mut self, event: &Event) -> Result<(), LogError> {
        self.log.as_mut().map_or(Ok(()), |log| log.append(event))
    }

    /// Rules on a check of the worker. It is an allegation: the kernel holds the
    /// worker to the policy whatever is answered here.
    ///
    /// # Errors
    /// When the decision cannot be recorded. The answer is then a denial.
    pub(super) fn check(&mut self, check: &Check) -> Result<Ruling, LogError> {
        let operation = operation(check.kind);
        let target = printable(&check.target);
        let origin = if check.kind.awaits_answer() {
            Origin::Check
        } else {
            Origin::Notice
        };
        match Claim::parse(check) {
            Some(asked) => {
                let request = asked.request();
                let decision = self.policy.operation(&request);
                let target = Target {
                    operation,
                    known_as: known_as(operation, &target),
                    target,
                    perm: perm(&request),
                    pid: None,
                    origin,
                    asked: None,
                    net: None,
                    why: None,
                };
                if asked.is_held(&self.policy, decision.verdict)
                    || (self.has_plane && asked.is_connection())
                {
                    return self.leave(target, &decision);
                }
                self.rule(target, &decision, request.flag())
            }
            None => Ok(Ruling {
                answer: Answer::Denied,
                reason: format!("{target} is no absolute path and no address"),
                remark: None,
            }),
        }
    }

    /// Records that the kernel refused to run `path`, which may be `missing` in the sandbox.
    ///
    /// # Errors
    /// When the decision cannot be recorded.
    pub(super) fn exec_denied(&mut self, path: &[u8], missing: bool) -> Result<Ruling, LogError> {
        let target = printable(path);
        let searched = missing.then(|| searched(Path::new(OsStr::from_bytes(path))));
        let known_as = match searched.flatten() {
            Some(Searched::There(name)) => Some(name),
            Some(Searched::Nowhere) => None,
            None => Some(target.clone()),
        };
        let request = Request::Exec {
            path: Path::new(OsStr::from_bytes(path)),
            sha256: None,
        };
        let mut decision = self.policy.decide(&request);
        // Exec once lets the command itself run one time, whatever its own rule says.
        decision.verdict = decision.verdict.max(Verdict::Deny);
        let target = Target {
            operation: Operation::Run,
            target,
            perm: None,
            pid: None,
            origin: Origin::Kernel,
            asked: None,
            known_as,
            net: None,
            why: None,
        };
        self.rule(target, &decision, request.flag())
    }

    /// Rules by the policy alone: what should be asked is denied.
    fn rule(
        &mut self,
        asked: Target,
        decision: &Decision,
        flag: String,
    ) -> Result<Ruling, LogError> {
        let Decision { verdict, rule } = decision;
        let answer = if verdict.permits() {
            Answer::Allowed
        } else {
            self.denial()
        };
        let remedy = match verdict {
            Verdict::Allow | Verdict::Warn => String::new(),
            Verdict::Ask | Verdict::Deny => self.remedy(asked.operation, rule, flag),
        };
        self.settle(asked, decision, answer, remedy)
    }

    /// What a worker is told of a denial.
    fn denial(&self) -> Answer {
        match self.policy.on_violation() {
            OnViolation::Kill => Answer::Killed,
            OnViolation::Deny => Answer::Denied,
        }
    }

    /// Counts an answer and records it, before anybody hears of it.
    fn settle(
        &mut self,
        asked: Target,
        decision: &Decision,
        answer: Answer,
        remedy: String,
    ) -> Result<Ruling, LogError> {
        let Decision { verdict, rule } = decision;
        let counted = (rule, *verdict);
        self.tally
            .add(asked.operation, &asked.target, counted, answer);
        self.record_decision(&asked, decision, answer)?;
        // What is learned from is said when it is learned.
        let is_said = *verdict == Verdict::Warn && !self.policy.learns();
        if answer == Answer::Allowed && !is_said {
            return Ok(Ruling {
                answer,
                reason: String::new(),
                remark: None,
            });
        }
        let reason = format!("rule {rule}; {remedy}");
        let said = if answer == Answer::Allowed {
            &mut self.warnings
        } else {
            &mut self.denials
        };
        let operation = asked.operation;
        let is_new = asked
            .known_as
            .is_some_and(|known_as| said.is_new(operation, known_as));
        let remark = is_new.then(|| Remark::Decided {
            operation,
            target: asked.target,
            verdict: *verdict,
            rule: rule.clone(),
            remedy,
        });
        Ok(Ruling {
            answer,
            reason,
            remark,
        })
    }

    /// Records a check about something that the kernel holds when it is done: it is counted, said
    /// and answered then.
    fn leave(&mut self, asked: Target, decision: &Decision) -> Result<Ruling, LogError> {
        let answer = match decision.verdict {
            Verdict::Ask | Verdict::Deny => Answer::Held,
            Verdict::Allow | Verdict::Warn => Answer::Allowed,
        };
        self.record_decision(&asked, decision, answer)?;
        Ok(Ruling {
            answer,
            reason: String::new(),
            remark: None,
        })
    }

    fn record_decision(
        &mut self,
        asked: &Target,
        decision: &Decision,
        answer: Answer,
    ) -> Result<(), LogError> {
        if self.log.is_none() {
            return Ok(());
        }
        self.record(&Event::Decision {
            operation: asked.operation,
            target: asked.target.clone(),
            perm: asked.perm,
            pid: asked.pid,
            verdict: decision.verdict,
            rule: decision.rule.clone(),
            origin: asked.origin,
            answer,
            asked: asked.asked,
            net: asked.net.clone(),
            why: asked.why.clone(),
            generation: self.generation,
        })
    }

    /// What a person can do about a denial. A flag cannot lift a rule of a file
    /// (layers only narrow), nor another flag.
    fn remedy(&self, operation: Operation, rule: &RuleRef, flag: String) -> String {
        if rule.what == UNNAMED {
            let how = "it is private, of this host, or special in another way";
            return format!("{how}: name it or its network in a rule (cidr) to allow it");
        }
        if rule.what.starts_with("--") {
            format!("leave {} away to allow it", rule.what)
        } else if self.flags_widen && rule.what.starts_with("defaults") {
            let flag = printable(flag.as_bytes());
            // Whether it is there already is nothing that the worker may learn from us.
            match (operation, flag.rsplit_once('/')) {
                (Operation::Write, Some((folder, _))) if !folder.ends_with('=') => {
                    format!("allow with {flag}, or with {folder} if it is to be made")
                }
                _ => format!("allow with {flag}"),
            }
        } else if let Some(name) = shipped(rule) {
            format!("to allow it, change a copy: buntime policy show --json {name}")
        } else {
            format!("to allow it, change {}", rule.location())
        }
    }

    /// The denials and warnings that were not said, once the session is over.
    pub(super) fn unsaid(&self) -> impl Iterator<Item = Remark> + use<> {
        let (denied, warned) = (self.denials.unsaid, self.warnings.unsaid);
        let denied = (denied > 0).then_some(Remark::MoreDenied { count: denied });
        let warned = (warned > 0).then_some(Remark::MoreWarned { count: warned });
        denied.into_iter().chain(warned)
    }

    /// Everything that was decided, by rule.
    pub(super) fn counted(&mut self) -> Vec<Counted> {
        std::mem::take(&mut self.tally).into_counted()
    }
}

/// What a search along `PATH` came upon in one folder of the system.
enum Searched {
    /// The host has a program of this name there, though the sandbox does not.
    There(String),
    /// The host has none either, and no flag would allow it.
    Nowhere,
}

/// A search asks for the same name in many folders, so it is said once, and only where it could
/// be allowed. `None` is no such search. One name in a folder of the system is all that is looked
/// up on the host: a path of the worker's could wait for ever, or make the host mount something.
fn searched(path: &Path) -> Option<Searched> {
    let (folder, name) = (path.parent()?, path.file_name()?);
    if !PROGRAM_FOLDERS.contains(&folder.to_str()?) {
        return None;
    }
    Some(match folder.join(name).symlink_metadata() {
        Ok(_) => Searched::There(printable(name.as_bytes())),
        Err(_) => Searched::Nowhere,
    })
}

/// The shipped policy that a rule stands in: it has lines and no file.
fn shipped(rule: &RuleRef) -> Option<&str> {
    let name = rule
        .layer
        .strip_prefix("policies/")?
        .strip_suffix(".json")?;
    (rule.file.is_none() && rule.line.is_some()).then_some(name)
}

/// An interpreter tries to keep what it compiled by itself, and does without.
fn known_as(operation: Operation, target: &str) -> Option<String> {
    let by_itself = operation == Operation::Write && target.contains("/__pycache__");
    (!by_itself).then(|| target.to_owned())
}

fn perm(request: &Request<'_>) -> Option<Perm> {
    match request {
        Request::Fs { perm, .. } => Some(*perm),
        Request::Net { .. } | Request::Exec { .. } => None,
    }
}
