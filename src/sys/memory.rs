//! What a forked copy of the supervisor must forget.

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
