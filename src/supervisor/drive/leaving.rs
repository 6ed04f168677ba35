//! What leaves the sandbox: the plane carries it, and asks here before.

use tokio::time::timeout_at;

use super::*;
use crate::egress::{Ended, Question};
use crate::supervisor::gate::Leaves;
use crate::supervisor::plane::unrecorded;

impl Drive {
    pub(super) fn take_leaving(&mut self, heard: Heard) {
        match heard {
            Heard::Asked(question) => self.take_wanted(question),
            Heard::Ended(ended) => self.take_ended(&ended),
        }
    }

    pub(super) fn take_wanted(&mut self, question: Question) {
        let denied = question.denied.as_deref();
        match self.gate.leaves(&question.asked, denied) {
            Ok(Leaves::Ruled(answer, ruling)) => {
                question.answer(answer);
                self.obey(Ok(ruling));
            }
            Ok(Leaves::Ask(asking)) => self.ask(asking.held(question)),
            Err(error) => {
                question.answer(Err(unrecorded()));
                self.obey(Err(error));
            }
        }
    }

    fn take_ended(&mut self, ended: &Ended) {
        let event = self.gate.ended(ended);
        self.record(&event);
    }

    /// Ends what the plane carries, and records how each connection ended. What a program that ended by
    /// itself has said may still arrive.
    pub(super) async fn close_plane(&mut self) {
        let Some(mut plane) = self.plane.take() else {
            return;
        };
        let is_killed = self.fate.cause.is_some() || self.fate.killed.is_some();
        let patience = if is_killed {
            Duration::ZERO
        } else {
            LAST_WORDS
        };
        let until = Instant::now() + patience;
        while Instant::now() < until
            && let Ok(Some(heard)) = timeout_at(until, plane.last()).await
        {
            self.take_leaving(heard);
        }
        for ended in plane.close(patience).await {
            self.take_ended(&ended);
        }
    }

    /// Ends the connections that the policy which holds now does not permit.
    pub(super) fn close_denied(&self, policy: &crate::policy::Policy) {
        if let Some(plane) = &self.plane {
            plane.go_over(|connection, address, is_read| {
                Gate::still_permits(policy, (connection, address), is_read)
            });
        }
    }
}
