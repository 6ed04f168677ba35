//! The oracle's answers about one subject, with their rules, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::merge::Policy;
use super::perm::Perm;
use super::plan::RuleMechanism;
use super::request::{Proto, Request, RuleRef, Verdict};

/// Everything that a policy says about one path or place.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// What was asked about.
    pub subject: String,
    /// One answer for each operation.
    pub answers: Vec<Answer>,
}

/// The answer for one operation.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// A permission of the language, `run`, `connect tcp` or `send udp`.
    pub operation: String,
    /// What the policy says.
    pub verdict: Verdict,
    /// The rule that says so, as it is shown.
    pub rule: String,
    /// Where that rule stands.
    pub origin: RuleRef,
    /// What carries that rule, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// The flag that would allow it, where no policy file is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
}

impl Policy {
    /// What may be done to a path, and whether it may be run with this SHA-256, in lower-case
    /// hexadecimal, if that is known. The path is absolute and free of symbolic links.
    pub fn explain_path(&self, path: &Path, sha256: Option<&str>) -> Explanation {
        let perms = Perm::ALL
            .into_iter()
            .map(|perm| self.answer(perm.name(), &Request::Fs { path, perm }));
        let run = self.answer("run", &Request::Exec { path, sha256 });
        Explanation {
            subject: path.display().to_string(),
            answers: perms.chain(std::iter::once(run)).collect(),
        }
    }

    /// Whether a host, by name or by address, may be reached at a port.
    pub fn explain_host(&self, host: &str, port: u16) -> Explanation {
        let ask = |operation, proto| {
            self.answer(
                operation,
                &Request::Net {
                    proto,
                    host: Some(host),
                    addr: None,
                    port,
                },
            )
        };
        Explanation {
            subject: format!("{host}:{port}"),
            answers: vec![ask("connect tcp", Proto::Tcp), ask("send udp", Proto::Udp)],
        }
    }

    fn answer(&self, operation: &str, request: &Request<'_>) -> Answer {
        let decision = self.decide(request);
        Answer {
            operation: operation.to_owned(),
            verdict: decision.verdict,
            rule: decision.rule.to_string(),
            mechanism: None,
            flag: (decision.verdict == Verdict::Deny).then(|| request.flag()),
            origin: decision.rule,
        }
    }
}

impl Explanation {
    /// Adds what carries the deciding rules, as a plan has it.
    pub fn carried_by(&mut self, mechanisms: &[RuleMechanism]) {
        for answer in &mut self.answers {
            let rule = &answer.origin;
            let found = mechanisms.iter().find(|carried| carried.rule == *rule);
            answer.mechanism = found.map(|carried| carried.mechanism.clone());
        }
    }
}

/// One line for all operations with the same answer, in the order of the first of each.
impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.subject)?;
        let same =
            |one: &Answer, other: &Answer| (one.verdict, &one.rule) == (other.verdict, &other.rule);
        for (index, first) in self.answers.iter().enumerate() {
            if self.answers[..index].iter().any(|said| same(said, first)) {
                continue;
            }
            let operations: Vec<&str> = self.answers[index..]
                .iter()
                .filter(|answer| same(answer, first))
                .map(|answer| answer.operation.as_str())
                .collect();
            write!(
                out,
                "\n  {:5} {}\n        by {}",
                first.verdict.name(),
                operations.join(", "),
                first.rule
            )?;
            if first.origin.line.is_some() {
                write!(out, " ({})", first.origin.location())?;
            }
            if let Some(mechanism) = &first.mechanism {
                write!(out, "\n        carried by {mechanism}")?;
            }
        }
        Ok(())
    }
}
