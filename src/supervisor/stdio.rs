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
    let mut buffer = vec![0; BUFFER];
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
        // A file or /dev/null never makes us wait; timers and signals still get
        // their turn.
        tokio::task::yield_now().await;
    }
}

/// Copies the caller's input until its end, or until the program closes its own
/// side. Dropping the writing end is what tells the program that input ended.
///
/// # Errors
/// When the caller's descriptor cannot be read.
pub(super) async fn copy_input(source: impl AsFd, sink: OwnedFd) -> io::Result<()> {
    let source = CallerFd::duplicate(source, Interest::READABLE)?;
    let sink = OwnFd::adopt(sink, Interest::WRITABLE)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match source.read(&mut buffer).await {
            Ok(0) => return Ok(()),
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
        tokio::task::yield_now().await;
    }
}
