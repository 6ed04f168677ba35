//! Bytes from one connection to another and back, moved by the kernel (splice(2)) without being looked at.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::open::Count;

/// Bytes that one direction may hold.
const PIPE: usize = 1 << 18;

/// One end of a connection; what passes at a host's is counted there.
#[derive(Clone, Copy)]
pub(super) struct End<'c>(pub &'c TcpStream, pub Option<&'c Count>);

impl End<'_> {
    fn passed(&self, bytes: usize) {
        if let Some(count) = self.1 {
            count.add(bytes);
        }
    }
}

/// Moves what comes from `from` to `to` until its end, which is handed on.
///
/// # Errors
/// What either connection says.
pub(super) async fn one_way(from: End<'_>, to: End<'_>) -> io::Result<()> {
    let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A user has only so many pages for pipes; a small one is as good.
    if let Err(error) = fcntl_setpipe_size(&sink, PIPE) {
        tracing::debug!(%error, "the pipe stays as small as it is");
    }
    loop {
        let taken = fill(from.0, &sink).await?;
        from.passed(taken);
        if taken == 0 {
            return Ok(rustix::net::shutdown(to.0, Shutdown::Write)?);
        }
        let mut left = taken;
        while left > 0 {
            let moved = empty(&source, to.0, left).await?;
            to.passed(moved);
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
