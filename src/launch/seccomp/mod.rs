//! The system call filter: what a worker may ask the kernel at all, whatever its files allow.
//!
//! [`Filters::compile`] is pure and runs before the worker's process exists. [`Filters::install`]
//! is the last thing that process does before it runs somebody else's code. It is one program for
//! all: a second one, for the listener of exec alone, would cost every launch another 30 µs.
//!
//! Trusts: the tables in `rules`, and seccompiler for the comparison of arguments.
//! Never: decides by a pointer's target, which another thread could change after the check; what
//! hides its meaning behind a pointer (clone3, openat2) is answered `ENOSYS`, so that callers fall
//! back to the call whose arguments can be seen.

mod alone;
#[cfg(test)]
mod alone_tests;
mod assemble;
mod conditions;
mod intercepted;
mod names;
mod rules;
mod sockets;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::bpf::tighten;
use crate::policy::PermSet;
use crate::sys;

/// How many threads of init hear calls, where they are decided as they are made.
pub const RECEIVERS: usize = 4;

/// The numbers of those threads in the sandbox where calls for `perms` are decided: the first process but
/// init is the program's, and one may come between them that brings its listener.
pub fn receivers(perms: PermSet) -> Range<u64> {
    let first = match perms.intersects(PermSet::NAMED_SOCKETS) {
        true => 4,
        false => 3,
    };
    let count = match perms.is_empty() {
        true => 0,
        false => RECEIVERS as u64,
    };
    first..first + count
}

/// What the filter is to hold, beyond what it refuses to every worker.
#[derive(Debug, Clone, Default)]
pub struct SeccompRequest {
    /// Send every execve and execveat to a listener, which lets the first one pass.
    pub exec_once: bool,
    /// Refuse memfd_create: a file that no mount and no Landlock rule covers.
    pub deny_memfd: bool,
    /// Permit TCP and UDP sockets of AF_INET and AF_INET6 (the network namespace holds the rest).
    pub network: bool,
    /// Permit sockets of rtnetlink(7) beside those of `network`: by them programs learn what interfaces there
    /// are, which takes no right, and change them, which takes CAP_NET_ADMIN: nobody has it who is held by this, nor
    /// init, who makes some calls in a worker's place.
    pub interfaces: bool,
    /// Permit AF_UNIX sockets that can be connected, or send, to a path. A pair of them that is
    /// connected for good is always permitted.
    pub unix: bool,
    /// System calls that the policy refuses by name, answered `EPERM`.
    pub deny: Vec<String>,
    /// Refuse every execution but by an execve whose three arguments are at these addresses, which
    /// nobody else can know.
    pub exec_at: Option<[u64; 3]>,
    /// Kill the process for an execution that `exec_at` refuses, and for a call in `deny`.
    pub kill: bool,
    /// Leave seccomp(2) to the filters that are stacked on this one: each can only refuse more.
    pub stacked: bool,
    /// Permissions that are decided as each call is made: the listener answers the calls that may
    /// need one of them.
    pub intercept: PermSet,
    /// For a worker without namespaces: hold it to its own process. Only with `exec_once`.
    pub alone: Option<Alone>,
}

/// A worker that shares its user, its processes and its files' metadata with the host.
#[derive(Debug, Clone, Copy)]
pub struct Alone {
    /// Its process id.
    pub pid: u32,
    /// Ask the listener for each thread, which may answer `EAGAIN`.
    pub count_threads: bool,
    /// Refuse truncations that Landlock before ABI 3 does not see.
    pub guard_truncation: bool,
}

/// Why a filter could not be made or installed.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The policy names a system call that no supported architecture has.
    #[error("the policy denies the system call {name:?}, which does not exist; {advice}")]
    UnknownName {
        /// The name as the policy has it.
        name: String,
        /// The nearest name, as a sentence.
        advice: String,
    },
    /// The policy names a system call without which no program starts.
    #[error(
        "the policy denies the system call {name:?}, with which the program itself is started; \
         deny programs with exec rules instead"
    )]
    Indispensable {
        /// The name as the policy has it.
        name: String,
    },
    /// seccompiler refused a rule of ours.
    #[error("compiling the filter for `{syscall}`: {cause}")]
    Compile {
        /// The system call whose rules were compiled.
        syscall: &'static str,
        /// seccompiler's reason.
        cause: String,
    },
    /// The program is longer than the kernel accepts.
    #[error(
        "the system call filter has {length} instructions and the kernel accepts {longest}; \
         deny fewer system calls by name"
    )]
    TooLong {
        /// Instructions.
        length: usize,
        /// The kernel's limit, in instructions.
        longest: usize,
    },
    /// no_new_privs is not set, so a filter could be used against a setuid program.
    #[error("installing the system call filter: no_new_privs is not set on this thread")]
    PrivilegesCanGrow,
    /// The kernel refused the program.
    #[error("installing the system call filter: {source}{advice}")]
    Install {
        /// The kernel's reason.
        source: io::Error,
        /// What to do about it, as the end of the sentence, or nothing.
        advice: &'static str,
    },
}

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// The finished program, ready to be handed to the kernel.
#[derive(Clone)]
pub struct Filters {
    program: Vec<libc::sock_filter>,
    listens: bool,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filters")
            .field("instructions", &self.program.len())
            .field("listens", &self.listens)
            .finish()
    }
}

impl Filters {
    /// Compiles the program for this machine's architecture. Touches nothing.
    ///
    /// # Errors
    /// A name in `deny` that does not exist or cannot be denied; a program that grew too long.
    pub fn compile(request: &SeccompRequest) -> Result<Filters, SeccompError> {
        let mut table = rules::table(request)?;
        for number in names::resolve(&request.deny)? {
            let handling = match request.kill {
                true => rules::Handling::Kill,
                false => rules::Handling::Refuse(libc::EPERM),
            };
            table.insert(number, handling);
        }
        let program = tighten(assemble::program(&table)?);
        if program.len() > sys::seccomp::LONGEST_PROGRAM {
            return Err(SeccompError::TooLong {
                length: program.len(),
                longest: sys::seccomp::LONGEST_PROGRAM,
            });
        }
        Ok(Filters {
            program,
            listens: request.exec_once || !request.intercept.is_empty(),
        })
    }

    /// Installs the program on the calling thread, for good. The process must be single-threaded
    /// and have no_new_privs set. Where it has something to answer it returns the listener (close-on-exec).
    ///
    /// # Errors
    /// no_new_privs is missing, or the kernel refused; then nothing is installed.
    pub fn install(&self) -> Result<Option<OwnedFd>, SeccompError> {
        if !matches!(rustix::thread::no_new_privs(), Ok(true)) {
            return Err(SeccompError::PrivilegesCanGrow);
        }
        let installed = if self.listens {
            sys::seccomp::add_filter_with_listener(&self.program).map(Some)
        } else {
            sys::seccomp::add_filter(&self.program).map(|()| None)
        };
        installed.map_err(|source| SeccompError::Install {
            advice: match source.raw_os_error() {
                Some(libc::EBUSY) => {
                    "; the sandbox around this process already listens to system calls and the \
                     kernel has room for one listener: run outside of it, or allow exec in the \
                     policy"
                }
                _ => "",
            },
            source,
        })
    }

    /// Whether installing it gives a listener.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listens
    }

    /// Appends the program's instructions, 8 bytes each in the order of this machine.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.program.len() * INSTRUCTION);
        for instruction in &self.program {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
    }

    /// The program that [`Filters::write_to`] wrote; `None` for another number of bytes.
    #[must_use]
    pub fn read_from(bytes: &[u8], listens: bool) -> Option<Filters> {
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
        let read = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; INSTRUCTION]| libc::sock_filter {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        let program: Vec<_> = instructions.iter().map(read).collect();
        (rest.is_empty() && !program.is_empty()).then_some(Filters { program, listens })
    }

    /// Instructions in the program, as a measure of what the kernel has to take in.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.program.len()
    }
}
