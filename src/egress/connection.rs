//! One connection that leaves: what it is for, decided about, and dialled.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::dial::Unresolved;
use super::message::WEB;
use super::names::Meaning;
use super::open::{By, Ended, NO_MORE, Open, Opened};
use super::{Asked, Denied, Ingress, Permitted, Shared, Way};
use crate::policy::Proto;

/// A connection that a program wants, or a flow of datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number in this sandbox, from 1.
    pub number: u64,
    /// How it came.
    pub ingress: Ingress,
    /// The name, where it is for one, in lower case and without its last dot.
    pub host: Option<String>,
    /// Where that is.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are the host's own.
    pub own: Vec<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether it is a connection (TCP) or a flow (UDP).
    pub proto: Proto,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// The policy does not permit it.
    Denied(Denied),
    /// The name leads nowhere.
    Unresolved(Unresolved),
    /// The host cannot be reached.
    Unreachable(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Denied(denied) => denied.fmt(out),
            Refused::Unresolved(Unresolved::Missing) => out.write_str("the name has no address"),
            Refused::Unresolved(Unresolved::Failed) => out.write_str("no resolver knows the name"),
            Refused::Unreachable(error) => error.fmt(out),
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Refused {
        Refused::Denied(denied)
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        let kind = match &refused {
            Refused::Denied(_) => io::ErrorKind::PermissionDenied,
            Refused::Unresolved(_) => io::ErrorKind::HostUnreachable,
            Refused::Unreachable(error) => error.kind(),
        };
        io::Error::new(kind, refused.to_string())
    }
}

impl Connection {
    /// Where to is not known yet.
    fn by(ingress: Ingress, port: u16, shared: &Shared) -> Connection {
        Connection {
            number: shared.next_number(),
            ingress,
            host: None,
            addresses: Vec::new(),
            own: Vec::new(),
            port,
            proto: Proto::Tcp,
        }
    }

    /// Has it recorded that the proxy was asked for what it does not understand, for this reason.
    pub(super) async fn malformed(reason: String, shared: &Shared) {
        let wanted = Connection::by(Ingress::Http, WEB, shared);
        shared.deny(Asked::Connect(wanted), reason).await;
    }

    /// What is meant by a name or an address that a program says, as in a URI.
    pub(super) async fn to(
        host: &str,
        port: u16,
        ingress: Ingress,
        shared: &Shared,
    ) -> Result<Connection, Refused> {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match literal.unwrap_or(host).parse() {
            Ok(address) => Connection::to_address(address, port, ingress, shared).await,
            Err(_) => Connection::to_name(host, port, ingress, shared).await,
        }
    }

    /// What is meant by an address inside the sandbox.
    pub(super) async fn to_address(
        address: IpAddr,
        port: u16,
        ingress: Ingress,
        shared: &Shared,
    ) -> Result<Connection, Refused> {
        let wanted = Connection::by(ingress, port, shared);
        wanted.meant(address, shared).await
    }

    /// What is meant by datagrams to an address inside the sandbox.
    pub(super) async fn by_datagrams(
        there: SocketAddr,
        shared: &Shared,
    ) -> Result<Connection, Refused> {
        let wanted = Connection {
            proto: Proto::Udp,
            ..Connection::by(Ingress::Transparent, there.port(), shared)
        };
        let wanted = wanted.meant(there.ip(), shared).await?;
        // Whatever a rule says: of those nobody answers for what leaves.
        if wanted.addresses.iter().any(is_for_many) {
            let reason = "a datagram to many at once does not leave";
            return Err(shared.deny(Asked::Connect(wanted), reason).await.into());
        }
        Ok(wanted)
    }

    async fn meant(self, address: IpAddr, shared: &Shared) -> Result<Connection, Refused> {
        let (address, wanted) = (address.to_canonical(), self);
        let reason = match shared.names.meaning(address) {
            Meaning::Name(name) => return wanted.resolved(name, shared).await,
            Meaning::Nothing => "its address is no name's",
            Meaning::Address if address.is_loopback() || address.is_unspecified() => {
                "it is to the sandbox itself"
            }
            Meaning::Address => return wanted.at(vec![address], shared),
        };
        let asked = Asked::Connect(Connection {
            addresses: vec![address],
            ..wanted
        });
        Err(shared.deny(asked, reason).await.into())
    }

    async fn to_name(
        name: &str,
        port: u16,
        ingress: Ingress,
        shared: &Shared,
    ) -> Result<Connection, Refused> {
        let name = bare(name);
        // Otherwise names carry something out.
        shared.ask(Asked::Name(name.clone(), ingress)).await?;
        let wanted = Connection::by(ingress, port, shared);
        wanted.resolved(name, shared).await
    }

    /// To a name, by whatever addresses it has.
    async fn resolved(self, name: String, shared: &Shared) -> Result<Connection, Refused> {
        let wanted = Connection {
            host: Some(name.clone()),
            ..self
        };
        let found = shared.resolve(&name).await;
        let why = match found {
            Ok(addresses) if !addresses.is_empty() => return wanted.at(addresses, shared),
            Ok(_nowhere) => Unresolved::Missing,
            Err(why) => why,
        };
        let refused = Refused::Unresolved(why);
        let ended = Ended::unmade(wanted, By::Error, &refused);
        shared.live.tell(ended);
        Err(refused)
    }

    fn at(self, addresses: Vec<IpAddr>, shared: &Shared) -> Result<Connection, Refused> {
        let own = shared.dialler.own(&addresses);
        Ok(Connection {
            own: own.map_err(Refused::Unreachable)?,
            addresses,
            ..self
        })
    }

    /// Asks for it, and makes it.
    pub(super) async fn open(self, shared: &Shared) -> Result<Opened, Refused> {
        let permitted = shared.ask(Asked::Connect(self.clone())).await?;
        let dialled = shared.dialler.connect(&permitted.way.addresses, self.port);
        let made = dialled.await.and_then(|(upstream, address)| {
            upstream.set_nodelay(true)?;
            Ok((upstream, address))
        });
        match made {
            Ok((upstream, address)) => {
                let open = self.made(address, &permitted, shared).await?;
                Ok((upstream, Arc::new(open)))
            }
            Err(error) => Err(self.unmade(error, shared)),
        }
    }

    /// Asks for a flow, and makes it. Also gives whether nothing may be said on it that would have to be read.
    pub(super) async fn open_flow(
        self,
        shared: &Shared,
    ) -> Result<(UdpSocket, Open, bool), Refused> {
        let permitted = shared.ask(Asked::Connect(self.clone())).await?;
        let addresses = &permitted.way.addresses;
        match shared.dialler.open_flow(addresses, self.port).await {
            Ok((upstream, address)) => {
                let open = self.made(address, &permitted, shared).await?;
                Ok((upstream, open, permitted.way.is_read))
            }
            Err(error) => Err(self.unmade(error, shared)),
        }
    }

    fn unmade(self, error: io::Error, shared: &Shared) -> Refused {
        shared.live.tell(Ended::unmade(self, By::Error, &error));
        Refused::Unreachable(error)
    }

    /// It leads to this address, as was permitted.
    async fn made(
        self,
        address: IpAddr,
        permitted: &Permitted,
        shared: &Shared,
    ) -> Result<Open, Refused> {
        let way = &permitted.way;
        let open = shared.live.enter(self.clone(), address, way.is_read);
        if way.addresses.len() > 1 {
            let led = shared.ask(Asked::Led(self.clone(), address)).await;
            led.inspect_err(|_| open.over(By::Policy))?;
        }
        // Another policy has come since it was permitted: of one that comes now it is told.
        if shared.live.generation() != permitted.generation {
            let again = shared.ask(Asked::Connect(self)).await;
            let still = again.and_then(|again| {
                let Way { addresses, is_read } = again.way;
                match addresses.contains(&address) && (way.is_read || !is_read) {
                    true => Ok(()),
                    false => Err(Denied::because(NO_MORE)),
                }
            });
            if let Err(denied) = still {
                open.over(By::Policy);
                return Err(denied.into());
            }
        }
        Ok(open)
    }
}

/// Whether it is an address of a group, or of everybody on a link.
fn is_for_many(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// A name as rules have it: in lower case and without its last dot.
pub(super) fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
