//! Which sockets may be made, by family, type and protocol.

use syscalls::Sysno;

use super::conditions::{Condition, constant, different, equal, masked, rules};
use super::rules::{Clause, Table};
use super::{SeccompError, SeccompRequest};

/// Obsolete, so libc deprecates its name; the kernel still turns it into AF_PACKET under AF_INET.
const SOCK_PACKET: i32 = 10;

/// The kernel's mask for a type without SOCK_NONBLOCK and SOCK_CLOEXEC (`linux/net.h`).
const SOCK_TYPE_MASK: u64 = 0xf;

/// Socket families by argument. Under AF_INET and AF_INET6 only plain TCP and UDP: SOCK_RAW, and
/// SOCK_PACKET which the kernel turns into AF_PACKET, are refused, and other protocols (SCTP,
/// DCCP, MPTCP, ICMP) answer as on a kernel without them.
pub(super) fn add(table: &mut Table, request: &SeccompRequest) -> Result<(), SeccompError> {
    let unix = constant(libc::AF_UNIX);
    // Each end of a pair for datagrams can still send to any path, and be connected to another.
    let connected = |kind| vec![equal(0, unix), masked(1, SOCK_TYPE_MASK, constant(kind))];
    let pairs = if request.unix {
        vec![vec![equal(0, unix)]]
    } else {
        vec![
            connected(libc::SOCK_STREAM),
            connected(libc::SOCK_SEQPACKET),
        ]
    };
    table.admit(Sysno::socketpair, &pairs, libc::EAFNOSUPPORT)?;

    let mut families = Vec::new();
    if request.unix {
        families.push(unix);
    }
    if request.network {
        families.extend([constant(libc::AF_INET), constant(libc::AF_INET6)]);
    }
    if request.network && request.interfaces {
        families.push(constant(libc::AF_NETLINK));
    }
    if families.is_empty() {
        table.refuse(Sysno::socket, libc::EAFNOSUPPORT);
        return Ok(());
    }
    let foreign: Vec<Condition> = families
        .iter()
        .map(|family| different(0, *family))
        .collect();
    let mut clauses = vec![Clause::Refuse {
        when: rules(Sysno::socket, &[foreign])?,
        errno: libc::EAFNOSUPPORT,
    }];
    if request.network {
        clauses.extend(internet_only_tcp_and_udp(request)?);
    }
    table.put(Sysno::socket, clauses);
    Ok(())
}

fn internet_only_tcp_and_udp(request: &SeccompRequest) -> Result<[Clause; 3], SeccompError> {
    let families = [constant(libc::AF_INET), constant(libc::AF_INET6)];
    let typed = |kinds: [i32; 2]| {
        families.iter().flat_map(move |family| {
            kinds.map(|kind| vec![equal(0, *family), masked(1, SOCK_TYPE_MASK, constant(kind))])
        })
    };
    let raw: Vec<_> = typed([libc::SOCK_RAW, SOCK_PACKET]).collect();
    let protocol = |protocol| different(2, constant(protocol));
    let foreign = vec![
        different(0, constant(libc::AF_UNIX)),
        protocol(0),
        protocol(libc::IPPROTO_TCP),
        protocol(libc::IPPROTO_UDP),
    ];
    let mut plain: Vec<_> = typed([libc::SOCK_STREAM, libc::SOCK_DGRAM]).collect();
    if request.unix {
        plain.push(vec![equal(0, constant(libc::AF_UNIX))]);
    }
    if request.interfaces {
        plain.extend([libc::SOCK_RAW, libc::SOCK_DGRAM].map(|kind| {
            vec![
                equal(0, constant(libc::AF_NETLINK)),
                masked(1, SOCK_TYPE_MASK, constant(kind)),
                equal(2, constant(libc::NETLINK_ROUTE)),
            ]
        }));
    }
    Ok([
        Clause::Refuse {
            when: rules(Sysno::socket, &raw)?,
            errno: libc::EPERM,
        },
        Clause::Refuse {
            when: rules(Sysno::socket, &[foreign])?,
            errno: libc::EPROTONOSUPPORT,
        },
        Clause::Admit {
            only: rules(Sysno::socket, &plain)?,
            errno: libc::EPROTONOSUPPORT,
        },
    ])
}
