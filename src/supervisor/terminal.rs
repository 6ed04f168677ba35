//! The caller's terminal during an interactive run: raw while the program has
//! it, and as it was on every way out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::termios::{OptionalActions, Termios, Winsize};

use super::descriptor::in_foreground;

/// What a panic hook needs in order to give the terminal back; a panic aborts
/// and drops nothing.
static TAKEN: OnceLock<Mutex<Option<(OwnedFd, Termios)>>> = OnceLock::new();

/// Whether a pseudo-terminal makes sense: both ends are the caller's terminal, and
/// we are in its foreground.
pub(super) fn interactive(stdin: impl AsFd, stdout: impl AsFd) -> bool {
    rustix::termios::isatty(&stdin) && rustix::termios::isatty(&stdout) && in_foreground(&stdin)
}

/// The window size in rows and columns; 24 by 80 where it is not known.
pub(super) fn window(terminal: impl AsFd) -> (u16, u16) {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// Gives the program's terminal the size of the caller's.
///
/// # Errors
/// When either terminal is gone.
pub(super) fn copy_window(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let (rows, columns) = window(from);
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(to, size)?)
}

/// The caller's terminal in raw mode; restored when dropped.
pub(super) struct RawTerminal {
    fd: OwnedFd,
    saved: Termios,
}

impl RawTerminal {
    /// Puts `terminal` into raw mode.
    ///
    /// # Errors
    /// When `terminal` is not a terminal, or we may not configure it.
    pub(super) fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let fd = terminal.as_fd().try_clone_to_owned()?;
        let saved = rustix::termios::tcgetattr(&fd)?;
        restore_on_panic(fd.try_clone()?, saved.clone());
        let raw = Self { fd, saved };
        raw.apply()?;
        Ok(raw)
    }

    /// Raw mode again, after a suspension.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn apply(&self) -> io::Result<()> {
        let mut raw = self.saved.clone();
        raw.make_raw();
        Ok(rustix::termios::tcsetattr(
            &self.fd,
            OptionalActions::Now,
            &raw,
        )?)
    }

    /// The modes that the caller had.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn restore(&self) -> io::Result<()> {
        Ok(rustix::termios::tcsetattr(
            &self.fd,
            OptionalActions::Now,
            &self.saved,
        )?)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::debug!(%error, "the caller's terminal went away before it was restored");
        }
        if let Some(taken) = TAKEN.get() {
            taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

fn restore_on_panic(fd: OwnedFd, saved: Termios) {
    let mut first = false;
    let slot = TAKEN.get_or_init(|| {
        first = true;
        Mutex::new(None)
    });
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((fd, saved));
    if first {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(Ok(taken)) = TAKEN.get().map(|taken| taken.try_lock())
                && let Some((fd, saved)) = taken.as_ref()
                && let Err(error) = rustix::termios::tcsetattr(fd, OptionalActions::Now, saved)
            {
                tracing::debug!(%error, "the terminal could not be restored");
            }
            report(panic);
        }));
    }
}
