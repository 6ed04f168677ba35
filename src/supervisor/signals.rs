//! The signals that reach us while a program runs, and what becomes of them.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

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

/// What a signal of that number means.
type Meaning = fn(i32) -> Incoming;

/// Every signal that a program under a shell could expect to get.
const HEARD: [(Number, Meaning); 8] = [
    (Number::INT, Incoming::End),
    (Number::TERM, Incoming::End),
    (Number::HUP, Incoming::End),
    (Number::QUIT, Incoming::End),
    (Number::USR1, Incoming::Forward),
    (Number::USR2, Incoming::Forward),
    (Number::WINCH, |_| Incoming::Window),
    (Number::TSTP, |_| Incoming::Suspend),
];

/// Listens for the signals that nobody told us to ignore.
pub(super) struct Signals(Vec<(Signal, Incoming)>);

impl Signals {
    /// Takes the signals over from their default actions. One that was ignored when
    /// we started stays so, which is what nohup(1) and a shell's `&` rely on. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(super) fn listen() -> io::Result<Self> {
        let ignored = ignored()?;
        let mut heard = Vec::with_capacity(HEARD.len());
        for (number, meaning) in HEARD {
            let number = number.as_raw();
            if ignored & (1 << (number - 1)) == 0 {
                let listener = signal(SignalKind::from_raw(number))?;
                heard.push((listener, meaning(number)));
            }
        }
        Ok(Self(heard))
    }

    /// The next signal. Safe to drop: a signal that was not returned stays.
    pub(super) async fn next(&mut self) -> Incoming {
        poll_fn(|context| {
            for (listener, meaning) in &mut self.0 {
                if listener.poll_recv(context).is_ready() {
                    return Poll::Ready(*meaning);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The signals that this process ignores, as the bits of `SigIgn` (proc_pid_status(5)).
/// Where /proc is not there, none.
fn ignored() -> io::Result<u64> {
    let status = match std::fs::read_to_string("/proc/self/status") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        status => status?,
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    bits.ok_or_else(|| io::Error::other("/proc/self/status has no SigIgn"))
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
