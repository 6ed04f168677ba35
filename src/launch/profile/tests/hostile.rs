//! Nothing that a profile says makes the compiler panic, and what it writes is a program that the
//! kernel takes.

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::{NAMES, cases};
use crate::launch::bpf::interpreter::Call;
use crate::launch::profile::Profile;
use crate::launch::profile::arch::Machine;

fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..8_u64,
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        Just(u64::MAX)
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z_0-9]{0,40}",
        1 => Just("write".to_owned()),
    ]
}

fn word(all: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(all).prop_map(Value::from)
}

const ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
];

fn arg() -> impl Strategy<Value = Value> {
    let op = word(&[
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ]);
    let index = prop_oneof![12 => 0..6_u64, 1 => integer()];
    (index, integer(), prop::option::of(integer()), op).prop_map(|(index, value, two, op)| {
        json!({"index": index, "value": value, "valueTwo": two, "op": op})
    })
}

/// Anything that parses, whether it makes sense or not.
fn anything() -> impl Strategy<Value = LinuxSeccomp> {
    let errno = || prop::option::weighted(0.2, prop_oneof![0..70_000_u32, any::<u32>()]);
    let rule = (
        prop::collection::vec(text(), 0..6),
        word(ACTIONS),
        errno(),
        prop::option::of(prop::collection::vec(arg(), 0..9)),
    )
        .prop_map(|(names, action, errno, args)| {
            json!({"names": names, "action": action, "errnoRet": errno, "args": args})
        });
    let architectures = prop::collection::vec(
        word(&[
            "SCMP_ARCH_NATIVE",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_ARM",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_PPC",
            "SCMP_ARCH_S390X",
            "SCMP_ARCH_RISCV64",
        ]),
        0..9,
    );
    let flags = prop::collection::vec(
        word(&[
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ]),
        0..5,
    );
    (
        (word(ACTIONS), errno()),
        prop::option::of(architectures),
        prop::option::of(flags),
        (
            prop::option::of(any::<String>()),
            prop::option::of(any::<String>()),
        ),
        prop::option::of(prop::collection::vec(rule, 0..20)),
    )
        .prop_map(
            |((action, errno), architectures, flags, (path, metadata), syscalls)| {
                let seccomp = json!({"defaultAction": action, "defaultErrnoRet": errno,
                "architectures": architectures, "flags": flags, "listenerPath": path,
                "listenerMetadata": metadata, "syscalls": syscalls});
                serde_json::from_value(seccomp).expect("a profile")
            },
        )
}

/// What the kernel asks of a program before it takes it: known operations, jumps that stay
/// inside, a return at the end.
fn check(program: &[libc::sock_filter]) {
    assert!((1..=4_096).contains(&program.len()));
    for (at, text) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match text.code {
            0x06 | 0x54 => {}
            0x20 => assert!(text.k < 64 && text.k.is_multiple_of(4)),
            0x05 => assert!((text.k as usize) < left, "{at}"),
            0x15 | 0x25 | 0x35 => assert!(usize::from(text.jt.max(text.jf)) < left, "{at}"),
            code => panic!("operation {code:#x}"),
        }
    }
    assert_eq!(program.last().unwrap().code, 0x06);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1_500)))]

    #[test]
    fn whatever_parses_is_refused_or_is_a_program(
        seccomp in anything(),
        number in any::<u32>(),
        arguments in prop::array::uniform6(any::<u64>()),
    ) {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            match Profile::compile_for(machine, &seccomp) {
                Ok(profile) => {
                    check(&profile.program);
                    for architecture in [0xc000_003e, 0x4000_0003, 0xc000_00b7, number] {
                        let number = number % 600;
                        Call { number, architecture, arguments }.answered_by(&profile.program);
                    }
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
