//! v2's form of the list: a program that the kernel asks about each access.
//!
//! It goes through the rules from the last to the first. Of the accesses asked for it takes away
//! those that a rule allows, allows when none is left, and denies as soon as a rule denies one that
//! is. What no rule decides is denied.
//!
//! Every container has one, and the kernel follows each way through it before it takes it. So
//! neighbours among the rules that are about one kind, or one major number of it, ask for that
//! once, and each answer stands once, at the end.

use super::rule::{Access, Kind, Rule};
use crate::sys::bpf::Instruction;

// Operations (`linux/bpf_common.h`, `linux/bpf.h`).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP: u8 = 0x05;
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

/// The rules are more than jumps in a program can cross.
#[derive(Debug, thiserror::Error)]
#[error("these are more rules than one program can hold")]
pub(super) struct TooMany;

/// The program for `rules`.
///
/// # Errors
/// There are thousands of them.
pub(super) fn assemble(rules: &[Rule]) -> Result<Vec<Instruction>, TooMany> {
    let last = rules.iter().rposition(Rule::is_for_all);
    let rest = last.is_some_and(|last| rules[last].allow);
    // The kernel's own numbers are of 12 and 20 bits: there is no device of a greater one.
    let is_small = |number: Option<u32>| number.is_none_or(|number| i32::try_from(number).is_ok());
    let decisive = rules[last.map_or(0, |last| last + 1)..].iter().rev();
    let rules: Vec<&Rule> = decisive
        .filter(|rule| is_small(rule.major) && is_small(rule.minor))
        .collect();
    let mut program = Program::default();
    program.read();
    for of_kind in rules.chunk_by(|one, next| one.kind == next.kind) {
        let others = of_kind[0].kind.map(number);
        let others = others.map(|kind| program.jump(JUMP_UNLESS_EQUAL, KIND, kind));
        for of_major in of_kind.chunk_by(|one, next| one.major == next.major) {
            let is_decided = program.decide_major(of_major)?;
            // The kernel refuses a program with instructions that are never reached.
            if is_decided && of_major[0].major.is_none() {
                break;
            }
        }
        program.land(others)?;
    }
    program.end(rest)
}

#[derive(Default)]
struct Program {
    text: Vec<Instruction>,
    /// The jumps to each answer.
    allowing: Vec<usize>,
    denying: Vec<usize>,
}

impl Program {
    /// struct bpf_cgroup_dev_ctx: access and kind in the halves of a word, then the numbers.
    fn read(&mut self) {
        self.text.extend([
            load(KIND, 0),
            copy(WANTED, KIND),
            plain(SHIFT_RIGHT, WANTED, 16),
            plain(AND, KIND, 0xffff),
            load(MAJOR, 4),
            load(MINOR, 8),
        ]);
    }

    /// A jump whose end is not known yet: its place.
    fn jump(&mut self, code: u8, register: u8, immediate: i32) -> usize {
        self.text.push(plain(code, register, immediate));
        self.text.len() - 1
    }

    /// Has jumps lead to what comes next.
    fn land(&mut self, jumps: impl IntoIterator<Item = usize>) -> Result<(), TooMany> {
        for place in jumps {
            let crossed = self.text.len() - place - 1;
            self.text[place].offset = i16::try_from(crossed).map_err(|_| TooMany)?;
        }
        Ok(())
    }

    fn jump_to(&mut self, allow: bool, code: u8, register: u8, immediate: i32) {
        let place = self.jump(code, register, immediate);
        match allow {
            true => self.allowing.push(place),
            false => self.denying.push(place),
        }
    }

    /// Rules that are about one major number, or about all of them. Whether nothing that comes to
    /// them goes on past them.
    fn decide_major(&mut self, rules: &[&Rule]) -> Result<bool, TooMany> {
        let others = rules[0].major.map(u32::cast_signed);
        let others = others.map(|major| self.jump(JUMP_UNLESS_EQUAL, MAJOR, major));
        let mut is_decided = false;
        for rule in rules {
            is_decided = self.decide(rule)?;
            if is_decided {
                break;
            }
        }
        self.land(others)?;
        Ok(is_decided)
    }

    /// A rule whose kind and major number fit. Whether nothing goes on past it.
    fn decide(&mut self, rule: &Rule) -> Result<bool, TooMany> {
        let minor = rule.minor.map(u32::cast_signed);
        if rule.access == Access::ALL {
            match minor {
                Some(minor) => self.jump_to(rule.allow, JUMP_IF_EQUAL, MINOR, minor),
                None => self.jump_to(rule.allow, JUMP, 0, 0),
            }
            return Ok(minor.is_none());
        }
        let others = minor.map(|minor| self.jump(JUMP_UNLESS_EQUAL, MINOR, minor));
        let bits = i32::from(rule.access.0);
        if rule.allow {
            self.text.push(plain(AND, WANTED, !bits));
            self.jump_to(true, JUMP_IF_EQUAL, WANTED, 0);
        } else {
            // The context is read by now, and its register free.
            self.text.push(copy(CONTEXT, WANTED));
            self.text.push(plain(AND, CONTEXT, bits));
            self.jump_to(false, JUMP_UNLESS_EQUAL, CONTEXT, 0);
        }
        self.land(others)?;
        Ok(false)
    }

    /// The answers, of which `rest` is for what no rule has decided.
    fn end(mut self, rest: bool) -> Result<Vec<Instruction>, TooMany> {
        let (allowing, denying) = (
            std::mem::take(&mut self.allowing),
            std::mem::take(&mut self.denying),
        );
        let (same, other) = match rest {
            true => (allowing, denying),
            false => (denying, allowing),
        };
        self.land(same)?;
        self.text.extend(answer(rest));
        if !other.is_empty() {
            self.land(other)?;
            self.text.extend(answer(!rest));
        }
        Ok(self.text)
    }
}

const fn copy(to: u8, from: u8) -> Instruction {
    plain(MOVE_REGISTER, to | from << 4, 0)
}

const fn answer(allow: bool) -> [Instruction; 2] {
    [plain(MOVE, ANSWER, allow as i32), plain(EXIT, 0, 0)]
}
