//! What can go wrong on a channel, and whose fault it is.

use std::io;

use thiserror::Error;

/// Why a channel can no longer be used.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The worker broke the protocol. To be recorded; the worker is not to be believed again.
    #[error("the worker broke the channel's protocol: {0}")]
    Violation(#[from] Violation),
    /// The system failed the supervisor's end.
    #[error("cannot {operation}: {cause}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The segment cannot hold two rings.
    #[error(
        "a channel segment of {bytes} bytes cannot be used: give a multiple of 16 from {} to {}",
        buntime_abi::layout::SMALLEST_SEGMENT,
        buntime_abi::layout::LARGEST_SEGMENT
    )]
    SegmentSize {
        /// The size of the file, in bytes.
        bytes: u64,
    },
    /// The configuration does not fit into a ring.
    #[error(
        "the worker's configuration has {bytes} bytes and the channel takes {limit} at once: \
         shorten the arguments or enlarge the segment"
    )]
    ConfigTooLong {
        /// Bytes of the configuration as JSON.
        bytes: usize,
        /// Bytes that one message can carry.
        limit: usize,
    },
    /// The supervisor answered what nobody asked.
    #[error("request {id} cannot be answered: it is not waiting for an answer")]
    NotAsked {
        /// The request id.
        id: u32,
    },
}

impl ChannelError {
    /// For `map_err`: an I/O error with the operation that it ended.
    pub(super) fn io<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| ChannelError::Io {
            operation,
            cause: cause.into(),
        }
    }
}

impl From<buntime_abi::Violation> for ChannelError {
    fn from(violation: buntime_abi::Violation) -> Self {
        ChannelError::Violation(Violation::Ring(violation))
    }
}

/// What a worker said that no honest worker says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// An index, a capacity or a frame of the ring is impossible.
    #[error("{0}")]
    Ring(buntime_abi::Violation),
    /// The segment's file has become shorter.
    #[error("the segment was truncated: no byte at offset {offset}")]
    SegmentTruncated {
        /// Where a byte was missing, in bytes from the start of the segment.
        offset: u64,
    },
    /// A line on the socket has no end.
    #[error("a line on the control socket is longer than {limit} bytes")]
    LineTooLong {
        /// The longest line, in bytes.
        limit: usize,
    },
    /// The worker says line after line and reads none of the answers that wait for it.
    #[error("more than {limit} bytes of lines wait on the control socket while answers go unread")]
    LinesPileUp {
        /// How many may wait, in bytes.
        limit: usize,
    },
    /// A line on the socket is not text.
    #[error("a line on the control socket is not UTF-8")]
    LineNotUtf8,
    /// A line on the socket is neither a signal nor a JSON state event.
    #[error("a line on the control socket is no signal and no state event: {excerpt:?}")]
    UnknownLine {
        /// The beginning of the line.
        excerpt: String,
    },
    /// READY was said twice, or something else was said first.
    #[error("the worker did not say READY first and once")]
    ReadyOutOfOrder,
    /// A message has a type that a worker cannot send.
    #[error("a message has the type {kind:#04x}, which a worker cannot send")]
    UnknownMessage {
        /// The type on the wire.
        kind: u8,
    },
    /// A request carries something that its type cannot carry.
    #[error("request {id} is malformed: {reason}")]
    MalformedRequest {
        /// The request id.
        id: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A request has the id of one that still waits.
    #[error("request id {id} was used again before it was answered")]
    DuplicateRequest {
        /// The request id.
        id: u32,
    },
    /// More requests wait than a worker can have threads.
    #[error("more than {limit} requests wait for an answer at once")]
    TooManyRequests {
        /// How many may wait.
        limit: usize,
    },
}
