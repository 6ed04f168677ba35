//! One connection that leaves: what it is for, decided about, dialled, and open as long as that is
//! permitted.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::dial::Unresolved;
use super::names::Meaning;
use super::{Asked, Denied, Shared};

/// A connection that a program wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The name, where it is for one, in lower case and without its last dot.
    pub host: Option<String>,
    /// Where that is.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are the host's own.
    pub own: Vec<IpAddr>,
    /// The port.
    pub port: u16,
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
    /// What is meant by a name or an address that a program says, as in a URI.
    pub(super) async fn to(host: &str, port: u16, shared: &Shared) -> Result<Connection, Refused> {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match literal.unwrap_or(host).parse() {
            Ok(address) => Connection::to_address(address, port, shared).await,
            Err(_) => Connection::to_name(host, port, shared).await,
        }
    }

    /// What is meant by an address inside the sandbox.
    pub(super) async fn to_address(
        address: IpAddr,
        port: u16,
        shared: &Shared,
    ) -> Result<Connection, Refused> {
        let address = address.to_canonical();
        match shared.names.meaning(address) {
            Meaning::Nothing => Err(Denied::because("its address is no name's").into()),
            Meaning::Address if address.is_loopback() || address.is_unspecified() => {
                Err(Denied::because("it is to the sandbox itself").into())
            }
            Meaning::Address => at(None, vec![address], port, shared),
            Meaning::Name(name) => {
                let addresses = resolve(&name, shared).await?;
                at(Some(name), addresses, port, shared)
            }
        }
    }

    async fn to_name(name: &str, port: u16, shared: &Shared) -> Result<Connection, Refused> {
        let name = bare(name);
        // Otherwise names carry something out.
        shared.ask(Asked::Name(name.clone())).await?;
        let addresses = resolve(&name, shared).await?;
        at(Some(name), addresses, port, shared)
    }

    /// Asks for it, and makes it.
    pub(super) async fn open(self, shared: &Shared) -> Result<(TcpStream, Open), Refused> {
        let before = shared.live.generation();
        let permitted = shared.ask(Asked::Connect(self.clone())).await?;
        let dialled = shared.dialler.connect(&permitted, self.port).await;
        let (upstream, address) = dialled.map_err(Refused::Unreachable)?;
        upstream.set_nodelay(true).map_err(Refused::Unreachable)?;
        let open = shared.live.enter(self.clone(), address);
        // Another policy has come since it was asked for: of one that comes now it is told.
        if shared.live.generation() != before {
            let permitted = shared.ask(Asked::Connect(self)).await?;
            if !permitted.contains(&address) {
                return Err(Denied::because(NO_MORE).into());
            }
        }
        Ok((upstream, open))
    }
}

async fn resolve(name: &str, shared: &Shared) -> Result<Vec<IpAddr>, Refused> {
    let resolved = shared.dialler.resolve(name).await;
    match resolved.map_err(Refused::Unresolved)? {
        nowhere if nowhere.is_empty() => Err(Refused::Unresolved(Unresolved::Missing)),
        addresses => Ok(addresses),
    }
}

fn at(
    host: Option<String>,
    addresses: Vec<IpAddr>,
    port: u16,
    shared: &Shared,
) -> Result<Connection, Refused> {
    let own = shared.dialler.own(&addresses);
    Ok(Connection {
        host,
        own: own.map_err(Refused::Unreachable)?,
        addresses,
        port,
    })
}

/// A name as rules have it: in lower case and without its last dot.
pub(super) fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

const NO_MORE: &str = "the policy does not permit it any more";

/// The connections that are open.
#[derive(Debug, Default, Clone)]
pub(super) struct Live(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Known>,
    next: u64,
    /// How many policies have come.
    generation: u64,
}

#[derive(Debug)]
struct Known {
    connection: Connection,
    address: IpAddr,
    ended: Arc<Notify>,
}

/// An open connection, for as long as this is there.
#[derive(Debug)]
pub(super) struct Open {
    live: Live,
    number: u64,
    made_for: Connection,
    address: IpAddr,
    ended: Arc<Notify>,
}

impl Live {
    fn enter(&self, made_for: Connection, address: IpAddr) -> Open {
        let ended = Arc::new(Notify::new());
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        let known = Known {
            connection: made_for.clone(),
            address,
            ended: Arc::clone(&ended),
        };
        table.open.insert(number, known);
        Open {
            live: self.clone(),
            number,
            made_for,
            address,
            ended,
        }
    }

    /// The number of the policy under which connections are entered.
    fn generation(&self) -> u64 {
        self.table().generation
    }

    /// Another policy has come: ends every connection that is not `permitted` any more.
    pub(super) fn go_over(&self, mut permitted: impl FnMut(&Connection, IpAddr) -> bool) {
        let mut table = self.table();
        table.generation += 1;
        for known in table.open.values() {
            if !permitted(&known.connection, known.address) {
                known.ended.notify_one();
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Waits until the policy does not permit it any more.
    pub(super) async fn ended(&self) -> Denied {
        self.ended.notified().await;
        Denied::because(NO_MORE)
    }

    /// Whether what is said on it may be for this host.
    ///
    /// # Errors
    /// It may not.
    pub(super) async fn speaks_to(&self, host: &str, shared: &Shared) -> Result<(), Denied> {
        let host = bare(host);
        if let Some(made_for) = &self.made_for.host {
            return match *made_for == host {
                true => Ok(()),
                false => Err(Denied::because(
                    "it was made for another host than it names",
                )),
            };
        }
        if host.parse() == Ok(self.address) {
            return Ok(());
        }
        // A name that nobody asked the resolver for is decided about as every other.
        let named = Connection {
            host: Some(host),
            addresses: vec![self.address],
            ..self.made_for.clone()
        };
        if let Some(known) = self.live.table().open.get_mut(&self.number) {
            known.connection = named.clone();
        }
        shared.ask(Asked::Connect(named)).await.map(drop)
    }

    /// Whether it was made to an address, so that nobody knows yet for which host.
    pub(super) fn has_no_name(&self) -> bool {
        self.made_for.host.is_none()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.live.table().open.remove(&self.number);
    }
}
