//! The worker's end of the channel as a shared library, for interpreters that
//! can call C: Python by `ctypes`, Bun by `bun:ffi`.
//!
//! It trusts its process, which is the code that the supervisor does not trust:
//! nothing in here protects anybody. It must only never corrupt the process that
//! loads it, whatever arguments that passes, as far as C can promise.
//!
//! Functions that can fail give a negative `errno`. `-EINTR` means that a signal
//! came, or that a moment passed: handle signals and call again. After `fork`
//! the child must not use a channel.
#![allow(unsafe_code)]

mod channel;

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use buntime_abi::{Kind, line};

pub use channel::{Answer, Channel, Failure};

/// The version of these functions. It changes when any of them does.
pub const VERSION: u32 = 1;

/// Gives [`VERSION`].
#[unsafe(no_mangle)]
pub extern "C" fn buntime_version() -> u32 {
    VERSION
}

/// Connects to the socket, maps the segment, and says READY. Gives null and sets
/// `errno` on failure.
///
/// # Safety
/// Both arguments are null or strings that end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_open(
    socket_path: *const c_char,
    segment_path: *const c_char,
) -> *mut Channel {
    // SAFETY: the caller gives null or C strings, which is what `path` asks for.
    let (socket_path, segment_path) = unsafe { (path(socket_path), path(segment_path)) };
    boxed((|| {
        let socket = UnixStream::connect(socket_path.ok_or(libc::EINVAL)?)?;
        let segment = segment_path.ok_or(libc::EINVAL)?;
        let segment = File::options().read(true).write(true).open(segment)?;
        let channel = Channel::attach(socket.into(), &segment)?;
        channel.ring(line::READY)?;
        Ok(channel)
    })())
}

/// Takes over a channel that other code of this process has opened, used and
/// left at rest: its connected socket and its segment. Both descriptors stay the
/// caller's. Gives null and sets `errno` on failure.
#[unsafe(no_mangle)]
pub extern "C" fn buntime_attach(socket: c_int, segment: c_int) -> *mut Channel {
    boxed((|| {
        let socket = duplicate(socket)?;
        let segment = File::from(duplicate(segment)?);
        Channel::attach(socket, &segment)
    })())
}

/// Publishes one message, or for STDOUT (0x00) and STDERR (0x06) as many parts as the
/// payload needs, waiting for space as long as it takes. Gives how many bytes of the
/// payload were sent, which for output may be fewer than asked when a signal came.
///
/// # Safety
/// `channel` is from this library and not closed; `payload` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_send(
    channel: *const Channel,
    kind: u8,
    request: u32,
    payload: *const u8,
    length: usize,
) -> isize {
    // SAFETY: both pointers are as the caller promises.
    let (channel, payload) = unsafe { (channel.as_ref(), bytes(payload, length)) };
    let sent = (|| {
        let kind = Kind::from_wire(kind).ok_or(libc::EINVAL)?;
        channel
            .ok_or(libc::EINVAL)?
            .send(kind, request, payload.ok_or(libc::EINVAL)?)
    })();
    number(sent.map(|sent| isize::try_from(sent).unwrap_or(isize::MAX)))
}

/// Asks about an operation and waits for the answer: 1 allowed, 0 denied, and then
/// the reason is copied to `reason` as far as it fits and `reason_length` is its whole
/// length. `request` becomes the request's id; after `-EINTR` with an id that is not 0,
/// go on with [`buntime_resume`]; with 0 nothing was asked yet.
///
/// # Safety
/// `channel` is from this library and not closed; `target` points to `length` bytes,
/// `reason` to `reason_capacity` writable bytes; `reason_length` and `request` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_check(
    channel: *const Channel,
    kind: u8,
    target: *const u8,
    length: usize,
    reason: *mut u8,
    reason_capacity: usize,
    reason_length: *mut usize,
    request: *mut u32,
) -> c_int {
    // SAFETY: all pointers are as the caller promises.
    let (channel, target, request) =
        unsafe { (channel.as_ref(), bytes(target, length), request.as_mut()) };
    let (Some(channel), Some(target), Some(request), Some(kind)) =
        (channel, target, request, Kind::from_wire(kind))
    else {
        return -libc::EINVAL;
    };
    *request = 0;
    match channel.ask(kind, target) {
        Ok(id) => *request = id,
        Err(failure) => return -failure.errno(),
    }
    // SAFETY: as the caller promises; `request` is no longer borrowed mutably.
    unsafe { buntime_resume(channel, *request, reason, reason_capacity, reason_length) }
}

/// Goes on waiting for the answer to a check that a signal interrupted.
///
/// # Safety
/// As for [`buntime_check`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_resume(
    channel: *const Channel,
    request: u32,
    reason: *mut u8,
    reason_capacity: usize,
    reason_length: *mut usize,
) -> c_int {
    // SAFETY: all pointers are as the caller promises.
    let (channel, reason_length) = unsafe { (channel.as_ref(), reason_length.as_mut()) };
    let (Some(channel), Some(reason_length)) = (channel, reason_length) else {
        return -libc::EINVAL;
    };
    match channel.answer(request) {
        Ok(Answer::Allow) => 1,
        Ok(Answer::Deny(text)) => {
            *reason_length = text.len();
            // SAFETY: `reason` has room for `reason_capacity` bytes, as the caller promises.
            unsafe { copied(&text, reason, reason_capacity) };
            0
        }
        Err(failure) => -failure.errno(),
    }
}

/// Waits for the next message that is no answer: CODE (put together from its parts) or
/// CONFIG. Copies it to `buffer` and gives its length. When it is longer than
/// `capacity`, nothing is copied and it stays: call again with that much room.
///
/// # Safety
/// `channel` is from this library and not closed; `buffer` points to `capacity`
/// writable bytes; `kind` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_receive(
    channel: *const Channel,
    kind: *mut u8,
    buffer: *mut u8,
    capacity: usize,
) -> isize {
    // SAFETY: all pointers are as the caller promises.
    let (channel, kind) = unsafe { (channel.as_ref(), kind.as_mut()) };
    let (Some(channel), Some(kind)) = (channel, kind) else {
        return -(libc::EINVAL as isize);
    };
    let received = channel.receive(capacity, |message, payload| {
        *kind = message.wire();
        // SAFETY: `buffer` has room for `capacity` bytes, as the caller promises.
        unsafe { copied(payload, buffer, capacity) };
    });
    number(received.map(|length| isize::try_from(length).unwrap_or(isize::MAX)))
}

/// Closes a channel. Null is nothing to close.
///
/// # Safety
/// `channel` is null, or from this library, not closed, and no other call uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn buntime_close(channel: *mut Channel) {
    if !channel.is_null() {
        // SAFETY: it came from `Box::into_raw` in `boxed`, and this is its only owner now.
        drop(unsafe { Box::from_raw(channel) });
    }
}

fn boxed(channel: Result<Channel, Failure>) -> *mut Channel {
    match channel {
        Ok(channel) => Box::into_raw(Box::new(channel)),
        Err(failure) => {
            // SAFETY: errno's address is valid for the calling thread.
            unsafe { *libc::__errno_location() = failure.errno() };
            std::ptr::null_mut()
        }
    }
}

fn number(result: Result<isize, Failure>) -> isize {
    result.unwrap_or_else(|failure| -(failure.errno() as isize))
}

fn duplicate(descriptor: c_int) -> Result<OwnedFd, Failure> {
    if descriptor < 0 {
        return Err(libc::EBADF.into());
    }
    // SAFETY: the descriptor is only borrowed for one system call, which checks it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Up where a program does not expect to meet it.
    // SAFETY: the command takes an integer and gives a new descriptor, or -1.
    let high = unsafe { libc::fcntl(borrowed.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 60) };
    if high < 0 {
        return Ok(borrowed.try_clone_to_owned()?);
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(high) })
}

/// # Safety
/// `text` is null or a string that ends with a zero byte and outlives the result.
unsafe fn path<'a>(text: *const c_char) -> Option<&'a Path> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a C string.
    Some(Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(text) }.to_bytes(),
    )))
}

/// # Safety
/// `start` points to `length` bytes that outlive the result, or `length` is 0.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    if length == 0 {
        return Some(&[]);
    }
    if start.is_null() || isize::try_from(length).is_err() {
        return None;
    }
    // SAFETY: not null, and the caller promises the bytes.
    Some(unsafe { std::slice::from_raw_parts(start, length) })
}

/// # Safety
/// `into` points to `capacity` writable bytes, or is null.
unsafe fn copied(from: &[u8], into: *mut u8, capacity: usize) {
    if !into.is_null() {
        let length = from.len().min(capacity);
        // SAFETY: `length` bytes are readable in `from` and writable at `into`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into, length) };
    }
}
