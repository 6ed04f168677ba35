//! Session keyrings (`keyctl(2)`).

use std::ffi::CStr;
use std::io;

const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SETPERM: libc::c_long = 5;

/// Possessor: everything. The user: view, read, search and link, as containers of one user find
/// one another's keys no easier than before.
const PERMISSIONS: libc::c_long = 0x3f1b_0000;

/// Joins a new session keyring of this name, so that the caller's keys are out of reach.
///
/// # Errors
/// `ENOSYS` on a kernel without keyrings, `EDQUOT` when the user has too many keys.
pub fn join_session(name: &CStr) -> io::Result<()> {
    let checked = |result: libc::c_long| match result {
        -1 => Err(io::Error::last_os_error()),
        serial => Ok(serial),
    };
    // SAFETY: the name is NUL-terminated and outlives the call; the second call takes integers.
    unsafe {
        let ring = checked(libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            name.as_ptr(),
        ))?;
        checked(libc::syscall(libc::SYS_keyctl, SETPERM, ring, PERMISSIONS))?;
    }
    Ok(())
}
