//! Going over to other rules while calls are heard and wait.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Broker, Tell, known};
use crate::intercept::reply::refuse;
use crate::intercept::waiter::Waiter;
use crate::policy::LiveRules;
use crate::sys::seccomp;

impl Broker {
    /// Decides by these rules from here on. No call is looked at meanwhile, so that each is decided by
    /// the old ones or by the new ones as a whole.
    ///
    /// # Errors
    /// A file that must be known under every name cannot be looked at. Nothing is changed then.
    pub fn reload(&mut self, listener: BorrowedFd<'_>, rules: LiveRules) -> io::Result<()> {
        self.view.handed.wait_for_all();
        let known = known(&rules.linked())?;
        // What waits was decided by former rules, and fails as if a signal had come.
        let decided = |waiter: &&Waiter| waiter.is_decided;
        for waiter in self.waiters.iter().filter(decided) {
            waiter.end(listener)?;
        }
        let policy = self.judge.policy().with_live_rules(rules);
        self.judge.go_over(policy, known);
        Ok(())
    }

    /// Looks again at every call that was looked at by former rules and is not made yet: those that wait
    /// for an answer, whose former questions no answer reaches any more.
    ///
    /// # Errors
    /// As [`Broker::hear`].
    pub fn look_again(&mut self, listener: BorrowedFd<'_>, tell: Tell<'_>) -> io::Result<()> {
        // Programs that have not begun were decided about too: they can be tried again.
        for queued in std::mem::take(&mut self.queued) {
            refuse(listener, queued.id, Errno::AGAIN)?;
        }
        let mut waiting: Vec<_> = self.waiting.drain().collect();
        waiting.sort_by_key(|(number, _)| *number);
        for (_, waiting) in waiting {
            if seccomp::still_waits(listener, waiting.id) {
                let place = (waiting.id, waiting.caller);
                if let Some(given) = self.look(listener, place, waiting.call, tell)? {
                    given.hand_over(listener)?;
                }
            }
        }
        Ok(())
    }
}
