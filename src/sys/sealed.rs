//! This program from a file that nobody can write: what runs inside a container while its
//! namespaces are joined is found there as /proc/PID/exe, and could otherwise be opened for writing
//! and replaced for every later caller (CVE-2019-5736).

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::mount::{self, attr};

const SELF: &str = "/proc/self/exe";

/// Whether the file of this program can be written by nobody: a read-only file system, a sealed
/// file in memory, or a file of root's for a caller that is not.
///
/// # Errors
/// /proc does not show it.
pub fn is_sealed() -> io::Result<bool> {
    let file = File::open(SELF)?;
    if is_read_only(file.as_fd())? {
        return Ok(true);
    }
    let found = rustix::fs::fstat(&file)?;
    let own = rustix::process::geteuid();
    if own.is_root() || found.st_uid == own.as_raw() {
        return Ok(false);
    }
    let access = rustix::fs::Access::WRITE_OK;
    Ok(rustix::fs::access(SELF, access).is_err())
}

fn is_read_only(file: BorrowedFd<'_>) -> io::Result<bool> {
    let flags = rustix::fs::fstatvfs(file)?.f_flag;
    if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only files in memory have seals to ask for.
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    Ok(seals.contains(SealFlags::WRITE))
}

/// Runs this program again, with the same arguments, from a file that nobody can write.
///
/// # Errors
/// Returns only when that cannot be done.
pub fn run_again() -> io::Error {
    match file_to_run() {
        Err(error) => error,
        Ok(file) => execute(file.as_fd()),
    }
}

fn file_to_run() -> io::Result<OwnedFd> {
    let path = std::fs::read_link(SELF)?;
    let file = match shown_read_only(&path) {
        Ok(file) => file,
        // Without rights to mount, or on a file system that cannot be below another.
        Err(_) => in_memory()?,
    };
    if !is_read_only(file.as_fd())? {
        return Err(io::Error::other("the copy of this program can be written"));
    }
    Ok(file)
}

/// An overlay without an upper layer has nowhere to write to. It needs two lower ones.
fn shown_read_only(path: &Path) -> io::Result<OwnedFd> {
    let none = || io::Error::other("this program has no path");
    let (folder, name) = (
        path.parent().ok_or_else(none)?,
        path.file_name().ok_or_else(none)?,
    );
    let beside = ["/etc", "/var", "/usr"]
        .into_iter()
        .find(|other| !folder.starts_with(other) && !Path::new(other).starts_with(folder))
        .ok_or_else(none)?;
    let mut layers = Vec::new();
    for byte in folder.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            layers.push(b'\\');
        }
        layers.push(*byte);
    }
    layers.push(b':');
    layers.extend_from_slice(beside.as_bytes());
    let layers = CString::new(layers).map_err(|_| none())?;
    let set = attr::RDONLY | attr::NOSUID | attr::NODEV;
    let overlay = mount::new_filesystem(c"overlay", &[(c"lowerdir", &layers)], set)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = PathBuf::from(name);
    let shown = rustix::fs::openat(&overlay, name.as_path(), flags, Mode::empty())?;
    // What was found by its path is still this program and not what took its place.
    if rustix::fs::fstat(&shown)?.st_ino != rustix::fs::stat(SELF)?.st_ino {
        return Err(io::Error::other("this program was replaced meanwhile"));
    }
    Ok(shown)
}

/// A document in memory that nobody changes any more, for another process of ours.
///
/// # Errors
/// What the kernel says of files in memory.
pub fn document(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("document", flags | MemfdFlags::NOEXEC_SEAL)
        // Before Linux 6.3 there is no such flag.
        .or_else(|_| rustix::fs::memfd_create("document", flags))?;
    let mut file = File::from(memory);
    io::Write::write_all(&mut file, bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// What is in a [`document`].
///
/// # Errors
/// It cannot be read whole.
pub fn read_document(document: &OwnedFd) -> io::Result<Vec<u8>> {
    let length = rustix::fs::fstat(document)?.st_size;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut at = 0;
    while at < length {
        match rustix::io::pread(document, &mut bytes[at..], at as u64) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => at += read?,
        }
    }
    Ok(bytes)
}

fn in_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("buntime", flags | MemfdFlags::EXEC)
        // Before Linux 6.3 there is no flag that permits what was always permitted.
        .or_else(|_| rustix::fs::memfd_create("buntime", flags))?;
    let mut file = File::from(copy);
    io::copy(&mut File::open(SELF)?, &mut file)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

fn execute(file: BorrowedFd<'_>) -> io::Error {
    let text = |word: OsString| CString::new(word.into_vec());
    let variable = |(key, value): (OsString, OsString)| {
        CString::new([key.as_bytes(), b"=", value.as_bytes()].concat())
    };
    let args: Result<Vec<_>, _> = std::env::args_os().map(text).collect();
    let env: Result<Vec<_>, _> = std::env::vars_os().map(variable).collect();
    let (Ok(args), Ok(env)) = (args, env) else {
        return io::Error::other("an argument has a NUL byte");
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let pointers = list.iter().map(|entry| entry.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    let empty: &CStr = c"";
    // SAFETY: the path, argv and envp are NUL-terminated strings in arrays that end with a null
    // pointer, and all of them outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            empty.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}
