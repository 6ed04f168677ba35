//! Every interleaving of one producer and one consumer, within loom's bounds: no
//! byte is read before it was written, and no wake-up is lost.
//!
//! Run it with
//! `RUSTFLAGS="--cfg loom" cargo test -p buntime-abi --test loom --release --target-dir target/loom`.
#![cfg(loom)]
#![allow(unsafe_code, reason = "loom's cells give raw pointers")]

use buntime_abi::{
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

/// The orderings are those of `mapped`.
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

/// The protocol of `buntime_abi::line`. Each message fills most of the ring, so
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
