//! What Buntime itself says on standard error. Names and texts of others stand in it, so it is
//! made safe to print; and a program that runs may have filled what standard error leads to, so
//! nobody waits for it while there is a limit to hold.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::supervisor::printable;

/// A pipe that is ready for writing takes this many bytes without waiting (POSIX `PIPE_BUF`).
const ATOMIC_WRITE: usize = 4096;
/// How long the last words may take to be read once nothing runs any more.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// One voice for the whole of a run; its copies are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Voice(Arc<Mutex<Vec<u8>>>);

impl Voice {
    /// Says a line as soon as standard error takes it, and returns at once.
    pub(super) fn mention(&self, text: &str) {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.extend_from_slice(line(text).as_bytes());
        utter(&mut unsaid, Duration::ZERO);
    }

    /// Says what is left, to whoever still reads.
    pub(super) fn finish(&self) {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        utter(&mut unsaid, LAST_WORDS);
    }
}

/// One line, where nothing runs that would have to be watched meanwhile.
pub(super) fn say(text: &str) {
    if io::stderr()
        .lock()
        .write_all(line(text).as_bytes())
        .is_err()
    {
        tracing::debug!("standard error is closed");
    }
}

/// What a person gets who gave too few words to act on; the text is all ours.
pub(super) fn print_help(text: &str) {
    if io::stderr().lock().write_all(text.as_bytes()).is_err() {
        tracing::debug!("standard error is closed");
    }
}

/// Names of others may hold a line break; what follows one must not look like a line of ours.
fn line(text: &str) -> String {
    let text = harmless(text);
    let mut lines = text.split('\n');
    let mut whole = format!("buntime: {}", lines.next().unwrap_or_default());
    for line in lines {
        let indent = if line.starts_with("  ") { "" } else { "  " };
        whole.push('\n');
        whole.push_str(indent);
        whole.push_str(line);
    }
    whole.push('\n');
    whole
}

/// `text`, which may have several lines, with everything else escaped that could mislead its reader.
pub(super) fn harmless(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| printable(line.as_bytes()))
        .collect();
    lines.join("\n")
}

/// Writes what standard error takes within `patience`. Where nobody reads it any more, it is forgotten.
fn utter(unsaid: &mut Vec<u8>, patience: Duration) {
    let end = Instant::now() + patience;
    let stderr = io::stderr();
    while !unsaid.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
        match poll(&mut asked, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let piece = &unsaid[..unsaid.len().min(ATOMIC_WRITE)];
        match rustix::io::write(&stderr, piece) {
            Ok(written) => drop(unsaid.drain(..written)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::debug!(%error, "standard error is closed");
                return unsaid.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_cannot_steer_a_terminal() {
        assert_eq!(
            line("cannot read \u{1b}]0;x\u{7}\nnext"),
            "buntime: cannot read \\u{1b}]0;x\\u{7}\n  next\n"
        );
        assert_eq!(
            line("no\nbuntime: yes\n  and"),
            "buntime: no\n  buntime: yes\n  and\n"
        );
    }
}
