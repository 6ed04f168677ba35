//! The signals that reach us while a program runs, and what becomes of them.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The program gets it, and should end of it.
    End(i32),
    /// The program gets it.
    Forward(i32),
    /// The caller's terminal has a new size.
    Window,
    /// We and the program are to be suspended.
    Suspend,
}

/// Listens for every signal that a program under a shell could expect to get.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
    window: Signal,
    stop: Signal,
}

impl Signals {
    /// Takes the signals over from their default actions. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(super) fn listen() -> io::Result<Self> {
        let terminal_stop = SignalKind::from_raw(Number::TSTP.as_raw());
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            window: signal(SignalKind::window_change())?,
            stop: signal(terminal_stop)?,
        })
    }

    /// The next signal. Safe to drop: a signal that was not returned stays.
    pub(super) async fn next(&mut self) -> Incoming {
        tokio::select! {
            _ = self.interrupt.recv() => Incoming::End(Number::INT.as_raw()),
            _ = self.terminate.recv() => Incoming::End(Number::TERM.as_raw()),
            _ = self.hangup.recv() => Incoming::End(Number::HUP.as_raw()),
            _ = self.quit.recv() => Incoming::End(Number::QUIT.as_raw()),
            _ = self.user1.recv() => Incoming::Forward(Number::USR1.as_raw()),
            _ = self.user2.recv() => Incoming::Forward(Number::USR2.as_raw()),
            _ = self.window.recv() => Incoming::Window,
            _ = self.stop.recv() => Incoming::Suspend,
        }
    }
}

/// Stops this process until somebody continues it.
///
/// # Errors
/// None that kill(2) names for one's own process.
pub(super) fn stop_ourselves() -> io::Result<()> {
    Ok(rustix::process::kill_process(
        rustix::process::getpid(),
        Number::STOP,
    )?)
}
