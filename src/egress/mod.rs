//! The egress plane: every byte that leaves a sandbox, by whatever protocol, is sent by its
//! supervisor, after one decision.
//!
//! The sandbox's network has a loopback and nothing else. Every TCP connection to another address is
//! redirected to [`transparent`], and names are resolved by [`dns`], which gives each name an address
//! of its own that exists in this sandbox alone: so whoever connects says which name it means.
//! Programs that like a proxy find [`proxy`]. All of them end in one [`Connection`]: the supervisor
//! resolves the name itself, asks whether that name with that address at that port is permitted, and
//! dials just this address. What is said on it has to be for the same name ([`relay`], [`http`]).
//!
//! It trusts the host's resolver for what a name's addresses are, and whoever has the policy, whom it
//! asks over [`Plane::next`]. Everything that arrives from inside is an enemy's: a message that is not
//! understood is refused, and whatever there can be many of has a limit. It never decides, never sends
//! a byte before the answer, and never connects to another address than the one that was decided about.

mod accept;
mod connection;
mod dial;
mod dns;
mod http;
mod message;
mod names;
mod peek;
mod proxy;
mod relay;
mod socks;
mod tls;
mod transparent;
mod tunnel;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use self::connection::Connection;
use self::connection::Live;
use self::dial::Dialler;
use self::names::Names;

/// Questions that may wait for an answer.
const QUESTIONS: usize = 64;

/// The sockets inside the sandbox.
#[derive(Debug)]
pub struct Sockets {
    /// Where redirected connections arrive, each with whether it is of IPv6.
    pub redirected: Vec<(OwnedFd, bool)>,
    /// DNS by UDP.
    pub names: OwnedFd,
    /// DNS by TCP.
    pub names_by_tcp: OwnedFd,
    /// Where programs find a proxy.
    pub proxy: Option<OwnedFd>,
}

/// What a sandbox wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To know whether there is a host of this name.
    Name(String),
    /// A connection.
    Connect(Connection),
}

/// A question to whoever has the policy. Dropped without an answer it is denied.
#[derive(Debug)]
pub struct Question {
    /// What it is about.
    pub asked: Asked,
    reply: oneshot::Sender<Answer>,
}

/// The answer to a question: for a connection, the addresses that may be dialled.
pub type Answer = Result<Vec<IpAddr>, Denied>;

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
        drop(self.reply.send(answer));
    }
}

/// What every task of the plane has.
#[derive(Debug)]
struct Shared {
    names: Names,
    dialler: Dialler,
    questions: mpsc::Sender<Question>,
    live: Live,
}

impl Shared {
    async fn ask(&self, asked: Asked) -> Answer {
        let (reply, answer) = oneshot::channel();
        let question = Question { asked, reply };
        let nobody = || Denied::because("nobody decides any more");
        self.questions.send(question).await.map_err(|_| nobody())?;
        answer.await.unwrap_or_else(|_| Err(nobody()))
    }
}

/// The plane of one sandbox. Dropped, everything that it carries ends.
#[derive(Debug)]
pub struct Plane {
    asked: mpsc::Receiver<Question>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Plane {
    /// Begins to listen. Inside the runtime.
    ///
    /// # Errors
    /// A socket that cannot be listened to, or a host whose resolver cannot be made out.
    pub fn open(sockets: Sockets) -> io::Result<Plane> {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let shared = Arc::new(Shared {
            names: Names::default(),
            dialler: Dialler::of_host()?,
            questions,
            live: Live::default(),
        });
        let mut tasks = JoinSet::new();
        for (socket, is_v6) in sockets.redirected {
            let listener = listener(socket)?;
            tasks.spawn(transparent::serve(listener, is_v6, Arc::clone(&shared)));
        }
        let socket = std::net::UdpSocket::from(sockets.names);
        socket.set_nonblocking(true)?;
        tasks.spawn(dns::serve(
            UdpSocket::from_std(socket)?,
            Arc::clone(&shared),
        ));
        let by_tcp = listener(sockets.names_by_tcp)?;
        tasks.spawn(dns::serve_by_tcp(by_tcp, Arc::clone(&shared)));
        if let Some(socket) = sockets.proxy {
            tasks.spawn(proxy::serve(listener(socket)?, Arc::clone(&shared)));
        }
        Ok(Plane {
            asked,
            shared,
            tasks,
        })
    }

    /// The next question. Safe to drop.
    pub async fn next(&mut self) -> Option<Question> {
        self.asked.recv().await
    }

    /// Ends every connection that is not `permitted` any more.
    pub fn go_over(&self, permitted: impl FnMut(&Connection, IpAddr) -> bool) {
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
