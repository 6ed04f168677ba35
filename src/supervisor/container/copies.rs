//! The output of a container whose policy limits it, on its way to the caller.
//!
//! Each stream has one page in between, and nothing is taken from it before that page is gone: the
//! caller's pace is the container's. A pipe that is ready takes a page without waiting (pipe(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes that are copied at a time, PIPE_BUF of limits.h.
const PAGE: usize = 4096;

/// Pages after which others have their turn.
const TURN: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Copies {
    streams: Vec<Stream>,
    /// How many bytes may still be written.
    left: u64,
}

#[derive(Debug)]
struct Stream {
    from: OwnedFd,
    to: OwnedFd,
    waiting: Vec<u8>,
    /// Whoever waits for the last copy sees this closed.
    _held: Rc<OwnedFd>,
}

/// What has become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Copied,
    Waits,
    Over,
}

impl Copies {
    /// No streams yet, and a limit of all bytes of those to come.
    pub(super) fn new(limit: Option<u64>) -> Copies {
        Copies {
            streams: Vec::new(),
            left: limit.unwrap_or(u64::MAX),
        }
    }

    /// Takes on streams: what to hold until they have ended, and pairs of where to copy from and to.
    pub(super) fn add(&mut self, descriptors: Vec<OwnedFd>) -> std::io::Result<()> {
        let mut descriptors = descriptors.into_iter();
        let Some(held) = descriptors.next().map(Rc::new) else {
            return Ok(());
        };
        while let (Some(from), Some(to)) = (descriptors.next(), descriptors.next()) {
            rustix::io::ioctl_fionbio(&from, true)?;
            self.streams.push(Stream {
                from,
                to,
                waiting: Vec::new(),
                _held: Rc::clone(&held),
            });
        }
        Ok(())
    }

    /// What to wait for.
    pub(super) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.streams.iter().map(Stream::watched)
    }

    /// Copies what can be copied now; gives whether more was written than may be. What is beyond the
    /// limit is lost.
    pub(super) fn copy(&mut self) -> bool {
        let mut exceeded = false;
        for _ in 0..TURN {
            let mut has_copied = false;
            let left = &mut self.left;
            self.streams.retain_mut(|stream| {
                let step = stream.step(left, &mut exceeded);
                has_copied |= step == Step::Copied;
                step != Step::Over
            });
            if !has_copied {
                break;
            }
        }
        exceeded
    }

    /// Copies what is left of streams whose writers have ended, unless the caller takes nothing for
    /// as long as `patience`; gives whether more was written than may be.
    pub(super) fn finish(&mut self, patience: Duration) -> bool {
        let patience = patience.try_into().ok();
        let mut exceeded = false;
        loop {
            exceeded |= self.copy();
            if self.streams.is_empty() {
                break;
            }
            let watched = self.watched();
            let mut watched: Vec<PollFd<'_>> = watched
                .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
                .collect();
            match poll(&mut watched, patience.as_ref()) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        exceeded
    }
}

impl Stream {
    fn watched(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self.waiting.is_empty() {
            true => (self.from.as_fd(), PollFlags::IN),
            false => (self.to.as_fd(), PollFlags::OUT),
        }
    }

    fn is_ready(&self) -> bool {
        let now = rustix::time::Timespec::default();
        let (fd, flags) = self.watched();
        let mut watched = [PollFd::from_borrowed_fd(fd, flags)];
        poll(&mut watched, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    fn step(&mut self, left: &mut u64, exceeded: &mut bool) -> Step {
        if !self.is_ready() {
            return Step::Waits;
        }
        if self.waiting.is_empty() {
            self.take(left, exceeded)
        } else {
            self.give()
        }
    }

    fn take(&mut self, left: &mut u64, exceeded: &mut bool) -> Step {
        let mut page = [0; PAGE];
        let length = match rustix::io::read(self.from.as_fd(), &mut page) {
            Ok(0) => return Step::Over,
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Step::Waits,
            Err(_) => return Step::Over,
        };
        let taken = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        *exceeded |= taken < length;
        self.waiting.extend_from_slice(&page[..taken]);
        Step::Copied
    }

    fn give(&mut self) -> Step {
        match rustix::io::write(self.to.as_fd(), &self.waiting) {
            Ok(length) => {
                self.waiting.drain(..length);
                Step::Copied
            }
            Err(Errno::AGAIN | Errno::INTR) => Step::Waits,
            // Nobody takes it any more, as whoever writes next will see.
            Err(_) => Step::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::io::{Read, Write};

    /// Copies, what goes in, what comes out, and what ends with the copies.
    fn stream(limit: u64) -> (Copies, std::fs::File, std::fs::File, std::fs::File) {
        let (from, inside) = pipe().unwrap();
        let (outside, to) = pipe().unwrap();
        let (ended, held) = pipe().unwrap();
        let mut copies = Copies::new(Some(limit));
        copies.add(vec![held, from, to]).unwrap();
        (copies, inside.into(), outside.into(), ended.into())
    }

    #[test]
    fn what_is_within_the_limit_arrives_and_then_the_end() {
        let (mut copies, mut inside, mut outside, mut ended) = stream(10_000);
        inside.write_all(&[b'x'; 10_000]).unwrap();
        drop(inside);
        let began = std::time::Instant::now();
        assert!(!copies.finish(Duration::from_secs(600)));
        assert!(began.elapsed() < Duration::from_secs(300), "it has waited");
        assert!(copies.streams.is_empty());
        assert_eq!(ended.read(&mut [0]).unwrap(), 0);
        drop(copies);
        let mut all = Vec::new();
        outside.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn what_is_beyond_the_limit_is_told_and_lost() {
        let (mut copies, mut inside, mut outside, _ended) = stream(5000);
        inside.write_all(&[b'x'; 5001]).unwrap();
        drop(inside);
        assert!(copies.finish(Duration::from_secs(5)));
        drop(copies);
        let mut all = Vec::new();
        outside.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 5000);
    }

    #[test]
    fn a_caller_that_takes_nothing_holds_the_writer_back() {
        let (mut copies, mut inside, outside, _ended) = stream(u64::MAX);
        rustix::io::ioctl_fionbio(&inside, true).unwrap();
        let mut written = 0;
        loop {
            match inside.write(&[b'x'; 4096]) {
                Ok(length) => written += length,
                Err(_) => {
                    let before = written;
                    copies.copy();
                    match inside.write(&[b'x'; 4096]) {
                        Ok(length) => written += length,
                        Err(_) => break assert_eq!(written, before),
                    }
                }
            }
        }
        // Two pipes and a page hold no more.
        assert!(written <= 2 * 65_536 + PAGE, "{written}");
        assert_eq!(copies.streams.len(), 1);
        drop(outside);
        copies.copy();
        assert!(copies.streams.is_empty());
    }
}
