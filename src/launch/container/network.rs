//! The network of a container whose policy lets something leave.
//!
//! It lives in a network namespace within the one that its configuration gives it: with a loopback,
//! the doors of the egress plane, and nothing else. Its supervisor makes the connections, in the outer one or
//! in the host's. So nothing that the container's own network can do, by whatever interface, route or
//! right over it, leads past a decision; and nothing that arrives there reaches the container.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::namespaces::kind;
use super::word::{Word, tell_with};
use crate::launch::doors::{Asked, Doors, RESOLVER};
use crate::launch::{Failure, rootfs};
use crate::sys::route::Route;
use crate::sys::{interface, namespace};

/// Where programs learn whom to ask for names.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most of that file that is read, in bytes.
const LARGEST: u64 = 1 << 16;

/// How many resolvers the C library asks (resolv.conf(5)).
const MOST_RESOLVERS: usize = 3;

/// What the supervisor gets.
#[derive(Debug)]
pub struct WayOut {
    /// The network namespace that the configuration gives.
    pub outer: OwnedFd,
    /// Whether there is an interface besides its loopback.
    pub is_linked: bool,
    /// The sockets inside.
    pub doors: Doors,
    /// DNS by UDP and by TCP, where else on its loopback the container looks for a resolver.
    pub resolvers: Vec<(OwnedFd, OwnedFd)>,
}

/// What of a [`WayOut`] is said beside its descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WayOutShape {
    /// Whether the container's own network has an interface besides its loopback.
    pub is_linked: bool,
    /// Whether some UDP may leave.
    datagrams: bool,
    /// How many descriptors the doors are.
    doors: usize,
    /// How many further resolvers there are.
    resolvers: usize,
}

impl WayOutShape {
    /// How many descriptors the whole is.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        1 + self.doors + 2 * self.resolvers
    }
}

impl WayOut {
    /// What is said of it.
    #[must_use]
    pub fn shape(&self) -> WayOutShape {
        WayOutShape {
            is_linked: self.is_linked,
            datagrams: self.doors.elsewhere.datagrams.is_some(),
            doors: self.doors.to_carry().count(),
            resolvers: self.resolvers.len(),
        }
    }

    /// In the order in which [`WayOut::from_carried`] takes them.
    pub fn to_carry(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let resolvers = self.resolvers.iter();
        std::iter::once(self.outer.as_fd())
            .chain(self.doors.to_carry())
            .chain(resolvers.flat_map(|(udp, tcp)| [udp.as_fd(), tcp.as_fd()]))
    }

    /// `None` when one is missing.
    #[must_use]
    pub fn from_carried(
        shape: WayOutShape,
        mut carried: impl Iterator<Item = OwnedFd>,
    ) -> Option<WayOut> {
        let outer = carried.next()?;
        let mut doors = carried.by_ref().take(shape.doors);
        let asked = Asked {
            proxy: None,
            datagrams: shape.datagrams,
            link: None,
        };
        let doors = Doors::from_carried(asked, &mut doors)?;
        let mut resolvers = Vec::new();
        for _ in 0..shape.resolvers {
            resolvers.push((carried.next()?, carried.next()?));
        }
        Some(WayOut {
            outer,
            is_linked: shape.is_linked,
            doors,
            resolvers,
        })
    }
}

/// The calling process's network namespace, while the host's procfs is in sight.
pub(super) fn outer() -> Result<OwnedFd, Failure> {
    File::open("/proc/self/ns/net")
        .map(OwnedFd::from)
        .map_err(|cause| Failure::new("open", "the container's network namespace", cause))
}

/// Moves the calling process, which is in its root, into a network namespace of its own within `outer`,
/// and gives the runtime what leads out of there.
///
/// # Errors
/// What the kernel says.
pub(super) fn enclose(
    outer: OwnedFd,
    asked: Asked,
    spec: &Spec,
    words: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let failed = |operation: &'static str, object: &'static str| {
        move |cause: io::Error| Failure::new(operation, object, cause)
    };
    let is_linked = Route::open().and_then(|mut route| route.has_a_link());
    let is_linked = is_linked.map_err(failed("look at", "the container's interfaces"))?;
    namespace::unshare(kind::NETWORK)
        .map_err(failed("make", "a network namespace within the container's"))?;
    interface::loopback_up().map_err(failed("bring up", "the loopback interface"))?;
    rootfs::set_network_sysctls(spec.linux().as_ref())?;
    let way_out = WayOut {
        outer,
        is_linked,
        doors: Doors::open(asked)?,
        resolvers: resolvers().map_err(failed("open", "the container's resolver"))?,
    };
    let descriptors: Vec<_> = way_out.to_carry().collect();
    let word = Word::WayOut {
        shape: way_out.shape(),
    };
    tell_with(words, &word, &descriptors).map_err(failed("hand over", "the container's way out"))
}

fn resolvers() -> io::Result<Vec<(OwnedFd, OwnedFd)>> {
    let mut listed = nameservers(&said()?);
    listed.retain(|address| address.is_loopback() && *address != RESOLVER);
    let open = |address: Ipv4Addr| {
        let udp = UdpSocket::bind((address, 53))?;
        Ok((udp.into(), TcpListener::bind((address, 53))?.into()))
    };
    listed.into_iter().map(open).collect()
}

/// The text of the container's own resolv.conf(5); of none, that it is empty.
fn said() -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut text = Vec::new();
    // What is no file, or leads nowhere, is none to the C library either.
    if let Ok(file) = rustix::fs::open(RESOLV_CONF, flags, Mode::empty()) {
        let file = File::from(file);
        if file.metadata()?.is_file() {
            file.take(LARGEST).read_to_end(&mut text)?;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The resolvers of IPv4 that a resolv.conf(5) names; where it names none at all, that is the loopback.
fn nameservers(text: &str) -> Vec<Ipv4Addr> {
    let mut named = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver") {
            named.extend(words.next());
        }
    }
    if named.is_empty() {
        return vec![Ipv4Addr::LOCALHOST];
    }
    named.truncate(MOST_RESOLVERS);
    let mut addresses = Vec::new();
    for address in named.iter().filter_map(|word| word.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_that_the_c_library_asks() {
        let of = |text: &str| {
            let named = nameservers(text).into_iter();
            named.map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(""), ["127.0.0.1"]);
        assert_eq!(of("search x\n# nameserver 1.1.1.1\n"), ["127.0.0.1"]);
        assert_eq!(
            of("nameserver 127.0.0.11\nnameserver\t10.0.0.1 # x\nnameserver 127.0.0.11\n"),
            ["127.0.0.11", "10.0.0.1"]
        );
        assert_eq!(
            of("nameserver ::1\nnameserver x\nnameserver 10.0.0.1\nnameserver 10.0.0.2"),
            ["10.0.0.1"]
        );
    }
}
