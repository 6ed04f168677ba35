//! Redirected connections: what a program connected to without knowing of any proxy.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::names::Meaning;
use super::peek::{self, Said};
use super::{Asked, Shared, accept, tls, tunnel};
use crate::sys::redirected::original_destination;

/// Connections of one sandbox at the same time, for each version of IP.
const MOST: usize = 1024;

/// How long the first bytes may take, once there is one, until they say what they begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that a program wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The name, where it is for one.
    pub host: Option<String>,
    /// Where that is.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are the host's own.
    pub own: Vec<IpAddr>,
    /// The port.
    pub port: u16,
}

/// Takes redirected connections for ever.
pub(super) async fn serve(listener: TcpListener, is_v6: bool, shared: Arc<Shared>) {
    accept::each(listener, MOST, |stream| {
        let shared = Arc::clone(&shared);
        async move { carry(stream, is_v6, &shared).await }
    })
    .await;
}

/// Carries one connection. Whatever ends it before its own end resets it, so that its program fails
/// at once.
async fn carry(stream: TcpStream, is_v6: bool, shared: &Shared) -> io::Result<()> {
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    let there = original_destination(stream.as_fd(), is_v6)?;
    if there.ip().to_canonical().is_loopback() {
        return Err(denied("it was made to the plane itself"));
    }
    let connection = meant(there, shared).await?;
    let permitted = ask(shared, &connection).await?;
    let (upstream, address) = shared.dialler.connect(&permitted, connection.port).await?;
    set_socket_linger(&upstream, Some(Duration::ZERO))?;
    stream.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let open = shared.live.enter(connection.clone(), address);
    // Another policy may have come while it was dialled.
    if !ask(shared, &connection).await?.contains(&address) {
        return Err(denied(NO_MORE));
    }
    tokio::select! {
        done = relay(stream, upstream, &open, shared) => done,
        () = open.ended.notified() => Err(denied(NO_MORE)),
    }
}

const NO_MORE: &str = "the policy does not permit it any more";

/// Which host is meant by an address inside the sandbox.
async fn meant(there: SocketAddr, shared: &Shared) -> io::Result<Connection> {
    let (host, addresses) = match shared.names.meaning(there.ip().to_canonical()) {
        Meaning::Nothing => return Err(denied("its address is no name's")),
        Meaning::Address => (None, vec![there.ip().to_canonical()]),
        Meaning::Name(name) => {
            let resolved = shared.dialler.resolve(&name).await;
            let addresses =
                resolved.map_err(|_| io::Error::from(io::ErrorKind::HostUnreachable))?;
            (Some(name), addresses)
        }
    };
    Ok(Connection {
        host,
        own: shared.dialler.own(&addresses)?,
        addresses,
        port: there.port(),
    })
}

async fn ask(shared: &Shared, connection: &Connection) -> io::Result<Vec<IpAddr>> {
    let answer = shared.ask(Asked::Connect(connection.clone())).await;
    answer.map_err(|_| denied("the policy does not permit it"))
}

fn denied(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Both ways at once: some protocols begin with the server. What the program says first is looked at
/// before any of it is sent.
async fn relay(
    stream: TcpStream,
    upstream: TcpStream,
    open: &Entered<'_>,
    shared: &Shared,
) -> io::Result<()> {
    let has_spoken = AtomicBool::new(false);
    let out = async {
        let first = first_bytes(&stream, &has_spoken).await?;
        agrees(&first, open, shared).await?;
        write_all(&upstream, &first.bytes).await?;
        tunnel::one_way(&stream, &upstream).await
    };
    let back = async {
        upstream.peek(&mut [0]).await?;
        has_spoken.store(true, Ordering::Relaxed);
        tunnel::one_way(&upstream, &stream).await
    };
    tokio::try_join!(out, back)?;
    // It has had its end in both directions.
    set_socket_linger(&stream, None)?;
    set_socket_linger(&upstream, None)?;
    Ok(())
}

/// What a program says first.
struct First {
    bytes: Vec<u8>,
    says: Said,
}

/// The first bytes, as many as it takes to know what they begin; all there are when it ends before. For
/// the first of them it waits as long as the connection lives. `has_spoken`: the host has said something.
async fn first_bytes(from: &TcpStream, has_spoken: &AtomicBool) -> io::Result<First> {
    let mut bytes = Vec::new();
    let mut is_end = read_more(from, &mut bytes).await? == 0;
    let read = async {
        loop {
            let says = match (is_end, has_spoken.load(Ordering::Relaxed)) {
                (true, _) => peek::said_at_end(&bytes),
                (false, true) => peek::said_in_answer(&bytes),
                (false, false) => peek::said(&bytes),
            };
            if is_end || says != Said::Partial {
                return Ok(First { bytes, says });
            }
            if bytes.len() > tls::LONGEST {
                return Err(denied("its first message is too long"));
            }
            is_end = read_more(from, &mut bytes).await? == 0;
        }
    };
    timeout(PATIENCE, read).await?
}

/// Adds what there is to read, and gives how many bytes that was: none at the end.
async fn read_more(from: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read_buf(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the host that the first bytes name is the one that was decided about.
async fn agrees(first: &First, open: &Entered<'_>, shared: &Shared) -> io::Result<()> {
    match (first.says.clone(), &open.connection.host) {
        (Said::Other, _) | (Said::Unnamed, None) => Ok(()),
        (Said::Host(host), Some(name)) => match is_same(&host, name) {
            true => Ok(()),
            false => Err(denied("it was made for another host than it names")),
        },
        // A name that nobody asked the resolver for is decided about as every other.
        (Said::Host(host), None) => {
            let named = Connection {
                host: Some(host),
                addresses: vec![open.address],
                own: open.connection.own.clone(),
                port: open.connection.port,
            };
            open.is_for(named.clone());
            ask(shared, &named).await.map(drop)
        }
        (Said::Partial | Said::Unnamed | Said::Ambiguous, _) => {
            Err(denied("it does not say for which host it is"))
        }
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    bare(one) == bare(other)
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    address: IpAddr,
    ended: Arc<Notify>,
}

/// An open connection, for as long as this is there.
struct Entered<'l> {
    live: &'l Live,
    number: u64,
    connection: Connection,
    address: IpAddr,
    ended: Arc<Notify>,
}

impl Live {
    fn enter(&self, connection: Connection, address: IpAddr) -> Entered<'_> {
        let ended = Arc::new(Notify::new());
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        let open = Open {
            connection: connection.clone(),
            address,
            ended: Arc::clone(&ended),
        };
        table.open.insert(number, open);
        Entered {
            live: self,
            number,
            connection,
            address,
            ended,
        }
    }

    /// Ends every connection that is not `permitted`.
    pub(super) fn retain(&self, mut permitted: impl FnMut(&Connection, IpAddr) -> bool) {
        for open in self.table().open.values() {
            if !permitted(&open.connection, open.address) {
                open.ended.notify_one();
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered<'_> {
    /// It is known now for which host it is.
    fn is_for(&self, connection: Connection) {
        if let Some(open) = self.live.table().open.get_mut(&self.number) {
            open.connection = connection;
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.live.table().open.remove(&self.number);
    }
}
