//! The oracle's answers about one subject, with their rules, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::http::HttpRequest;
use super::merge::Policy;
use super::perm::Perm;
use super::plan::RuleMechanism;
use super::request::{Decision, Proto, Request, RuleRef, Verdict};

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
    /// A permission of the language, `run`, `connect tcp`, `send udp`, `request` and a method, or `say` and a secret.
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

/// The methods about which a URL is explained: those of RFC 9110 that programs use, and PATCH (RFC 5789).
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A place of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url<'a> {
    text: &'a str,
    is_secure: bool,
    host: &'a str,
    port: u16,
    target: &'a str,
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

    /// What may be asked of a host at a URL (RFC 3986), by each method that is usual, and which secrets may be said
    /// there: `target` is its path and query. Where requests to it are not read, that is whether it may be reached.
    pub fn explain_url(&self, url: &Url<'_>) -> Explanation {
        let Url { host, port, .. } = *url;
        let reached = Request::Net {
            proto: Proto::Tcp,
            host: Some(host),
            addr: None,
            port,
        };
        let mut answers = vec![self.answer("connect tcp", &reached)];
        if self.reads_requests_to(host) {
            answers.extend(METHODS.map(|method| {
                let request = HttpRequest {
                    host,
                    method,
                    target: url.target,
                };
                let decision = self.decide_request(&request);
                Answer::of(format!("request {method}"), decision, None)
            }));
        }
        if url.is_secure {
            answers.extend(self.secrets_for(host).map(|secret| {
                let decision = Decision {
                    verdict: Verdict::Allow,
                    rule: secret.rule().clone(),
                };
                Answer::of(format!("say {}", secret.name()), decision, None)
            }));
        }
        Explanation {
            subject: url.text.to_owned(),
            answers,
        }
    }

    fn answer(&self, operation: &str, request: &Request<'_>) -> Answer {
        let decision = self.decide(request);
        let flag = (decision.verdict == Verdict::Deny).then(|| request.flag());
        Answer::of(operation.to_owned(), decision, flag)
    }
}

impl Answer {
    fn of(operation: String, decision: Decision, flag: Option<String>) -> Answer {
        Answer {
            operation,
            verdict: decision.verdict,
            rule: decision.rule.to_string(),
            mechanism: None,
            flag,
            origin: decision.rule,
        }
    }
}

impl<'a> Url<'a> {
    /// One of `http:` or `https:`; `None` where it is none of them, or names no host or no port that there is.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Url<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, if is_secure { 443 } else { 80 }),
        };
        let is_host = !host.is_empty() && !host.contains('@');
        is_host.then_some(Url {
            text,
            is_secure,
            host,
            port,
            target: if target.starts_with('/') { target } else { "/" },
        })
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
