//! What the flags and the configuration files are understood to mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::config::{Caller, Owner, parse};
use super::meant::{Asked, Meant, asked, together};
use super::said::RunArgs;
use super::settings::{Settings, environment};
use super::{Cli, Verb};
use crate::supervisor::{PolicySource, Program, Require, TerminalChoice};

fn raw(words: &[&str]) -> Vec<OsString> {
    ["buntime", "run"]
        .iter()
        .chain(words)
        .map(OsString::from)
        .collect()
}

fn said(words: &[&str]) -> Result<RunArgs, clap::Error> {
    match Cli::try_parse_from(raw(words))?.verb {
        Verb::Run(said) => Ok(*said),
        other => panic!("{words:?} is {other:?}"),
    }
}

fn program(words: &[&str]) -> Asked {
    let said = said(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    asked(&said, &raw(words)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn caller() -> Caller {
    Caller {
        home: Some("/home/user".into()),
        config_home: None,
        search: Some("/usr/bin:/bin".into()),
    }
}

fn file(text: &str, owner: Owner) -> anyhow::Result<Settings> {
    let path = match owner {
        Owner::User => Path::new("/home/user/.config/buntime/config.json"),
        Owner::Project => Path::new(".buntime.json"),
    };
    parse(text.as_bytes(), path, owner, &caller())
}

fn meant(words: &[&str], user: &str, project: &str) -> anyhow::Result<Meant> {
    let said = said(&[words, &["-c", "pass"]].concat())?;
    let program = Program::Code {
        code: b"pass".to_vec(),
        name: "-c".into(),
        args: Vec::new(),
    };
    let user = file(user, Owner::User)?;
    let project = file(project, Owner::Project)?;
    together(said, program, &caller(), user, project)
}

fn options(words: &[&str]) -> Meant {
    meant(words, "{}", "{}").unwrap_or_else(|error| panic!("{words:?}: {error:#}"))
}

fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.expect_err("a refusal"))
}

fn os(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[test]
fn the_definition_of_the_flags_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_run() {
    let code = |code: &str, args: &[&str]| Asked::Code(code.into(), os(args));
    let script = |path: &str, args: &[&str]| Asked::Script(path.into(), os(args));
    let command = |name: &str, args: &[&str]| Asked::Command(name.into(), os(args));
    let table = [
        (vec!["-c", "pass"], code("pass", &[])),
        (vec!["-cpass"], code("pass", &[])),
        (vec!["-c", "-1"], code("-1", &[])),
        (vec!["-c", "--help"], code("--help", &[])),
        (
            vec![
                "--timeout",
                "1",
                "-c",
                "pass",
                "a",
                "--timeout",
                "2",
                "--",
                "-c",
            ],
            code("pass", &["a", "--timeout", "2", "--", "-c"]),
        ),
        (vec!["a.py"], script("a.py", &[])),
        (
            vec!["--quiet", "a.py", "--quiet", "-c", "x", "--", "y"],
            script("a.py", &["--quiet", "-c", "x", "--", "y"]),
        ),
        (vec!["a.py", "--", "b"], script("a.py", &["--", "b"])),
        (vec!["-", "-x", "y"], Asked::StandardInput(os(&["-x", "y"]))),
        (vec!["--", "cat"], command("cat", &[])),
        (vec!["--", "-"], command("-", &[])),
        (vec!["--", "sh", "-c", "x"], command("sh", &["-c", "x"])),
        (vec!["--", "a", "--", "b"], command("a", &["--", "b"])),
        (vec!["--json", "--", "--", "b"], command("--", &["b"])),
        (vec!["--allow-read", "a.py"], script("a.py", &[])),
    ];
    for (words, expected) in table {
        assert_eq!(program(&words), expected, "{words:?}");
    }
}

#[test]
fn wrong_usage_is_an_error() {
    for words in [
        vec!["--no-such-flag", "-c", "pass"],
        vec!["--timeout", "0", "a.py"],
        vec!["--timeout", "-1", "a.py"],
        vec!["--timeout", "1e9", "a.py"],
        vec!["--timeout", "99999999h", "a.py"],
        vec!["--memory", "lots", "a.py"],
        vec!["--memory", "0", "a.py"],
        vec!["--cpus", "0", "a.py"],
        vec!["--cpus", "inf", "a.py"],
        vec!["--pids", "1.5", "a.py"],
        vec!["--tty", "maybe", "a.py"],
        vec!["--out-keep", "a.py"],
        vec!["-cpass", "a.py"],
        vec!["-c"],
    ] {
        assert!(said(&words).is_err(), "{words:?}");
    }
    let nothing = said(&["--quiet"]).expect("flags alone");
    assert!(asked(&nothing, &raw(&["--quiet"])).is_err());
}

#[test]
fn lists_are_absent_everything_or_items() {
    let flags = options(&[
        "--allow-read",
        "--allow-write=a,/b",
        "--allow-write=c",
        "--deny-read=x",
        "--deny-read",
        "--allow-net=example.org:443",
    ])
    .options
    .policy
    .flags;
    assert_eq!(flags.allow_read, Some(vec![]));
    let written = ["a", "/b", "c"].map(PathBuf::from).to_vec();
    assert_eq!(flags.allow_write, Some(written));
    assert_eq!(
        flags.deny_read,
        Some(vec![]),
        "everything takes in the rest"
    );
    assert_eq!(flags.deny_write, None);
    assert_eq!(flags.allow_net, Some(vec!["example.org:443".to_owned()]));
    for words in ["--allow-read=", "--deny-write=a,,b", "--allow-run=,"] {
        let message = refusal(meant(&[words], "{}", "{}"));
        assert!(message.contains("empty item"), "{words}: {message}");
    }
}

#[test]
fn programs_are_looked_up_in_the_path() {
    let flags = options(&["--allow-run=sh,./tool,/x/y"])
        .options
        .policy
        .flags;
    let found = flags.allow_run.expect("a list");
    assert!(found[0] == Path::new("/usr/bin/sh") || found[0] == Path::new("/bin/sh"));
    assert_eq!(found[1..], ["./tool", "/x/y"].map(PathBuf::from));
    let message = refusal(meant(&["--allow-run=no-such-program"], "{}", "{}"));
    assert!(message.contains("--allow-run=no-such-program"), "{message}");
}

#[test]
fn limits_are_set_lifted_or_left() {
    let words = [
        "--timeout",
        "500ms",
        "--memory",
        "1G",
        "--files",
        "unlimited",
        "--cpus=1.5",
    ];
    let flags = options(&words).options.policy.flags;
    assert_eq!(flags.limits.wall, Some(Duration::from_millis(500)));
    assert_eq!(flags.limits.memory, Some(1 << 30));
    assert_eq!(flags.limits.cpus, Some(1.5));
    assert_eq!((flags.limits.files, flags.lifted.files), (None, true));
    assert_eq!((flags.limits.pids, flags.lifted.pids), (None, false));
    let message = refusal(meant(
        &["--policy", "strict", "--files", "unlimited"],
        "{}",
        "{}",
    ));
    assert!(message.contains("only narrow"), "{message}");
}

#[test]
fn the_last_of_a_repeated_flag_holds() {
    let flags = options(&["--timeout", "1", "--timeout", "2"])
        .options
        .policy
        .flags;
    assert_eq!(flags.limits.wall, Some(Duration::from_secs(2)));
}

#[test]
fn policies_are_names_or_files() {
    let policy = options(&["--policy", "strict", "--policy", "./strict"])
        .options
        .policy;
    let expected = [
        PolicySource::Shipped("strict".to_owned()),
        PolicySource::File("./strict".into()),
    ];
    assert_eq!(policy.policies, expected);
    assert!(policy.flags.over_policy);
    assert!(!options(&[]).options.policy.flags.over_policy);
    let misspelt = options(&["--policy", "strickt"]).options.policy.policies;
    assert_eq!(misspelt, [PolicySource::Shipped("strickt".to_owned())]);
}

#[test]
fn variables_are_given_or_the_callers() {
    let own = |name: &std::ffi::OsStr| (name == "OWN").then(|| OsString::from("mine"));
    let given = os(&["A=1", "OWN", "ABSENT", "A=2=3", "E="]);
    let variables = environment(&given, own).expect("variables");
    let expected = [("OWN", "mine"), ("A", "2=3"), ("E", "")]
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    assert_eq!(variables, expected);
    for bad in ["", "=x"] {
        assert!(environment(&os(&[bad]), own).is_err(), "{bad:?}");
    }
}

#[test]
fn json_and_a_terminal_exclude_each_other() {
    assert_eq!(options(&["--json"]).options.terminal, TerminalChoice::Never);
    assert!(options(&["--json"]).options.capture);
    assert_eq!(options(&[]).options.terminal, TerminalChoice::Auto);
    assert!(meant(&["--json", "--tty", "always"], "{}", "{}").is_err());
}

#[test]
fn flags_come_before_the_project_and_that_before_the_user() {
    let user = r#"{"timeout": "60s", "memory": "1G", "allow-read": ["~/data"], "env": ["A=1"]}"#;
    let project = r#"{"timeout": 5, "pids": 9, "deny-read": ["/etc"], "policy": "strict"}"#;
    let both = meant(&[], user, project).expect("settings").options;
    assert_eq!(both.policy.flags.limits.wall, Some(Duration::from_secs(60)));
    assert_eq!(
        both.policy.project.limits.wall,
        Some(Duration::from_secs(5))
    );
    assert!(both.policy.project.over_policy, "a project narrows");
    assert_eq!(
        both.policy.narrowing,
        [PolicySource::Shipped("strict".to_owned())]
    );
    assert_eq!(both.policy.project.deny_read, Some(vec!["/etc".into()]));
    assert_eq!(
        both.policy.flags.allow_read,
        Some(vec!["/home/user/data".into()])
    );

    let typed = ["--timeout", "90", "--allow-read=x", "--env", "A=2"];
    let typed = meant(&typed, user, project).expect("settings").options;
    assert_eq!(
        typed.policy.flags.limits.wall,
        Some(Duration::from_secs(90))
    );
    assert_eq!(typed.policy.project.limits.wall, None);
    assert_eq!(typed.policy.project.limits.pids, Some(9));
    assert_eq!(typed.policy.flags.allow_read, Some(vec!["x".into()]));
    assert_eq!(typed.surroundings.env, [("A".into(), "2".into())]);
}

#[test]
fn a_project_can_only_narrow() {
    for key in super::config::WIDENING {
        let message = refusal(file(&format!("{{{key:?}: true}}"), Owner::Project));
        assert!(
            message.contains(".buntime.json") && message.contains(key),
            "{message}"
        );
        assert!(message.contains("only narrow"), "{message}");
    }
    let message = refusal(file(r#"{"memory": "unlimited"}"#, Owner::Project));
    assert!(message.contains(".buntime.json: \"memory\""), "{message}");
}

#[test]
fn the_most_that_anybody_requires_holds() {
    let require = |flags: &[&str], user: &str, project: &str| {
        let meant = meant(flags, user, project).expect("it is understood");
        meant.options.require
    };
    let full = r#"{"require": "full"}"#;
    let least = r#"{"require": "policy"}"#;
    assert_eq!(require(&[], "{}", "{}"), Require::Policy);
    assert_eq!(require(&[], full, "{}"), Require::Full);
    assert_eq!(
        require(&["--require", "namespaces"], full, "{}"),
        Require::Namespaces
    );
    assert_eq!(require(&["--require", "policy"], "{}", full), Require::Full);
    assert_eq!(require(&["--require", "full"], "{}", least), Require::Full);
}

#[test]
fn a_configuration_names_its_mistakes() {
    let table = [
        (r#"{"polcy": "x"}"#, "\"polcy\": unknown"),
        (r#"{"timeout": "soon"}"#, "\"timeout\": expected a time"),
        (
            r#"{"timeout": true}"#,
            "\"timeout\": expected a number or a string",
        ),
        (r#"{"deny-read": []}"#, "\"deny-read\": the list is empty"),
        (
            r#"{"deny-read": false}"#,
            "\"deny-read\": expected true or a list",
        ),
        (
            r#"{"deny-read": ["a"], "deny-read": ["b"]}"#,
            "\"deny-read\" is there twice",
        ),
        (
            r#"{"tty": "often"}"#,
            "\"tty\": expected one of: auto, always, never",
        ),
        ("[]", "expected an object"),
        ("{", "EOF"),
        ("", "EOF"),
    ];
    for (text, expected) in table {
        let message = refusal(file(text, Owner::User));
        assert!(
            message.starts_with("/home/user/.config/buntime/config.json"),
            "{message}"
        );
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn every_key_of_a_configuration_is_understood() {
    let keys = super::config::WIDENING
        .iter()
        .chain(&super::config::NARROWING);
    for key in keys {
        let values = [
            "true",
            "\"/bin/sh\"",
            "\"1\"",
            "\"auto\"",
            "\"warn\"",
            "\"full\"",
        ];
        let understood = values
            .iter()
            .any(|value| file(&format!("{{{key:?}: {value}}}"), Owner::User).is_ok());
        assert!(understood, "{key}");
    }
}

#[test]
fn nothing_stands_in_for_a_home_that_is_not_there() {
    let homeless = Caller::default();
    for text in [
        r#"{"deny-read": ["~/.ssh"]}"#,
        r#"{"deny-write": "~"}"#,
        r#"{"policy": "~/policy.json"}"#,
    ] {
        let parsed = parse(
            text.as_bytes(),
            Path::new("/c.json"),
            Owner::User,
            &homeless,
        );
        let message = refusal(parsed);
        assert!(message.contains("there is no HOME"), "{text}: {message}");
    }
    let settings = file(r#"{"deny-read": ["~", "~/.ssh", "~other"]}"#, Owner::User).expect("fine");
    let expected = ["/home/user", "/home/user/.ssh", "~other"].map(PathBuf::from);
    assert_eq!(settings.lists.deny_read.as_deref(), Some(&expected[..]));
}

#[test]
fn the_users_file_stands_where_xdg_says() {
    let at = |config_home: Option<&str>| {
        let caller = Caller {
            config_home: config_home.map(PathBuf::from),
            ..caller()
        };
        caller.user_file().expect("a home")
    };
    assert_eq!(
        at(None),
        Path::new("/home/user/.config/buntime/config.json")
    );
    assert_eq!(at(Some("/c")), Path::new("/c/buntime/config.json"));
    assert_eq!(
        at(Some("relative")),
        Path::new("/home/user/.config/buntime/config.json")
    );
    assert_eq!(Caller::default().user_file(), None);
}
