//! Going over to other rules while calls are heard and wait.

use std::io;
use std::os::fd::BorrowedFd;

use super::{Broker, Tell, known};
use crate::intercept::need::Judge;
use crate::intercept::waiter::Waiter;
use crate::policy::LiveRules;
use crate::sys::seccomp;

impl Broker {
    /// Decides by these rules from here on. No call is looked at meanwhile, so that each is decided by
    /// the old ones or by the new ones as a whole.
    ///
    /// # Errors
    /// A file that must be known under every name cannot be looked at. Nothing is changed then.
    pub fn reload(&mut self, rules: LiveRules) -> io::Result<()> {
        self.view.handed.wait_for_all();
        let known = known(&rules.linked())?;
        let policy = self.judge.policy().with_live_rules(rules);
        self.judge = Judge::new(policy, known);
        Ok(())
    }

    /// Looks again at every call that was decided by former rules and is not made yet: those that wait
    /// for an answer, whose former questions no answer reaches any more, and those that wait for
    /// somebody else, which fail as if a signal had come.
    ///
    /// # Errors
    /// As [`Broker::hear`].
    pub fn look_again(&mut self, listener: BorrowedFd<'_>, tell: Tell<'_>) -> io::Result<()> {
        let decided = |waiter: &&Waiter| waiter.is_decided;
        for waiter in self.waiters.iter().filter(decided) {
            waiter.give_up(listener)?;
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
