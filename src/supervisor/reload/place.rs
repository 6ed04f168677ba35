//! The directory in which runs are found.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::ReloadError;
use crate::oci::container::{self, Runtime};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 16;
/// How long another start may hold the directory.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it still does.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the directory may go away while it is used.
const TRIES: usize = 16;
/// The longest id in bytes.
const LONGEST: usize = 64;

/// Where this user's runs are found: beside the directory of the containers.
pub(in crate::supervisor) fn directory() -> PathBuf {
    let mut name = Runtime::default_root().into_os_string();
    name.push("-runs");
    name.into()
}

/// Whether `id` can name a run: what can name a container, short, and visible.
///
/// # Errors
/// Why not.
pub fn check_id(id: &str) -> Result<(), ReloadError> {
    let bad = |cause: String| ReloadError::Id {
        id: id.to_owned(),
        cause,
    };
    container::check_id(id).map_err(|error| bad(error.to_string()))?;
    if id.len() > LONGEST {
        return Err(bad(format!("it is longer than {LONGEST} bytes")));
    }
    if id.starts_with(['.', '-']) {
        return Err(bad("it begins with a dot or a hyphen".to_owned()));
    }
    Ok(())
}

/// A socket that listens under a run's id. Dropping it takes the name away.
#[derive(Debug)]
pub(in crate::supervisor) struct Listening {
    /// The run's id.
    pub id: String,
    /// The socket.
    pub socket: Option<OwnedFd>,
    directory: PathBuf,
    opened: OwnedFd,
}

impl Listening {
    /// Listens under `id`, and removes what ended runs have left.
    ///
    /// # Errors
    /// The id is taken, or the directory cannot be used.
    pub(in crate::supervisor) fn at(id: &str) -> Result<Listening, ReloadError> {
        check_id(id)?;
        let directory = directory();
        for _ in 0..TRIES {
            let opened = match open(&directory, true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(io_error("use", &directory))?,
            };
            hold(&opened).map_err(io_error("lock", &directory))?;
            sweep(&opened).map_err(io_error("tidy up", &directory))?;
            match listen_at(&opened, id) {
                // The last run of before has ended and taken the directory with it.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(io_error("listen in", &directory)(errno.into())),
                Ok(socket) => {
                    flock(&opened, FlockOperation::Unlock)
                        .map_err(|errno| io_error("unlock", &directory)(errno.into()))?;
                    return Ok(Listening {
                        id: id.to_owned(),
                        socket: Some(socket),
                        directory,
                        opened,
                    });
                }
            }
        }
        let cause = io::Error::other("it goes away again and again");
        Err(io_error("listen in", &directory)(cause))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.socket = None;
        if let Err(error) = unlinkat(&self.opened, &self.id, AtFlags::empty()) {
            tracing::debug!(%error, "the run's name is gone already");
        }
        leave(&self.directory);
    }
}

/// Removes what ended runs have left.
///
/// # Errors
/// The directory is there and cannot be used.
pub(in crate::supervisor) fn tidy() -> Result<(), ReloadError> {
    let directory = directory();
    let opened = match open(&directory, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("use", &directory))?,
    };
    hold(&opened).map_err(io_error("lock", &directory))?;
    sweep(&opened).map_err(io_error("tidy up", &directory))?;
    leave(&directory);
    Ok(())
}

/// Other runs are found there, or the next one makes it anew.
fn leave(directory: &Path) {
    if let Err(error) = std::fs::remove_dir(directory) {
        tracing::debug!(%error, "the directory of runs stays");
    }
}

/// The socket of the run `id`, connected.
///
/// # Errors
/// There is none, or it is another user's.
pub(super) fn connected(id: &str) -> Result<OwnedFd, ReloadError> {
    check_id(id)?;
    let directory = directory();
    let unknown = |known| ReloadError::Unknown {
        id: id.to_owned(),
        known,
    };
    let opened = match open(&directory, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown(Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ReloadError::Foreign { id: id.to_owned() });
        }
        other => other.map_err(io_error("use", &directory))?,
    };
    let failed = io_error("connect to", directory.join(id));
    let socket = stream(SocketFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    match name(&opened, id).and_then(|name| connect(&socket, &name)) {
        Ok(()) => Ok(socket),
        Err(Errno::NOENT | Errno::CONNREFUSED) => {
            let known = living(&opened).map_err(io_error("list", &directory))?;
            Err(unknown(known))
        }
        Err(Errno::ACCESS | Errno::PERM) => Err(ReloadError::Foreign { id: id.to_owned() }),
        Err(errno) => Err(io_error("connect to", directory.join(id))(errno.into())),
    }
}

/// Opens the directory, and makes it where that is wanted. Whoever else could write there could put
/// a socket in the place of a run's.
fn open(path: &Path, make: bool) -> io::Result<OwnedFd> {
    if make {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let opened = openat(CWD, path, flags, Mode::empty())?;
    let found = fstat(&opened)?;
    let own = rustix::process::geteuid().as_raw();
    if found.st_uid != own || found.st_mode & 0o077 != 0 {
        return Err(io::Error::other("it is another user's, or open to others"));
    }
    Ok(opened)
}

/// One start at a time sweeps and listens, so that what does not listen yet is not swept.
fn hold(directory: &OwnedFd) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(PAUSE),
            other => return Ok(other?),
        }
    }
}

fn listen_at(directory: &OwnedFd, id: &str) -> Result<OwnedFd, Errno> {
    let socket = stream(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    bind(&socket, &name(directory, id)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn stream(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// By the descriptor of the directory: its own name may be longer than a socket's can be.
fn name(directory: &OwnedFd, id: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{id}", directory.as_raw_fd()))
}

/// Removes the names of runs that did not end by themselves.
fn sweep(directory: &OwnedFd) -> io::Result<()> {
    for id in names(directory)? {
        if !lives(directory, &id)? {
            match unlinkat(directory, &id, AtFlags::empty()) {
                Err(Errno::NOENT) | Ok(()) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

fn living(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut living = Vec::new();
    for id in names(directory)? {
        if lives(directory, &id)? {
            living.push(id);
        }
    }
    living.sort();
    Ok(living)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if check_id(&name).is_ok() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether somebody listens there, or has more callers than he takes.
fn lives(directory: &OwnedFd, id: &str) -> io::Result<bool> {
    let socket = stream(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    match connect(&socket, &name(directory, id)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn io_error(operation: &'static str, object: impl AsRef<Path>) -> IoError {
    let object = object.as_ref().display().to_string();
    Box::new(move |source| ReloadError::Io {
        operation,
        object,
        source,
    })
}

/// Says what a failure was about.
type IoError = Box<dyn FnOnce(io::Error) -> ReloadError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_short_visible_name() {
        for good in ["job", "a.b", "1", "x_+-y", &"a".repeat(LONGEST)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        let long = "a".repeat(LONGEST + 1);
        for bad in [
            "", ".", "..", ".a", "-a", "a/b", "../a", "a b", "a\n", "ä", &long,
        ] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }
}
