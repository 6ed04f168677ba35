//! v1's device controller: everything or nothing is allowed, with exceptions.
//!
//! The kernel ignores a write that takes away only a part of an exception, and looks for one
//! exception that covers all of an access. So the list is folded here, into exceptions that mean the
//! same, and what has no such form is refused.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::rule::{Access, Kind, Rule, written};
use crate::launch::group::GroupError;
use crate::launch::group::files::text;

const FIELD: &str = "devices";

/// The devices of one exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    pub(super) kind: Kind,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

impl Which {
    /// Whether all of `other`'s devices are of these.
    fn covers(&self, other: &Which) -> bool {
        let covers = |mine: Option<u32>, other| mine.is_none() || mine == other;
        self.kind == other.kind
            && covers(self.major, other.major)
            && covers(self.minor, other.minor)
    }

    /// Whether there is a device of both.
    fn meets(&self, other: &Which) -> bool {
        let meets = |mine: Option<u32>, other: Option<u32>| {
            mine.is_none() || other.is_none() || mine == other
        };
        self.kind == other.kind && meets(self.major, other.major) && meets(self.minor, other.minor)
    }

    /// As the kernel writes it, with an access.
    fn line(&self, access: Access) -> String {
        let devices = written(self.kind, self.major, self.minor);
        format!("{devices} {}", access.letters())
    }
}

/// What the controller holds, or is to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exceptions {
    /// Whether everything but the exceptions is allowed.
    pub(super) allow: bool,
    pub(super) list: BTreeMap<Which, u8>,
}

impl Exceptions {
    /// Folds the list.
    pub(super) fn fold(rules: &[Rule]) -> Result<Exceptions, GroupError> {
        let mut state = Exceptions::default();
        for rule in rules {
            if rule.is_for_all() {
                state = Exceptions {
                    allow: rule.allow,
                    list: BTreeMap::new(),
                };
                continue;
            }
            for &kind in rule.kinds() {
                let which = Which {
                    kind,
                    major: rule.major,
                    minor: rule.minor,
                };
                if rule.allow == state.allow {
                    state.take_away(which, rule.access)?;
                } else {
                    *state.list.entry(which).or_default() |= rule.access.0;
                }
            }
        }
        state.widen();
        Ok(state)
    }

    /// Ends the exceptions for `which`.
    fn take_away(&mut self, which: Which, access: Access) -> Result<(), GroupError> {
        for (other, bits) in &mut self.list {
            if Access(*bits).and(access).is_empty() || !other.meets(&which) {
                continue;
            }
            if !which.covers(other) {
                return Err(GroupError::Unheld {
                    controller: "devices",
                    field: format!(
                        "a rule of devices that {} {:?}",
                        if self.allow { "allows" } else { "denies" },
                        which.line(access)
                    ),
                    why: format!(
                        "cgroup v1 cannot make an exception to {:?}, which an earlier rule gives: \
                         name the devices one by one",
                        other.line(Access(*bits))
                    ),
                });
            }
            *bits = Access(*bits).without(access).0;
        }
        self.list.retain(|_, bits| *bits != 0);
        Ok(())
    }

    /// Where exceptions allow, one of them must cover all of an access: each is given what wider ones
    /// hold too, and where two cross there is one for the devices of both. The making of a node is an
    /// access by itself, and covered by whichever exception has it.
    fn widen(&mut self) {
        const OPENING: u8 = Access::ALL.without(Access::MAKING).0;
        if self.allow {
            return;
        }
        let given = self.list.clone();
        let of_major = given.iter().filter(|(which, _)| which.minor.is_none());
        for (first, bits) in of_major.filter(|(which, _)| which.major.is_some()) {
            let crossing = given.iter().filter(|(second, more)| {
                second.major.is_none()
                    && second.minor.is_some()
                    && first.meets(second)
                    && bits != *more
            });
            for (second, _) in crossing {
                let minor = second.minor;
                self.list.entry(Which { minor, ..*first }).or_default();
            }
        }
        for (which, bits) in &mut self.list {
            let wider = given.iter().filter(|(other, _)| other.covers(which));
            *bits = wider.fold(*bits, |bits, (_, more)| bits | more & OPENING);
        }
    }

    /// What devices.list shows. Where everything is allowed it does not show the exceptions.
    pub(super) fn parse(list: &str) -> Option<Exceptions> {
        let mut state = Exceptions::default();
        for line in list.lines() {
            let mut fields = line.split([' ', ':']);
            let kind = match fields.next()? {
                "a" => {
                    state.allow = true;
                    continue;
                }
                "b" => Kind::Block,
                "c" => Kind::Character,
                _ => return None,
            };
            let mut number = || match fields.next()? {
                "*" => Some(None),
                number => number.parse().ok().map(Some),
            };
            let (major, minor) = (number()?, number()?);
            let access = Access::parse(fields.next()?)?;
            let which = Which { kind, major, minor };
            *state.list.entry(which).or_default() |= access.0;
        }
        Some(state)
    }

    /// The writes that lead from `self` to `target`: to devices.allow or not, and what. Only where
    /// the two differ in kind is everything lost for a moment.
    pub(super) fn to(&self, target: &Exceptions) -> Vec<(bool, String)> {
        let none = BTreeMap::new();
        let mut writes = Vec::new();
        let afresh = self.allow || self.allow != target.allow;
        if afresh {
            writes.push((target.allow, "a".to_owned()));
        }
        let old = if afresh { &none } else { &self.list };
        let differ = |from: &BTreeMap<Which, u8>, to: &BTreeMap<Which, u8>, allow: bool| {
            let mut lines = Vec::new();
            for (which, bits) in from {
                let kept = to.get(which).copied().unwrap_or(0);
                let rest = Access(*bits).without(Access(kept));
                if !rest.is_empty() {
                    lines.push((allow, which.line(rest)));
                }
            }
            lines
        };
        writes.extend(differ(old, &target.list, target.allow));
        writes.extend(differ(&target.list, old, !target.allow));
        writes
    }
}

/// Has the group at `dir` hold `rules`. A `new` group allows what its parent does, and is not asked.
pub(in crate::launch::group) fn apply(
    dir: &Path,
    rules: &[Rule],
    new: bool,
) -> Result<(), GroupError> {
    let target = Exceptions::fold(rules)?;
    let current = match new {
        true => Exceptions {
            allow: true,
            list: BTreeMap::new(),
        },
        false => {
            let path = dir.join("devices.list");
            let list = text(dir, "devices.list").map_err(GroupError::io("reading", &path))?;
            let unknown =
                || GroupError::io("reading", &path)(std::io::ErrorKind::InvalidData.into());
            Exceptions::parse(&list).ok_or_else(unknown)?
        }
    };
    let mut files: [Option<File>; 2] = [None, None];
    for (allow, line) in in_order(current.to(&target), &target, rules) {
        let path = dir.join(if allow {
            "devices.allow"
        } else {
            "devices.deny"
        });
        let done = opened(&mut files[usize::from(allow)], &path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        done.map_err(|source| GroupError::Refused {
            field: FIELD,
            value: line,
            path,
            source,
        })?;
    }
    Ok(())
}

/// The same writes with the exceptions in the order in which the list has them, which is the one in
/// which the kernel shows them.
pub(super) fn in_order(
    mut writes: Vec<(bool, String)>,
    target: &Exceptions,
    rules: &[Rule],
) -> Vec<(bool, String)> {
    let adding = rules.iter().filter(|rule| rule.allow != target.allow);
    let lines: Vec<String> = adding.flat_map(Rule::devices).collect();
    writes.sort_by_cached_key(|(allow, line)| {
        let devices = line.rsplit_once(' ').map(|(devices, _)| devices);
        let of_rule = |devices| lines.iter().position(|line| line == devices);
        // What takes away comes first.
        (*allow != target.allow).then(|| devices.and_then(of_rule).unwrap_or(lines.len()))
    });
    writes
}

/// The list in the words of systemd's `DeviceAllow=`; `None` where everything is allowed. systemd has
/// no words for every list, and those that it has no words for it takes for denied: what the kernel
/// is told afterwards is exact.
pub(in crate::launch::group) fn for_systemd(
    rules: &[Rule],
) -> Result<Option<Vec<(String, String)>>, GroupError> {
    let target = Exceptions::fold(rules)?;
    if target.allow {
        return Ok((!target.list.is_empty()).then(Vec::new));
    }
    let words = target.list.iter().filter_map(|(which, bits)| {
        let kind = match which.kind {
            Kind::Block => "block",
            Kind::Character => "char",
        };
        let devices = match (which.major, which.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        Some((devices, Access(*bits).letters()))
    });
    Ok(Some(words.collect()))
}

/// The file, opened once for all writes.
fn opened<'a>(file: &'a mut Option<File>, path: &Path) -> std::io::Result<&'a File> {
    if file.is_none() {
        *file = Some(OpenOptions::new().write(true).open(path)?);
    }
    file.as_ref()
        .ok_or_else(|| std::io::ErrorKind::NotFound.into())
}
