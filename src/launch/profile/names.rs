//! The numbers of system calls by name, as libseccomp has them.
//!
//! Most are in the crate `syscalls`. It has no x32, none of arm's private calls, for aarch64 some
//! that only 32-bit machines have, and is older than the newest kernel.

use syscalls::{aarch64, arm, x86, x86_64};

use super::arch::{Abi, X32_BIT};

/// The largest number of an ordinary call, on every architecture here: rseq_slice_yield.
const NEWEST: u32 = 471;

/// Calls that every architecture got after the crate was made (Linux 6.19 and 7.0).
const NEWER: &[(u32, &str)] = &[(470, "listns"), (471, "rseq_slice_yield")];

/// Calls that x32 has under another number than x86_64 (`syscall_64.tbl`), without the bit.
const X32_OWN: &[(u32, &str)] = &[
    (512, "rt_sigaction"),
    (513, "rt_sigreturn"),
    (514, "ioctl"),
    (515, "readv"),
    (516, "writev"),
    (517, "recvfrom"),
    (518, "sendmsg"),
    (519, "recvmsg"),
    (520, "execve"),
    (521, "ptrace"),
    (522, "rt_sigpending"),
    (523, "rt_sigtimedwait"),
    (524, "rt_sigqueueinfo"),
    (525, "sigaltstack"),
    (526, "timer_create"),
    (527, "mq_notify"),
    (528, "kexec_load"),
    (529, "waitid"),
    (530, "set_robust_list"),
    (531, "get_robust_list"),
    (532, "vmsplice"),
    (533, "move_pages"),
    (534, "preadv"),
    (535, "pwritev"),
    (536, "rt_tgsigqueueinfo"),
    (537, "recvmmsg"),
    (538, "sendmmsg"),
    (539, "process_vm_readv"),
    (540, "process_vm_writev"),
    (541, "setsockopt"),
    (542, "getsockopt"),
    (543, "io_setup"),
    (544, "io_submit"),
    (545, "execveat"),
    (546, "preadv2"),
    (547, "pwritev2"),
];

/// Calls that x86_64 has and x32 has not.
const NOT_ON_X32: &[&str] = &[
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
];

/// arm's private calls (`asm/unistd.h`).
const ARM_OWN: &[(u32, &str)] = &[
    (0xf_0001, "breakpoint"),
    (0xf_0002, "cacheflush"),
    (0xf_0003, "usr26"),
    (0xf_0004, "usr32"),
    (0xf_0005, "set_tls"),
    (0xf_0006, "get_tls"),
];

/// A call of x86 that is also made through another one, which takes its code as first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    pub(super) name: &'static str,
    pub(super) code: u32,
}

/// By socketcall (`linux/net.h`).
const SOCKET_CALLS: &[&str] = &[
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// By ipc (`linux/ipc.h`).
const IPC_CALLS: &[(u32, &str)] = &[
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// What goes through a multiplexing call of x86; nothing for any other call.
pub(super) fn multiplexed_by(name: &str) -> Vec<Multiplexed> {
    match name {
        "socketcall" => (1..)
            .zip(SOCKET_CALLS)
            .map(|(code, name)| Multiplexed { name, code })
            .collect(),
        "ipc" => IPC_CALLS
            .iter()
            .map(|&(code, name)| Multiplexed { name, code })
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether x86 has the call behind socketcall or ipc, be there a direct one too or not.
pub(super) fn is_multiplexed(name: &str) -> bool {
    SOCKET_CALLS.contains(&name) || IPC_CALLS.iter().any(|(_, known)| *known == name)
}

impl Abi {
    /// All its calls with their numbers, ascending.
    pub(super) fn calls(self) -> impl Iterator<Item = (&'static str, u32)> {
        let ordinary = (0..=NEWEST).filter_map(move |n| Some((self.ordinary(n)?, n)));
        let (bit, own) = match self {
            Abi::X32 => (X32_BIT, X32_OWN),
            Abi::Arm => (0, ARM_OWN),
            Abi::X86_64 | Abi::X86 | Abi::Aarch64 => (0, &[][..]),
        };
        ordinary
            .chain(own.iter().map(|&(number, name)| (name, number)))
            .map(move |(name, number)| (name, number | bit))
    }

    /// The call of this number in the architecture's table.
    fn ordinary(self, number: u32) -> Option<&'static str> {
        if let Some((_, name)) = NEWER.iter().find(|(newer, _)| *newer == number) {
            return Some(name);
        }
        let id = number as usize;
        match self {
            Abi::X86_64 => x86_64::Sysno::new(id).map(|sysno| sysno.name()),
            Abi::X86 => x86::Sysno::new(id).map(|sysno| sysno.name()),
            Abi::Arm => arm::Sysno::new(id).map(|sysno| sysno.name()),
            Abi::X32 => {
                let name = x86_64::Sysno::new(id)?.name();
                let own = X32_OWN.iter().any(|(_, known)| *known == name);
                (!own && !NOT_ON_X32.contains(&name)).then_some(name)
            }
            Abi::Aarch64 => match number {
                79 => Some("newfstatat"),
                // 64-bit times for 32-bit machines.
                403..=423 => None,
                _ => aarch64::Sysno::new(id).map(|sysno| sysno.name()),
            },
        }
        // `break` is a word of Rust.
        .map(|name| name.strip_prefix("r#").unwrap_or(name))
    }
}

/// Whether any architecture has a call of this name.
pub(super) fn exists(name: &str) -> bool {
    is_multiplexed(name)
        || Abi::ALL
            .into_iter()
            .any(|abi| abi.calls().any(|(known, _)| known == name))
}
