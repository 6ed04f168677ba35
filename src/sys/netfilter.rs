//! nf_tables over nfnetlink: where packets are led, in one batch, for the calling thread's network namespace.
//!
//! Numbers of netlink itself are in the byte order of the machine, those of nf_tables in that of the
//! network (`linux/netfilter/nf_tables.h`).

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Both the names of the table and of the chain in it that changes where things go.
const NAME: &[u8] = b"buntime\0";
/// `NF_ACCEPT` of `linux/netfilter.h`.
const ACCEPT: u32 = 1;

/// A version of IP, and where its own loopback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Loopback: 127.0.0.0/8.
    V4,
    /// Loopback: ::1.
    V6,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::V4 => libc::NFPROTO_IPV4 as u8,
            Family::V6 => libc::NFPROTO_IPV6 as u8,
        }
    }

    fn localhost(self) -> &'static [u8] {
        match self {
            Family::V4 => &[127, 0, 0, 1],
            Family::V6 => self.loopback(),
        }
    }

    /// The first bytes of an address by which it is known for one of the loopback.
    fn loopback(self) -> &'static [u8] {
        match self {
            Family::V4 => &[127],
            Family::V6 => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        }
    }

    /// Where in a packet its destination begins.
    fn destination(self) -> u32 {
        match self {
            Family::V4 => 16,
            Family::V6 => 24,
        }
    }
}

/// The ports of this machine to which everything is led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// TCP connections.
    pub connections: u16,
    /// What goes by UDP to port 53.
    pub names: u16,
    /// All other UDP, where somebody takes it: as it is, with the addresses that it has.
    pub datagrams: Option<u16>,
}

/// Packets that have this mark are not led anywhere: answers of whoever takes them. To give a packet a
/// mark takes CAP_NET_ADMIN or CAP_NET_RAW.
pub const MARK: u32 = 0x6275_6e74;

/// What is led to the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// What begins in this network and is not for its loopback.
    Leaving,
    /// What arrives over a link of it; connections to this address, of the same version of IP, stay as they are. Other
    /// protocols are dropped.
    Arriving(IpAddr),
}

/// Leads packets to ports of this machine: those that leave to ports on the loopback, those that arrive to
/// ports on every address.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the namespace, `EPROTONOSUPPORT` without nfnetlink, `EINVAL`
/// or `ENOENT` where the kernel lacks nf_tables or an expression.
pub fn redirect_all(family: Family, led: Led, ports: Ports) -> io::Result<()> {
    let made = batch_of(family, led, ports);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    let mut batch = Vec::new();
    message(&mut batch, BATCH_BEGIN, (0, 0), (0, SUBSYSTEM), &[]);
    let mut sequence = 0;
    for (kind, body) in &made {
        sequence += 1;
        let flags = libc::NLM_F_CREATE | libc::NLM_F_ACK;
        message(
            &mut batch,
            *kind,
            (flags, sequence),
            (family.number(), 0),
            body,
        );
    }
    message(
        &mut batch,
        BATCH_END,
        (0, sequence + 1),
        (0, SUBSYSTEM),
        &[],
    );
    rustix::net::send(&socket, &batch, SendFlags::empty())?;
    let mut space = vec![0; 1 << 16];
    let mut taken = 0;
    while taken < made.len() {
        let (length, _) = rustix::net::recv(&socket, &mut space[..], RecvFlags::empty())?;
        taken += acknowledged(&space[..length])?;
    }
    Ok(())
}

/// What is made, in order.
fn batch_of(family: Family, led: Led, ports: Ports) -> Vec<(u16, Vec<u8>)> {
    let (redirecting, own) = match led {
        Led::Leaving => (Chain::REDIRECTING, family.loopback().to_vec()),
        Led::Arriving(IpAddr::V4(own)) => (Chain::REDIRECTING_ARRIVALS, own.octets().to_vec()),
        Led::Arriving(IpAddr::V6(own)) => (Chain::REDIRECTING_ARRIVALS, own.octets().to_vec()),
    };
    let connections = leading(family, Of::Connections, &own, ports.connections);
    let loopback = family.loopback();
    let mut made = vec![
        (NEW_TABLE, table()),
        (NEW_CHAIN, redirecting.made()),
        (NEW_RULE, connections),
        (NEW_RULE, leading(family, Of::Names, loopback, ports.names)),
    ];
    if let Some(port) = ports.datagrams {
        made.extend([
            (NEW_CHAIN, Chain::DATAGRAMS.made()),
            (NEW_RULE, leading(family, Of::Datagrams, loopback, port)),
        ]);
    }
    if led != Led::Leaving {
        made.extend([
            (NEW_CHAIN, Chain::TAKEN.made()),
            (NEW_RULE, taken(libc::IPPROTO_TCP)),
            // Where nobody takes it, its sender hears so.
            (NEW_RULE, taken(libc::IPPROTO_UDP)),
        ]);
    }
    made
}

/// How many of our messages the kernel says that it has carried out.
fn acknowledged(mut answers: &[u8]) -> io::Result<usize> {
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        four.map(u32::from_ne_bytes)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    let mut taken = 0;
    while !answers.is_empty() {
        let length = word(answers, 0)? as usize;
        let kind = word(answers, 4)? & 0xffff;
        if length < HEADER || kind != libc::NLMSG_ERROR as u32 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match word(answers, HEADER)?.cast_signed() {
            0 => taken += 1,
            error => return Err(io::Error::from_raw_os_error(error.saturating_neg())),
        }
        answers = answers
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(taken)
}

/// `(flags, sequence)`, and of the `struct nfgenmsg` `(family, resource)`.
fn message(
    batch: &mut Vec<u8>,
    kind: u16,
    (flags, sequence): (i32, u32),
    (family, resource): (u8, u16),
    body: &[u8],
) {
    let length = HEADER + 4 + body.len();
    batch.extend((length as u32).to_ne_bytes());
    batch.extend(kind.to_ne_bytes());
    batch.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    batch.extend(sequence.to_ne_bytes());
    batch.extend(0_u32.to_ne_bytes());
    batch.extend([family, 0]);
    batch.extend(resource.to_be_bytes());
    batch.extend(body);
    batch.resize(batch.len().next_multiple_of(4), 0);
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn table() -> Vec<u8> {
    // NFTA_TABLE_NAME
    attribute(1, NAME)
}

/// A chain at a hook of the kernel's (`linux/netfilter.h`, `linux/netfilter_ipv4.h`).
struct Chain {
    name: &'static [u8],
    kind: &'static [u8],
    hook: u32,
    priority: i32,
    /// What becomes of what no rule in it ends.
    policy: u32,
}

impl Chain {
    const PREROUTING: u32 = 0;
    const INPUT: u32 = 1;
    const OUTPUT: u32 = 3;
    const DROP: u32 = 0;
    const DESTINATION_NAT: i32 = -100;

    const REDIRECTING: Chain = Chain {
        name: NAME,
        kind: b"nat\0",
        hook: Chain::OUTPUT,
        priority: Chain::DESTINATION_NAT,
        policy: ACCEPT,
    };
    const REDIRECTING_ARRIVALS: Chain = Chain {
        hook: Chain::PREROUTING,
        ..Chain::REDIRECTING
    };
    /// Before destinations are changed, where sockets are chosen.
    const DATAGRAMS: Chain = Chain {
        name: b"datagrams\0",
        kind: b"filter\0",
        hook: Chain::PREROUTING,
        priority: -150,
        policy: ACCEPT,
    };
    const TAKEN: Chain = Chain {
        name: b"taken\0",
        kind: b"filter\0",
        hook: Chain::INPUT,
        priority: 0,
        policy: Chain::DROP,
    };

    /// The message that makes it.
    fn made(&self) -> Vec<u8> {
        // NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY
        let hook = [
            number(1, self.hook),
            number(2, self.priority.cast_unsigned()),
        ];
        // NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE
        [
            attribute(1, NAME),
            attribute(3, self.name),
            nested(4, &hook),
            number(5, self.policy),
            attribute(7, self.kind),
        ]
        .concat()
    }
}

/// What is led by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// `meta l4proto tcp ip daddr != OWN redirect to :port`
    Connections,
    /// `meta l4proto udp ip daddr != 127.0.0.0/8 udp dport 53 redirect to :port`
    Names,
    /// `meta mark != MARK meta l4proto udp ip daddr != 127.0.0.0/8 udp dport != 53 tproxy to 127.0.0.1:port`
    Datagrams,
}

const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const EQUAL: u32 = 0;
const DIFFERENT: u32 = 1;

fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    // NFTA_LIST_ELEM of NFTA_EXPR_NAME and NFTA_EXPR_DATA
    nested(1, &[attribute(1, name), nested(2, data)])
}

/// What is known beside the packet's contents, into the register.
fn meta(key: u32) -> Vec<u8> {
    // NFTA_META_DREG, NFTA_META_KEY
    expression(b"meta\0", &[number(1, REGISTER), number(2, key)])
}

fn payload(base: u32, offset: u32, length: usize) -> Vec<u8> {
    // NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN
    let data = [
        number(1, REGISTER),
        number(2, base),
        number(3, offset),
        number(4, length as u32),
    ];
    expression(b"payload\0", &data)
}

fn compare(how: u32, with: &[u8]) -> Vec<u8> {
    // NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA
    let data = [
        number(1, REGISTER),
        number(2, how),
        nested(3, &[attribute(1, with)]),
    ];
    expression(b"cmp\0", &data)
}

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA
    let data = [number(1, register), nested(2, &[attribute(1, value)])];
    expression(b"immediate\0", &data)
}

/// A rule of `chain`.
fn rule(chain: &Chain, expressions: &[Vec<u8>]) -> Vec<u8> {
    // NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS
    [
        attribute(1, NAME),
        attribute(2, chain.name),
        nested(4, expressions),
    ]
    .concat()
}

const META_PROTOCOL: u32 = 16;
const TRANSPORT_HEADER: u32 = 2;

/// `meta l4proto … accept`
fn taken(protocol: libc::c_int) -> Vec<u8> {
    const VERDICT: u32 = 0;
    // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA of NFTA_DATA_VERDICT of NFTA_VERDICT_CODE
    let verdict = nested(2, &[nested(2, &[number(1, ACCEPT)])]);
    let expressions = [
        meta(META_PROTOCOL),
        compare(EQUAL, &[protocol as u8]),
        expression(b"immediate\0", &[number(1, VERDICT), verdict]),
    ];
    rule(&Chain::TAKEN, &expressions)
}

/// [`Of`], which leads to this port, but for destinations that begin so.
fn leading(family: Family, of: Of, own: &[u8], port: u16) -> Vec<u8> {
    const META_MARK: u32 = 3;
    const NETWORK_HEADER: u32 = 1;
    /// Where in a header of UDP the destination's port begins.
    const DESTINATION_PORT: u32 = 2;
    const DOMAIN: u16 = 53;
    let protocol = match of {
        Of::Connections => libc::IPPROTO_TCP,
        Of::Names | Of::Datagrams => libc::IPPROTO_UDP,
    };
    let mut expressions = Vec::new();
    if of == Of::Datagrams {
        // A mark is a number of the machine.
        expressions.extend([meta(META_MARK), compare(DIFFERENT, &MARK.to_ne_bytes())]);
    }
    expressions.extend([
        meta(META_PROTOCOL),
        compare(EQUAL, &[protocol as u8]),
        payload(NETWORK_HEADER, family.destination(), own.len()),
        compare(DIFFERENT, own),
    ]);
    let is_name = match of {
        Of::Connections => None,
        Of::Names => Some(EQUAL),
        Of::Datagrams => Some(DIFFERENT),
    };
    if let Some(how) = is_name {
        expressions.extend([
            payload(TRANSPORT_HEADER, DESTINATION_PORT, 2),
            compare(how, &DOMAIN.to_be_bytes()),
        ]);
    }
    let port = port.to_be_bytes();
    match of {
        Of::Connections | Of::Names => expressions.extend([
            immediate(REGISTER, &port),
            // NFTA_REDIR_REG_PROTO_MIN
            expression(b"redir\0", &[number(1, REGISTER)]),
        ]),
        Of::Datagrams => expressions.extend([
            immediate(REGISTER, family.localhost()),
            immediate(SECOND_REGISTER, &port),
            // NFTA_TPROXY_FAMILY, NFTA_TPROXY_REG_ADDR, NFTA_TPROXY_REG_PORT
            expression(
                b"tproxy\0",
                &[
                    number(1, family.number().into()),
                    number(2, REGISTER),
                    number(3, SECOND_REGISTER),
                ],
            ),
        ]),
    }
    let chain = match of {
        Of::Connections | Of::Names => Chain::REDIRECTING,
        Of::Datagrams => Chain::DATAGRAMS,
    };
    rule(&chain, &expressions)
}
