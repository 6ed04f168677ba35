//! The program that owns a library session, asked by an event and answering by a call.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{Approver, AskRequest, Reply};
use crate::supervisor::remark::{Audience, SessionEvent};

/// See the module.
pub(in crate::supervisor) struct Owner;

impl Approver for Owner {
    fn find(&mut self) -> Result<String, String> {
        Ok("the session's owner".to_owned())
    }

    fn lead(&self) -> Duration {
        Duration::ZERO
    }

    /// It may show them as it likes.
    fn abreast(&self) -> usize {
        usize::MAX
    }

    fn show(&mut self, request: &AskRequest, audience: &mut Audience) -> Result<(), String> {
        audience.event(SessionEvent::Ask(request.clone()));
        Ok(())
    }

    /// Answers come as commands.
    fn poll_reply(&mut self, _context: &mut Context<'_>) -> Poll<Reply> {
        Poll::Pending
    }

    fn withdraw(&mut self, number: u64, _why: Option<&str>, audience: &mut Audience) {
        audience.event(SessionEvent::Asked { number });
    }

    fn has_the_terminal(&self) -> bool {
        false
    }
}
