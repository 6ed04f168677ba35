//! The list's own meaning, one access at a time, against what each version makes of it.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::exceptions::{Exceptions, Which, for_systemd, in_order};
use super::program::assemble;
use super::rule::{Access, Kind, Rule, rules};
use crate::sys::bpf::{self, Instruction};

/// A device, and what somebody wants of it.
#[derive(Debug, Clone, Copy)]
struct Asked {
    kind: Kind,
    major: u32,
    minor: u32,
    access: Access,
}

/// The specification, word by word: for each access the last rule that matches.
fn allowed(rules: &[Rule], asked: Asked) -> bool {
    [1, 2, 4].iter().all(|bit| {
        let one = Access(*bit);
        let decides = |rule: &&Rule| {
            rule.kind.is_none_or(|kind| kind == asked.kind)
                && rule.major.is_none_or(|major| major == asked.major)
                && rule.minor.is_none_or(|minor| minor == asked.minor)
                && !rule.access.and(one).is_empty()
        };
        asked.access.and(one).is_empty()
            || rules
                .iter()
                .rev()
                .find(decides)
                .is_some_and(|rule| rule.allow)
    })
}

/// The v1 controller (`__devcgroup_check_permission` of security/device_cgroup.c).
fn allowed_by_v1(held: &Exceptions, asked: Asked) -> bool {
    let about = |which: &Which| {
        which.kind == asked.kind
            && which.major.is_none_or(|major| major == asked.major)
            && which.minor.is_none_or(|minor| minor == asked.minor)
    };
    let mut about = held.list.iter().filter(|(which, _)| about(which));
    if held.allow {
        about.all(|(_, bits)| bits & asked.access.0 == 0)
    } else {
        about.any(|(_, bits)| asked.access.0 & !bits == 0)
    }
}

/// What a write to devices.allow or devices.deny does there.
fn write_to_v1(held: &mut Exceptions, allow: bool, line: &str) {
    if line == "a" {
        *held = Exceptions {
            allow,
            list: Default::default(),
        };
        return;
    }
    let given = Exceptions::parse(line).unwrap();
    let (&which, &bits) = given.list.first_key_value().unwrap();
    if allow == held.allow {
        if let Some(kept) = held.list.get_mut(&which) {
            *kept &= !bits;
        }
        held.list.retain(|_, bits| *bits != 0);
    } else {
        *held.list.entry(which).or_default() |= bits;
    }
}

/// A machine for the few instructions that [`assemble`] uses, with nothing in its registers at first.
fn allowed_by_v2(program: &[Instruction], asked: Asked) -> bool {
    let kind = match asked.kind {
        Kind::Block => 1,
        Kind::Character => 2,
    };
    let context = [
        u32::from(asked.access.0) << 16 | kind,
        asked.major,
        asked.minor,
    ];
    let mut registers = [None::<i64>; 10];
    let mut at = 0;
    loop {
        let Instruction {
            code,
            registers: both,
            offset,
            immediate,
        } = program[at];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        let immediate = i64::from(immediate);
        at += 1;
        let value = registers[to];
        match code {
            0x61 => {
                assert!(
                    from == 1 && registers[1].is_none(),
                    "the context is overwritten"
                );
                registers[to] = Some(i64::from(context[usize::try_from(offset).unwrap() / 4]));
            }
            0x57 => registers[to] = Some(value.unwrap() & immediate),
            0x77 => registers[to] = Some(value.unwrap() >> immediate),
            0xb7 => registers[to] = Some(immediate),
            0xbf => registers[to] = Some(registers[from].unwrap()),
            0x55 | 0x15 => {
                if (value.unwrap() == immediate) == (code == 0x15) {
                    at += usize::try_from(offset).unwrap();
                }
            }
            0x05 => at += usize::try_from(offset).unwrap(),
            0x95 => return registers[0].unwrap() == 1,
            other => panic!("{other:#x} is not among them"),
        }
    }
}

fn every_question() -> impl Iterator<Item = Asked> {
    let kinds = [Kind::Block, Kind::Character];
    kinds.into_iter().flat_map(|kind| {
        (1..=3).flat_map(move |major| {
            (3..=5).flat_map(move |minor| {
                (1..=7).map(move |bits| Asked {
                    kind,
                    major,
                    minor,
                    access: Access(bits),
                })
            })
        })
    })
}

fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let kind = prop_oneof![
        Just(None),
        Just(Some(Kind::Block)),
        Just(Some(Kind::Character))
    ];
    let number = |least: u32| prop_oneof![Just(None), (least..least + 2).prop_map(Some)];
    let access = prop_oneof![2 => Just(7), 3 => 1_u8..=7].prop_map(Access);
    let rule = (any::<bool>(), kind, number(1), number(3), access);
    let rule = rule.prop_map(|(allow, kind, major, minor, access)| Rule {
        allow,
        kind,
        major,
        minor,
        access,
    });
    proptest::collection::vec(rule, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn v1_holds_what_the_list_says_or_refuses_it(rules in some_rules()) {
        if let Ok(held) = Exceptions::fold(&rules) {
            // The kernel asks for the making of a node by itself.
            let asks = |asked: &Asked| asked.access.0 == 1 || asked.access.0 & 1 == 0;
            for asked in every_question().filter(asks) {
                prop_assert_eq!(allowed(&rules, asked), allowed_by_v1(&held, asked), "{:?} of {:?}", asked, held);
            }
        }
    }

    #[test]
    fn v2_holds_what_the_list_says(rules in some_rules()) {
        let program = assemble(&rules).unwrap();
        for asked in every_question() {
            prop_assert_eq!(allowed(&rules, asked), allowed_by_v2(&program, asked), "{:?}", asked);
        }
    }

    #[test]
    fn v1_comes_from_one_list_to_another(first in some_rules(), second in some_rules()) {
        if let (Ok(mut held), Ok(target)) = (Exceptions::fold(&first), Exceptions::fold(&second)) {
            for (allow, line) in held.clone().to(&target) {
                write_to_v1(&mut held, allow, &line);
            }
            prop_assert_eq!(held, target);
        }
    }
}

fn rule(allow: bool, kind: LinuxDeviceType, numbers: [i64; 2], access: &str) -> LinuxDeviceCgroup {
    LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(kind)
        .major(numbers[0])
        .minor(numbers[1])
        .access(access)
        .build()
        .unwrap()
}

#[test]
fn what_callers_write_becomes_few_exceptions() {
    use LinuxDeviceType::{A, C};
    let given = [
        rule(false, A, [-1, -1], "rwm"),
        rule(true, C, [1, 3], "rw"),
        rule(true, C, [1, 3], "m"),
        rule(true, C, [1, 11], "r"),
        rule(false, C, [1, 11], "w"),
    ];
    let held = Exceptions::fold(&rules(&given).unwrap()).unwrap();
    let writes = Exceptions {
        allow: true,
        list: Default::default(),
    }
    .to(&held);
    let lines: Vec<&str> = writes.iter().map(|(_, line)| &**line).collect();
    assert_eq!(lines.len(), 13, "{lines:?}");
    assert_eq!(writes[0], (false, "a".to_owned()));
    assert!(writes[1..].iter().all(|(allow, _)| *allow));
    assert!(lines.contains(&"c 1:3 rwm"));
    assert!(
        lines.contains(&"c 1:11 r"),
        "for the making the wider one is enough: {lines:?}"
    );
    assert!(lines.contains(&"b *:* m"));
}

#[test]
fn exceptions_are_written_in_the_order_of_the_list() {
    use LinuxDeviceType::{A, B, C};
    let given = [
        rule(false, A, [-1, -1], "rwm"),
        rule(true, C, [10, 229], "rwm"),
        rule(true, B, [8, 20], "rw"),
        rule(true, B, [-1, -1], "m"),
    ];
    let rules = rules(&given).unwrap();
    let target = Exceptions::fold(&rules).unwrap();
    let writes = in_order(Exceptions::default().to(&target), &target, &rules);
    let lines: Vec<&str> = writes.iter().map(|(_, line)| &**line).collect();
    assert_eq!(
        lines[..4],
        ["c 10:229 rwm", "b 8:20 rw", "b *:* m", "c *:* m"]
    );
    let mut sorted = writes.clone();
    sorted.sort();
    let mut all = Exceptions::default().to(&target);
    all.sort();
    assert_eq!(sorted, all, "nothing is lost");
}

#[test]
fn a_hole_in_an_exception_is_refused_by_name() {
    use LinuxDeviceType::C;
    let given = [rule(true, C, [1, -1], "rw"), rule(false, C, [1, 1], "w")];
    let error = Exceptions::fold(&rules(&given).unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("c 1:1 w") && text.contains("c 1:* rw"),
        "{text}"
    );
}

#[test]
fn rules_that_mean_nothing_are_refused() {
    use LinuxDeviceType::{A, B, C, P, U};
    for (bad, part) in [
        (rule(true, C, [1, 3], ""), "cannot be empty"),
        (rule(true, C, [1, 3], "rx"), "rx"),
        (rule(true, C, [1, 3], "rwa"), "rwa"),
        (rule(true, U, [1, 3], "r"), "type"),
        (rule(true, P, [1, 3], "r"), "type"),
        (rule(true, B, [-2, 3], "r"), "-2"),
        (rule(true, B, [1, 1 << 32], "r"), "4294967296"),
    ] {
        let text = rules(&[rule(false, A, [-1, -1], "rwm"), bad])
            .unwrap_err()
            .to_string();
        assert!(text.contains("devices[1]") && text.contains(part), "{text}");
    }
    let mut denied = LinuxDeviceCgroup::default();
    denied.set_allow(false);
    assert!(rules(&[denied]).unwrap()[0].is_for_all());
    let all = rules(&[rule(false, C, [1, 11], "rwa")]).unwrap()[0].access;
    assert_eq!(all, Access::ALL, "what is denied is denied altogether");
}

/// The kernel proves each program before it takes it: what is not reached, read before it is written
/// or never ends is refused.
#[test]
fn the_kernel_takes_every_program() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..64 {
        let rules = some_rules().new_tree(&mut runner).unwrap().current();
        let program = assemble(&rules).unwrap();
        let loaded = bpf::load_device_program(&program, *b"buntime_test\0\0\0\0");
        loaded.unwrap_or_else(|error| panic!("{error}: {rules:?} {program:?}"));
    }
}

#[test]
fn rules_that_no_program_holds_are_refused() {
    let some = |minors: std::ops::Range<i64>| {
        let minors = minors.map(|minor| rule(true, LinuxDeviceType::C, [240, minor], "rwm"));
        rules(&minors.collect::<Vec<_>>()).unwrap()
    };
    assert!(assemble(&some(0..30_000)).is_ok());
    assert!(assemble(&some(0..40_000)).is_err());
}

#[test]
fn systemd_is_told_what_it_has_words_for() {
    use LinuxDeviceType::{A, B, C};
    let told = |given: &[LinuxDeviceCgroup]| for_systemd(&rules(given).unwrap()).unwrap();
    let pair = |devices: &str, access: &str| (devices.to_owned(), access.to_owned());
    let some = told(&[rule(true, B, [8, -1], "r"), rule(true, C, [-1, 7], "w")]).unwrap();
    assert!(some.contains(&pair("block-8", "r")), "{some:?}");
    assert!(some.contains(&pair("/dev/char/1:3", "rwm")), "{some:?}");
    assert!(some.contains(&pair("char-*", "m")), "{some:?}");
    // It has none for a minor number of every major one.
    let wide = some.iter().filter(|(devices, _)| devices.ends_with('*'));
    assert!(
        wide.into_iter().all(|(_, access)| access == "m"),
        "{some:?}"
    );
    let all = rule(true, A, [-1, -1], "rwm");
    assert_eq!(told(std::slice::from_ref(&all)), None);
    assert_eq!(told(&[all, rule(false, B, [8, 0], "w")]), Some(Vec::new()));
}
