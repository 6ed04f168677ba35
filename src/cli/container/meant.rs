//! Whether a command line is one of a container verb: other programs put flags before the verb, and
//! `run` is both the sandbox's verb and a container's.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;

use super::{RunCli, RunVerb};

const VERBS: [&str; 16] = [
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
    "update",
];

/// The flags before the verb that take a value.
const WITH_VALUE: [&str; 7] = [
    "--cgroup-manager",
    "--criu",
    "--log",
    "--log-format",
    "--policy",
    "--root",
    "--rootless",
];

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

/// Whether the verb is one that only containers have.
pub(in crate::cli) fn is_meant(arguments: &[OsString]) -> bool {
    let verb = verb_at(arguments).and_then(|place| arguments[place].to_str());
    verb.is_some_and(|verb| VERBS.contains(&verb))
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
    match RunCli::try_parse_from(arguments) {
        Ok(RunCli {
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
        ] {
            assert!(is_meant(&words(line)), "{line}");
        }
        for line in [
            "buntime run a.py",
            "buntime policy show",
            "buntime",
            "buntime --help",
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
