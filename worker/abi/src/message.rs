//! Messages and frames.
//!
//! A frame is a little-endian `u32` length and that many bytes. The bytes are a
//! message: a type, a little-endian `u32` request id, and a payload.

use crate::Violation;

/// Bytes of a frame's length.
pub const FRAME_BYTES: usize = 4;
/// Bytes of a message's header: type and request id.
pub const HEADER_BYTES: usize = 5;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Worker output for standard output; the request id is 0.
    Stdout = 0x00,
    /// A file is read: a notice that nobody answers.
    FsRead = 0x01,
    /// A file is written: the worker waits for the answer.
    FsWrite = 0x02,
    /// A connection is made: the worker waits for the answer.
    NetConnect = 0x03,
    /// A program is run: the worker waits for the answer.
    Exec = 0x04,
    /// A directory is listed: a notice that nobody answers.
    ListDir = 0x05,
    /// Worker output for standard error; the request id is 0.
    Stderr = 0x06,
    /// The request may proceed.
    Allow = 0x10,
    /// The request is denied; the payload is the reason, in UTF-8.
    Deny = 0x11,
    /// The last (often only) part of a piece of code.
    Code = 0x20,
    /// A part of a piece of code that is longer than the ring; more follows.
    CodePart = 0x21,
    /// How to run, as JSON. Sent once, before the first code.
    Config = 0x22,
}

impl Kind {
    /// The kind with this value on the wire, or `None`.
    pub fn from_wire(value: u8) -> Option<Kind> {
        Some(match value {
            0x00 => Kind::Stdout,
            0x01 => Kind::FsRead,
            0x02 => Kind::FsWrite,
            0x03 => Kind::NetConnect,
            0x04 => Kind::Exec,
            0x05 => Kind::ListDir,
            0x06 => Kind::Stderr,
            0x10 => Kind::Allow,
            0x11 => Kind::Deny,
            0x20 => Kind::Code,
            0x21 => Kind::CodePart,
            0x22 => Kind::Config,
            _ => return None,
        })
    }

    /// The value on the wire.
    pub fn wire(self) -> u8 {
        self as u8
    }

    /// Whether the worker waits for an answer to this request.
    pub fn awaits_answer(self) -> bool {
        matches!(self, Kind::FsWrite | Kind::NetConnect | Kind::Exec)
    }
}

/// The header of a message. The type is a number: an unknown one is for the
/// receiver to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type, as it is on the wire (see [`Kind::from_wire`]).
    pub kind: u8,
    /// Matches an answer to its request; 0 where there is none.
    pub request: u32,
}

impl Header {
    /// A header for a message that is to be sent.
    pub fn new(kind: Kind, request: u32) -> Header {
        Header {
            kind: kind.wire(),
            request,
        }
    }

    /// Frame and header of a message with a payload of `payload` bytes. The
    /// caller has checked that the sum fits into a ring, hence into a `u32`.
    pub(crate) fn prefix(self, payload: usize) -> [u8; FRAME_BYTES + HEADER_BYTES] {
        let length = u32::try_from(HEADER_BYTES + payload).unwrap_or(u32::MAX);
        let mut bytes = [0; FRAME_BYTES + HEADER_BYTES];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[5..].copy_from_slice(&self.request.to_le_bytes());
        bytes
    }
}

/// Bytes that were copied out of a ring and not yet taken as messages. It never
/// holds more than one unfinished frame and one read.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    longest_frame: u32,
}

impl Inbox {
    /// An inbox for a ring with `capacity` bytes of data.
    pub fn new(capacity: u32) -> Inbox {
        let longest_frame = capacity.saturating_sub(1 + FRAME_BYTES as u32);
        Inbox {
            bytes: Vec::new(),
            start: 0,
            longest_frame,
        }
    }

    /// The buffer to append the next read to, with everything that was taken dropped.
    pub fn unread(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Whether everything was taken: no frame has begun and not ended.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Takes the next whole message: its header and its payload, or `None` until
    /// more bytes have come.
    ///
    /// # Errors
    /// A frame whose length no honest producer could have written.
    pub fn take(&mut self) -> Result<Option<(Header, &[u8])>, Violation> {
        let unread = &self.bytes[self.start..];
        let Some((length, rest)) = unread.split_first_chunk::<FRAME_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        if (length as usize) < HEADER_BYTES {
            return Err(Violation::FrameTooShort { length });
        }
        if length > self.longest_frame {
            return Err(Violation::FrameTooLong {
                length,
                limit: self.longest_frame,
            });
        }
        let length = length as usize;
        if rest.len() < length {
            return Ok(None);
        }
        let request = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]);
        let header = Header {
            kind: rest[0],
            request,
        };
        let payload = self.start + FRAME_BYTES + HEADER_BYTES;
        let end = self.start + FRAME_BYTES + length;
        self.start = end;
        Ok(Some((header, &self.bytes[payload..end])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_and_no_other_value_is_one() {
        let known = (0..=u8::MAX).filter_map(|value| {
            let kind = Kind::from_wire(value)?;
            assert_eq!(kind.wire(), value);
            Some(value)
        });
        assert_eq!(
            known.collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 0x10, 0x11, 0x20, 0x21, 0x22]
        );
    }

    #[test]
    fn a_message_is_taken_only_when_it_is_whole() {
        let mut inbox = Inbox::new(192);
        let mut wire = Header::new(Kind::FsWrite, 42).prefix(3).to_vec();
        wire.extend(b"/a\n");
        for byte in &wire[..wire.len() - 1] {
            inbox.unread().push(*byte);
            assert_eq!(inbox.take(), Ok(None));
        }
        inbox.unread().push(wire[wire.len() - 1]);
        let taken = inbox.take().expect("honest").expect("whole");
        assert_eq!(
            taken,
            (
                Header {
                    kind: 2,
                    request: 42
                },
                &b"/a\n"[..]
            )
        );
        assert!(inbox.is_empty());
    }

    #[test]
    fn frames_that_no_ring_holds_are_violations() {
        let frame = |length: u32| {
            let mut inbox = Inbox::new(192);
            inbox.unread().extend(length.to_le_bytes());
            inbox.take().map(|_| ())
        };
        for length in 0..5 {
            assert_eq!(frame(length), Err(Violation::FrameTooShort { length }));
        }
        assert_eq!(frame(187), Ok(()));
        for length in [188, 192, u32::MAX] {
            assert_eq!(
                frame(length),
                Err(Violation::FrameTooLong { length, limit: 187 })
            );
        }
    }
}
