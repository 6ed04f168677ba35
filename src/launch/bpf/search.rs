//! The search for a system call's number, and the program around it.

use super::{IF_AT_LEAST, JUMP, RETURN, branch, op};

/// What to do with one stretch of system call numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::launch) enum Leaf {
    /// This answer.
    Return(u32),
    /// Go to the block of this index.
    Block(usize),
}

/// All 32-bit numbers, as stretches that share a leaf. They are put in ascending order.
#[derive(Debug, Clone)]
pub(in crate::launch) struct Stretches {
    /// The first number of each stretch; it ends where the next one begins.
    starts: Vec<(u32, Leaf)>,
    rest: Leaf,
}

impl Stretches {
    /// Every number has the leaf `rest`.
    pub(in crate::launch) fn of(rest: Leaf) -> Stretches {
        Stretches {
            starts: vec![(0, rest)],
            rest,
        }
    }

    /// Gives `leaf` to `number` alone; what follows is the rest again.
    pub(in crate::launch) fn put(&mut self, number: u32, leaf: Leaf) {
        self.start(number, leaf);
        if let Some(next) = number.checked_add(1) {
            self.start(next, self.rest);
        }
    }

    /// Gives another leaf to the rest, from `number` on.
    pub(in crate::launch) fn from(&mut self, number: u32, rest: Leaf) {
        self.rest = rest;
        self.start(number, rest);
    }

    /// Neighbours with one leaf become one stretch.
    fn start(&mut self, number: u32, leaf: Leaf) {
        while self.starts.last().is_some_and(|(last, _)| *last >= number) {
            self.starts.pop();
        }
        if self.starts.last().is_none_or(|(_, before)| *before != leaf) {
            self.starts.push((number, leaf));
        }
    }

    /// The search, which expects the number to be loaded.
    pub(in crate::launch) fn search(&self) -> Vec<Searching> {
        let mut text = Vec::with_capacity(self.starts.len() * 2);
        search(&self.starts, &mut text);
        text
    }
}

/// An instruction of a program whose blocks have no place yet.
#[derive(Clone, Copy)]
pub(in crate::launch) enum Searching {
    /// As it is. Jumps among these count instructions of the search only.
    Text(libc::sock_filter),
    /// A jump to the block of this index.
    Enter(usize),
}

/// A binary search: as many comparisons as the number of stretches has bits.
fn search(starts: &[(u32, Leaf)], text: &mut Vec<Searching>) {
    match starts {
        [] => {}
        [(_, Leaf::Return(value))] => text.push(Searching::Text(op(RETURN, *value))),
        [(_, Leaf::Block(block))] => text.push(Searching::Enter(*block)),
        _ => {
            let (low, high) = starts.split_at(starts.len() / 2);
            let pivot = high.first().map_or(0, |(number, _)| *number);
            let mut below = Vec::new();
            search(low, &mut below);
            match u8::try_from(below.len()) {
                Ok(over) => text.push(Searching::Text(branch(IF_AT_LEAST, pivot, over, 0))),
                // A conditional jump reaches 255 instructions, an unconditional one anywhere.
                Err(_) => {
                    text.push(Searching::Text(branch(IF_AT_LEAST, pivot, 0, 1)));
                    let over = u32::try_from(below.len()).unwrap_or(u32::MAX);
                    text.push(Searching::Text(op(JUMP, over)));
                }
            }
            text.extend(below);
            search(high, text);
        }
    }
}

/// The whole program: the search, then the blocks.
pub(in crate::launch) fn link(
    search: &[Searching],
    blocks: Vec<Vec<libc::sock_filter>>,
) -> Vec<libc::sock_filter> {
    let mut starts = Vec::with_capacity(blocks.len());
    let mut next = search.len();
    for block in &blocks {
        starts.push(next);
        next += block.len();
    }
    let mut program = Vec::with_capacity(next + 1);
    for instruction in search {
        let here = program.len();
        program.push(match instruction {
            Searching::Text(text) => *text,
            Searching::Enter(block) => op(JUMP, distance(here, starts.get(*block))),
        });
    }
    program.extend(blocks.into_iter().flatten());
    // seccompiler opens a rule with a jump past its end that nothing reaches, and the kernel checks
    // that it stays inside the program: after the last block it must land on something.
    program.push(op(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    program
}

/// Operand of a jump from `here` to `target`. The kernel refuses a program that jumps out of
/// itself, so a target that does not exist fails at install and never lets a call through.
fn distance(here: usize, target: Option<&usize>) -> u32 {
    target
        .and_then(|target| target.checked_sub(here + 1))
        .and_then(|distance| u32::try_from(distance).ok())
        .unwrap_or(u32::MAX)
}
