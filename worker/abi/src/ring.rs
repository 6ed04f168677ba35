//! A ring for one producer and one consumer.
//!
//! [`Producer`] and [`Consumer`] are the pure part: arithmetic over the own
//! index and the peer's claim. [`RingWriter`] and [`RingReader`] move bytes
//! through a [`Memory`]: a mapping in the worker, a file in the supervisor, a
//! model under loom.

use crate::layout::{CAPACITY_OFFSET, HEAD_OFFSET, HEADER_BYTES, TAIL_OFFSET, WAITING_OFFSET};
use crate::message::{self, Header};
use crate::{Direction, Layout, Violation};

/// How many bytes lie from one position to the next, in the direction of writing.
fn distance(from: u32, to: u32, capacity: u32) -> u32 {
    if to >= from {
        to - from
    } else {
        capacity - from + to
    }
}

/// A position moved on by `bytes`, which is less than the capacity.
fn moved(position: u32, bytes: u32, capacity: u32) -> u32 {
    let left = capacity - position;
    if bytes < left {
        position + bytes
    } else {
        bytes - left
    }
}

/// The producer's side of the arithmetic. Its write index is private; the
/// header carries a copy that nobody reads back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    capacity: u32,
    tail: u32,
    head: u32,
}

impl Producer {
    /// The producer of an empty ring with `capacity` bytes of data.
    pub fn new(capacity: u32) -> Producer {
        Producer {
            capacity,
            tail: 0,
            head: 0,
        }
    }

    /// How many bytes may be written now, when the consumer claims to have read
    /// up to `claimed_head`.
    ///
    /// # Errors
    /// The claim is outside the ring, or outside what lies between the last
    /// believed claim and the write index.
    pub fn writable(&mut self, claimed_head: u32) -> Result<u32, Violation> {
        let Producer {
            capacity,
            tail,
            head,
        } = *self;
        if claimed_head >= capacity {
            return Err(Violation::HeadOutOfRange {
                claimed: claimed_head,
                capacity,
            });
        }
        if distance(claimed_head, tail, capacity) > distance(head, tail, capacity) {
            return Err(Violation::HeadMovedBack {
                claimed: claimed_head,
                known: head,
            });
        }
        self.head = claimed_head;
        Ok(self.free())
    }

    /// How many bytes the last believed claim leaves free.
    pub fn free(&self) -> u32 {
        self.capacity - 1 - distance(self.head, self.tail, self.capacity)
    }

    /// Where the next byte goes.
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Moves the write index over `bytes` bytes that have been written, at most
    /// as many as are free, and gives the index to publish.
    pub fn advance(&mut self, bytes: u32) -> u32 {
        self.tail = moved(self.tail, bytes.min(self.free()), self.capacity);
        self.tail
    }
}

/// The consumer's side of the arithmetic. Its read index is private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    capacity: u32,
    head: u32,
    tail: u32,
}

impl Consumer {
    /// The consumer of an empty ring with `capacity` bytes of data.
    pub fn new(capacity: u32) -> Consumer {
        Consumer {
            capacity,
            head: 0,
            tail: 0,
        }
    }

    /// How many bytes may be read now, when the producer claims to have written
    /// up to `claimed_tail`.
    ///
    /// # Errors
    /// The claim is outside the ring, or takes back what was already claimed.
    pub fn readable(&mut self, claimed_tail: u32) -> Result<u32, Violation> {
        let Consumer {
            capacity,
            head,
            tail,
        } = *self;
        if claimed_tail >= capacity {
            return Err(Violation::TailOutOfRange {
                claimed: claimed_tail,
                capacity,
            });
        }
        if distance(head, claimed_tail, capacity) < distance(head, tail, capacity) {
            return Err(Violation::TailMovedBack {
                claimed: claimed_tail,
                known: tail,
            });
        }
        self.tail = claimed_tail;
        Ok(self.available())
    }

    /// How many bytes the last believed claim offers.
    pub fn available(&self) -> u32 {
        distance(self.head, self.tail, self.capacity)
    }

    /// Where the next byte comes from.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// Moves the read index over `bytes` bytes that have been copied, at most as
    /// many as are available, and gives the index to publish.
    pub fn advance(&mut self, bytes: u32) -> u32 {
        self.head = moved(self.head, bytes.min(self.available()), self.capacity);
        self.head
    }
}

/// The words of a ring's header, read at one time. All of them are allegations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// The read index.
    pub head: u32,
    /// The write index.
    pub tail: u32,
    /// Bytes of the data region.
    pub capacity: u32,
    /// Not zero while the producer is short of space.
    pub waiting: u32,
}

/// The bytes of a segment, however they are reached. Offsets count from its
/// start and stay inside it: the ring computes them from the layout alone.
pub trait Memory {
    /// Why the memory could not be reached, or what the peer did wrong.
    type Error: From<Violation>;

    /// Reads a word; what the peer wrote before it stored the word is visible afterwards.
    fn load(&self, offset: u64) -> Result<u32, Self::Error>;
    /// Writes a word; the peer sees it only after everything written before.
    fn store(&self, offset: u64, value: u32) -> Result<(), Self::Error>;
    /// Copies bytes out of the segment.
    fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;
    /// Copies bytes into the segment.
    fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), Self::Error>;

    /// Reads the four words of the header at `base`.
    fn words(&self, base: u64) -> Result<Words, Self::Error> {
        Ok(Words {
            head: self.load(base + u64::from(HEAD_OFFSET))?,
            tail: self.load(base + u64::from(TAIL_OFFSET))?,
            capacity: self.load(base + u64::from(CAPACITY_OFFSET))?,
            waiting: self.load(base + u64::from(WAITING_OFFSET))?,
        })
    }
}

/// Writes messages into a ring.
#[derive(Debug)]
pub struct RingWriter {
    base: u64,
    capacity: u32,
    producer: Producer,
    waiting: bool,
}

impl RingWriter {
    /// The producer's end of an empty ring.
    pub fn new(layout: Layout, direction: Direction) -> RingWriter {
        let capacity = layout.capacity();
        RingWriter {
            base: layout.base(direction),
            capacity,
            producer: Producer::new(capacity),
            waiting: false,
        }
    }

    /// The producer's end of a ring that another writer of the same side has
    /// used and left at rest: the write index is taken from the header.
    ///
    /// # Errors
    /// The memory's, or an index outside the ring.
    pub fn resume<M: Memory>(
        layout: Layout,
        direction: Direction,
        memory: &M,
    ) -> Result<RingWriter, M::Error> {
        let mut writer = RingWriter::new(layout, direction);
        let Words { head, tail, .. } = memory.words(writer.base)?;
        let capacity = writer.capacity;
        if tail >= capacity {
            return Err(Violation::TailOutOfRange {
                claimed: tail,
                capacity,
            }
            .into());
        }
        if head >= capacity {
            return Err(Violation::HeadOutOfRange {
                claimed: head,
                capacity,
            }
            .into());
        }
        writer.producer = Producer {
            capacity,
            tail,
            head,
        };
        Ok(writer)
    }

    /// The longest payload that one message can carry, in bytes.
    pub fn longest_payload(&self) -> usize {
        self.capacity as usize - 1 - message::FRAME_BYTES - message::HEADER_BYTES
    }

    /// Whether the last write found no space and the waiting word is set.
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Writes one message and publishes it, or gives `false` and sets the waiting
    /// word when there is no space for it yet. A payload longer than
    /// [`RingWriter::longest_payload`] never finds space.
    ///
    /// # Errors
    /// The memory's, or what the consumer claims about its index.
    pub fn write<M: Memory>(
        &mut self,
        memory: &M,
        header: Header,
        payload: &[u8],
    ) -> Result<bool, M::Error> {
        let prefix = header.prefix(payload.len());
        let total = prefix.len() + payload.len();
        if total > self.producer.free() as usize {
            let head = memory.load(self.base + u64::from(HEAD_OFFSET))?;
            if total > self.producer.writable(head)? as usize && !self.wait(memory, total)? {
                return Ok(false);
            }
        }
        if self.waiting {
            memory.store(self.base + u64::from(WAITING_OFFSET), 0)?;
            self.waiting = false;
        }
        let start = self.producer.tail();
        // Short messages go in one piece: through a file each piece is a system call.
        let mut whole = [0; 256];
        match whole.get_mut(..total) {
            Some(whole) => {
                whole[..prefix.len()].copy_from_slice(&prefix);
                whole[prefix.len()..].copy_from_slice(payload);
                self.put(memory, start, whole)?;
            }
            None => {
                self.put(memory, start, &prefix)?;
                let payload_start = moved(start, prefix.len() as u32, self.capacity);
                self.put(memory, payload_start, payload)?;
            }
        }
        let tail = self.producer.advance(total as u32);
        memory.store(self.base + u64::from(TAIL_OFFSET), tail)?;
        Ok(true)
    }

    /// Sets the waiting word and looks again, because the consumer may have read
    /// in between. Gives whether there is space now.
    fn wait<M: Memory>(&mut self, memory: &M, total: usize) -> Result<bool, M::Error> {
        if !self.waiting {
            memory.store(self.base + u64::from(WAITING_OFFSET), 1)?;
            self.waiting = true;
        }
        let head = memory.load(self.base + u64::from(HEAD_OFFSET))?;
        Ok(total <= self.producer.writable(head)? as usize)
    }

    fn put<M: Memory>(&self, memory: &M, position: u32, bytes: &[u8]) -> Result<(), M::Error> {
        let data = self.base + u64::from(HEADER_BYTES);
        let straight = bytes.len().min((self.capacity - position) as usize);
        let (first, wrapped) = bytes.split_at(straight);
        memory.copy_in(data + u64::from(position), first)?;
        if wrapped.is_empty() {
            Ok(())
        } else {
            memory.copy_in(data, wrapped)
        }
    }
}

/// What one poll of a ring found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// How many bytes were appended.
    pub copied: usize,
    /// Whether more was there than the limit of the poll.
    pub more: bool,
    /// Whether the producer is short of space and must be rung.
    pub producer_waits: bool,
}

/// Reads bytes out of a ring.
#[derive(Debug)]
pub struct RingReader {
    base: u64,
    capacity: u32,
    consumer: Consumer,
    checks_capacity: bool,
}

impl RingReader {
    /// The consumer's end of an empty ring. `checks_capacity` is for the end
    /// that wrote the capacity and can tell when it was changed.
    pub fn new(layout: Layout, direction: Direction, checks_capacity: bool) -> RingReader {
        let capacity = layout.capacity();
        let consumer = Consumer::new(capacity);
        RingReader {
            base: layout.base(direction),
            capacity,
            consumer,
            checks_capacity,
        }
    }

    /// The consumer's end of a ring that another reader of the same side has
    /// used and left at rest: the read index is taken from the header.
    ///
    /// # Errors
    /// The memory's, or an index outside the ring.
    pub fn resume<M: Memory>(
        layout: Layout,
        direction: Direction,
        memory: &M,
    ) -> Result<RingReader, M::Error> {
        let mut reader = RingReader::new(layout, direction, false);
        let Words { head, .. } = memory.words(reader.base)?;
        let capacity = reader.capacity;
        if head >= capacity {
            return Err(Violation::HeadOutOfRange {
                claimed: head,
                capacity,
            }
            .into());
        }
        reader.consumer = Consumer {
            capacity,
            head,
            tail: head,
        };
        Ok(reader)
    }

    /// Appends up to `limit` bytes to `into` and publishes that they were read.
    /// The copy is what must be parsed: the ring may have changed since.
    ///
    /// # Errors
    /// The memory's, or what the producer claims about its index.
    pub fn poll<M: Memory>(
        &mut self,
        memory: &M,
        into: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Polled, M::Error> {
        let words = memory.words(self.base)?;
        let capacity = self.capacity;
        if self.checks_capacity && words.capacity != capacity {
            return Err(Violation::CapacityChanged {
                claimed: words.capacity,
                capacity,
            }
            .into());
        }
        let available = self.consumer.readable(words.tail)?;
        let copied = available.min(u32::try_from(limit).unwrap_or(u32::MAX));
        if copied > 0 {
            let old = into.len();
            into.resize(old + copied as usize, 0);
            self.copy_from(memory, &mut into[old..])?;
            let head = self.consumer.advance(copied);
            memory.store(self.base + u64::from(HEAD_OFFSET), head)?;
        }
        Ok(Polled {
            copied: copied as usize,
            more: copied < available,
            producer_waits: words.waiting != 0,
        })
    }

    fn copy_from<M: Memory>(&self, memory: &M, into: &mut [u8]) -> Result<(), M::Error> {
        let data = self.base + u64::from(HEADER_BYTES);
        let position = self.consumer.head();
        let straight = into.len().min((self.capacity - position) as usize);
        let (first, wrapped) = into.split_at_mut(straight);
        memory.copy_out(data + u64::from(position), first)?;
        if wrapped.is_empty() {
            Ok(())
        } else {
            memory.copy_out(data, wrapped)
        }
    }
}
