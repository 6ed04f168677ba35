//! Network interfaces by rtnetlink(7): where they are, what addresses they have, which namespace is
//! theirs.
//!
//! Every number is in the byte order of the machine, and every attribute starts at a multiple of four
//! bytes, as the kernel has it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The size of `struct ifinfomsg`.
const LINK: usize = 16;
/// The size of `struct ifaddrmsg`.
const ADDRESS: usize = 8;
/// An answer is no longer than this.
const LONGEST: usize = 1 << 16;

/// A way to the kernel's tables of one network namespace.
#[derive(Debug)]
pub struct Route {
    socket: OwnedFd,
    sequence: u32,
}

/// An address that an interface has for good, and with which it reaches any place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    /// Length of the network's part in bits.
    prefix: u8,
    /// Types and values of the attributes that make it.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// This one, of a network whose part of it has `prefix` bits. Nobody else has it, so that it can be
    /// used at once.
    #[must_use]
    pub fn fixed(ip: IpAddr, prefix: u8) -> Address {
        const WITHOUT_ASKING: u32 = libc::IFA_F_NODAD;
        let (family, bytes, mut attributes) = match ip {
            IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec(), Vec::new()),
            IpAddr::V6(ip) => {
                let flags = WITHOUT_ASKING.to_ne_bytes().to_vec();
                let flags = vec![(libc::IFA_FLAGS, flags)];
                (libc::AF_INET6, ip.octets().to_vec(), flags)
            }
        };
        let named = [libc::IFA_ADDRESS, libc::IFA_LOCAL];
        attributes.extend(named.map(|kind| (kind, bytes.clone())));
        Address {
            family: family as u8,
            prefix,
            attributes,
        }
    }
}

impl Route {
    /// Opens the tables of the calling thread's namespace, of which they stay.
    ///
    /// # Errors
    /// The kernel has no rtnetlink.
    pub fn open() -> io::Result<Route> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0, which is the one that is meant when none is named.
            None,
        )?;
        Ok(Route {
            socket,
            sequence: 0,
        })
    }

    /// The number of the interface of this name.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn index(&mut self, name: &str) -> io::Result<u32> {
        let mut body = vec![0; LINK];
        push(&mut body, libc::IFLA_IFNAME, &text(name));
        let answers = self.ask(libc::RTM_GETLINK, 0, &body)?;
        let first = answers.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        number(first, 4)
    }

    /// The addresses of an interface that are worth keeping: permanent ones of global scope.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        const FOR_GOOD: u8 = 0x80;
        let answers = self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS])?;
        let mut found = Vec::new();
        for answer in &answers {
            let [family, prefix, flags, scope, ..] = answer[..] else {
                continue;
            };
            if number(answer, 4)? != index || scope != 0 || flags & FOR_GOOD == 0 {
                continue;
            }
            let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
            let mut attributes = attributes(answer.get(ADDRESS..).unwrap_or_default());
            attributes.retain(|(kind, _)| kept.contains(kind));
            found.push(Address {
                family,
                prefix,
                attributes,
            });
        }
        Ok(found)
    }

    /// Every address that an interface of the namespace has.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub fn all_addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        let answers = self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS])?;
        let own = |answer: &Vec<u8>| {
            let attributes = attributes(answer.get(ADDRESS..).unwrap_or_default());
            let of_kind = |kind| attributes.iter().find(|(found, _)| *found == kind);
            // Of two ends the own one, where that is said.
            let (_, value) = of_kind(libc::IFA_LOCAL).or_else(|| of_kind(libc::IFA_ADDRESS))?;
            let v4 = <[u8; 4]>::try_from(&value[..]).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(&value[..]).map(IpAddr::from))
                .ok()
        };
        Ok(answers.iter().filter_map(own).collect())
    }

    /// Whether the namespace has an interface besides its loopback.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub fn has_a_link(&mut self) -> io::Result<bool> {
        const UP: u32 = libc::IFF_UP as u32;
        const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;
        let answers = self.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK])?;
        let flags = answers.iter().map(|answer| number(answer, 8));
        let flags = flags.collect::<io::Result<Vec<u32>>>()?;
        Ok(flags.iter().any(|flags| flags & (UP | LOOPBACK) == UP))
    }

    /// Moves an interface to another namespace, under a name that it has there.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken there, `EINVAL` for an interface that stays where it is,
    /// `EPERM` without CAP_NET_ADMIN over both namespaces.
    pub fn hand_over(
        &mut self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<()> {
        let mut body = link(index, 0);
        let descriptor = namespace.as_raw_fd().to_ne_bytes();
        push(&mut body, libc::IFLA_NET_NS_FD, &descriptor);
        push(&mut body, libc::IFLA_IFNAME, &text(name));
        self.ask(libc::RTM_NEWLINK, 0, &body).map(|_| ())
    }

    /// Makes two interfaces (veth(4)), each of which gets what the other sends: one here, and one in another
    /// namespace. They have one link-layer address, so that neither has to ask for the other's where it is
    /// [brought up](Route::bring_up_unasked) so. `mtu` is the longest packet in bytes.
    ///
    /// # Errors
    /// `EEXIST` when a name is taken, `EOPNOTSUPP` where the kernel has no veth, `EPERM` without
    /// CAP_NET_ADMIN over both namespaces.
    pub fn add_pair(
        &mut self,
        name: &str,
        mtu: u32,
        (peer, namespace): (&str, BorrowedFd<'_>),
    ) -> io::Result<()> {
        // `linux/if_link.h`, `linux/veth.h`
        const INFO_KIND: u16 = 1;
        const INFO_DATA: u16 = 2;
        const PEER: u16 = 1;
        const LOCALLY_ADMINISTERED: [u8; 6] = [2, 0, 0, 0, 0, 1];
        let end = |name: &str| {
            let mut body = vec![0; LINK];
            push(&mut body, libc::IFLA_IFNAME, &text(name));
            push(&mut body, libc::IFLA_MTU, &mtu.to_ne_bytes());
            push(&mut body, libc::IFLA_ADDRESS, &LOCALLY_ADMINISTERED);
            body
        };
        let mut other = end(peer);
        let descriptor = namespace.as_raw_fd().to_ne_bytes();
        push(&mut other, libc::IFLA_NET_NS_FD, &descriptor);
        let (mut data, mut info) = (Vec::new(), Vec::new());
        push(&mut data, PEER, &other);
        push(&mut info, INFO_KIND, b"veth");
        push(&mut info, INFO_DATA, &data);
        let mut body = end(name);
        push(&mut body, libc::IFLA_LINKINFO, &info);
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.ask(libc::RTM_NEWLINK, flags, &body).map(|_| ())
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// `EEXIST` when it has it already.
    pub fn add_address(&mut self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            push(&mut body, *kind, value);
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.ask(libc::RTM_NEWADDR, flags, &body).map(|_| ())
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// What its driver says.
    pub fn bring_up(&mut self, index: u32) -> io::Result<()> {
        self.set_flags(index, libc::IFF_UP as u32)
    }

    /// The same, where what is sent has the address of the interface itself: nobody is asked for neighbours, of
    /// which the kernel knows so many for all namespaces together.
    ///
    /// # Errors
    /// What its driver says.
    pub fn bring_up_unasked(&mut self, index: u32) -> io::Result<()> {
        self.set_flags(index, (libc::IFF_UP | libc::IFF_NOARP) as u32)
    }

    fn set_flags(&mut self, index: u32, flags: u32) -> io::Result<()> {
        let body = link(index, flags);
        self.ask(libc::RTM_NEWLINK, 0, &body).map(|_| ())
    }

    /// Makes every address of a family (`AF_INET`, `AF_INET6`) the namespace's own, so that what is for any
    /// of them stays in it; `but_linked` leaves out those to which an interface leads.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN over the namespace, `EOPNOTSUPP` or `EAFNOSUPPORT` where the
    /// kernel has no such family.
    pub fn keep_all_addresses(
        &mut self,
        index: u32,
        family: libc::c_int,
        but_linked: bool,
    ) -> io::Result<()> {
        // That of the host's own addresses is looked at before any other.
        let table = match but_linked {
            true => libc::RT_TABLE_MAIN,
            false => libc::RT_TABLE_LOCAL,
        };
        let kind = (table, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
        self.add_default(index, family, kind, &[])
    }

    /// Sends what no other route leads anywhere to `gateway`.
    ///
    /// # Errors
    /// `EEXIST` when there is such a route, `ENETUNREACH` when the interface does not lead to it.
    pub fn send_all_to(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let kind = (
            libc::RT_TABLE_MAIN,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
        );
        match gateway {
            IpAddr::V4(ip) => self.add_default(index, libc::AF_INET, kind, &ip.octets()),
            IpAddr::V6(ip) => self.add_default(index, libc::AF_INET6, kind, &ip.octets()),
        }
    }

    /// A route without any prefix.
    fn add_default(
        &mut self,
        index: u32,
        family: libc::c_int,
        (table, scope, kind): (u8, u8, u8),
        gateway: &[u8],
    ) -> io::Result<()> {
        // A `struct rtmsg`.
        let mut body = vec![family as u8, 0, 0, 0];
        body.extend([table, libc::RTPROT_BOOT, scope, kind]);
        body.extend(0_u32.to_ne_bytes());
        push(&mut body, libc::RTA_OIF, &index.to_ne_bytes());
        if !gateway.is_empty() {
            push(&mut body, libc::RTA_GATEWAY, gateway);
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.ask(libc::RTM_NEWROUTE, flags, &body).map(|_| ())
    }

    /// Sends a request and gives the bodies of the answers to it.
    fn ask(&mut self, kind: u16, flags: i32, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        loop {
            let mut space = vec![0; LONGEST];
            let (length, _) = rustix::net::recv(&self.socket, &mut space[..], RecvFlags::empty())?;
            let mut rest = &space[..length];
            while rest.len() >= HEADER {
                let length = number(rest, 0)? as usize;
                let message = rest.get(..length).ok_or(io::ErrorKind::InvalidData)?;
                let body = message.get(HEADER..).ok_or(io::ErrorKind::InvalidData)?;
                rest = rest.get(aligned(length)..).unwrap_or_default();
                if number(message, 8)? != self.sequence {
                    continue;
                }
                match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => {
                        return match number(body, 0)?.cast_signed() {
                            0 => Ok(answers),
                            error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                        };
                    }
                    _ => answers.push(body.to_vec()),
                }
            }
        }
    }
}

/// A `struct ifinfomsg` that names an interface and sets `flags`.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body
}

fn text(name: &str) -> Vec<u8> {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    text
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Adds a `struct rtattr` with its value.
fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let [low, high, first, second, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let kind = u16::from_ne_bytes([first, second]);
        match bytes.get(4..length) {
            Some(value) => found.push((kind, value.to_vec())),
            None => break,
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    found
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_ne_bytes)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
