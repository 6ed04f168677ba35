//! Comparisons of the arguments of a system call, in the words of `rules` and in seccompiler's.

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use syscalls::Sysno;

use super::SeccompError;

/// A comparison of one argument: of its low 32 bits, unless it is a pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    argument: u8,
    test: Test,
    value: u64,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Equal,
    Different,
    MaskedEqual(u64),
    /// All 64 bits, of a pointer.
    Whole,
}

pub(super) fn equal(argument: u8, value: u64) -> Condition {
    Condition {
        argument,
        test: Test::Equal,
        value,
    }
}

pub(super) fn different(argument: u8, value: u64) -> Condition {
    Condition {
        argument,
        test: Test::Different,
        value,
    }
}

pub(super) fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    Condition {
        argument,
        test: Test::MaskedEqual(mask),
        value,
    }
}

pub(super) fn whole(argument: u8, value: u64) -> Condition {
    Condition {
        argument,
        test: Test::Whole,
        value,
    }
}

/// A constant that C declares as a non-negative int.
pub(super) fn constant(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

/// The rules in seccompiler's terms.
pub(super) fn rules<R: AsRef<[Condition]>>(
    sysno: Sysno,
    alternatives: &[R],
) -> Result<Vec<SeccompRule>, SeccompError> {
    let failed = |e: seccompiler::BackendError| SeccompError::Compile {
        syscall: sysno.name(),
        cause: e.to_string(),
    };
    let compile = |condition: &Condition| {
        let op = match condition.test {
            Test::Equal | Test::Whole => SeccompCmpOp::Eq,
            Test::Different => SeccompCmpOp::Ne,
            Test::MaskedEqual(mask) => SeccompCmpOp::MaskedEq(mask),
        };
        let width = match condition.test {
            Test::Whole => SeccompCmpArgLen::Qword,
            _ => SeccompCmpArgLen::Dword,
        };
        SeccompCondition::new(condition.argument, width, op, condition.value)
    };
    alternatives
        .iter()
        .map(|rule| {
            let conditions = rule.as_ref().iter().map(compile).collect::<Result<_, _>>();
            conditions.and_then(SeccompRule::new).map_err(failed)
        })
        .collect()
}
