//! The life of a container as its supervisor follows it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::copies::Copies;
use super::leaving::{Exit, LAST_WORDS, is_spent};
use super::talk::Talk;
use super::{PATIENCE, Records, hear, tell};
use crate::audit::{Event, LogError, Resources};
use crate::egress::Heard;
use crate::launch::beside::{Watcher, exit_status_of};
use crate::launch::group::OomEvents;
use crate::oci::container::supervised::{Answer, Living, Request};
use crate::supervisor::error::RunError;
use crate::supervisor::masks::MaskWatch;

/// How soon an end that failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// How long whoever waits for the first process may take to have its exit status known.
const REAPED: Duration = Duration::from_secs(1);

/// Turns of the channel after the end of the container.
const LAST_TURNS: usize = 4;

/// How long a caller may take nothing of the last output.
const TAKEN: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Life {
    pub living: Living,
    pub records: Records,
    pub talk: Option<Talk>,
    /// What leaves the container, where its policy lets something.
    pub exit: Option<Exit>,
    pub listener: UnixListener,
    pub watcher: Watcher,
    pub masks: Option<MaskWatch>,
    pub kills: Option<OomEvents>,
    pub copies: Copies,
    /// How long the program may run.
    pub wall: Option<Duration>,
    /// When it is to be ended.
    pub deadline: Option<Instant>,
    pub began: Instant,
    /// Why it is being ended, in the words of [`Event::Exit`].
    pub cause: Option<&'static str>,
}

/// What there is to do.
#[derive(Debug, Default)]
struct Due {
    ended: bool,
    unwatched: bool,
    called: bool,
    masks: bool,
    kills: bool,
    channel: bool,
    output: bool,
    leaving: Vec<Heard>,
}

impl Life {
    /// Follows the container to its end.
    ///
    /// # Errors
    /// The end could not be recorded, or the container had to be ended for a failure of ours.
    pub(super) fn follow(mut self) -> Result<(), RunError> {
        loop {
            let due = match self.wait() {
                Ok(due) => due,
                Err(error) => {
                    self.end("failure");
                    return Err(RunError::io("wait for", "the container")(error));
                }
            };
            if due.ended {
                return self.record_end();
            }
            if due.unwatched && self.cause.is_none() {
                self.end("failure");
            }
            if due.masks {
                self.look_at_masks();
            }
            if due.kills {
                self.hear_kills();
            }
            if due.called {
                self.answer_callers();
            }
            if due.channel {
                self.hear_channel();
            }
            for heard in due.leaving {
                self.hear_leaving(heard);
            }
            if due.output && self.copies.copy() {
                self.limit_is_reached("output", "limit");
            }
            if self.deadline.is_some_and(|at| at <= Instant::now()) {
                self.limit_is_reached("wall", "timeout");
            }
        }
    }

    fn wait(&mut self) -> io::Result<Due> {
        // What ends the container is heard of no more.
        let talk = self.talk.as_ref().filter(|_| self.cause.is_none());
        let rested = talk.and_then(|talk| talk.rested);
        let next = [self.deadline, rested].into_iter().flatten().min();
        let timeout = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or_default()
        });
        let first = self.living.first().pidfd();
        let mut watched = vec![
            (first, PollFlags::IN),
            (self.listener.as_fd(), PollFlags::IN),
        ];
        // What has ended stays readable, and is heard of once.
        let is_ending = self.cause.is_some();
        let [listener, connection] = talk.map_or([None, None], Talk::watched);
        let others = [
            (!is_ending).then(|| self.watcher.as_fd()),
            self.masks.as_ref().map(MaskWatch::descriptor),
            self.kills.as_ref().map(OomEvents::descriptor),
            listener,
            connection,
        ];
        watched.extend(others.iter().flatten().map(|fd| (*fd, PollFlags::IN)));
        watched.extend(self.copies.watched());
        let mut leaving = Vec::new();
        let timeout = match &mut self.exit {
            None => timeout,
            Some(exit) => {
                leaving.extend(exit.wait(&watched, timeout)?);
                Some(Timespec::default())
            }
        };
        let mut watched: Vec<PollFd<'_>> = watched
            .into_iter()
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        match poll(&mut watched, timeout.as_ref()) {
            // What was heard is not heard again.
            Err(rustix::io::Errno::INTR) => {}
            other => drop(other?),
        }
        let mut ready = watched.iter().map(|one| !one.revents().is_empty());
        let mut next = |is_there: bool| is_there && ready.next().unwrap_or(false);
        let (ended, called) = (next(true), next(true));
        let [unwatched, masks, kills, asked, said] = others.map(|fd| next(fd.is_some()));
        let output = ready.any(|is_ready| is_ready);
        Ok(Due {
            ended,
            unwatched,
            called,
            masks,
            kills,
            channel: asked || said || rested.is_some_and(|at| at <= Instant::now()),
            output,
            leaving,
        })
    }

    fn record(&mut self, event: &Event) -> Result<(), LogError> {
        self.records.record(event)
    }

    /// Ends the container. What cannot be ended now is tried again.
    fn end(&mut self, cause: &'static str) {
        self.cause.get_or_insert(cause);
        self.deadline = match self.living.kill() {
            Ok(()) => None,
            Err(_) => Some(Instant::now() + AGAIN),
        };
    }

    /// Records why and ends the container. Whether that can be recorded or not, it is over.
    fn end_for(&mut self, event: &Event, cause: &'static str) {
        let cause = match self.record(event) {
            Ok(()) => cause,
            Err(_) => "failure",
        };
        self.end(cause);
    }

    fn limit_is_reached(&mut self, limit: &'static str, cause: &'static str) {
        match self.cause {
            None => self.end_for(&Event::Limit { limit, ended: true }, cause),
            // It is being ended, and was not to be ended at once.
            Some(cause) => self.end(cause),
        }
    }

    fn look_at_masks(&mut self) {
        let Some(masks) = &self.masks else { return };
        let reason = match masks.lost_by_now() {
            Ok(None) => return,
            Ok(Some(lost)) => format!(
                "{} may be seen by now, since its place was changed ({})",
                lost.path.display(),
                lost.rule
            ),
            Err(error) => format!("the masks cannot be watched any more: {error}"),
        };
        self.masks = None;
        self.end_for(&Event::Violation { reason }, "policy");
    }

    fn hear_kills(&mut self) {
        let Some(kills) = &mut self.kills else { return };
        let Ok(heard) = kills.heard() else {
            // Nobody would know of the next one.
            self.kills = None;
            return self.end("failure");
        };
        if heard.ended {
            self.kills = None;
        }
        let event = Event::Limit {
            limit: "memory",
            ended: false,
        };
        // What has happened and cannot be recorded is not gone over.
        if heard.killed && self.record(&event).is_err() {
            self.end("failure");
        }
    }

    fn hear_channel(&mut self) {
        let (Some(talk), Records::Gate(gate)) = (&mut self.talk, &mut self.records) else {
            return;
        };
        if let Some(cause) = talk.take_turn(&self.living, gate) {
            self.end(cause);
        }
    }

    fn hear_leaving(&mut self, heard: Heard) {
        let Records::Gate(gate) = &mut self.records else {
            return;
        };
        let cause = Exit::take(heard, gate);
        if self.exit.is_some() && is_spent(gate) {
            self.exit = None;
            let limit = Event::Limit {
                limit: "network",
                ended: false,
            };
            if self.record(&limit).is_err() {
                self.end("failure");
            }
        }
        if let Some(cause) = cause {
            self.end(cause);
        }
    }

    fn answer_callers(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let answer = match heard(&mut stream) {
                Ok((request, outputs)) => self.answer(request, outputs),
                Err(error) => Answer::Refused {
                    cause: format!("the request cannot be read: {error}"),
                },
            };
            // One that has left meanwhile does nothing either.
            if let Err(error) = tell(&mut stream, &answer) {
                tracing::debug!(%error, "a caller left before it was answered");
            }
        }
    }

    fn answer(&mut self, request: Request, outputs: Vec<OwnedFd>) -> Answer {
        if self.cause.is_some() && !matches!(request, Request::Kill { .. } | Request::Pause) {
            return Answer::Refused {
                cause: "the container is being ended".to_owned(),
            };
        }
        let is_start = request == Request::Start;
        let event = match request {
            Request::Start => Event::ContainerStart,
            Request::Exec { program, uid } => Event::ContainerExec { program, uid },
            Request::Kill { signal } => Event::Signal { signal },
            Request::Pause => Event::ContainerPause,
            Request::Resume => Event::ContainerResume,
            Request::Update { resources } => Event::ContainerUpdate { resources },
        };
        if let Err(error) = self.record(&event) {
            let cause = error.to_string();
            return Answer::Refused { cause };
        }
        if let Err(error) = self.copies.add(outputs) {
            let cause = format!("its output cannot be copied: {error}");
            return Answer::Refused { cause };
        }
        if is_start {
            self.began = Instant::now();
            self.deadline = self.wall.and_then(|wall| self.began.checked_add(wall));
        }
        Answer::Done
    }

    fn record_end(mut self) -> Result<(), RunError> {
        // Where the container shares its processes' namespace, others of it may still be there.
        let rest = match self.living.has_group() {
            true => self.living.group().kill(libc::SIGKILL),
            false => Ok(()),
        };
        // What its processes have said at last.
        if let (Some(talk), Records::Gate(gate)) = (&mut self.talk, &mut self.records) {
            for _ in 0..LAST_TURNS {
                // It has ended before this is heard, and is not ended for it.
                talk.take_turn(&self.living, gate);
            }
        }
        let is_told = match (self.exit.take(), &mut self.records) {
            (Some(exit), Records::Gate(gate)) => {
                let patience = match self.cause {
                    None => LAST_WORDS,
                    Some(_) => Duration::ZERO,
                };
                exit.close(patience, gate)
            }
            _ => Ok(()),
        };
        if self.copies.finish(TAKEN) {
            self.limit_is_reached("output", "limit");
        }
        let status = self.exit_status();
        let signal = status.filter(|status| libc::WIFSIGNALED(*status));
        let event = Event::Exit {
            code: status
                .filter(|status| libc::WIFEXITED(*status))
                .map(|status| libc::WEXITSTATUS(status)),
            signal: signal.map(|status| libc::WTERMSIG(status)),
            cause: self
                .cause
                .unwrap_or(match signal.map(|status| libc::WTERMSIG(status)) {
                    // A filter of seccomp(2) has killed it.
                    Some(libc::SIGSYS) => "violation",
                    _ => "program",
                }),
            resources: Resources::wall(self.began.elapsed()),
        };
        is_told?;
        self.record(&event)?;
        rest.map_err(|error| {
            RunError::io("end", "the rest of the container")(io::Error::other(error.to_string()))
        })
    }

    /// How the first process has ended, once its parent has waited for it; `None` where the kernel
    /// does not tell others.
    fn exit_status(&self) -> Option<i32> {
        let first = self.living.first().pidfd();
        let until = Instant::now() + REAPED;
        loop {
            if let Some(status) = exit_status_of(first) {
                return Some(status);
            }
            let left = until.checked_duration_since(Instant::now())?;
            let timeout = left.try_into().ok()?;
            // Nothing but its hang-up is waited for, which comes when it has been waited for.
            let mut watched = [PollFd::from_borrowed_fd(first, PollFlags::empty())];
            match poll(&mut watched, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1) => return exit_status_of(first),
                _ => return None,
            }
        }
    }
}

fn heard(stream: &mut UnixStream) -> io::Result<(Request, Vec<OwnedFd>)> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    hear(stream)
}
