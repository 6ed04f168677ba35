//! v2's form of the list: a program that the kernel asks about each access.
//!
//! It goes through the rules from the last to the first. Of the accesses asked for it takes away
//! those that a rule allows, allows when none is left, and denies as soon as a rule denies one that
//! is. What no rule decides is denied.

use super::rule::{Access, Kind, Rule};
use crate::sys::bpf::Instruction;

// Operations (`linux/bpf_common.h`, `linux/bpf.h`).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

// Registers: the answer, the context, and what is read from it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const fn number(kind: Kind) -> i32 {
    match kind {
        Kind::Block => 1,
        Kind::Character => 2,
    }
}

const fn plain(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate,
    }
}

const fn load(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: LOAD_WORD,
        registers: register | CONTEXT << 4,
        offset,
        immediate: 0,
    }
}

const fn jump(code: u8, register: u8, immediate: i32, offset: i16) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset,
        immediate,
    }
}

const fn answer(allow: bool) -> [Instruction; 2] {
    [plain(MOVE, ANSWER, allow as i32), plain(EXIT, 0, 0)]
}

/// The program for `rules`.
pub(super) fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access and kind in the halves of a word, then the numbers.
    let mut program = vec![
        load(KIND, 0),
        Instruction {
            code: MOVE_REGISTER,
            registers: WANTED | KIND << 4,
            offset: 0,
            immediate: 0,
        },
        plain(SHIFT_RIGHT, WANTED, 16),
        plain(AND, KIND, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        if rule.is_for_all() {
            program.extend(answer(rule.allow));
            // The kernel refuses a program with instructions that are never reached.
            return program;
        }
        block(&mut program, rule);
    }
    program.extend(answer(false));
    program
}

fn block(program: &mut Vec<Instruction>, rule: &Rule) {
    let small = |number: Option<u32>| number.map(i32::try_from).transpose();
    let (Ok(major), Ok(minor)) = (small(rule.major), small(rule.minor)) else {
        // The kernel's own numbers are of 12 and 20 bits: there is no such device.
        return;
    };
    let mut body = Vec::with_capacity(4);
    let bits = i32::from(rule.access.0);
    match (rule.allow, rule.access == Access::ALL) {
        (_, true) => {}
        (true, false) => {
            body.push(plain(AND, WANTED, !bits));
            body.push(jump(JUMP_UNLESS_EQUAL, WANTED, 0, 2));
        }
        (false, false) => {
            // The context is read by now, and its register free.
            body.push(Instruction {
                code: MOVE_REGISTER,
                registers: CONTEXT | WANTED << 4,
                offset: 0,
                immediate: 0,
            });
            body.push(plain(AND, CONTEXT, bits));
            body.push(jump(JUMP_IF_EQUAL, CONTEXT, 0, 2));
        }
    }
    body.extend(answer(rule.allow));
    let conditions = [
        (KIND, rule.kind.map(number)),
        (MAJOR, major),
        (MINOR, minor),
    ];
    let conditions: Vec<_> = conditions
        .into_iter()
        .filter_map(|(register, value)| Some((register, value?)))
        .collect();
    // Each leads past those after it and the body, which are eight instructions at the most.
    let mut past = conditions.len() as i16 - 1 + body.len() as i16;
    for (register, value) in conditions {
        program.push(jump(JUMP_UNLESS_EQUAL, register, value, past));
        past -= 1;
    }
    program.extend(body);
}
