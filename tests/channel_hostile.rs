//! Workers that lie. Whatever they write to the segment or say on the socket, the
//! supervisor's end gives a violation (or goes on), in bounded time and memory.
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use buntime::ipc::{Answer, Channel, ChannelError, Config, Message, Violation};
use proptest::prelude::*;
use support::{PATIENCE, Place, block_on};

/// A segment with two rings of 448 bytes of data.
const SEGMENT: u64 = 1024;
const CAPACITY: u32 = 448;
/// The ring from the worker.
const RING: u64 = 512;
const HEAD: u64 = 0;
const TAIL: u64 = 4;
const CAPACITY_WORD: u64 = 8;
const WAITING: u64 = 12;
const DATA: u64 = 64;

/// A worker that is only a socket and a file.
struct Liar {
    channel: Channel,
    socket: UnixStream,
    segment: File,
    place: Place,
}

impl Liar {
    /// A liar that has told the truth once: it is ready.
    async fn ready() -> Liar {
        let place = Place::new();
        let segment = place.segment(SEGMENT);
        let ours = segment.try_clone().expect("a second descriptor");
        let mut channel = Channel::new(place.listener(), ours).expect("a channel");
        let mut socket = UnixStream::connect(place.path("socket")).expect("connected");
        socket.write_all(b"READY\n").expect("written");
        let first = tokio::time::timeout(PATIENCE, channel.next())
            .await
            .expect("in time");
        assert_eq!(first.expect("honest so far"), Message::Ready);
        Liar {
            channel,
            socket,
            segment,
            place,
        }
    }

    fn word(&self, offset: u64, value: u32) {
        self.segment
            .write_all_at(&value.to_le_bytes(), offset)
            .expect("written");
    }

    fn say(&mut self, line: &[u8]) {
        self.socket.write_all(line).expect("written");
    }

    /// Publishes bytes at the start of the ring, as a frame of the length given.
    fn frame(&mut self, length: u32, message: &[u8]) {
        self.segment
            .write_all_at(&length.to_le_bytes(), RING + DATA)
            .expect("written");
        self.segment
            .write_all_at(message, RING + DATA + 4)
            .expect("written");
        self.word(
            RING + TAIL,
            4 + u32::try_from(message.len()).expect("short"),
        );
        self.say(b"DATA\n");
    }

    async fn next(&mut self) -> Result<Message, ChannelError> {
        tokio::time::timeout(PATIENCE, self.channel.next())
            .await
            .expect("in time")
    }

    async fn violation(&mut self) -> Violation {
        let violation = match self.next().await {
            Err(ChannelError::Violation(violation)) => violation,
            other => panic!("no violation but {other:?}"),
        };
        assert_eq!(
            self.next().await.expect("dead"),
            Message::Closed,
            "a dead channel is closed"
        );
        violation
    }

    /// Asks and reads no answer until no more questions are taken. Gives how many were answered.
    async fn clog(&mut self) -> u32 {
        let (mut answered, mut tail) = (0_u32, 0_u32);
        for asked in 1..5_000_u32 {
            // A check of ten bytes, wrapped by hand.
            let mut message = b"\x06\0\0\0\x02".to_vec();
            message.extend(asked.to_le_bytes());
            message.push(b'a');
            for byte in message {
                self.segment
                    .write_all_at(&[byte], RING + DATA + u64::from(tail))
                    .expect("written");
                tail = (tail + 1) % CAPACITY;
            }
            self.word(RING + TAIL, tail);
            self.say(b"CHECK\n");
            match tokio::time::timeout(Duration::from_millis(100), self.channel.next()).await {
                Ok(Ok(Message::Check(check))) => {
                    self.channel
                        .respond(check.id, Answer::Deny("no"))
                        .expect("it waits");
                    answered += 1;
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => return answered,
            }
        }
        panic!("the queue has no bound");
    }

    /// Nothing happens, and the runtime is not kept from its timers.
    async fn silence(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(30), self.channel.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

fn ring(violation: buntime_abi::Violation) -> Violation {
    Violation::Ring(violation)
}

#[test]
fn impossible_indices_of_the_incoming_ring() {
    use buntime_abi::Violation as Ring;
    for claimed in [CAPACITY, CAPACITY + 1, 1 << 31, u32::MAX] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.word(RING + TAIL, claimed);
            liar.say(b"DATA\n");
            let expected = ring(Ring::TailOutOfRange {
                claimed,
                capacity: CAPACITY,
            });
            assert_eq!(liar.violation().await, expected);
        });
    }
    for claimed in [0, 1, CAPACITY - 1, CAPACITY + 1, u32::MAX] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.word(RING + CAPACITY_WORD, claimed);
            liar.say(b"DATA\n");
            let expected = ring(Ring::CapacityChanged {
                claimed,
                capacity: CAPACITY,
            });
            assert_eq!(liar.violation().await, expected);
        });
    }
}

#[test]
fn the_supervisor_reads_no_index_of_its_own_back() {
    block_on(async {
        let mut liar = Liar::ready().await;
        for own in [RING + HEAD, TAIL, CAPACITY_WORD] {
            liar.word(own, u32::MAX);
        }
        liar.frame(7, b"\x00\0\0\0\0hi");
        assert_eq!(
            liar.next().await.expect("fine"),
            Message::Stdout(b"hi".to_vec())
        );
        liar.channel.send_code(b"pass").expect("room");
    });
}

#[test]
fn impossible_indices_of_the_outgoing_ring() {
    use buntime_abi::Violation as Ring;
    for claimed in [CAPACITY, u32::MAX, 300] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.channel.send_code(&[b'x'; 1000]).expect("queued");
            // The ring is full up to some 350 bytes; nothing beyond can have been read,
            // and what was read cannot be unread.
            liar.word(HEAD, 200);
            liar.say(b"DATA\n");
            liar.silence().await;
            liar.word(HEAD, if claimed == 300 { 180 } else { claimed });
            liar.say(b"DATA\n");
            let expected = if claimed == 300 {
                Ring::HeadMovedBack {
                    claimed: 180,
                    known: 200,
                }
            } else {
                Ring::HeadOutOfRange {
                    claimed,
                    capacity: CAPACITY,
                }
            };
            assert_eq!(liar.violation().await, ring(expected));
        });
    }
}

#[test]
fn bytes_that_are_taken_back() {
    use buntime_abi::Violation as Ring;
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.frame(7, b"\x00\0\0\0\0hi");
        liar.next().await.expect("fine");
        // Less than what was read is, in a ring, nearly everything: a frame that
        // lies about its length or content is found in what follows.
        liar.word(RING + TAIL, 5);
        liar.say(b"DATA\n");
        let expected = ring(Ring::FrameTooShort { length: 0 });
        assert_eq!(liar.violation().await, expected);
    });
}

#[test]
fn impossible_frames() {
    use buntime_abi::Violation as Ring;
    for length in [0, 1, 4] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.frame(length, b"\0\0\0\0\0");
            assert_eq!(liar.violation().await, ring(Ring::FrameTooShort { length }));
        });
    }
    for length in [CAPACITY - 4, CAPACITY, 1 << 30, u32::MAX] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.frame(length, b"\0\0\0\0\0");
            let expected = ring(Ring::FrameTooLong {
                length,
                limit: CAPACITY - 5,
            });
            assert_eq!(liar.violation().await, expected);
        });
    }
}

#[test]
fn impossible_messages() {
    for kind in [0x07, 0x10, 0x11, 0x20, 0x21, 0x22, 0xff] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.frame(6, &[kind, 1, 0, 0, 0, b'x']);
            assert_eq!(liar.violation().await, Violation::UnknownMessage { kind });
        });
    }
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.frame(5, &[2, 9, 0, 0, 0]);
        assert!(matches!(
            liar.violation().await,
            Violation::MalformedRequest { id: 9, .. }
        ));
    });
}

#[test]
fn an_id_that_waits_cannot_be_used_again_but_an_answered_one_can() {
    block_on(async {
        let mut liar = Liar::ready().await;
        let asked = b"\x06\0\0\0\x02\x07\0\0\0a".repeat(2);
        liar.segment
            .write_all_at(&asked, RING + DATA)
            .expect("written");
        liar.word(RING + TAIL, 10);
        liar.say(b"CHECK\n");
        assert!(matches!(liar.next().await, Ok(Message::Check(check)) if check.id == 7));
        liar.channel.respond(7, Answer::Allow).expect("it waits");
        let again = liar.channel.respond(7, Answer::Allow);
        assert!(matches!(again, Err(ChannelError::NotAsked { id: 7 })));
        let forged = liar.channel.respond(8, Answer::Allow);
        assert!(matches!(forged, Err(ChannelError::NotAsked { id: 8 })));
        liar.word(RING + TAIL, 20);
        liar.say(b"CHECK\n");
        assert!(matches!(liar.next().await, Ok(Message::Check(check)) if check.id == 7));
        liar.segment
            .write_all_at(&asked[..10], RING + DATA + 20)
            .expect("written");
        liar.word(RING + TAIL, 30);
        liar.say(b"CHECK\n");
        assert_eq!(
            liar.violation().await,
            Violation::DuplicateRequest { id: 7 }
        );
    });
}

#[test]
fn a_truncated_segment_is_an_error_and_no_signal() {
    for length in [0, 1, RING, RING + 8, RING + DATA + 3] {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.frame(7, b"\x00\0\0\0\0hi");
            liar.segment.set_len(length).expect("truncated");
            let violation = liar.violation().await;
            let expected = Violation::SegmentTruncated {
                offset: length.max(RING),
            };
            assert_eq!(violation, expected, "{length}");
        });
    }
}

#[test]
fn impossible_lines() {
    let invalid = [
        (&b"\xff\xfe\n"[..], Violation::LineNotUtf8),
        (b"READY\n", Violation::ReadyOutOfOrder),
        (
            b"\n",
            Violation::UnknownLine {
                excerpt: String::new(),
            },
        ),
        (
            b"DATA \n",
            Violation::UnknownLine {
                excerpt: "DATA ".into(),
            },
        ),
        (
            b"{}\n",
            Violation::UnknownLine {
                excerpt: "{}".into(),
            },
        ),
        (
            b"{\"type\":\"state\"\n",
            Violation::UnknownLine {
                excerpt: "{\"type\":\"state\"".into(),
            },
        ),
        (
            b"DATA\0\n",
            Violation::UnknownLine {
                excerpt: "DATA\0".into(),
            },
        ),
    ];
    for (line, expected) in invalid {
        block_on(async {
            let mut liar = Liar::ready().await;
            liar.say(line);
            assert_eq!(liar.violation().await, expected);
        });
    }
}

#[test]
fn anything_before_ready() {
    for line in [
        &b"DATA\n"[..],
        b"CHECK\n",
        b"{\"type\":\"state\",\"event\":\"x\"}\n",
        b"ready\n",
    ] {
        block_on(async {
            let place = Place::new();
            let segment = place.segment(SEGMENT);
            let mut channel = Channel::new(place.listener(), segment).expect("a channel");
            let mut socket = UnixStream::connect(place.path("socket")).expect("connected");
            socket.write_all(line).expect("written");
            let next = tokio::time::timeout(PATIENCE, channel.next())
                .await
                .expect("in time");
            assert!(
                matches!(
                    next,
                    Err(ChannelError::Violation(Violation::ReadyOutOfOrder))
                ),
                "{next:?}"
            );
        });
    }
}

#[test]
fn a_line_without_end_is_cut_off_early() {
    block_on(async {
        let mut liar = Liar::ready().await;
        let mut socket = liar.socket.try_clone().expect("a second descriptor");
        let writer = std::thread::spawn(move || {
            let chunk = [b'x'; 64 * 1024];
            let mut sent = 0_u64;
            while sent < 1 << 30 && socket.write_all(&chunk).is_ok() {
                sent += chunk.len() as u64;
            }
            sent
        });
        assert_eq!(
            liar.violation().await,
            Violation::LineTooLong { limit: 64 * 1024 }
        );
        drop(liar);
        let sent = writer.join().expect("no panic");
        assert!(sent < 8 << 20, "{sent} bytes were taken");
    });
}

#[test]
fn a_second_connection_is_refused() {
    block_on(async {
        let mut liar = Liar::ready().await;
        let second = UnixStream::connect(liar.place.path("socket")).map(|_| ());
        let refused = second.expect_err("one worker");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        liar.silence().await;
    });
}

#[test]
fn doorbells_without_news_change_nothing() {
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.word(RING + WAITING, u32::MAX);
        let mut socket = liar.socket.try_clone().expect("a second descriptor");
        let writer = std::thread::spawn(move || {
            for _ in 0..50_000 {
                socket
                    .write_all(b"DATA\nCHECK\n")
                    .expect("read at the other end");
            }
        });
        // Its doorbells in return go nowhere, because nobody reads them.
        let until = tokio::time::Instant::now() + PATIENCE;
        while !writer.is_finished() {
            let wait = Duration::from_millis(20);
            let next = tokio::time::timeout(wait, liar.channel.next()).await;
            assert!(next.is_err(), "{next:?}");
            assert!(tokio::time::Instant::now() < until);
        }
        writer.join().expect("no panic");
        liar.frame(7, b"\x00\0\0\0\0hi");
        assert_eq!(
            liar.next().await.expect("fine"),
            Message::Stdout(b"hi".to_vec())
        );
    });
}

/// Asks and never reads an answer: the supervisor must stop taking questions, not
/// pile answers up, and still notice the end.
#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    block_on(async {
        let mut liar = Liar::ready().await;
        let answered = liar.clog().await;
        assert!(answered > 1_000, "{answered}");
        drop(liar.socket);
        let end = tokio::time::timeout(PATIENCE, async {
            loop {
                match liar.channel.next().await {
                    Ok(Message::Check(check)) => {
                        liar.channel
                            .respond(check.id, Answer::Allow)
                            .expect("it waits");
                    }
                    other => return other,
                }
            }
        });
        assert_eq!(
            end.await.expect("in time").expect("closed"),
            Message::Closed
        );
    });
}

/// What it says meanwhile is not piled up either.
#[test]
fn lines_of_a_worker_that_reads_no_answers_do_not_pile_up() {
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.clog().await;
        let mut socket = liar.socket.try_clone().expect("a second descriptor");
        let writer = std::thread::spawn(move || {
            let lines = b"DATA\n".repeat(4096);
            let mut sent = 0_usize;
            while sent < 64 << 20 && socket.write_all(&lines).is_ok() {
                sent += lines.len();
            }
            sent
        });
        assert_eq!(
            liar.violation().await,
            Violation::LinesPileUp { limit: 1 << 20 }
        );
        drop(liar);
        let sent = writer.join().expect("no panic");
        assert!(sent < 8 << 20, "{sent} bytes were taken");
    });
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_message() {
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.frame(100, b"\x00\0\0\0\0half");
        liar.socket
            .shutdown(std::net::Shutdown::Both)
            .expect("closed");
        assert_eq!(liar.next().await.expect("closed"), Message::Closed);
        assert_eq!(liar.next().await.expect("closed"), Message::Closed);
    });
}

#[test]
fn a_worker_that_ends_with_unread_doorbells() {
    block_on(async {
        let mut liar = Liar::ready().await;
        liar.channel.send_code(b"pass").expect("room");
        liar.frame(7, b"\x00\0\0\0\0hi");
        drop(liar.socket);
        let next = tokio::time::timeout(PATIENCE, liar.channel.next())
            .await
            .expect("in time");
        assert_eq!(
            next.expect("published before the end"),
            Message::Stdout(b"hi".to_vec())
        );
        let next = tokio::time::timeout(PATIENCE, liar.channel.next())
            .await
            .expect("in time");
        assert_eq!(next.expect("an end, no error"), Message::Closed);
    });
}

#[test]
fn segments_and_configurations_that_cannot_be() {
    for bytes in [0, 511, 520] {
        let place = Place::new();
        let error = Channel::new(place.listener(), place.segment(bytes)).expect_err("no segment");
        assert!(matches!(error, ChannelError::SegmentSize { .. }), "{error}");
    }
    block_on(async {
        let mut liar = Liar::ready().await;
        let config = Config::once(vec!["x".repeat(1000).into()], None);
        let error = liar.channel.send_config(&config).expect_err("too long");
        assert!(
            matches!(error, ChannelError::ConfigTooLong { limit: 438, .. }),
            "{error}"
        );
        liar.silence().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Noise in the whole segment and on the socket ends in a value, soon.
    #[test]
    fn noise(
        writes in prop::collection::vec((0..SEGMENT, prop::collection::vec(any::<u8>(), 1..40)), 1..20),
        lines in prop::collection::vec(
            prop_oneof![
                Just(b"DATA\n".to_vec()),
                Just(b"CHECK\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..30),
            ],
            1..10,
        ),
        code in 0_usize..2000,
        keep in prop::option::of(0..SEGMENT),
    ) {
        block_on(async {
            let mut liar = Liar::ready().await;
            // An error here is as good as a violation.
            let queued = liar.channel.send_code(&vec![b'#'; code]);
            for (offset, bytes) in &writes {
                liar.segment.write_all_at(bytes, *offset).expect("written");
            }
            if let Some(length) = keep {
                liar.segment.set_len(length).expect("truncated");
            }
            for line in &lines {
                liar.say(line);
            }
            drop(liar.socket);
            if queued.is_ok() {
                for _ in 0..10_000 {
                    let next = tokio::time::timeout(PATIENCE, liar.channel.next()).await;
                    match next.expect("in time") {
                        Ok(Message::Closed) | Err(_) => return,
                        Ok(Message::Check(check)) if check.kind.awaits_answer() => {
                            if liar.channel.respond(check.id, Answer::Deny("no")).is_err() {
                                return;
                            }
                        }
                        Ok(_) => {}
                    }
                }
                panic!("no end");
            }
        });
    }
}
