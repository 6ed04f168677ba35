//! The worker's end of the control socket: connected before the program is there, and handed to it
//! as a descriptor, so that the program itself need not be able to make a socket.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, RawFd};
use std::path::Path;

use rustix::io::FdFlags;

/// Above the descriptors that a program expects to get, within the 64 that every process has.
const HIGH_DESCRIPTOR: i32 = 60;

/// Moves a connection up, as far as the limit of open files permits, leaves it open over the
/// execve, and puts the name by which the worker is told of it in the place of the socket's path.
/// Gives the descriptor, which is the program's from then on.
///
/// # Errors
/// `EMFILE` where that limit leaves no room at all.
pub(super) fn hand_over(
    connection: impl AsFd,
    socket: &Path,
    arguments: &mut [OsString],
) -> io::Result<RawFd> {
    let high = match rustix::io::fcntl_dupfd_cloexec(&connection, HIGH_DESCRIPTOR) {
        Err(rustix::io::Errno::INVAL) => rustix::io::fcntl_dupfd_cloexec(&connection, 3),
        other => other,
    }?;
    rustix::io::fcntl_setfd(&high, FdFlags::empty())?;
    let descriptor = high.into_raw_fd();
    let path = socket.with_file_name(format!("@{descriptor}"));
    for argument in arguments {
        if *argument == *socket.as_os_str() {
            path.as_os_str().clone_into(argument);
        }
    }
    Ok(descriptor)
}
