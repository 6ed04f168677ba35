//! What becomes of rules that a host cannot carry exactly, where the person starts all the same: each is
//! replaced by one that denies more, or, where there is none, left out, and either is said.
//!
//! Trusts nothing of the host: what it cannot carry is told by [`Refused`]. Never makes a layer allow
//! what it did not allow before.

use serde::Serialize;

use super::compile::{UNSEEN, UNSEEN_OF_THE_KERNEL, UNSEEN_WITHOUT_WAY_OUT};
use super::layer::{DefaultRule, Layer};
use super::matching::PathPattern;
use super::net::NetPattern;
use super::perm::PermSet;
use super::refused::Refused;
use super::request::{RuleRef, Verdict};

/// One rule that is not enforced as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Degraded {
    /// The rule.
    pub rule: RuleRef,
    /// What is missing for it.
    pub missing: String,
    /// What holds instead.
    pub instead: String,
    /// Whether that denies at least as much; otherwise the rule is not enforced.
    pub stricter: bool,
}

/// Changes `layers` so that what `refused` names is carried less exactly, and says how. A rule may
/// have to be changed again and again; none is changed for ever.
///
/// # Errors
/// Nothing that it names has anything in its place: the host cannot carry it at all.
pub fn degrade(layers: &mut [Layer], refused: &Refused) -> Result<Vec<Degraded>, Refused> {
    let mut degraded: Vec<Degraded> = Vec::new();
    let mut rules = Vec::new();
    for refusal in &refused.rules {
        // A rule that was refused for two reasons was changed for the first.
        if degraded.iter().any(|one| one.rule == refusal.rule) {
            continue;
        }
        let changed = layers
            .iter_mut()
            .find_map(|layer| layer.without(&refusal.rule));
        match changed {
            Some((instead, stricter)) => degraded.push(Degraded {
                rule: refusal.rule.clone(),
                missing: refusal.missing.clone(),
                instead,
                stricter,
            }),
            None => rules.push(refusal.clone()),
        }
    }
    match rules.is_empty() {
        true => Ok(degraded),
        false => Err(Refused { rules }),
    }
}

/// What holds in a rule's place, and whether that denies at least as much.
type Instead = (String, bool);

fn stricter(words: impl Into<String>) -> Option<Instead> {
    Some((words.into(), true))
}

fn denied(rule: &RuleRef, perms: PermSet) -> DefaultRule {
    DefaultRule {
        perms,
        verdict: Verdict::Deny,
        rule: rule.clone(),
    }
}

/// The folder that holds everything a pattern can name; `None` where nothing is above it.
fn folder(pattern: &PathPattern) -> Option<PathPattern> {
    let path = match pattern.as_literal() {
        Some(path) => path.parent()?.to_owned(),
        None => pattern.beginning().unwrap_or_else(|| "/".into()),
    };
    PathPattern::literal(&path).ok()
}

impl std::fmt::Display for Degraded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Degraded {
            missing, instead, ..
        } = self;
        match self.stricter {
            true => write!(
                out,
                "not carried as it stands, and more is denied: {instead} ({missing})"
            ),
            false => write!(out, "not enforced: {missing}; {instead}"),
        }
    }
}

impl Layer {
    /// Replaces the rule, if it is of this layer and there is something in its place.
    fn without(&mut self, rule: &RuleRef) -> Option<Instead> {
        self.without_default(rule)
            .or_else(|| self.without_path(rule))
            .or_else(|| self.without_program(rule))
            .or_else(|| self.without_connection(rule))
            .or_else(|| self.without_need(rule))
    }

    fn without_default(&mut self, rule: &RuleRef) -> Option<Instead> {
        let defaults = self.fs_defaults.iter_mut();
        let others = self.exec_default.iter_mut().chain(&mut self.net_default);
        let mut found = None;
        for default in defaults.chain(others) {
            if default.rule == *rule && default.verdict != Verdict::Deny {
                default.verdict = Verdict::Deny;
                found = stricter("the default is deny");
            }
        }
        found
    }

    fn without_path(&mut self, rule: &RuleRef) -> Option<Instead> {
        let index = self.fs.iter().position(|one| one.rule == *rule)?;
        let one = &mut self.fs[index];
        match one.action {
            Verdict::Allow => {
                self.fs.remove(index);
                // A section without a rule that allows would say nothing, which is more.
                let spoken = self.fs_defaults.iter().map(|default| default.perms);
                let unspoken = PermSet::ALL.difference(spoken.fold(PermSet::NONE, PermSet::union));
                if !unspoken.is_empty() {
                    self.fs_defaults.push(denied(rule, unspoken));
                }
                stricter("it allows nothing")
            }
            Verdict::Ask | Verdict::Warn if one.pattern.as_literal().is_some() => {
                one.action = Verdict::Deny;
                stricter("what it speaks of is denied")
            }
            _ => {
                one.action = Verdict::Deny;
                one.pattern = folder(&one.pattern)?;
                stricter(format!("{} is denied, as a whole", one.pattern))
            }
        }
    }

    fn without_program(&mut self, rule: &RuleRef) -> Option<Instead> {
        let index = self.exec.iter().position(|one| one.rule == *rule)?;
        let one = &mut self.exec[index];
        match one.action {
            Verdict::Allow => {
                self.exec.remove(index);
                self.exec_default
                    .get_or_insert_with(|| denied(rule, PermSet::ALL));
                stricter("it allows no program")
            }
            _ if one.sha256.take().is_some() => {
                one.action = Verdict::Deny;
                stricter("the program is denied, whatever its digest is")
            }
            Verdict::Ask | Verdict::Warn if one.pattern.as_literal().is_some() => {
                one.action = Verdict::Deny;
                stricter("the programs that it speaks of are denied")
            }
            _ => {
                one.action = Verdict::Deny;
                one.pattern = folder(&one.pattern)?;
                stricter(format!(
                    "programs in {} are denied, as a whole",
                    one.pattern
                ))
            }
        }
    }

    fn without_connection(&mut self, rule: &RuleRef) -> Option<Instead> {
        let index = self.net.iter().position(|one| one.rule == *rule)?;
        let one = &mut self.net[index];
        if one.action != Verdict::Deny {
            self.net.remove(index);
            self.net_default
                .get_or_insert_with(|| denied(rule, PermSet::ALL));
            return stricter("it allows no connection");
        }
        let everything = NetPattern::everything();
        (!one.pattern.is_everything()).then(|| {
            one.pattern = everything;
            ("every connection is denied, loopback too".to_owned(), true)
        })
    }

    /// What is asked of the host and of the records, in whose place nothing holds.
    fn without_need(&mut self, rule: &RuleRef) -> Option<Instead> {
        let unenforced = |words: &str| Some((words.to_owned(), false));
        if self.plugins_rule == *rule && self.plugins.namespaces {
            self.plugins.namespaces = false;
            return unenforced("Landlock and the system call filter hold the program alone");
        }
        if self.audit_rule == *rule {
            let before = self.audit.events.len();
            // Where calls are decided live, only the first are refused, and the others stay.
            for unseen in [&UNSEEN[..], &UNSEEN_OF_THE_KERNEL, &UNSEEN_WITHOUT_WAY_OUT] {
                self.audit
                    .events
                    .retain(|event| !unseen.contains(&event.as_str()));
                if self.audit.events.len() < before {
                    return unenforced("only what Buntime itself is asked is recorded");
                }
            }
        }
        let before = self.risk.len();
        self.risk.retain(|one| one != rule);
        if self.risk.len() < before {
            return unenforced("no operation is classified");
        }
        None
    }
}

#[cfg(test)]
mod tests;
