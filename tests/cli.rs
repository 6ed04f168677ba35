//! The command line of the built binary: what it prints where, and its exit codes. What
//! the sandbox holds is tested in tests/system.

#[path = "system/support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Child, Finished, alone, binary, buntime, outside_of_tmp};

/// A folder of one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("cli-{}-{name}", std::process::id());
        let path = outside_of_tmp().join(name);
        fs::create_dir(&path).expect("a fresh folder");
        Folder(path)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
    }

    /// A run in this folder, with a home that has no configuration.
    fn run(&self, args: &[&str]) -> Finished {
        let entry = |name: &str| self.0.join(name).to_str().expect("text").to_owned();
        Child::new(binary())
            .args(args)
            .clean_path()
            .env("HOME", &entry("nobody"))
            .env("XDG_CONFIG_HOME", &entry("config"))
            .current_dir(&self.0)
            .run()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn help_and_version_are_answers_and_wrong_usage_is_125() {
    // The second as programs ask that put the same flags before every call.
    let asked = [buntime(["--version"]), buntime(["--root", "/none", "-v"])];
    for asked in asked {
        assert_eq!(
            asked.run().expect(0).stdout(),
            concat!(
                "buntime version ",
                env!("CARGO_PKG_VERSION"),
                "\nspec: 1.2.1\n",
                "+APPARMOR +CAP +EBPF +LANDLOCK +SECCOMP +SELINUX +SYSTEMD\n"
            )
        );
    }
    let help = buntime(["--root", "/none", "-h"]).run().expect(0);
    assert!(help.stdout().contains("Usage: buntime"), "{help}");
    for verb in ["run", "policy", "init-policy", "bundle", "completions"] {
        let help = buntime([verb, "--help"]).run().expect(0);
        assert!(help.stdout().contains("Usage:"), "{help}");
    }
    assert!(
        buntime(["run", "--help"])
            .run()
            .stdout()
            .contains("Examples:")
    );
    let wrong = buntime(["run", "--no-such-flag", "-c", "pass"])
        .run()
        .expect(125);
    assert!(wrong.stderr().starts_with("buntime: "), "{wrong}");
    assert!(wrong.stdout.is_empty(), "{wrong}");
    let nothing = buntime(["run"]).run().expect(125);
    assert!(nothing.stderr().contains("nothing to run"), "{nothing}");
    buntime([]).run().expect(125);
}

#[test]
fn completions_name_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = buntime(["completions", shell]).run().expect(0);
        assert!(script.stdout().contains("init-policy"), "{script}");
    }
    buntime(["completions", "no-such-shell"]).run().expect(125);
}

#[test]
fn a_file_that_is_not_there_is_127() {
    let done = buntime(["run", "/no/such/script.py"]).run().expect(127);
    assert!(done.stderr().contains("buntime run -- "), "{done}");
}

#[test]
fn a_project_cannot_give_itself_anything() {
    let folder = Folder::new("widening");
    folder.file(".buntime.json", r#"{"allow-read": ["/etc/shadow"]}"#);
    let done = folder.run(&["run", "-c", "print('ran')"]).expect(125);
    assert!(done.stdout.is_empty(), "{done}");
    assert!(done.stderr().contains(".buntime.json"), "{done}");
    assert!(done.stderr().contains("allow-read"), "{done}");
}

#[test]
fn a_project_narrows_and_the_users_file_has_defaults() {
    let _alone = alone();
    let folder = Folder::new("narrowing");
    folder.file("data.txt", "words");
    let user = r#"{"allow-read": ["data.txt"], "env": ["TOLD=yes"]}"#;
    folder.file("config/buntime/config.json", user);
    let code = "import os; print(os.environ['TOLD'], open('data.txt').read())";
    folder.run(&["run", "-c", code]).prints("yes words\n");
    folder.file(".buntime.json", r#"{"deny-read": ["data.txt"]}"#);
    let denied = folder.run(&["run", "-c", code]).expect(1);
    assert!(denied.stdout.is_empty(), "{denied}");
}

#[test]
fn json_is_one_object_with_output_and_report() {
    let _alone = alone();
    let code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)";
    let done = buntime(["run", "--json", "-c", code]).run().expect(3);
    assert_eq!(done.stderr(), "", "{done}");
    let object = json(&done.stdout());
    assert_eq!(object["status"], 3);
    assert_eq!(object["stdout"], "out\n");
    assert_eq!(object["stderr"], "err\n");
    assert_eq!(object["stdout_truncated"], false);
    assert_eq!(object["report"]["exit"]["code"], 3);
    let enforced = object["report"]["enforced"].as_array().expect("a list");
    assert!(
        enforced.iter().any(|one| one["mechanism"] == "seccomp"),
        "{enforced:?}"
    );
}

#[test]
fn a_failure_is_an_object_too() {
    let policy = "/no/such/policy.json";
    let done = buntime(["run", "--json", "--policy", policy, "-c", "pass"])
        .run()
        .expect(125);
    let object = json(&done.stdout());
    assert_eq!(object["status"], 125);
    assert!(
        object["error"]
            .as_str()
            .is_some_and(|text| text.contains(policy)),
        "{done}"
    );
    assert!(done.stderr().starts_with("buntime: "), "{done}");
}

#[test]
fn a_report_says_the_same() {
    let _alone = alone();
    let folder = Folder::new("report");
    folder
        .run(&["run", "--report", "report.json", "-c", "print(1)"])
        .prints("1\n");
    let report = json(&fs::read_to_string(folder.0.join("report.json")).expect("a report"));
    assert_eq!(report["exit"]["status"], 0);
    assert_eq!(report["exit"]["cause"], "program");
    assert!(
        report["layers"]
            .as_array()
            .is_some_and(|layers| !layers.is_empty())
    );
}

#[test]
fn a_denial_names_the_rule_and_the_flag() {
    let _alone = alone();
    let code = "open('/srv/no-such-file', 'w')";
    let done = buntime(["run", "-c", code]).run().expect(1);
    assert!(done.stderr().contains("PermissionError"), "{done}");
    let line = denial(&done);
    assert!(
        line.starts_with("buntime: denied write /srv/no-such-file"),
        "{done}"
    );
    assert!(line.contains("defaults.fs"), "{done}");
    assert!(line.contains("--allow-write=/srv/no-such-file"), "{done}");
    let quiet = buntime(["run", "--quiet", "-c", code]).run().expect(1);
    assert!(!quiet.stderr().contains("buntime: "), "{quiet}");
}

fn denial(done: &Finished) -> String {
    let stderr = done.stderr();
    let line = stderr
        .lines()
        .find(|line| line.starts_with("buntime: denied "));
    line.unwrap_or_else(|| panic!("{done}")).to_owned()
}

/// A command line of a shell in the folder, with the binary as `$BUNTIME`.
fn shell(folder: &Folder, line: &str) -> Finished {
    Child::new("bash")
        .args(["-c", line])
        .env("BUNTIME", binary().to_str().expect("text"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .current_dir(&folder.0)
        .run()
}

#[test]
fn too_few_words_get_the_help_and_not_a_complaint() {
    for words in [&[][..], &["policy"], &["bundle"]] {
        let done = buntime([]).args(words).run().expect(125);
        assert!(done.stdout.is_empty(), "{done}");
        assert!(done.stderr().contains("\nUsage: buntime"), "{done}");
        assert!(!done.stderr().contains("buntime: "), "{done}");
    }
}

/// What cannot be run says so, in one line, with the exit status of a shell.
#[test]
fn what_cannot_be_run_is_126_and_what_is_not_there_127() {
    let _alone = alone();
    let folder = Folder::new("unfit");
    fs::create_dir(folder.0.join("folder")).expect("a folder");
    folder.file("text", "words");
    let unfit: [(&[&str], i32, &str); 8] = [
        (&["folder"], 126, "it is a directory"),
        (&["--", "./folder"], 126, "it is not a regular file"),
        (&["--", "./text"], 126, "chmod +x"),
        (&["--", ""], 127, "the name of the program is empty"),
        (&["--", "./absent"], 127, "there is no such file"),
        (&["--", "no-such-program"], 127, "give its path"),
        (&[""], 127, "the name of the script is empty"),
        (
            &["--python", "/absent", "-c", "1"],
            127,
            "cannot find /absent: install python3",
        ),
    ];
    for (words, status, says) in unfit {
        let done = folder.run(&[&["run"], words].concat()).expect(status);
        assert!(
            done.stderr().starts_with("buntime: cannot ") || words[0].is_empty(),
            "{done}"
        );
        assert!(done.stderr().contains(says), "{done}");
        assert_eq!(done.stderr().lines().count(), 1, "{done}");
    }
}

#[test]
fn a_script_that_others_may_not_read_is_126() {
    if !support::is_root("a_script_that_others_may_not_read_is_126") {
        return;
    }
    let scratch = support::Scratch::new();
    let script = scratch.file("script.py", b"print(1)");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&script, closed).expect("the mode can be set");
    let done = Child::new(scratch.binary())
        .args(["run", &script])
        .of_user(&scratch.home())
        .run()
        .expect(126);
    assert!(done.stderr().contains("Permission denied"), "{done}");
}

#[test]
fn a_pipe_is_a_script_too() {
    let _alone = alone();
    let folder = Folder::new("pipes");
    let code = "import sys; print(6 * 7, len(sys.argv), sys.argv[1])";
    let line = format!("\"$BUNTIME\" run <(echo '{code}') word");
    shell(&folder, &line).prints("42 2 word\n");
    let line = format!("echo '{code}' | \"$BUNTIME\" run /dev/stdin word");
    shell(&folder, &line).prints("42 2 word\n");
    shell(&folder, "\"$BUNTIME\" run /dev/null").prints("");
}

#[test]
fn a_mistyped_workdir_is_no_empty_directory() {
    let _alone = alone();
    let folder = Folder::new("workdir");
    folder.file("text", "words");
    let code = "import os; print(os.path.basename(os.getcwd()))";
    for wrong in ["absent", "text"] {
        let done = folder
            .run(&["run", "--workdir", wrong, "-c", code])
            .expect(125);
        assert!(done.stdout.is_empty(), "{done}");
        assert!(done.stderr().contains(&format!("{wrong}: ")), "{done}");
    }
    fs::create_dir(folder.0.join("there")).expect("a folder");
    folder
        .run(&["run", "--workdir", "there", "-c", code])
        .prints("there\n");
}

#[test]
fn the_output_directory_is_made() {
    let _alone = alone();
    let folder = Folder::new("out");
    let code = "open('new/file', 'w').write('kept')";
    folder.run(&["run", "--out", "new", "-c", code]).expect(0);
    assert_eq!(
        fs::read_to_string(folder.0.join("new/file")).expect("a file"),
        "kept"
    );
    let again = folder.run(&["run", "--out", "new", "-c", code]).expect(125);
    assert!(again.stderr().contains("--out-keep"), "{again}");
    folder
        .run(&["run", "--out", "new", "--out-keep", "-c", code])
        .expect(0);
    let deep = folder
        .run(&["run", "--out", "absent/new", "-c", code])
        .expect(125);
    assert!(deep.stderr().contains("absent/new"), "{deep}");
}

/// It ends without a word to the supervisor, which must neither wait for one nor take the end
/// of a program that is no interpreter for the end of the code.
#[test]
fn what_is_no_interpreter_is_a_failure_at_once() {
    let _alone = alone();
    let begun = std::time::Instant::now();
    let done = buntime(["run", "--python", "/bin/true", "-c", "pass"])
        .run()
        .expect(125);
    assert!(
        done.stderr().contains("is it Python 3.7 or later?"),
        "{done}"
    );
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(25),
        "{done}"
    );
}

#[test]
fn events_that_nothing_sees_are_refused_and_the_others_recorded() {
    let _alone = alone();
    let folder = Folder::new("events");
    let policy = |events: &str| {
        format!(
            r#"{{"version": 1, "defaults": {{"fs": "deny"}},
            "audit": {{"enabled": true, "events": [{events}]}}}}"#
        )
    };
    folder.file("policy.json", &policy("\"limits\", \"syscalls\""));
    let run = [
        "run",
        "--policy",
        "policy.json",
        "--events",
        "log",
        "-c",
        "print(1)",
    ];
    let done = folder.run(&run).expect(125);
    assert!(done.stdout.is_empty(), "{done}");
    let named = "(line 2): the kernel decides about syscalls by itself";
    assert!(done.stderr().contains(named), "{done}");
    folder.file("policy.json", &policy("\"lifecycle\", \"limits\""));
    let done = folder
        .run(&["run", "--policy", "policy.json", "-c", "print(1)"])
        .expect(125);
    assert!(done.stderr().contains("--events FILE"), "{done}");
    fs::remove_file(folder.0.join("log")).expect("a log of the refused");
    folder.run(&run).prints("1\n");
    let log = fs::read_to_string(folder.0.join("log")).expect("a log");
    for event in ["session-start", "launch-enforced", "exit"] {
        assert!(log.contains(&format!("\"type\":\"{event}\"")), "{log}");
    }
}

/// An old report must not be taken for that of a run that never was.
#[test]
fn what_cannot_even_be_meant_replaces_the_report() {
    let _alone = alone();
    let folder = Folder::new("unmeant");
    fs::write(folder.0.join("report.json"), "{\"session\": \"old\"}").expect("a file");
    let run = |words: &[&str], status: i32| {
        let report = ["run", "--report", "report.json"];
        let done = folder.run(&[&report[..], words].concat()).expect(status);
        let text = fs::read_to_string(folder.0.join("report.json")).expect("a record");
        let record: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(record["status"], status, "{text}");
        assert!(!text.contains("old"), "{text}");
        done
    };
    run(&["no-such-script.py"], 127);
    let done = run(&["--venv", "env", "--", "python"], 125);
    assert!(done.stderr().contains("--venv env: "), "{done}");
    run(&["--env", "=x", "-c", "1"], 125);
}

/// After a flag's `=` no shell expands anything.
#[test]
fn what_a_shell_would_have_expanded() {
    let _alone = alone();
    let folder = Folder::new("expand");
    fs::create_dir(folder.0.join("real")).expect("a folder");
    fs::write(folder.0.join("secret"), "of the home").expect("a file");
    std::os::unix::fs::symlink("real", folder.0.join("link")).expect("a link");
    let home = folder.0.display().to_string();
    let read = "print(open('secret').read())";
    let run = |flags: &[&str], code: &str| {
        let child = buntime(["run"]).args(flags).args(["-c", code]);
        child.env("HOME", &home).current_dir(&folder.0).run()
    };
    run(&["--allow-read=~"], read).prints("of the home\n");
    let done = run(&["--allow-read=.", "--deny-read=~/secret"], read).expect(1);
    assert!(!done.stdout().contains("of the home"), "{done}");
    let done = run(&["--deny-read=se*"], read).expect(125);
    assert!(
        done.stderr().contains("--deny-read=se*: a pattern"),
        "{done}"
    );
    let done = run(&["--deny-read=sercet"], "print(1)");
    assert!(
        done.stderr().contains("denies only what comes there later"),
        "{done}"
    );
    // The kernel decides about the folder that a link leads to, and so do its answers.
    let write = "open('link/new', 'w'); print('written')";
    run(&["--allow-read=.", "--allow-write=real"], write).prints("written\n");
    let shell = "import os; os.system('echo ran')";
    run(&["--allow-run=sh"], shell).prints("ran\n");
}

/// Who asked for a record of the run has one of the refusal.
#[test]
fn a_refusal_is_in_the_report_and_in_the_log() {
    let _alone = alone();
    let folder = Folder::new("refusal");
    let refused = [
        "run",
        "--report",
        "report.json",
        "--events",
        "log",
        "--policy",
        "ebpf-audit",
        "-c",
        "print(1)",
    ];
    folder.run(&refused).expect(125);
    for file in ["report.json", "log"] {
        let text = fs::read_to_string(folder.0.join(file)).expect("a record");
        let record: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        let error = record["error"].as_str().expect("the error");
        assert!(error.contains("audit.events of"), "{text}");
        assert_eq!(record["status"], 125, "{text}");
    }
}

#[test]
fn a_full_disk_is_a_failure_with_its_place() {
    let _alone = alone();
    let folder = Folder::new("full");
    for words in [
        "--help",
        "policy show default",
        "completions bash",
        "run --json -c pass",
    ] {
        let done = shell(&folder, &format!("\"$BUNTIME\" {words} > /dev/full")).expect(125);
        assert!(
            done.stderr()
                .contains("buntime: write to standard output: No space"),
            "{done}"
        );
    }
}

#[test]
fn a_reader_who_left_changes_no_exit_status() {
    let _alone = alone();
    let status = |words: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let done = Command::new(binary())
            .args(words)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("it starts");
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{words:?}");
        done.status.code()
    };
    assert_eq!(
        status(&["run", "--json", "-c", "raise SystemExit(4)"]),
        Some(4)
    );
    assert_eq!(status(&["policy", "show", "default"]), Some(0));
    assert_eq!(status(&["--help"]), Some(0));
}

#[test]
fn wrong_usage_is_an_object_too() {
    let done = buntime(["run", "--json"]).run().expect(125);
    assert_eq!(json(&done.stdout())["status"], 125);
}

#[test]
fn an_error_names_its_cause_once() {
    let done = buntime(["policy", "check", "/absent.json"]).run().expect(1);
    assert_eq!(done.stderr().matches("No such file").count(), 1, "{done}");
    let done = buntime(["bundle", "init", "python", "/proc/absent"])
        .run()
        .expect(125);
    assert_eq!(done.stderr().matches("No such file").count(), 1, "{done}");
}

#[test]
fn a_policy_file_names_only_what_it_can() {
    let path = OsStr::from_bytes(b"--allow-read=/data/\xff");
    let done = buntime(["init-policy"]).arg(path).run().expect(125);
    assert!(done.stdout.is_empty(), "{done}");
    assert!(done.stderr().contains("not UTF-8"), "{done}");
}

/// What each shell proposes after these words.
const PROPOSED: [(&[&str], &[&str]); 3] = [
    (&["run", "--policy", "st"], &["strict"]),
    (&["policy", "show", "ne"], &["net-egress", "networked"]),
    (&["run", "--policy", "own"], &["own.json"]),
];

#[test]
fn bash_completes_policies_by_name_and_by_file() {
    let folder = Folder::new("bash");
    folder.file("own.json", "{}");
    for (words, wanted) in PROPOSED {
        let (before, word) = (words[words.len() - 2], words[words.len() - 1]);
        let line = format!(
            "set -u; source <(\"$BUNTIME\" completions bash); COMP_WORDS=(buntime {}); \
             COMP_CWORD={}; _buntime buntime {word} {before}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len(),
        );
        let done = shell(&folder, &line).expect(0);
        if words[0] == "policy" || wanted != ["own.json"] {
            let mut found: Vec<String> = done.stdout().lines().map(str::to_owned).collect();
            found.sort();
            assert_eq!(found, wanted, "{done}");
        } else {
            assert!(done.stdout().contains("own.json"), "{done}");
        }
        assert_eq!(done.stderr(), "", "{done}");
    }
}

/// Whether a shell is there. Where it is not, the test fails in CI and says why elsewhere.
fn has(shell: &str) -> bool {
    let there = Command::new(shell).arg("-c").arg("true").output().is_ok();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "hack/test installs {shell}"
    );
    if !there {
        eprintln!("not tested, because there is no {shell}; hack/test installs it");
    }
    there
}

#[test]
fn fish_completes_policies_by_name_and_by_file() {
    if !has("fish") {
        return;
    }
    let folder = Folder::new("fish");
    folder.file("own.json", "{}");
    for (words, wanted) in PROPOSED {
        let line = format!(
            "fish --no-config -c '\"$BUNTIME\" completions fish | source; \
             complete -C \"buntime {}\"'",
            words.join(" ")
        );
        let done = shell(&folder, &line).expect(0);
        let mut found: Vec<String> = done
            .stdout()
            .lines()
            .map(|line| line.trim().into())
            .collect();
        found.sort();
        assert_eq!(found, wanted, "{done}");
    }
}

#[test]
fn zsh_loads_its_completions() {
    if !has("zsh") {
        return;
    }
    let folder = Folder::new("zsh");
    let line = "\"$BUNTIME\" completions zsh > _buntime && zsh -f -c 'autoload -U compinit; \
        compinit -u -D; fpath=(. $fpath); source ./_buntime; \
        print $_comps[buntime] $+functions[_buntime_policies]'";
    let done = shell(&folder, line).prints("_buntime 1\n");
    assert_eq!(done.stderr(), "", "{done}");
    let script = fs::read_to_string(folder.0.join("_buntime")).expect("a script");
    assert_eq!(script.matches(":_buntime_policies").count(), 7, "{script}");
}

#[test]
fn a_path_that_is_not_there_is_said_to_allow_nothing() {
    let _alone = alone();
    let folder = Folder::new("absent");
    folder.file("there", "words");
    let warned = |args: &[&str]| {
        let done = folder
            .run(&[&["run"], args, &["-c", "pass"]].concat())
            .expect(0);
        done.stderr().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for flag in ["--allow-read", "--allow-write"] {
        assert_eq!(warned(&[&format!("{flag}=there,/tmp/own")]), [""; 0]);
        let lines = warned(&[&format!("{flag}=there,thare")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let start = format!("buntime: warning: {flag}=thare allows nothing");
        assert!(lines[0].starts_with(&start), "{lines:?}");
        assert_eq!(warned(&["--quiet", &format!("{flag}=thare")]), [""; 0]);
    }
}

/// What a denial advises has to work.
#[test]
fn advice_is_only_given_where_it_helps() {
    let _alone = alone();
    let connect = "import socket; socket.create_connection(('192.0.2.1', 80))";
    let done = buntime(["run", "-c", connect]).run().expect(1);
    let advice = "allow with --allow-net=192.0.2.1:80";
    assert!(done.stderr().contains(advice), "{done}");
    let read = [
        "run",
        "--policy",
        "readonly",
        "-c",
        "open('/srv/no-such-file')",
    ];
    let done = buntime(read).run().expect(1);
    assert!(
        denial(&done).ends_with("buntime policy show --json readonly"),
        "{done}"
    );
}
