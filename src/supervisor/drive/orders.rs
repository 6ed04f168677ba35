//! What comes from outside a session: signals of the caller, commands of the owner.

use super::*;

impl Drive {
    pub(super) fn take_signal(&mut self, signal: Incoming) {
        match signal {
            Incoming::End(number) => {
                self.stop_asking("a signal came in its place");
                if self.fate.asked.is_some() {
                    return self.end(Cause::Signal(number));
                }
                self.fate.asked = Some(number);
                self.forward(number);
                // Ctrl-C and Ctrl-\ are for the program to answer as it likes; a
                // second one is for us.
                if matches!(number, TERMINATE | HANGUP) {
                    let cause = Some(Cause::Signal(number));
                    self.fate.patience = Some((Instant::now() + PATIENCE, cause));
                }
            }
            Incoming::Forward(number) => self.forward(number),
            Incoming::Window => {
                if let Some(Interactive {
                    caller, program, ..
                }) = &self.interactive
                    && let Err(error) = copy_window(caller, program)
                {
                    tracing::debug!(%error, "the window size was not passed on");
                }
            }
            Incoming::Suspend => self.suspend(),
        }
    }

    pub(super) fn forward(&mut self, number: i32) {
        self.record(&Event::Signal { signal: number });
        if let Err(error) = self.sandbox.notices.signal(number) {
            tracing::debug!(%error, number, "the signal came too late for the program");
        }
    }

    /// Stops the program and ourselves, with the terminal as it was, until somebody
    /// continues us. The wall clock goes on.
    pub(super) fn suspend(&mut self) {
        self.desk.hide(&mut self.audience);
        let raw = self
            .interactive
            .as_ref()
            .and_then(|terminal| terminal.raw.as_ref());
        let stopped = self.sandbox.notices.signal(libc_signal::STOP);
        let result = stopped
            .and_then(|()| raw.map_or(Ok(()), RawTerminal::restore))
            .and_then(|()| stop_ourselves())
            .and_then(|()| raw.map_or(Ok(()), RawTerminal::apply))
            .and_then(|()| self.sandbox.notices.signal(libc_signal::CONT));
        if let Err(error) = result {
            tracing::debug!(%error, "suspending went wrong half-way");
        }
        self.take_signal(Incoming::Window);
        self.show_questions();
    }

    pub(super) fn take_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Code(code)) => {
                let Some(worker) = &mut self.worker else {
                    return;
                };
                if let Err(error) = worker.channel.send_code(&code) {
                    self.take_message(Err(error));
                }
            }
            Some(Command::Answer(number, answer)) => self.take_reply(Reply::Said(number, answer)),
            // An owner who is gone cannot stop the session later.
            Some(Command::Stop) | None => {
                self.commands = None;
                self.end(Cause::Stopped);
            }
        }
    }

    /// Changes the state of a session that still lives.
    pub(super) fn enter(&mut self, state: State) {
        self.state.send_replace(state);
        self.audience.event(SessionEvent::State(state));
    }
}

const TERMINATE: i32 = rustix::process::Signal::TERM.as_raw();
const HANGUP: i32 = rustix::process::Signal::HUP.as_raw();

/// The signals that init gets by number.
mod libc_signal {
    pub(super) const STOP: i32 = rustix::process::Signal::STOP.as_raw();
    pub(super) const CONT: i32 = rustix::process::Signal::CONT.as_raw();
}
