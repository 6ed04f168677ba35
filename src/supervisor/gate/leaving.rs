//! Names and connections that the egress plane asks about.

use std::net::IpAddr;

use super::question::{Held, Waiting};
use super::*;
use crate::approval::{Site, Wish};
use crate::audit::Leaving;
use crate::egress::{
    Answer as Leave, Asked, Connection, Denied, Ended, Ingress, Question, RequestLine, Way,
};
use crate::policy::{AMBIGUOUS, HttpRequest, Proto, RuleOrigin, UNREAD, unlikely};

/// What is to be done about a name or a connection.
pub(in crate::supervisor) enum Leaves {
    /// To answer it so.
    Ruled(Leave, Ruling),
    /// To ask somebody.
    Ask(Box<Asking>),
}

/// A connection about which somebody is to be asked.
pub(in crate::supervisor) struct Asking {
    site: Site,
    /// What it may do then; its addresses are those of the site, in the order in which they are tried.
    way: Way,
    asked: Target,
    decision: Decision,
}

impl Asking {
    /// What waits for the answer.
    pub(in crate::supervisor) fn held(self, question: Question) -> Held {
        Held {
            waiting: Waiting::Connection(Box::new(question), self.way),
            wish: Wish::connection(self.site, self.decision.rule.clone()),
            asked: self.asked,
            decision: self.decision,
        }
    }
}

impl Gate {
    /// From here on the plane decides about connections as they are made.
    pub(in crate::supervisor) fn has_plane(&mut self) {
        self.has_plane = true;
    }

    /// Rules on what the plane asks, or on what it `denied` by itself for a reason.
    ///
    /// # Errors
    /// When the decision cannot be recorded. The answer is then a denial.
    pub(in crate::supervisor) fn leaves(
        &mut self,
        asked: &Asked,
        denied: Option<&str>,
    ) -> Result<Leaves, LogError> {
        let (decision, permitted) = match asked {
            Asked::Name(name, _) => (self.policy.decide_name(name), Vec::new()),
            Asked::Connect(connection) => self.permitted(connection),
            Asked::Request(connection, line) => (self.requested(connection, line), Vec::new()),
            Asked::Led(connection, address) => return self.led(connection, *address),
        };
        let target = target(asked, &permitted);
        // No change of a rule lets it through.
        let unfit = self.unfit_secret(asked);
        let denied = denied
            .or(unfit.as_deref())
            .or(UNRULED.into_iter().find(|why| decision.rule.what == *why))
            .or_else(|| self.unlikely_name(asked, &decision));
        if let Some(reason) = denied {
            return self.denied_by_plane(target, reason);
        }
        if let (Verdict::Ask, Asked::Request(_, line)) = (decision.verdict, asked)
            && line.target.len() > LONGEST_PATH
        {
            return self.denied_by_plane(target, "it is too long for anybody to be asked about it");
        }
        let way = self.way(asked, permitted);
        let ruling = match asked {
            _ if decision.verdict != Verdict::Ask => self.rule(target, &decision, flag(asked))?,
            // Who connects to it is asked about.
            Asked::Name(..) => self.leave(target, &decision)?,
            Asked::Connect(connection)
            | Asked::Led(connection, _)
            | Asked::Request(connection, _) => {
                let request = match asked {
                    Asked::Request(_, line) => Some(format!("{} {}", line.method, line.target)),
                    _ => None,
                };
                let site = Site {
                    host: connection.host.clone(),
                    addresses: way.addresses.iter().copied().collect(),
                    port: connection.port,
                    proto: connection.proto,
                    request,
                };
                return Ok(Leaves::Ask(Box::new(Asking {
                    site,
                    way,
                    asked: target,
                    decision,
                })));
            }
        };
        let answer = match ruling.answer {
            Answer::Allowed | Answer::Held => Ok(way),
            _ => Err(Denied {
                reason: format!("rule {}", decision.rule).into(),
            }),
        };
        Ok(Leaves::Ruled(answer, ruling))
    }

    /// What no rule lets through, because it is none of what rules speak of.
    fn denied_by_plane(&mut self, target: Target, reason: &str) -> Result<Leaves, LogError> {
        let decision = Decision {
            verdict: Verdict::Deny,
            rule: RuleRef::new(RuleOrigin {
                layer: PLANE.to_owned(),
                what: PLANE.to_owned(),
                file: None,
                line: None,
            }),
        };
        let reason = printable(reason.as_bytes());
        let target = Target {
            why: Some(reason.clone()),
            ..target
        };
        let answer = self.denial();
        let ruling = self.settle(target, &decision, answer, reason.clone())?;
        let reason = reason.into();
        Ok(Leaves::Ruled(Err(Denied { reason }), ruling))
    }

    /// Records where a connection leads to. Nothing may be said on it before.
    fn led(&mut self, connection: &Connection, address: IpAddr) -> Result<Leaves, LogError> {
        self.record(&Event::ConnectionBegin {
            target: shown(connection, &[address]),
            net: leaving(connection, &[address]),
        })?;
        let ruling = Ruling {
            answer: Answer::Allowed,
            reason: String::new(),
            remark: None,
        };
        let way = Way {
            addresses: vec![address],
            is_read: false,
        };
        Ok(Leaves::Ruled(Ok(way), ruling))
    }

    fn requested(&self, connection: &Connection, line: &RequestLine) -> Decision {
        self.policy.decide_request(&HttpRequest {
            host: connection.host.as_deref().unwrap_or_default(),
            method: &line.method,
            target: &line.target,
        })
    }

    /// Why a name is not asked for that is one of many that may be.
    fn unlikely_name(&self, asked: &Asked, decision: &Decision) -> Option<&'static str> {
        match asked {
            Asked::Name(name, _)
                if decision.verdict != Verdict::Deny && !self.policy.says_name(name) =>
            {
                unlikely(name)
            }
            _ => None,
        }
    }

    /// Why a request may not have a secret that it asks for.
    fn unfit_secret(&self, asked: &Asked) -> Option<String> {
        let Asked::Request(connection, line) = asked else {
            return None;
        };
        let host = connection.host.as_deref().unwrap_or_default();
        let is_granted = |name: &&String| {
            let mut granted = self.policy.secrets_for(host);
            granted.any(|secret| secret.name() == *name)
        };
        match line.secrets.iter().find(|name| !is_granted(name)) {
            Some(name) => Some(format!(
                "it has what stands for the secret {name}, which is not for this host"
            )),
            None if line.secrets.is_empty() => None,
            None if !line.is_secure => Some("a secret is said over TLS alone".to_owned()),
            None => line.misplaced.as_ref().map(|name| {
                format!("the secret {name} is said in its headers alone, and not elsewhere")
            }),
        }
    }

    fn way(&self, asked: &Asked, addresses: Vec<IpAddr>) -> Way {
        Way {
            addresses,
            is_read: match asked {
                Asked::Connect(connection) => is_read(&self.policy, connection),
                Asked::Name(..) | Asked::Led(..) | Asked::Request(..) => false,
            },
        }
    }

    /// Counts a connection that is over, and gives the event of it.
    pub(in crate::supervisor) fn ended(&mut self, ended: &Ended) -> Event {
        let ingress = ended.connection.ingress.name();
        let by_it = self.traffic.entry(ingress);
        let traffic = by_it.or_insert_with(|| Traffic::by(ingress));
        match ended.address {
            Some(_) => traffic.connections += 1,
            None => traffic.failed += 1,
        }
        traffic.sent_bytes += ended.sent;
        traffic.received_bytes += ended.received;
        let address: Vec<IpAddr> = ended.address.into_iter().collect();
        let why = ended.why.as_ref();
        Event::ConnectionEnd {
            target: shown(&ended.connection, &address),
            net: leaving(&ended.connection, &address),
            address: ended.address,
            sent_bytes: ended.sent,
            received_bytes: ended.received,
            seconds: ended.lasted.as_secs_f64(),
            ended_by: ended.by.name(),
            why: why.map(|why| printable(why.as_bytes())),
        }
    }

    /// What has passed, by the way it took.
    pub(in crate::supervisor) fn traffic(&mut self) -> Vec<Traffic> {
        std::mem::take(&mut self.traffic).into_values().collect()
    }

    /// Whether a connection that is open may stay so, where the requests on it are read or not.
    pub(in crate::supervisor) fn still_permits(
        policy: &Policy,
        (connection, address): (&Connection, IpAddr),
        is_read: bool,
    ) -> bool {
        let is_to_be_read = self::is_read(policy, connection);
        decide(policy, connection, Some(address)).verdict.permits() && (is_read || !is_to_be_read)
    }

    /// The addresses that may be dialled, or about which somebody is to be asked where that is the
    /// mildest decision about any.
    fn permitted(&self, connection: &Connection) -> (Decision, Vec<IpAddr>) {
        let addresses = connection.addresses.iter();
        let mut decided: Vec<(IpAddr, Decision)> = addresses
            .map(|address| (*address, decide(&self.policy, connection, Some(*address))))
            .collect();
        // Of equals the first, which is the host's own order.
        decided.sort_by_key(|(_, decision)| decision.verdict);
        let asked = decided.first().map(|(_, decision)| decision.clone());
        let asked = asked.filter(|decision| decision.verdict == Verdict::Ask);
        // One question is by one rule.
        let is_meant = |decision: &Decision| match &asked {
            Some(asked) => decision.verdict == Verdict::Ask && decision.rule == asked.rule,
            None => decision.verdict.permits(),
        };
        let permitted = decided
            .iter()
            .filter(|(_, decision)| is_meant(decision))
            .map(|(address, _)| *address)
            .collect();
        let mildest = decided.into_iter().next().map(|(_, decision)| decision);
        // A name without addresses leads nowhere, whatever is said of it.
        (
            mildest.unwrap_or_else(|| decide(&self.policy, connection, None)),
            permitted,
        )
    }
}

/// Whether what is said has to be read: of connections to hosts to whom requests are, and of every flow where
/// there are such hosts. By HTTP/3 one of them could be spoken to at another's address.
fn is_read(policy: &Policy, connection: &Connection) -> bool {
    match connection.proto {
        Proto::Tcp => {
            let host = connection.host.as_deref();
            host.is_some_and(|host| policy.reads_requests_to(host))
        }
        Proto::Udp => policy.reads_requests(),
    }
}

fn decide(policy: &Policy, connection: &Connection, address: Option<IpAddr>) -> Decision {
    let request = Request::Net {
        proto: connection.proto,
        host: connection.host.as_deref(),
        addr: address.filter(|_| connection.host.as_deref() != Some(HOST_NAME)),
        port: connection.port,
    };
    match address.is_some_and(|address| connection.own.contains(&address)) {
        true => policy.decide_about_own(&request),
        false => policy.decide(&request),
    }
}

/// What no rule is the reason of.
const UNRULED: [&str; 2] = [AMBIGUOUS, UNREAD];

/// What is in the place of a rule where the plane denies by itself.
const PLANE: &str = "the way out";

fn target(asked: &Asked, permitted: &[IpAddr]) -> Target {
    let (target, operation, net) = match asked {
        Asked::Name(name, ingress) => (
            printable(name.as_bytes()),
            Operation::Resolve,
            of_name(name, *ingress),
        ),
        Asked::Request(connection, line) => (
            shown_request(connection, line),
            Operation::Request,
            Leaving {
                secrets: line.secrets.clone(),
                ..leaving(connection, permitted)
            },
        ),
        Asked::Connect(connection) | Asked::Led(connection, _) => (
            shown(connection, permitted),
            Operation::Connect,
            leaving(connection, permitted),
        ),
    };
    Target {
        operation,
        known_as: Some(target.clone()),
        target,
        perm: None,
        pid: None,
        origin: Origin::Egress,
        asked: None,
        net: Some(net),
        why: None,
    }
}

fn of_name(name: &str, ingress: Ingress) -> Leaving {
    Leaving {
        ingress: ingress.name(),
        connection: None,
        host: Some(printable(name.as_bytes())),
        addresses: Vec::new(),
        port: None,
        proto: None,
        secrets: Vec::new(),
    }
}

fn leaving(connection: &Connection, permitted: &[IpAddr]) -> Leaving {
    let host = connection.host.as_ref();
    let addresses = match permitted {
        [] => &connection.addresses[..],
        permitted => permitted,
    };
    Leaving {
        ingress: connection.ingress.name(),
        connection: Some(connection.number),
        host: host.map(|host| printable(host.as_bytes())),
        addresses: addresses.to_vec(),
        port: Some(connection.port),
        proto: Some(connection.proto),
        secrets: Vec::new(),
    }
}

/// `name:443 (192.0.2.1)`, or the address alone; of datagrams `name:443/udp (192.0.2.1)`.
fn shown(connection: &Connection, permitted: &[IpAddr]) -> String {
    let Connection {
        host, port, proto, ..
    } = connection;
    let port = match proto {
        Proto::Tcp => port.to_string(),
        Proto::Udp => format!("{port}/udp"),
    };
    let address = permitted.first().or(connection.addresses.first());
    match (host, address) {
        (Some(host), Some(address)) => format!("{}:{port} ({address})", printable(host.as_bytes())),
        (Some(host), None) => format!("{}:{port}", printable(host.as_bytes())),
        (None, Some(IpAddr::V6(address))) => format!("[{address}]:{port}"),
        (None, Some(address)) => format!("{address}:{port}"),
        (None, None) => format!("?:{port}"),
    }
}

/// The most bytes of a path that are shown, and of a target about which somebody is asked.
const LONGEST_PATH: usize = 1024;

/// `GET name:443/path`: without the query, in which programs say what is nobody else's.
fn shown_request(connection: &Connection, line: &RequestLine) -> String {
    let path = line.target.split('?').next().unwrap_or_default();
    let end = path.len().min(LONGEST_PATH);
    let more = if end < path.len() { "..." } else { "" };
    let host = connection.host.as_deref().unwrap_or("?");
    let to = format!("{} {host}:{}", line.method, connection.port);
    printable(&[to.as_bytes(), &path.as_bytes()[..end], more.as_bytes()].concat())
}

fn flag(asked: &Asked) -> String {
    match asked {
        // No flag is about requests.
        Asked::Request(..) => String::new(),
        Asked::Name(name, _) => format!("--allow-net={name}"),
        Asked::Connect(connection) | Asked::Led(connection, _) => Request::Net {
            proto: connection.proto,
            host: connection.host.as_deref(),
            addr: connection.addresses.first().copied(),
            port: connection.port,
        }
        .flag(),
    }
}
