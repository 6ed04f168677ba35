//! The end of a session: last notices, last output, and what it all came to.

use super::*;

impl Drive {
    /// What init said before it died, in case its death was seen first.
    pub(super) fn take_last_notices(&mut self) {
        while self.fate.program.is_none() {
            match self.sandbox.notices.next_now() {
                Ok(Some(notice)) => self.take_notice(Ok(Some(notice))),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Hands on what the dead program has written. A reader that is slow gets it
    /// all as long as the wall limit lasts; after a kill, only what it takes at
    /// once.
    pub(super) async fn drain(&mut self) {
        let killed = self.fate.cause.is_some() || self.fate.killed.is_some();
        let end = if killed {
            Some(Instant::now() + LAST_WORDS)
        } else {
            self.wall
        };
        while !(self.copies.output_finished() && self.audience.is_idle() && self.ring_is_empty()) {
            let listening = self.audience.is_idle();
            let happening = tokio::select! {
                copied = self.copies.next(), if !self.copies.output_finished() => {
                    Happening::Copy(copied)
                }
                said = next_message(&mut self.worker), if listening => Happening::Said(said),
                () = self.audience.deliver(), if !listening => Happening::Delivered,
                signal = next_signal(&mut self.signals) => Happening::Signal(signal),
                () = at(end) => Happening::Wall,
            };
            match happening {
                Happening::Copy(end) => self.take_copy_end(end),
                Happening::Said(said) => self.take_message(said),
                Happening::Signal(Incoming::End(number)) => {
                    self.fate.cause.get_or_insert(Cause::Signal(number));
                    return;
                }
                Happening::Wall => {
                    self.fate.cause.get_or_insert(Cause::Timeout);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Whether the worker's last messages have been taken.
    pub(super) fn ring_is_empty(&self) -> bool {
        self.worker.is_none()
    }

    pub(super) async fn finish(mut self) -> Ended {
        let mut reached = self.sandbox.exceeded();
        if self.fate.pids_reached && !reached.contains(&"pids") {
            reached.push("pids");
        }
        let killed = !matches!(self.fate.program, Some(ProgramEnd::Code(_)));
        if killed && reached.contains(&"memory") {
            self.fate.cause.get_or_insert(Cause::Limit("memory"));
        }
        if let (true, None, Some(ProgramEnd::Code(code))) =
            (self.fate.unheard, &self.fate.cause, self.fate.program)
        {
            let text = format!(
                "the interpreter ended with {code} before it ran anything; is it Python 3.7 or later?"
            );
            self.fate.cause = Some(Cause::Failure(text));
        }
        let ended_by = match &self.fate.cause {
            Some(Cause::Timeout) => Some("wall"),
            Some(Cause::Limit(limit)) => Some(*limit),
            _ => None,
        };
        if let Some(limit) = ended_by
            && !reached.contains(&limit)
        {
            reached.push(limit);
        }
        // The terminal is the caller's again before anything is said on it.
        self.interactive = None;
        for limit in reached.iter().copied() {
            let ended = ended_by == Some(limit);
            self.record(&Event::Limit { limit, ended });
            self.audience.remark(Remark::Limit { limit, ended });
        }
        let said_last = self.gate.unsaid().chain(self.gate.summary());
        said_last.for_each(|remark| self.audience.remark(remark));
        let resources = self.sandbox.resources(self.fate.used);
        let mut exit = outcome::exit(self.fate.cause.as_ref(), self.fate.program);
        let event = Event::Exit {
            code: exit.code,
            signal: exit.signal,
            cause: exit.cause,
            resources,
        };
        if let Err(error) = self.gate.record(&event) {
            exit.status = outcome::FAILED;
            exit.detail = Some(error.to_string());
        }
        if let Err(error) = self.sandbox.clear_away() {
            let text = format!("clear the sandbox away: {error}; the next start will");
            self.audience.remark(Remark::Trouble { text });
        }
        // Of what never ran there is nothing to learn.
        let unstarted = matches!(self.fate.cause, Some(Cause::Unstarted { .. }));
        let learner = self.learner.take().filter(|_| !unstarted);
        let is_said = |operation, target: &str| self.gate.has_said(operation, target);
        let learned = learner.map(|learner| learner.finish(is_said));
        match learned.transpose() {
            Ok(remarks) => {
                let remarks = remarks.into_iter().flatten();
                remarks.for_each(|remark| self.audience.remark(remark));
            }
            Err(error) => {
                exit.status = outcome::FAILED;
                exit.cause = "failure";
                exit.detail = Some(error.to_string());
            }
        }
        let outcome = Outcome {
            exit,
            resources,
            limits_reached: reached,
        };
        self.state.send_replace(State::Stopped);
        self.audience.event(SessionEvent::State(State::Stopped));
        self.audience.event(SessionEvent::Exit(outcome.clone()));
        self.audience.deliver_rest();
        Ended {
            outcome,
            gate: self.gate,
            violations: self.fate.violations,
            reloads: self.reloads.map(Reloads::done).unwrap_or_default(),
        }
    }
}
