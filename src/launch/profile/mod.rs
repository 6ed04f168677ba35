//! Compiles the seccomp profile of an OCI container (`linux.seccomp` in config.json) to BPF,
//! installs it, and hands the listener of `SCMP_ACT_NOTIFY` to its agent.
//!
//! [`Profile::compile`] is pure and runs in the parent, before the container's process exists. The
//! meaning of a profile is libseccomp's, as runc uses it: rules by name on every listed
//! architecture, what is newer than the profile answers `ENOSYS`, and among the rules of one call
//!
//! - one without conditions wins, the first of several;
//! - otherwise they are tried in an order of their own (see `order`), not as they are listed;
//! - two that say different things of the same arguments are refused.
//!
//! Known differences, all towards less: a rule for one System V IPC call holds for `ipc` on x86
//! whatever version is in the upper half of its first argument; an errno that cannot be answered
//! is refused instead of cut to 16 bits, as is one for an action that has none; architectures that
//! this machine's kernel cannot run are left out of the program.
//!
//! Trusts: the profile, which is the administrator's. Never: drops a rule that it knows without
//! an error, and never decides by a pointer's target.

mod arch;
mod assemble;
mod names;
mod notify;
mod order;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};

pub use notify::{ProcessState, notify};

use crate::sys;
use arch::Machine;

/// Why a profile could not be compiled, installed or handed over.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A system call without a name.
    #[error("linux.seccomp.syscalls: the empty string is not the name of a system call")]
    EmptyName,
    /// A system call has six arguments.
    #[error(
        "linux.seccomp.syscalls: the rule for `{syscall}` compares argument {index}, and system calls have arguments 0 to 5"
    )]
    ArgumentIndex {
        /// The first name in the rule.
        syscall: String,
        /// The argument's index.
        index: usize,
    },
    /// A value that an answer has no room for.
    #[error("linux.seccomp: {field} is {value}, and the largest that can be answered is {largest}")]
    ErrnoTooLarge {
        /// `defaultErrnoRet`, or `errnoRet` with the call it belongs to.
        field: String,
        /// Its value.
        value: u32,
        /// The largest for its action.
        largest: u32,
    },
    /// An errno beside an action that answers none.
    #[error(
        "linux.seccomp: {field} is set, and the action {action} answers no errno; take it out, or use SCMP_ACT_ERRNO"
    )]
    ErrnoWithoutUse {
        /// `defaultErrnoRet`, or `errnoRet` with the call it belongs to.
        field: String,
        /// The action as the profile names it.
        action: String,
    },
    /// Two rules for the same arguments.
    #[error(
        "linux.seccomp.syscalls: two rules for `{syscall}` give different actions for the same arguments; take one out"
    )]
    Contradiction {
        /// The system call.
        syscall: String,
    },
    /// No call could be made before somebody listens.
    #[error("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyByDefault,
    /// The call that a runtime may need to hand over the listener.
    #[error("linux.seccomp.syscalls: SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite,
    /// Nobody is named who could answer.
    #[error(
        "linux.seccomp.listenerPath is not set, and a rule for `{syscall}` has the action SCMP_ACT_NOTIFY"
    )]
    NoListener {
        /// The first call that notifies.
        syscall: String,
    },
    /// A flag that the kernel takes only together with a listener.
    #[error(
        "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with the action SCMP_ACT_NOTIFY"
    )]
    FlagWithoutListener,
    /// The comparisons of one call could not be written.
    #[error("compiling the rules for `{syscall}`: {cause}")]
    Compare {
        /// The system call.
        syscall: String,
        /// seccompiler's reason.
        cause: String,
    },
    /// The program is longer than the kernel accepts.
    #[error(
        "linux.seccomp: the filter has {length} instructions and the kernel accepts {longest}; compare fewer arguments"
    )]
    TooLong {
        /// Instructions, or as many as were counted before giving up.
        length: usize,
        /// The kernel's limit, in instructions.
        longest: usize,
    },
    /// The kernel refused the program.
    #[error("installing the seccomp profile: {source}{advice}")]
    Install {
        /// The kernel's reason.
        source: io::Error,
        /// What to do about it, as the end of the sentence, or nothing.
        advice: &'static str,
    },
    /// The listener did not leave the container's process.
    #[error("handing over the listener of the seccomp profile: {source}")]
    HandOver {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The listener did not reach the agent.
    #[error(
        "failed to {operation} seccomp agent at linux.seccomp.listenerPath {socket:?}: {source}"
    )]
    Agent {
        /// What was tried.
        operation: &'static str,
        /// The agent's socket.
        socket: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A compiled profile, ready to be handed to the kernel. Plain data.
#[derive(Clone)]
pub struct Profile {
    program: Vec<libc::sock_filter>,
    flags: u32,
    /// No flags were named, so the one that is set by default may be given up.
    flags_by_default: bool,
    listener: Option<(PathBuf, Option<String>)>,
    skipped: Vec<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("instructions", &self.program.len())
            .field("flags", &self.flags)
            .field("listener", &self.listener)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

impl Profile {
    /// Compiles `seccomp` for this machine. Touches nothing.
    ///
    /// # Errors
    /// What the profile says and no filter can do; a program that grew too long.
    pub fn compile(seccomp: &LinuxSeccomp) -> Result<Profile, ProfileError> {
        Profile::compile_for(Machine::HERE, seccomp)
    }

    fn compile_for(machine: Machine, seccomp: &LinuxSeccomp) -> Result<Profile, ProfileError> {
        let listing = rules::Listing::read(seccomp)?;
        let assembled = assemble::assemble(machine, seccomp.architectures(), &listing)?;
        let longest = sys::seccomp::LONGEST_PROGRAM;
        if assembled.program.len() > longest {
            return Err(ProfileError::TooLong {
                length: assembled.program.len(),
                longest,
            });
        }
        let listener = match listing.notifies {
            None => None,
            Some(syscall) => match seccomp.listener_path() {
                Some(path) if !path.as_os_str().is_empty() => {
                    Some((path.clone(), seccomp.listener_metadata().clone()))
                }
                _ => {
                    return Err(ProfileError::NoListener {
                        syscall: syscall.to_owned(),
                    });
                }
            },
        };
        Ok(Profile {
            program: assembled.program,
            flags: flags(seccomp.flags().as_deref(), listener.is_some())?,
            flags_by_default: seccomp.flags().is_none(),
            listener,
            skipped: assembled.skipped,
        })
    }

    /// Installs the profile on the calling thread, for good and for what it executes. Other
    /// threads of the process keep what they have. Gives the listener (close-on-exec) where a rule
    /// has the action `SCMP_ACT_NOTIFY`; then every further call of this thread may wait for
    /// whoever holds it, and [`Profile::install_and_hand_over`] is the way out.
    ///
    /// # Errors
    /// The thread has neither `CAP_SYS_ADMIN` nor no_new_privs, or the kernel refused for another
    /// reason; then nothing is installed.
    pub fn install(&self) -> Result<Option<OwnedFd>, ProfileError> {
        self.set_filter().map_err(refused)
    }

    /// Installs as [`Profile::install`] does, and gives the listener, where there is one, to
    /// `hand_over`, whose system calls the profile does not hold: a short-lived thread makes
    /// them. The calling thread makes none until that has returned.
    ///
    /// # Errors
    /// As for [`Profile::install`]; no thread may be made, or `hand_over` failed.
    pub fn install_and_hand_over(
        &self,
        hand_over: impl FnOnce(OwnedFd) -> io::Result<()> + Send + 'static,
    ) -> Result<(), ProfileError> {
        if self.listener.is_none() {
            return self.install().map(drop);
        }
        let handed = sys::handover::hand_over(|| self.set_filter(), hand_over).map_err(refused)?;
        handed.map_err(|source| ProfileError::HandOver { source })
    }

    fn set_filter(&self) -> io::Result<Option<OwnedFd>> {
        match sys::seccomp::set_filter(&self.program, self.flags) {
            // A kernel before 4.17 does not know the flag that nobody asked for.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && self.flags_by_default => {
                sys::seccomp::set_filter(&self.program, self.flags & !SPEC_ALLOW)
            }
            installed => installed,
        }
    }

    /// Where the listener is to be sent, and the text to send with it (`listenerPath`,
    /// `listenerMetadata`). `None` where nothing notifies.
    #[must_use]
    pub fn listener(&self) -> Option<(&Path, Option<&str>)> {
        let (path, metadata) = self.listener.as_ref()?;
        Some((path, metadata.as_deref()))
    }

    /// Names that no architecture knows, in the profile's order. Their rules are left out.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The flags that are given to seccomp(2).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Instructions in the program, as a measure of what the kernel has to take in.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.program.len()
    }
}

/// The kernel's refusal, and what to do about it.
fn refused(source: io::Error) -> ProfileError {
    let advice = match source.raw_os_error() {
        Some(libc::EACCES) => "; it takes CAP_SYS_ADMIN or no_new_privs (process.noNewPrivileges)",
        Some(libc::EBUSY) => {
            "; the sandbox around this process already listens to system calls and the kernel has \
             room for one listener: use no SCMP_ACT_NOTIFY here"
        }
        Some(libc::EINVAL) => "; is a flag of linux.seccomp.flags newer than this kernel?",
        Some(libc::EAGAIN) => "; a limit on processes leaves no room for one more thread",
        _ => "",
    };
    ProfileError::Install { source, advice }
}

const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;

/// The flags for seccomp(2). None named is `SPEC_ALLOW`, as runc and crun have it: kernels before
/// 5.16 would otherwise slow down every indirect load of the container.
fn flags(named: Option<&[Flag]>, notifies: bool) -> Result<u32, ProfileError> {
    let mut flags = match named {
        None => SPEC_ALLOW,
        Some(_) => 0,
    };
    for flag in named.unwrap_or_default() {
        flags |= match flag {
            // There is one thread to install it on.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if notifies => sys::seccomp::WAIT_KILLABLE_RECV,
            Flag::SeccompFilterFlagWaitKillableRecv => {
                return Err(ProfileError::FlagWithoutListener);
            }
        };
    }
    if notifies {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    }
    Ok(flags)
}
