//! One rule of the list, read.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::launch::group::GroupError;

/// A kind of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::launch::group) enum Kind {
    Block,
    Character,
}

/// Making, reading and writing, as a set; the bits are the kernel's (`BPF_DEVCG_ACC_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::launch::group) struct Access(pub(super) u8);

impl Access {
    pub(super) const NONE: Access = Access(0);
    pub(super) const ALL: Access = Access(7);
    pub(super) const MAKING: Access = Access(1);
    const LETTERS: [(char, u8); 3] = [('r', 2), ('w', 4), ('m', 1)];

    pub(super) fn parse(letters: &str) -> Option<Access> {
        letters.chars().try_fold(Access::NONE, |access, letter| {
            let (_, bit) = Access::LETTERS.iter().find(|(known, _)| *known == letter)?;
            Some(Access(access.0 | bit))
        })
    }

    pub(super) fn letters(self) -> String {
        let set = Access::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0);
        set.map(|(letter, _)| letter).collect()
    }

    pub(super) fn and(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Devices as the kernel writes them.
pub(super) fn written(kind: Kind, major: Option<u32>, minor: Option<u32>) -> String {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
    let kind = match kind {
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    format!("{kind} {}:{}", number(major), number(minor))
}

/// A rule. `None` stands for every kind and every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::launch::group) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: Option<Kind>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: Access,
}

impl Rule {
    const fn allowing(
        kind: Option<Kind>,
        major: Option<u32>,
        minor: Option<u32>,
        access: Access,
    ) -> Rule {
        Rule {
            allow: true,
            kind,
            major,
            minor,
            access,
        }
    }

    /// Whether it decides about everything, so that no rule before it matters.
    pub(super) fn is_for_all(&self) -> bool {
        let all = self.kind.is_none() && self.major.is_none() && self.minor.is_none();
        all && self.access == Access::ALL
    }

    /// The kinds that it is about.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        match self.kind {
            None => &[Kind::Block, Kind::Character],
            Some(Kind::Block) => &[Kind::Block],
            Some(Kind::Character) => &[Kind::Character],
        }
    }

    /// Its devices as the kernel writes them.
    pub(super) fn devices(&self) -> Vec<String> {
        let of_kind = |kind: &Kind| written(*kind, self.major, self.minor);
        self.kinds().iter().map(of_kind).collect()
    }

    fn parse(index: usize, given: &LinuxDeviceCgroup) -> Result<Rule, GroupError> {
        let invalid = |why: String| GroupError::invalid(format!("devices[{index}]"), why);
        let kind = match given.typ().unwrap_or_default() {
            LinuxDeviceType::A => None,
            LinuxDeviceType::B => Some(Kind::Block),
            LinuxDeviceType::C => Some(Kind::Character),
            other => {
                return Err(invalid(format!(
                    "type {:?} is no type of a device rule: a, b or c",
                    other.as_str()
                )));
            }
        };
        let number = |name: &str, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| invalid(format!("{name} {value} is no device number"))),
        };
        let access = match given.access().as_deref() {
            // What is denied without saying how is denied altogether.
            None | Some("") if !given.allow() => Access::ALL,
            None | Some("") => return Err(invalid("device access field cannot be empty".into())),
            // Callers say so of a rule for all; more than is named may only be denied.
            Some(letters) if !given.allow() && letters.contains('a') => Access::ALL,
            Some(letters) => Access::parse(letters)
                .ok_or_else(|| invalid(format!("access {letters:?} is not of r, w and m")))?,
        };
        Ok(Rule {
            allow: given.allow(),
            kind,
            major: number("major", given.major())?,
            minor: number("minor", given.minor())?,
            access,
        })
    }
}

/// What every container may do whatever its list says, as callers are used to from runc: make nodes
/// of any device (which opens none), use the pseudo devices that the specification has in every
/// container, its terminals, and tun, which early containers had and programs still count on.
const ALWAYS: [Rule; 10] = {
    const C: Option<Kind> = Some(Kind::Character);
    const fn whole(major: u32, minor: u32) -> Rule {
        Rule::allowing(C, Some(major), Some(minor), Access::ALL)
    }
    [
        Rule::allowing(None, None, None, Access::MAKING),
        whole(1, 3),
        whole(1, 5),
        whole(1, 7),
        whole(1, 8),
        whole(1, 9),
        whole(5, 0),
        whole(5, 2),
        Rule::allowing(C, Some(136), None, Access::ALL),
        whole(10, 200),
    ]
};

/// The rules of `given`, and those that every container has.
pub(in crate::launch::group) fn rules(
    given: &[LinuxDeviceCgroup],
) -> Result<Vec<Rule>, GroupError> {
    let mut rules = Vec::with_capacity(given.len() + ALWAYS.len());
    for (index, rule) in given.iter().enumerate() {
        rules.push(Rule::parse(index, rule)?);
    }
    rules.extend(ALWAYS);
    Ok(rules)
}
