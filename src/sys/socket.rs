//! Sequenced-packet socket pairs that carry records and descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The largest record, in bytes.
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

/// Receives one record and its descriptors; an empty record means that the other end is gone.
///
/// # Errors
/// `EAGAIN` on a non-blocking socket without a record; `InvalidData` for a truncated one.
pub fn receive_record(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut record = vec![0; MAX_RECORD];
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
