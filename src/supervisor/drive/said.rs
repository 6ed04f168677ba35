//! What the worker says over its channel.

use super::*;

impl Drive {
    pub(super) fn take_message(&mut self, said: Result<Message, ChannelError>) {
        match said {
            Ok(Message::Ready) => {
                self.fate.patience = None;
                self.fate.unheard = false;
                self.enter(State::Ready);
            }
            Ok(Message::Stdout(bytes)) => self.take_ring_output(Stream::Stdout, bytes),
            Ok(Message::Stderr(bytes)) => self.take_ring_output(Stream::Stderr, bytes),
            Ok(Message::Check(check)) => {
                let ruling = self.gate.check(&check);
                if check.kind.awaits_answer() {
                    self.answer(check.id, &ruling);
                }
                self.obey(ruling);
            }
            Ok(Message::State { event, data }) => {
                match event.as_str() {
                    "exec_start" => self.enter(State::Running),
                    "exec_end" => self.enter(State::Ready),
                    _ => {}
                }
                self.audience.event(SessionEvent::Worker {
                    event: event.clone(),
                    data: data.clone(),
                });
                self.record(&Event::WorkerState { event, data });
            }
            Ok(Message::Closed) => {
                let needed = self.worker.take().is_some_and(|worker| worker.of_session);
                if needed && self.fate.program.is_none() {
                    let gone = Some(Cause::Failure("the worker closed its channel".to_owned()));
                    self.fate
                        .patience
                        .get_or_insert((Instant::now() + INIT_LIMIT, gone));
                }
            }
            Err(ChannelError::Violation(violation)) => self.violated(violation.to_string()),
            Err(error) => self.end(Cause::Failure(error.to_string())),
        }
    }

    fn take_ring_output(&mut self, stream: Stream, bytes: Vec<u8>) {
        if !self.worker.as_ref().is_some_and(|worker| worker.of_session) {
            let reason = "output came through the ring of a worker that has its descriptors";
            return self.violated(reason.to_owned());
        }
        let allowed = self.budget.take(bytes.len());
        let whole = allowed == bytes.len();
        let mut bytes = bytes;
        bytes.truncate(allowed);
        self.audience.event(SessionEvent::Output { stream, bytes });
        if !whole {
            self.over_limit("output");
        }
    }

    fn answer(&mut self, id: u32, ruling: &Result<Ruling, LogError>) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        match worker.channel.respond(id, told(ruling)) {
            Ok(()) => {}
            Err(ChannelError::Violation(violation)) => self.violated(violation.to_string()),
            Err(error) => self.end(Cause::Failure(error.to_string())),
        }
    }
}
