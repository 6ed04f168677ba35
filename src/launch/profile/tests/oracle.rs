//! Random profiles against an evaluator that knows nothing of programs: it looks at every rule of
//! the profile for one call at a time.

use std::cmp::Ordering;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Op,
};
use proptest::prelude::*;

use super::samples::{self, arguments, profile};
use crate::launch::bpf::interpreter::Call;
use crate::launch::profile::arch::{Abi, Machine};
use crate::launch::profile::{Profile, ProfileError};

const KILL: u32 = 0;
pub(super) const NOSYS: u32 = 0x0005_0026;

/// One way in which a rule can match.
#[derive(Clone, Debug, PartialEq)]
struct Alternative {
    answer: u32,
    conditions: Vec<LinuxSeccompArg>,
}

pub(super) fn answer(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(1);
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => KILL,
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActErrno => 0x0005_0000 + data,
        Action::ScmpActNotify => 0x7fc0_0000,
        Action::ScmpActTrace => 0x7ff0_0000 + data,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActAllow => 0x7fff_0000,
    }
}

/// By which door a call comes in.
enum Door {
    Of(Abi),
    /// No architecture that is listed.
    Unlisted,
    /// The number by which a tracer skips a call.
    Skipped,
}

fn door(machine: Machine, seccomp: &LinuxSeccomp, call: &Call) -> Door {
    let listed = |arch: Arch| seccomp.architectures().iter().flatten().any(|a| *a == arch);
    let bit = call.number & 0x4000_0000 != 0;
    match (machine, call.architecture) {
        (Machine::X86_64, 0xc000_003e) if bit && listed(Arch::ScmpArchX32) => Door::Of(Abi::X32),
        (Machine::X86_64, 0xc000_003e) if call.number == u32::MAX => Door::Skipped,
        (Machine::X86_64, 0xc000_003e) if bit => Door::Unlisted,
        (Machine::X86_64, 0xc000_003e) => Door::Of(Abi::X86_64),
        (Machine::X86_64, 0x4000_0003) if listed(Arch::ScmpArchX86) => Door::Of(Abi::X86),
        (Machine::Aarch64, 0xc000_00b7) => Door::Of(Abi::Aarch64),
        (Machine::Aarch64, 0x4000_0028) if listed(Arch::ScmpArchArm) => Door::Of(Abi::Arm),
        _ => Door::Unlisted,
    }
}

/// The largest number that the profile names on an architecture that has these calls. runc does not
/// count what x86 has behind another call.
pub(super) fn newest(
    seccomp: &LinuxSeccomp,
    abi: Abi,
    calls: impl Iterator<Item = (&'static str, u32)>,
) -> Option<u32> {
    let behind_another = |name: &str| abi == Abi::X86 && code(name).is_some();
    let named = calls
        .filter(|(name, number)| *number > 0 && mentions(seccomp, name) && !behind_another(name));
    named.map(|(_, number)| number).max()
}

/// Whether the call is newer than the profile, which runc answers before libseccomp's program.
pub(super) fn is_newer(
    machine: Machine,
    seccomp: &LinuxSeccomp,
    call: &Call,
    newest: impl Fn(Abi) -> Option<u32>,
) -> bool {
    let Door::Of(abi) = door(machine, seccomp, call) else {
        return false;
    };
    let strict = !matches!(
        seccomp.default_action(),
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
    );
    strict && newest(abi).is_some_and(|newest| call.number > newest)
}

/// What the profile answers to `call`, on a machine of this kind.
pub(super) fn oracle(machine: Machine, seccomp: &LinuxSeccomp, call: &Call) -> u32 {
    let default = answer(seccomp.default_action(), seccomp.default_errno_ret());
    let abi = match door(machine, seccomp, call) {
        Door::Of(abi) => abi,
        Door::Unlisted => return KILL,
        Door::Skipped => return default,
    };
    let newest = |abi| newest(seccomp, abi, samples::calls(abi));
    if is_newer(machine, seccomp, call, newest) {
        return NOSYS;
    }
    // Without an own architecture, what is above all numbers of x86_64 is x32's.
    let x32 = seccomp
        .architectures()
        .iter()
        .flatten()
        .any(|a| *a == Arch::ScmpArchX32);
    if call.number >= 0x8000_0000 && abi == Abi::X86_64 && !x32 {
        return KILL;
    }
    let Some((name, _)) = samples::calls(abi).find(|(_, number)| *number == call.number) else {
        return default;
    };
    let wide = matches!(abi, Abi::X86_64 | Abi::Aarch64);
    choose(&alternatives(seccomp, abi, name, wide), wide, call).unwrap_or(default)
}

fn mentions(seccomp: &LinuxSeccomp, name: &str) -> bool {
    let entries = seccomp.syscalls().iter().flatten();
    entries.flat_map(|entry| entry.names()).any(|n| n == name)
}

/// The call of x86 that this one is made through, and its code there.
fn code(name: &str) -> Option<(&'static str, u64)> {
    Some(match name {
        "socket" => ("socketcall", 1),
        "accept" => ("socketcall", 5),
        "send" => ("socketcall", 9),
        "sendmmsg" => ("socketcall", 20),
        "semop" => ("ipc", 1),
        "shmget" => ("ipc", 23),
        _ => return None,
    })
}

/// All alternatives for a call in the order of the profile, without those that cannot decide.
fn alternatives(seccomp: &LinuxSeccomp, abi: Abi, name: &str, wide: bool) -> Vec<Alternative> {
    let default = answer(seccomp.default_action(), seccomp.default_errno_ret());
    let mut found: Vec<Alternative> = Vec::new();
    for entry in seccomp.syscalls().iter().flatten() {
        let answer = answer(entry.action(), entry.errno_ret());
        if answer == default {
            continue;
        }
        let args = entry.args().clone().unwrap_or_default();
        for named in entry.names() {
            let through = code(named).filter(|(by, _)| abi == Abi::X86 && *by == name);
            if named != name && through.is_none() {
                continue;
            }
            for mut conditions in split(&args) {
                if let Some((by, code)) = through {
                    conditions.retain(|arg| arg.index() != 0);
                    conditions.insert(
                        0,
                        match by {
                            "ipc" => condition(0, Op::ScmpCmpMaskedEq, 0xffff, code),
                            _ => condition(0, Op::ScmpCmpEq, code, 0),
                        },
                    );
                }
                let conditions = conditions.into_iter().filter_map(|c| narrow(c, wide));
                found.push(Alternative {
                    answer,
                    conditions: conditions.collect(),
                });
            }
        }
    }
    found
}

/// The conditions together or, where one argument is named twice, each alone.
pub(super) fn split(args: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let mut args = args.to_vec();
    args.sort_by_key(LinuxSeccompArg::index);
    let repeated = (1..args.len()).any(|n| args[n].index() == args[n - 1].index());
    if repeated {
        args.into_iter().map(|arg| vec![arg]).collect()
    } else {
        vec![args]
    }
}

fn condition(index: usize, op: Op, value: u64, two: u64) -> LinuxSeccompArg {
    let arg = LinuxSeccompArgBuilder::default().index(index).op(op);
    arg.value(value)
        .value_two(two)
        .build()
        .expect("a condition")
}

/// As it is compared: with the constant cut to the width and to the mask.
fn narrow(arg: LinuxSeccompArg, wide: bool) -> Option<LinuxSeccompArg> {
    let bits = if wide { u64::MAX } else { 0xffff_ffff };
    if arg.op() != Op::ScmpCmpMaskedEq {
        return Some(condition(arg.index(), arg.op(), arg.value() & bits, 0));
    }
    let mask = arg.value() & bits;
    let datum = arg.value_two().unwrap_or(0) & mask;
    (mask != 0).then(|| condition(arg.index(), arg.op(), mask, datum))
}

fn holds(arg: &LinuxSeccompArg, wide: bool, call: &Call) -> bool {
    let bits = if wide { u64::MAX } else { 0xffff_ffff };
    let (given, value) = (call.arguments[arg.index()] & bits, arg.value());
    match arg.op() {
        Op::ScmpCmpNe => given != value,
        Op::ScmpCmpLt => given < value,
        Op::ScmpCmpLe => given <= value,
        Op::ScmpCmpEq => given == value,
        Op::ScmpCmpGe => given >= value,
        Op::ScmpCmpGt => given > value,
        Op::ScmpCmpMaskedEq => Some(given & value) == arg.value_two(),
    }
}

fn choose(found: &[Alternative], wide: bool, call: &Call) -> Option<u32> {
    if let Some(always) = found.iter().find(|rule| rule.conditions.is_empty()) {
        return Some(always.answer);
    }
    let mut kept: Vec<Alternative> = Vec::new();
    for rule in found {
        let decided = |by: &Alternative| {
            let begins = rule.conditions.starts_with(&by.conditions);
            let ends = rule.conditions.ends_with(&by.conditions);
            begins || ends || by.answer == rule.answer && contains(rule, by)
        };
        if !kept.iter().any(decided) {
            kept.retain(|other| other.answer != rule.answer || !contains(other, rule));
            kept.push(rule.clone());
        }
    }
    let matching = kept
        .iter()
        .filter(|rule| rule.conditions.iter().all(|c| holds(c, wide, call)));
    let first = matching.min_by(|a, b| before(&kept, a, b, wide));
    first.map(|rule| rule.answer)
}

/// Whether all conditions of `part` stand in a row in `rule`.
fn contains(rule: &Alternative, part: &Alternative) -> bool {
    let mut rows = rule.conditions.windows(part.conditions.len());
    rows.any(|row| row == part.conditions)
}

/// A comparison as libseccomp's order sees it: place, rank, constant, and what else tells it apart.
type Node = (usize, u32, u32, u64);

fn nodes(rule: &Alternative, wide: bool) -> Vec<Node> {
    let mut nodes = Vec::new();
    for arg in &rule.conditions {
        let (rank, constant) = match arg.op() {
            Op::ScmpCmpEq | Op::ScmpCmpNe => (3, arg.value()),
            Op::ScmpCmpMaskedEq => (3, arg.value_two().unwrap_or(0)),
            Op::ScmpCmpLt | Op::ScmpCmpLe => (2, arg.value()),
            Op::ScmpCmpGt | Op::ScmpCmpGe => (1, arg.value()),
        };
        let halves: &[u32] = if wide { &[32, 0] } else { &[0] };
        for shift in halves {
            let apart = match arg.op() {
                Op::ScmpCmpMaskedEq => 1 << 40 | (arg.value() >> shift & 0xffff_ffff),
                Op::ScmpCmpEq | Op::ScmpCmpNe => 0,
                Op::ScmpCmpGe | Op::ScmpCmpLt if *shift == 0 => 1,
                Op::ScmpCmpGt | Op::ScmpCmpLe if *shift == 0 => 2,
                _ => 3,
            };
            let half = (constant >> shift) as u32;
            let place = arg.index() * 2 + usize::from(*shift > 0);
            nodes.push((place, rank, half, apart));
        }
    }
    nodes
}

fn before(kept: &[Alternative], a: &Alternative, b: &Alternative, wide: bool) -> Ordering {
    let (of_a, of_b) = (nodes(a, wide), nodes(b, wide));
    let common = of_a.iter().zip(&of_b).take_while(|(x, y)| x == y).count();
    let (Some(x), Some(y)) = (of_a.get(common), of_b.get(common)) else {
        // `EQ` and `NE` of one constant exclude each other, so only one of them got here.
        return Ordering::Equal;
    };
    let by_constant = match x.1 {
        2 => x.2.cmp(&y.2),
        _ => y.2.cmp(&x.2),
    };
    let appeared = |nodes: &[Node]| {
        let through = |rule: &Alternative| self::nodes(rule, wide).starts_with(nodes);
        kept.iter().position(through)
    };
    (y.0.cmp(&x.0))
        .then(y.1.cmp(&x.1))
        .then(by_constant)
        .then_with(|| appeared(&of_a[..=common]).cmp(&appeared(&of_b[..=common])))
}

pub(super) fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = |machine| {
        let number = prop_oneof![
            6 => samples::number(machine),
            1 => any::<u32>(),
            1 => prop::sample::select(&[0, 471, 472, 600, 0x3fff_ffff, 0x4000_0000, 0x4000_01d7,
                0x4000_0223, 0x4000_0224, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xbfff_ffff,
                0xc000_0000, 0xffff_fffe, u32::MAX][..]),
        ];
        let architecture = prop::sample::select(
            &[
                0xc000_003e,
                0x4000_0003,
                0xc000_00b7,
                0x4000_0028,
                0xc000_00f3,
            ][..],
        );
        (number, architecture, arguments()).prop_map(|(number, architecture, arguments)| Call {
            number,
            architecture,
            arguments,
        })
    };
    let both = prop_oneof![call(Machine::X86_64), call(Machine::Aarch64)];
    prop::collection::vec(both, 40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(samples::cases(600)))]

    #[test]
    fn the_program_answers_as_every_rule_looked_at_one_by_one(
        seccomp in profile(),
        calls in calls(),
    ) {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let compiled = match Profile::compile_for(machine, &seccomp) {
                Err(ProfileError::Contradiction { .. }) => continue,
                compiled => compiled.unwrap(),
            };
            for call in &calls {
                let (got, meant) = (call.answered_by(&compiled.program), oracle(machine, &seccomp, call));
                prop_assert_eq!(got, meant, "{:x} not {:x}: {:x?} on {:?}", got, meant, call, machine);
            }
        }
    }
}
