//! The socket to the sandbox's init: its records come in, signals for the program
//! go out.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor::register;
use crate::launch::Notice;
use crate::launch::notice::{Order, receive, send_order, send_reload};
use crate::policy::LiveRules;

/// Answers that may wait for init to take earlier ones. Each belongs to a thread of the worker that
/// waits, and init takes them whenever it has something to do.
const MOST_UNSENT: usize = 1 << 16;

/// Our end of init's socket.
pub(super) struct Notices {
    socket: AsyncFd<OwnedFd>,
    unsent: VecDeque<Order>,
}

impl Notices {
    /// # Errors
    /// When the socket cannot be registered. Must be called inside a tokio runtime.
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let both = Interest::READABLE.add(Interest::WRITABLE);
        Ok(Self {
            socket: register(socket, both)?,
            unsent: VecDeque::new(),
        })
    }

    /// The next record; `None` when init is gone. Safe to drop.
    ///
    /// # Errors
    /// When the socket fails, or a record is not one of [`Notice`].
    pub(super) async fn next(&self) -> io::Result<Option<Notice>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| record(socket.get_ref())) {
                Ok(result) => return result,
                Err(_not_ready) => continue,
            }
        }
    }

    /// A record that is already there.
    ///
    /// # Errors
    /// As [`Notices::next`], and `WouldBlock` when there is none.
    pub(super) fn next_now(&self) -> io::Result<Option<Notice>> {
        record(self.socket.get_ref())
    }

    /// Has init signal the program.
    ///
    /// # Errors
    /// When init is gone.
    pub(super) fn signal(&self, number: i32) -> io::Result<()> {
        self.send(&Order::Signal { signal: number })
    }

    /// Has init go on with a call, or deny it. Where init is slow, it gets the answer by
    /// [`Notices::deliver`].
    ///
    /// # Errors
    /// When init is gone, or takes no answers any more.
    pub(super) fn answer(&mut self, number: u64, permit: bool) -> io::Result<()> {
        let answer = Order::Answer { number, permit };
        if self.unsent.is_empty() {
            match self.send(&answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        if self.unsent.len() >= MOST_UNSENT {
            return Err(io::Error::other("it takes no answers"));
        }
        self.unsent.push_back(answer);
        Ok(())
    }

    /// Has init decide by other rules.
    ///
    /// # Errors
    /// When init is gone, or takes nothing now.
    pub(super) fn reload(&self, generation: u64, rules: &LiveRules) -> io::Result<()> {
        send_reload(self.socket.get_ref().as_fd(), generation, rules)
    }

    /// Waits until answers that wait can be delivered; without one, for ever. Safe to drop.
    ///
    /// # Errors
    /// None that the runtime names while it runs.
    pub(super) async fn room(&self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return pending().await;
        }
        self.socket.writable().await?.retain_ready();
        Ok(())
    }

    /// Hands over the answers that wait, as far as init takes them.
    ///
    /// # Errors
    /// When init is gone.
    pub(super) fn deliver(&mut self) -> io::Result<()> {
        while let Some(answer) = self.unsent.front() {
            let send = |socket: &OwnedFd| send_order(socket.as_fd(), answer);
            match self.socket.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                sent => sent?,
            }
            self.unsent.pop_front();
        }
        Ok(())
    }

    fn send(&self, order: &Order) -> io::Result<()> {
        send_order(self.socket.get_ref().as_fd(), order)
    }
}

fn record(socket: &OwnedFd) -> io::Result<Option<Notice>> {
    // Nothing carries descriptors once the program runs; what comes is closed.
    Ok(receive(socket.as_fd())?.map(|(notice, _descriptors)| notice))
}
