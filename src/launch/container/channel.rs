//! The channel of a container whose configuration asks for it: a segment and a socket in the
//! [`folder`](super::folder). Both belong to the container's user.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::folder::within;
use super::process::ProcessPlan;
use super::word::{Word, tell_with};
use crate::launch::{Failure, connection};
use crate::policy::CHANNEL;
use crate::sys::socket::refuse_descriptors;

/// The segment's name in the channel's folder.
pub const SEGMENT: &str = "segment";
/// The socket's name there: whoever cannot be told of a random one knows this.
pub const SOCKET: &str = "control.sock";

/// Bytes of the segment.
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// The supervisor's ends.
#[derive(Debug)]
pub struct ChannelEnds {
    /// The listening socket.
    pub listener: OwnedFd,
    /// The segment, open for reading and writing.
    pub segment: File,
}

/// Makes the channel in the folder, and gives the runtime its ends. A program that names the
/// socket among its arguments gets a connection in its place, so that it need not be able to make
/// sockets.
///
/// # Errors
/// What the kernel says.
pub(super) fn open(
    folder: BorrowedFd<'_>,
    process: &mut ProcessPlan,
    words: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let fail = |cause: io::Error| Failure::new("make", "the channel", cause);
    let ends = fill(folder, process.uid, process.gid).map_err(fail)?;
    let socket = Path::new(CHANNEL).join(SOCKET);
    if process.args.iter().any(|arg| *arg.as_str() == *socket) {
        let connection = connect(folder).map_err(fail)?;
        hand_over(process, &socket, &connection)
            .map_err(|cause| Failure::new("hand over", "the channel's connection", cause))?;
    }
    tell_with(
        words,
        &Word::Channel,
        &[ends.listener.as_fd(), ends.segment.as_fd()],
    )
    .map_err(|cause| Failure::new("hand over", "the channel", cause))
}

fn fill(folder: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<ChannelEnds> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let segment = File::from(rustix::fs::openat(folder, SEGMENT, flags, mode)?);
    segment.set_len(SEGMENT_BYTES)?;
    let listener = UnixListener::bind(within(folder, SOCKET))?;
    refuse_descriptors(listener.as_fd())?;
    rustix::fs::chmodat(folder, SOCKET, mode, AtFlags::empty())?;
    for name in [SEGMENT, SOCKET] {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(
            folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(ChannelEnds {
        listener: listener.into(),
        segment,
    })
}

fn connect(folder: BorrowedFd<'_>) -> io::Result<UnixStream> {
    UnixStream::connect(within(folder, SOCKET))
}

fn hand_over(process: &mut ProcessPlan, socket: &Path, connection: &UnixStream) -> io::Result<()> {
    let mut args: Vec<OsString> = process.args.iter().map(OsString::from).collect();
    let descriptor = connection::hand_over(connection, socket, &mut args)?;
    let texts = args.into_iter().map(|arg| arg.into_string());
    process.args = texts
        .collect::<Result<_, _>>()
        .map_err(|_| io::Error::other("an argument is no text"))?;
    process.preserved_fds.push(descriptor);
    process.preserved_fds.sort_unstable();
    Ok(())
}
