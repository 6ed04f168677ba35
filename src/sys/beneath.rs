//! A thread that makes sockets in one directory only, by a Landlock domain of its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `LANDLOCK_ACCESS_FS_MAKE_SOCK` (`linux/landlock.h`), Landlock ABI 1.
const MAKE_SOCK: u64 = 1 << 9;

/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// From here on the calling thread, which has no_new_privs set, makes a socket with a name only in
/// `directory` or below it, for good.
///
/// # Errors
/// `ENOSYS` or `EOPNOTSUPP` without Landlock; `EPERM` without no_new_privs, `E2BIG` in too many
/// domains. Nothing is restricted then.
pub fn make_sockets_only_beneath(directory: BorrowedFd<'_>) -> io::Result<()> {
    let handled = MAKE_SOCK;
    // SAFETY: the kernel reads `size_of_val(&handled)` bytes, which is the structure of ABI 1, from
    // a local that outlives the call.
    let created = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of_val(&handled),
            0,
        )
    };
    let ruleset = match i32::try_from(created) {
        // SAFETY: the kernel has just made this descriptor for this call, so nothing else owns it.
        Ok(number) if number >= 0 => unsafe { OwnedFd::from_raw_fd(number) },
        _ => return Err(io::Error::last_os_error()),
    };
    let rule = PathBeneath {
        allowed: MAKE_SOCK,
        parent: directory.as_raw_fd(),
    };
    // SAFETY: the kernel reads the structure that the type of the rule says, from a local that
    // outlives the call.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    if added != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call takes a descriptor and an integer.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::sys::process;

    #[test]
    fn a_socket_is_made_beneath_and_nowhere_else() {
        let folder = std::env::temp_dir().join(format!("beneath-{}", std::process::id()));
        let inside = folder.join("inside");
        std::fs::create_dir_all(&inside).expect("folders");
        let made = std::thread::scope(|scope| {
            let restricted = scope.spawn(|| {
                process::set_no_new_privs().expect("no_new_privs");
                let directory = std::fs::File::open(&inside).expect("a folder");
                make_sockets_only_beneath(directory.as_fd()).expect("Landlock is there");
                let bind = |path| UnixDatagram::bind(path).map(drop).map_err(|e| e.kind());
                (bind(inside.join("one")), bind(folder.join("two")))
            });
            restricted.join().expect("the thread ends")
        });
        std::fs::remove_dir_all(&folder).expect("the folders go");
        assert_eq!(made, (Ok(()), Err(io::ErrorKind::PermissionDenied)));
    }
}
