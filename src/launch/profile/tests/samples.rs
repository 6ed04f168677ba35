//! Profiles to test with, by hand and at random.

use std::ops::Range;
use std::sync::LazyLock;

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::launch::profile::Profile;
use crate::launch::profile::arch::{Abi, Machine};

/// Calls of every kind: ordinary ones, one of each architecture alone, those behind socketcall and
/// ipc, the newest, and one that nobody has.
pub(super) const NAMES: &[&str] = &[
    "personality",
    "clone",
    "read",
    "socket",
    "accept",
    "send",
    "sendmmsg",
    "socketcall",
    "semop",
    "shmget",
    "ipc",
    "ioctl",
    "rt_sigaction",
    "break",
    "set_tls",
    "newfstatat",
    "clock_gettime64",
    "uselib",
    "rseq_slice_yield",
    "no_such_call",
];

/// Values that sit at the edges of comparisons with each other.
pub(super) const VALUES: &[u64] = &[
    0,
    1,
    2,
    5,
    9,
    16,
    23,
    0xff,
    0x1_0017,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x2_0000_0001,
    u64::MAX - 1,
    u64::MAX,
];

/// How many cases a property is tried with; `PROPTEST_CASES` asks for more.
pub(super) fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.map_or(usual, |cases| cases.parse().expect("a number of cases"))
}

pub(super) fn parse(seccomp: Value) -> LinuxSeccomp {
    serde_json::from_value(seccomp).expect("a profile")
}

pub(super) fn compile(seccomp: Value) -> Profile {
    Profile::compile(&parse(seccomp)).expect("a profile that can be compiled")
}

/// The calls among [`NAMES`] that an architecture has.
pub(super) fn calls(abi: Abi) -> impl Iterator<Item = (&'static str, u32)> {
    static CALLS: LazyLock<Vec<(Abi, &str, u32)>> = LazyLock::new(|| {
        let all = Abi::ALL.into_iter();
        let all = all.flat_map(|abi| abi.calls().map(move |(name, number)| (abi, name, number)));
        all.filter(|(_, name, _)| NAMES.contains(name)).collect()
    });
    let own = CALLS.iter().filter(move |(of, ..)| *of == abi);
    own.map(|&(_, name, number)| (name, number))
}

/// A number of one of [`NAMES`] on this machine, or one beside it.
pub(super) fn number(machine: Machine) -> impl Strategy<Value = u32> {
    let abis: &[Abi] = match machine {
        Machine::X86_64 => &[Abi::X86_64, Abi::X32, Abi::X86],
        Machine::Aarch64 => &[Abi::Aarch64, Abi::Arm],
    };
    let numbers = abis.iter().flat_map(|abi| calls(*abi));
    let numbers: Vec<u32> = numbers.map(|(_, number)| number).collect();
    (prop::sample::select(numbers), 0_u32..8).prop_map(|(number, beside)| match beside {
        0 => number.saturating_add(1),
        1 => number.saturating_sub(1),
        _ => number,
    })
}

pub(super) fn value() -> impl Strategy<Value = u64> {
    prop_oneof![9 => prop::sample::select(VALUES), 1 => any::<u64>()]
}

pub(super) fn arguments() -> impl Strategy<Value = [u64; 6]> {
    (prop::array::uniform6(value()), 0_u64..4, 0_usize..6).prop_map(
        |(mut arguments, beside, index)| {
            arguments[index] = arguments[index].wrapping_add(beside).wrapping_sub(1);
            arguments
        },
    )
}

fn action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    let plain = prop::sample::select(
        &[
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_TRAP",
            "SCMP_ACT_LOG",
        ][..],
    );
    let with_errno = (
        prop::sample::select(&["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"][..]),
        prop::option::of(prop::sample::select(&[1, 13, 38, 4_094][..])),
    );
    prop_oneof![plain.prop_map(|name| (name, None)), with_errno]
}

fn arg(ops: &'static [&'static str], values: &'static [u64]) -> impl Strategy<Value = Value> {
    (
        0_usize..3,
        prop::sample::select(ops),
        prop::sample::select(values),
        prop::sample::select(values),
    )
        .prop_map(|(index, op, value, two)| json!({"index": index, "op": op, "value": value, "valueTwo": two}))
}

pub(super) const OPS: &[&str] = &[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// Any profile over [`NAMES`], as the runtime specification writes it.
pub(super) fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    profile_of(NAMES, 1..4, OPS, VALUES)
}

/// A profile over these names, with so many conditions in a rule that has any, of these operators
/// and constants.
pub(super) fn profile_of(
    names: &'static [&'static str],
    conditions: Range<usize>,
    ops: &'static [&'static str],
    values: &'static [u64],
) -> impl Strategy<Value = LinuxSeccomp> {
    let entry = (
        prop::collection::vec(prop::sample::select(names), 1..4),
        prop_oneof![8 => action(), 1 => Just(("SCMP_ACT_NOTIFY", None))],
        prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(arg(ops, values), conditions)],
    );
    let entry = entry.prop_map(|(names, (action, errno), args)| {
        json!({"names": names, "action": action, "errnoRet": errno, "args": args})
    });
    let architectures = prop::sample::subsequence(
        vec![
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM",
            "SCMP_ARCH_S390X",
        ],
        0..=6,
    );
    (action(), architectures, prop::collection::vec(entry, 0..12)).prop_map(
        |((action, errno), architectures, syscalls)| {
            parse(json!({
                "defaultAction": action,
                "defaultErrnoRet": errno,
                "architectures": architectures,
                "listenerPath": "/run/agent.sock",
                "syscalls": syscalls,
            }))
        },
    )
}
