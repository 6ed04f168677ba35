//! Calls and connections that wait for an answer, and what the interceptor and the plane are told.

use super::*;
use crate::approval::Case;
use crate::egress::Denied;
use crate::intercept::{Outcome, Question};
use crate::supervisor::ask::Entry;
use crate::supervisor::gate::{Course, Held, Waiting};
use crate::supervisor::printable::printable;

impl Drive {
    /// Answers what the policy decides alone, and has the rest asked.
    pub(super) fn take_question(&mut self, question: &Question) {
        match self.gate.question(question) {
            Ok(Course::Ask(held)) => self.ask(*held),
            Ok(Course::Ruled(ruling)) => self.tell(Waiting::Call(question.number), Ok(ruling)),
            Err(error) => self.tell(Waiting::Call(question.number), Err(error)),
        }
    }

    /// What is not asked for is not told by our own init.
    pub(super) fn take_outcome(&mut self, outcome: Outcome) {
        match &mut self.learner {
            Some(learner) => learner.hear(outcome),
            None => tracing::warn!(?outcome, "nobody learns from this run"),
        }
    }

    /// Tells init or the plane, which is done once the answer is recorded; what cannot be recorded is
    /// denied.
    fn tell(&mut self, waiting: Waiting, ruling: Result<Ruling, LogError>) {
        let permit = matches!(&ruling, Ok(ruling) if ruling.answer == Told::Allowed);
        match waiting {
            Waiting::Call(number) => {
                let sent = self.sandbox.notices.answer(number, permit);
                self.obey(ruling);
                self.take_sent(sent);
            }
            Waiting::Connection(question, way) => {
                question.answer(match &ruling {
                    Ok(_) if permit => Ok(way),
                    Ok(ruling) => Err(Denied {
                        reason: ruling.reason.clone().into(),
                    }),
                    Err(_) => Err(plane::unrecorded()),
                });
                self.obey(ruling);
            }
        }
    }

    pub(super) fn ask(&mut self, held: Held) {
        match self.desk.admit(held) {
            Entry::Joined => {}
            Entry::Granted(held, number) => {
                let ruling = self.gate.allow(&held, number);
                self.tell(held.waiting, ruling);
            }
            Entry::Refused(held, why) => {
                let ruling = self.gate.refuse(&held, None, Some(why));
                self.tell(held.waiting, ruling);
            }
            Entry::Opened(number, event) => match self.gate.record(&event) {
                Ok(()) => self.show_questions(),
                Err(error) => {
                    self.settle(number, &Answer::Deny, Some("it cannot be recorded"));
                    self.end(Cause::Failure(error.to_string()));
                }
            },
        }
    }

    /// Has what waits shown, once the program's words of before have been.
    pub(super) fn show_questions(&mut self) {
        self.desk.prepare();
        self.audience.hold(self.desk.has_the_terminal());
    }

    /// Shows what can be shown. While something stands on the terminal, nobody else writes there.
    fn show_prepared(&mut self) {
        while let Some((number, why)) = self.desk.show_next(&mut self.audience) {
            self.settle(number, &Answer::Deny, Some(&why));
        }
        self.audience.hold(self.desk.has_the_terminal());
    }

    pub(super) fn take_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Said(number, answer) if self.desk.admits(number, &answer) => {
                self.settle(number, &answer, None);
            }
            Reply::Said(number, _) => {
                let why = "the answer does not fit the question";
                self.settle(number, &Answer::Deny, Some(why));
            }
            Reply::Prepared => return self.show_prepared(),
            Reply::Silent(number, why) => self.settle(number, &Answer::Deny, Some(&why)),
            Reply::Late(number) => {
                self.settle(number, &Answer::Deny, Some("nobody answered in time"));
            }
        }
        self.show_questions();
    }

    /// Denies everything that waits.
    pub(super) fn stop_asking(&mut self, why: &str) {
        for number in self.desk.waiting() {
            self.settle(number, &Answer::Deny, Some(why));
        }
        self.audience.hold(false);
    }

    /// Ends a question by an answer, or by there being none for the reason `why`. Nothing is
    /// allowed before that is recorded.
    fn settle(&mut self, number: u64, answer: &Answer, why: Option<&str>) {
        let Some(case) = self.desk.case(number) else {
            return;
        };
        let recorded = self.gate.record(&answered(case, answer, why));
        let answer = match recorded {
            Ok(()) => answer,
            Err(_) => &Answer::Deny,
        };
        let closed = self.desk.close(number, answer, why, &mut self.audience);
        for case in closed {
            let recorded = match case.number == number {
                // It has been recorded above.
                true => Ok(()),
                false => {
                    let event = answered(&case, answer, Some(&along(number)));
                    self.gate.record(&event)
                }
            };
            let allowed = recorded.is_ok() && answer.scope().is_some();
            for held in case.calls {
                let ruling = if allowed {
                    self.gate.allow(&held, case.number)
                } else {
                    let why = why.map(str::to_owned);
                    self.gate.refuse(&held, Some(case.number), why)
                };
                self.tell(held.waiting, ruling);
            }
            if let Err(error) = recorded {
                self.end(Cause::Failure(error.to_string()));
            }
        }
        if let Err(error) = recorded {
            self.end(Cause::Failure(error.to_string()));
        }
    }

    /// Init takes answers again.
    pub(super) fn take_room(&mut self, room: io::Result<()>) {
        let sent = room.and_then(|()| self.sandbox.notices.deliver());
        self.take_sent(sent);
    }

    /// A call whose answer does not arrive waits for ever, so nothing goes on.
    fn take_sent(&mut self, sent: io::Result<()>) {
        let Err(error) = sent else { return };
        // Init is gone or going, which is heard of in another way.
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if gone.contains(&error.kind()) {
            return;
        }
        let failure = format!("answer the sandbox's init: {error}");
        self.end(Cause::Failure(failure));
    }
}

fn along(number: u64) -> String {
    format!("the answer to question {number} answers it too")
}

pub(super) fn answered(case: &Case<Held>, answer: &Answer, why: Option<&str>) -> Event {
    let path = match answer {
        Answer::Path(path) => Some(printable(path.as_os_str().as_encoded_bytes())),
        _ => None,
    };
    Event::Answered {
        number: case.number,
        allowed: answer.scope().is_some(),
        scope: answer.scope(),
        path,
        why: why.map(str::to_owned),
        waited_seconds: case.since.elapsed().as_secs_f64(),
        calls: case.calls.len(),
    }
}
