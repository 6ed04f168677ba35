//! The sandbox's ways to the egress plane: sockets inside its network namespace, which its supervisor
//! listens to, and what leads every connection and every datagram to them.
//!
//! Made by the launch before the program starts. The namespace has a loopback and no other device, or one
//! that ends at doors too ([`link`]): whatever does not arrive here goes nowhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::link::{self, Subnet};
use super::notice::Failure;
use crate::sys::netfilter::{self, Family, Led, Ports};
use crate::sys::route::Route;
use crate::sys::{datagrams, interface};

/// Where names are resolved inside, as the root's `/etc/resolv.conf` says.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const NAMES: &str = "the sandbox's resolver";

/// The supervisor's sockets inside the sandbox.
#[derive(Debug)]
pub struct Doors {
    /// To IPv4 addresses that are not the sandbox's own loopback.
    pub elsewhere: Elsewhere,
    /// The same for IPv6; `None` where the kernel has none.
    pub elsewhere_v6: Option<Elsewhere>,
    /// DNS by UDP at [`RESOLVER`].
    pub names: OwnedFd,
    /// DNS by TCP.
    pub names_by_tcp: OwnedFd,
    /// Where programs find a proxy, if they are to: on the loopback, or at the other end of the interface.
    pub proxy: Option<OwnedFd>,
}

/// What is for addresses of one version of IP.
#[derive(Debug)]
pub struct Elsewhere {
    /// Hears every TCP connection.
    pub redirected: OwnedFd,
    /// DNS by UDP.
    pub names: OwnedFd,
    /// All other UDP, where the policy could let some of it out.
    pub datagrams: Option<Datagrams>,
}

/// Both ways of datagrams.
#[derive(Debug)]
pub struct Datagrams {
    /// Hears each of them.
    pub out: OwnedFd,
    /// Takes whole packets, to be put into the sandbox's network.
    pub back: OwnedFd,
}

/// Which doors there are beside those that there always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::launch) struct Asked {
    /// The port of the proxy.
    pub proxy: Option<u16>,
    /// Whether there are those of datagrams.
    pub datagrams: bool,
    /// Whether an interface leads to those for other addresses, and what addresses it has.
    pub link: Option<Subnet>,
}

impl Doors {
    /// Makes them in the calling process's network namespace, of which it has CAP_NET_ADMIN.
    pub(in crate::launch) fn open(asked: Asked) -> Result<Doors, Failure> {
        let names = UdpSocket::bind((RESOLVER, 53)).map_err(failed(NAMES))?;
        let names_by_tcp = TcpListener::bind((RESOLVER, 53)).map_err(failed(NAMES))?;
        if asked.datagrams {
            mark(&names)?;
        }
        // First: the others take whatever port is left.
        let proxy = |at: Ipv4Addr| {
            let bound = asked.proxy.map(|port| TcpListener::bind((at, port)));
            bound
                .transpose()
                .map_err(failed("the sandbox's proxy (--proxy-port)"))
        };
        let (proxy, (elsewhere, elsewhere_v6)) = match asked.link {
            None => (proxy(Ipv4Addr::LOCALHOST)?, Elsewhere::both(asked)?),
            // What is bound to the interface cannot be led to the loopback.
            Some(subnet) => link::lead(names.as_fd(), subnet, || {
                Ok((proxy(subnet.gateway().0)?, Elsewhere::both(asked)?))
            })?,
        };
        Ok(Doors {
            elsewhere,
            elsewhere_v6,
            names: names.into(),
            names_by_tcp: names_by_tcp.into(),
            proxy: proxy.map(OwnedFd::from),
        })
    }

    /// In the order in which [`Doors::from_carried`] takes them.
    pub(in crate::launch) fn to_carry(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.names, &self.names_by_tcp]
            .into_iter()
            .chain(&self.proxy)
            .chain(self.elsewhere.to_carry())
            .chain(self.elsewhere_v6.iter().flat_map(Elsewhere::to_carry))
            .map(AsFd::as_fd)
    }

    /// `None` when one is missing.
    pub(in crate::launch) fn from_carried(
        asked: Asked,
        carried: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Doors> {
        let (names, names_by_tcp) = (carried.next()?, carried.next()?);
        let proxy = match asked.proxy {
            Some(_) => Some(carried.next()?),
            None => None,
        };
        let elsewhere = Elsewhere::from_carried(carried.next()?, asked, carried)?;
        let elsewhere_v6 = match carried.next() {
            Some(first) => Some(Elsewhere::from_carried(first, asked, carried)?),
            None => None,
        };
        Some(Doors {
            elsewhere,
            elsewhere_v6,
            names,
            names_by_tcp,
            proxy,
        })
    }
}

impl Elsewhere {
    /// Those of IPv4, and those of IPv6 where there is such a thing.
    fn both(asked: Asked) -> Result<(Elsewhere, Option<Elsewhere>), Failure> {
        let way = failed(match asked.datagrams {
            true => {
                "the sandbox's way out, with UDP (it takes nf_tables with nft_redir, nft_chain_nat and nft_tproxy: see buntime doctor)"
            }
            false => {
                "the sandbox's way out (it takes nf_tables with nft_redir and nft_chain_nat: see buntime doctor)"
            }
        });
        let mut route = Route::open().map_err(&way)?;
        let v4 = Ipv4Addr::LOCALHOST.into();
        let v4 = Elsewhere::open(v4, asked, &mut route).map_err(&way)?;
        let localhost = Ipv6Addr::LOCALHOST;
        let v6 = match TcpListener::bind((localhost, 0)) {
            Ok(_) => {
                let open = Elsewhere::open(localhost.into(), asked, &mut route);
                Some(open.map_err(&way)?)
            }
            // Nobody inside can connect by it either.
            Err(error) if interface::is_without_v6(&error) => None,
            Err(error) => return Err(way(error)),
        };
        Ok((v4, v6))
    }

    /// Leads everything there that is for another address than the loopback, on which `localhost` is, or than
    /// the end of the link.
    fn open(localhost: IpAddr, asked: Asked, route: &mut Route) -> io::Result<Elsewhere> {
        let (family, number, end) = match localhost {
            IpAddr::V4(_) => (
                Family::V4,
                libc::AF_INET,
                asked.link.map(|subnet| subnet.gateway().0.into()),
            ),
            IpAddr::V6(_) => (
                Family::V6,
                libc::AF_INET6,
                asked.link.map(|subnet| subnet.gateway().1.into()),
            ),
        };
        let (led, at) = match end {
            None => (Led::Leaving, localhost),
            Some(end) => (Led::Arriving(end), end),
        };
        let listener = TcpListener::bind((at, 0))?;
        let names = UdpSocket::bind((at, 0))?;
        let mut ports = Ports {
            connections: listener.local_addr()?.port(),
            names: names.local_addr()?.port(),
            datagrams: None,
        };
        let datagrams = match asked.datagrams {
            true => {
                // Its answers are for addresses that would be taken for places elsewhere.
                datagrams::mark(names.as_fd())?;
                let out = datagrams::door(localhost)?;
                ports.datagrams = Some(out.local_addr()?.port());
                let back = datagrams::packets(localhost.is_ipv6())?;
                let out = out.into();
                Some(Datagrams { out, back })
            }
            false => None,
        };
        let loopback = route.index("lo")?;
        route.keep_all_addresses(loopback, number, asked.link.is_some())?;
        netfilter::redirect_all(family, led, ports)?;
        Ok(Elsewhere {
            redirected: listener.into(),
            names: names.into(),
            datagrams,
        })
    }

    fn to_carry(&self) -> impl Iterator<Item = &OwnedFd> {
        let datagrams = self.datagrams.iter();
        let both = datagrams.flat_map(|datagrams| [&datagrams.out, &datagrams.back]);
        [&self.redirected, &self.names].into_iter().chain(both)
    }

    fn from_carried(
        redirected: OwnedFd,
        asked: Asked,
        carried: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Elsewhere> {
        let names = carried.next()?;
        let datagrams = match asked.datagrams {
            true => Some(Datagrams {
                out: carried.next()?,
                back: carried.next()?,
            }),
            false => None,
        };
        Some(Elsewhere {
            redirected,
            names,
            datagrams,
        })
    }
}

/// An answer to an address that is not of the loopback would be taken for what is to go there.
fn mark(names: &UdpSocket) -> Result<(), Failure> {
    datagrams::mark(names.as_fd()).map_err(failed(NAMES))
}

fn failed(object: &'static str) -> impl Fn(io::Error) -> Failure {
    move |cause| Failure::new("open", object, cause)
}
