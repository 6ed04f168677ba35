//! The channel of one worker, for any number of threads.
//!
//! `writing` orders the producers, also while one of them waits for space, so
//! that the waiting word has one owner. `incoming` guards all that is read. At
//! most one thread sleeps on the socket, with no lock held; the others sleep on
//! the condition and are all woken when it returns. Everyone polls before
//! sleeping and looks again after waking (see `buntime_abi::line`).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use buntime_abi::mapped::Mapped;
use buntime_abi::{
    Direction, Header, Inbox, Kind, Layout, RingReader, RingWriter, Violation, line,
};
use memmap2::MmapRaw;

/// How long a thread sleeps before it lets its caller look for signals. Only the
/// thread on the socket is woken by a signal itself.
const NAP: Duration = Duration::from_millis(200);

/// Why a call failed, as an `errno`.
#[derive(Debug)]
pub struct Failure(i32);

impl Failure {
    /// The positive `errno`.
    pub fn errno(&self) -> i32 {
        self.0
    }
}

impl From<i32> for Failure {
    fn from(errno: i32) -> Failure {
        Failure(errno)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Violation> for Failure {
    fn from(_: Violation) -> Failure {
        Failure(libc::EPROTO)
    }
}

/// The supervisor's answer to a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The operation may be tried.
    Allow,
    /// The operation is denied, for this reason in UTF-8.
    Deny(Vec<u8>),
}

#[derive(Debug)]
struct Outgoing {
    memory: Mapped,
    writer: RingWriter,
    last_request: u32,
}

#[derive(Debug)]
struct Incoming {
    memory: Mapped,
    reader: RingReader,
    inbox: Inbox,
    /// Requests that wait, and the answers of those that have one.
    answers: HashMap<u32, Option<Answer>>,
    messages: VecDeque<(Kind, Vec<u8>)>,
    parts: Vec<u8>,
    pumping: bool,
}

/// The worker's end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Device and inode of the socket: a program may close every descriptor that
    /// it does not know, and get ours for a file of its own.
    identity: (u64, u64),
    layout: Layout,
    writing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
    changed: Condvar,
    /// Unmapped after everything that points into it.
    _mapping: MmapRaw,
}

/// A panic cannot poison anything: the library is built to abort on one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Device and inode of an open descriptor.
fn identity(descriptor: &OwnedFd) -> Result<(u64, u64), Failure> {
    // SAFETY: all-zero bytes are a valid `stat`, and the call fills in a live one.
    let (result, status) = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        (libc::fstat(descriptor.as_raw_fd(), &raw mut status), status)
    };
    if result == 0 {
        Ok((status.st_dev, status.st_ino))
    } else {
        Err(libc::EPIPE.into())
    }
}

impl Channel {
    /// Maps the segment and takes the own indices from its headers.
    ///
    /// # Errors
    /// The segment has an impossible size, cannot be mapped, or its indices are impossible.
    pub fn attach(socket: OwnedFd, segment: &File) -> Result<Channel, Failure> {
        let layout = Layout::of_segment(segment.metadata()?.len()).ok_or(libc::EINVAL)?;
        let mapping = MmapRaw::map_raw(segment)?;
        let start = NonNull::new(mapping.as_mut_ptr()).ok_or(libc::EFAULT)?;
        // SAFETY: a page-aligned shared mapping of the whole segment, which lives
        // in the channel as long as these two do. Each is used for one ring, under
        // that ring's lock.
        let (out, into) = unsafe { (Mapped::new(start, layout), Mapped::new(start, layout)) };
        let writer = RingWriter::resume(layout, Direction::WorkerToSupervisor, &out)?;
        let reader = RingReader::resume(layout, Direction::SupervisorToWorker, &into)?;
        let identity = identity(&socket)?;
        Ok(Channel {
            socket,
            identity,
            layout,
            writing: Mutex::new(Outgoing {
                memory: out,
                writer,
                last_request: 0,
            }),
            incoming: Mutex::new(Incoming {
                memory: into,
                reader,
                inbox: Inbox::new(layout.capacity()),
                answers: HashMap::new(),
                messages: VecDeque::new(),
                parts: Vec::new(),
                pumping: false,
            }),
            changed: Condvar::new(),
            _mapping: mapping,
        })
    }

    /// Sends a line to the supervisor.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn ring(&self, text: &str) -> Result<(), Failure> {
        let mut bytes = [b'\n'; 16];
        let text = text.as_bytes();
        bytes
            .get_mut(..text.len())
            .ok_or(libc::EMSGSIZE)?
            .copy_from_slice(text);
        if identity(&self.socket)? != self.identity {
            return Err(libc::EPIPE.into());
        }
        let mut rest = bytes.get(..=text.len()).ok_or(libc::EMSGSIZE)?;
        while !rest.is_empty() {
            // SAFETY: the pointer and the length describe `rest`.
            let sent = unsafe {
                let start = rest.as_ptr().cast();
                libc::send(
                    self.socket.as_raw_fd(),
                    start,
                    rest.len(),
                    libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => rest = &rest[sent..],
                Err(_) => {
                    let error = io::Error::last_os_error();
                    // A doorbell is short and its message is published: finish it.
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes a message; output goes in as many parts as it needs. Gives how
    /// many bytes of the payload were sent.
    ///
    /// # Errors
    /// The supervisor is gone or broke the ring, the message is too long, or a
    /// signal came before anything was sent.
    pub fn send(&self, kind: Kind, request: u32, payload: &[u8]) -> Result<usize, Failure> {
        let doorbell = match kind {
            Kind::Stdout | Kind::Stderr => return self.send_output(kind, payload),
            Kind::FsRead | Kind::FsWrite | Kind::NetConnect | Kind::Exec | Kind::ListDir => {
                line::CHECK
            }
            _ => line::DATA,
        };
        self.publish(
            &mut locked(&self.writing),
            Header::new(kind, request),
            payload,
            doorbell,
        )?;
        Ok(payload.len())
    }

    fn send_output(&self, kind: Kind, payload: &[u8]) -> Result<usize, Failure> {
        let mut sent = 0;
        let mut outgoing = locked(&self.writing);
        for part in payload.chunks(self.layout.part_limit()) {
            match self.publish(&mut outgoing, Header::new(kind, 0), part, line::DATA) {
                Ok(()) => sent += part.len(),
                Err(Failure(libc::EINTR)) if sent > 0 => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(sent)
    }

    fn publish(
        &self,
        outgoing: &mut Outgoing,
        header: Header,
        payload: &[u8],
        doorbell: &str,
    ) -> Result<(), Failure> {
        let Outgoing { memory, writer, .. } = outgoing;
        if payload.len() > writer.longest_payload() {
            return Err(libc::EMSGSIZE.into());
        }
        while !writer.write(memory, header, payload)? {
            self.ring(line::DATA)?;
            let incoming = locked(&self.incoming);
            // The supervisor may have made room before this thread held the lock,
            // and another may have taken the line that said so.
            if writer.write(memory, header, payload)? {
                break;
            }
            drop(self.sleep(incoming)?);
        }
        self.ring(doorbell)
    }

    /// Publishes a check and gives its id, to be passed to [`Channel::answer`].
    ///
    /// # Errors
    /// As [`Channel::send`]; nothing was asked then.
    pub fn ask(&self, kind: Kind, target: &[u8]) -> Result<u32, Failure> {
        if !kind.awaits_answer() {
            return Err(libc::EINVAL.into());
        }
        let mut outgoing = locked(&self.writing);
        let request = outgoing.last_request.checked_add(1).unwrap_or(1);
        outgoing.last_request = request;
        locked(&self.incoming).answers.insert(request, None);
        let published = self.publish(
            &mut outgoing,
            Header::new(kind, request),
            target,
            line::CHECK,
        );
        if published.is_err() {
            locked(&self.incoming).answers.remove(&request);
        }
        published.map(|()| request)
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// No such request waits, the supervisor is gone or broke the ring, or a signal came.
    pub fn answer(&self, request: u32) -> Result<Answer, Failure> {
        let mut incoming = locked(&self.incoming);
        loop {
            match incoming.answers.get(&request) {
                None => return Err(libc::ENOENT.into()),
                Some(None) => {}
                Some(Some(_)) => {
                    return incoming
                        .answers
                        .remove(&request)
                        .flatten()
                        .ok_or(libc::ENOENT.into());
                }
            }
            incoming = self.sleep(incoming)?;
        }
    }

    /// Waits for a message that is no answer and hands it to `take`, if its
    /// payload is not longer than `capacity`. Gives the length of the payload.
    ///
    /// # Errors
    /// The supervisor is gone or broke the ring, or a signal came.
    pub fn receive(
        &self,
        capacity: usize,
        take: impl FnOnce(Kind, &[u8]),
    ) -> Result<usize, Failure> {
        let mut incoming = locked(&self.incoming);
        loop {
            if let Some((kind, payload)) = incoming.messages.front() {
                let length = payload.len();
                if length <= capacity {
                    take(*kind, payload);
                    incoming.messages.pop_front();
                }
                return Ok(length);
            }
            incoming = self.sleep(incoming)?;
        }
    }

    /// Returns when something may have changed, and the caller looks again.
    fn sleep<'a>(
        &'a self,
        mut incoming: MutexGuard<'a, Incoming>,
    ) -> Result<MutexGuard<'a, Incoming>, Failure> {
        if self.poll(&mut incoming)? {
            return Ok(incoming);
        }
        if incoming.pumping {
            let (incoming, nap) = self
                .changed
                .wait_timeout(incoming, NAP)
                .unwrap_or_else(PoisonError::into_inner);
            return if nap.timed_out() {
                Err(libc::EINTR.into())
            } else {
                Ok(incoming)
            };
        }
        incoming.pumping = true;
        drop(incoming);
        let mut lines = [0_u8; 4096];
        // SAFETY: the pointer and the length describe `lines`.
        let received = unsafe {
            let start = lines.as_mut_ptr().cast();
            libc::recv(self.socket.as_raw_fd(), start, lines.len(), 0)
        };
        let error = io::Error::last_os_error();
        let mut incoming = locked(&self.incoming);
        incoming.pumping = false;
        self.changed.notify_all();
        match received {
            0 => Err(libc::EPIPE.into()),
            ..0 => Err(error.into()),
            _ => Ok(incoming),
        }
    }

    /// Takes what the ring holds; says whether it held anything.
    fn poll(&self, incoming: &mut Incoming) -> Result<bool, Failure> {
        let Incoming {
            memory,
            reader,
            inbox,
            ..
        } = incoming;
        let polled = reader.poll(memory, inbox.unread(), usize::MAX)?;
        if polled.producer_waits {
            self.ring(line::DATA)?;
        }
        if polled.copied == 0 {
            return Ok(false);
        }
        while let Some((header, payload)) = incoming.inbox.take()? {
            match Kind::from_wire(header.kind) {
                Some(Kind::Allow) => {
                    if let Some(answer) = incoming.answers.get_mut(&header.request) {
                        *answer = Some(Answer::Allow);
                    }
                }
                Some(Kind::Deny) => {
                    if let Some(answer) = incoming.answers.get_mut(&header.request) {
                        *answer = Some(Answer::Deny(payload.to_vec()));
                    }
                }
                Some(Kind::CodePart) => incoming.parts.extend_from_slice(payload),
                Some(Kind::Code) => {
                    let mut code = std::mem::take(&mut incoming.parts);
                    code.extend_from_slice(payload);
                    incoming.messages.push_back((Kind::Code, code));
                }
                Some(kind) => incoming.messages.push_back((kind, payload.to_vec())),
                None => return Err(libc::EPROTO.into()),
            }
        }
        self.changed.notify_all();
        Ok(true)
    }
}
