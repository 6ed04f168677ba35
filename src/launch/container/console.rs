//! The pseudo-terminal of a container's process, and its way to whoever holds its other end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::OFlags;

use super::ContainerError;
use super::process::ProcessPlan;
use crate::launch::Failure;
use crate::sys::{socket, terminal};

/// Connects to the caller's console socket.
///
/// # Errors
/// There is none.
pub fn connect(path: &Path) -> Result<OwnedFd, ContainerError> {
    // The name of a socket is at most 107 bytes long; through a descriptor of its directory every
    // path is short enough.
    let failed = |cause| ContainerError::system("connect to", path.display().to_string())(cause);
    let stream = match UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            let name = path.file_name().unwrap_or_default();
            let folder = path.parent().unwrap_or(Path::new("."));
            let folder = std::fs::File::open(folder).map_err(failed)?;
            let short = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
            UnixStream::connect(Path::new(&short).join(name))
        }
        other => other,
    };
    stream
        .map(OwnedFd::from)
        .map_err(|cause| ContainerError::system("connect to", path.display().to_string())(cause))
}

/// A terminal of the devpts that the root at `root` has.
pub(super) fn pair(
    root: BorrowedFd<'_>,
    plan: &ProcessPlan,
) -> Result<(OwnedFd, OwnedFd), Failure> {
    let failed = |cause: std::io::Error| Failure::new("open", "a terminal in the container", cause);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let master = rustix::fs::openat2(root, "dev/ptmx", flags, rustix::fs::Mode::empty(), resolve)
        .map_err(|error| failed(error.into()))?;
    // Whatever the image put there: only the master of a terminal has a peer.
    let slave = terminal::open_peer(master.as_fd()).map_err(failed)?;
    if let Some((rows, columns)) = plan.console_size {
        terminal::set_window_size(master.as_fd(), rows, columns).map_err(failed)?;
    }
    let owner = rustix::fs::Uid::from_raw(plan.uid);
    match rustix::fs::fchown(&slave, Some(owner), None) {
        Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => Ok((master, slave)),
        Err(error) => Err(failed(error.into())),
    }
}

/// Sends the master to the console socket.
pub(super) fn hand_over(socket: Option<&OwnedFd>, master: &OwnedFd) -> Result<(), Failure> {
    let failed =
        |cause: &dyn ToString| Failure::new("hand over", "the terminal", cause.to_string());
    let socket = socket.ok_or_else(|| failed(&"there is no console socket"))?;
    socket::send_record(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()])
        .map_err(|cause| failed(&cause))
}
