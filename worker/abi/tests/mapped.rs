//! The mapped end, with a thread on each side of one ring.
#![cfg(not(loom))]
#![allow(
    unsafe_code,
    reason = "it stands in for the mapping that the worker makes"
)]

use std::ptr::NonNull;

use buntime_abi::mapped::Mapped;
use buntime_abi::{Direction, Header, Inbox, Kind, Layout, Memory, RingReader, RingWriter};

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
