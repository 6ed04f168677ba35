//! The copies of one session's streams, polled together.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;

use super::remark::Stream;
use super::stdio::OutputEnd;

type Copy<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// What became of a copy.
#[derive(Debug)]
pub(super) enum CopyEnd {
    Output(Stream, OutputEnd),
    Input(io::Result<()>),
}

/// Up to three copies. An absent stream is one that has ended.
pub(super) struct Copies {
    stdout: Copy<OutputEnd>,
    stderr: Copy<OutputEnd>,
    stdin: Copy<io::Result<()>>,
    ended: watch::Sender<bool>,
}

impl Copies {
    /// No copies yet.
    pub(super) fn new() -> Self {
        Self {
            stdout: None,
            stderr: None,
            stdin: None,
            ended: watch::Sender::new(false),
        }
    }

    /// What a copy of output watches in order to end with the sandbox.
    pub(super) fn watch_end(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    pub(super) fn output(
        &mut self,
        stream: Stream,
        copy: impl Future<Output = OutputEnd> + Send + 'static,
    ) {
        *self.slot(stream) = Some(Box::pin(copy));
    }

    pub(super) fn input(&mut self, copy: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.stdin = Some(Box::pin(copy));
    }

    /// Says that every process of the sandbox is gone; input is of no use any more.
    pub(super) fn sandbox_ended(&mut self) {
        self.stdin = None;
        self.ended.send_replace(true);
    }

    /// Whether all output has been handed on.
    pub(super) fn output_finished(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Waits for the end of any of the copies. Safe to drop.
    pub(super) async fn next(&mut self) -> CopyEnd {
        poll_fn(|context| {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let slot = self.slot(stream);
                if let Some(copy) = slot
                    && let Poll::Ready(end) = copy.as_mut().poll(context)
                {
                    *slot = None;
                    return Poll::Ready(CopyEnd::Output(stream, end));
                }
            }
            if let Some(copy) = &mut self.stdin
                && let Poll::Ready(end) = copy.as_mut().poll(context)
            {
                self.stdin = None;
                return Poll::Ready(CopyEnd::Input(end));
            }
            Poll::Pending
        })
        .await
    }

    fn slot(&mut self, stream: Stream) -> &mut Copy<OutputEnd> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}
