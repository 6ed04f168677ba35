//! The egress plane: every byte that leaves a sandbox, by whatever protocol, is sent by its
//! supervisor, after one decision.
//!
//! The sandbox's network has a loopback and nothing else. Every TCP connection to another address is
//! redirected to [`transparent`], and names are resolved by [`dns`], which gives each name an address
//! of its own that exists in this sandbox alone: so whoever connects says which name it means. The
//! supervisor resolves the name itself, asks whether that name with that address at that port is
//! permitted, and dials just this address.
//!
//! It trusts the host's resolver for what a name's addresses are, and whoever has the policy, whom it
//! asks over [`Plane::next`]. Everything that arrives from inside is an enemy's: a message that is not
//! understood is refused, and whatever there can be many of has a limit. It never decides, never sends
//! a byte before the answer, and never connects to another address than the one that was decided about.

mod accept;
mod dial;
mod dns;
mod names;
mod peek;
mod tls;
mod transparent;
mod tunnel;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::dial::Dialler;
use self::names::Names;
pub use self::transparent::Connection;
use self::transparent::Live;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

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
        self.questions.send(question).await.map_err(|_| Denied)?;
        answer.await.unwrap_or(Err(Denied))
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
        self.shared.live.retain(permitted);
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
