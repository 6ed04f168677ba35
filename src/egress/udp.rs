//! Datagrams: what a program sends by UDP without knowing of anybody in between.
//!
//! A flow is what passes between one socket of a program and one place. Each has its decision, as a
//! connection has, and one connected socket of the host's; answers go back as from where the program sent
//! to. Datagrams may be lost: those that nobody has room for are, and nobody waits.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::accept::SCARCE;
use super::connection::{Connection, Refused};
use super::datagram::{Back, Ends, Why, begins_quic};
use super::open::{By, Open};
use super::pace::Pace;
use super::{Denied, Shared};
use crate::sys::datagrams::{self, Taken};

/// Flows of one sandbox at the same time.
const MOST: usize = 256;

/// How long nothing has to have passed on a flow that makes place for another.
const IDLE: Duration = Duration::from_millis(500);

/// New flows of one sandbox: at once, and in a second after that.
const NEW_FLOWS: u32 = 128;
const NEW_FLOWS_PER_SECOND: u32 = 64;

/// Datagrams of one flow that may wait, and bytes of all of them, each with what it takes to keep it.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 8 << 20;
const KEEPING: usize = 256;

/// Datagrams that are taken before flows have their turn.
const AT_ONCE: u64 = WAITING as u64 / 2;

/// How long nothing may pass on a flow: as long as nobody has answered, and after that (RFC 4787, REQ-5).
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(120);

/// How long it goes on once the program has ended, for what that has sent last.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// For how long a flow that may not be is refused without being asked about again.
const REFUSED: Duration = Duration::from_secs(1);

/// The longest datagram, in bytes.
const LONGEST: usize = u16::MAX as usize;

/// A datagram, or that one has reached nobody.
const HEARD: Interest = Interest::READABLE.add(Interest::ERROR);

/// The flows of one sandbox.
#[derive(Debug)]
pub(super) struct Flows {
    shared: Arc<Shared>,
    places: Mutex<HashMap<Ends, Flow>>,
    pace: Pace,
    /// In bytes, for what waits.
    room: Arc<Semaphore>,
    /// For what comes from hosts, one datagram after the other.
    space: Mutex<Vec<u8>>,
    began: Instant,
    next: AtomicU64,
    /// How many flows are not decided about yet.
    beginning: AtomicUsize,
}

#[derive(Debug)]
struct Flow {
    number: u64,
    said: mpsc::Sender<Said>,
    passed: Arc<Passed>,
    task: AbortHandle,
}

/// When something passed last, in milliseconds since the plane began.
#[derive(Debug)]
struct Passed(AtomicU64);

/// What a program has sent.
#[derive(Debug)]
struct Said {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// A place, until this is dropped.
struct Held {
    flows: Arc<Flows>,
    ends: Ends,
    number: u64,
}

impl Flows {
    /// None yet. Inside the runtime.
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Flows> {
        Arc::new(Flows {
            shared: Arc::clone(shared),
            places: Mutex::default(),
            pace: Pace::new(NEW_FLOWS, NEW_FLOWS_PER_SECOND),
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            space: Mutex::new(vec![0; LONGEST]),
            began: Instant::now(),
            next: AtomicU64::new(0),
            beginning: AtomicUsize::new(0),
        })
    }

    /// Whether some flow is not decided about yet.
    pub(super) fn are_beginning(&self) -> bool {
        self.beginning.load(Ordering::Relaxed) > 0
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Ends, Flow>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Hands a datagram to its flow, which begins by it where there is none.
    fn take(self: &Arc<Self>, ends: Ends, said: &[u8], back: &Arc<Back>, tasks: &mut JoinSet<()>) {
        let needs = (said.len() + KEEPING) as u32;
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(needs) else {
            return;
        };
        let said = Said {
            bytes: said.to_vec(),
            _room: room,
        };
        let mut places = self.places();
        let said = match places.get(&ends) {
            None => said,
            Some(flow) => match flow.said.try_send(said) {
                Ok(()) | Err(TrySendError::Full(_)) => return,
                // It is over by now.
                Err(TrySendError::Closed(said)) => said,
            },
        };
        if !self.pace.is_turn() || places.len() >= MOST && !self.make_room(&mut places) {
            return;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        if sender.try_send(said).is_err() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            flows: Arc::clone(self),
            ends,
            number,
        };
        let passed = Arc::new(Passed(AtomicU64::new(self.now())));
        let one = One {
            ends,
            said: receiver,
            back: Arc::clone(back),
            passed: Arc::clone(&passed),
        };
        let task = tasks.spawn(async move { one.carry(&held.flows).await });
        let flow = Flow {
            number,
            said: sender,
            passed,
            task,
        };
        places.insert(ends, flow);
    }

    /// Ends the flow on which nothing has passed for the longest, and gives whether there is one.
    fn make_room(&self, places: &mut HashMap<Ends, Flow>) -> bool {
        let now = self.now();
        let idle = places.iter().filter_map(|(ends, flow)| {
            let idle = now.saturating_sub(flow.passed.0.load(Ordering::Relaxed));
            (u128::from(idle) >= IDLE.as_millis()).then_some((idle, *ends))
        });
        let Some((_, ends)) = idle.max_by_key(|(idle, _)| *idle) else {
            return false;
        };
        if let Some(flow) = places.remove(&ends) {
            flow.task.abort();
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut places = self.flows.places();
        // Another one may have its ends by now.
        if places
            .get(&self.ends)
            .is_some_and(|flow| flow.number == self.number)
        {
            places.remove(&self.ends);
        }
    }
}

/// Takes datagrams for ever. `back` is where answers are put.
pub(super) async fn serve(out: UdpSocket, back: OwnedFd, flows: Arc<Flows>) {
    let back = Arc::new(Back::by(back));
    let mut tasks = JoinSet::new();
    let mut space = vec![0; LONGEST];
    for number in 1_u64.. {
        while tasks.try_join_next().is_some() {}
        // Before more has come than a flow has place for.
        if number.is_multiple_of(AT_ONCE) {
            yield_now().await;
        }
        let taken = out.async_io(Interest::READABLE, || {
            datagrams::take(out.as_fd(), &mut space)
        });
        match taken.await {
            Ok(Taken { length, from, to }) => {
                flows.take((from, to), &space[..length], &back, &mut tasks);
            }
            Err(error) => {
                tracing::warn!(%error, "a datagram of the sandbox could not be taken");
                sleep(SCARCE).await;
            }
        }
    }
}

/// A flow that begins, until this is dropped.
struct Begins<'f>(&'f AtomicUsize);

impl Begins<'_> {
    fn counted(beginning: &AtomicUsize) -> Begins<'_> {
        beginning.fetch_add(1, Ordering::Relaxed);
        Begins(beginning)
    }
}

impl Drop for Begins<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One flow.
struct One {
    ends: Ends,
    said: mpsc::Receiver<Said>,
    back: Arc<Back>,
    passed: Arc<Passed>,
}

/// What happens next on a flow.
enum Next {
    /// The program says something.
    Said(Said),
    /// More may pass.
    Resumes,
    /// The host may have said something.
    Heard(io::Result<()>),
    /// The program has ended.
    Leaves,
    /// Nothing, for too long.
    Nothing,
}

impl One {
    async fn carry(mut self, flows: &Flows) {
        let shared = &*flows.shared;
        let begins = Begins::counted(&flows.beginning);
        let opened = match Connection::by_datagrams(self.ends.1, shared).await {
            Ok(wanted) => wanted.open_flow(shared).await,
            Err(refused) => Err(refused),
        };
        drop(begins);
        let why = match opened {
            Ok((upstream, open, is_read)) => {
                let ended = self.relay(&upstream, &open, is_read, flows).await;
                match ended {
                    Ok(()) => return,
                    Err(Denied { .. }) => Why::Prohibited,
                }
            }
            Err(Refused::Denied(_)) => Why::Prohibited,
            Err(refused) => {
                tracing::debug!(%refused, "a flow of the sandbox leads nowhere");
                Why::Nobody
            }
        };
        self.refuse(why, shared).await;
    }

    /// Refuses what comes, for some time or until there is another policy.
    async fn refuse(mut self, why: Why, shared: &Shared) {
        let (until, generation) = (Instant::now() + REFUSED, shared.live.generation());
        while let Ok(Some(said)) = timeout_at(until, self.said.recv()).await {
            if shared.live.generation() != generation {
                return;
            }
            self.back.refuse(self.ends, why, said.bytes.len());
        }
    }

    /// Carries what both say, until that is over.
    ///
    /// # Errors
    /// It is not permitted any more, or what was said last is not.
    async fn relay(
        &mut self,
        upstream: &UdpSocket,
        open: &Open,
        is_read: bool,
        flows: &Flows,
    ) -> Result<(), Denied> {
        let mut leaving = flows.shared.is_leaving.subscribe();
        let (mut is_leaving, mut patience) = (*leaving.borrow_and_update(), UNANSWERED);
        let mut last = Instant::now();
        // When more may pass.
        let mut resume = None;
        loop {
            let limit = if is_leaving { LAST_WORDS } else { patience };
            let next = async {
                tokio::select! {
                    Some(said) = self.said.recv(), if resume.is_none() => Next::Said(said),
                    ready = upstream.ready(HEARD), if resume.is_none() => {
                        Next::Heard(ready.map(drop))
                    }
                    () = sleep_until(resume.unwrap_or(last)), if resume.is_some() => Next::Resumes,
                    _ = leaving.changed(), if !is_leaving => Next::Leaves,
                    () = sleep_until(last + limit) => Next::Nothing,
                }
            };
            let next = tokio::select! {
                biased;
                denied = open.ended() => {
                    open.over(By::Policy);
                    self.back.refuse(self.ends, Why::Prohibited, 0);
                    return Err(denied);
                }
                next = next => next,
            };
            match next {
                Next::Said(said) => {
                    if is_read && begins_quic(&said.bytes) {
                        let denied = open.denied(UNREAD.to_owned(), &flows.shared).await;
                        open.over(By::Policy);
                        self.back
                            .refuse(self.ends, Why::Prohibited, said.bytes.len());
                        return Err(denied);
                    }
                    resume = self.send(&said.bytes, upstream, open).await;
                }
                Next::Resumes => {
                    resume = None;
                    continue;
                }
                Next::Heard(ready) => {
                    if ready.is_ok()
                        && let Some(length) = self.hear(upstream, flows)
                    {
                        resume = until(open.received().add(length));
                        patience = ANSWERED;
                    }
                }
                Next::Leaves => is_leaving = true,
                Next::Nothing => {
                    open.over(if is_leaving { By::Program } else { By::Timeout });
                    return Ok(());
                }
            }
            last = Instant::now();
            self.passed.0.store(flows.now(), Ordering::Relaxed);
        }
    }

    /// Sends what the program says, and gives until when no more may pass. What the host cannot send is lost, and
    /// the program told.
    async fn send(&self, said: &[u8], upstream: &UdpSocket, open: &Open) -> Option<Instant> {
        let mut sent = upstream.send(said).await;
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused) {
            // Of one that was sent before.
            self.back.refuse(self.ends, Why::Nobody, 0);
            sent = upstream.send(said).await;
        }
        match sent {
            Ok(length) => until(open.sent().add(length)),
            Err(error) => {
                tracing::debug!(%error, "a datagram of the sandbox was not sent");
                self.back.refuse(self.ends, Why::Nobody, said.len());
                None
            }
        }
    }

    /// Hands on what the host has said, and gives how many bytes that were; `None` of nothing.
    fn hear(&self, upstream: &UdpSocket, flows: &Flows) -> Option<usize> {
        let mut space = flows.space.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = || io::Error::from(io::ErrorKind::WouldBlock);
        let heard = match upstream.try_recv(&mut space) {
            // That something went wrong is a state of its own.
            Err(error) if error.kind() == nothing().kind() => upstream
                .try_io(Interest::ERROR, || {
                    Err(upstream.take_error()?.unwrap_or_else(nothing))
                }),
            heard => heard,
        };
        match heard {
            Ok(length) => {
                self.back.say(self.ends, &space[..length]);
                Some(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_nobody) => {
                self.back.refuse(self.ends, Why::Nobody, 0);
                None
            }
        }
    }
}

fn until(wait: Option<Duration>) -> Option<Instant> {
    wait.map(|wait| Instant::now() + wait)
}

/// Why nothing may begin a connection of QUIC.
const UNREAD: &str =
    "it begins QUIC, by which a host to whom requests are read could be spoken to unread";
