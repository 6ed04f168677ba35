//! A segment that is mapped into this process: the worker's end.
//!
//! The only unsafe code of the crate. The peer writes to the same pages at any
//! time, so the words are atomics and the data is copied through raw pointers,
//! never borrowed.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Layout, Memory, Violation};

/// A mapped segment. Offsets are checked against the layout on every access, so
/// that the ring's arithmetic is not part of the safety argument.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u8>,
    bytes: u64,
}

// SAFETY: the pointer is only used for atomic word access and raw copies inside
// the mapping, which are valid from any thread; who may call is the caller's
// protocol (one producer, one consumer), and breaking it garbles bytes, not memory.
unsafe impl Send for Mapped {}

impl Mapped {
    /// # Safety
    /// `start` is the start of a readable and writable shared mapping of
    /// `layout.segment_bytes()` bytes, aligned to 4, that outlives the value.
    pub unsafe fn new(start: NonNull<u8>, layout: Layout) -> Mapped {
        Mapped {
            start,
            bytes: layout.segment_bytes(),
        }
    }

    /// The address of `len` bytes at `offset`, or `None` when they are not all inside.
    fn inside(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len as u64)?;
        if end > self.bytes {
            return None;
        }
        // SAFETY: `offset <= end <= bytes`, so the result is inside the mapping or one past it.
        Some(unsafe { self.start.add(usize::try_from(offset).ok()?) })
    }

    fn word(&self, offset: u64) -> Option<&AtomicU32> {
        let word = self.inside(offset, 4)?.cast::<u32>();
        if !word.is_aligned() {
            return None;
        }
        // SAFETY: four bytes inside a live mapping, aligned; every access in this
        // process is atomic, and other processes' stores of any kind only change the value.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr()) })
    }
}

const OUTSIDE: Violation = Violation::OutsideSegment;

impl Memory for Mapped {
    type Error = Violation;

    fn load(&self, offset: u64) -> Result<u32, Violation> {
        // Words are little-endian on the wire.
        Ok(u32::from_le(
            self.word(offset).ok_or(OUTSIDE)?.load(Ordering::Acquire),
        ))
    }

    fn store(&self, offset: u64, value: u32) -> Result<(), Violation> {
        self.word(offset)
            .ok_or(OUTSIDE)?
            .store(value.to_le(), Ordering::Release);
        Ok(())
    }

    fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), Violation> {
        let from = self.inside(offset, into.len()).ok_or(OUTSIDE)?;
        // SAFETY: `from` has `into.len()` bytes inside the mapping, and a buffer
        // of this process does not overlap a shared mapping that is never borrowed.
        // A racing store of the peer can only change which bytes are copied.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), Violation> {
        let to = self.inside(offset, from.len()).ok_or(OUTSIDE)?;
        // SAFETY: as in `copy_out`, with the mapping as the target.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
        Ok(())
    }
}
