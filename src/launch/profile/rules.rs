//! What a profile says of each name, checked and in numbers.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

use super::ProfileError;
use super::arch::Width;

/// The comparison of an argument with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Test {
    NotEqual,
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
    /// Under this mask, which is part of the constant too.
    Masked(u64),
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    /// The argument, 0 to 5.
    pub(super) index: u8,
    pub(super) test: Test,
    pub(super) datum: u64,
}

impl Condition {
    fn read(syscall: &str, arg: &LinuxSeccompArg) -> Result<Condition, ProfileError> {
        let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
        let index = index.ok_or_else(|| ProfileError::ArgumentIndex {
            syscall: syscall.to_owned(),
            index: arg.index(),
        })?;
        let test = match arg.op() {
            Operator::ScmpCmpNe => Test::NotEqual,
            Operator::ScmpCmpLt => Test::Less,
            Operator::ScmpCmpLe => Test::AtMost,
            Operator::ScmpCmpEq => Test::Equal,
            Operator::ScmpCmpGe => Test::AtLeast,
            Operator::ScmpCmpGt => Test::Greater,
            Operator::ScmpCmpMaskedEq => {
                let mask = arg.value();
                return Ok(Condition::masked(index, mask, arg.value_two().unwrap_or(0)));
            }
        };
        Ok(Condition {
            index,
            test,
            datum: arg.value(),
        })
    }

    /// The argument has this value under the mask.
    pub(super) fn masked(index: u8, mask: u64, datum: u64) -> Condition {
        Condition {
            index,
            test: Test::Masked(mask),
            datum: datum & mask,
        }
    }

    /// The same of an argument of this width, where constants are cut too. `None` where it holds
    /// for every value.
    pub(super) fn at(self, width: Width) -> Option<Condition> {
        let bits = match width {
            Width::Whole => u64::MAX,
            Width::Low => u64::from(u32::MAX),
        };
        let test = match self.test {
            Test::Masked(mask) if mask & bits == 0 => return None,
            Test::Masked(mask) => Test::Masked(mask & bits),
            test => test,
        };
        Some(Condition {
            test,
            datum: self.datum & bits,
            ..self
        })
    }
}

/// One rule for one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Where it stands in the profile.
    pub(super) position: usize,
    /// The answer to the kernel (`linux/seccomp.h`).
    pub(super) answer: u32,
    /// All must hold. By ascending index, each index once.
    pub(super) conditions: Vec<Condition>,
}

/// The rules for one name.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    /// In the profile's order, without those that say what the default says.
    pub(super) rules: Vec<Rule>,
}

/// A profile by names.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    /// The answer to what no rule matches.
    pub(super) default: u32,
    /// Whether what no rule matches happens.
    pub(super) permissive: bool,
    /// Every name in the order of its first appearance.
    pub(super) named: Vec<Named<'a>>,
    places: HashMap<&'a str, usize>,
    /// The first name whose rule notifies.
    pub(super) notifies: Option<&'a str>,
}

impl<'a> Listing<'a> {
    pub(super) fn read(seccomp: &'a LinuxSeccomp) -> Result<Listing<'a>, ProfileError> {
        let action = seccomp.default_action();
        if action == Action::ScmpActNotify {
            return Err(ProfileError::NotifyByDefault);
        }
        let field = || "defaultErrnoRet".to_owned();
        let mut listing = Listing {
            default: answer(action, seccomp.default_errno_ret(), field)?,
            permissive: matches!(
                action,
                // A tracer is trusted to know what it does not know.
                Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
            ),
            named: Vec::new(),
            places: HashMap::new(),
            notifies: None,
        };
        let entries = seccomp.syscalls().as_deref().unwrap_or_default();
        for (position, entry) in entries.iter().enumerate() {
            listing.take(position, entry)?;
        }
        Ok(listing)
    }

    fn take(&mut self, position: usize, entry: &'a LinuxSyscall) -> Result<(), ProfileError> {
        let Some(first) = entry.names().first() else {
            return Ok(());
        };
        let field = || format!("errnoRet of the rule for `{first}`");
        let answer = answer(entry.action(), entry.errno_ret(), field)?;
        let alternatives = alternatives(first, entry.args().as_deref().unwrap_or_default())?;
        for name in entry.names() {
            if name.is_empty() {
                return Err(ProfileError::EmptyName);
            }
            if entry.action() == Action::ScmpActNotify {
                if name == "write" {
                    return Err(ProfileError::NotifyWrite);
                }
                self.notifies.get_or_insert(name);
            }
            let place = *self.places.entry(name).or_insert_with(|| {
                self.named.push(Named {
                    name,
                    rules: Vec::new(),
                });
                self.named.len() - 1
            });
            if answer == self.default {
                continue;
            }
            if let Some(named) = self.named.get_mut(place) {
                let rules = alternatives.iter().map(|conditions| Rule {
                    position,
                    answer,
                    conditions: conditions.clone(),
                });
                named.rules.extend(rules);
            }
        }
        Ok(())
    }

    /// The place in `named` of a name that the profile has.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }
}

/// The largest errno that there is (`linux/err.h`).
const LARGEST_ERRNO: u32 = 4095;

/// The answer that an action is, with its errno or the data for a tracer, which is `EPERM` where
/// none is given.
fn answer(
    action: Action,
    errno: Option<u32>,
    field: impl Fn() -> String,
) -> Result<u32, ProfileError> {
    let largest = match action {
        Action::ScmpActErrno => LARGEST_ERRNO,
        _ => libc::SECCOMP_RET_DATA,
    };
    match errno {
        Some(_) if !matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) => {
            Err(ProfileError::ErrnoWithoutUse {
                field: field(),
                action: action.to_string(),
            })
        }
        Some(value) if value > largest => Err(ProfileError::ErrnoTooLarge {
            field: field(),
            value,
            largest,
        }),
        errno => Ok(action.as_u32(errno)),
    }
}

/// The rules that an entry stands for: its conditions together or, where two are about the same
/// argument, each of them alone.
fn alternatives(
    syscall: &str,
    args: &[LinuxSeccompArg],
) -> Result<Vec<Vec<Condition>>, ProfileError> {
    let conditions = args.iter().map(|arg| Condition::read(syscall, arg));
    let mut conditions = conditions.collect::<Result<Vec<_>, _>>()?;
    conditions.sort_by_key(|condition| condition.index);
    let repeated = conditions
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.index == b.index));
    Ok(match repeated {
        true => conditions.into_iter().map(|alone| vec![alone]).collect(),
        false => vec![conditions],
    })
}
