//! The same profiles compiled by libseccomp, as runc asks for it, and both programs run by the
//! interpreter.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompOperator as Operator};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::oracle::{self, is_newer};
use super::samples::{self, cases};
use crate::launch::bpf::interpreter::Call;
use crate::launch::profile::Profile;
use crate::launch::profile::arch::{Abi, Machine};

const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/launch/profile/tests/libseccomp.c"
);

/// A process that asks libseccomp.
struct Library {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Library {
    fn start(name: &str) -> Option<Library> {
        let folder = std::env::temp_dir().join(format!("profile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("ask");
        let built = Command::new("gcc")
            .args(["-O1", "-o"])
            .arg(&program)
            .args([SOURCE, "-lseccomp"])
            .output();
        let there = built.is_ok_and(|output| output.status.success());
        let started = there.then(|| {
            let mut process = Command::new(&program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            Library {
                to: process.stdin.take().unwrap(),
                from: BufReader::new(process.stdout.take().unwrap()),
                process,
            }
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            there || std::env::var_os("CI").is_none(),
            "gcc or libseccomp-dev is missing, which hack/test installs"
        );
        started
    }

    fn word(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes).unwrap();
        u32::from_ne_bytes(bytes)
    }

    /// The name of a call, empty where there is none.
    fn name(&mut self, abi: Abi, number: u32) -> String {
        writeln!(self.to, "number {} {number}", token(abi)).unwrap();
        self.to.flush().unwrap();
        let mut bytes = vec![0; self.word() as usize];
        self.from.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The program of a profile, or the negative errno of why there is none.
    fn compile(
        &mut self,
        machine: Machine,
        seccomp: &LinuxSeccomp,
    ) -> Result<Vec<libc::sock_filter>, i32> {
        self.to
            .write_all(told(machine, seccomp).as_bytes())
            .unwrap();
        self.to.flush().unwrap();
        let mut st = [0; 4];
        if self.from.read_exact(&mut st).is_err() {
            return Err(-9999);
        }
        let status = i32::from_ne_bytes(st);
        let mut bytes = vec![0; self.word() as usize];
        self.from.read_exact(&mut bytes).unwrap();
        let (instructions, _) = bytes.as_chunks::<8>();
        let read = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| libc::sock_filter {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        match status {
            0 => Ok(instructions.iter().map(read).collect()),
            errno => Err(errno),
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn token(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 => Arch::ScmpArchX86_64 as u32,
        Abi::X32 => Arch::ScmpArchX32 as u32,
        Abi::X86 => Arch::ScmpArchX86 as u32,
        Abi::Aarch64 => Arch::ScmpArchAarch64 as u32,
        Abi::Arm => Arch::ScmpArchArm as u32,
    }
}

/// The profile in the words of the C program, rule by rule as runc adds them.
fn told(machine: Machine, seccomp: &LinuxSeccomp) -> String {
    let default = oracle::answer(seccomp.default_action(), seccomp.default_errno_ret());
    let mut text = format!("default {default}\n");
    let (native, others): (Abi, &[Abi]) = match machine {
        Machine::X86_64 => (Abi::X86_64, &[Abi::X32, Abi::X86]),
        Machine::Aarch64 => (Abi::Aarch64, &[Abi::Arm]),
    };
    let listed = |abi: &&Abi| {
        let mut listed = seccomp.architectures().iter().flatten();
        listed.any(|arch| *arch as u32 == token(**abi))
    };
    for abi in std::iter::once(&native).chain(others.iter().filter(listed)) {
        writeln!(text, "arch {}", token(*abi)).unwrap();
    }
    for entry in seccomp.syscalls().iter().flatten() {
        let answer = oracle::answer(entry.action(), entry.errno_ret());
        if answer == default {
            continue;
        }
        for name in entry.names() {
            for conditions in oracle::split(entry.args().as_deref().unwrap_or_default()) {
                write!(text, "rule {answer} {name}").unwrap();
                for arg in conditions {
                    let two = arg.value_two().unwrap_or(0);
                    write!(
                        text,
                        " {} {} {} {two}",
                        arg.index(),
                        arg.op() as u32,
                        arg.value()
                    )
                    .unwrap();
                }
                text.push('\n');
            }
        }
    }
    // Without a tree it may compare the architecture for the number, and with one of nothing too.
    if text.contains("rule") {
        text.push_str("optimize 2\n");
    }
    text.push_str("end\n");
    text
}

/// Names that Debian's libseccomp has too.
const NAMES: &[&str] = samples::NAMES.split_at(samples::NAMES.len() - 2).0;

#[test]
fn the_names_are_the_librarys() {
    let Some(mut library) = Library::start("names") else {
        return;
    };
    for abi in Abi::ALL {
        let ours: BTreeMap<u32, &str> = abi.calls().map(|(name, number)| (number, name)).collect();
        let bit = if abi == Abi::X32 { 0x4000_0000 } else { 0 };
        let mut agreed = 0;
        for number in (0..600).map(|n| n | bit).chain(0xf_0000..0xf_0010) {
            let theirs = library.name(abi, number);
            if !theirs.is_empty() {
                assert_eq!(ours.get(&number), Some(&&*theirs), "{abi:?} {number}");
                agreed += 1;
            }
        }
        // What only we have came after it.
        let newer = ours.keys().filter(|number| **number & 0xffff > 448).count();
        assert!(
            agreed + newer >= ours.len(),
            "{abi:?}: {agreed} of {}",
            ours.len()
        );
    }
}

/// Compares both programs on random calls for random profiles, and gives how many profiles both
/// have. `differ` may know a reason for which an answer differs.
fn compare(
    library: &mut Library,
    profiles: impl Strategy<Value = LinuxSeccomp>,
    excused: impl Fn(&LinuxSeccomp, &Call) -> bool,
) -> usize {
    let mut runner = TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..cases(400) {
        let seccomp = profiles.new_tree(&mut runner).unwrap().current();
        let calls = oracle::calls().new_tree(&mut runner).unwrap().current();
        for machine in [Machine::X86_64, Machine::Aarch64] {
            // What contradicts itself, also where no call is that could show it.
            let Ok(theirs) = library.compile(machine, &seccomp) else {
                continue;
            };
            let ours = Profile::compile_for(machine, &seccomp)
                .unwrap_or_else(|error| panic!("{error}: {}", told(machine, &seccomp)));
            compared += 1;
            for call in &calls {
                let newest = |abi| oracle::newest(&seccomp, abi, samples::calls(abi));
                let meant = match is_newer(machine, &seccomp, call, newest) {
                    true => oracle::NOSYS,
                    false => call.answered_by(&theirs),
                };
                let got = call.answered_by(&ours.program);
                assert!(
                    got == meant || excused(&seccomp, call),
                    "{got:#x} not {meant:#x}: {call:x?}\n{}",
                    told(machine, &seccomp)
                );
            }
        }
    }
    compared
}

/// The version in the upper half of the first argument is looked at there, and hides the call.
fn is_versioned(call: &Call) -> bool {
    call.architecture == 0x4000_0003 && call.number == 117 && call.arguments[0] & 0xffff_0000 != 0
}

#[test]
fn equality_with_and_without_masks_is_decided_alike() {
    let Some(mut library) = Library::start("equality") else {
        return;
    };
    let profiles = samples::profile_of(
        NAMES,
        1..4,
        &["SCMP_CMP_EQ", "SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"],
        samples::VALUES,
    );
    let compared = compare(&mut library, profiles, |_, call| is_versioned(call));
    assert!(compared > 600, "{compared}");
}

#[test]
fn every_operator_alone_is_decided_alike() {
    const SMALL: &[u64] = &[
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
    ];
    let Some(mut library) = Library::start("operators") else {
        return;
    };
    let profiles = samples::profile_of(NAMES, 1..2, samples::OPS, SMALL);
    // It takes the first `NE` of several where the upper half differs, whatever the order says.
    let negated = |seccomp: &LinuxSeccomp, call: &Call| {
        let args = seccomp
            .syscalls()
            .iter()
            .flatten()
            .flat_map(|entry| entry.args().iter());
        let negations = args
            .flatten()
            .filter(|arg| arg.op() == Operator::ScmpCmpNe)
            .count();
        negations > 1 && call.arguments.iter().any(|given| given >> 32 != 0)
    };
    let excused =
        |seccomp: &LinuxSeccomp, call: &Call| is_versioned(call) || negated(seccomp, call);
    let compared = compare(&mut library, profiles, excused);
    assert!(compared > 600, "{compared}");
}

/// The default profile of Podman and CRI-O (Debian's golang-github-containers-common), as they
/// write it into a bundle for a container with these capabilities.
pub(super) fn containers_default(capabilities: &[&str]) -> Option<Value> {
    let text = std::fs::read_to_string("/usr/share/containers/seccomp.json");
    assert!(
        text.is_ok() || std::env::var_os("CI").is_none(),
        "golang-github-containers-common is missing, which hack/test installs"
    );
    let mut profile: Value = serde_json::from_str(&text.ok()?).unwrap();
    let has = |list: &Value, all: &[&str]| {
        let mut list = list.as_array().into_iter().flatten();
        list.any(|word| all.iter().any(|known| word == known))
    };
    let arches = ["amd64", "x32", "x86"];
    let entries = profile["syscalls"].as_array_mut().unwrap();
    entries.retain(|entry| {
        let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
        (includes["arches"].is_null() || has(&includes["arches"], &arches))
            && (includes["caps"].is_null() || has(&includes["caps"], capabilities))
            && !has(&excludes["arches"], &arches)
            && !has(&excludes["caps"], capabilities)
    });
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    Some(profile)
}

#[test]
fn the_default_profile_of_containers_is_decided_alike() {
    let Some(mut library) = Library::start("default") else {
        return;
    };
    let mut runner = TestRunner::deterministic();
    for (capabilities, default_errno) in [
        (&[][..], Some(38)),
        (
            &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"],
            Some(38),
        ),
        // As Docker has it: what is newer than the profile still does not exist.
        (&["CAP_SYS_PTRACE"], None),
    ] {
        let Some(mut profile) = containers_default(capabilities) else {
            return;
        };
        profile["defaultErrnoRet"] = json!(default_errno);
        let seccomp = samples::parse(profile);
        let ours = Profile::compile_for(Machine::X86_64, &seccomp).unwrap();
        let theirs = library.compile(Machine::X86_64, &seccomp).unwrap();
        assert!(
            ours.instructions() < 700 && ours.instructions() < theirs.len(),
            "{ours:?}"
        );
        let newest: HashMap<Abi, Option<u32>> = Abi::ALL
            .into_iter()
            .map(|abi| (abi, oracle::newest(&seccomp, abi, abi.calls())))
            .collect();
        let doors = [
            (0xc000_003e, 0),
            (0xc000_003e, 0x4000_0000),
            (0x4000_0003, 0),
        ];
        for (number, (architecture, bit)) in
            (0..700).flat_map(|number| doors.map(|door| (number, door)))
        {
            for _ in 0..8 {
                let arguments = samples::arguments()
                    .new_tree(&mut runner)
                    .unwrap()
                    .current();
                let call = Call {
                    number: number | bit,
                    architecture,
                    arguments,
                };
                let meant = match is_newer(Machine::X86_64, &seccomp, &call, |abi| newest[&abi]) {
                    true => oracle::NOSYS,
                    false => call.answered_by(&theirs),
                };
                assert_eq!(call.answered_by(&ours.program), meant, "{call:x?}");
            }
        }
    }
}
