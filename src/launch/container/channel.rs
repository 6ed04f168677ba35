//! The channel of a container whose configuration asks for it: a segment and a socket, in a small
//! file system of the container's own that nothing of the host's leads to.
//!
//! It is made while nothing of the container's runs, and ends with the container's mounts. Both
//! belong to the container's user. The file system has room for them and for nothing else.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::process::ProcessPlan;
use super::word::{Word, tell_with};
use crate::launch::rootfs::Assembled;
use crate::launch::{Failure, connection};
use crate::policy::CHANNEL;
use crate::sys::mount::{self, attr};
use crate::sys::socket::refuse_descriptors;

/// The segment's name in the channel's folder.
pub const SEGMENT: &str = "segment";
/// The socket's name there: whoever cannot be told of a random one knows this.
pub const SOCKET: &str = "control.sock";

/// Bytes of the segment.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Bytes of the file system: the segment, and room for its folder with pages of up to 64 KiB.
const SPACE: &CStr = c"1088k";
/// The folder, the segment and the socket.
const FILES: &CStr = c"3";

/// The supervisor's ends.
#[derive(Debug)]
pub struct ChannelEnds {
    /// The listening socket.
    pub listener: OwnedFd,
    /// The segment, open for reading and writing.
    pub segment: File,
}

/// Makes the channel, mounts it in `root`, and gives the runtime its ends. A program that names the
/// socket among its arguments gets a connection in its place, so that it need not be able to make
/// sockets.
///
/// # Errors
/// What the kernel says; also that the image has no place for the folder and none can be made.
pub(super) fn open(
    root: &Assembled,
    process: &mut ProcessPlan,
    words: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let fail = |cause: io::Error| Failure::new("make", "the channel", cause);
    let space = space(root.label()).map_err(fail)?;
    root.show(space.as_fd(), Path::new(CHANNEL))?;
    let ends = fill(space.as_fd(), process.uid, process.gid).map_err(fail)?;
    let socket = Path::new(CHANNEL).join(SOCKET);
    if process.args.iter().any(|arg| *arg.as_str() == *socket) {
        let connection = connect(space.as_fd()).map_err(fail)?;
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

fn space(label: Option<&str>) -> io::Result<OwnedFd> {
    let label = label.map(CString::new).transpose()?;
    let mut options = vec![(c"size", SPACE), (c"nr_inodes", FILES), (c"mode", c"0755")];
    options.extend(label.as_deref().map(|label| (c"context", label)));
    let set = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    mount::new_filesystem(c"tmpfs", &options, set)
}

fn fill(space: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<ChannelEnds> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let segment = File::from(rustix::fs::openat(space, SEGMENT, flags, mode)?);
    segment.set_len(SEGMENT_BYTES)?;
    let listener = UnixListener::bind(within(space))?;
    refuse_descriptors(listener.as_fd())?;
    rustix::fs::chmodat(space, SOCKET, mode, AtFlags::empty())?;
    for name in [SEGMENT, SOCKET] {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(space, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(ChannelEnds {
        listener: listener.into(),
        segment,
    })
}

fn connect(space: BorrowedFd<'_>) -> io::Result<UnixStream> {
    UnixStream::connect(within(space))
}

/// The socket's path, which is short and leads through no name of the container's: the host's
/// procfs is still where this process is.
fn within(space: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", space.as_raw_fd())
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
