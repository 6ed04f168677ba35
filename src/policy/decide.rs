//! The oracle: one answer for one request.

use super::index::{Outcome, Reason};
use super::layer::{Layer, NetRule};
use super::merge::Policy;
use super::names::{Name, Names};
use super::net::{NameBuffer, NetQuery};
use super::perm::{Perm, PermSet};
use super::request::{Decision, Proto, Request, RuleRef, Verdict};
use super::special::HOST_NAME;

/// What is in the place of a rule where a special address is denied because none names it.
pub const UNNAMED: &str = "no rule names this address";

/// What is in the place of a rule where UDP is denied because requests to the host are read, and by HTTP/3
/// they would be made unread.
pub const UNREAD: &str = "requests to this host are read, and nothing is read of UDP";

impl Policy {
    /// The answer to a request about an address of the host itself, which no rule permits but one that
    /// names it.
    pub fn decide_about_own(&self, request: &Request<'_>) -> Decision {
        let Request::Net {
            proto,
            host,
            addr,
            port,
        } = *request
        else {
            return self.decide(request);
        };
        let mut buffer = NameBuffer::new();
        match NetQuery::of(proto, host, addr, port, &mut buffer) {
            Some(query) => self.decide_net(&query.of_own()),
            None => malformed(),
        }
    }

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

    /// Whether a name may be resolved: the mildest answer to any connection to it, whatever its
    /// addresses and the port are. What is no host name is denied.
    pub fn decide_name(&self, name: &str) -> Decision {
        let mut buffer = NameBuffer::new();
        let query = NetQuery::of(Proto::Tcp, Some(name), None, 0, &mut buffer);
        let Some(name) = query.and_then(|query| query.name) else {
            return malformed();
        };
        let mut worst: Option<Decision> = None;
        for layer in self.layers.iter() {
            let Some(says) = mildest(layer, name) else {
                continue;
            };
            if worst
                .as_ref()
                .is_none_or(|worst| says.verdict > worst.verdict)
            {
                worst = Some(says);
            }
        }
        worst.unwrap_or_else(|| self.undecided())
    }

    /// Whether a rule that permits something says just this name, and not many of which it is one.
    pub fn says_name(&self, name: &str) -> bool {
        let mut rules = self.layers.iter().flat_map(|layer| &layer.net);
        rules.any(|rule| rule.action != Verdict::Deny && rule.pattern.says(name))
    }

    /// What nothing says anything of is denied.
    fn undecided(&self) -> Decision {
        let layer = self.layers.first().map_or("no policy", |layer| &layer.name);
        Decision {
            verdict: Verdict::Deny,
            rule: RuleRef::named(layer, "defaults.net"),
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
        let decision = self.decide_by_rules(query);
        let is_read = |name| {
            self.layers
                .iter()
                .find(|layer| layer.reads_requests_to(name))
        };
        match query.name.filter(|_| query.proto == Proto::Udp) {
            Some(name) if decision.verdict != Verdict::Deny => match is_read(name) {
                Some(layer) => Decision {
                    verdict: Verdict::Deny,
                    rule: RuleRef::named(&layer.name, UNREAD),
                },
                None => decision,
            },
            _ => decision,
        }
    }

    fn decide_by_rules(&self, query: &NetQuery<'_>) -> Decision {
        // The worker's own loopback is part of the bundle's world.
        let is_loopback = query.addr.is_some_and(|addr| addr.is_loopback());
        let own = self.own_loopback && !query.of_host && is_loopback;
        let mut worst: Option<(Verdict, Reason, RuleRef)> = None;
        let is_special = !own && query.is_special();
        for layer in self.layers.iter() {
            let severest = severest(&layer.net, query, is_special);
            let says = match (severest, &layer.net_default) {
                (Some(rule), _) => (rule.action, Reason::Rule, rule.rule.clone()),
                (None, _) if own => continue,
                (None, Some(default)) if is_special && default.verdict.permits() => {
                    (Verdict::Deny, Reason::Rule, unnamed(&layer.name))
                }
                (None, Some(default)) => (default.verdict, Reason::Default, default.rule.clone()),
                (None, None) => continue,
            };
            if worst
                .as_ref()
                .is_none_or(|worst| (says.0, says.1) > (worst.0, worst.1))
            {
                worst = Some(says);
            }
        }
        match worst {
            Some((verdict, _, rule)) => Decision { verdict, rule },
            None if own => Decision {
                verdict: Verdict::Allow,
                rule: RuleRef::bundle(),
            },
            None => self.undecided(),
        }
    }
}

/// The mildest answer of a layer to any connection to a name; `None` where it says nothing.
fn mildest(layer: &Layer, name: &str) -> Option<Decision> {
    let closes = layer
        .net
        .iter()
        .find(|rule| rule.action == Verdict::Deny && rule.pattern.always_matches(name));
    let by = |verdict, rule: &RuleRef| Decision {
        verdict,
        rule: rule.clone(),
    };
    if let Some(rule) = closes {
        return Some(by(Verdict::Deny, &rule.rule));
    }
    let could = layer
        .net
        .iter()
        .filter(|rule| rule.action != Verdict::Deny && rule.pattern.could_match(name));
    let rules = could.map(|rule| (rule.action, &rule.rule));
    let default = layer.net_default.iter().map(|default| {
        let is_host = name == HOST_NAME && default.verdict.permits();
        let verdict = if is_host {
            Verdict::Deny
        } else {
            default.verdict
        };
        (verdict, &default.rule)
    });
    let mildest = rules.chain(default).min_by_key(|(verdict, _)| *verdict);
    mildest.map(|(verdict, rule)| by(verdict, rule))
}

/// The most severe rule that matches; of equals the first. A special address is permitted by those
/// alone that name it.
fn severest<'r>(
    rules: &'r [NetRule],
    query: &NetQuery<'_>,
    is_special: bool,
) -> Option<&'r NetRule> {
    let mut found: Option<&NetRule> = None;
    for rule in rules {
        let is_more = found.is_none_or(|found| rule.action > found.action);
        let pattern = &rule.pattern;
        let speaks = match rule.action {
            Verdict::Deny => pattern.matches(query),
            _ if is_special => pattern.names(query),
            _ => pattern.matches(query),
        };
        if is_more && speaks {
            found = Some(rule);
        }
    }
    found
}

/// What denies a special address that a default would permit.
fn unnamed(layer: &str) -> RuleRef {
    RuleRef::named(layer, UNNAMED)
}

fn malformed() -> Decision {
    Decision {
        verdict: Verdict::Deny,
        rule: RuleRef::named("malformed request", "malformed request"),
    }
}
