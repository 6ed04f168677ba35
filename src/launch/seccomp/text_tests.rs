//! The text itself, run by an interpreter: over every number, also those that this kernel
//! answers `ENOSYS` to anyway, and shortened against unshortened.

use std::collections::BTreeMap;

use syscalls::Sysno;

use super::rules::{Handling, NEWEST_REVIEWED};
use super::tests::everything_permitted;
use super::*;
use crate::launch::bpf::interpreter::Call;
use crate::launch::bpf::tighten;

fn interpret(program: &[libc::sock_filter], number: u32, architecture: u32) -> u32 {
    let call = Call {
        number,
        architecture,
        arguments: [0; 6],
    };
    call.answered_by(program)
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

#[test]
fn every_number_is_answered_as_the_table_says() {
    let table: BTreeMap<i64, Handling> = rules::table(&everything_permitted()).unwrap();
    let program = assemble::program(&table).unwrap();
    for number in 0..=NEWEST_REVIEWED {
        let answer = interpret(&program, number, NATIVE);
        match table.get(&i64::from(number)) {
            Some(Handling::Refuse(errno)) => {
                assert_eq!(
                    answer,
                    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(),
                    "{number}"
                );
            }
            None => assert_eq!(answer, libc::SECCOMP_RET_ALLOW, "{number}"),
            // Arguments are all zero here; the tests on the kernel look at others.
            Some(Handling::Compare(_) | Handling::Notify | Handling::Kill) => {}
        }
    }
}

/// xorshift64: the same numbers in every run.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn the_shorter_text_gives_the_same_answers() {
    let table = rules::table(&everything_permitted()).unwrap();
    let long = assemble::program(&table).unwrap();
    let short = tighten(long.clone());
    assert!(
        short.len() * 4 < long.len() * 3,
        "{} of {}",
        short.len(),
        long.len()
    );
    // Arguments that the comparisons know, and their neighbours.
    let known = [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        10,
        17,
        22,
        132,
        0x5412,
        0x541c,
        0x5423,
        0o4755,
        0o2755,
        0o20_600,
        0o60_600,
        0o100,
        0o20_200_000,
        0x2000_0000,
        0x1200_0011,
        0x2_0000,
        u64::MAX,
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for number in table.keys().map(|number| u32::try_from(*number).unwrap()) {
        for _ in 0..2_000 {
            let arguments = std::array::from_fn(|_| {
                let word = random(&mut state);
                let pick = known[word as usize % known.len()];
                match word >> 61 {
                    0 => word,
                    1 => pick | word << 32,
                    2 => pick ^ 1 << (word >> 8 & 31),
                    _ => pick,
                }
            });
            let call = Call {
                number,
                architecture: NATIVE,
                arguments,
            };
            assert_eq!(
                call.answered_by(&short),
                call.answered_by(&long),
                "{call:x?}"
            );
        }
    }
}

#[test]
fn text_that_jumps_out_of_itself_is_left_for_the_kernel_to_refuse() {
    let jump = |k| libc::sock_filter {
        code: 0x05,
        jt: 0,
        jf: 0,
        k,
    };
    for k in [0, 1, 1_000, u32::MAX] {
        assert_eq!(tighten(vec![jump(k)]).len(), 1);
    }
    assert!(tighten(Vec::new()).is_empty());
}

#[test]
fn numbers_and_architectures_that_were_not_reviewed_are_closed() {
    let program = Filters::compile(&SeccompRequest::default())
        .unwrap()
        .program;
    let nosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let unknown = (NEWEST_REVIEWED + 1..2_048)
        .chain((0..1_024).map(|n| 0x4000_0000 | n))
        .chain((0..1_024).map(|n| 0x8000_0000 | n))
        .chain([u32::MAX]);
    for number in unknown {
        assert_eq!(interpret(&program, number, NATIVE), nosys, "{number:#x}");
    }
    // i386, arm, riscv64.
    for architecture in [0x4000_0003, 0x4000_0028, 0xc000_00f3, 0] {
        for number in [0, 39, 59, 0x4000_0027] {
            let answer = interpret(&program, number, architecture);
            assert_eq!(
                answer,
                libc::SECCOMP_RET_KILL_PROCESS,
                "{architecture:#x} {number}"
            );
        }
    }
}

#[test]
fn a_name_newer_than_the_review_stops_the_build() {
    assert_eq!(
        Sysno::last().id().unsigned_abs(),
        NEWEST_REVIEWED,
        "the syscalls crate knows newer calls: review them, then move NEWEST_REVIEWED"
    );
}

#[test]
fn the_program_stays_short() {
    let full = SeccompRequest {
        exec_once: true,
        deny_memfd: true,
        ..everything_permitted()
    };
    let instructions = Filters::compile(&full).unwrap().instructions();
    assert!(instructions < 340, "{instructions} instructions");
}

#[test]
fn exec_and_nothing_else_is_notified() {
    let request = SeccompRequest {
        exec_once: true,
        ..everything_permitted()
    };
    let program = Filters::compile(&request).unwrap().program;
    for number in 0..=NEWEST_REVIEWED {
        let exec = [Sysno::execve.id(), Sysno::execveat.id()].contains(&number.cast_signed());
        let answer = interpret(&program, number, NATIVE);
        assert_eq!(answer == libc::SECCOMP_RET_USER_NOTIF, exec, "{number}");
    }
}
