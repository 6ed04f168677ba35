//! Bytes from one connection to another and back, without being looked at.
//!
//! They are copied. To have the kernel move them (splice(2)) takes as much of a processor for a byte, since they go page by
//! page through a pipe, and both ends are woken more often for less.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::open::Count;

/// Bytes that are copied at a time. Where more than these wait there is much to come.
const SMALL: usize = 1 << 14;

/// Bytes that are copied at a time while much comes, and how many directions of all connections may have room for
/// that; who comes later has less.
const LARGE: usize = 1 << 20;
static ROOM: Semaphore = Semaphore::const_new(32);
const LESS: usize = 1 << 16;

/// Who says nothing for so long keeps no room for much.
const PAUSE: Duration = Duration::from_millis(100);

/// One end of a connection; what passes at a host's is counted there.
#[derive(Clone, Copy)]
pub(super) struct End<'c>(pub &'c TcpStream, pub Option<&'c Count>);

impl End<'_> {
    /// Counts these, and waits until more may pass.
    async fn passed(&self, bytes: usize) {
        if let Some(wait) = self.counted(bytes) {
            sleep(wait).await;
        }
    }

    fn counted(&self, bytes: usize) -> Option<Duration> {
        self.1.and_then(|count| count.add(bytes))
    }
}

/// Moves what comes from `from` to `to` until its end, which is handed on.
///
/// # Errors
/// What either connection says.
pub(super) async fn one_way(from: End<'_>, to: End<'_>) -> io::Result<()> {
    // A connection that waits, or says little, takes no room.
    loop {
        let Copied { taken, left, wait } = copy(from, to).await?;
        if let Some(wait) = wait {
            sleep(wait).await;
        }
        write_all(&left, to).await?;
        let is_end = match taken {
            // Where it has to wait it comes in small pieces.
            SMALL if wait.is_none() => copy_much(from, to).await?,
            taken => taken == 0,
        };
        if is_end {
            return Ok(rustix::net::shutdown(to.0, Shutdown::Write)?);
        }
    }
}

/// Bytes that were read, and those of them that could not be written at once.
struct Copied {
    taken: usize,
    left: Vec<u8>,
    /// For how long no more may pass.
    wait: Option<Duration>,
}

/// Copies what there is.
async fn copy(from: End<'_>, to: End<'_>) -> io::Result<Copied> {
    let copied = || {
        let mut space = [MaybeUninit::uninit(); SMALL];
        let ((read, _), _) = recv(from.0, &mut space, RecvFlags::empty())?;
        let read = &*read;
        let before = from.counted(read.len());
        let written = match read {
            [] => Ok(0),
            read => to.0.try_write(read),
        };
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        let wait = before.max(to.counted(written));
        let left = read[written..].to_vec();
        let taken = read.len();
        Ok(Copied { taken, left, wait })
    };
    from.0.async_io(Interest::READABLE, copied).await
}

/// Writes all of this.
///
/// # Errors
/// What the connection says.
pub(super) async fn write_all(mut bytes: &[u8], to: End<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = || to.0.try_write(bytes);
        let written = to.0.async_io(Interest::WRITABLE, written).await?;
        to.passed(written).await;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Copies for as long as much comes, without a pause. Whether it has come to the end.
async fn copy_much(from: End<'_>, to: End<'_>) -> io::Result<bool> {
    let room = ROOM.try_acquire();
    let mut space = Vec::with_capacity(if room.is_ok() { LARGE } else { LESS });
    loop {
        space.clear();
        let Ok(taken) = timeout(PAUSE, read_more(from.0, &mut space)).await else {
            return Ok(false);
        };
        let taken = taken?;
        let wait = from.counted(taken);
        write_all(&space, to).await?;
        if let Some(wait) = wait {
            sleep(wait).await;
        }
        if taken < SMALL || wait.is_some() {
            return Ok(taken == 0);
        }
    }
}

/// Adds what there is to read, and gives how many bytes that was: none at the end.
///
/// # Errors
/// What the connection says.
pub(super) async fn read_more(from: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read_buf(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}
