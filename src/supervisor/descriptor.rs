//! The two kinds of descriptors that a session copies between: the caller's,
//! which are shared with other processes and keep their flags, and our own ends
//! of the program's pipes, which are non-blocking.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most that one blocking write may carry: a pipe that is ready for writing
/// takes this many bytes without waiting (POSIX `PIPE_BUF`, pipe(7)).
const ATOMIC_WRITE: usize = 4096;

/// A descriptor that the caller shares with us: a terminal, a pipe, a socket, a
/// file or `/dev/null`.
///
/// `O_NONBLOCK` belongs to the open file description, hence to every process
/// that holds it, so it is never set here. Instead one call is made only when
/// the kernel says that it will not wait: `RWF_NOWAIT` where the file supports
/// it, and otherwise poll(2) followed by a call small enough to finish.
pub(super) struct CallerFd {
    fd: OwnedFd,
    /// `None` for what epoll refuses (files, `/dev/null`): always ready.
    readiness: Option<AsyncFd<OwnedFd>>,
    nowait: AtomicBool,
    terminal: bool,
}

impl CallerFd {
    /// Takes a duplicate of `fd`; the original is untouched.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated or registered with epoll. Must be
    /// called inside a tokio runtime.
    pub(super) fn duplicate(fd: impl AsFd, interest: Interest) -> io::Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let readiness = match register(fd.try_clone()?, interest) {
            Ok(registered) => Some(registered),
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => None,
            Err(error) => return Err(error),
        };
        let terminal = rustix::termios::isatty(&fd);
        Ok(Self {
            fd,
            readiness,
            nowait: AtomicBool::new(true),
            terminal,
        })
    }

    /// Reads at least one byte, or 0 at the end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(readiness) = &self.readiness else {
            return Ok(rustix::io::read(&self.fd, buffer)?);
        };
        loop {
            self.wait_for_foreground().await;
            let mut ready = readiness.readable().await?;
            match ready.try_io(|_| self.read_now(buffer)) {
                Ok(result) => return result,
                Err(_not_ready) => continue,
            }
        }
    }

    /// Writes at least one byte of a non-empty `bytes`.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(readiness) = &self.readiness else {
            return Ok(rustix::io::write(&self.fd, bytes)?);
        };
        loop {
            let mut ready = readiness.writable().await?;
            match ready.try_io(|_| self.write_now(bytes)) {
                Ok(result) => return result,
                Err(_not_ready) => continue,
            }
        }
    }

    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.nowait.load(Ordering::Relaxed) {
            let mut slices = [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.fd, &mut slices, u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.nowait.store(false, Ordering::Relaxed)
                }
                other => return Ok(other?),
            }
        }
        self.require(PollFlags::IN)?;
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.nowait.load(Ordering::Relaxed) {
            let slices = [IoSlice::new(bytes)];
            match rustix::io::pwritev2(&self.fd, &slices, u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.nowait.store(false, Ordering::Relaxed)
                }
                other => return Ok(other?),
            }
        }
        self.require(PollFlags::OUT)?;
        Ok(rustix::io::write(
            &self.fd,
            &bytes[..bytes.len().min(ATOMIC_WRITE)],
        )?)
    }

    /// Fails with `WouldBlock` unless the kernel reports `wanted`, an error or a
    /// hang-up, each of which makes the next call return at once.
    fn require(&self, wanted: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.fd, wanted)];
        let instantly = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&instantly))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }

    /// A background process that reads its terminal is stopped by SIGTTIN, even
    /// when the program inside never asked for input. So a terminal is only read
    /// while we are in its foreground.
    async fn wait_for_foreground(&self) {
        while self.terminal && !in_foreground(&self.fd) {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

/// Registers a descriptor that the registration then owns.
///
/// # Errors
/// `EPERM` for what epoll(7) does not support: files and directories.
pub(super) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // Deprecated for types whose descriptor may change while it is registered; an
    // OwnedFd's cannot, and the replacement is unsafe code.
    #[expect(deprecated)]
    AsyncFd::with_interest(fd, interest)
}

/// Whether our process group may read from and configure this terminal.
pub(super) fn in_foreground(terminal: impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Our end of one of the program's pipes or of its terminal. Nobody else holds
/// this open file description, so it is made non-blocking.
pub(super) struct OwnFd(AsyncFd<OwnedFd>);

impl OwnFd {
    /// # Errors
    /// When the descriptor cannot be made non-blocking or registered. Must be
    /// called inside a tokio runtime.
    pub(super) fn adopt(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(register(fd, interest)?))
    }

    /// Reads at least one byte, or 0 at the end. A terminal whose programs are all
    /// gone says EIO, which is its end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|_| self.read_now(buffer)) {
                Ok(result) => return result,
                Err(_not_ready) => continue,
            }
        }
    }

    /// Reads what is there, or fails with `WouldBlock`.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(self.0.get_ref(), buffer) {
            Err(Errno::IO) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Writes at least one byte of a non-empty `bytes`.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(result) => return result,
                Err(_not_ready) => continue,
            }
        }
    }
}
