//! The channel of a container, as its supervisor holds it: one connection at a time, which comes
//! from a process of the container.
//!
//! What comes over it are allegations. They are answered as the policy decides, recorded, and
//! permit nothing: the kernel holds every process of the container whatever is said here. None of it
//! may keep the supervisor from the container's life: each turn is bounded, a busy channel rests
//! between two of them, and what it may have recorded in the container's lifetime has an end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::SocketFlags;

use crate::audit::{Answer as Told, Event, LogError};
use crate::ipc::{Channel, ChannelError, Config, Heard, Message};
use crate::launch::container::SEGMENT_BYTES;
use crate::oci::container::supervised::Living;
use crate::policy::OnViolation;
use crate::supervisor::gate::{Gate, Ruling, told};

/// Steps of one turn: a message, a connection, or what was read at once.
const TURN: usize = 256;

/// How long the channel rests after a turn that did not come to its end.
const REST: Duration = Duration::from_millis(5);

/// About how many bytes may be recorded for it: a sixteenth of what the log takes.
const RECORDED: u64 = 16 << 20;

/// Bytes of an event without what the worker says, about.
const EVENT: u64 = 256;

/// See the module.
pub(super) struct Talk {
    /// `None` once it is closed for good.
    ends: Option<(OwnedFd, File)>,
    current: Option<Channel>,
    /// What may still be recorded.
    left: u64,
    /// When it is to be looked at again, although nothing says so.
    pub rested: Option<Instant>,
}

/// What a container is to be ended for, in the words of [`Event::Exit`].
type Cause = &'static str;

impl Talk {
    /// `listener` does not wait.
    pub(super) fn new(listener: OwnedFd, segment: File) -> Talk {
        Talk {
            ends: Some((listener, segment)),
            current: None,
            left: RECORDED,
            rested: None,
        }
    }

    /// What to wait for; nothing while it rests.
    pub(super) fn watched(&self) -> [Option<BorrowedFd<'_>>; 2] {
        if self.rested.is_some() {
            return [None, None];
        }
        let listener = self.ends.as_ref().map(|(listener, _)| listener.as_fd());
        [
            listener,
            self.current.as_ref().and_then(Channel::connection),
        ]
    }

    /// Takes a turn; gives why the container is to be ended, if it is.
    pub(super) fn take_turn(&mut self, living: &Living, gate: &mut Gate) -> Option<Cause> {
        self.rested = None;
        for _ in 0..TURN {
            let is_over = match self.current.is_some() {
                true => self.hear(gate),
                false => self.accept(living, gate),
            };
            match is_over {
                Ok(true) => {
                    self.refuse_others();
                    return None;
                }
                Ok(false) => {}
                Err(cause) => return cause,
            }
        }
        self.rested = Some(Instant::now() + REST);
        None
    }

    /// The next connection; gives whether there is none.
    fn accept(&mut self, living: &Living, gate: &mut Gate) -> Result<bool, Option<Cause>> {
        let Some((connection, segment)) = self.next_connection() else {
            return Ok(true);
        };
        if !is_of(living, &connection) {
            return Ok(false);
        }
        let begun = Channel::over(connection, segment, SEGMENT_BYTES).and_then(|mut channel| {
            channel.send_config(&Config::once(Vec::new(), None))?;
            Ok(channel)
        });
        match begun {
            Ok(channel) => {
                self.current = Some(channel);
                Ok(false)
            }
            Err(error) => Err(self.broken(&error, gate)),
        }
    }

    fn next_connection(&mut self) -> Option<(OwnedFd, File)> {
        let (listener, segment) = self.ends.as_ref()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let taken = rustix::net::accept_with(listener, flags)
            .map_err(io::Error::from)
            .and_then(|connection| Ok((connection, segment.try_clone()?)));
        match taken {
            Ok(taken) => Some(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // Whoever waits is still there: as when no more descriptors may be open.
            Err(_) => {
                self.rested = Some(Instant::now() + REST);
                None
            }
        }
    }

    /// There is one connection at a time: others see their end at once.
    fn refuse_others(&mut self) {
        if self.current.is_none() {
            return;
        }
        for _ in 0..TURN {
            if self.next_connection().is_none() {
                return;
            }
        }
        self.rested = Some(Instant::now() + REST);
    }

    /// The next message; gives whether there is none.
    fn hear(&mut self, gate: &mut Gate) -> Result<bool, Option<Cause>> {
        let Some(channel) = &mut self.current else {
            return Ok(true);
        };
        match channel.heard() {
            Ok(Heard::Nothing) => Ok(true),
            Ok(Heard::More) => Ok(false),
            Ok(Heard::Said(Message::Closed)) => {
                self.current = None;
                Ok(false)
            }
            Ok(Heard::Said(message)) => self.take(message, gate).map(|()| false),
            Err(error) => Err(self.broken(&error, gate)),
        }
    }

    fn take(&mut self, message: Message, gate: &mut Gate) -> Result<(), Option<Cause>> {
        match message {
            Message::Ready | Message::Closed => Ok(()),
            Message::Stdout(_) | Message::Stderr(_) => {
                let reason = "output came through the ring of a worker that has its descriptors";
                Err(self.violated(reason.to_owned(), gate))
            }
            Message::Check(check) => {
                self.spend(check.target.len(), gate)?;
                let ruling = gate.check(&check);
                if check.kind.awaits_answer() {
                    self.answer(check.id, &ruling, gate)?;
                }
                match ruling {
                    Ok(ruling) if ruling.answer == Told::Killed => Err(Some("policy")),
                    Ok(_) => Ok(()),
                    Err(_) => Err(self.close()),
                }
            }
            Message::State { event, data } => {
                self.spend(event.len() + data.to_string().len(), gate)?;
                let recorded = gate.record(&Event::WorkerState { event, data });
                recorded.map_err(|_| self.close())
            }
        }
    }

    fn answer(
        &mut self,
        id: u32,
        ruling: &Result<Ruling, LogError>,
        gate: &mut Gate,
    ) -> Result<(), Option<Cause>> {
        let Some(channel) = &mut self.current else {
            return Ok(());
        };
        let answered = channel.respond(id, told(ruling));
        answered.map_err(|error| self.broken(&error, gate))
    }

    /// Takes what is about to be recorded from what may be; the channel is over when that is spent.
    fn spend(&mut self, bytes: usize, gate: &mut Gate) -> Result<(), Option<Cause>> {
        let cost = EVENT.saturating_add(bytes as u64);
        if let Some(left) = self.left.checked_sub(cost) {
            self.left = left;
            return Ok(());
        }
        let limit = Event::Limit {
            limit: "channel",
            ended: false,
        };
        if let Err(unrecorded) = gate.record(&limit) {
            tracing::debug!(%unrecorded, "the channel is closed all the same");
        }
        Err(self.close())
    }

    fn broken(&mut self, error: &ChannelError, gate: &mut Gate) -> Option<Cause> {
        self.violated(error.to_string(), gate)
    }

    /// Who has broken the rules is not believed again, nor is anybody else who could have.
    fn violated(&mut self, reason: String, gate: &mut Gate) -> Option<Cause> {
        self.close();
        let recorded = gate.record(&Event::Violation { reason });
        match (recorded, gate.on_violation()) {
            (Err(_), _) => Some("failure"),
            (Ok(()), OnViolation::Kill) => Some("violation"),
            (Ok(()), _) => None,
        }
    }

    fn close(&mut self) -> Option<Cause> {
        self.current = None;
        self.ends = None;
        None
    }
}

/// Whether the connection was made by a process of the container. What cannot be told is not.
fn is_of(living: &Living, connection: &OwnedFd) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(connection);
    peer.is_ok_and(|peer| {
        let pid = peer.pid.as_raw_nonzero().get();
        living.has(pid).is_ok_and(|is_there| is_there)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    use super::*;
    use crate::launch::group::GroupRecord;
    use crate::oci::container::ProcessRecord;
    use crate::policy::Policy;

    const HALF: u64 = 1 << 19;
    const NOTICES: u64 = 2000;
    const COST: u64 = EVENT + 2;

    /// A channel of this very process, and its segment.
    fn talk() -> (Talk, Gate, Living, UnixStream, File) {
        let name = format!("buntime-talk-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let segment = File::from(rustix::fs::memfd_create("segment", flags).unwrap());
        segment.set_len(2 * HALF).unwrap();
        let gate = Gate::new(Policy::merge(Vec::new(), Vec::new()).unwrap(), None, false);
        let ends = segment.try_clone().unwrap();
        let talk = Talk::new(listener.into(), ends);
        let own = ProcessRecord::of(std::process::id().cast_signed()).unwrap();
        let living = Living::of(own, GroupRecord::default()).unwrap().unwrap();
        (
            talk,
            gate,
            living,
            UnixStream::connect_addr(&address).unwrap(),
            segment,
        )
    }

    #[test]
    fn a_turn_takes_so_much_and_the_rest_waits() {
        let (mut talk, mut gate, living, mut worker, segment) = talk();
        assert_eq!(talk.take_turn(&living, &mut gate), None);
        assert!(talk.rested.is_none() && talk.current.is_some());
        let notice = [&7u32.to_le_bytes()[..], &[1, 0, 0, 0, 0], b"/x"].concat();
        let all = notice.repeat(NOTICES as usize);
        segment.write_all_at(&all, HALF + 64).unwrap();
        let tail = u32::try_from(all.len()).unwrap().to_le_bytes();
        segment.write_all_at(&tail, HALF + 4).unwrap();
        worker.write_all(b"READY\nCHECK\n").unwrap();
        let mut heard = 0;
        while heard < NOTICES {
            assert_eq!(talk.take_turn(&living, &mut gate), None);
            let now = (RECORDED - talk.left) / COST;
            assert!(now - heard <= 256, "{} in one turn", now - heard);
            heard = now;
            let watched = talk.watched().iter().flatten().count();
            assert!(heard == NOTICES || watched == 0, "it does not rest");
        }
        assert_eq!(
            (talk.take_turn(&living, &mut gate), talk.rested),
            (None, None)
        );
        assert_eq!(talk.watched().iter().flatten().count(), 2);
    }
}
