//! The worker's end of the control socket: connected before the program is there, and handed to it
//! as a descriptor, so that the program itself need not be able to make a socket.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::io::FdFlags;

/// Above the descriptors that a program expects to get, within the 64 that every process has.
const HIGH_DESCRIPTOR: i32 = 60;

/// Moves a connection up, as far as the limit of open files permits, and leaves it open over the
/// execve.
///
/// # Errors
/// `EMFILE` where that limit leaves no room at all.
pub(super) fn hand_over(connection: impl AsFd) -> io::Result<OwnedFd> {
    let high = match rustix::io::fcntl_dupfd_cloexec(&connection, HIGH_DESCRIPTOR) {
        Err(rustix::io::Errno::INVAL) => rustix::io::fcntl_dupfd_cloexec(&connection, 3),
        other => other,
    }?;
    rustix::io::fcntl_setfd(&high, FdFlags::empty())?;
    Ok(high)
}

/// Puts the name by which the worker is told of a connection that it has already in the place of
/// the socket's path.
pub(super) fn name_in(arguments: &mut [OsString], socket: &Path, connection: &OwnedFd) {
    let name = format!("@{}", connection.as_raw_fd());
    let path = socket.with_file_name(name);
    for argument in arguments {
        if *argument == *socket.as_os_str() {
            path.as_os_str().clone_into(argument);
        }
    }
}
