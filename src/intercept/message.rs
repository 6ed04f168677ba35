//! Messages that may go to a socket with a name: sendto, sendmsg and sendmmsg, made in the caller's
//! place.
//!
//! Where a message goes stands behind a pointer, so each one is copied whole, with the descriptors
//! that it carries, before it is looked at. The receiver sees the process that sends it as the
//! sender, which is one of the sandbox with the caller's user and group.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::act::{Done, Looking, Prepared, Task};
use super::sockets::{Address, errno, is_stream, sends_to_names, unix, waits};
use super::view::{Caller, View};
use crate::sys::{memory, message, process};

/// What is copied of a stream at once, and the longest message of another kind, in bytes.
const LONGEST: usize = 1 << 20;

/// The most that one call sends, in bytes, as `MAX_RW_COUNT` of linux/fs.h.
const MOST: u64 = 0x7fff_f000;

/// Flags that speak of a message's end.
const OF_ITS_END: i32 = libc::MSG_OOB | libc::MSG_EOR;

/// Bytes of control messages.
const LONGEST_CONTROL: u64 = 1 << 16;

/// Pieces of a message, as `UIO_MAXIOV` of linux/uio.h.
const PIECES: u64 = 1024;

/// Descriptors of one message, as `SCM_MAX_FD` of net/scm.h.
const DESCRIPTORS: usize = 253;

/// Bytes of `struct msghdr`; `struct mmsghdr` has the count of what was sent behind them.
const HEADER: usize = 56;

/// Bytes of `struct cmsghdr`, and what each control message is padded to.
const CONTROL_HEADER: usize = 16;
const ALIGNMENT: usize = 8;

/// `SCM_CREDENTIALS` of linux/socket.h, and the bytes of `struct ucred`.
const SCM_CREDENTIALS: i32 = 2;
const CREDENTIALS: usize = 12;

/// Pieces of the caller's memory, each with its length.
type Pieces = Vec<(u64, u64)>;

/// A message, copied once.
#[derive(Debug)]
pub(super) struct Message {
    socket: OwnedFd,
    address: Option<Address>,
    data: Vec<u8>,
    /// Where what is not copied yet stands, of a stream.
    rest: Pieces,
    control: Vec<u8>,
    /// Where in `control` the sender's process id stands.
    senders: Vec<usize>,
    /// The descriptors that `control` names.
    carried: Vec<OwnedFd>,
    flags: i32,
    /// Where the caller wants to be told how much was sent, as one message of many.
    count: Option<u64>,
}

/// Where a message stands in the caller's memory.
struct Layout {
    name: (u64, u64),
    pieces: Pieces,
    control: (u64, u64),
    flags: u64,
    count: Option<u64>,
}

impl Message {
    /// sendto(2).
    pub fn plain(view: &View, caller: Caller, arguments: [u64; 6]) -> Result<Arc<Message>, Errno> {
        let [number, data, length, flags, name, name_length] = arguments;
        let layout = Layout {
            name: (name, name_length),
            pieces: vec![(data, length)],
            control: (0, 0),
            flags,
            count: None,
        };
        let socket = view.socket(caller, number as i32)?;
        Message::copied(view, caller, socket, &layout)
    }

    /// sendmsg(2).
    pub fn whole(view: &View, caller: Caller, arguments: [u64; 6]) -> Result<Arc<Message>, Errno> {
        let [number, header, flags, ..] = arguments;
        let socket = view.socket(caller, number as i32)?;
        let layout = layout(view, caller, header, flags)?;
        Message::copied(view, caller, socket, &layout)
    }

    /// The first message of sendmmsg(2), which may send fewer than it was asked to. `None` where it
    /// was asked for none.
    pub fn first(
        view: &View,
        caller: Caller,
        arguments: [u64; 6],
    ) -> Result<Option<Arc<Message>>, Errno> {
        let [number, header, messages, flags, ..] = arguments;
        let socket = view.socket(caller, number as i32)?;
        if messages as u32 == 0 {
            return Ok(None);
        }
        let layout = Layout {
            count: Some(header.wrapping_add(HEADER as u64)),
            ..layout(view, caller, header, flags)?
        };
        Message::copied(view, caller, socket, &layout).map(Some)
    }

    fn copied(
        view: &View,
        caller: Caller,
        socket: OwnedFd,
        layout: &Layout,
    ) -> Result<Arc<Message>, Errno> {
        let flags = layout.flags as i32;
        // The pages would be ours. Who asks for this copies where it cannot be had.
        if flags & libc::MSG_ZEROCOPY != 0 {
            return Err(Errno::NOBUFS);
        }
        let address = match layout.name {
            (0, _) | (_, 0) => None,
            name => Some(Address::copied(view, caller, &socket, name)?),
        };
        let (data, rest) = data(view, caller, &layout.pieces, is_stream(&socket))?;
        let mut message = Message {
            socket,
            address,
            data,
            rest,
            control: Vec::new(),
            senders: Vec::new(),
            carried: Vec::new(),
            flags,
            count: layout.count,
        };
        message.take_control(view, caller, layout.control)?;
        Ok(Arc::new(message))
    }

    /// Copies the control messages, and takes the descriptors that they name: the numbers become ours.
    fn take_control(
        &mut self,
        view: &View,
        caller: Caller,
        (pointer, length): (u64, u64),
    ) -> Result<(), Errno> {
        if pointer == 0 || length == 0 {
            return Ok(());
        }
        if length > LONGEST_CONTROL {
            return Err(Errno::NOBUFS);
        }
        self.control = view.bytes(caller, pointer, length as usize)?;
        let mut at = 0;
        while self.control.len() - at >= CONTROL_HEADER {
            let header = &self.control[at..at + CONTROL_HEADER];
            let (length, level, kind) =
                (number(header, 0), integer(header, 8), integer(header, 12));
            let length = usize::try_from(length).map_err(|_| Errno::INVAL)?;
            if length < CONTROL_HEADER || length > self.control.len() - at {
                return Err(Errno::INVAL);
            }
            let content = at + CONTROL_HEADER..at + length;
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    self.take_descriptors(view, caller, content)?;
                }
                (libc::SOL_SOCKET, SCM_CREDENTIALS) => {
                    if content.len() != CREDENTIALS {
                        return Err(Errno::INVAL);
                    }
                    // Nobody says that another process is the sender.
                    let sender = view.process_of(caller)?;
                    if integer(&self.control, content.start) != sender as i32 {
                        return Err(Errno::PERM);
                    }
                    self.senders.push(content.start);
                }
                _ => {}
            }
            at = (at + length.next_multiple_of(ALIGNMENT)).min(self.control.len());
        }
        Ok(())
    }

    fn take_descriptors(
        &mut self,
        view: &View,
        caller: Caller,
        content: std::ops::Range<usize>,
    ) -> Result<(), Errno> {
        for numbers in self.control[content].as_chunks_mut::<4>().0 {
            if self.carried.len() == DESCRIPTORS {
                return Err(Errno::INVAL);
            }
            let taken = view.socket(caller, i32::from_ne_bytes(*numbers))?;
            *numbers = taken.as_raw_fd().to_ne_bytes();
            self.carried.push(taken);
        }
        Ok(())
    }

    /// Sends what is copied of it, to `object` where that is what its path leads to.
    fn send(&self, view: &View, object: Option<&OwnedFd>, more: i32) -> Result<usize, Errno> {
        let path = object.map(|object| unix(view.path_of(object).as_bytes()));
        let given = self.address.as_ref().map(|address| &*address.bytes);
        let address = path.as_deref().or(given).unwrap_or_default();
        let what = (address, &*self.data, &*self.control_of_ours());
        let flags = self.flags_of(self.rest.is_empty()) | more;
        message::send(self.socket.as_fd(), what, flags).map_err(|error| errno(&error))
    }

    /// The control messages, with the sender that the kernel will see.
    fn control_of_ours(&self) -> Vec<u8> {
        let mut control = self.control.clone();
        for at in &self.senders {
            control[*at..at + 4].copy_from_slice(&std::process::id().to_ne_bytes());
        }
        control
    }

    /// The flags for a part of it, which may be the last.
    fn flags_of(&self, is_last: bool) -> i32 {
        match is_last {
            true => self.flags,
            false => self.flags & !OF_ITS_END,
        }
    }

    /// Makes the call for a caller that waits, after `begun` was sent of it at once.
    fn send_waiting(
        &self,
        (view, caller): (&View, Caller),
        object: Option<&OwnedFd>,
        begun: Option<usize>,
        still_waits: &dyn Fn() -> bool,
    ) -> Result<usize, Errno> {
        let sent = match begun {
            Some(sent) => sent,
            None => {
                let sent = self.send(view, object, 0)?;
                // Less than what is copied is sent only where something has ended it.
                if sent < self.data.len() || self.rest.is_empty() {
                    return Ok(sent);
                }
                sent
            }
        };
        Ok(self.send_rest((view, caller), sent, still_waits))
    }

    /// Goes on with a stream of which `sent` bytes are sent, until all is sent, or a signal, an error or
    /// the socket's time ends it: as in the kernel, what was sent by then is the result.
    fn send_rest(
        &self,
        (view, caller): (&View, Caller),
        mut sent: usize,
        still_waits: &dyn Fn() -> bool,
    ) -> usize {
        // Descriptors and an address went with the first bytes.
        let control = match self.carried.is_empty() {
            true => self.control_of_ours(),
            false => Vec::new(),
        };
        let (mut next, mut rest);
        let (mut part, mut pieces) = (&self.data[sent..], &self.rest);
        loop {
            let flags = self.flags_of(pieces.is_empty()) & !libc::MSG_FASTOPEN;
            let done = message::send(self.socket.as_fd(), (&[], part, &control), flags);
            let bytes = done.unwrap_or_default();
            sent += bytes;
            if bytes < part.len() || pieces.is_empty() {
                return sent;
            }
            let copied = data(view, caller, pieces, true);
            // What was copied is the caller's only if that is there still.
            let (Ok(copied), true) = (copied, still_waits()) else {
                return sent;
            };
            (next, rest) = copied;
            (part, pieces) = (&next, &rest);
        }
    }

    /// Whether a caller that waits has more to send: of a stream, where other messages go as a whole.
    fn lacks_some(&self, sent: usize) -> bool {
        is_stream(&self.socket) && (sent < self.data.len() || !self.rest.is_empty())
    }

    /// What the caller is told, which may be a signal.
    fn told(&self, view: &View, caller: Caller, sent: Result<usize, Errno>) -> Result<Done, Errno> {
        if sent == Err(Errno::PIPE)
            && self.flags & libc::MSG_NOSIGNAL == 0
            && is_stream(&self.socket)
        {
            let process = view.process_of(caller)?;
            process::kill(process as i32, libc::SIGPIPE).map_err(|error| errno(&error))?;
        }
        self.value(caller, sent?).map(Done::Value)
    }

    /// What the call gives.
    fn value(&self, caller: Caller, sent: usize) -> Result<i64, Errno> {
        let Some(count) = self.count else {
            return Ok(sent as i64);
        };
        let bytes = (sent as u32).to_ne_bytes();
        memory::write_memory(caller.tid, count, &bytes).map_err(|error| errno(&error))?;
        Ok(1)
    }
}

impl Looking<'_> {
    pub fn send(&self, message: &Arc<Message>) -> Result<Prepared, Errno> {
        let address = message.address.as_ref();
        let path = address.and_then(|address| address.path.as_ref());
        let (needs, object) = match path.filter(|_| sends_to_names(&message.socket)) {
            Some(target) => self
                .reach(target)
                .map(|(needs, object)| (needs, Some(object)))?,
            None => (Vec::new(), None),
        };
        let message = Arc::clone(message);
        let act = move |view: &View, caller| {
            let waits = message.flags & libc::MSG_DONTWAIT == 0 && waits(&message.socket)?;
            let begun = message.send(view, object.as_ref(), libc::MSG_DONTWAIT);
            let begun = match begun {
                Ok(sent) if waits && message.lacks_some(sent) => Some(sent),
                Err(Errno::AGAIN) if waits => None,
                sent => return message.told(view, caller, sent),
            };
            let value = begun.map(|sent| message.value(caller, sent)).transpose()?;
            let is_decided = object.is_some();
            let task: Task = Box::new(move |view: &View, still_waits: &dyn Fn() -> bool| {
                let place = (view, caller);
                let sent = message.send_waiting(place, object.as_ref(), begun, still_waits);
                message.told(view, caller, sent)
            });
            Ok(match is_decided {
                true => Done::Wait(task),
                false => Done::Send(task, value),
            })
        };
        Ok(Prepared::new(needs, act))
    }
}

/// Reads `struct msghdr` (64 bits) and the pieces that it names.
fn layout(view: &View, caller: Caller, header: u64, flags: u64) -> Result<Layout, Errno> {
    let header = view.bytes(caller, header, HEADER)?;
    let (name, name_length) = (number(&header, 0), integer(&header, 8));
    let (list, count) = (number(&header, 16), number(&header, 24));
    if name_length < 0 {
        return Err(Errno::INVAL);
    }
    if count > PIECES {
        return Err(Errno::MSGSIZE);
    }
    let list = view.bytes(caller, list, count as usize * 16)?;
    let pieces = list.as_chunks::<16>().0;
    Ok(Layout {
        // As the kernel does, where it is longer than any.
        name: (name, name_length.min(128) as u64),
        pieces: pieces
            .iter()
            .map(|piece| (number(piece, 0), number(piece, 8)))
            .collect(),
        control: (number(&header, 32), number(&header, 40)),
        flags,
        count: None,
    })
}

/// Copies the pieces, and gives what is left of a stream, of which no more is copied than can be sent
/// at once.
fn data(
    view: &View,
    caller: Caller,
    pieces: &[(u64, u64)],
    is_stream: bool,
) -> Result<(Vec<u8>, Pieces), Errno> {
    let (mut data, mut rest) = (Vec::new(), Vec::new());
    let mut most = MOST;
    for (pointer, length) in pieces {
        let length = (*length).min(most);
        most -= length;
        let copied = length.min((LONGEST - data.len()) as u64);
        if copied < length {
            if !is_stream {
                return Err(Errno::MSGSIZE);
            }
            rest.push((pointer.wrapping_add(copied), length - copied));
        }
        data.extend(view.bytes(caller, *pointer, copied as usize)?);
    }
    Ok((data, rest))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(number)
}

fn integer(bytes: &[u8], at: usize) -> i32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    i32::from_ne_bytes(number)
}
