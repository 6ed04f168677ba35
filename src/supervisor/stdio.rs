//! Copies the caller's input to the program and the program's output to the
//! caller, with back-pressure: one fixed buffer a stream, never a queue.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::Interest;
use tokio::sync::{mpsc, watch};

use super::descriptor::{CallerFd, OwnFd};
use super::remark::{SessionEvent, Stream};

/// Bytes of one copy: what a Linux pipe holds by default (pipe(7)).
const BUFFER: usize = 64 * 1024;
/// Bytes of the first one.
const FIRST_BUFFER: usize = 4 * 1024;

/// How many bytes of output the program may still write, over all its streams.
#[derive(Clone)]
pub(super) struct OutputBudget(Arc<Mutex<Option<u64>>>);

impl OutputBudget {
    /// `limit` in bytes; `None` is no limit.
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(limit)))
    }

    /// Takes up to `wanted` bytes from the budget and says how many were left to
    /// take.
    pub(super) fn take(&self, wanted: usize) -> usize {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = left.as_mut() else {
            return wanted;
        };
        let taken = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        taken
    }
}

/// The first bytes of a stream, kept for a result document.
#[derive(Debug, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    total: u64,
}

impl Capture {
    /// Bytes of each stream that a result document carries; the rest is counted.
    pub const KEPT: usize = 8 * 1024 * 1024;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = Self::KEPT.saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.total += bytes.len() as u64;
    }

    /// The kept bytes as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Whether the stream was longer than what was kept.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// Where a stream of the program's output goes.
pub(super) enum Sink {
    /// One of the caller's descriptors.
    Caller(CallerFd),
    /// Memory, up to [`Capture::KEPT`].
    Capture(Arc<Mutex<Capture>>),
    /// The subscriber of a library session, who makes us wait when it is slow.
    Events(mpsc::Sender<SessionEvent>, Stream),
}

impl Sink {
    /// A sink on a duplicate of one of the caller's descriptors.
    pub(super) fn caller(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self::Caller(CallerFd::duplicate(fd, Interest::WRITABLE)?))
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Capture(capture) => {
                capture
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(bytes);
            }
            Self::Events(events, stream) => {
                let output = SessionEvent::Output {
                    stream: *stream,
                    bytes: bytes.to_vec(),
                };
                if events.send(output).await.is_err() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            Self::Caller(fd) => {
                while !bytes.is_empty() {
                    match fd.write(bytes).await {
                        Ok(written) => bytes = &bytes[written..],
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Why a copy of the program's output ended.
#[derive(Debug)]
pub(super) enum OutputEnd {
    /// The program has no more to say.
    Finished,
    /// The output limit is used up.
    OverLimit,
    /// Nobody reads on the caller's side any more; the program sees the same.
    ReaderGone,
    /// The caller's descriptor failed.
    Failed(io::Error),
}

/// Copies until the program's end of `source` is closed. Once `ended` says that
/// every process of the sandbox is gone, what is in the pipe is all that will
/// ever come, whoever else may still hold its writing end.
pub(super) async fn copy_output(
    source: OwnedFd,
    sink: Sink,
    budget: OutputBudget,
    mut ended: watch::Receiver<bool>,
) -> OutputEnd {
    let source = match OwnFd::adopt(source, Interest::READABLE) {
        Ok(source) => source,
        Err(error) => return OutputEnd::Failed(error),
    };
    let mut buffer = vec![0; FIRST_BUFFER];
    loop {
        let read = tokio::select! {
            biased;
            read = source.read(&mut buffer) => read,
            _ = ended.wait_for(|ended| *ended) => match source.read_now(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                read => read,
            },
        };
        let length = match read {
            Ok(0) => return OutputEnd::Finished,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return OutputEnd::Failed(error),
        };
        let allowed = budget.take(length);
        match sink.write_all(&buffer[..allowed]).await {
            Ok(()) if allowed < length => return OutputEnd::OverLimit,
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return OutputEnd::ReaderGone;
            }
            Err(error) => return OutputEnd::Failed(error),
        }
        grow(&mut buffer, length);
        // A file or /dev/null never makes us wait; timers and signals still get
        // their turn.
        tokio::task::yield_now().await;
    }
}

/// Gives a stream that fills its buffer the whole size. Most streams carry little, and every
/// page of a buffer costs a start its time.
fn grow(buffer: &mut Vec<u8>, length: usize) {
    if length == buffer.len() {
        buffer.resize(BUFFER, 0);
    }
}

/// Copies the caller's input until its end, or until the program closes its own
/// side. Dropping the writing end tells a program on a pipe that input ended; a
/// program on a terminal is told by the bytes of `end`.
///
/// # Errors
/// When the caller's descriptor cannot be read.
pub(super) async fn copy_input(
    source: OwnedFd,
    sink: OwnedFd,
    end: &'static [u8],
) -> io::Result<()> {
    let source = CallerFd::duplicate(source, Interest::READABLE)?;
    let sink = OwnFd::adopt(sink, Interest::WRITABLE)?;
    let mut buffer = vec![0; FIRST_BUFFER];
    loop {
        let length = match source.read(&mut buffer).await {
            Ok(0) if end.is_empty() => return Ok(()),
            Ok(0) => {
                sink.write(end).await?;
                return Ok(());
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match sink.write(rest).await {
                Ok(written) => rest = &rest[written..],
                // The program does not read any more, which is its good right.
                Err(_closed) => return Ok(()),
            }
        }
        grow(&mut buffer, length);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use rustix::fs::{OFlags, fcntl_getfl};
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    async fn copy(source: OwnedFd, sink: Sink, limit: Option<u64>) -> OutputEnd {
        let (_alive, ended) = watch::channel(false);
        copy_output(source, sink, OutputBudget::new(limit), ended).await
    }

    #[test]
    fn output_arrives_whole_and_in_order_over_a_slow_blocking_pipe() {
        let (read, write) = pipe();
        let (out_read, out_write) = pipe();
        let sent = pattern(3 << 20);
        let expected = sent.clone();
        let writer = std::thread::spawn(move || std::fs::File::from(write).write_all(&sent));
        let reader = std::thread::spawn(move || {
            let (mut all, mut file) = (Vec::new(), std::fs::File::from(out_read));
            let mut piece = [0; 10_007];
            loop {
                match file.read(&mut piece).unwrap() {
                    0 => return all,
                    length => all.extend_from_slice(&piece[..length]),
                }
            }
        });
        let end = block_on(async {
            let sink = Sink::caller(&out_write).unwrap();
            copy(read, sink, None).await
        });
        assert!(matches!(end, OutputEnd::Finished));
        assert!(!fcntl_getfl(&out_write).unwrap().contains(OFlags::NONBLOCK));
        drop(out_write);
        writer.join().unwrap().unwrap();
        assert!(reader.join().unwrap() == expected);
    }

    #[test]
    fn a_reader_that_never_reads_does_not_stop_the_clock() {
        let (read, write) = pipe();
        let (_out_read, out_write) = pipe();
        let writer = std::thread::spawn(move || {
            // Ends with EPIPE when the copy is given up.
            std::fs::File::from(write)
                .write_all(&pattern(1 << 20))
                .is_err()
        });
        let timed_out = block_on(async {
            let sink = Sink::caller(&out_write).unwrap();
            tokio::time::timeout(Duration::from_millis(100), copy(read, sink, None))
                .await
                .is_err()
        });
        assert!(timed_out);
        assert!(writer.join().unwrap());
    }

    #[test]
    fn the_budget_is_shared_and_exact() {
        let (read, write) = pipe();
        std::fs::File::from(write)
            .write_all(&pattern(1000))
            .unwrap();
        let capture = Arc::new(Mutex::new(Capture::default()));
        let sink = Sink::Capture(Arc::clone(&capture));
        let end = block_on(copy(read, sink, Some(999)));
        assert!(matches!(end, OutputEnd::OverLimit));
        assert_eq!(capture.lock().unwrap().bytes, pattern(999));
        let budget = OutputBudget::new(Some(10));
        assert_eq!((budget.clone().take(7), budget.take(7)), (7, 3));
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let (read, write) = pipe();
        let (out_read, out_write) = pipe();
        drop(out_read);
        std::fs::File::from(write).write_all(b"y\n").unwrap();
        let end = block_on(async { copy(read, Sink::caller(&out_write).unwrap(), None).await });
        assert!(matches!(end, OutputEnd::ReaderGone));
    }

    #[test]
    fn what_outlives_the_sandbox_does_not_hold_the_copy() {
        let (read, write) = pipe();
        std::fs::File::from(write.try_clone().unwrap())
            .write_all(b"last")
            .unwrap();
        let capture = Arc::new(Mutex::new(Capture::default()));
        let sink = Sink::Capture(Arc::clone(&capture));
        let (end, ended) = watch::channel(false);
        end.send_replace(true);
        let end = block_on(copy_output(read, sink, OutputBudget::new(None), ended));
        assert!(matches!(end, OutputEnd::Finished));
        assert_eq!(capture.lock().unwrap().text(), "last");
        drop(write);
    }

    #[test]
    fn input_from_a_file_and_from_nothing_ends() {
        for (path, expected) in [("/proc/self/cmdline", false), ("/dev/null", true)] {
            let (read, write) = pipe();
            let file = std::fs::File::open(path).unwrap();
            block_on(copy_input(file.into(), write, b"")).unwrap();
            let mut text = Vec::new();
            std::fs::File::from(read).read_to_end(&mut text).unwrap();
            assert_eq!(text.is_empty(), expected);
        }
    }

    #[test]
    fn input_ends_quietly_when_the_program_reads_no_more() {
        let (read, write) = pipe();
        drop(read);
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        block_on(copy_input(zeros.into(), write, b"")).unwrap();
    }
}
