//! Connections from inside, so many at a time.
//!
//! When there are too many, the one on which nothing has passed for the longest makes place for the next:
//! so whoever opens connections and says nothing keeps nobody else from theirs.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::sys::idle::idle_for;

/// A wait before the next try where something has run out, as descriptors.
pub(super) const SCARCE: Duration = Duration::from_millis(50);

/// How long nothing has to have passed on a connection that makes place for another.
const IDLE: Duration = Duration::from_millis(500);

/// Room for so many connections.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: HashMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// The end inside.
    socket: OwnedFd,
    task: AbortHandle,
}

/// A place, until this is dropped.
struct Held {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        let taken = Mutex::default();
        Arc::new(Places { most, taken })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.taken().places.len() >= self.most
    }

    /// Ends the connection on which nothing has passed for the longest, and gives whether there is one.
    fn make_room(&self) -> bool {
        let mut taken = self.taken();
        let idle = taken.places.iter().filter_map(|(number, place)| {
            let idle = idle_for(place.socket.as_fd()).ok()?;
            (idle >= IDLE).then_some((idle, *number))
        });
        let Some((_, number)) = idle.max() else {
            return false;
        };
        if let Some(place) = taken.places.remove(&number) {
            place.task.abort();
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.taken().places.remove(&self.number);
    }
}

/// Serves each connection in a task of its own for ever, where there is place.
pub(super) async fn each<S>(
    listener: TcpListener,
    places: Arc<Places>,
    serve: impl Fn(TcpStream) -> S,
) where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            let socket = stream.as_fd().try_clone_to_owned()?;
            Ok((stream, socket))
        });
        let (stream, socket) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of the sandbox could not be taken");
                places.make_room();
                sleep(SCARCE).await;
                continue;
            }
        };
        while places.is_full() && !places.make_room() {
            sleep(SCARCE).await;
        }
        let served = serve(stream);
        let mut taken = places.taken();
        let number = taken.next;
        taken.next += 1;
        let held = Held {
            places: Arc::clone(&places),
            number,
        };
        let task = connections.spawn(async move {
            let _held = held;
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection of the sandbox has ended");
            }
        });
        taken.places.insert(number, Place { socket, task });
    }
}
