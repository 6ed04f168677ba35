//! The control socket: lines in, doorbells out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use buntime_abi::line;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use super::error::{ChannelError, Violation};

/// How many bytes are read from the socket at once.
const READ_BYTES: usize = 4096;
/// How many bytes of lines may wait while the worker reads no answers: a line of every thread that
/// it can have, and a long one.
const MOST_UNREAD: usize = 1 << 20;
/// What the supervisor says: look at the rings.
const DOORBELL: &[u8] = b"DATA\n";

#[derive(Debug)]
enum Peer {
    /// Not yet known to the runtime; registered by the first wait.
    Handed(OwnedFd),
    Listening(UnixListener),
    Connected(UnixStream),
    /// Read without waiting, by whoever waits for it elsewhere.
    Taken(OwnedFd),
    Closed,
}

/// The socket of one worker.
#[derive(Debug)]
pub(super) struct Control {
    peer: Peer,
    unread: Vec<u8>,
    start: usize,
    /// The rest of a doorbell that the socket took only a part of.
    unsent: &'static [u8],
    /// Whether the worker was rung for before it connected.
    owed: bool,
}

impl Control {
    pub(super) fn new(listener: OwnedFd) -> Control {
        Control {
            peer: Peer::Handed(listener),
            ..Control::new_closed()
        }
    }

    /// A connection that was accepted elsewhere, and is only read without waiting.
    pub(super) fn over(connection: OwnedFd) -> Control {
        Control {
            peer: Peer::Taken(connection),
            ..Control::new_closed()
        }
    }

    fn new_closed() -> Control {
        Control {
            peer: Peer::Closed,
            unread: Vec::new(),
            start: 0,
            unsent: &[],
            owed: false,
        }
    }

    /// Whether the worker is gone, and every line of it has been taken.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.peer, Peer::Closed)
    }

    /// Waits until the socket has brought something: a connection, bytes, or its
    /// end. Safe to drop at any point: nothing that was read is lost.
    ///
    /// The first connection is the worker; the listener closes with it, so that
    /// the kernel refuses every other.
    pub(super) async fn wait(&mut self) -> Result<(), ChannelError> {
        if let Peer::Handed(listener) = &self.peer {
            let listener = listener
                .try_clone()
                .map(std::os::unix::net::UnixListener::from)
                .and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    UnixListener::from_std(listener)
                })
                .map_err(ChannelError::io("listen on the control socket"))?;
            self.peer = Peer::Listening(listener);
        }
        match &mut self.peer {
            Peer::Listening(listener) => {
                let (stream, _) = listener
                    .accept()
                    .await
                    .map_err(ChannelError::io("accept the worker's connection"))?;
                self.peer = Peer::Connected(stream);
                // The worker may have looked at its ring before the first message was there.
                if std::mem::take(&mut self.owed) {
                    self.ring()?;
                }
            }
            Peer::Connected(stream) => {
                let mut bytes = [0; READ_BYTES];
                let read = stream.read(&mut bytes).await;
                self.take_bytes(&bytes, read)?;
            }
            Peer::Taken(_) => {
                let cause = std::io::Error::from(std::io::ErrorKind::WouldBlock);
                return Err(ChannelError::io("wait for the control socket")(cause));
            }
            Peer::Handed(_) | Peer::Closed => {}
        }
        Ok(())
    }

    /// Takes what has come over a connection that was accepted elsewhere; gives whether there was
    /// anything, its end included.
    pub(super) fn receive(&mut self) -> Result<bool, ChannelError> {
        let Peer::Taken(connection) = &self.peer else {
            return Ok(false);
        };
        let mut bytes = [0; READ_BYTES];
        match rustix::net::recv(connection, &mut bytes, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            received => {
                let read = received.map(|(read, _)| read).map_err(Into::into);
                self.take_bytes(&bytes, read)?;
                Ok(true)
            }
        }
    }

    /// The connection that was accepted elsewhere, while it lasts.
    pub(super) fn connection(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Peer::Taken(connection) => Some(connection.as_fd()),
            _ => None,
        }
    }

    fn take_bytes(
        &mut self,
        bytes: &[u8],
        read: std::io::Result<usize>,
    ) -> Result<(), ChannelError> {
        match read {
            Ok(0) => self.peer = Peer::Closed,
            Ok(_) if self.unread.len() - self.start > MOST_UNREAD => {
                return Err(Violation::LinesPileUp { limit: MOST_UNREAD }.into());
            }
            Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
            // A worker that ends with unread doorbells resets the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                self.peer = Peer::Closed;
            }
            Err(error) => return Err(ChannelError::io("read the control socket")(error)),
        }
        Ok(())
    }

    /// Takes the connection that still waits, if there is one: whoever could make another is
    /// dead. Without one there is nothing to wait for.
    pub(super) fn seal(&mut self) -> Result<(), ChannelError> {
        let listener = match &self.peer {
            Peer::Handed(listener) => listener.as_fd(),
            Peer::Listening(listener) => listener.as_fd(),
            Peer::Connected(_) | Peer::Taken(_) | Peer::Closed => return Ok(()),
        };
        rustix::io::ioctl_fionbio(listener, true)
            .map_err(ChannelError::io("listen on the control socket"))?;
        let failed = "accept the worker's connection";
        self.peer = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(stream) => {
                let stream = std::os::unix::net::UnixStream::from(stream);
                stream
                    .set_nonblocking(true)
                    .map_err(ChannelError::io(failed))?;
                Peer::Connected(UnixStream::from_std(stream).map_err(ChannelError::io(failed))?)
            }
            Err(Errno::AGAIN | Errno::CONNABORTED) => Peer::Closed,
            Err(errno) => return Err(ChannelError::io(failed)(errno)),
        };
        Ok(())
    }

    /// Takes the next whole line.
    pub(super) fn take_line(&mut self) -> Result<Option<&str>, ChannelError> {
        let unread = &self.unread[self.start..];
        let Some(length) = unread.iter().position(|byte| *byte == b'\n') else {
            let start = std::mem::take(&mut self.start);
            self.unread.drain(..start);
            return if self.unread.len() > line::LONGEST_LINE {
                Err(Violation::LineTooLong {
                    limit: line::LONGEST_LINE,
                }
                .into())
            } else {
                Ok(None)
            };
        };
        if length > line::LONGEST_LINE {
            return Err(Violation::LineTooLong {
                limit: line::LONGEST_LINE,
            }
            .into());
        }
        let start = self.start;
        self.start += length + 1;
        let text = std::str::from_utf8(&self.unread[start..start + length])
            .map_err(|_| Violation::LineNotUtf8)?;
        Ok(Some(text))
    }

    /// Tells the worker to look at its rings. Never waits: a doorbell that does
    /// not fit is dropped, because the worker then has unread ones and will look
    /// (see [`buntime_abi::line`]).
    pub(super) fn ring(&mut self) -> Result<(), ChannelError> {
        let stream = match &self.peer {
            Peer::Connected(stream) => stream.as_fd(),
            Peer::Taken(connection) => connection.as_fd(),
            Peer::Handed(_) | Peer::Listening(_) | Peer::Closed => {
                self.owed = true;
                return Ok(());
            }
        };
        // Not tokio's try_write: that says "would block" also when it has not
        // looked, and then a doorbell would be lost.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        for text in [self.unsent, DOORBELL] {
            let sent = match rustix::net::send(stream, text, flags) {
                Ok(sent) => sent,
                // The end of the connection is read, in its turn, by `wait`.
                Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(ChannelError::io("ring the worker")(errno)),
            };
            self.unsent = &text[sent..];
            if !self.unsent.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}
