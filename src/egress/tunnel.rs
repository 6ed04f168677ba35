//! Bytes from one connection to another and back, without being looked at: what comes in small pieces is
//! copied, and more than that is moved by the kernel (splice(2)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::open::Count;

/// Bytes that one direction may hold.
const PIPE: usize = 1 << 18;

/// Bytes that are copied at a time. Where more than these wait there is much to come.
const SMALL: usize = 1 << 14;

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
    // A connection that waits, or says little, takes no pipe.
    loop {
        let Copied { taken, left, wait } = copy(from, to).await?;
        if let Some(wait) = wait {
            sleep(wait).await;
        }
        if taken == 0 {
            return Ok(rustix::net::shutdown(to.0, Shutdown::Write)?);
        }
        write_all(&left, to).await?;
        if taken == SMALL {
            return splice_all(from, to).await;
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

async fn splice_all(from: End<'_>, to: End<'_>) -> io::Result<()> {
    let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A user has only so many pages for pipes; a small one is as good.
    if let Err(error) = fcntl_setpipe_size(&sink, PIPE) {
        tracing::debug!(%error, "the pipe stays as small as it is");
    }
    loop {
        let taken = fill(from.0, &sink).await?;
        from.passed(taken).await;
        if taken == 0 {
            return Ok(rustix::net::shutdown(to.0, Shutdown::Write)?);
        }
        let mut left = taken;
        while left > 0 {
            let moved = empty(&source, to.0, left).await?;
            to.passed(moved).await;
            left -= moved;
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The pipe is empty, so whatever would block is the connection.
async fn fill(from: &TcpStream, sink: &OwnedFd) -> io::Result<usize> {
    let moved = || Ok(splice(from.as_fd(), None, sink, None, PIPE, FLAGS)?);
    from.async_io(Interest::READABLE, moved).await
}

/// There are `left` bytes in the pipe, so whatever would block is the connection.
async fn empty(source: &OwnedFd, to: &TcpStream, left: usize) -> io::Result<usize> {
    let moved = || Ok(splice(source, None, to.as_fd(), None, left, FLAGS)?);
    match to.async_io(Interest::WRITABLE, moved).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        moved => Ok(moved),
    }
}
