//! From a table of rules to BPF text.

use std::collections::BTreeMap;

use syscalls::Sysno;

use super::SeccompError;
use super::rules::{Clause, Handling, NEWEST_REVIEWED};
use crate::launch::bpf::{
    ARCHITECTURE, IF_EQUAL, LOAD, Leaf, NUMBER, RETURN, Searching, Stretches, branch, compare,
    link, op,
};

#[cfg(target_arch = "x86_64")]
const TARGET: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const TARGET: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// The program of `table`. A wrong architecture kills; a number above the newest reviewed call
/// answers `ENOSYS`, and with it every x32 number, which has bit 30 set.
pub(super) fn program(
    table: &BTreeMap<i64, Handling>,
) -> Result<Vec<libc::sock_filter>, SeccompError> {
    let mut blocks = Vec::new();
    let mut stretches = Stretches::of(Leaf::Return(ALLOW));
    for (&number, handling) in table {
        let number = u32::try_from(number).map_err(|_| SeccompError::Compile {
            syscall: "unknown",
            cause: format!("{number} is no number of a system call"),
        })?;
        // Answered as every call that was not reviewed is, and the stretches stay in order.
        if number > NEWEST_REVIEWED {
            continue;
        }
        let leaf = match handling {
            Handling::Refuse(errno) => Leaf::Return(refusal(*errno)),
            Handling::Kill => Leaf::Return(libc::SECCOMP_RET_KILL_PROCESS),
            Handling::Notify => Leaf::Return(libc::SECCOMP_RET_USER_NOTIF),
            Handling::Compare(clauses) => {
                blocks.push(block(number, clauses)?);
                Leaf::Block(blocks.len() - 1)
            }
        };
        stretches.put(number, leaf);
    }
    stretches.from(NEWEST_REVIEWED + 1, Leaf::Return(refusal(libc::ENOSYS)));

    let mut search = vec![
        Searching::Text(op(LOAD, ARCHITECTURE)),
        Searching::Text(branch(IF_EQUAL, TARGET, 1, 0)),
        Searching::Text(op(RETURN, libc::SECCOMP_RET_KILL_PROCESS)),
        Searching::Text(op(LOAD, NUMBER)),
    ];
    search.extend(stretches.search());
    Ok(link(&search, blocks))
}

/// The text that compares the arguments of one system call and returns.
fn block(number: u32, clauses: &[Clause]) -> Result<Vec<libc::sock_filter>, SeccompError> {
    let mut block = Vec::new();
    for clause in clauses {
        let (rules, hit, miss) = match clause {
            Clause::Refuse { when, errno } => (when, refusal(*errno), None),
            Clause::Admit { only, errno } => (only, ALLOW, Some(refusal(*errno))),
            Clause::AdmitOrKill { only } => (only, ALLOW, Some(libc::SECCOMP_RET_KILL_PROCESS)),
            Clause::AdmitOrAsk { only } => (only, ALLOW, Some(libc::SECCOMP_RET_USER_NOTIF)),
            Clause::Ask { only, errno } => {
                (only, libc::SECCOMP_RET_USER_NOTIF, Some(refusal(*errno)))
            }
        };
        let compared = compare(rules.clone(), hit).map_err(|e| SeccompError::Compile {
            syscall: Sysno::new(number as usize).map_or("unknown", |sysno| sysno.name()),
            cause: e.to_string(),
        })?;
        block.extend(compared);
        if let Some(miss) = miss {
            block.push(op(RETURN, miss));
            return Ok(block);
        }
    }
    block.push(op(RETURN, ALLOW));
    Ok(block)
}

/// The answer that is an errno.
fn refusal(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & libc::SECCOMP_RET_DATA)
}
