//! Classic BPF text as seccomp(2) takes it: what the worker's own filter and the profiles of OCI
//! containers have in common.
//!
//! A program here is a binary search over the numbers of system calls, which ends in answers or
//! in blocks that compare arguments. seccompiler writes the comparisons, one small filter for
//! each block; its own search is a chain that grows with every call it names. Short is what
//! installing costs: the kernel runs a new filter once for every number to find those always
//! allowed, and translates every instruction.
//!
//! Trusts: seccompiler for the comparison of arguments. Never: knows what a system call does.

mod compare;
#[cfg(test)]
pub(super) mod interpreter;
mod search;
mod tighten;

pub(super) use compare::{CompareError, compare};
pub(super) use search::{Leaf, Searching, Stretches, link};
pub(super) use tighten::tighten;

/// Offset of the call's number in `struct seccomp_data` (`linux/seccomp.h`), in bytes.
pub(super) const NUMBER: u32 = 0;
/// Offset of the architecture there, in bytes.
pub(super) const ARCHITECTURE: u32 = 4;

// Operations (`linux/bpf_common.h`).
/// Loads the 32-bit word at an offset of `struct seccomp_data`.
pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
/// Ends the program with an answer.
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Jumps forward by a number of instructions.
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
/// Branches where the loaded word equals a constant.
pub(super) const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
/// Branches where the loaded word is at least a constant.
pub(super) const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;

/// An instruction that does not branch.
pub(super) fn op(code: u16, k: u32) -> libc::sock_filter {
    branch(code, k, 0, 0)
}

/// An instruction that skips `jt` instructions where its condition holds, else `jf`.
pub(super) fn branch(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
