//! Decide, record, answer: the one road of every question that a worker or the
//! kernel asks during a session.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::printable::printable;
use super::remark::Remark;
use crate::audit::{Answer, Counted, Event, EventLog, LogError, Operation, Origin, Tally};
use crate::ipc::{Check, CheckKind};
use crate::policy::{
    Decision, OnViolation, PROGRAM_FOLDERS, Perm, Policy, Proto, Request, RuleRef, Verdict,
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

/// What was asked for.
struct Target {
    operation: Operation,
    target: String,
    /// The name under which a person hears of it, once; `None` is not said, but counted and logged.
    known_as: Option<String>,
}

/// The policy of one session, its log and its counts.
pub(super) struct Gate {
    policy: Policy,
    log: Option<EventLog>,
    tally: Tally,
    /// Whether a flag can widen the policy, or only a change of its files.
    flags_widen: bool,
    remarked: BTreeSet<(Operation, String)>,
    unremarked: u64,
}

impl Gate {
    /// `flags_widen`: whether the flags are the policy, so that one more of them is
    /// the remedy of a denial.
    pub(super) fn new(policy: Policy, log: Option<EventLog>, flags_widen: bool) -> Self {
        Self {
            policy,
            log,
            tally: Tally::default(),
            flags_widen,
            remarked: BTreeSet::new(),
            unremarked: 0,
        }
    }

    /// Goes over to the policy that the launch really holds, before anything runs under it.
    pub(super) fn hold_to(&mut self, policy: Policy) {
        self.policy = policy;
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
        match Asked::parse(check) {
            Some(asked) => {
                let request = asked.request();
                let decision = self.policy.decide(&request);
                // An interpreter tries to keep what it compiled by itself, and does without.
                let by_itself = operation == Operation::Write && target.contains("/__pycache__");
                let known_as = (!by_itself).then(|| target.clone());
                let target = Target {
                    operation,
                    target,
                    known_as,
                };
                self.rule(target, &decision, origin, request.flag())
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
            known_as,
        };
        self.rule(target, &decision, Origin::Kernel, request.flag())
    }

    fn rule(
        &mut self,
        asked: Target,
        decision: &Decision,
        origin: Origin,
        flag: String,
    ) -> Result<Ruling, LogError> {
        let Target {
            operation,
            target,
            known_as,
        } = asked;
        let Decision { verdict, rule } = decision;
        let answer = match verdict {
            Verdict::Allow | Verdict::Warn => Answer::Allowed,
            Verdict::Ask | Verdict::Deny if self.policy.on_violation() == OnViolation::Kill => {
                Answer::Killed
            }
            Verdict::Ask | Verdict::Deny => Answer::Denied,
        };
        self.tally.add(operation, &target, (rule, *verdict), answer);
        if self.log.is_some() {
            self.record(&Event::Decision {
                operation,
                target: target.clone(),
                verdict: *verdict,
                rule: rule.clone(),
                origin,
                answer,
            })?;
        }
        if *verdict == Verdict::Allow {
            return Ok(Ruling {
                answer,
                reason: String::new(),
                remark: None,
            });
        }
        let remedy = self.remedy(operation, rule, flag);
        let reason = format!("rule {rule}; {remedy}");
        let remark = known_as.and_then(|known_as| {
            let said = (operation, known_as);
            self.remark(said, target, decision, remedy)
        });
        Ok(Ruling {
            answer,
            reason,
            remark,
        })
    }

    fn remark(
        &mut self,
        said: (Operation, String),
        target: String,
        decision: &Decision,
        remedy: String,
    ) -> Option<Remark> {
        let operation = said.0;
        if self.remarked.contains(&said) {
            return None;
        }
        if self.remarked.len() >= REMARKED {
            self.unremarked += 1;
            return None;
        }
        self.remarked.insert(said);
        let (verdict, rule) = (decision.verdict, decision.rule.clone());
        Some(Remark::Decided {
            operation,
            target,
            verdict,
            rule,
            remedy,
        })
    }

    /// What a person can do about a denial. A flag cannot lift a rule of a file
    /// (layers only narrow), nor another flag.
    fn remedy(&self, operation: Operation, rule: &RuleRef, flag: String) -> String {
        if operation == Operation::Connect && flag.starts_with("--allow-net") {
            return "nothing allows it yet: there is no way out of the sandbox".to_owned();
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

    /// The denials that were not said, once the session is over.
    pub(super) fn unsaid(&self) -> Option<Remark> {
        (self.unremarked > 0).then_some(Remark::MoreDenied {
            count: self.unremarked,
        })
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

fn operation(kind: CheckKind) -> Operation {
    match kind {
        CheckKind::FsRead => Operation::Read,
        CheckKind::FsWrite => Operation::Write,
        CheckKind::NetConnect => Operation::Connect,
        CheckKind::Exec => Operation::Run,
        CheckKind::ListDir => Operation::List,
    }
}

/// A worker's claim, parsed; it borrows the bytes of the check.
enum Asked<'a> {
    Fs(&'a Path, Perm),
    Net(Proto, Option<&'a str>, Option<IpAddr>, u16),
    Exec(&'a Path),
}

impl<'a> Asked<'a> {
    fn parse(check: &'a Check) -> Option<Self> {
        if check.kind == CheckKind::NetConnect && check.detail != Some("unix") {
            let proto = if check.detail == Some("udp") {
                Proto::Udp
            } else {
                Proto::Tcp
            };
            return endpoint(std::str::from_utf8(&check.target).ok()?, proto);
        }
        let path = Path::new(OsStr::from_bytes(&check.target));
        if !path.is_absolute() {
            return None;
        }
        let named = check.detail.and_then(Perm::from_name);
        Some(match check.kind {
            CheckKind::Exec => Self::Exec(path),
            CheckKind::FsRead => Self::Fs(path, named.unwrap_or(Perm::ReadFile)),
            CheckKind::ListDir => Self::Fs(path, named.unwrap_or(Perm::ReadDir)),
            // Connecting to a Unix socket needs write permission on it (unix(7)).
            CheckKind::FsWrite | CheckKind::NetConnect => {
                Self::Fs(path, named.unwrap_or(Perm::WriteFile))
            }
        })
    }

    fn request(&self) -> Request<'a> {
        match *self {
            Self::Fs(path, perm) => Request::Fs { path, perm },
            Self::Net(proto, host, addr, port) => Request::Net {
                proto,
                host,
                addr,
                port,
            },
            Self::Exec(path) => Request::Exec { path, sha256: None },
        }
    }
}

/// `HOST:PORT`, `ADDRESS:PORT` or `[V6]:PORT`.
fn endpoint(text: &str, proto: Proto) -> Option<Asked<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(Asked::Net(proto, None, Some(address), port)),
        Err(_) if bare.is_empty() => None,
        Err(_) => Some(Asked::Net(proto, Some(bare), None, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: CheckKind, target: &str, detail: Option<&'static str>) -> Check {
        Check {
            id: 1,
            kind,
            target: target.into(),
            detail,
        }
    }

    #[test]
    fn a_claim_is_parsed_or_refused() {
        let net = check(CheckKind::NetConnect, "[::1]:80", Some("tcp"));
        assert!(matches!(
            Asked::parse(&net).map(|asked| match asked.request() {
                Request::Net { addr, port, .. } => (addr, port),
                _ => (None, 0),
            }),
            Some((Some(IpAddr::V6(_)), 80))
        ));
        for (kind, bad) in [
            (CheckKind::NetConnect, "localhost"),
            (CheckKind::NetConnect, ":80"),
            (CheckKind::NetConnect, "a:99999"),
            (CheckKind::FsRead, "etc/shadow"),
            (CheckKind::Exec, "sh"),
        ] {
            assert!(Asked::parse(&check(kind, bad, None)).is_none(), "{bad}");
        }
        let socket = check(CheckKind::NetConnect, "/run/x.sock", Some("unix"));
        assert!(matches!(
            Asked::parse(&socket),
            Some(Asked::Fs(_, Perm::WriteFile))
        ));
    }
}
