//! What waits to be written to a worker's ring.

use std::collections::VecDeque;

use buntime_abi::{Header, Kind, Memory, RingWriter};

use super::error::ChannelError;

/// How many answers may wait for space before no more requests are taken.
const MOST_ANSWERS: usize = 1024;

/// A message that is ready to be written.
#[derive(Debug)]
struct Ready {
    header: Header,
    payload: Vec<u8>,
}

/// A piece of code, and how much of it has been written.
#[derive(Debug)]
struct Code {
    bytes: Vec<u8>,
    written: usize,
}

/// The queue of one channel. Answers overtake code, so that a running program
/// never waits for the transfer of the next one.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    first: VecDeque<Ready>,
    code: VecDeque<Code>,
}

impl Outgoing {
    pub(super) fn push(&mut self, header: Header, payload: Vec<u8>) {
        self.first.push_back(Ready { header, payload });
    }

    pub(super) fn push_code(&mut self, code: &[u8]) {
        self.code.push_back(Code {
            bytes: code.to_vec(),
            written: 0,
        });
    }

    /// Whether so many answers wait that the worker must first read some.
    pub(super) fn is_clogged(&self) -> bool {
        self.first.len() >= MOST_ANSWERS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.code.is_empty()
    }

    /// Drops everything: nobody will read it.
    pub(super) fn clear(&mut self) {
        self.first.clear();
        self.code.clear();
    }

    /// Writes what there is space for; code goes in parts of `part` bytes.
    /// Gives whether anything was written.
    pub(super) fn flush<M: Memory<Error = ChannelError>>(
        &mut self,
        writer: &mut RingWriter,
        memory: &M,
        part: usize,
    ) -> Result<bool, ChannelError> {
        let mut wrote = false;
        while let Some(ready) = self.first.front() {
            if !writer.write(memory, ready.header, &ready.payload)? {
                return Ok(wrote);
            }
            wrote = true;
            self.first.pop_front();
        }
        while let Some(code) = self.code.front_mut() {
            let rest = &code.bytes[code.written..];
            let (kind, payload) = match rest.split_at_checked(part) {
                Some((payload, more)) if !more.is_empty() => (Kind::CodePart, payload),
                _ => (Kind::Code, rest),
            };
            if !writer.write(memory, Header::new(kind, 0), payload)? {
                return Ok(wrote);
            }
            wrote = true;
            code.written += payload.len();
            if kind == Kind::Code {
                self.code.pop_front();
            }
        }
        Ok(wrote)
    }
}
