//! A stream of requests of which every head is read before any parser gets it.
//!
//! It follows the framing of the requests itself, so that it knows where each begins; whoever serves them
//! learns of each [what was found](Verdicts), and serves none that was not looked at. What is refused is
//! not handed on: a request of our own stands in its place, and behind that is the end.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::strict::{self, Framing, Head, Why};

/// Bytes that the head of a request may have, and that are kept of one that is not whole.
const LONGEST_HEAD: usize = 64 << 10;

/// The same of the line before a chunk, and of what is behind the last one.
const LONGEST_LINE: usize = 4 << 10;

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// What stands for a request that is refused.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nHost: refused.invalid\r\n\r\n";

/// What was found of the requests of one stream.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// Of those that are not served yet, the first in front.
    heads: VecDeque<Result<Head, Why>>,
    /// Why the content of the last one cannot be followed.
    broken: Option<Why>,
}

impl Verdicts {
    /// Whether a request may be served, which is the next; and whether it may go on as something else.
    ///
    /// # Errors
    /// It may not: it could be read in two ways, or has been.
    pub(super) fn of<B: Body>(&self, request: &Request<B>) -> Result<bool, Why> {
        let next = self.found().heads.pop_front();
        let head = next.unwrap_or(Err("nobody has looked at it"))?;
        let length = match head.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunks => None,
        };
        let is_same = request.method() == head.method.as_str()
            && request.body().size_hint().exact() == length;
        match is_same {
            true => Ok(head.goes_on),
            false => Err("it was read in two ways"),
        }
    }

    /// Why it came to nothing, where that is for what was said: the stream ended within a request that cannot
    /// be followed, or with one that could not be read as it was `served`.
    pub(super) fn refused(&self, served: &hyper::Result<()>) -> Option<Why> {
        let unread = served.as_ref().is_err_and(hyper::Error::is_parse);
        let broken = self.found().broken;
        broken.or(unread.then_some("it cannot be read"))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Heads<S> {
    stream: S,
    verdicts: Arc<Verdicts>,
    /// What is read and not handed on.
    held: Vec<u8>,
    /// So much of it, from its front, may be.
    passes: usize,
    /// The line that is looked for begins so far behind that, and has no end up to `seen`.
    line: usize,
    seen: usize,
    at: At,
}

/// Where in a request a stream is, behind what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// So much content is to come, and then a request.
    Content(u64),
    /// So much of a chunk, and then the end of its line.
    Chunk(u64),
    Size,
    /// After so many bytes behind the last chunk.
    Trailers(usize),
    /// What is no request.
    Other,
    End,
    /// It cannot be followed any further.
    Broken(Why),
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S) -> (Heads<S>, Arc<Verdicts>) {
        let verdicts = Arc::<Verdicts>::default();
        let heads = Heads {
            stream,
            verdicts: Arc::clone(&verdicts),
            held: Vec::new(),
            passes: 0,
            line: 0,
            seen: 0,
            at: At::Head,
        };
        (heads, verdicts)
    }

    /// The stream, and what is read of it and was not handed on.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }

    /// Looks at what is held, as far as that is known to be whole, and not beyond the end of a request: so
    /// nothing is kept of those that nobody serves yet.
    fn look(&mut self) {
        while self.passes < self.held.len() && (self.passes == 0 || self.at != At::Head) {
            let before = (self.passes, self.line, self.held.len());
            match self.at {
                At::Head => self.head(),
                At::Content(left) => self.at = self.pass(left, At::Content, At::Head),
                At::Chunk(left) => self.at = self.pass(left, At::Chunk, At::Size),
                At::Size | At::Trailers(_) => {
                    if let Err(why) = self.framing() {
                        self.verdicts.found().broken = Some(why);
                        self.at = At::Broken(why);
                    }
                }
                At::Other => self.passes = self.held.len(),
                At::End | At::Broken(_) => self.held.truncate(self.passes),
            }
            if before == (self.passes, self.line, self.held.len()) {
                return;
            }
        }
    }

    /// Lets so much of what is left pass as there is.
    fn pass(&mut self, left: u64, more: fn(u64) -> At, then: At) -> At {
        let there = self.held.len() - self.passes;
        let passes = usize::try_from(left).map_or(there, |left| left.min(there));
        self.passes += passes;
        match left - passes as u64 {
            0 => then,
            left => more(left),
        }
    }

    /// Looks at the next line of a head.
    fn head(&mut self) {
        let begin = self.passes;
        let end = match strict::line(&self.held, begin + self.seen) {
            Ok(end) if end.unwrap_or(self.held.len()) - begin > LONGEST_HEAD => {
                return self.refuse("its head is too long");
            }
            Ok(Some(end)) => end,
            Ok(None) => {
                // A CR at the end of it is looked at again.
                self.seen = self.seen.max(self.held.len() - begin - 1);
                return;
            }
            Err(why) => return self.refuse(why),
        };
        if end > begin + self.line {
            self.line = end + 2 - begin;
            self.seen = self.line;
            return;
        }
        if self.line == 0 {
            // Servers pass over an empty line before a request. Nothing of it is handed on.
            self.held.drain(begin..end + 2);
            self.seen = 0;
            return;
        }
        match strict::head(&self.held[begin..end + 2]) {
            Err(why) => self.refuse(why),
            Ok(head) => {
                self.passes = end + 2;
                (self.line, self.seen) = (0, 0);
                self.at = match head.framing {
                    _ if head.goes_on => At::Other,
                    Framing::Length(0) => At::Head,
                    Framing::Length(length) => At::Content(length),
                    Framing::Chunks => At::Size,
                };
                self.verdicts.found().heads.push_back(Ok(head));
            }
        }
    }

    fn refuse(&mut self, why: Why) {
        self.held.truncate(self.passes);
        self.held.extend_from_slice(REFUSED);
        self.passes = self.held.len();
        self.at = At::End;
        self.verdicts.found().heads.push_back(Err(why));
    }

    /// Looks at a line of what says how long chunks are.
    fn framing(&mut self) -> Result<(), Why> {
        let begin = self.passes;
        let Some(end) = strict::line(&self.held, begin)? else {
            return match self.held.len() - begin > LONGEST_LINE {
                true => Err("a line between its chunks is too long"),
                false => Ok(()),
            };
        };
        let text = &self.held[begin..end];
        if text.len() > LONGEST_LINE {
            return Err("a line between its chunks is too long");
        }
        self.at = match self.at {
            At::Trailers(_) if text.is_empty() => At::Head,
            At::Trailers(before) => {
                strict::trailer(text)?;
                let so_far = before + text.len();
                if so_far > LONGEST_HEAD {
                    return Err("too much is said behind its content");
                }
                At::Trailers(so_far + 2)
            }
            _ => match strict::chunk(text)? {
                0 => At::Trailers(0),
                size => At::Chunk(size + 2),
            },
        };
        self.passes = end + 2;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passes > 0 {
                let length = self.passes.min(buffer.remaining());
                buffer.put_slice(&self.held[..length]);
                self.held.drain(..length);
                self.passes -= length;
                if self.held.is_empty() {
                    self.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            let this = &mut *self;
            this.look();
            if this.passes > 0 {
                continue;
            }
            let direct = match this.at {
                At::End => return Poll::Ready(Ok(())),
                At::Broken(why) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                At::Other => usize::MAX,
                // What ends a chunk is looked at by whoever reads that.
                At::Content(left) | At::Chunk(left) => usize::try_from(left).unwrap_or(usize::MAX),
                At::Head | At::Size | At::Trailers(_) => 0,
            };
            if this.held.is_empty() && direct > 0 {
                let before = buffer.filled().len();
                let mut content = (&mut this.stream).take(direct as u64);
                ready!(Pin::new(&mut content).poll_read(context, buffer))?;
                let length = buffer.filled().len() - before;
                this.at = match this.at {
                    At::Content(left) if left == length as u64 => At::Head,
                    At::Content(left) => At::Content(left - length as u64),
                    At::Chunk(left) if left == length as u64 => At::Size,
                    At::Chunk(left) => At::Chunk(left - length as u64),
                    at => at,
                };
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; PIECE];
            let mut piece = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                // Of a request that is not whole nothing is handed on.
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(piece.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What is handed on of a stream that comes in pieces of one size, and what is found in it.
    fn through(said: &[u8], size: usize) -> (io::Result<Vec<u8>>, Vec<Result<Head, Why>>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let (near, far) = tokio::io::duplex(size);
        let (mut heads, verdicts) = Heads::new(far);
        let (mut reader, mut writer) = (Vec::new(), near);
        let read = runtime.block_on(async {
            let say = async {
                // Nobody may be listening any more.
                drop(tokio::io::AsyncWriteExt::write_all(&mut writer, said).await);
                drop(writer);
            };
            let hear = async {
                let read = heads.read_to_end(&mut reader).await;
                drop(heads);
                read
            };
            tokio::join!(say, hear).1
        });
        let found = verdicts.found().heads.drain(..).collect();
        (read.map(|_| reader), found)
    }

    const PLAIN: &str = "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
    const LONG: &str = "POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n\r\n\0x";
    const CHUNKS: &str = "POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                          5;x\r\n\r\n\r\nG\r\n0\r\nX: y\r\n\r\n";

    #[test]
    fn it_knows_where_each_request_begins() {
        for size in [1, 2, 3, 7, 64, 100_000] {
            let said = [PLAIN, "\r\n", LONG, CHUNKS, PLAIN].concat();
            let (read, found) = through(said.as_bytes(), size);
            let plain = said.replacen("\r\n\r\n\r\nPOST", "\r\n\r\nPOST", 1);
            assert_eq!(String::from_utf8(read.unwrap()).unwrap(), plain, "{size}");
            let methods: Vec<String> = found.into_iter().map(|head| head.unwrap().method).collect();
            assert_eq!(methods, ["GET", "POST", "POST", "GET"], "{size}");
            // What is refused is not handed on, nor is what comes behind it.
            let said = [LONG, "GET /b\n\n", PLAIN].concat();
            let (read, found) = through(said.as_bytes(), size);
            assert_eq!(read.unwrap(), [LONG.as_bytes(), REFUSED].concat(), "{size}");
            assert!(matches!(found[..], [Ok(_), Err(_)]), "{size}: {found:?}");
            let said = CHUNKS.replace("5;x", "0x5");
            let (read, found) = through(said.as_bytes(), size);
            assert!(read.is_err() && found.len() == 1, "{size}: {read:?}");
            // What is not whole is not handed on.
            let said = [PLAIN, &PLAIN[..20]].concat();
            let (read, _) = through(said.as_bytes(), size);
            assert_eq!(read.unwrap(), PLAIN.as_bytes(), "{size}");
            let said = ["CONNECT a:1 HTTP/1.1\r\n\r\n", "\0\n"].concat();
            let (read, _) = through(said.as_bytes(), size);
            assert_eq!(read.unwrap(), said.as_bytes(), "{size}");
        }
        let endless = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(20_000));
        let (read, _) = through(endless.as_bytes(), 1000);
        assert_eq!(read.unwrap(), REFUSED);
    }

    #[test]
    fn two_readings_of_a_request_are_compared() {
        let verdicts = Verdicts::default();
        let head = |method: &str, framing| Head {
            method: method.to_owned(),
            framing,
            goes_on: false,
        };
        let request = || Request::new(http_body_util::Full::<&[u8]>::from(&b"abc"[..]));
        for (found, is_same) in [
            (head("GET", Framing::Length(3)), true),
            (head("GET", Framing::Length(2)), false),
            (head("GET", Framing::Chunks), false),
            (head("POST", Framing::Length(3)), false),
        ] {
            verdicts.found().heads.push_back(Ok(found));
            assert_eq!(verdicts.of(&request()).is_ok(), is_same);
        }
        assert!(verdicts.of(&request()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(bytes: Vec<u8>, at in 0_usize..200, size in 1_usize..40) {
            let mut whole = [CHUNKS, LONG, PLAIN].concat().into_bytes();
            let at = at.min(whole.len());
            whole.splice(at..at, bytes.iter().copied());
            let (by_piece, found) = through(&whole, size);
            let (at_once, same) = through(&whole, 100_000);
            assert_eq!(found, same);
            assert_eq!(by_piece.ok(), at_once.ok());
        }
    }
}
