//! How long nothing has passed on a connection, as the kernel counts it (tcp(7), `TCP_INFO`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Since when nothing was sent and nothing has come.
///
/// # Errors
/// What getsockopt(2) says of a socket that is none of TCP.
pub fn idle_for(socket: BorrowedFd<'_>) -> io::Result<Duration> {
    // SAFETY: the structure is of integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes to `info`, which is that large and outlives the
    // call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let milliseconds = info.tcpi_last_data_sent.min(info.tcpi_last_data_recv);
    Ok(Duration::from_millis(milliseconds.into()))
}
