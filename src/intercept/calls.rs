//! From a notification to a call whose arguments were copied once.

use std::ffi::CString;
use std::sync::Arc;

use rustix::fs::{AtFlags, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use syscalls::Sysno;

use super::message::Message;
use super::sockets::Naming;
use super::view::{Caller, Target, View};
use crate::sys::seccomp::Notification;

/// Bytes of an extended attribute, as `XATTR_SIZE_MAX` of linux/limits.h.
const LONGEST_ATTRIBUTE: u64 = 65536;

const CWD: u64 = libc::AT_FDCWD as u64;

/// One call, in the words of its newest form.
#[derive(Debug)]
pub(super) enum Call {
    Open {
        target: Target,
        flags: OFlags,
        mode: u32,
    },
    Truncate {
        target: Target,
        length: u64,
    },
    MakeDir {
        target: Target,
        mode: u32,
    },
    MakeNode {
        target: Target,
        mode: u32,
    },
    MakeSymlink {
        text: Vec<u8>,
        target: Target,
    },
    Link {
        from: Target,
        to: Target,
        follow: bool,
    },
    Rename {
        from: Target,
        to: Target,
        flags: RenameFlags,
    },
    Remove {
        target: Target,
        flags: AtFlags,
    },
    Change {
        target: Target,
        follow: bool,
        change: Change,
    },
    Execute {
        target: Target,
        follow: bool,
    },
    Bind(Arc<Naming>),
    Connect(Arc<Naming>),
    Send(Arc<Message>),
    /// It does nothing, and gives 0.
    Nothing,
}

/// A change of what is known of a file.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Mode(u32),
    Owner {
        uid: u32,
        gid: u32,
    },
    Times(Timestamps),
    SetAttribute {
        name: CString,
        value: Vec<u8>,
        flags: XattrFlags,
    },
    RemoveAttribute(CString),
}

/// Copies the arguments of a call, or says with which errno it fails. `path` is that of an open, where
/// it is copied already.
pub(super) fn copied(
    view: &View,
    call: &Notification,
    path: Option<Vec<u8>>,
) -> Result<Call, Errno> {
    let copying = Copying {
        view,
        caller: Caller { tid: call.pid },
        arguments: call.arguments,
        path,
    };
    let sysno = usize::try_from(call.number).ok().and_then(Sysno::new);
    copying.call(sysno.ok_or(Errno::NOSYS)?)
}

struct Copying<'c> {
    view: &'c View,
    caller: Caller,
    arguments: [u64; 6],
    path: Option<Vec<u8>>,
}

impl Copying<'_> {
    fn call(&self, sysno: Sysno) -> Result<Call, Errno> {
        #[cfg(target_arch = "x86_64")]
        if let Some(call) = self.older(sysno) {
            return call;
        }
        let [a, b, c, d, e, _] = self.arguments;
        match sysno {
            Sysno::openat => self.open(self.path(a, b)?, c, d),
            Sysno::truncate => Ok(Call::Truncate {
                target: self.path(CWD, a)?,
                length: b,
            }),
            Sysno::mkdirat => self.make_dir(self.path(a, b)?, c),
            Sysno::mknodat => self.make_node(self.path(a, b)?, c),
            Sysno::symlinkat => self.symlink(a, self.path(b, c)?),
            Sysno::linkat => self.link((a, b), (c, d), e),
            Sysno::renameat => self.rename((a, b), (c, d), 0),
            Sysno::renameat2 => self.rename((a, b), (c, d), e),
            Sysno::unlinkat => self.remove(self.path(a, b)?, c),
            Sysno::fchmodat => self.change(self.path(a, b)?, 0, mode(c)),
            Sysno::fchmodat2 => self.change(self.maybe_empty(a, b, d)?, d, mode(c)),
            Sysno::fchmod => self.change(self.descriptor(a)?, 0, mode(b)),
            Sysno::fchownat => self.change(self.maybe_empty(a, b, e)?, e, owner(c, d)),
            Sysno::fchown => self.change(self.descriptor(a)?, 0, owner(b, c)),
            Sysno::execve => self.execute(self.path(CWD, a)?, 0),
            Sysno::execveat => self.execute(self.maybe_empty(a, b, e)?, e),
            Sysno::utimensat => {
                let times = Change::Times(self.nanoseconds(c)?);
                match b {
                    0 => self.change(self.descriptor(a)?, 0, times),
                    _ => self.change(self.maybe_empty(a, b, d)?, d, times),
                }
            }
            Sysno::bind => self.naming().map(Call::Bind),
            Sysno::connect => self.naming().map(Call::Connect),
            Sysno::sendto => Message::plain(self.view, self.caller, self.arguments).map(Call::Send),
            Sysno::sendmsg => {
                Message::whole(self.view, self.caller, self.arguments).map(Call::Send)
            }
            Sysno::sendmmsg => {
                let first = Message::first(self.view, self.caller, self.arguments)?;
                Ok(first.map_or(Call::Nothing, Call::Send))
            }
            _ => self.attribute(sysno),
        }
    }

    fn naming(&self) -> Result<Arc<Naming>, Errno> {
        Naming::copied(self.view, self.caller, self.arguments)
    }

    /// The calls that only x86_64 has; `None` for another.
    #[cfg(target_arch = "x86_64")]
    fn older(&self, sysno: Sysno) -> Option<Result<Call, Errno>> {
        let [a, b, c, ..] = self.arguments;
        let path = |make: &dyn Fn(Target) -> Result<Call, Errno>| self.path(CWD, a).and_then(make);
        let no_follow = libc::AT_SYMLINK_NOFOLLOW as u64;
        Some(match sysno {
            Sysno::open => path(&|target| self.open(target, b, c)),
            Sysno::creat => {
                let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64;
                path(&|target| self.open(target, flags, b))
            }
            Sysno::mkdir => path(&|target| self.make_dir(target, b)),
            Sysno::mknod => path(&|target| self.make_node(target, b)),
            Sysno::symlink => self.path(CWD, b).and_then(|target| self.symlink(a, target)),
            Sysno::link => self.link((CWD, a), (CWD, b), 0),
            Sysno::rename => self.rename((CWD, a), (CWD, b), 0),
            Sysno::unlink => path(&|target| self.remove(target, 0)),
            Sysno::rmdir => path(&|target| self.remove(target, libc::AT_REMOVEDIR as u64)),
            Sysno::chmod => path(&|target| self.change(target, 0, mode(b))),
            Sysno::chown => path(&|target| self.change(target, 0, owner(b, c))),
            Sysno::lchown => path(&|target| self.change(target, no_follow, owner(b, c))),
            Sysno::utime => {
                let times = self.seconds(b).map(Change::Times);
                path(&|target| self.change(target, 0, times.clone()?))
            }
            Sysno::utimes => {
                let times = self.microseconds(b).map(Change::Times);
                path(&|target| self.change(target, 0, times.clone()?))
            }
            Sysno::futimesat => {
                let times = self.microseconds(c).map(Change::Times);
                let target = match b {
                    0 => self.descriptor(a),
                    _ => self.path(a, b),
                };
                target.and_then(|target| self.change(target, 0, times?))
            }
            _ => return None,
        })
    }

    fn attribute(&self, sysno: Sysno) -> Result<Call, Errno> {
        let [a, b, c, d, e, _] = self.arguments;
        let no_follow = libc::AT_SYMLINK_NOFOLLOW as u64;
        let (target, flags) = match sysno {
            Sysno::setxattr | Sysno::removexattr => (self.path(CWD, a)?, 0),
            Sysno::lsetxattr | Sysno::lremovexattr => (self.path(CWD, a)?, no_follow),
            Sysno::fsetxattr | Sysno::fremovexattr => (self.descriptor(a)?, 0),
            _ => return Err(Errno::NOSYS),
        };
        let name = CString::new(self.view.text(self.caller, b)?).map_err(|_| Errno::INVAL)?;
        let sets = matches!(sysno, Sysno::setxattr | Sysno::lsetxattr | Sysno::fsetxattr);
        if !sets {
            return self.change(target, flags, Change::RemoveAttribute(name));
        }
        if d > LONGEST_ATTRIBUTE {
            return Err(Errno::TOOBIG);
        }
        let change = Change::SetAttribute {
            name,
            value: self.bytes(c, d as usize)?,
            flags: XattrFlags::from_bits(e as u32).ok_or(Errno::INVAL)?,
        };
        self.change(target, flags, change)
    }

    fn path(&self, dirfd: u64, pointer: u64) -> Result<Target, Errno> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => self.view.text(self.caller, pointer)?,
        };
        match path.is_empty() {
            true => Err(Errno::NOENT),
            false => self.view.target(self.caller, dirfd, path),
        }
    }

    fn maybe_empty(&self, dirfd: u64, pointer: u64, flags: u64) -> Result<Target, Errno> {
        let may_be_empty = flags as i32 & libc::AT_EMPTY_PATH != 0;
        if !may_be_empty {
            return self.path(dirfd, pointer);
        }
        let path = match pointer {
            0 => Vec::new(),
            _ => self.view.text(self.caller, pointer)?,
        };
        self.view.target(self.caller, dirfd, path)
    }

    fn descriptor(&self, number: u64) -> Result<Target, Errno> {
        match number as i32 {
            // No descriptor, where AT_FDCWD would be one.
            ..0 => Err(Errno::BADF),
            number => Ok(Target {
                base: Some(self.view.opened_base(self.caller, number)?),
                path: Vec::new(),
            }),
        }
    }

    fn bytes(&self, pointer: u64, length: usize) -> Result<Vec<u8>, Errno> {
        self.view.bytes(self.caller, pointer, length)
    }

    fn open(&self, target: Target, flags: u64, mode: u64) -> Result<Call, Errno> {
        Ok(Call::Open {
            target,
            flags: OFlags::from_bits_retain(flags as u32),
            mode: mode as u32,
        })
    }

    fn make_dir(&self, target: Target, mode: u64) -> Result<Call, Errno> {
        let mode = mode as u32;
        Ok(Call::MakeDir { target, mode })
    }

    fn make_node(&self, target: Target, mode: u64) -> Result<Call, Errno> {
        let mode = mode as u32;
        Ok(Call::MakeNode { target, mode })
    }

    fn symlink(&self, text: u64, target: Target) -> Result<Call, Errno> {
        let text = self.view.text(self.caller, text)?;
        match text.is_empty() {
            true => Err(Errno::NOENT),
            false => Ok(Call::MakeSymlink { text, target }),
        }
    }

    fn link(&self, from: (u64, u64), to: (u64, u64), flags: u64) -> Result<Call, Errno> {
        let known = libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH;
        if flags as i32 & !known != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Call::Link {
            from: self.maybe_empty(from.0, from.1, flags)?,
            to: self.path(to.0, to.1)?,
            follow: flags as i32 & libc::AT_SYMLINK_FOLLOW != 0,
        })
    }

    fn rename(&self, from: (u64, u64), to: (u64, u64), flags: u64) -> Result<Call, Errno> {
        let flags = RenameFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
        // It would make a device.
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::PERM);
        }
        Ok(Call::Rename {
            from: self.path(from.0, from.1)?,
            to: self.path(to.0, to.1)?,
            flags,
        })
    }

    fn remove(&self, target: Target, flags: u64) -> Result<Call, Errno> {
        let flags = AtFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
        if !AtFlags::REMOVEDIR.contains(flags) {
            return Err(Errno::INVAL);
        }
        Ok(Call::Remove { target, flags })
    }

    fn change(&self, target: Target, flags: u64, change: Change) -> Result<Call, Errno> {
        let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        if flags as i32 & !known != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Call::Change {
            target,
            follow: flags as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
            change,
        })
    }

    fn execute(&self, target: Target, flags: u64) -> Result<Call, Errno> {
        let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        match flags as i32 & !known {
            0 => Ok(Call::Execute {
                target,
                follow: flags as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
            }),
            _ => Err(Errno::INVAL),
        }
    }

    /// `struct timespec[2]`; a null pointer is now.
    fn nanoseconds(&self, pointer: u64) -> Result<Timestamps, Errno> {
        self.times(pointer, |number| number)
    }

    /// `struct timeval[2]`.
    fn microseconds(&self, pointer: u64) -> Result<Timestamps, Errno> {
        let times = self.times(pointer, |micros| micros.saturating_mul(1000))?;
        let valid = |time: &Timespec| pointer == 0 || (0..1_000_000_000).contains(&time.tv_nsec);
        match valid(&times.last_access) && valid(&times.last_modification) {
            true => Ok(times),
            false => Err(Errno::INVAL),
        }
    }

    /// `struct utimbuf`.
    fn seconds(&self, pointer: u64) -> Result<Timestamps, Errno> {
        if pointer == 0 {
            return Ok(now());
        }
        let words = words::<2>(&self.bytes(pointer, 16)?);
        let time = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
        Ok(Timestamps {
            last_access: time(words[0]),
            last_modification: time(words[1]),
        })
    }

    fn times(&self, pointer: u64, nanos: fn(i64) -> i64) -> Result<Timestamps, Errno> {
        if pointer == 0 {
            return Ok(now());
        }
        let words = words::<4>(&self.bytes(pointer, 32)?);
        let time = |tv_sec, fraction| Timespec {
            tv_sec,
            tv_nsec: nanos(fraction),
        };
        Ok(Timestamps {
            last_access: time(words[0], words[1]),
            last_modification: time(words[2], words[3]),
        })
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [i64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = i64::from_ne_bytes(*bytes);
    }
    words
}

fn now() -> Timestamps {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}

fn mode(mode: u64) -> Change {
    Change::Mode(mode as u32)
}

fn owner(uid: u64, gid: u64) -> Change {
    Change::Owner {
        uid: uid as u32,
        gid: gid as u32,
    }
}
