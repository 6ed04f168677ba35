//! What a forked copy of the supervisor must forget, and the memory of others.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

unsafe extern "C" {
    static mut environ: *mut *mut libc::c_char;
}

/// Overwrites the strings of the process's environment with zeros, so that neither
/// /proc/PID/environ nor the memory of a forked copy shows what the caller had set.
///
/// Only for a copy that will never read its environment again.
pub fn wipe_environment() {
    // SAFETY: the launch child has one thread; `environ` is null or an array of pointers to
    // NUL-terminated strings, ended by a null pointer; the strings are writable memory of this
    // process (the initial stack, or the allocator's), and each is overwritten up to its NUL only.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let length = libc::strlen(*entry);
            std::ptr::write_bytes(*entry, 0, length);
            entry = entry.add(1);
        }
        environ = std::ptr::null_mut();
    }
}

/// Overwrites a text with zeros and lets it go.
pub fn wipe(text: OsString) {
    let mut bytes = text.into_vec();
    bytes.fill(0);
    // Written although nobody reads it.
    std::hint::black_box(&bytes);
}

/// Overwrites the process's arguments with zeros, so that /proc/PID/cmdline of a forked copy does
/// not show what the caller was told.
///
/// Only for a copy that will never ask for its arguments again.
///
/// # Errors
/// When /proc does not show the calling process.
pub fn wipe_arguments() -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (start, end) = arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let length = end.checked_sub(start).ok_or(io::ErrorKind::InvalidData)?;
    if length > 0 {
        // SAFETY: the kernel says that its copy of the arguments lies there, on the initial stack,
        // which is writable and stays mapped; the launch child has one thread, and nothing of its
        // program refers to those bytes: std::env::args copies them at each call.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, length) };
    }
    Ok(())
}

/// Fields 48 and 49 of /proc/PID/stat: where the arguments begin and end. The second field is a
/// name in parentheses and may contain anything.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(45);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A page of memory: a read that begins in one does not fail for what follows it.
const PAGE: u64 = 4096;

/// Bytes of a text that are read first. Most have no more, and room for more costs time.
const SHORT: usize = 256;

/// Copies the text at `address` of the thread `tid`, up to its NUL or to `longest` bytes.
///
/// # Errors
/// As [`read_memory`].
pub fn read_text(tid: u32, address: u64, longest: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut most = SHORT;
    while bytes.len() < longest {
        let length = bytes.len();
        let from = address.wrapping_add(length as u64);
        let rest_of_page = (PAGE - from % PAGE) as usize;
        bytes.resize(longest.min(length + most.min(rest_of_page)), 0);
        let read = read_memory(tid, from, &mut bytes[length..])?;
        bytes.truncate(length + read);
        if let Some(end) = bytes[length..].iter().position(|byte| *byte == 0) {
            bytes.truncate(length + end);
            return Ok(bytes);
        }
        // Some of a page and not all of it is never there.
        if read == 0 {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        most = longest;
    }
    Ok(bytes)
}

/// Reads the memory of the thread `tid` at `address` into `buffer`, and gives how many bytes there
/// were: fewer than asked for where memory that is not mapped follows.
///
/// # Errors
/// `EFAULT` where nothing is mapped, `EPERM` without the right to trace it, `ESRCH` when it is gone.
pub fn read_memory(tid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let here = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let there = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: `here` describes exactly `buffer`; `there` is an address of another process, which
    // only the kernel looks at.
    let read = unsafe {
        libc::process_vm_readv(
            tid as libc::pid_t,
            &raw const here,
            1,
            &raw const there,
            1,
            0,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes `bytes` to the memory of the thread `tid` at `address`.
///
/// # Errors
/// As [`read_memory`]; `EFAULT` also where only a part of it can be written.
pub fn write_memory(tid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let here = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let there = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: `here` describes exactly `bytes`, which the kernel reads; `there` is an address of
    // another process, which only the kernel looks at.
    let written = unsafe {
        libc::process_vm_writev(
            tid as libc::pid_t,
            &raw const here,
            1,
            &raw const there,
            1,
            0,
        )
    };
    match usize::try_from(written) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The first page of a file in this process's memory, for as long as this is there. Nothing reads it.
#[derive(Debug)]
pub struct Mapping(std::ptr::NonNull<libc::c_void>);

/// Bytes that are mapped: the kernel maps whole pages.
const LENGTH: usize = 1;

impl Mapping {
    /// Maps a file that is open for reading.
    ///
    /// # Errors
    /// `ENODEV` for what cannot be mapped, `EACCES` for what is not open for reading.
    pub fn of(file: impl AsFd) -> io::Result<Mapping> {
        // SAFETY: a new mapping where the kernel chooses, which replaces no other.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = std::ptr::NonNull::new(address);
        address
            .map(Mapping)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours alone, and nothing refers to what is in it.
        let unmapped = unsafe { libc::munmap(self.0.as_ptr(), LENGTH) };
        debug_assert_eq!(unmapped, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_up_to_its_end_or_to_the_longest() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 5000, 9000] {
            let mut text = vec![b'a'; length];
            text.push(0);
            text.extend(b"behind it");
            let address = text.as_ptr() as u64;
            let copied = read_text(std::process::id(), address, 6000).unwrap();
            assert_eq!(copied, vec![b'a'; length.min(6000)]);
        }
        let nowhere = read_text(std::process::id(), 8, 6000).unwrap_err();
        assert_eq!(nowhere.raw_os_error(), Some(libc::EFAULT));
    }
}
