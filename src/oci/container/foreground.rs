//! Stands by a process of a container until it ends: signals go to it, its terminal to the caller.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use super::VerbError;
use super::readiness::Readiness;
use crate::sys::{process, socket};

/// The caller's side of a process in the foreground, made before the process is.
pub(super) struct Foreground {
    signals: OwnedFd,
    /// Where the terminal's master arrives.
    console: Option<OwnedFd>,
}

/// The caller's terminal in raw mode, as it was again when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> io::Result<Option<Raw>> {
        let stdin = io::stdin();
        if !rustix::termios::isatty(&stdin) {
            return Ok(None);
        }
        let saved = rustix::termios::tcgetattr(&stdin)?;
        let mut raw = saved.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Raw(saved)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let restored = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        if let Err(error) = restored {
            tracing::debug!(%error, "the caller's terminal went away before it was restored");
        }
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> VerbError {
    move |error| VerbError::system(operation, "the process in the foreground")(error)
}

impl Foreground {
    /// From now on no signal ends this process, nor a child of it before it becomes its program.
    /// With `terminal` gives the socket that the process's terminal is to be sent to.
    pub(super) fn prepare(terminal: bool) -> Result<(Foreground, Option<OwnedFd>), VerbError> {
        let signals = process::all_signals().map_err(failed("take the signals of"))?;
        let (console, theirs) = match terminal {
            true => {
                let pair = socket::record_pair().map_err(failed("make the socket of"))?;
                (Some(pair.0), Some(pair.1))
            }
            false => (None, None),
        };
        Ok((Foreground { signals, console }, theirs))
    }

    /// Waits for the end of `pid`; gives its exit status as shells do. Meanwhile its word that it is
    /// ready is passed on.
    pub(super) fn attend(
        self,
        pid: i32,
        mut readiness: Option<Readiness>,
    ) -> Result<u8, VerbError> {
        let mut terminal = match &self.console {
            None => None,
            Some(console) => Some(Terminal::receive(console)?),
        };
        let mut status = None;
        loop {
            let ended = match status {
                None => {
                    status = self.wait_for_events(pid, terminal.as_mut(), &mut readiness)?;
                    continue;
                }
                Some(ended) => ended,
            };
            if let Some(terminal) = terminal {
                terminal.drain()?;
            }
            return Ok(ended);
        }
    }

    fn wait_for_events(
        &self,
        pid: i32,
        terminal: Option<&mut Terminal>,
        readiness: &mut Option<Readiness>,
    ) -> Result<Option<u8>, VerbError> {
        let stdin = io::stdin();
        let nothing = PollFd::new(&self.signals, PollFlags::empty());
        let word = readiness.as_ref();
        let word = word.map_or(nothing, |word| PollFd::new(word, PollFlags::IN));
        let mut watched = vec![word, PollFd::new(&self.signals, PollFlags::IN)];
        let reads_stdin = terminal.as_ref().is_some_and(|terminal| terminal.reads);
        if let Some(terminal) = &terminal {
            watched.push(PollFd::new(&terminal.master, PollFlags::IN));
            if reads_stdin {
                watched.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            other => other.map_err(|error| failed("wait for")(error.into()))?,
        };
        let ready: Vec<bool> = watched
            .iter()
            .map(|watched| !watched.revents().is_empty())
            .collect();
        drop(watched);
        if ready.first() == Some(&true) && readiness.as_ref().is_some_and(Readiness::hear) {
            *readiness = None;
        }
        if let Some(terminal) = terminal {
            if ready.get(2) == Some(&true) {
                terminal.copy_out()?;
            }
            if ready.get(3) == Some(&true) {
                terminal.copy_in()?;
            }
            self.take_signals(pid, Some(terminal))
        } else {
            self.take_signals(pid, None)
        }
    }

    fn take_signals(&self, pid: i32, terminal: Option<&Terminal>) -> Result<Option<u8>, VerbError> {
        loop {
            let signal = match process::next_signal(self.signals.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                other => other.map_err(failed("read the signals of"))?,
            };
            match signal {
                libc::SIGCHLD => {
                    while let Some(reaped) = reap()? {
                        if reaped.pid == pid {
                            return Ok(Some(exit_status(reaped.status)));
                        }
                    }
                }
                libc::SIGWINCH => {
                    if let Some(terminal) = terminal {
                        terminal.copy_window();
                    }
                }
                // The runtime's own: nobody sends them to steer a program.
                libc::SIGPIPE | libc::SIGURG => {}
                other => match process::kill(pid, other) {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(failed("pass a signal to")(error));
                    }
                    _ => {}
                },
            }
        }
    }
}

fn reap() -> Result<Option<process::Reaped>, VerbError> {
    match process::reap() {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        other => other.map_err(failed("wait for")),
    }
}

/// As shells give it.
pub(super) fn exit_status(status: i32) -> u8 {
    match libc::WIFSIGNALED(status) {
        true => (128 + libc::WTERMSIG(status)) as u8,
        false => libc::WEXITSTATUS(status) as u8,
    }
}

/// The container's terminal, copied to and from the caller's descriptors.
struct Terminal {
    master: OwnedFd,
    /// Whether there is still input to take.
    reads: bool,
    /// Whether the last line of it goes on.
    in_a_line: bool,
    _raw: Option<Raw>,
}

impl Terminal {
    fn receive(console: &OwnedFd) -> Result<Terminal, VerbError> {
        let (_, mut carried) =
            socket::receive_record(console.as_fd()).map_err(failed("receive the terminal of"))?;
        let master = carried
            .pop()
            .ok_or_else(|| failed("receive the terminal of")(io::Error::other("none was sent")))?;
        let raw = Raw::enter().map_err(failed("take the caller's terminal for"))?;
        let terminal = Terminal {
            master,
            reads: true,
            in_a_line: false,
            _raw: raw,
        };
        terminal.copy_window();
        Ok(terminal)
    }

    /// The caller may have no terminal, and then the container's keeps the size that it has.
    fn copy_window(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(io::stdin())
            && let Err(error) = rustix::termios::tcsetwinsize(&self.master, size)
        {
            tracing::debug!(%error, "the terminal keeps its size");
        }
    }

    /// Gives false at the end of the terminal.
    fn copy_out(&self) -> Result<bool, VerbError> {
        let mut some = [0; 8192];
        match rustix::io::read(&self.master, &mut some) {
            // EIO: nobody has the other end open, at the moment or any more.
            Ok(0) | Err(rustix::io::Errno::IO) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
                Ok(false)
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(true),
            Err(error) => Err(failed("read the terminal of")(error.into())),
            Ok(length) => {
                write_all(io::stdout().as_fd(), &some[..length])?;
                Ok(true)
            }
        }
    }

    fn copy_in(&mut self) -> Result<(), VerbError> {
        let mut some = [0; 8192];
        match rustix::io::read(io::stdin(), &mut some) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                self.reads = false;
                self.pass_end()
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(failed("read the input of")(error.into())),
            Ok(length) => {
                self.in_a_line = some[..length].last() != Some(&b'\n');
                write_all(self.master.as_fd(), &some[..length])
            }
        }
    }

    /// The end of an input that is no terminal, as somebody at a terminal types it: once behind a
    /// line, and twice within one. A program that takes keys as they come has no such key.
    fn pass_end(&self) -> Result<(), VerbError> {
        let settings = rustix::termios::tcgetattr(&self.master)
            .map_err(|error| failed("look at the terminal of")(error.into()))?;
        if !settings.local_modes.contains(LocalModes::ICANON) {
            return Ok(());
        }
        let end = settings.special_codes[SpecialCodeIndex::VEOF];
        if end == 0 {
            // The key is switched off.
            return Ok(());
        }
        let times = 1 + usize::from(self.in_a_line);
        write_all(self.master.as_fd(), &[end; 2][..times])
    }

    /// What was written before the end.
    fn drain(&self) -> Result<(), VerbError> {
        rustix::io::ioctl_fionbio(&self.master, true)
            .map_err(|error| failed("read the terminal of")(error.into()))?;
        loop {
            let mut some = [0; 8192];
            match rustix::io::read(&self.master, &mut some) {
                Ok(length) if length > 0 => write_all(io::stdout().as_fd(), &some[..length])?,
                Err(rustix::io::Errno::INTR) => {}
                _ => return Ok(()),
            }
        }
    }
}

fn write_all(to: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), VerbError> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed("copy the terminal of")(error.into())),
        }
    }
    Ok(())
}
