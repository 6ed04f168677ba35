//! Making BPF text shorter without changing an answer: the kernel translates every instruction at
//! install, so what is never reached costs time in each launch.
//!
//! Jumps to jumps go to where those lead, equal returns are shared, and what nothing reaches then
//! is left out. Classic BPF jumps forward only, so one pass in order is enough.

use std::collections::HashMap;

/// Reach of a conditional jump, in instructions (its offset is a byte).
const REACH: usize = u8::MAX as usize;

const CLASS: u16 = 0x07;
const BRANCH_CLASS: u16 = libc::BPF_JMP as u16;
const RETURN_CLASS: u16 = libc::BPF_RET as u16;
const ALWAYS: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// An instruction with its successors as positions in the text.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Return(u32),
    Jump(usize),
    Branch {
        code: u16,
        k: u32,
        taken: usize,
        missed: usize,
    },
    /// A load or an operation, followed by the next instruction.
    Plain(libc::sock_filter),
}

/// The same program, shorter. Text that jumps out of itself is given back as it was: the kernel
/// refuses it.
pub(in crate::launch) fn tighten(text: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    let mut steps: Vec<Step> = text
        .iter()
        .enumerate()
        .map(|(at, i)| parse(at, *i))
        .collect();
    let returns = Returns::of(&steps);
    for at in 0..steps.len() {
        let Some(&step) = steps.get(at) else { break };
        let shortened = match step {
            Step::Jump(target) => {
                let target = destination(&steps, &returns, at, target, usize::MAX);
                match steps.get(target) {
                    Some(Step::Return(value)) => Step::Return(*value),
                    _ => Step::Jump(target),
                }
            }
            Step::Branch {
                code,
                k,
                taken,
                missed,
            } => Step::Branch {
                code,
                k,
                taken: destination(&steps, &returns, at, taken, REACH),
                missed: destination(&steps, &returns, at, missed, REACH),
            },
            step => step,
        };
        if let Some(place) = steps.get_mut(at) {
            *place = shortened;
        }
    }
    emit(&steps).unwrap_or(text)
}

fn parse(at: usize, text: libc::sock_filter) -> Step {
    let after = |offset: usize| (at + 1).saturating_add(offset);
    match text.code & CLASS {
        RETURN_CLASS => Step::Return(text.k),
        BRANCH_CLASS if text.code == ALWAYS => Step::Jump(after(text.k as usize)),
        BRANCH_CLASS => Step::Branch {
            code: text.code,
            k: text.k,
            taken: after(usize::from(text.jt)),
            missed: after(usize::from(text.jf)),
        },
        _ => Step::Plain(text),
    }
}

/// Where each answer is returned, in ascending order. Steps that become returns on the way are not
/// among them: all of those lie before the steps that are still to be looked at.
struct Returns(HashMap<u32, Vec<usize>>);

impl Returns {
    fn of(steps: &[Step]) -> Returns {
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            if let Step::Return(value) = step {
                places.entry(*value).or_default().push(at);
            }
        }
        Returns(places)
    }

    /// The farthest return of `value` that is not past `limit`.
    fn farthest(&self, value: u32, limit: usize) -> Option<usize> {
        let places = self.0.get(&value)?;
        let within = places.partition_point(|place| *place <= limit);
        places.get(within.checked_sub(1)?).copied()
    }
}

/// Where a jump from `at` to `target` ends up, as far as `reach` allows: through further jumps, and
/// at the farthest return of the same value. Later steps are removed, never added, so a distance
/// that is in reach now stays so.
fn destination(
    steps: &[Step],
    returns: &Returns,
    at: usize,
    mut target: usize,
    reach: usize,
) -> usize {
    let limit = (at + 1).saturating_add(reach);
    while let Some(Step::Jump(next)) = steps.get(target) {
        if *next > limit {
            return target;
        }
        target = *next;
    }
    match steps.get(target) {
        Some(Step::Return(value)) => returns.farthest(*value, limit).unwrap_or(target),
        _ => target,
    }
}

/// Writes what is reached from the start, in order. `None` where a successor does not exist.
fn emit(steps: &[Step]) -> Option<Vec<libc::sock_filter>> {
    let mut reached = vec![false; steps.len()];
    *reached.first_mut()? = true;
    for (at, step) in steps.iter().enumerate() {
        if !*reached.get(at)? {
            continue;
        }
        let successors = match *step {
            Step::Return(_) => continue,
            Step::Jump(target) => [target, target],
            Step::Branch { taken, missed, .. } => [taken, missed],
            Step::Plain(_) => [at + 1, at + 1],
        };
        for successor in successors {
            *reached.get_mut(successor)? = true;
        }
    }
    // Position of each step in the new text: how many reached ones stand before it.
    let mut positions = Vec::with_capacity(steps.len());
    let mut count = 0_usize;
    for reached in &reached {
        positions.push(count);
        count += usize::from(*reached);
    }
    let offset =
        |at: usize, target: usize| positions.get(target)?.checked_sub(*positions.get(at)? + 1);
    let mut text = Vec::with_capacity(count);
    for (at, step) in steps
        .iter()
        .enumerate()
        .filter(|(at, _)| reached.get(*at) == Some(&true))
    {
        text.push(match *step {
            Step::Return(k) => instruction(RETURN_CLASS, 0, 0, k),
            Step::Jump(target) => {
                instruction(ALWAYS, 0, 0, u32::try_from(offset(at, target)?).ok()?)
            }
            Step::Branch {
                code,
                k,
                taken,
                missed,
            } => {
                let taken = u8::try_from(offset(at, taken)?).ok()?;
                instruction(code, taken, u8::try_from(offset(at, missed)?).ok()?, k)
            }
            Step::Plain(text) => text,
        });
    }
    Some(text)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
