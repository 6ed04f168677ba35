//! The connections that are open: what passes on each, and how each ends.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::connection::{Connection, bare};
use super::throttle::Throttle;
use super::{Asked, Denied, RequestLine, Shared};

/// Why a connection ends that is open when another policy comes.
pub(super) const NO_MORE: &str = "the policy does not permit it any more";

/// Who or what ended a connection first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The program had said everything.
    Program,
    /// The host had.
    Host,
    /// It is not permitted, or not any more.
    Policy,
    /// Something took too long.
    Timeout,
    /// It broke, or could not be made.
    Error,
    /// The run ended.
    Run,
}

impl By {
    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            By::Program => "program",
            By::Host => "host",
            By::Policy => "policy",
            By::Timeout => "timeout",
            By::Error => "error",
            By::Run => "run",
        }
    }

    fn of(error: &io::Error) -> By {
        match error.kind() {
            io::ErrorKind::PermissionDenied => By::Policy,
            io::ErrorKind::TimedOut => By::Timeout,
            _ => By::Error,
        }
    }
}

/// A connection that is over, or was wanted and could not be made.
#[derive(Debug)]
pub struct Ended {
    /// What it was for.
    pub connection: Connection,
    /// Where it led; `None` where it was not made.
    pub address: Option<IpAddr>,
    /// Bytes that went to the host.
    pub sent: u64,
    /// Bytes that came from there.
    pub received: u64,
    /// From when it was made.
    pub lasted: Duration,
    /// What ended it.
    pub by: By,
    /// In words, where there is more to say.
    pub why: Option<String>,
}

impl Ended {
    /// It was not made.
    pub(super) fn unmade(connection: Connection, by: By, why: &dyn fmt::Display) -> Ended {
        Ended {
            connection,
            address: None,
            sent: 0,
            received: 0,
            lasted: Duration::ZERO,
            by,
            why: Some(why.to_string()),
        }
    }
}

/// The connections that are open.
#[derive(Debug, Clone)]
pub(super) struct Live(Arc<Of>);

#[derive(Debug)]
struct Of {
    table: Mutex<Table>,
    ended: mpsc::UnboundedSender<Ended>,
    throttle: Option<Arc<Throttle>>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Known>,
    /// How many policies have come.
    generation: u64,
    /// The run is over.
    is_over: bool,
}

#[derive(Debug)]
struct Known {
    connection: Connection,
    address: IpAddr,
    /// Whether the requests on it are read.
    is_read: bool,
    ended: Arc<Notify>,
}

/// An open connection, for as long as this is there.
#[derive(Debug)]
pub(super) struct Open {
    live: Live,
    made_for: Connection,
    address: IpAddr,
    is_read: bool,
    ended: Arc<Notify>,
    since: Instant,
    sent: Count,
    received: Count,
    end: OnceLock<(By, Option<String>)>,
}

/// A connection to a host, and what is known of it.
pub(super) type Opened = (TcpStream, Arc<Open>);

/// Bytes that have passed.
#[derive(Debug)]
pub(super) struct Count {
    bytes: AtomicU64,
    throttle: Option<Arc<Throttle>>,
}

impl Count {
    fn new(throttle: Option<Arc<Throttle>>) -> Count {
        let bytes = AtomicU64::new(0);
        Count { bytes, throttle }
    }

    /// Adds these; gives for how long no more may pass now.
    pub(super) fn add(&self, bytes: usize) -> Option<Duration> {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.throttle
            .as_ref()
            .and_then(|throttle| throttle.take(bytes))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Live {
    /// None; `ended` is told of each that is over, and what passes on all of them is held by `throttle`.
    pub(super) fn new(
        ended: mpsc::UnboundedSender<Ended>,
        throttle: Option<Arc<Throttle>>,
    ) -> Live {
        let table = Mutex::default();
        Live(Arc::new(Of {
            table,
            ended,
            throttle,
        }))
    }

    /// Of a connection that was made to one address; `is_read`: its requests are to be.
    pub(super) fn enter(&self, made_for: Connection, address: IpAddr, is_read: bool) -> Open {
        let ended = Arc::new(Notify::new());
        let known = Known {
            connection: made_for.clone(),
            address,
            is_read,
            ended: Arc::clone(&ended),
        };
        self.table().open.insert(made_for.number, known);
        Open {
            live: self.clone(),
            made_for,
            address,
            is_read,
            ended,
            since: Instant::now(),
            sent: Count::new(self.0.throttle.clone()),
            received: Count::new(self.0.throttle.clone()),
            end: OnceLock::new(),
        }
    }

    /// The number of the policy under which connections are entered.
    pub(super) fn generation(&self) -> u64 {
        self.table().generation
    }

    /// Another policy has come: ends every connection that is not `permitted` any more, which is told
    /// whether requests on it are read.
    pub(super) fn go_over(&self, mut permitted: impl FnMut(&Connection, IpAddr, bool) -> bool) {
        let mut table = self.table();
        table.generation += 1;
        for known in table.open.values() {
            if !permitted(&known.connection, known.address, known.is_read) {
                known.ended.notify_one();
            }
        }
    }

    /// Whatever ends from here on ends with the run.
    pub(super) fn is_over(&self) {
        self.table().is_over = true;
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.table().open.is_empty()
    }

    /// Tells of one that is over.
    pub(super) fn tell(&self, ended: Ended) {
        // Once the plane is closed nothing passes any more, and everything has been told.
        drop(self.0.ended.send(ended));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Waits until the policy does not permit it any more.
    pub(super) async fn ended(&self) -> Denied {
        self.ended.notified().await;
        Denied::because(NO_MORE)
    }

    /// Bytes to the host.
    pub(super) fn sent(&self) -> &Count {
        &self.sent
    }

    /// Bytes from the host.
    pub(super) fn received(&self) -> &Count {
        &self.received
    }

    /// Notes what ends it. The first word counts.
    pub(super) fn over(&self, by: By) {
        drop(self.end.set((by, None)));
    }

    /// The same of something that went wrong.
    pub(super) fn failed(&self, error: &io::Error) {
        drop(self.end.set((By::of(error), Some(error.to_string()))));
    }

    /// Whether what is said on it to this host, which has to be permitted, is to be read request by request.
    ///
    /// # Errors
    /// It may not be for this host.
    pub(super) async fn speaks_to(&self, host: &str, shared: &Shared) -> Result<bool, Denied> {
        let host = bare(host);
        if let Some(made_for) = &self.made_for.host {
            if *made_for == host {
                return Ok(self.is_read);
            }
            let reason = format!("it was made for another host than it names, which is {host}");
            return Err(self.denied(reason, shared).await);
        }
        if host.parse() == Ok(self.address) {
            return Ok(false);
        }
        // A name that nobody asked the resolver for is decided about as every other.
        let named = Connection {
            host: Some(host),
            addresses: vec![self.address],
            ..self.made_for.clone()
        };
        if let Some(known) = self.live.table().open.get_mut(&self.made_for.number) {
            known.connection = named.clone();
        }
        let permitted = shared.ask(Asked::Connect(named)).await?;
        if let Some(known) = self.live.table().open.get_mut(&self.made_for.number) {
            known.is_read |= permitted.way.is_read;
        }
        Ok(permitted.way.is_read)
    }

    /// Whether each request on it is read, whatever host that is for.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether this may be asked of `host`, to whom requests are read.
    ///
    /// # Errors
    /// It may not.
    pub(super) async fn asks(
        &self,
        line: RequestLine,
        host: &str,
        shared: &Shared,
    ) -> Result<(), Denied> {
        let connection = Connection {
            host: Some(bare(host)),
            addresses: vec![self.address],
            ..self.made_for.clone()
        };
        shared.ask(Asked::Request(connection, line)).await.map(drop)
    }

    /// Whether it was made to this port.
    pub(super) fn is_at(&self, port: u16) -> bool {
        self.made_for.port == port
    }

    /// Has it recorded that nothing may be said on it, for this reason.
    pub(super) async fn denied(&self, reason: String, shared: &Shared) -> Denied {
        let asked = Asked::Connect(Connection {
            addresses: vec![self.address],
            ..self.made_for.clone()
        });
        shared.deny(asked, reason).await
    }

    /// Whether it was made to an address, so that nobody knows yet for which host.
    pub(super) fn has_no_name(&self) -> bool {
        self.made_for.host.is_none()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut table = self.live.table();
        let known = table.open.remove(&self.made_for.number);
        let is_over = table.is_over;
        drop(table);
        let unsaid = if is_over { By::Run } else { By::Error };
        let (by, why) = self.end.take().unwrap_or((unsaid, None));
        self.live.tell(Ended {
            // With the name that was said on it.
            connection: known.map_or_else(|| self.made_for.clone(), |known| known.connection),
            address: Some(self.address),
            sent: self.sent.bytes(),
            received: self.received.bytes(),
            lasted: self.since.elapsed(),
            by,
            why,
        });
    }
}
