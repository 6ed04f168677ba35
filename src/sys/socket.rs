//! Sequenced-packet socket pairs that carry records and descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The largest record that is taken, in bytes.
pub const MAX_RECORD: usize = 128 * 1024;

/// The most descriptors in one record.
pub const MAX_DESCRIPTORS: usize = 8;

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

/// Sends one record with descriptors.
///
/// # Errors
/// `EPIPE` when the other end is gone; no SIGPIPE is raised.
pub fn send_record(
    socket: BorrowedFd<'_>,
    record: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
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
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights.collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.bits() & (libc::MSG_TRUNC | libc::MSG_CTRUNC) as u32 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the record was cut short",
        ));
    }
    record.truncate(received.bytes);
    Ok((record, descriptors))
}
