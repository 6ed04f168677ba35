//! The attacks: which program, on which lines of `tests/attacks/README.md`, under which flags.

mod network;
mod runtime;

pub(super) use network::{Policies, WAYS, WORLD};
pub(super) use runtime::{CARELESS, HARNESS};

/// What stands before every program.
pub(super) const PRELUDE: &str = include_str!("../../../tests/attacks/prelude.py");

/// Where an attack is seen to succeed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    /// In mount, process, IPC and host name namespaces that end with it; for an ordinary user in a
    /// user namespace too.
    Throwaway,
    /// As a plain process, on what was made for it.
    Plain,
    /// In a network of its own, with servers, names and a way out without fences, in namespaces that
    /// end with it. Inside it is in such a network too.
    World,
    /// On a runtime without fences. Such an attack is made from outside, in namespaces that end with
    /// it, on that runtime first and then on this one.
    Runtime,
}

#[derive(Debug)]
pub(super) struct Attack {
    pub(super) lines: &'static [u8],
    pub(super) name: &'static str,
    pub(super) fence: &'static str,
    pub(super) program: &'static str,
    pub(super) control: Control,
    /// Flags of `buntime run`.
    pub(super) flags: &'static [&'static str],
    /// Policies that it is made under, in a network of its own.
    pub(super) policies: Option<&'static Policies>,
    /// Places of the program that are the attack's own.
    pub(super) places: &'static [(&'static str, &'static str)],
    /// Buntime may end the program for it.
    pub(super) ends: bool,
    /// Started by somebody who leaves secrets in the environment and in open files.
    pub(super) careless: bool,
    /// Processes outside are made for it.
    pub(super) victims: bool,
}

impl Attack {
    const fn new(
        lines: &'static [u8],
        name: &'static str,
        fence: &'static str,
        program: &'static str,
    ) -> Attack {
        Attack {
            lines,
            name,
            fence,
            program,
            control: Control::Plain,
            flags: &[],
            policies: None,
            places: &[],
            ends: false,
            careless: false,
            victims: false,
        }
    }

    const fn thrown_away(mut self) -> Attack {
        self.control = Control::Throwaway;
        self
    }

    const fn flags(mut self, flags: &'static [&'static str]) -> Attack {
        self.flags = flags;
        self
    }

    const fn places(mut self, places: &'static [(&'static str, &'static str)]) -> Attack {
        self.places = places;
        self
    }

    const fn ends(mut self) -> Attack {
        self.ends = true;
        self
    }

    const fn careless(mut self) -> Attack {
        self.careless = true;
        self
    }

    const fn victims(mut self) -> Attack {
        self.victims = true;
        self
    }
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../tests/attacks/", $name))
    };
}

/// A folder that may be read and changed, but for some of what is in it.
const GRANTED: &[&str] = &[
    "--allow-read=@GROUND@/granted",
    "--allow-write=@GROUND@/granted",
    "--deny-read=@GROUND@/granted/denied,@GROUND@/granted/sub",
    "--deny-write=@GROUND@/granted/denied,@GROUND@/granted/sub,@GROUND@/granted/keep",
    "--deny-write=@GROUND@/granted/.git,@GROUND@/granted/.env",
];
const LINKED: &[&str] = &[
    "--allow-read=@GROUND@/linked",
    "--allow-write=@GROUND@/linked",
    "--deny-read=@GROUND@/linked/denied",
    "--deny-write=@GROUND@/linked/denied",
];
const ABSENT: &[&str] = &[
    "--allow-read=@GROUND@/granted",
    "--allow-write=@GROUND@/granted",
    "--deny-read=@GROUND@/granted/absent",
    "--deny-write=@GROUND@/granted/absent",
];
const PROGRAMS: &[&str] = &[
    "--allow-run",
    "--deny-run=/usr/bin/id",
    "--allow-read=@GROUND@/granted",
    "--allow-write=@GROUND@/granted",
];
const SECRET: &[(&str, &str)] = &[("SECRET", "@GROUND@/outside/secret")];
const LIMITS: &[&str] = &[
    "--pids",
    "40",
    "--files",
    "64",
    "--memory",
    "128M",
    "--max-output",
    "1M",
];

const FILTER: &str = "seccomp";
const CAPABILITIES: &str = "seccomp, no capabilities";
const ROOT: &str = "the file is not in the root; Landlock";
const MASKS: &str = "masks, read-only mounts, Landlock";
const ONE_EXEC: &str = "one exec; noexec mounts, Landlock";

/// Every attack there is.
pub(super) fn attacks() -> impl Iterator<Item = &'static Attack> {
    let network = network::NETWORK.iter();
    runtime::RUNTIME.iter().chain(ATTACKS).chain(network)
}

static ATTACKS: &[Attack] = &[
    Attack::new(
        &[2, 9, 20],
        "caller",
        "a clean environment, closed descriptors",
        file!("supervisor.py"),
    )
    .careless(),
    Attack::new(
        &[10],
        "control groups",
        "no control groups inside, no capabilities",
        file!("control_groups.py"),
    )
    .thrown_away(),
    Attack::new(&[12], "io_uring", FILTER, file!("io_uring.py")),
    Attack::new(&[13], "other abis", FILTER, file!("other_abis.py")),
    Attack::new(&[14], "terminals", FILTER, file!("terminals.py")),
    Attack::new(&[14], "high bits", FILTER, file!("high_bits.py")).thrown_away(),
    Attack::new(&[14], "personality", FILTER, file!("personality.py")),
    Attack::new(&[15], "ptrace", FILTER, file!("ptrace.py")).thrown_away(),
    Attack::new(
        &[15],
        "memory",
        "seccomp, Landlock, init is not dumpable",
        file!("memory.py"),
    )
    .thrown_away(),
    Attack::new(
        &[15, 27],
        "processes",
        "the pid namespace",
        file!("host_processes.py"),
    )
    .victims(),
    Attack::new(&[15], "init", FILTER, file!("init.py")).thrown_away(),
    Attack::new(&[16], "unshare", CAPABILITIES, file!("unshare.py")).thrown_away(),
    Attack::new(&[16], "setns", CAPABILITIES, file!("setns.py")).thrown_away(),
    Attack::new(
        &[16, 17],
        "capabilities",
        "no capabilities",
        file!("capabilities.py"),
    )
    .thrown_away(),
    Attack::new(&[17], "mount", CAPABILITIES, file!("mount.py")).thrown_away(),
    Attack::new(&[17], "chroot", CAPABILITIES, file!("chroot.py")).thrown_away(),
    Attack::new(&[18, 19, 21], "execute", ONE_EXEC, file!("execute.py")),
    Attack::new(
        &[18, 19, 21],
        "programs",
        "masks, noexec mounts, Landlock",
        file!("programs.py"),
    )
    .flags(PROGRAMS),
    Attack::new(
        &[18, 19, 21],
        "copies",
        "Landlock, noexec mounts, no executable memory files",
        file!("copies.py"),
    )
    .flags(&["--allow-run=/usr/bin/printf"]),
    Attack::new(
        &[20],
        "variables",
        "a program has what its starter has",
        file!("variables.py"),
    )
    .flags(&["--allow-run"]),
    Attack::new(
        &[22],
        "rewriting",
        "no decision by what a pointer shows",
        file!("rewriting.py"),
    )
    .flags(GRANTED),
    Attack::new(
        &[22],
        "rewriting exec",
        "masks, Landlock",
        file!("rewriting_exec.py"),
    )
    .flags(PROGRAMS),
    Attack::new(
        &[23],
        "listener",
        "one exec; no answer is a denial",
        file!("listener.py"),
    ),
    Attack::new(&[24], "filters", FILTER, file!("filters.py")),
    Attack::new(&[25], "kernel surface", FILTER, file!("kernel_surface.py")),
    Attack::new(&[25], "keyctl", FILTER, file!("keyctl.py")),
    Attack::new(&[25], "machine", CAPABILITIES, file!("machine.py")).thrown_away(),
    Attack::new(
        &[26],
        "flood of processes",
        "control group",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "processes")])
    .ends(),
    Attack::new(
        &[26],
        "flood of descriptors",
        "resource limit",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "descriptors")]),
    Attack::new(
        &[26],
        "flood of memory",
        "control group",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "memory")])
    .ends(),
    Attack::new(
        &[26],
        "flood of files",
        "a private /tmp of limited size",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "files")])
    .ends(),
    Attack::new(
        &[26],
        "flood of inodes",
        "a private /tmp of limited size",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "inodes")])
    .ends(),
    Attack::new(
        &[26],
        "flood of output",
        "the supervisor",
        file!("floods.py"),
    )
    .flags(LIMITS)
    .places(&[("WHAT", "output")])
    .ends(),
    Attack::new(
        &[27],
        "signals",
        "the pid namespace, Landlock",
        file!("signals.py"),
    )
    .victims(),
    Attack::new(&[43], "races", MASKS, file!("races.py")).flags(GRANTED),
    Attack::new(&[44], "renamed parents", MASKS, file!("renamed_parents.py")).flags(GRANTED),
    Attack::new(&[45], "hard links", MASKS, file!("hard_links.py")).flags(GRANTED),
    Attack::new(
        &[45],
        "hard link before",
        "the interceptor",
        file!("hard_link_before.py"),
    )
    .flags(LINKED),
    Attack::new(&[46], "absent", "the interceptor", file!("absent.py")).flags(ABSENT),
    Attack::new(&[47, 48], "secrets", ROOT, file!("read_secrets.py")).places(SECRET),
    Attack::new(&[47], "magic links", MASKS, file!("magic_links.py")).flags(GRANTED),
    Attack::new(&[48], "spellings", MASKS, file!("spellings.py")).flags(GRANTED),
    Attack::new(
        &[49],
        "devices",
        "Landlock, seccomp, nodev mounts",
        file!("devices.py"),
    )
    .flags(&["--policy", "@GROUND@/regular.json"]),
    Attack::new(&[50], "writes", MASKS, file!("writes.py")).flags(GRANTED),
    Attack::new(
        &[50],
        "writes everywhere",
        "read-only mounts, Landlock",
        file!("write_outside.py"),
    )
    .flags(&["--allow-read=@GROUND@/outside"])
    .places(&[("PLACES", "[\"@GROUND@/outside\"]")]),
    Attack::new(&[51], "planted", MASKS, file!("planted.py")).flags(GRANTED),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::attacks;

    const TABLE: &str = file!("README.md");

    /// A line without an attack, or an attack that the table does not know, would go unseen.
    #[test]
    fn the_table_names_every_attack_of_every_line() {
        let mut covered: BTreeSet<u8> = BTreeSet::new();
        for attack in attacks() {
            covered.extend(attack.lines);
            for number in attack.lines {
                let row = TABLE
                    .lines()
                    .find(|row| row.starts_with(&format!("| {number} | ")));
                let row = row.unwrap_or_else(|| panic!("the table has no line {number}"));
                let named = format!("attest `{}`", attack.name);
                assert!(row.contains(&named), "line {number} does not name {named}");
            }
        }
        for number in 1..=51 {
            assert!(covered.contains(&number), "no attack is on line {number}");
        }
        let names: BTreeSet<&str> = attacks().map(|attack| attack.name).collect();
        assert_eq!(names.len(), attacks().count(), "two attacks have one name");
    }

    /// The head of a program says which lines it belongs to.
    #[test]
    fn every_program_names_its_lines() {
        for attack in attacks() {
            let head = attack.program.split_once(". ").expect("a head").0;
            let named: BTreeSet<u8> = head
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            assert_eq!(
                named,
                attack.lines.iter().copied().collect(),
                "{}",
                attack.name
            );
        }
    }
}
