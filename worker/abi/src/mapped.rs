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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Direction, Header, Inbox, Kind, RingReader, RingWriter};

    #[test]
    fn two_threads_pass_messages_in_order() {
        let layout = Layout::of_segment(1024).expect("a size");
        let mut pages = vec![0_u64; 128];
        let start = NonNull::new(pages.as_mut_ptr().cast::<u8>()).expect("a vector has an address");
        // SAFETY: 1024 aligned bytes that outlive both threads and are only reached
        // through these two until they have ended.
        let (one, two) = unsafe { (Mapped::new(start, layout), Mapped::new(start, layout)) };
        let direction = Direction::SupervisorToWorker;
        const MESSAGES: u32 = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let one = one;
                let mut writer = RingWriter::new(layout, direction);
                for request in 0..MESSAGES {
                    let payload = vec![request.to_le_bytes()[0]; request as usize % 300];
                    let header = Header::new(Kind::Code, request);
                    while !writer.write(&one, header, &payload).expect("honest") {
                        std::thread::yield_now();
                    }
                }
            });
            let mut reader = RingReader::new(layout, direction, false);
            let mut inbox = Inbox::new(layout.capacity());
            let mut request = 0;
            while request < MESSAGES {
                if reader
                    .poll(&two, inbox.unread(), usize::MAX)
                    .expect("honest")
                    .copied
                    == 0
                {
                    std::thread::yield_now();
                }
                while let Some((header, payload)) = inbox.take().expect("honest") {
                    assert_eq!(header.request, request);
                    assert_eq!(payload.len(), request as usize % 300);
                    assert!(payload.iter().all(|byte| *byte == request.to_le_bytes()[0]));
                    request += 1;
                }
            }
        });
    }

    #[test]
    fn accesses_outside_or_unaligned_are_errors() {
        let layout = Layout::of_segment(512).expect("a size");
        let mut pages = vec![0_u64; 64];
        let start = NonNull::new(pages.as_mut_ptr().cast::<u8>()).expect("a vector has an address");
        // SAFETY: 512 aligned bytes that outlive the value.
        let memory = unsafe { Mapped::new(start, layout) };
        for offset in [1, 2, 509, 510, 512, u64::MAX - 1, u64::MAX] {
            assert!(memory.load(offset).is_err(), "{offset}");
            assert!(memory.store(offset, 1).is_err(), "{offset}");
        }
        assert!(memory.copy_out(500, &mut [0; 13]).is_err());
        assert!(memory.copy_in(u64::MAX, &[0]).is_err());
        assert!(memory.copy_in(500, &[7; 12]).is_ok());
        assert_eq!(memory.load(508), Ok(0x0707_0707));
    }
}

/// Every interleaving of one producer and one consumer, within loom's bounds: no
/// byte is read before it was written, and no wake-up is lost. Run it with
/// `RUSTFLAGS="--cfg loom" cargo test -p buntime-abi --lib --release --target-dir target/loom`.
#[cfg(all(test, loom))]
mod model {
    use crate::{
        Direction, Header, Inbox, Kind, Layout, Memory, RingReader, RingWriter, Violation,
    };
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Arc, Condvar, Mutex};

    /// The first ring of the smallest segment: 4 words and 192 bytes that loom watches.
    struct Watched {
        words: [AtomicU32; 4],
        data: Vec<UnsafeCell<u8>>,
    }

    // SAFETY: loom fails the test when two threads use a cell at once.
    unsafe impl Sync for Watched {}

    impl Watched {
        fn new() -> Watched {
            Watched {
                words: std::array::from_fn(|_| AtomicU32::new(0)),
                data: (0..192).map(|_| UnsafeCell::new(0)).collect(),
            }
        }

        fn cells(&self, offset: u64, length: usize) -> &[UnsafeCell<u8>] {
            let start = usize::try_from(offset).expect("small") - 64;
            &self.data[start..start + length]
        }
    }

    /// The orderings are those of `Mapped`.
    impl Memory for Watched {
        type Error = Violation;
        fn load(&self, offset: u64) -> Result<u32, Violation> {
            Ok(self.words[usize::try_from(offset / 4).expect("small")].load(Ordering::Acquire))
        }
        fn store(&self, offset: u64, value: u32) -> Result<(), Violation> {
            self.words[usize::try_from(offset / 4).expect("small")].store(value, Ordering::Release);
            Ok(())
        }
        fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), Violation> {
            let cells = self.cells(offset, into.len());
            for (byte, cell) in into.iter_mut().zip(cells) {
                // SAFETY: loom checks that nobody writes the cell meanwhile.
                *byte = cell.with(|cell| unsafe { *cell });
            }
            Ok(())
        }
        fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), Violation> {
            for (byte, cell) in from.iter().zip(self.cells(offset, from.len())) {
                // SAFETY: loom checks that nobody else uses the cell meanwhile.
                cell.with_mut(|cell| unsafe { *cell = *byte });
            }
            Ok(())
        }
    }

    /// One direction of the control socket: lines that wait, and a sleeper.
    #[derive(Default)]
    struct Socket {
        lines: Mutex<u32>,
        came: Condvar,
    }

    impl Socket {
        fn ring(&self) {
            *self.lines.lock().expect("no panic") += 1;
            self.came.notify_one();
        }

        fn sleep(&self) {
            let mut lines = self.lines.lock().expect("no panic");
            while *lines == 0 {
                lines = self.came.wait(lines).expect("no panic");
            }
            *lines = 0;
        }
    }

    fn ends() -> (RingWriter, RingReader, Inbox) {
        let layout = Layout::of_segment(512).expect("the smallest segment");
        let direction = Direction::SupervisorToWorker;
        (
            RingWriter::new(layout, direction),
            RingReader::new(layout, direction, false),
            Inbox::new(layout.capacity()),
        )
    }

    /// The protocol of `crate::line`. Each message fills most of the ring, so
    /// that the producer must wait, and the second and third wrap. Loom reports a
    /// deadlock if anyone sleeps for ever.
    #[test]
    fn no_wake_up_is_lost_and_no_byte_is_early() {
        const MESSAGES: u8 = 3;
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.max_branches = 100_000;
        model.check(|| {
            let memory = Arc::new(Watched::new());
            let to_consumer = Arc::new(Socket::default());
            let to_producer = Arc::new(Socket::default());
            let (mut writer, mut reader, mut inbox) = ends();

            let producer = {
                let (memory, to_consumer) = (memory.clone(), to_consumer.clone());
                let to_producer = to_producer.clone();
                loom::thread::spawn(move || {
                    for number in 0..MESSAGES {
                        let header = Header::new(Kind::Code, u32::from(number));
                        while !writer
                            .write(&*memory, header, &[number; 110])
                            .expect("honest")
                        {
                            to_consumer.ring();
                            to_producer.sleep();
                        }
                        to_consumer.ring();
                    }
                })
            };
            let mut next = 0;
            while next < MESSAGES {
                to_consumer.sleep();
                let polled = reader
                    .poll(&*memory, inbox.unread(), usize::MAX)
                    .expect("honest");
                if polled.producer_waits {
                    to_producer.ring();
                }
                while let Some((header, payload)) = inbox.take().expect("honest") {
                    assert_eq!(header.request, u32::from(next));
                    assert_eq!(payload, [next; 110]);
                    next += 1;
                }
            }
            producer.join().expect("no panic");
        });
    }
}
