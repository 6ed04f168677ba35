//! The channel as the session loop sees it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use buntime_abi::{Direction, Header, Inbox, Kind, Layout, RingReader, RingWriter, line};

use super::config::Config;
use super::control::Control;
use super::error::{ChannelError, Violation};
use super::outgoing::Outgoing;
use super::segment::Segment;
use super::wire::{self, Answer, Message};

/// How many bytes one poll of the ring takes at most.
const POLL_BYTES: usize = 64 * 1024;
/// How many requests may wait for an answer: more than a worker can have threads.
const MOST_REQUESTS: usize = 32 * 1024;
/// The longest reason of a denial, in bytes.
const LONGEST_REASON: usize = 2048;

/// The channel to one worker.
///
/// Code and answers are queued and written as the worker makes room;
/// [`Channel::next`] drives both directions, so it must be awaited for
/// anything to move. Configuration and code may be sent before the worker has
/// even started: they wait in the ring for it.
///
/// After an error the channel is dead: every later call of `next` gives
/// [`Message::Closed`].
#[derive(Debug)]
pub struct Channel {
    segment: Segment,
    layout: Layout,
    writer: RingWriter,
    reader: RingReader,
    inbox: Inbox,
    control: Control,
    outgoing: Outgoing,
    waiting: BTreeSet<u32>,
    /// A line has come since the ring was last found empty.
    poll_due: bool,
    ready: bool,
    dead: bool,
}

/// What there is to hear without waiting.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The worker has said this.
    Said(Message),
    /// Something has come that is not the whole of a message, or nothing but a doorbell.
    More,
    /// Nothing, until the connection is readable again.
    Nothing,
}

impl Channel {
    /// A channel over a listening Unix socket and a new, zeroed segment file.
    /// Nobody has to have connected yet.
    ///
    /// # Errors
    /// The segment has an impossible size or cannot be written.
    pub fn new(listener: OwnedFd, segment: File) -> Result<Channel, ChannelError> {
        let (segment, layout) = Segment::open(segment)?;
        Ok(Channel::from(segment, layout, Control::new(listener)))
    }

    /// A channel over a connection that was accepted already, and a segment of `bytes` bytes that
    /// another worker may have left: to be driven by [`Channel::heard`], whenever its connection is readable.
    ///
    /// # Errors
    /// The segment has an impossible size or cannot be written.
    pub fn over(connection: OwnedFd, segment: File, bytes: u64) -> Result<Channel, ChannelError> {
        let (segment, layout) = Segment::open_again(segment, bytes)?;
        Ok(Channel::from(segment, layout, Control::over(connection)))
    }

    fn from(segment: Segment, layout: Layout, control: Control) -> Channel {
        Channel {
            segment,
            layout,
            writer: RingWriter::new(layout, Direction::SupervisorToWorker),
            reader: RingReader::new(layout, Direction::WorkerToSupervisor, true),
            inbox: Inbox::new(layout.capacity()),
            control,
            outgoing: Outgoing::default(),
            waiting: BTreeSet::new(),
            poll_due: false,
            ready: false,
            dead: false,
        }
    }

    /// The connection that [`Channel::over`] was given, while it lasts.
    #[must_use]
    pub fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.control.connection()
    }

    /// [`Channel::new`], and then waits until the worker is ready. There is no
    /// time limit in here: race it against the worker's exit.
    ///
    /// # Errors
    /// As `new`, and when the worker says anything else first.
    pub async fn accept(listener: OwnedFd, segment: File) -> Result<Channel, ChannelError> {
        let mut channel = Channel::new(listener, segment)?;
        match channel.next().await? {
            Message::Ready => Ok(channel),
            _ => Err(Violation::ReadyOutOfOrder.into()),
        }
    }

    /// Says that every process that could connect is dead. What a worker had sent still comes
    /// from [`Channel::next`], and then `Closed`, also when none ever connected.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn seal(&mut self) -> Result<(), ChannelError> {
        self.control.seal()
    }

    /// Tells the worker how to run. Once, before the first code.
    ///
    /// # Errors
    /// The configuration is longer than the ring, or the segment fails.
    pub fn send_config(&mut self, config: &Config) -> Result<(), ChannelError> {
        let json = serde_json::to_vec(config).map_err(|cause| ChannelError::Io {
            operation: "write JSON",
            cause: cause.into(),
        })?;
        let limit = self.writer.longest_payload();
        if json.len() > limit {
            return Err(ChannelError::ConfigTooLong {
                bytes: json.len(),
                limit,
            });
        }
        self.outgoing.push(Header::new(Kind::Config, 0), json);
        self.flush()
    }

    /// Sends a piece of code, of any length.
    ///
    /// # Errors
    /// The segment fails, or the worker has broken the ring.
    pub fn send_code(&mut self, code: &[u8]) -> Result<(), ChannelError> {
        self.outgoing.push_code(code);
        self.flush()
    }

    /// Answers a check that waits.
    ///
    /// # Errors
    /// No such check waits, the segment fails, or the worker has broken the ring.
    pub fn respond(&mut self, id: u32, answer: Answer<'_>) -> Result<(), ChannelError> {
        if !self.waiting.remove(&id) {
            return Err(ChannelError::NotAsked { id });
        }
        let (kind, reason) = match answer {
            Answer::Allow => (Kind::Allow, ""),
            Answer::Deny(reason) => (Kind::Deny, reason),
        };
        let limit = LONGEST_REASON.min(self.layout.part_limit());
        self.outgoing.push(
            Header::new(kind, id),
            shortened(reason, limit).as_bytes().to_vec(),
        );
        self.flush()
    }

    /// The next thing that the worker has said. Output is never reordered, and a
    /// state event comes after all output that the worker published before it.
    ///
    /// Safe to drop at any point: nothing that was received is lost.
    ///
    /// # Errors
    /// The worker broke the protocol, or the system failed. The channel is dead then.
    pub async fn next(&mut self) -> Result<Message, ChannelError> {
        let next = self.next_message().await;
        if next.is_err() {
            self.dead = true;
            self.outgoing.clear();
        }
        next
    }

    /// As [`Channel::next`], for a channel of [`Channel::over`], without waiting and with a bounded
    /// amount of work.
    ///
    /// # Errors
    /// As `next`.
    pub fn heard(&mut self) -> Result<Heard, ChannelError> {
        let heard = self.hear_message();
        if heard.is_err() {
            self.dead = true;
            self.outgoing.clear();
        }
        heard
    }

    fn hear_message(&mut self) -> Result<Heard, ChannelError> {
        if self.dead {
            return Ok(Heard::Said(Message::Closed));
        }
        if let Some(message) = self.pending()? {
            return Ok(Heard::Said(message));
        }
        if self.control.is_closed() {
            self.dead = true;
            return Ok(Heard::Said(Message::Closed));
        }
        if !self.control.receive()? {
            return Ok(Heard::Nothing);
        }
        self.has_received()?;
        Ok(Heard::More)
    }

    async fn next_message(&mut self) -> Result<Message, ChannelError> {
        loop {
            // A worker that never pauses must not keep the session loop from its
            // timers and signals.
            tokio::task::coop::consume_budget().await;
            if self.dead {
                return Ok(Message::Closed);
            }
            if let Some(message) = self.pending()? {
                return Ok(message);
            }
            if self.control.is_closed() {
                self.dead = true;
                return Ok(Message::Closed);
            }
            self.control.wait().await?;
            self.has_received()?;
        }
    }

    /// Something has come over the socket: the rings are to be looked at.
    fn has_received(&mut self) -> Result<(), ChannelError> {
        if self.control.is_closed() {
            self.outgoing.clear();
        }
        self.poll_due = true;
        self.flush()
    }

    /// What can be said without waiting. The ring comes first: what it held when
    /// a line arrived precedes that line.
    fn pending(&mut self) -> Result<Option<Message>, ChannelError> {
        loop {
            if self.outgoing.is_clogged() {
                return Ok(None);
            }
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            if self.poll_due && self.ready {
                self.poll()?;
                continue;
            }
            let Some(text) = self.control.take_line()? else {
                return Ok(None);
            };
            match text {
                line::DATA | line::CHECK if self.ready => {}
                line::READY if !self.ready => {
                    self.ready = true;
                    return Ok(Some(Message::Ready));
                }
                text if self.ready && text != line::READY => return Ok(Some(wire::state(text)?)),
                _ => return Err(Violation::ReadyOutOfOrder.into()),
            }
        }
    }

    /// Takes the next message out of what was copied from the ring.
    fn take_message(&mut self) -> Result<Option<Message>, ChannelError> {
        let Some((header, payload)) = self.inbox.take()? else {
            return Ok(None);
        };
        let message = wire::message(header, payload)?;
        if let Message::Check(check) = &message
            && check.kind.awaits_answer()
        {
            if !self.waiting.insert(check.id) {
                return Err(Violation::DuplicateRequest { id: check.id }.into());
            }
            if self.waiting.len() > MOST_REQUESTS {
                return Err(Violation::TooManyRequests {
                    limit: MOST_REQUESTS,
                }
                .into());
            }
        }
        Ok(Some(message))
    }

    /// Copies what the ring offers, and rings when the worker is short of space.
    fn poll(&mut self) -> Result<(), ChannelError> {
        let polled = self
            .reader
            .poll(&self.segment, self.inbox.unread(), POLL_BYTES)?;
        self.poll_due = polled.more;
        if polled.producer_waits {
            self.control.ring()
        } else {
            Ok(())
        }
    }

    /// Writes what there is space for, and rings when there is news for the worker.
    fn flush(&mut self) -> Result<(), ChannelError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let waited = self.writer.is_waiting();
        let part = self.layout.part_limit();
        let wrote = self.outgoing.flush(&mut self.writer, &self.segment, part)?;
        let waits = self.writer.is_waiting();
        if wrote || (waits && !waited) {
            self.control.ring()
        } else {
            Ok(())
        }
    }
}

/// The beginning of a text that fits into `limit` bytes.
fn shortened(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
