//! The egress plane: every byte that leaves a sandbox, by whatever protocol, is sent by its
//! supervisor, after one decision.
//!
//! The sandbox's network has a loopback and nothing else. Every TCP connection to another address is
//! redirected to [`transparent`], and names are resolved by [`dns`], which gives each name an address
//! of its own that exists in this sandbox alone: so whoever connects says which name it means.
//! Datagrams to another address are taken by [`udp`], where the policy could let some out. Programs that
//! like a proxy find [`proxy`]. All of them end in one [`Connection`]: the supervisor
//! resolves the name itself, asks whether that name with that address at that port is permitted, and
//! dials just this address. What is said on it has to be for the same name ([`relay`], [`http`]).
//!
//! It trusts the host's resolver for what a name's addresses are, and whoever has the policy, whom it
//! asks over [`Plane::next`] and tells of what has passed. Everything that arrives from inside is an
//! enemy's: a message that is not understood is refused, and whatever there can be many of has a limit.
//! It never lets through what nobody was asked about, never sends a byte before the answer, and never
//! connects to another address than the one that was decided about.

mod accept;
mod authority;
mod connection;
mod counted;
mod datagram;
mod dial;
mod dns;
mod guarded;
mod heads;
mod http;
mod message;
mod names;
mod open;
mod opened;
mod pace;
mod peek;
mod proxy;
mod relay;
mod secrets;
mod socks;
mod strict;
mod throttle;
mod tls;
mod transparent;
mod tunnel;
mod udp;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use self::accept::Places;
pub use self::authority::Authority;
pub use self::connection::Connection;
pub use self::dial::Outside;
use self::dial::{Dialler, Unresolved};
use self::names::Names;
use self::open::Live;
pub use self::open::{By, Ended};
use self::pace::Pace;
pub use self::secrets::Secret;
use self::secrets::Secrets;
use self::throttle::Throttle;
use self::udp::Flows;
use crate::policy::Limits;

/// Connections of one sandbox at the same time, where its policy does not say how many.
const CONNECTIONS: u64 = 1024;

/// Names of one sandbox that are asked of the host's resolver for the first time: at once, and in a second
/// after that.
const NEW_NAMES: u32 = 64;
const NEW_NAMES_PER_SECOND: u32 = 20;

/// Questions that may wait for an answer.
const QUESTIONS: usize = 64;

/// The sockets inside the sandbox.
#[derive(Debug)]
pub struct Sockets {
    /// Where redirected connections arrive, each with whether it is of IPv6.
    pub redirected: Vec<(OwnedFd, bool)>,
    /// DNS by UDP.
    pub names: Vec<OwnedFd>,
    /// DNS by TCP.
    pub names_by_tcp: Vec<OwnedFd>,
    /// Where programs find a proxy.
    pub proxy: Option<OwnedFd>,
    /// Where datagrams arrive that are for others, each with the socket by which answers go back as whole
    /// packets.
    pub datagrams: Vec<(OwnedFd, OwnedFd)>,
}

/// What it takes to read requests.
#[derive(Debug)]
pub struct Reading {
    /// Who stands for the hosts.
    pub authority: Authority,
    /// What is put into requests.
    pub secrets: Vec<Secret>,
}

/// How somebody inside asks for something outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// By connecting to it, or sending it datagrams.
    Transparent,
    /// By a request to the proxy.
    Http,
    /// By the proxy's CONNECT.
    Connect,
    /// By SOCKS5.
    Socks,
    /// By asking the resolver.
    Dns,
}

impl Ingress {
    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ingress::Transparent => "transparent",
            Ingress::Http => "http",
            Ingress::Connect => "connect",
            Ingress::Socks => "socks",
            Ingress::Dns => "dns",
        }
    }
}

/// What a sandbox wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To know whether there is a host of this name.
    Name(String, Ingress),
    /// A connection, or a flow of datagrams.
    Connect(Connection),
    /// To have something of a host to whom requests are read, over a connection that is permitted.
    Request(Connection, RequestLine),
    /// To have it recorded that a connection leads to this address, of several that were permitted.
    Led(Connection, IpAddr),
}

/// What a request of HTTP asks its server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The names of the secrets for which something in it stands.
    pub secrets: Vec<String>,
    /// One of them that is not said where that stands.
    pub misplaced: Option<String>,
    /// Whether it is made over TLS, with a host that has proved to be who it is.
    pub is_secure: bool,
}

/// A question to whoever has the policy. Dropped without an answer it is denied.
#[derive(Debug)]
pub struct Question {
    /// What it is about.
    pub asked: Asked,
    /// Why the plane denies it by itself, which is then to be recorded.
    pub denied: Option<Cow<'static, str>>,
    reply: oneshot::Sender<Result<Permitted, Denied>>,
    live: Live,
}

/// What is to be heard of a plane.
#[derive(Debug)]
pub enum Heard {
    /// It asks.
    Asked(Question),
    /// A connection is over.
    Ended(Ended),
}

/// What may be done, and under which policy.
#[derive(Debug)]
struct Permitted {
    way: Way,
    generation: u64,
}

/// How far what was asked for may go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Way {
    /// The addresses that may be dialled, for a connection.
    pub addresses: Vec<IpAddr>,
    /// Whether nothing but requests may be said on it, each of which is asked about.
    pub is_read: bool,
}

/// The answer to a question.
pub type Answer = Result<Way, Denied>;

/// What was asked for is not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Why, for whoever asked.
    pub reason: Cow<'static, str>,
}

impl Denied {
    fn because(reason: &'static str) -> Denied {
        Denied {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "not permitted: {}", self.reason)
    }
}

impl From<Denied> for io::Error {
    fn from(denied: Denied) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, denied.to_string())
    }
}

impl Question {
    /// Answers it. Whoever asked may be gone.
    pub fn answer(self, answer: Answer) {
        let generation = self.live.generation();
        drop(
            self.reply
                .send(answer.map(|way| Permitted { way, generation })),
        );
    }
}

/// What every task of the plane has.
#[derive(Debug)]
struct Shared {
    names: Names,
    dialler: Dialler,
    /// Of names that are asked for the first time.
    pace: Pace,
    questions: mpsc::Sender<Question>,
    live: Live,
    /// Of all connections that are to leave.
    places: Arc<Places>,
    /// Who stands for hosts to whom requests are read, where that is foreseen.
    authority: Option<Authority>,
    secrets: Secrets,
    /// How many connections were wanted.
    wanted: AtomicU64,
    /// Whether the program has ended, so that nothing more is to come.
    is_leaving: watch::Sender<bool>,
}

impl Shared {
    async fn ask(&self, asked: Asked) -> Result<Permitted, Denied> {
        self.put(asked, None).await
    }

    /// Has it recorded that this is denied for this reason, before whoever wants it hears of it.
    async fn deny(&self, asked: Asked, reason: impl Into<Cow<'static, str>>) -> Denied {
        let reason = reason.into();
        match self.put(asked, Some(reason.clone())).await {
            Ok(_) => Denied { reason },
            Err(denied) => denied,
        }
    }

    async fn put(
        &self,
        asked: Asked,
        denied: Option<Cow<'static, str>>,
    ) -> Result<Permitted, Denied> {
        let (reply, answer) = oneshot::channel();
        let question = Question {
            asked,
            denied,
            reply,
            live: self.live.clone(),
        };
        let nobody = || Denied::because("nobody decides any more");
        self.questions.send(question).await.map_err(|_| nobody())?;
        answer.await.unwrap_or_else(|_| Err(nobody()))
    }

    /// The addresses of a name that may be resolved. Names that were never there have to wait for each
    /// other: they carry something out, and the host's resolver answers others too.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        if !self.names.knows(name) {
            self.pace.turn().await;
        }
        let found = self.dialler.resolve(name).await?;
        if !found.is_empty() {
            // Where there are too many already it is as new the next time.
            let _known = self.names.addresses(name);
        }
        Ok(found)
    }

    fn next_number(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// How long it may take until everything has stopped that was told to.
const STOP: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(1);
/// How often others have their turn until what was there has arrived where it belongs.
const TURNS: usize = 8;

/// The plane of one sandbox. Dropped, everything that it carries ends.
#[derive(Debug)]
pub struct Plane {
    asked: mpsc::Receiver<Question>,
    ended: mpsc::UnboundedReceiver<Ended>,
    shared: Arc<Shared>,
    flows: Arc<Flows>,
    tasks: JoinSet<()>,
}

impl Plane {
    /// Begins to listen. Inside the runtime.
    ///
    /// # Errors
    /// A socket that cannot be listened to, or a network whose resolvers cannot be made out.
    pub fn open(
        sockets: Sockets,
        reading: Option<Reading>,
        outside: Outside,
        limits: &Limits,
    ) -> io::Result<Plane> {
        let connections = limits.connections.unwrap_or(CONNECTIONS);
        let (authority, secrets) = reading
            .map(|Reading { authority, secrets }| (authority, secrets))
            .unzip();
        let (questions, asked) = mpsc::channel(QUESTIONS);
        // What ends is taken before the next question is, so that it is never long.
        let (over, ended) = mpsc::unbounded_channel();
        let throttle = limits.bandwidth.map(Throttle::new).map(Arc::new);
        let shared = Arc::new(Shared {
            names: Names::default(),
            dialler: Dialler::new(outside)?,
            pace: Pace::new(NEW_NAMES, NEW_NAMES_PER_SECOND),
            questions,
            live: Live::new(over, throttle),
            places: Places::new(usize::try_from(connections).unwrap_or(usize::MAX)),
            authority,
            secrets: Secrets::new(secrets.unwrap_or_default()),
            wanted: AtomicU64::new(0),
            is_leaving: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        for (socket, is_v6) in sockets.redirected {
            let listener = listener(socket)?;
            tasks.spawn(transparent::serve(listener, is_v6, Arc::clone(&shared)));
        }
        for socket in sockets.names {
            let socket = std::net::UdpSocket::from(socket);
            socket.set_nonblocking(true)?;
            tasks.spawn(dns::serve(
                UdpSocket::from_std(socket)?,
                Arc::clone(&shared),
            ));
        }
        for socket in sockets.names_by_tcp {
            let listener = listener(socket)?;
            tasks.spawn(dns::serve_by_tcp(listener, Arc::clone(&shared)));
        }
        if let Some(socket) = sockets.proxy {
            tasks.spawn(proxy::serve(listener(socket)?, Arc::clone(&shared)));
        }
        let flows = Flows::new(&shared);
        for (out, back) in sockets.datagrams {
            let out = std::net::UdpSocket::from(out);
            out.set_nonblocking(true)?;
            let out = UdpSocket::from_std(out)?;
            tasks.spawn(udp::serve(out, back, Arc::clone(&flows)));
        }
        Ok(Plane {
            asked,
            ended,
            shared,
            flows,
            tasks,
        })
    }

    /// What is to be heard next; what has ended comes first. Safe to drop.
    pub async fn next(&mut self) -> Option<Heard> {
        tokio::select! {
            biased;
            Some(ended) = self.ended.recv() => Some(Heard::Ended(ended)),
            question = self.asked.recv() => question.map(Heard::Asked),
        }
    }

    /// What is to be heard of flows that begin by what a program has said before it ended; nothing once
    /// there are none. Safe to drop.
    pub async fn last(&mut self) -> Option<Heard> {
        let flows = Arc::clone(&self.flows);
        let settled = async move {
            // So that what has arrived is taken.
            for _ in 0..TURNS {
                yield_now().await;
            }
            while flows.are_beginning() {
                sleep(GLANCE).await;
            }
        };
        tokio::select! {
            biased;
            heard = self.next() => heard,
            () = settled => None,
        }
    }

    /// Ends everything, and gives what has not been told of yet. Whatever ends by itself may take as
    /// long as `patience` for that.
    pub async fn close(mut self, patience: Duration) -> Vec<Ended> {
        self.shared.is_leaving.send_replace(true);
        self.emptied(patience).await;
        self.shared.live.is_over();
        self.tasks.shutdown().await;
        if !self.emptied(STOP).await {
            tracing::warn!("a connection of the sandbox goes on that was told to end");
        }
        std::iter::from_fn(|| self.ended.try_recv().ok()).collect()
    }

    /// Whether no connection is open any more, once there is none or this long has passed.
    async fn emptied(&self, patience: Duration) -> bool {
        let live = &self.shared.live;
        let emptied = async {
            while !live.is_empty() {
                sleep(GLANCE).await;
            }
        };
        timeout(patience, emptied).await.is_ok()
    }

    /// Ends every connection that is not `permitted` any more, which is told whether its requests are read.
    pub fn go_over(&self, permitted: impl FnMut(&Connection, IpAddr, bool) -> bool) {
        self.shared.live.go_over(permitted);
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
