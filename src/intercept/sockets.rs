//! Sockets with names: bind and connect, made in the caller's place.
//!
//! The socket is taken from the caller once, and its address copied once, so that no other thread's
//! change of either matters. A path is resolved as one of a file: who connects is led to the object
//! that was decided about, through the descriptor that pins it.
//!
//! A socket keeps the bytes that it was bound to, and says them to whoever asks for its name. So
//! they go to the kernel as they are, which walks them once more. All that could lead them elsewhere
//! meanwhile are calls that are held too ([`held`](super::held::held)), and nobody answers them while
//! this is done; what others do is held to the directory that was decided about, by Landlock, in the
//! process that binds.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::act::{Done, Looking, Prepared, take_mask};
use super::need::Need;
use super::resolve::directory_of;
use super::view::{Caller, Spot, Target, View};
use crate::policy::Perm;
use crate::sys::{beneath, clone, message, process};

/// Bytes of `struct sockaddr_storage`.
const LONGEST: i32 = 128;

/// Where the path begins in `struct sockaddr_un`, and how long that is as a whole.
const PATH: usize = 2;
const LONGEST_OF_UNIX: usize = 110;

/// An address, copied once.
#[derive(Debug)]
pub(super) struct Address {
    /// As the caller wrote it.
    pub bytes: Vec<u8>,
    /// The path, where the kernel would take it for one.
    pub path: Option<Target>,
}

/// A socket that is to have a name, or to be connected to one.
#[derive(Debug)]
pub(super) struct Naming {
    pub socket: OwnedFd,
    pub address: Address,
}

impl Naming {
    pub fn copied(view: &View, caller: Caller, arguments: [u64; 6]) -> Result<Arc<Naming>, Errno> {
        let [number, pointer, length, ..] = arguments;
        let socket = view.socket(caller, number as i32)?;
        let address = Address::copied(view, caller, &socket, (pointer, length))?;
        Ok(Arc::new(Naming { socket, address }))
    }
}

impl Address {
    /// Copies the address for `socket`, which decides what it means.
    pub fn copied(
        view: &View,
        caller: Caller,
        socket: &OwnedFd,
        (pointer, length): (u64, u64),
    ) -> Result<Address, Errno> {
        let length = length as i32;
        if !(0..=LONGEST).contains(&length) {
            return Err(Errno::INVAL);
        }
        let bytes = view.bytes(caller, pointer, length as usize)?;
        let path = match path(socket, &bytes)? {
            Some(path) => {
                let base = match path.first() {
                    Some(b'/') => None,
                    _ => Some(view.base(caller, libc::AT_FDCWD)?),
                };
                let path = path.to_vec();
                Some(Target { base, path })
            }
            None => None,
        };
        Ok(Address { bytes, path })
    }
}

/// The path of an address for `socket`, up to its NUL if it has one.
fn path<'b>(socket: &OwnedFd, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, Errno> {
    // What is no socket is told so by the kernel.
    let is_unix = sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX);
    let named = bytes.starts_with(&(libc::AF_UNIX as u16).to_ne_bytes());
    let text = match bytes.get(PATH..) {
        Some([first, ..]) if is_unix && named && *first != 0 => &bytes[PATH..],
        _ => return Ok(None),
    };
    if bytes.len() > LONGEST_OF_UNIX {
        return Err(Errno::INVAL);
    }
    let end = text.iter().position(|byte| *byte == 0);
    Ok(Some(&text[..end.unwrap_or(text.len())]))
}

/// An address of this path.
pub(super) fn unix(path: &[u8]) -> Vec<u8> {
    [&(libc::AF_UNIX as u16).to_ne_bytes(), path, b"\0"].concat()
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::ACCESS)
}

impl Looking<'_> {
    /// The address that leads to what the path means, and what it takes to write to that.
    pub fn reach(&self, target: &Target) -> Result<(Vec<Need>, OwnedFd), Errno> {
        let found = self.view.find(self.caller, target, true)?;
        let names = self.judge.names(&found).cloned();
        let needs = names.map(|path| Need::Fs(Perm::WriteFile, path)).collect();
        Ok((needs, found.object))
    }

    pub fn connect(&self, naming: &Arc<Naming>) -> Result<Prepared, Errno> {
        let (needs, object) = match &naming.address.path {
            Some(target) => self
                .reach(target)
                .map(|(needs, object)| (needs, Some(object)))?,
            None => (Vec::new(), None),
        };
        let naming = Arc::clone(naming);
        let connect = move |view: &View, _: &dyn Fn() -> bool| {
            let path = object.as_ref().map(|object| view.path_of(object));
            let address = path.map(|path| unix(path.as_bytes()));
            let address = address.as_ref().unwrap_or(&naming.address.bytes);
            message::connect(naming.socket.as_fd(), address).map_err(|error| errno(&error))?;
            Ok(Done::Value(0))
        };
        // Whether it would wait is for the caller's other threads to change.
        let act = |_: &View, _| Ok(Done::Wait(Box::new(connect)));
        Ok(Prepared::new(needs, act))
    }

    pub fn bind(&self, naming: &Arc<Naming>) -> Result<Prepared, Errno> {
        let naming = Arc::clone(naming);
        let Some(target) = &naming.address.path else {
            let act = move |_: &View, _| {
                message::bind(naming.socket.as_fd(), &naming.address.bytes)
                    .map_err(|error| errno(&error))?;
                Ok(Done::Value(0))
            };
            return Ok(Prepared::new(Vec::new(), act));
        };
        let spot = self.free_spot(target).map_err(|error| match error {
            Errno::EXIST => Errno::ADDRINUSE,
            other => other,
        })?;
        let needs = vec![Need::Fs(Perm::MakeSock, spot.path.clone())];
        let act = move |view: &View, caller| bind_at(view, caller, &naming, &spot);
        Ok(Prepared::new(needs, act))
    }
}

/// Binds a socket at a spot that was decided about, if its path still leads there.
fn bind_at(view: &View, caller: Caller, naming: &Naming, spot: &Spot) -> Result<Done, Errno> {
    let Some(target) = &naming.address.path else {
        return Err(Errno::INVAL);
    };
    let now = view.spot(caller, target)?;
    let id = |directory: &OwnedFd| fstat(directory).map(|stat| (stat.st_dev, stat.st_ino));
    if now.path != spot.path || id(&now.parent)? != id(&spot.parent)? {
        return Ok(Done::Again);
    }
    // What leads through files of processes means something else in another process.
    let plain = directory_of(target).and_then(|directory| id(&directory));
    let is_plain = plain == id(&spot.parent);
    take_mask(view, caller)?;
    view.handed.wait_for_all();
    match clone::fork() {
        Ok(0) => {
            let bound = bind_beneath(naming, target, spot, is_plain);
            clone::exit_now(bound.map_or_else(Errno::raw_os_error, |()| 0))
        }
        Ok(binder) => {
            let status = process::wait_for(binder).map_err(|error| errno(&error))?;
            match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                (true, 0) => Ok(Done::Value(0)),
                (true, errno) => Err(Errno::from_raw_os_error(errno)),
                (false, _) => Err(Errno::ACCESS),
            }
        }
        Err(_) => Err(Errno::NOMEM),
    }
}

/// In a process of its own, from which nothing else is made.
fn bind_beneath(
    naming: &Naming,
    target: &Target,
    spot: &Spot,
    is_plain: bool,
) -> Result<(), Errno> {
    let bound = |address: &[u8]| {
        message::bind(naming.socket.as_fd(), address).map_err(|error| errno(&error))
    };
    beneath::make_sockets_only_beneath(spot.parent.as_fd()).map_err(|_| Errno::ACCESS)?;
    if !is_plain {
        rustix::process::fchdir(&spot.parent)?;
        return bound(&unix(spot.name.as_encoded_bytes()));
    }
    if let Some(base) = &target.base {
        rustix::process::fchdir(base)?;
    }
    bound(&naming.address.bytes)
}

impl View {
    /// Takes the caller's descriptor `number`, as it is now.
    pub fn socket(&self, caller: Caller, number: i32) -> Result<OwnedFd, Errno> {
        use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
        if number < 0 {
            return Err(Errno::BADF);
        }
        let pid = |number: u32| Pid::from_raw(number as i32).ok_or(Errno::SRCH);
        // PIDFD_THREAD of linux/pidfd.h, Linux 6.9.
        let thread = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
        let (handle, is_process) = match pidfd_open(pid(caller.tid)?, thread) {
            Err(Errno::INVAL) => {
                let process = self.process_of(caller)?;
                (pidfd_open(pid(process)?, PidfdFlags::empty())?, true)
            }
            opened => (opened?, false),
        };
        let taken = pidfd_getfd(&handle, number, PidfdGetfdFlags::empty())?;
        if is_process {
            // A thread can have descriptors of its own.
            let id = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
            let own = self.descriptor_stat(caller, number)?;
            if id(own) != id(fstat(&taken)?) {
                return Err(Errno::BADF);
            }
        }
        Ok(taken)
    }
}

/// Whether sending to an address on this socket leads along a path.
pub(super) fn sends_to_names(socket: &OwnedFd) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::DGRAM)
}

/// Whether the caller would wait in a call on this socket.
pub(super) fn waits(socket: &OwnedFd) -> Result<bool, Errno> {
    let flags = rustix::fs::fcntl_getfl(socket)?;
    Ok(!flags.contains(rustix::fs::OFlags::NONBLOCK))
}

/// Whether the socket is one whose writer is told by a signal that nobody reads.
pub(super) fn is_stream(socket: &OwnedFd) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::STREAM)
}

#[cfg(test)]
mod tests {
    use rustix::net::{SocketFlags, socket_with, socketpair};

    use super::*;

    fn socket() -> OwnedFd {
        let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        socket_with(AddressFamily::UNIX, kind, flags, None).expect("a socket")
    }

    #[test]
    fn a_path_is_what_the_kernel_takes_for_one() {
        let socket = socket();
        let of = |bytes: &[u8]| path(&socket, bytes).map(|path| path.map(<[u8]>::to_vec));
        let named = |text: &[u8]| [&[1, 0], text].concat();
        assert_eq!(of(&named(b"/a\0")), Ok(Some(b"/a".to_vec())));
        assert_eq!(of(&named(b"/a")), Ok(Some(b"/a".to_vec())));
        assert_eq!(of(&named(b"/a\0b")), Ok(Some(b"/a".to_vec())));
        assert_eq!(of(&named(b"\0abstract")), Ok(None));
        assert_eq!(of(&named(b"")), Ok(None));
        assert_eq!(of(&[1]), Ok(None));
        assert_eq!(of(&[2, 0, b'/', b'a']), Ok(None));
        assert_eq!(of(&named(&[b'a'; 108])), Ok(Some(vec![b'a'; 108])));
        assert_eq!(of(&named(&[b'a'; 109])), Err(Errno::INVAL));
        let file = OwnedFd::from(std::fs::File::open("/").expect("a file"));
        assert_eq!(path(&file, &named(b"/a")), Ok(None));
    }

    #[test]
    fn of_a_pair_of_streams_nothing_leads_along_a_path() {
        let pair = |kind| {
            let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
            pair.expect("a pair").0
        };
        assert!(!sends_to_names(&pair(SocketType::STREAM)));
        assert!(!sends_to_names(&pair(SocketType::SEQPACKET)));
        assert!(sends_to_names(&pair(SocketType::DGRAM)));
        assert_eq!(waits(&socket()), Ok(true));
    }
}
