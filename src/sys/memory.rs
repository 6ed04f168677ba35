//! What a forked copy of the supervisor must forget.

use std::io;

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
