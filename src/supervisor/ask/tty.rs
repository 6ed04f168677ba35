//! The caller's own terminal, borrowed for one question and given back as it was.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector};
use rustix::termios::{SpecialCodeIndex, Termios};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::supervisor::descriptor::{in_foreground, register};

/// What ends one line of a terminal, and the longest that a terminal edits (termios(3)).
const LINE: usize = 4096;

/// A control character that is none (termios(3)).
const DISABLED: u8 = 0;

/// The terminal, in the mode in which a person edits a line.
pub(super) struct Tty {
    fd: AsyncFd<OwnedFd>,
    saved: Termios,
    unsaid: Vec<u8>,
}

/// What stops a question before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The process has no terminal.
    NoTerminal,
    /// Others have it.
    Background,
}

impl Absent {
    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Absent::NoTerminal => "there is no terminal to ask at",
            Absent::Background => {
                "buntime is not in the foreground of its terminal, so nobody can be asked"
            }
        }
    }
}

/// Opens the terminal that this process is controlled by. The description is our own: what is set
/// on it is nobody else's.
fn open() -> Result<OwnedFd, Absent> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open("/dev/tty", flags, Mode::empty());
    let fd = opened.map_err(|_| Absent::NoTerminal)?;
    if in_foreground(&fd) {
        Ok(fd)
    } else {
        Err(Absent::Background)
    }
}

/// Whether a person could be asked now.
pub(super) fn find() -> Result<(), Absent> {
    open().map(drop)
}

impl Tty {
    /// Takes the terminal over. Inside the runtime.
    pub(super) fn borrow() -> Result<Tty, Absent> {
        Tty::over(open()?).map_err(|_| Absent::NoTerminal)
    }

    /// As [`Tty::borrow`], of a terminal that is open already and does not wait.
    ///
    /// # Errors
    /// When it is no terminal, or cannot be configured.
    pub(super) fn over(fd: OwnedFd) -> io::Result<Tty> {
        let saved = rustix::termios::tcgetattr(&fd)?;
        let mut line = saved.clone();
        line.input_modes |= InputModes::ICRNL | InputModes::BRKINT;
        line.input_modes -= InputModes::IGNCR | InputModes::INLCR;
        line.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        line.local_modes |= LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::ECHO
            | LocalModes::ECHOE
            | LocalModes::ECHOK
            | LocalModes::ECHOCTL;
        line.local_modes -= LocalModes::NOFLSH;
        // A question is answered or it is not: who stops us stops it in another way.
        line.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
        let fd = register(fd, Interest::READABLE.add(Interest::WRITABLE))?;
        rustix::termios::tcsetattr(fd.get_ref(), OptionalActions::Now, &line)?;
        Ok(Tty {
            fd,
            saved,
            unsaid: Vec::new(),
        })
    }

    /// Says this as soon as the terminal takes it.
    pub(super) fn say(&mut self, text: &str) {
        self.unsaid.extend_from_slice(text.as_bytes());
    }

    /// Writes what is to be said; ready once all of it is.
    pub(super) fn poll_said(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsaid.is_empty() {
            let mut writable = ready!(self.fd.poll_write_ready(context))?;
            let unsaid = &self.unsaid;
            let written = writable.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), unsaid)?));
            match written {
                Ok(Ok(written)) => drop(self.unsaid.drain(..written)),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_not_ready) => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what was typed until now.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn forget_typed(&self) -> io::Result<()> {
        let forgotten = rustix::termios::tcflush(self.fd.get_ref(), QueueSelector::IFlush);
        Ok(forgotten?)
    }

    /// Whether what is typed is for us. To read it in the background would stop us.
    pub(super) fn is_ours(&self) -> bool {
        in_foreground(self.fd.get_ref())
    }

    /// The next line that is typed, without its end; `None` at the end of input.
    pub(super) fn poll_line(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            let mut readable = ready!(self.fd.poll_read_ready(context))?;
            let mut line = [0; LINE];
            let read = readable.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut line)?));
            match read {
                Ok(Ok(length)) => {
                    let ended = line[..length].strip_suffix(b"\n");
                    return Poll::Ready(Ok(ended.map(<[u8]>::to_vec)));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_not_ready) => {}
            }
        }
    }

    /// Gives the terminal back, after these words as far as it takes them at once.
    pub(super) fn give_back(mut self, last: &str) {
        self.say(last);
        let written = self.fd.try_io(Interest::WRITABLE, |fd| {
            Ok(rustix::io::write(fd, &self.unsaid)?)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "the terminal did not take the last words of a question");
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // Whoever has taken the foreground has set its own modes.
        if !self.is_ours() {
            return;
        }
        let restored =
            rustix::termios::tcsetattr(self.fd.get_ref(), OptionalActions::Now, &self.saved);
        if let Err(error) = restored {
            tracing::debug!(%error, "the caller's terminal went away before it was restored");
        }
    }
}
