//! A container's word that it is ready (sd_notify(3)), passed on to the caller's service manager.
//!
//! A caller that has `NOTIFY_SOCKET` gets it from programs inside only through this: they have a
//! socket of the runtime's at the same path, and nothing but that one word of theirs goes on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, poll};

use super::VerbError;
use super::record::Held;
use super::store::Entry;
use crate::launch::container::{Isolation, ProcessPlan};
use crate::sys::socket;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// The directory that the container sees, and the socket in it.
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify";
const READY: &str = "READY=1";
/// How long a service manager may take to have read what it was sent.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(5);

fn failed(operation: &'static str) -> impl Fn(io::Error) -> VerbError {
    move |error| VerbError::system(operation, "the socket of the container's readiness")(error)
}

fn caller_s_socket() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(VARIABLE)?);
    path.is_absolute().then_some(path)
}

/// Shows the container a place for the socket, where the caller waits for a word of it.
///
/// # Errors
/// The place cannot be made.
pub(super) fn prepare(
    entry: &Entry,
    spec: &mut Spec,
    process: &mut ProcessPlan,
    isolation: &Isolation,
) -> Result<(), VerbError> {
    let Some(place) = caller_s_socket().filter(|_| isolation.has_mount_namespace()) else {
        return Ok(());
    };
    let directory = entry.path().join(DIRECTORY);
    std::fs::create_dir(&directory)
        .and_then(|()| std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)))
        .map_err(failed("make"))?;
    let options = ["bind", "private", "ro", "nosuid", "nodev", "noexec"];
    let mount = MountBuilder::default()
        .destination(&place)
        .typ("bind")
        .source(directory)
        .options(options.map(str::to_owned))
        .build()
        .map_err(|error| failed("show")(io::Error::other(error)))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    let inside = place.join(SOCKET);
    let name = format!("{VARIABLE}=");
    process.env.retain(|entry| !entry.starts_with(&name));
    process.env.push(format!("{name}{}", inside.display()));
    Ok(())
}

/// What a start listens at.
#[derive(Debug)]
pub(super) struct Readiness {
    socket: UnixDatagram,
    caller: PathBuf,
}

impl Readiness {
    /// Opens the socket, if the container has a place for it and this caller waits for a word.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(entry: &Entry) -> Result<Option<Readiness>, VerbError> {
        let Some(caller) = caller_s_socket() else {
            return Ok(None);
        };
        // By way of the descriptor: the path of a socket may have no more than 107 bytes.
        let directory = format!("/proc/self/fd/{}/{DIRECTORY}", entry.dir().as_raw_fd());
        if !Path::new(&directory).is_dir() {
            return Ok(None);
        }
        let path = Path::new(&directory).join(SOCKET);
        let socket = UnixDatagram::bind(&path).map_err(failed("make"))?;
        // Whoever the program runs as.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777))
            .and_then(|()| socket.set_nonblocking(true))
            .map_err(failed("open"))?;
        Ok(Some(Readiness { socket, caller }))
    }

    /// Takes what there is to hear; true when it was the word, which then has gone on.
    pub(super) fn hear(&self) -> bool {
        let mut text = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut text) {
            let text = String::from_utf8_lossy(&text[..length]);
            if text.lines().any(|line| line == READY) {
                self.tell(READY);
                return true;
            }
        }
        false
    }

    fn tell(&self, word: &str) {
        let told = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(word.as_bytes(), &self.caller));
        if let Err(error) = told {
            tracing::warn!(%error, socket = %self.caller.display(), "the service manager was not told");
        }
    }

    /// Waits for the word, or for the end of `first`, and then names it as the process to watch:
    /// this one leaves.
    ///
    /// # Errors
    /// The wait failed.
    pub(super) fn wait(self, first: &Held) -> Result<(), VerbError> {
        loop {
            let mut watched = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(first.pidfd(), PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(|error| failed("wait at")(error.into()))?,
            };
            let has_ended = !watched[1].revents().is_empty();
            if self.hear() {
                self.tell(&format!("MAINPID={}", first.pid));
                if let Err(error) = self.see_it_read() {
                    tracing::warn!(%error, "the service manager may not have read the word");
                }
                return Ok(());
            }
            if has_ended {
                return Ok(());
            }
        }
    }

    /// A manager tells by its process whose word it reads, so this one stays for so long: it closes
    /// the descriptor that comes with `BARRIER=1` when it has read all before.
    fn see_it_read(&self) -> io::Result<()> {
        let (waiting, sent) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let manager = UnixDatagram::unbound()?;
        manager.connect(&self.caller)?;
        socket::send_record(manager.as_fd(), b"BARRIER=1", &[sent.as_fd()])?;
        drop(sent);
        let deadline = Instant::now() + ACKNOWLEDGEMENT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&waiting, PollFlags::empty())];
            match poll(&mut watched, left.try_into().ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                other => return Ok(other.map(|_| ())?),
            }
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
