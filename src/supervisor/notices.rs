//! The socket to the sandbox's init: its records come in, signals for the program
//! go out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor::register;
use crate::launch::Notice;
use crate::launch::notice::{receive, send_signal};

/// Our end of init's socket.
pub(super) struct Notices(AsyncFd<OwnedFd>);

impl Notices {
    /// # Errors
    /// When the socket cannot be registered. Must be called inside a tokio runtime.
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(register(socket, Interest::READABLE)?))
    }

    /// The next record; `None` when init is gone. Safe to drop.
    ///
    /// # Errors
    /// When the socket fails, or a record is not one of [`Notice`].
    pub(super) async fn next(&self) -> io::Result<Option<Notice>> {
        loop {
            let mut ready = self.0.readable().await?;
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
        record(self.0.get_ref())
    }

    /// Has init signal the program.
    ///
    /// # Errors
    /// When init is gone.
    pub(super) fn signal(&self, number: i32) -> io::Result<()> {
        let number = u8::try_from(number).map_err(io::Error::other)?;
        send_signal(self.0.get_ref(), number)
    }
}

fn record(socket: &OwnedFd) -> io::Result<Option<Notice>> {
    // Nothing carries descriptors once the program runs; what comes is closed.
    Ok(receive(socket.as_fd())?.map(|(notice, _descriptors)| notice))
}
