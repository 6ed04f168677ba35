//! Whether a command line is one of a container verb: other programs put flags before the verb, and
//! `run` is both the sandbox's verb and a container's.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;

use super::{Few, RunVerb};

const VERBS: [&str; 17] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "spec",
    "start",
    "state",
    "supervise",
    "update",
];

/// The flags before the verb that take a value.
const WITH_VALUE: [&str; 9] = [
    "--cgroup-manager",
    "--criu",
    "--egress",
    "--events",
    "--log",
    "--log-format",
    "--policy",
    "--root",
    "--rootless",
];

/// The flags before the verb that take none.
const GLOBAL: [&str; 4] = ["-v", "--allow-degraded", "--debug", "--systemd-cgroup"];

/// Flags of a container's `run` that the sandbox's has not.
const CONTAINERS_OWN: [&str; 9] = [
    "-d",
    "--config",
    "--console-socket",
    "--detach",
    "--keep",
    "--no-new-keyring",
    "--no-pivot",
    "--no-subreaper",
    "--preserve-fds",
];

/// The verb's place among the arguments, the program's own name first.
fn verb_at(arguments: &[OsString]) -> Option<usize> {
    let mut place = 1;
    while let Some(argument) = arguments.get(place) {
        let text = argument.to_string_lossy();
        if !text.starts_with('-') {
            return Some(place);
        }
        place += 1 + usize::from(WITH_VALUE.contains(&text.as_ref()));
    }
    None
}

/// The verb among the arguments, as far as it can be told without its flags.
pub(super) fn verb(arguments: &[OsString]) -> Option<&str> {
    verb_at(arguments).and_then(|place| arguments[place].to_str())
}

/// Whether the verb is one that only containers have, or flags stand before it or in its place that
/// only they have: what other programs put before every call they put before `--version`, too.
pub(in crate::cli) fn is_meant(arguments: &[OsString]) -> bool {
    let place = verb_at(arguments);
    let verb = place.and_then(|place| arguments[place].to_str());
    if verb.is_some_and(|verb| VERBS.contains(&verb)) {
        return true;
    }
    let before = arguments.get(1..place.unwrap_or(arguments.len()));
    let mut flags = before.unwrap_or_default().iter();
    verb != Some("run") && flags.any(|flag| is_global(&flag.to_string_lossy()))
}

/// Whether this is a flag that stands before the verb, with its value or without.
pub(super) fn is_global(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    GLOBAL.contains(&name) || WITH_VALUE.contains(&name)
}

/// Whether `run` is a container's: flags stand before it, or a flag that only a container's has, or
/// the one word after it is no file but may be an id, beside a bundle.
pub(in crate::cli) fn is_container_run(arguments: &[OsString]) -> bool {
    let Some(place) = verb_at(arguments) else {
        return false;
    };
    if arguments[place] != "run" {
        return false;
    }
    if place > 1 {
        return true;
    }
    let rest = &arguments[place + 1..];
    let own = |argument: &OsStr| {
        let text = argument.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        CONTAINERS_OWN.contains(&name)
    };
    let ends = |argument: &&OsString| *argument != "--" && *argument != "-c";
    if rest.iter().take_while(ends).any(|argument| own(argument)) {
        return true;
    }
    match Few::try_parse_from(arguments) {
        Ok(Few {
            verb: RunVerb::Run(run),
            ..
        }) => {
            let id = &run.create.id;
            let is_bundle = run.create.bundle.join("config.json").is_file();
            is_bundle && id != "-" && !Path::new(id).exists()
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_container_verb_is_known_behind_the_flags_of_its_callers() {
        for line in [
            "buntime create web",
            "buntime --root /x --log /y/log.json --log-format json create --bundle /b web",
            "buntime --log-format=json --log /l start web",
            "buntime --systemd-cgroup --root /x state web",
            "buntime features",
            "buntime --policy=/etc/p.json --root /x create --bundle /b web",
            "buntime --policy strict --policy p.json state web",
            "buntime --root /x --version",
            "buntime --root=/x -h",
            "buntime --debug none",
            "buntime -v",
        ] {
            assert!(is_meant(&words(line)), "{line}");
        }
        for line in [
            "buntime run a.py",
            "buntime policy show",
            "buntime",
            "buntime --help",
            "buntime --version",
            "buntime --root /x run web",
        ] {
            assert!(!is_meant(&words(line)), "{line}");
        }
    }

    #[test]
    fn run_is_a_containers_where_only_that_makes_sense() {
        for line in [
            "buntime --root /x run web",
            "buntime run -d web",
            "buntime run --bundle /b --console-socket=/s web",
        ] {
            assert!(is_container_run(&words(line)), "{line}");
        }
        for line in [
            "buntime run a.py",
            "buntime run -c print(1)",
            "buntime run -- ls -d",
            "buntime run -",
            "buntime create web",
        ] {
            assert!(!is_container_run(&words(line)), "{line}");
        }
    }
}
