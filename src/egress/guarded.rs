//! The content of a message, in which no credential is handed on.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::secrets::Kept;

/// See the module.
#[derive(Debug)]
pub(super) struct Guarded {
    content: Incoming,
    /// What is looked for; nothing where anything may pass.
    kept: Option<Arc<Kept>>,
    /// The last bytes, so many that one which goes on is still whole.
    held: Vec<u8>,
    /// What comes next.
    ready: VecDeque<Frame<Bytes>>,
    is_over: bool,
}

impl Guarded {
    /// What a program says, of which it knows everything.
    pub(super) fn open(content: Incoming) -> Guarded {
        Guarded {
            content,
            kept: None,
            held: Vec::new(),
            ready: VecDeque::new(),
            is_over: false,
        }
    }

    /// What a host says.
    pub(super) fn keeping(content: Incoming, kept: Option<Arc<Kept>>) -> Guarded {
        Guarded {
            kept,
            ..Guarded::open(content)
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> io::Result<()> {
        let Some(kept) = &self.kept else {
            self.ready.push_back(frame);
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) => {
                let mut whole = take(&mut self.held);
                whole.extend_from_slice(&data);
                if kept.is_said(&whole) {
                    return Err(told());
                }
                let passes = whole.len().saturating_sub(kept.waiting());
                self.held = whole.split_off(passes);
                if !whole.is_empty() {
                    self.ready.push_back(Frame::data(whole.into()));
                }
            }
            Err(other) => {
                if other
                    .trailers_ref()
                    .is_some_and(|trailers| kept.is_in(trailers))
                {
                    return Err(told());
                }
                self.let_go();
                self.ready.push_back(other);
            }
        }
        Ok(())
    }

    /// Nothing comes behind what was held.
    fn let_go(&mut self) {
        if !self.held.is_empty() {
            self.ready
                .push_back(Frame::data(take(&mut self.held).into()));
        }
    }
}

/// Why a message ends.
pub(super) fn told() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the host says a secret again, which nobody inside may see",
    )
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.content).poll_frame(context)) {
                Some(Ok(frame)) => self.take(frame)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => {
                    self.is_over = true;
                    self.let_go();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty()
            && self.ready.is_empty()
            && (self.is_over || self.content.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let waits = self
            .ready
            .iter()
            .filter_map(Frame::data_ref)
            .map(Bytes::len);
        let waits = (waits.sum::<usize>() + self.held.len()) as u64;
        let mut hint = self.content.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(waits));
        }
        hint.set_lower(hint.lower().saturating_add(waits));
        hint
    }
}
