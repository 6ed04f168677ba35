//! From a table of rules to BPF text.
//!
//! seccompiler compares arguments, one small filter for each system call that needs it; its own
//! search is a chain that grows with every call it names, so the dispatch to those filters is a
//! binary search of ours. That keeps the program short, and short is what installing costs: the
//! kernel runs a new filter once for every system call number to find those always allowed.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter};
use syscalls::Sysno;

use super::SeccompError;
use super::rules::{Clause, Handling, NEWEST_REVIEWED};

// Offsets in `struct seccomp_data` (`linux/seccomp.h`), in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

// Classic BPF operations (`linux/bpf_common.h`).
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;

#[cfg(target_arch = "x86_64")]
const TARGET: (TargetArch, u32) = (TargetArch::x86_64, 0xc000_003e); // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const TARGET: (TargetArch, u32) = (TargetArch::aarch64, 0xc000_00b7); // AUDIT_ARCH_AARCH64

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// What to do with one stretch of system call numbers.
#[derive(Clone, Copy, PartialEq)]
enum Leaf {
    Return(u32),
    /// Index of the block that compares arguments.
    Block(usize),
}

/// The program of `table`. A wrong architecture kills; a number above the newest reviewed call
/// answers `ENOSYS`, and with it every x32 number, which has bit 30 set.
pub(super) fn program(
    table: &BTreeMap<i64, Handling>,
) -> Result<Vec<libc::sock_filter>, SeccompError> {
    let mut blocks = Vec::new();
    let mut leaves = vec![(0, Leaf::Return(ALLOW))];
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
            Handling::Notify => Leaf::Return(libc::SECCOMP_RET_USER_NOTIF),
            Handling::Compare(clauses) => {
                blocks.push(compare(number, clauses)?);
                Leaf::Block(blocks.len() - 1)
            }
        };
        put(&mut leaves, number, leaf);
    }
    leaves.push((NEWEST_REVIEWED + 1, Leaf::Return(refusal(libc::ENOSYS))));

    let mut program = vec![
        op(LOAD, ARCHITECTURE),
        branch(IF_EQUAL, TARGET.1, 1, 0),
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, NUMBER),
    ];
    let search = search(&leaves);
    let mut starts = Vec::with_capacity(blocks.len());
    let mut next = program.len() + search.len();
    for block in &blocks {
        starts.push(next);
        next += block.len();
    }
    for instruction in search {
        let here = program.len();
        program.push(match instruction {
            Searching::Text(text) => text,
            Searching::Enter(block) => op(JUMP, distance(here, starts.get(block))),
        });
    }
    program.extend(blocks.into_iter().flatten());
    // seccompiler opens a rule with a jump past its end that nothing reaches, and the kernel checks
    // that it stays inside the program: after the last block it must land on something.
    program.push(op(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    Ok(program)
}

/// Appends `leaf` for `number` alone: what follows is allowed until the next call says otherwise.
/// Neighbours with one answer become one stretch.
fn put(leaves: &mut Vec<(u32, Leaf)>, number: u32, leaf: Leaf) {
    if let Some(last) = leaves.last_mut()
        && last.0 == number
    {
        leaves.pop();
    }
    if leaves.last().is_none_or(|(_, before)| *before != leaf) {
        leaves.push((number, leaf));
    }
    leaves.push((number + 1, Leaf::Return(ALLOW)));
}

enum Searching {
    Text(libc::sock_filter),
    Enter(usize),
}

/// A binary search over the stretches, deepest seven or eight comparisons.
fn search(leaves: &[(u32, Leaf)]) -> Vec<Searching> {
    match leaves {
        [] => Vec::new(),
        [(_, Leaf::Return(value))] => vec![Searching::Text(op(RETURN, *value))],
        [(_, Leaf::Block(block))] => vec![Searching::Enter(*block)],
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let pivot = high.first().map_or(0, |(number, _)| *number);
            let low = search(low);
            let mut text = match u8::try_from(low.len()) {
                Ok(over) => vec![Searching::Text(branch(IF_AT_LEAST, pivot, over, 0))],
                // A conditional jump reaches 255 instructions, an unconditional one anywhere.
                Err(_) => vec![
                    Searching::Text(branch(IF_AT_LEAST, pivot, 0, 1)),
                    Searching::Text(op(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX))),
                ],
            };
            text.extend(low);
            text.extend(search(high));
            text
        }
    }
}

/// The text that compares the arguments of one system call and returns.
fn compare(number: u32, clauses: &[Clause]) -> Result<Vec<libc::sock_filter>, SeccompError> {
    let mut block = Vec::new();
    for clause in clauses {
        match clause {
            Clause::Refuse { when, errno } => {
                let text = seccompile(number, when, SeccompAction::Allow, errno_action(*errno))?;
                // Drop the two trailing returns: what matched nothing goes on to the next clause.
                block.extend(text.iter().rev().skip(2).rev().map(convert));
            }
            Clause::Admit { only, errno } => {
                let text = seccompile(number, only, errno_action(*errno), SeccompAction::Allow)?;
                block.extend(text.iter().map(convert));
                return Ok(block);
            }
            Clause::Ask { only, errno } => {
                let text = seccompile(number, only, errno_action(*errno), SeccompAction::Allow)?;
                block.extend(text.iter().map(convert).map(ask_instead));
                return Ok(block);
            }
        }
    }
    block.push(op(RETURN, ALLOW));
    Ok(block)
}

/// seccompiler has no action that notifies, so a permission becomes a question afterwards.
fn ask_instead(text: libc::sock_filter) -> libc::sock_filter {
    if text.code == RETURN && text.k == ALLOW {
        op(RETURN, libc::SECCOMP_RET_USER_NOTIF)
    } else {
        text
    }
}

/// One system call's rules in seccompiler's text, without its prologue: the architecture check
/// (three instructions), the load of the number and the comparison with it.
fn seccompile(
    number: u32,
    rules: &[SeccompRule],
    miss: SeccompAction,
    hit: SeccompAction,
) -> Result<BpfProgram, SeccompError> {
    const PROLOGUE: usize = 5;
    let failed = |cause: String| SeccompError::Compile {
        syscall: name(number),
        cause,
    };
    let table = BTreeMap::from([(i64::from(number), rules.to_vec())]);
    let filter = SeccompFilter::new(table, miss.clone(), hit, TARGET.0)
        .map_err(|e| failed(e.to_string()))?;
    let mut text = BpfProgram::try_from(filter).map_err(|e| failed(e.to_string()))?;
    let last = sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: u32::from(miss),
    };
    let as_known = text
        .get(PROLOGUE - 1)
        .is_some_and(|i| i.code == IF_EQUAL && i.k == number)
        && text.ends_with(&[last.clone(), last]);
    if !as_known {
        return Err(failed(
            "seccompiler's text has a shape that is not known here".to_owned(),
        ));
    }
    Ok(text.split_off(PROLOGUE))
}

fn name(number: u32) -> &'static str {
    Sysno::new(number as usize).map_or("unknown", |sysno| sysno.name())
}

fn refusal(errno: i32) -> u32 {
    u32::from(errno_action(errno))
}

fn errno_action(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.unsigned_abs())
}

fn convert(text: &sock_filter) -> libc::sock_filter {
    libc::sock_filter {
        code: text.code,
        jt: text.jt,
        jf: text.jf,
        k: text.k,
    }
}

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Operand of a jump from `here` to `target`. The kernel refuses a program that jumps out of
/// itself, so a target that does not exist fails at install and never lets a call through.
fn distance(here: usize, target: Option<&usize>) -> u32 {
    target
        .and_then(|target| target.checked_sub(here + 1))
        .and_then(|distance| u32::try_from(distance).ok())
        .unwrap_or(u32::MAX)
}
