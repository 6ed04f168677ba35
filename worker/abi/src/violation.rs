//! What a peer can do wrong on a ring.

use std::fmt;

/// A claim of the peer that cannot be true. The ring is dead afterwards: its end
/// must stop using it, because no later claim can be believed either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// The read index lies outside the data region.
    HeadOutOfRange {
        /// What the header said.
        claimed: u32,
        /// Bytes of the data region.
        capacity: u32,
    },
    /// The write index lies outside the data region.
    TailOutOfRange {
        /// What the header said.
        claimed: u32,
        /// Bytes of the data region.
        capacity: u32,
    },
    /// The consumer claims to have read what was never written, or to have unread bytes.
    HeadMovedBack {
        /// What the header said.
        claimed: u32,
        /// The read index that was last believed.
        known: u32,
    },
    /// The producer claims to have taken back bytes that it had published.
    TailMovedBack {
        /// What the header said.
        claimed: u32,
        /// The write index that was last believed.
        known: u32,
    },
    /// The capacity in the header is not the one that the segment was made with.
    CapacityChanged {
        /// What the header said.
        claimed: u32,
        /// Bytes of the data region.
        capacity: u32,
    },
    /// An access lies outside the segment.
    OutsideSegment,
    /// A frame is too short to hold a message header.
    FrameTooShort {
        /// The length that the frame claims, in bytes.
        length: u32,
    },
    /// A frame is longer than the ring can ever hold.
    FrameTooLong {
        /// The length that the frame claims, in bytes.
        length: u32,
        /// The longest possible frame, in bytes.
        limit: u32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Violation::HeadOutOfRange { claimed, capacity } => {
                write!(
                    f,
                    "the read index {claimed} is outside a ring of {capacity} bytes"
                )
            }
            Violation::TailOutOfRange { claimed, capacity } => {
                write!(
                    f,
                    "the write index {claimed} is outside a ring of {capacity} bytes"
                )
            }
            Violation::HeadMovedBack { claimed, known } => {
                write!(
                    f,
                    "the read index went from {known} to {claimed}, past what was written"
                )
            }
            Violation::TailMovedBack { claimed, known } => {
                write!(f, "the write index went from {known} back to {claimed}")
            }
            Violation::CapacityChanged { claimed, capacity } => {
                write!(
                    f,
                    "the capacity became {claimed} in a ring of {capacity} bytes"
                )
            }
            Violation::OutsideSegment => f.write_str("an access lies outside the segment"),
            Violation::FrameTooShort { length } => {
                write!(f, "a frame of {length} bytes holds no message header")
            }
            Violation::FrameTooLong { length, limit } => {
                write!(
                    f,
                    "a frame of {length} bytes is longer than the {limit} a ring can hold"
                )
            }
        }
    }
}

impl std::error::Error for Violation {}
