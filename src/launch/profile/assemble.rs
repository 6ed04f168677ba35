//! From the rules by name to one program for all architectures.

use std::collections::HashMap;

use oci_spec::runtime::Arch;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::ProfileError;
use super::arch::{Abi, Entrance, Machine, Width, X32, X32_BIT};
use super::names;
use super::order::{Settled, Unsettled, settle};
use super::rules::{Condition, Listing, Rule, Test};
use crate::launch::bpf::{
    ARCHITECTURE, CompareError, IF_EQUAL, JUMP, LOAD, Leaf, NUMBER, RETURN, Searching, Stretches,
    branch, compare, link, op, tighten,
};
use crate::sys::seccomp::LONGEST_PROGRAM;

/// The answer to an architecture that is not listed, as libseccomp has it: the thread dies.
const UNLISTED: Leaf = Leaf::Return(libc::SECCOMP_RET_KILL_THREAD);

/// The answer to a call that is newer than the profile.
const NEWER: Leaf = Leaf::Return(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);

/// A program, and the names that it says nothing about.
pub(super) struct Assembled {
    pub(super) program: Vec<libc::sock_filter>,
    pub(super) skipped: Vec<String>,
}

/// Assembles the program for a machine whose profile lists these architectures.
pub(super) fn assemble(
    machine: Machine,
    listed: &Option<Vec<Arch>>,
    listing: &Listing<'_>,
) -> Result<Assembled, ProfileError> {
    let mut assembly = Assembly {
        listing,
        blocks: Vec::new(),
        made: HashMap::new(),
        used: vec![false; listing.named.len()],
        length: 0,
    };
    let mut program = vec![Searching::Text(op(LOAD, ARCHITECTURE))];
    for entrance in machine.entrances(listed.as_deref().unwrap_or_default()) {
        let search = assembly.stretches(&entrance)?.search();
        // Past the load of the number and the search.
        let over = u32::try_from(search.len() + 1).unwrap_or(u32::MAX);
        program.push(Searching::Text(branch(IF_EQUAL, entrance.audit, 1, 0)));
        program.push(Searching::Text(op(JUMP, over)));
        program.push(Searching::Text(op(LOAD, NUMBER)));
        program.extend(search);
    }
    program.push(Searching::Text(op(RETURN, libc::SECCOMP_RET_KILL_THREAD)));
    let skipped = assembly.skipped();
    Ok(Assembled {
        program: tighten(link(&program, assembly.blocks)),
        skipped,
    })
}

struct Assembly<'a> {
    listing: &'a Listing<'a>,
    blocks: Vec<Vec<libc::sock_filter>>,
    /// What became of the rules for a name: the leaf, or nothing where the default holds.
    made: HashMap<(usize, Width), Option<Leaf>>,
    /// Which names an architecture of this program knows.
    used: Vec<bool>,
    /// Instructions in `blocks`.
    length: usize,
}

impl Assembly<'_> {
    /// What each number that comes in here is answered.
    fn stretches(&mut self, entrance: &Entrance) -> Result<Stretches, ProfileError> {
        let default = Leaf::Return(self.listing.default);
        let mut stretches = Stretches::of(default);
        let above = self.put(&mut stretches, entrance.abi)?;
        // Bits 30 and 31 tell the numbers apart, which the names leave in the lowest quarter.
        let (second, third, last) = (X32_BIT, X32_BIT * 2, X32_BIT * 3);
        match entrance.x32 {
            None => {}
            Some(X32::Unlisted) => {
                stretches.from(second, UNLISTED);
                // Where bit 30 is not set and newer calls are answered, it is a newer call.
                stretches.from(third, above.unwrap_or(UNLISTED));
                stretches.from(last, UNLISTED);
                // A tracer sets -1 to skip a call.
                stretches.from(u32::MAX, default);
            }
            Some(X32::Listed) => {
                stretches.from(second, default);
                let above_x32 = self.put(&mut stretches, Abi::X32)?;
                stretches.from(third, above.unwrap_or(default));
                stretches.from(last, above_x32.unwrap_or(default));
            }
        }
        Ok(stretches)
    }

    /// Puts the calls of one numbering. What is above the largest number among the names of the
    /// profile is a newer call and gets the leaf that is given back, if it may not happen by
    /// default. runc does not count number 0, nor what x86 has behind socketcall and ipc.
    fn put(&mut self, stretches: &mut Stretches, abi: Abi) -> Result<Option<Leaf>, ProfileError> {
        let mut newest = None;
        for (name, number) in abi.calls() {
            let place = self.listing.place(name);
            if place.is_some() && number > 0 && !(abi == Abi::X86 && names::is_multiplexed(name)) {
                newest = Some(number);
            }
            let leaf = match abi {
                Abi::X86 if matches!(name, "socketcall" | "ipc") => self.multiplexer(name)?,
                _ => match place {
                    Some(place) => self.leaf(place, abi.width())?,
                    None => None,
                },
            };
            if let Some(leaf) = leaf {
                stretches.put(number, leaf);
            }
        }
        let Some(newest) = newest.filter(|_| !self.listing.permissive) else {
            return Ok(None);
        };
        stretches.from(newest + 1, NEWER);
        Ok(Some(NEWER))
    }

    /// The leaf of a name that the profile has.
    fn leaf(&mut self, place: usize, width: Width) -> Result<Option<Leaf>, ProfileError> {
        if let Some(used) = self.used.get_mut(place) {
            *used = true;
        }
        if let Some(leaf) = self.made.get(&(place, width)) {
            return Ok(*leaf);
        }
        let leaf = match self.listing.named.get(place) {
            Some(named) => self.settled(named.name, &named.rules, width)?,
            None => None,
        };
        self.made.insert((place, width), leaf);
        Ok(leaf)
    }

    /// socketcall or ipc of x86: its own rules, and those for the calls that go through it, where
    /// its first argument tells them apart. Their own first argument is behind a pointer then; the
    /// further ones are compared as they are, which is what libseccomp does.
    fn multiplexer(&mut self, name: &str) -> Result<Option<Leaf>, ProfileError> {
        let mut rules = Vec::new();
        if let Some(place) = self.listing.place(name) {
            self.leaf(place, Width::Low)?;
            rules.extend(self.rules_at(place).iter().cloned());
        }
        for call in names::multiplexed_by(name) {
            let Some(place) = self.listing.place(call.name) else {
                continue;
            };
            if let Some(used) = self.used.get_mut(place) {
                *used = true;
            }
            let first = match name {
                // The upper half of ipc's first argument is the version of the call.
                "ipc" => Condition::masked(0, 0xffff, u64::from(call.code)),
                _ => Condition {
                    index: 0,
                    test: Test::Equal,
                    datum: u64::from(call.code),
                },
            };
            rules.extend(self.rules_at(place).iter().map(|rule| {
                let rest = rule.conditions.iter().filter(|c| c.index != 0).copied();
                Rule {
                    conditions: std::iter::once(first).chain(rest).collect(),
                    ..*rule
                }
            }));
        }
        rules.sort_by_key(|rule| rule.position);
        self.settled(name, &rules, Width::Low)
    }

    fn rules_at(&self, place: usize) -> &[Rule] {
        let named = self.listing.named.get(place);
        named.map_or(&[], |named| &named.rules)
    }

    fn settled(
        &mut self,
        name: &str,
        rules: &[Rule],
        width: Width,
    ) -> Result<Option<Leaf>, ProfileError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let settled = settle(rules, width).map_err(|error| match error {
            Unsettled::TooMany(rules) => too_long(rules),
            Unsettled::Contradiction => ProfileError::Contradiction {
                syscall: name.to_owned(),
            },
        })?;
        match settled {
            Settled::Always(answer) => Ok(Some(Leaf::Return(answer))),
            Settled::Compare(rules) => {
                let block = self.block(name, &rules, width)?;
                self.length += block.len();
                if self.length > LONGEST_PROGRAM * 4 {
                    return Err(too_long(self.length));
                }
                self.blocks.push(block);
                Ok(Some(Leaf::Block(self.blocks.len() - 1)))
            }
        }
    }

    /// The text that tries `rules` in order, and else answers as by default.
    fn block(
        &self,
        name: &str,
        rules: &[Rule],
        width: Width,
    ) -> Result<Vec<libc::sock_filter>, ProfileError> {
        let failed = |error: CompareError| match error {
            CompareError::Refused(BackendError::FilterTooLarge(length)) => too_long(length),
            error => ProfileError::Compare {
                syscall: name.to_owned(),
                cause: error.to_string(),
            },
        };
        let mut block = Vec::new();
        for same in rules.chunk_by(|a, b| a.answer == b.answer) {
            let alternatives = same.iter().map(|rule| alternative(rule, width));
            let alternatives = alternatives
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| failed(error.into()))?;
            let hit = same.first().map_or(0, |rule| rule.answer);
            block.extend(compare(alternatives, hit).map_err(failed)?);
        }
        block.push(op(RETURN, self.listing.default));
        Ok(block)
    }

    /// Names that no architecture has, be it this machine's or not.
    fn skipped(&self) -> Vec<String> {
        let unused = self.listing.named.iter().zip(&self.used);
        unused
            .filter(|(named, used)| !**used && !names::exists(named.name))
            .map(|(named, _)| named.name.to_owned())
            .collect()
    }
}

fn too_long(length: usize) -> ProfileError {
    ProfileError::TooLong {
        length,
        longest: LONGEST_PROGRAM,
    }
}

/// A rule in seccompiler's terms.
fn alternative(rule: &Rule, width: Width) -> Result<SeccompRule, BackendError> {
    let length = || match width {
        Width::Whole => SeccompCmpArgLen::Qword,
        Width::Low => SeccompCmpArgLen::Dword,
    };
    let conditions = rule.conditions.iter().map(|condition| {
        let op = match condition.test {
            Test::NotEqual => SeccompCmpOp::Ne,
            Test::Less => SeccompCmpOp::Lt,
            Test::AtMost => SeccompCmpOp::Le,
            Test::Equal => SeccompCmpOp::Eq,
            Test::AtLeast => SeccompCmpOp::Ge,
            Test::Greater => SeccompCmpOp::Gt,
            Test::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
        };
        SeccompCondition::new(condition.index, length(), op, condition.datum)
    });
    SeccompRule::new(conditions.collect::<Result<Vec<_>, _>>()?)
}
