//! The ring against a model, through memory that is only a vector.
#![cfg(not(loom))]

use std::cell::RefCell;
use std::collections::VecDeque;

use buntime_abi::layout::{SMALLEST_SEGMENT, WAITING_OFFSET};
use buntime_abi::ring::{Consumer, Producer};
use buntime_abi::{
    Direction, Header, Inbox, Kind, Layout, Memory, RingReader, RingWriter, Violation,
};
use proptest::prelude::*;

struct Plain(RefCell<Vec<u8>>);

impl Plain {
    fn new(layout: Layout) -> Plain {
        Plain(RefCell::new(vec![
            0;
            usize::try_from(layout.segment_bytes())
                .expect("small")
        ]))
    }
}

impl Memory for Plain {
    type Error = Violation;
    fn load(&self, offset: u64) -> Result<u32, Violation> {
        let mut word = [0; 4];
        self.copy_out(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
    fn store(&self, offset: u64, value: u32) -> Result<(), Violation> {
        self.copy_in(offset, &value.to_le_bytes())
    }
    fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), Violation> {
        let start = usize::try_from(offset).expect("small");
        into.copy_from_slice(&self.0.borrow()[start..start + into.len()]);
        Ok(())
    }
    fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), Violation> {
        let start = usize::try_from(offset).expect("small");
        self.0.borrow_mut()[start..start + from.len()].copy_from_slice(from);
        Ok(())
    }
}

fn smallest() -> Layout {
    Layout::of_segment(SMALLEST_SEGMENT).expect("the smallest is a size")
}

fn ends(layout: Layout) -> (RingWriter, RingReader, Inbox) {
    let direction = Direction::WorkerToSupervisor;
    (
        RingWriter::new(layout, direction),
        RingReader::new(layout, direction, false),
        Inbox::new(layout.capacity()),
    )
}

/// Every claim in every state of every small ring, against counting by hand.
#[test]
fn every_claim_in_every_small_ring() {
    for capacity in 2_u32..10 {
        for start in 0..capacity {
            for used in 0..capacity {
                let mut producer = Producer::new(capacity);
                let mut consumer = Consumer::new(capacity);
                // Both ends go round to `start`, then `used` bytes are written.
                for _ in 0..start {
                    let tail = producer.advance(1);
                    assert_eq!(consumer.readable(tail), Ok(1));
                    let head = consumer.advance(1);
                    assert_eq!(producer.writable(head), Ok(capacity - 1));
                }
                assert_eq!(producer.advance(used), (start + used) % capacity);
                for claimed in 0..capacity * 2 {
                    let read = (0..=used).find(|read| (start + read) % capacity == claimed);
                    let expected = match read {
                        _ if claimed >= capacity => {
                            Err(Violation::HeadOutOfRange { claimed, capacity })
                        }
                        Some(read) => Ok(capacity - 1 - used + read),
                        None => Err(Violation::HeadMovedBack {
                            claimed,
                            known: start,
                        }),
                    };
                    assert_eq!(producer.clone().writable(claimed), expected);
                }
                assert_eq!(consumer.readable(producer.tail()), Ok(used));
                for claimed in 0..capacity * 2 {
                    let written =
                        (used..capacity).find(|written| (start + written) % capacity == claimed);
                    let expected = match written {
                        _ if claimed >= capacity => {
                            Err(Violation::TailOutOfRange { claimed, capacity })
                        }
                        Some(written) => Ok(written),
                        None => Err(Violation::TailMovedBack {
                            claimed,
                            known: producer.tail(),
                        }),
                    };
                    assert_eq!(consumer.clone().readable(claimed), expected);
                }
            }
        }
    }
}

/// Every length of message at every position of the smallest ring.
#[test]
fn every_wrap() {
    let layout = smallest();
    let longest = RingWriter::new(layout, Direction::WorkerToSupervisor).longest_payload();
    assert_eq!(longest, 192 - 1 - 9);
    let payload: Vec<u8> = (0..=u8::MAX).collect();
    for length in 0..=longest {
        let memory = Plain::new(layout);
        let (mut writer, mut reader, mut inbox) = ends(layout);
        // The step is odd to the capacity, so that this visits every position.
        for round in 0..192_u32 {
            let header = Header {
                kind: Kind::Stdout.wire(),
                request: round,
            };
            assert_eq!(writer.write(&memory, header, &payload[..length]), Ok(true));
            let polled = reader
                .poll(&memory, inbox.unread(), usize::MAX)
                .expect("honest");
            assert_eq!((polled.copied, polled.more), (length + 9, false));
            assert_eq!(inbox.take(), Ok(Some((header, &payload[..length]))));
            assert_eq!(inbox.take(), Ok(None));
            if length % 2 == 0 {
                continue;
            }
            let shift = Header {
                kind: Kind::Stdout.wire(),
                request: 0,
            };
            assert_eq!(writer.write(&memory, shift, &[]), Ok(true));
            reader
                .poll(&memory, inbox.unread(), usize::MAX)
                .expect("honest");
            assert_eq!(inbox.take(), Ok(Some((shift, &[][..]))));
        }
    }
}

#[test]
fn a_message_longer_than_the_ring_never_fits() {
    let layout = smallest();
    let memory = Plain::new(layout);
    let (mut writer, ..) = ends(layout);
    let header = Header::new(Kind::Stdout, 0);
    let longest = writer.longest_payload();
    assert_eq!(
        writer.write(&memory, header, &vec![0; longest + 1]),
        Ok(false)
    );
    assert_eq!(writer.write(&memory, header, &vec![0; longest]), Ok(true));
}

#[test]
fn a_writer_short_of_space_says_so_until_it_has_written() {
    let layout = smallest();
    let memory = Plain::new(layout);
    let (mut writer, mut reader, mut inbox) = ends(layout);
    let header = Header::new(Kind::Stdout, 0);
    assert_eq!(writer.write(&memory, header, &[0; 150]), Ok(true));
    let word = layout.base(Direction::WorkerToSupervisor) + u64::from(WAITING_OFFSET);
    assert_eq!(memory.load(word), Ok(0));
    assert_eq!(writer.write(&memory, header, &[0; 150]), Ok(false));
    assert_eq!(memory.load(word), Ok(1));
    let polled = reader
        .poll(&memory, inbox.unread(), usize::MAX)
        .expect("honest");
    assert!(polled.producer_waits);
    assert_eq!(writer.write(&memory, header, &[0; 150]), Ok(true));
    assert_eq!(memory.load(word), Ok(0));
}

#[test]
fn another_end_of_the_same_side_goes_on_where_the_first_stopped() {
    let layout = smallest();
    let memory = Plain::new(layout);
    let direction = Direction::WorkerToSupervisor;
    let (mut writer, mut reader, mut inbox) = ends(layout);
    let header = Header::new(Kind::Stdout, 3);
    for round in 0..10_u8 {
        assert_eq!(writer.write(&memory, header, &[round; 100]), Ok(true));
        reader
            .poll(&memory, inbox.unread(), usize::MAX)
            .expect("honest");
        assert_eq!(inbox.take(), Ok(Some((header, &[round; 100][..]))));
        writer = RingWriter::resume(layout, direction, &memory).expect("at rest");
        reader = RingReader::resume(layout, direction, &memory).expect("at rest");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Poll(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_usize..200).prop_map(Step::Write),
        (0_usize..300).prop_map(Step::Poll)
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// What comes out is what went in, in order, however the two ends take turns.
    #[test]
    fn nothing_is_lost_or_reordered(segment in (32_u64..80).prop_map(|n| n * 16), steps in steps()) {
        let layout = Layout::of_segment(segment).expect("a size");
        let memory = Plain::new(layout);
        let (mut writer, mut reader, mut inbox) = ends(layout);
        let mut expected = VecDeque::new();
        let mut used = 0;
        for (request, step) in (0_u32..).zip(steps) {
            match step {
                Step::Write(length) => {
                    let header = Header::new(Kind::Stderr, request);
                    let payload = vec![request.to_le_bytes()[0]; length];
                    let fits = used + length + 9 < layout.capacity() as usize;
                    prop_assert_eq!(writer.write(&memory, header, &payload), Ok(fits));
                    if fits {
                        used += length + 9;
                        expected.push_back((header, payload));
                    }
                }
                Step::Poll(limit) => {
                    let polled = reader.poll(&memory, inbox.unread(), limit).expect("honest");
                    prop_assert_eq!(polled.copied, limit.min(used));
                    prop_assert_eq!(polled.more, limit < used);
                    used -= polled.copied;
                    while let Some((header, payload)) = inbox.take().expect("honest") {
                        prop_assert_eq!(expected.pop_front(), Some((header, payload.to_vec())));
                    }
                }
            }
        }
        while !expected.is_empty() {
            reader.poll(&memory, inbox.unread(), 7).expect("honest");
            while let Some((header, payload)) = inbox.take().expect("honest") {
                prop_assert_eq!(expected.pop_front(), Some((header, payload.to_vec())));
            }
        }
    }

    /// Whatever a header and the data say, an end gives a value and stays inside.
    #[test]
    fn noise_is_a_value(noise in prop::collection::vec(any::<u8>(), 512), rounds in 1_usize..20) {
        let layout = smallest();
        let memory = Plain(RefCell::new(noise));
        let (mut writer, mut reader, mut inbox) = ends(layout);
        for _ in 0..rounds {
            let Ok(polled) = reader.poll(&memory, inbox.unread(), 64) else { break };
            prop_assert!(polled.copied <= 64);
            while let Ok(Some((_, payload))) = inbox.take() {
                prop_assert!(payload.len() < 192);
            }
            if writer.write(&memory, Header::new(Kind::Code, 0), &[0; 50]).is_err() {
                break;
            }
        }
    }
}
