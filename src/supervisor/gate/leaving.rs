//! Names and connections that the egress plane asks about.

use std::net::IpAddr;

use super::*;
use crate::egress::{Answer as Leave, Asked, Connection, Denied};
use crate::policy::Proto;

impl Gate {
    /// From here on the plane decides about connections as they are made.
    pub(in crate::supervisor) fn has_plane(&mut self) {
        self.has_plane = true;
    }

    /// Rules on what the plane is asked.
    ///
    /// # Errors
    /// When the decision cannot be recorded. The answer is then a denial.
    pub(in crate::supervisor) fn leaves(
        &mut self,
        asked: &Asked,
    ) -> Result<(Leave, Ruling), LogError> {
        let (decision, permitted, target, operation) = match asked {
            Asked::Name(name) => {
                let decision = self.policy.decide_name(name);
                (
                    decision,
                    Vec::new(),
                    printable(name.as_bytes()),
                    Operation::Resolve,
                )
            }
            Asked::Connect(connection) => {
                let (decision, permitted) = self.permitted(connection);
                let target = shown(connection, &permitted);
                (decision, permitted, target, Operation::Connect)
            }
        };
        let flag = flag(asked);
        let target = Target {
            operation,
            known_as: Some(target.clone()),
            target,
            perm: None,
            pid: None,
            origin: Origin::Egress,
            asked: None,
        };
        let ruling = self.rule(target, &decision, flag)?;
        let answer = match ruling.answer {
            Answer::Allowed => Ok(permitted),
            _ => Err(Denied {
                reason: format!("rule {}", decision.rule).into(),
            }),
        };
        Ok((answer, ruling))
    }

    /// Whether a connection that is open may stay so.
    pub(in crate::supervisor) fn still_permits(
        policy: &Policy,
        connection: &Connection,
        address: IpAddr,
    ) -> bool {
        decide(policy, connection, Some(address)).verdict.permits()
    }

    /// The addresses that may be dialled, and the mildest decision about any.
    fn permitted(&self, connection: &Connection) -> (Decision, Vec<IpAddr>) {
        let addresses = connection.addresses.iter();
        let mut decided: Vec<(IpAddr, Decision)> = addresses
            .map(|address| (*address, decide(&self.policy, connection, Some(*address))))
            .collect();
        // Of equals the first, which is the host's own order.
        decided.sort_by_key(|(_, decision)| decision.verdict);
        let permitted = decided
            .iter()
            .filter(|(_, decision)| decision.verdict.permits())
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

fn decide(policy: &Policy, connection: &Connection, address: Option<IpAddr>) -> Decision {
    let request = Request::Net {
        proto: Proto::Tcp,
        host: connection.host.as_deref(),
        addr: address.filter(|_| connection.host.as_deref() != Some(HOST_NAME)),
        port: connection.port,
    };
    match address.is_some_and(|address| connection.own.contains(&address)) {
        true => policy.decide_about_own(&request),
        false => policy.decide(&request),
    }
}

/// `name:443 (192.0.2.1)`, or the address alone.
fn shown(connection: &Connection, permitted: &[IpAddr]) -> String {
    let Connection { host, port, .. } = connection;
    let address = permitted.first().or(connection.addresses.first());
    match (host, address) {
        (Some(host), Some(address)) => format!("{}:{port} ({address})", printable(host.as_bytes())),
        (Some(host), None) => format!("{}:{port}", printable(host.as_bytes())),
        (None, Some(IpAddr::V6(address))) => format!("[{address}]:{port}"),
        (None, Some(address)) => format!("{address}:{port}"),
        (None, None) => format!("?:{port}"),
    }
}

fn flag(asked: &Asked) -> String {
    match asked {
        Asked::Name(name) => format!("--allow-net={name}"),
        Asked::Connect(connection) => Request::Net {
            proto: Proto::Tcp,
            host: connection.host.as_deref(),
            addr: connection.addresses.first().copied(),
            port: connection.port,
        }
        .flag(),
    }
}
