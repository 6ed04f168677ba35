//! The sandbox's ways to the egress plane: sockets inside its network namespace, which its supervisor
//! listens to, and the redirect that leads every connection to them.
//!
//! Made by the launch before the program starts. The namespace has a loopback and no other device:
//! whatever does not arrive here goes nowhere.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::notice::Failure;
use crate::sys::netfilter::{self, Family};
use crate::sys::route::Route;

/// Where names are resolved inside, as the root's `/etc/resolv.conf` says.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// The supervisor's sockets inside the sandbox.
#[derive(Debug)]
pub struct Doors {
    /// Hears every TCP connection to an IPv4 address that is not the sandbox's own loopback.
    pub redirected: OwnedFd,
    /// The same for IPv6; `None` where the kernel has none.
    pub redirected_v6: Option<OwnedFd>,
    /// DNS by UDP at [`RESOLVER`].
    pub names: OwnedFd,
    /// DNS by UDP to any other address.
    pub names_elsewhere: OwnedFd,
    /// The same for IPv6.
    pub names_elsewhere_v6: Option<OwnedFd>,
    /// DNS by TCP.
    pub names_by_tcp: OwnedFd,
    /// Where programs find a proxy, if they are to.
    pub proxy: Option<OwnedFd>,
}

impl Doors {
    /// Makes them in the calling process's network namespace, of which it has CAP_NET_ADMIN.
    pub(in crate::launch) fn open(proxy: Option<u16>) -> Result<Doors, Failure> {
        let failed =
            |object: &'static str| move |cause: io::Error| Failure::new("open", object, cause);
        let names = "the sandbox's resolver";
        let by_udp = UdpSocket::bind((RESOLVER, 53)).map_err(failed(names))?;
        let by_tcp = TcpListener::bind((RESOLVER, 53)).map_err(failed(names))?;
        let way = "the sandbox's way out (it takes nf_tables with nft_redir and nft_chain_nat: see buntime doctor)";
        let mut route = Route::open().map_err(failed(way))?;
        let loopback = route.index("lo").map_err(failed(way))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed(way))?;
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed(names))?;
        route
            .keep_all_addresses(loopback, libc::AF_INET)
            .map_err(failed(way))?;
        redirect(Family::V4, &listener, &elsewhere).map_err(failed(way))?;
        let of_v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            Ok(listener) => {
                route
                    .keep_all_addresses(loopback, libc::AF_INET6)
                    .map_err(failed(way))?;
                let elsewhere = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).map_err(failed(names))?;
                redirect(Family::V6, &listener, &elsewhere).map_err(failed(way))?;
                Some((listener, elsewhere))
            }
            // Nobody inside can connect by it either.
            Err(error) if is_without(&error) => None,
            Err(error) => return Err(failed(way)(error)),
        };
        let proxy = proxy
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .transpose()
            .map_err(failed("the sandbox's proxy (--proxy-port)"))?;
        let (redirected_v6, names_elsewhere_v6) = of_v6
            .map(|(listener, elsewhere)| (OwnedFd::from(listener), OwnedFd::from(elsewhere)))
            .unzip();
        Ok(Doors {
            redirected: listener.into(),
            redirected_v6,
            names: by_udp.into(),
            names_elsewhere: elsewhere.into(),
            names_elsewhere_v6,
            names_by_tcp: by_tcp.into(),
            proxy: proxy.map(OwnedFd::from),
        })
    }

    /// In the order in which [`Doors::from_carried`] takes them.
    pub(in crate::launch) fn to_carry(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let always = [
            &self.redirected,
            &self.names,
            &self.names_elsewhere,
            &self.names_by_tcp,
        ];
        always
            .into_iter()
            .chain(&self.proxy)
            .chain(&self.redirected_v6)
            .chain(&self.names_elsewhere_v6)
            .map(AsFd::as_fd)
    }

    /// `None` when one is missing.
    pub(in crate::launch) fn from_carried(
        has_proxy: bool,
        carried: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Doors> {
        Some(Doors {
            redirected: carried.next()?,
            names: carried.next()?,
            names_elsewhere: carried.next()?,
            names_by_tcp: carried.next()?,
            proxy: has_proxy.then(|| carried.next()).flatten(),
            redirected_v6: carried.next(),
            names_elsewhere_v6: carried.next(),
        })
    }
}

fn redirect(family: Family, listener: &TcpListener, names: &UdpSocket) -> io::Result<()> {
    let (connections, names) = (listener.local_addr()?.port(), names.local_addr()?.port());
    netfilter::redirect_all(family, connections, names)
}

/// Whether there is no such version of IP here.
fn is_without(error: &io::Error) -> bool {
    let without = [
        libc::EAFNOSUPPORT,
        libc::EADDRNOTAVAIL,
        libc::EPROTONOSUPPORT,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| without.contains(&errno))
}
