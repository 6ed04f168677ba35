//! Sequenced-packet socket pairs that carry records and descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The largest record that is taken, in bytes.
pub const MAX_RECORD: usize = 128 * 1024;

/// The most descriptors in one record.
pub const MAX_DESCRIPTORS: usize = 16;

/// Two connected sockets of type `SOCK_SEQPACKET`, close-on-exec.
///
/// # Errors
/// `EMFILE` and its like.
pub fn record_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Has a listening Unix socket and the connections that come of it take no descriptors: who sends
/// one is refused. Closing one could make the receiver wait, as for a TCP connection that lingers.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.16.
pub fn refuse_descriptors(listener: BorrowedFd<'_>) -> io::Result<()> {
    /// `SO_PASSRIGHTS` of asm-generic/socket.h.
    const PASS_RIGHTS: libc::c_int = 83;
    let none: libc::c_int = 0;
    // SAFETY: setsockopt(2) reads one integer, whose size it is told, from a local that outlives
    // the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            PASS_RIGHTS,
            (&raw const none).cast(),
            size_of_val(&none) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends one record with descriptors.
///
/// # Errors
/// `EPIPE` when the other end is gone; no SIGPIPE is raised.
pub fn send_record(
    socket: BorrowedFd<'_>,
    record: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.is_empty() {
        return send_plain(socket, record);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    loop {
        match rustix::net::sendmsg(
            socket,
            &[IoSlice::new(record)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Sends a record by a call that no filter of a worker holds.
fn send_plain(socket: BorrowedFd<'_>, record: &[u8]) -> io::Result<()> {
    loop {
        match rustix::net::send(socket, record, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Sends one byte with descriptors over a stream.
///
/// # Errors
/// As for [`send_record`].
pub fn send_descriptors(socket: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_record(socket, &[0], descriptors)
}

/// Receives what [`send_descriptors`] has sent; close-on-exec.
///
/// # Errors
/// `InvalidData` when the stream ends or the descriptors were cut short.
pub fn receive_descriptors(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let descriptors = descriptors_of(&mut control);
    let is_cut = received.flags.bits() & libc::MSG_CTRUNC as u32 != 0;
    match received.bytes == 1 && !is_cut {
        true => Ok(descriptors),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no descriptors came",
        )),
    }
}

fn descriptors_of(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights.collect::<Vec<_>>()),
        _ => None,
    });
    messages.flatten().collect()
}

/// Waits for a record and gives its length in bytes, leaving it where it is.
fn next_length(socket: BorrowedFd<'_>) -> io::Result<usize> {
    loop {
        let none: &mut [u8] = &mut [];
        match rustix::net::recv(socket, none, RecvFlags::PEEK | RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((_, length)) => return Ok(length),
        }
    }
}

/// Receives as [`receive_record`] does, but stays awake for up to `awake` before it sleeps: for an
/// answer that takes the other side less time than waking up would take this one.
///
/// # Errors
/// As for [`receive_record`] on a socket that blocks.
pub fn receive_record_soon(
    socket: BorrowedFd<'_>,
    awake: Duration,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let began = Instant::now();
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    while began.elapsed() < awake {
        let none: &mut [u8] = &mut [];
        match rustix::net::recv(socket, none, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => std::thread::yield_now(),
            _ => break,
        }
    }
    receive_record(socket)
}

/// Receives one record and its descriptors; an empty record means that the other end is gone.
///
/// # Errors
/// `EAGAIN` on a non-blocking socket without a record; `InvalidData` for a truncated one.
pub fn receive_record(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let length = next_length(socket)?;
    let mut record = vec![0; length.min(MAX_RECORD)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut record)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    let descriptors = descriptors_of(&mut control);
    if received.flags.bits() & (libc::MSG_TRUNC | libc::MSG_CTRUNC) as u32 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the record was cut short",
        ));
    }
    record.truncate(received.bytes);
    Ok((record, descriptors))
}
