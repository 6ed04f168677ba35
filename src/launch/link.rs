//! An interface for programs that need one: an end of a pair, whose other end is in a network namespace
//! that nobody is in.
//!
//! That namespace has the doors of the egress plane and no further interface: what a program sends leaves the sandbox,
//! and gets no further. No name, address or rule of the host's is used, so that there may be any number of
//! pairs, and the kernel takes a pair away when the sockets of its doors are closed, however that comes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use super::notice::{Failure, FailureKind};
use crate::sys::route::{Address, Route};
use crate::sys::{interface, namespace};

/// What the programs' end is called.
const INTERFACE: &str = "eth0";

const BEYOND: &str = "a network namespace for the other end of the interface";
const PAIR: &str = "the sandbox's interface (it takes veth(4): see buntime doctor)";
const ADDRESSES: &str = "the addresses of the interface";
const ROUTES: &str = "the default routes by the interface";
/// The doors' end, which no program sees.
const OUTER: &str = "doors";
/// The longest packet in bytes: UDP is as long here as on the loopback.
const MTU: u32 = 65_535;
/// How many networks of four addresses 100.64.0.0/10 has (RFC 6598).
const COUNT: u32 = 1 << 20;

/// The addresses of a pair: a network of four by each version of IP.
///
/// Each pair is by itself, so that two may have the same. That they seldom do tells one sandbox from
/// another where programs say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet(u32);

impl Subnet {
    /// One of 2^20.
    #[must_use]
    pub fn of(number: u32) -> Subnet {
        Subnet(number % COUNT)
    }

    /// The addresses that the doors have.
    #[must_use]
    pub fn gateway(self) -> (Ipv4Addr, Ipv6Addr) {
        self.host(1)
    }

    /// The addresses that the programs have.
    #[must_use]
    pub fn inside(self) -> (Ipv4Addr, Ipv6Addr) {
        self.host(2)
    }

    /// In 100.64.0.0/10, and in a network of RFC 4193, beside that of the addresses for names.
    fn host(self, host: u32) -> (Ipv4Addr, Ipv6Addr) {
        const V4: u32 = u32::from_be_bytes([100, 64, 0, 0]);
        const V6: u128 = 0xfd62_756e_7469_0001 << 64;
        let last = self.0 * 4 + host;
        ((V4 + last).into(), (V6 + u128::from(last)).into())
    }
}

/// What there is in the namespace of a sandbox that something leaves, for the report.
pub(super) fn of_sandbox(link: Option<Subnet>, datagrams: bool) -> String {
    let link = link.map(|subnet| format!(" and {}", described(subnet.inside().0)));
    let what = match datagrams {
        true => "every connection and every datagram",
        false => "every connection",
    };
    format!(
        "loopback{}; {what} elsewhere is the egress plane's to make",
        link.unwrap_or_default()
    )
}

/// An interface beside the loopback, by its address.
pub(super) fn described(address: Ipv4Addr) -> String {
    format!("{INTERFACE} ({address}/30), which ends at the supervisor")
}

/// Gives the calling process's network namespace, of which `socket` is, an end of a pair, and all that leaves it
/// that way. Opens the `doors` at the other end.
///
/// # Errors
/// What the kernel says; the process may be in either namespace then.
pub(super) fn lead<T>(
    socket: BorrowedFd<'_>,
    subnet: Subnet,
    doors: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |operation, object| move |cause: io::Error| Failure::new(operation, object, cause);
    let inside = namespace::of_socket(socket).map_err(failed("find", "the network namespace"))?;
    let beyond = |cause| failed("make", BEYOND)(cause).of_kind(FailureKind::Namespaces);
    namespace::unshare(namespace::CLONE_NEWNET).map_err(beyond)?;
    interface::loopback_up().map_err(failed("bring up", "the loopback interface beyond"))?;
    let mut route = Route::open().map_err(failed("open", "rtnetlink"))?;
    route
        .add_pair(OUTER, MTU, (INTERFACE, inside.as_fd()))
        .map_err(failed("make", PAIR))?;
    let has_v6 = give(&mut route, OUTER, subnet.gateway(), true);
    let has_v6 = has_v6.map_err(failed("give out", ADDRESSES))?;
    let opened = doors()?;
    namespace::enter(inside.as_fd(), namespace::CLONE_NEWNET)
        .map_err(failed("go back to", "the network namespace"))?;
    let mut route = Route::open().map_err(failed("open", "rtnetlink"))?;
    let has_v6 = give(&mut route, INTERFACE, subnet.inside(), has_v6);
    let has_v6 = has_v6.map_err(failed("give out", ADDRESSES))?;
    let index = route.index(INTERFACE).map_err(failed("find", PAIR))?;
    let (v4, v6) = subnet.gateway();
    let gateways = [Some(IpAddr::from(v4)), has_v6.then_some(v6.into())];
    for gateway in gateways.into_iter().flatten() {
        route
            .send_all_to(index, gateway)
            .map_err(failed("make", ROUTES))?;
    }
    Ok(opened)
}

/// Brings an interface up with its addresses, of IPv6 too where that is wanted. Whether there is such a thing.
fn give(
    route: &mut Route,
    name: &str,
    (v4, v6): (Ipv4Addr, Ipv6Addr),
    wants_v6: bool,
) -> io::Result<bool> {
    let index = route.index(name)?;
    route.bring_up_unasked(index)?;
    route.add_address(index, &Address::fixed(v4.into(), 30))?;
    if !wants_v6 {
        return Ok(false);
    }
    match route.add_address(index, &Address::fixed(v6.into(), 126)) {
        Ok(()) => Ok(true),
        // The kernel has none, or `disable_ipv6` is set.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EOPNOTSUPP)) => {
            Ok(false)
        }
        Err(error) if interface::is_without_v6(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_lie_side_by_side() {
        let said = |number| {
            let subnet = Subnet::of(number);
            (subnet.gateway(), subnet.inside())
        };
        let of = |v4: [u8; 4], v6: &str| (v4.into(), v6.parse().unwrap());
        assert_eq!(
            said(0),
            (
                of([100, 64, 0, 1], "fd62:756e:7469:1::1"),
                of([100, 64, 0, 2], "fd62:756e:7469:1::2")
            )
        );
        assert_eq!(
            said(COUNT - 1),
            (
                of([100, 127, 255, 253], "fd62:756e:7469:1::3f:fffd"),
                of([100, 127, 255, 254], "fd62:756e:7469:1::3f:fffe")
            )
        );
        assert_eq!(said(COUNT + 5), said(5));
    }
}
