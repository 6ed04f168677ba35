//! Calls of sockets whose addresses and control messages are bytes, as somebody else wrote them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Gives a socket the address.
///
/// # Errors
/// What bind(2) says.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told from a slice that outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            length(address.len()),
        )
    };
    done(result)
}

/// Connects a socket to the address.
///
/// # Errors
/// What connect(2) says.
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: as for `bind`.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            length(address.len()),
        )
    };
    done(result)
}

/// Sends `data` with the control messages in `control`, to `address` where there is one, and gives
/// how many bytes were sent.
///
/// # Errors
/// What sendmsg(2) says. `EPIPE` comes without its signal.
pub fn send(
    socket: BorrowedFd<'_>,
    (address, data, control): (&[u8], &[u8], &[u8]),
    flags: i32,
) -> io::Result<usize> {
    let mut piece = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let or_null = |bytes: &[u8]| match bytes.is_empty() {
        true => std::ptr::null_mut(),
        false => bytes.as_ptr().cast_mut().cast::<libc::c_void>(),
    };
    // SAFETY: the structure is of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = or_null(address);
    message.msg_namelen = length(address.len());
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = or_null(control);
    message.msg_controllen = control.len();
    // SAFETY: each pointer of `message` is null or to as many bytes as stand beside it, which
    // outlive the call; sendmsg(2) writes to none of them.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            flags | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What is longer than any length is refused by the kernel.
fn length(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(libc::socklen_t::MAX)
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
