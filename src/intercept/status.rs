//! What the kernel says of a thread (proc_pid_status(5)).

use rustix::io::Errno;

/// The text of its status file.
pub(super) struct Status(String);

/// Signals of a thread, as sets of bits: signal 1 is the lowest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signals {
    /// Sent to the thread.
    own: u64,
    /// Sent to its process, and taken by any of its threads.
    shared: u64,
    /// What the thread waits with.
    blocked: u64,
    /// How many threads its process has.
    threads: u64,
}

impl Status {
    pub fn new(text: String) -> Status {
        Status(text)
    }

    /// Whether nothing of it runs any more.
    pub fn has_ended(&self) -> bool {
        let state = self.0.lines().find_map(|line| line.strip_prefix("State:"));
        state
            .is_none_or(|state| matches!(state.trim().as_bytes().first(), None | Some(b'Z' | b'X')))
    }

    /// The number of a field, whose name ends with a colon.
    pub fn number(&self, field: &str, base: u32) -> Result<u64, Errno> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| u64::from_str_radix(line.trim(), base).ok());
        number.ok_or(Errno::SRCH)
    }

    /// Its signals.
    pub fn signals(&self) -> Result<Signals, Errno> {
        Ok(Signals {
            own: self.number("SigPnd:", 16)?,
            shared: self.number("ShdPnd:", 16)?,
            blocked: self.number("SigBlk:", 16)?,
            threads: self.number("Threads:", 10)?,
        })
    }
}

impl Signals {
    /// Whether some signal is to be delivered. What is ignored is not kept by the kernel.
    pub fn interrupt(&self) -> bool {
        (self.own | self.shared) & !self.blocked != 0
    }

    /// Whether some signal is to be delivered that no other thread can take.
    pub fn are_its_own(&self) -> bool {
        self.own & !self.blocked != 0 || (self.threads == 1 && self.interrupt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(own: &str, shared: &str, blocked: &str, threads: u32) -> Signals {
        let text = format!(
            "Name:\tSigPnd:\nThreads:\t{threads}\nSigQ:\t0/96\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t{blocked}\n"
        );
        Status::new(text).signals().unwrap()
    }

    #[test]
    fn what_is_blocked_interrupts_nobody() {
        let none = "0000000000000000";
        let alarm = "0000000000002000";
        assert!(!signals(none, none, none, 1).interrupt());
        assert!(!signals(none, none, none, 1).are_its_own());
        assert!(!signals(alarm, alarm, alarm, 1).interrupt());
        assert!(signals(alarm, none, none, 2).interrupt());
        assert!(signals(alarm, none, none, 2).are_its_own());
        assert!(signals(none, alarm, none, 2).interrupt());
        assert!(!signals(none, alarm, none, 2).are_its_own());
        assert!(signals(none, alarm, none, 1).are_its_own());
    }

    #[test]
    fn what_is_no_status_is_no_process() {
        assert!(Status::new("SigPnd:\tx\n".into()).signals().is_err());
        assert!(Status::new(String::new()).number("Tgid:", 10).is_err());
    }
}
