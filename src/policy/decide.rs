//! The oracle: one answer for one request.

use super::index::{Outcome, Reason};
use super::layer::NetRule;
use super::merge::Policy;
use super::names::{Name, Names};
use super::net::{NameBuffer, NetQuery};
use super::perm::{Perm, PermSet};
use super::request::{Decision, Request, RuleRef, Verdict};

impl Policy {
    /// The answer to one request.
    ///
    /// In a layer: deny > ask > warn > allow > what the bundle allows > default, over all rules
    /// that match and whatever their order. Over layers: the most severe. A request that cannot
    /// be meant, such as a relative path or a name that is no name, is denied.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        match *request {
            Request::Fs { path, perm } => {
                let Some(names) = Names::of(path) else {
                    return malformed();
                };
                let outcome = self.fs_outcome(names.as_slice(), perm);
                Decision {
                    verdict: outcome.verdict,
                    rule: self.fs.rule(outcome).clone(),
                }
            }
            Request::Exec { path, sha256 } => {
                let Some(names) = Names::of(path) else {
                    return malformed();
                };
                let outcome = self.exec.decide(names.as_slice(), Perm::Execute, sha256);
                Decision {
                    verdict: outcome.verdict,
                    rule: self.exec.rule(outcome).clone(),
                }
            }
            Request::Net {
                proto,
                host,
                addr,
                port,
            } => {
                let mut buffer = NameBuffer::new();
                match NetQuery::of(proto, host, addr, port, &mut buffer) {
                    Some(query) => self.decide_net(&query),
                    None => malformed(),
                }
            }
        }
    }

    /// `write_dir` is allowed as far as everything that it stands for is.
    pub(super) fn fs_outcome(&self, names: &[Name<'_>], perm: Perm) -> Outcome {
        let mut worst = self.fs.decide(names, perm, None);
        if perm == Perm::WriteDir {
            for part in PermSet::WRITE_DIR.without(Perm::WriteDir).iter() {
                let outcome = self.fs.decide(names, part, None);
                if outcome.verdict > worst.verdict {
                    worst = outcome;
                }
            }
        }
        worst
    }

    fn decide_net(&self, query: &NetQuery<'_>) -> Decision {
        // The worker's own loopback is part of the bundle's world.
        let own = self.own_loopback && query.addr.is_some_and(|addr| addr.is_loopback());
        let mut worst: Option<(Verdict, Reason, RuleRef)> = None;
        for layer in self.layers.iter() {
            let severest = severest(&layer.net, query);
            let says = match (severest, &layer.net_default) {
                (Some(rule), _) => (rule.action, Reason::Rule, &rule.rule),
                (None, _) if own => continue,
                (None, Some(default)) => (default.verdict, Reason::Default, &default.rule),
                (None, None) => continue,
            };
            if worst
                .as_ref()
                .is_none_or(|worst| (says.0, says.1) > (worst.0, worst.1))
            {
                worst = Some((says.0, says.1, says.2.clone()));
            }
        }
        match worst {
            Some((verdict, _, rule)) => Decision { verdict, rule },
            None if own => Decision {
                verdict: Verdict::Allow,
                rule: RuleRef::bundle(),
            },
            None => {
                let layer = self.layers.first().map_or("no policy", |layer| &layer.name);
                Decision {
                    verdict: Verdict::Deny,
                    rule: RuleRef::named(layer, "defaults.net"),
                }
            }
        }
    }
}

/// The most severe rule that matches; of equals the first.
fn severest<'r>(rules: &'r [NetRule], query: &NetQuery<'_>) -> Option<&'r NetRule> {
    let mut found: Option<&NetRule> = None;
    for rule in rules {
        if found.is_none_or(|found| rule.action > found.action) && rule.pattern.matches(query) {
            found = Some(rule);
        }
    }
    found
}

fn malformed() -> Decision {
    Decision {
        verdict: Verdict::Deny,
        rule: RuleRef::named("malformed request", "malformed request"),
    }
}
