//! The segment's file, reached by pread and pwrite only.
//!
//! The worker may write to every byte of it, and truncate it, at any moment.

use std::fs::File;

use buntime_abi::layout::{CAPACITY_OFFSET, HEADER_BYTES};
use buntime_abi::{Direction, Layout, Memory, Words};

use super::error::{ChannelError, Violation};

/// The supervisor's hold on a segment.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
}

impl Segment {
    /// Takes a new, zeroed segment file and writes the capacities into its headers.
    pub(super) fn open(file: File) -> Result<(Segment, Layout), ChannelError> {
        let status =
            rustix::fs::fstat(&file).map_err(ChannelError::io("look at the channel's segment"))?;
        let bytes = u64::try_from(status.st_size).unwrap_or(0);
        let layout = Layout::of_segment(bytes).ok_or(ChannelError::SegmentSize { bytes })?;
        let segment = Segment { file };
        for direction in [Direction::SupervisorToWorker, Direction::WorkerToSupervisor] {
            let offset = layout.base(direction) + u64::from(CAPACITY_OFFSET);
            segment.store(offset, layout.capacity())?;
        }
        Ok((segment, layout))
    }

    /// As `open`, for a segment that another worker has left: both rings are empty again.
    ///
    /// # Errors
    /// It has not `bytes` bytes: workers that could cut it could have made it longer, and a longer
    /// one's messages would be copied.
    pub(super) fn open_again(file: File, bytes: u64) -> Result<(Segment, Layout), ChannelError> {
        let (segment, layout) = Segment::open(file)?;
        if layout.segment_bytes() != bytes {
            let bytes = layout.segment_bytes();
            return Err(ChannelError::SegmentSize { bytes });
        }
        for direction in [Direction::SupervisorToWorker, Direction::WorkerToSupervisor] {
            let mut header = [0; HEADER_BYTES as usize];
            header[CAPACITY_OFFSET as usize..][..4]
                .copy_from_slice(&layout.capacity().to_le_bytes());
            segment.copy_in(layout.base(direction), &header)?;
        }
        Ok((segment, layout))
    }
}

impl Memory for Segment {
    type Error = ChannelError;

    fn load(&self, offset: u64) -> Result<u32, ChannelError> {
        let mut word = [0; 4];
        self.copy_out(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn store(&self, offset: u64, value: u32) -> Result<(), ChannelError> {
        // A system call's stores follow the caller's earlier ones on the
        // processors we run on; a weaker one needs the fence.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.copy_in(offset, &value.to_le_bytes())
    }

    fn copy_out(&self, offset: u64, mut into: &mut [u8]) -> Result<(), ChannelError> {
        let mut offset = offset;
        while !into.is_empty() {
            match rustix::io::pread(&self.file, &mut *into, offset) {
                Ok(0) => return Err(Violation::SegmentTruncated { offset }.into()),
                Ok(read) => {
                    offset += read as u64;
                    into = &mut into[read..];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(ChannelError::io("read the channel's segment")(errno)),
            }
        }
        Ok(())
    }

    fn copy_in(&self, offset: u64, mut from: &[u8]) -> Result<(), ChannelError> {
        let mut offset = offset;
        while !from.is_empty() {
            match rustix::io::pwrite(&self.file, from, offset) {
                Ok(written) => {
                    offset += written as u64;
                    from = &from[written..];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(ChannelError::io("write the channel's segment")(errno)),
            }
        }
        Ok(())
    }

    /// One system call for the four words.
    fn words(&self, base: u64) -> Result<Words, ChannelError> {
        let mut bytes = [0; HEADER_BYTES as usize];
        self.copy_out(base, &mut bytes[..16])?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Ok(Words {
            head: word(0),
            tail: word(4),
            capacity: word(8),
            waiting: word(12),
        })
    }
}
