//! Where everything lies in a segment.
//!
//! ```text
//! 0                      half                     2*half
//! | header 64 | data ... | header 64 | data ...   |
//!   supervisor -> worker   worker -> supervisor
//! ```
//! A header is four little-endian `u32` words and 48 bytes that stay zero. An
//! all-zero header is an empty ring, so a new segment needs no initialisation
//! before its worker may map it.

/// Bytes of a ring's header.
pub const HEADER_BYTES: u32 = 64;
/// The read index, written by the consumer only: a position in `0..capacity`.
pub const HEAD_OFFSET: u32 = 0;
/// The write index, written by the producer only: a position in `0..capacity`.
pub const TAIL_OFFSET: u32 = 4;
/// Bytes of the data region, written once by the supervisor. Both ends compute
/// it from the segment's size and never read it to learn it.
pub const CAPACITY_OFFSET: u32 = 8;
/// Not zero while the producer is short of space, written by the producer only.
/// A consumer that finds it set after it has read must ring (see [`crate::line`]).
pub const WAITING_OFFSET: u32 = 12;

/// The smallest segment, in bytes: two rings of 192 bytes of data.
pub const SMALLEST_SEGMENT: u64 = 512;
/// The largest segment, in bytes: 1 GiB, so that every index fits a `u32` with room.
pub const LARGEST_SEGMENT: u64 = 1 << 30;
/// The size of a segment unless told otherwise, in bytes (the architecture's 1 MiB).
pub const DEFAULT_SEGMENT: u64 = 1 << 20;

/// Which of a segment's two rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Code and answers.
    SupervisorToWorker,
    /// Output and requests.
    WorkerToSupervisor,
}

/// The geometry of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    half: u32,
}

impl Layout {
    /// The layout of a segment of `bytes` bytes, or `None` when no segment has
    /// that size: outside [`SMALLEST_SEGMENT`]`..=`[`LARGEST_SEGMENT`], or not a
    /// multiple of 16, which keeps the words of both headers aligned.
    pub fn of_segment(bytes: u64) -> Option<Layout> {
        if !(SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&bytes) || !bytes.is_multiple_of(16) {
            return None;
        }
        u32::try_from(bytes / 2).ok().map(|half| Layout { half })
    }

    /// Bytes of the whole segment.
    pub fn segment_bytes(self) -> u64 {
        u64::from(self.half) * 2
    }

    /// Where a ring's header starts, in bytes from the start of the segment.
    pub fn base(self, direction: Direction) -> u64 {
        match direction {
            Direction::SupervisorToWorker => 0,
            Direction::WorkerToSupervisor => u64::from(self.half),
        }
    }

    /// Bytes of a ring's data region. One of them always stays empty, to tell a
    /// full ring from an empty one.
    pub fn capacity(self) -> u32 {
        self.half - HEADER_BYTES
    }

    /// The longest payload of one part when a stream is split (output, code), in
    /// bytes: a quarter of the ring, so that both ends work at once, and no more
    /// than 64 KiB, so that a part is read while it is still in the cache.
    pub fn part_limit(self) -> usize {
        (self.capacity() / 4).min(64 * 1024) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_segment_is_two_rings_of_half_a_mebibyte() {
        let layout = Layout::of_segment(DEFAULT_SEGMENT).expect("the default is a valid size");
        assert_eq!(layout.capacity(), 512 * 1024 - 64);
        assert_eq!(layout.base(Direction::SupervisorToWorker), 0);
        assert_eq!(layout.base(Direction::WorkerToSupervisor), 512 * 1024);
        assert_eq!(layout.segment_bytes(), DEFAULT_SEGMENT);
    }

    #[test]
    fn odd_sizes_are_no_segments() {
        for bytes in [0, 1, 64, 511, 513, 520, LARGEST_SEGMENT + 16, u64::MAX] {
            assert_eq!(Layout::of_segment(bytes), None, "{bytes}");
        }
        assert!(Layout::of_segment(SMALLEST_SEGMENT).is_some());
        assert!(Layout::of_segment(LARGEST_SEGMENT).is_some());
    }
}
