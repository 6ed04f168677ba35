//! Every command that the documents and the help show is run, and does what they say.

#[path = "system/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use support::{Child, Finished, PYTHON, alone, binary, buntime, outside_of_tmp};

const DOCUMENTS: [&str; 5] = [
    include_str!("../README.md"),
    include_str!("../docs/ARCHITECTURE.md"),
    include_str!("../docs/POLICIES.md"),
    include_str!("../CHANGELOG.md"),
    include_str!("../docs/CONTAINERS.md"),
];

/// What shows a form, and not a command that could be run as it is; what builds this program or
/// runs these tests; and what needs a container, which tests/system/containers makes, a run that goes on, which
/// tests/system/reload has, or attacks, which
/// tests/system/attest does.
const NOT_RUN: [&str; 31] = [
    "buntime --help",
    "buntime create",
    "buntime create --bundle bundle web1",
    "buntime --policy /etc/buntime/web.json create --bundle bundle web1",
    "buntime --policy strict create --bundle bundle web1",
    "buntime start web1",
    "buntime state web1",
    "buntime kill web1 KILL",
    "buntime delete web1",
    "buntime run web1",
    "buntime spec --rootless",
    "buntime bundle init python",
    "buntime run",
    "buntime policy",
    "buntime policy check|show|diff|explain|plan",
    "buntime policy show NAME",
    "buntime policy reload",
    "buntime policy reload job",
    "buntime policy reload job narrower.json",
    "buntime policy reload --json job policy.json more.json",
    "buntime init-policy",
    "buntime attest",
    "buntime attest 17 ptrace",
    "buntime attest --json 43-51 > files.json",
    "buntime bundle init python DIR",
    "buntime completions SHELL",
    "cargo run --release -- run -c 'print(\"Hello from the sandbox\")'",
    "hack/test",
    "buntime run --bundle DIR",
    "buntime run --bundle my-bundle -c 'print(6*7)'",
    "cp target/release/buntime /usr/local/bin/",
];

/// Each command, and a part of what it prints on standard output, in an order in which files that
/// one writes are there for the next.
const RUN: [(&str, &str); 48] = [
    ("buntime doctor", "the shipped default policy\n"),
    ("buntime doctor --missing", "the shipped default policy\n"),
    ("buntime doctor --json > host.json", ""),
    ("buntime spec --bundle bundle", ""),
    ("buntime features", "\"ociVersionMin\""),
    ("buntime run -c 'print(6*7)'", "42\n"),
    ("buntime run script.py a b", "script a b\n"),
    ("buntime run script.py a -x", "script a -x\n"),
    ("echo 'print(1)' | buntime run -", "1\n"),
    ("buntime run -- /usr/bin/sort < words", "a\nb\n"),
    ("buntime run --allow-run -- bash", "typed into bash\n"),
    ("buntime run --venv ~/env script.py", "script\n"),
    (
        "buntime run --allow-read=data --out result script.py",
        "script\n",
    ),
    ("buntime run --allow-read=. script.py", "script\n"),
    (
        "buntime run --venv ~/env --allow-read=data --out result script.py",
        "script\n",
    ),
    (
        "buntime run --policy strict --report report.json script.py",
        "script\n",
    ),
    (
        "buntime run --timeout 10s --memory 1G --files unlimited -c 'import this'",
        "Beautiful is better than ugly.",
    ),
    ("buntime run --policy policy.json script.py", "script\n"),
    (
        "buntime run --name job --policy policy.json script.py",
        "script\n",
    ),
    (
        "buntime run --learn learned.json --allow-read=data script.py",
        "script\n",
    ),
    (
        "buntime run --learn learned.json --allow-read=data --allow-write=out script.py",
        "script\n",
    ),
    ("buntime run --policy learned.json script.py", "script\n"),
    ("buntime policy check policy.json", "policy.json: ok\n"),
    (
        "buntime policy check policies/*.json",
        "policies/one.json: ok\n",
    ),
    ("buntime policy show default", "exec deny by default"),
    ("buntime policy show --json policy.json", "\"version\": 1"),
    ("buntime policy diff default strict", "+limit pids 16\n"),
    (
        "buntime policy diff old.json new.json",
        "-fs deny by default\n",
    ),
    (
        "buntime policy explain --policy default /etc/passwd",
        "/etc/passwd\n  deny",
    ),
    (
        "buntime policy explain --policy strict ~/.ssh/id_rsa",
        "by defaults.fs of policies/strict.json",
    ),
    (
        "buntime policy explain --policy policy.json example.org:443 git ./data",
        "/data\n  allow read_file, read_dir\n",
    ),
    (
        "buntime policy explain --policy policy.json data/x.csv example.org:443 https://example.org/v1 git",
        "/data/x.csv\n  allow read_file, read_dir\n",
    ),
    (
        "buntime policy explain --policy policy.json https://api.example.org/v1/notes",
        "https://api.example.org/v1/notes\n  deny  connect tcp\n",
    ),
    ("buntime attest --list", "io_uring"),
    ("buntime policy plan --policy strict", "limits: memory"),
    (
        "buntime policy plan --json --policy policy.json",
        "\"rules\": [",
    ),
    (
        "buntime policy plan --allow-read=data -- /usr/bin/sort",
        "read-only, noexec",
    ),
    ("buntime policy list", "ebpf-audit "),
    ("buntime policy schema", "\"$schema\""),
    ("buntime policy schema > schema.json", ""),
    (
        "buntime init-policy --allow-read=data --allow-write=out",
        "/out\"",
    ),
    ("buntime init-policy --allow-read=data > policy.json", ""),
    (
        "buntime init-policy --allow-read=data --allow-write=out > policy.json",
        "",
    ),
    (
        "buntime init-policy --allow-net=example.org:443 --allow-run=/usr/bin/git",
        "\"host\": \"example.org\"",
    ),
    ("buntime bundle init python my-bundle", "my-bundle\n"),
    (
        "buntime completions bash > ~/.local/share/bash-completion/completions/buntime",
        "",
    ),
    ("buntime run -c 'print(1)' < /dev/null", "1\n"),
    ("buntime run <(echo 'print(1)')", "1\n"),
];

/// The exit status of a command that says by it that two policies differ.
const DIFFER: i32 = 1;

/// The exit status of a doctor on a host that has less than the default policy asks for, as it
/// has for an ordinary user.
const LESS: i32 = 1;

struct Place(PathBuf);

impl Place {
    /// A folder with what the commands speak of.
    fn new() -> Place {
        let name = format!("documents-{}", std::process::id());
        let place = Place(outside_of_tmp().join(name));
        for folder in ["data", "out", "policies", "bin", "bundle"] {
            fs::create_dir_all(place.0.join(folder)).expect("a folder");
        }
        let completions = "home/.local/share/bash-completion/completions";
        fs::create_dir_all(place.0.join(completions)).expect("a folder");
        let file = |name: &str, text: &str| fs::write(place.0.join(name), text).expect("a file");
        file(
            "script.py",
            "import sys\nprint(' '.join(['script'] + sys.argv[1:]))\n",
        );
        file("words", "b\na\n");
        file("data/x.csv", "1\n");
        file(
            "old.json",
            "{\"version\": 1, \"defaults\": {\"fs\": \"deny\"}}",
        );
        file(
            "new.json",
            "{\"version\": 1, \"defaults\": {\"fs\": \"allow\"}}",
        );
        file("policies/one.json", "{\"version\": 1}");
        let first = DOCUMENTS[2]
            .split("```json\n")
            .nth(1)
            .expect("a first policy");
        file("policy.json", first.split("```").next().expect("its end"));
        symlink(binary(), place.0.join("bin/buntime")).expect("a link");
        let env = place.0.join("home/env");
        Child::new(PYTHON)
            .args(["-m", "venv", "--without-pip"])
            .arg(env)
            .run()
            .expect(0);
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// The command of a line in a block, without what is said about it.
fn command(line: &str) -> &str {
    line.split("  #").next().unwrap_or_default().trim()
}

/// Every command that a document shows: the lines of its blocks, and what starts with the
/// program's name elsewhere.
fn shown(document: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    let mut block = None;
    for line in document.lines() {
        if let Some(language) = line.strip_prefix("```") {
            block = block.is_none().then_some(language);
        } else if block == Some("sh") && !command(line).is_empty() {
            commands.insert(command(line).to_owned());
        } else if block.is_none() {
            let quoted = line.split('`').skip(1).step_by(2);
            commands.extend(
                quoted
                    .filter(|text| text.starts_with("buntime ") || text.starts_with("cp "))
                    .map(str::to_owned),
            );
        }
    }
    commands
}

/// The examples at the end of every help.
fn helped() -> BTreeSet<String> {
    let verbs = [
        "",
        "run",
        "policy check",
        "policy show",
        "policy diff",
        "policy explain",
        "policy plan",
        "policy reload",
        "policy list",
        "policy schema",
        "init-policy",
        "bundle init",
        "doctor",
        "attest",
        "completions",
    ];
    let mut commands = BTreeSet::new();
    for verb in verbs {
        let help = buntime([])
            .args(verb.split_whitespace())
            .arg("--help")
            .run()
            .expect(0)
            .stdout();
        let examples = help
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("{verb}: {help}"))
            .1;
        let lines = examples.lines().skip(1).take_while(|line| !line.is_empty());
        commands.extend(lines.map(|line| command(line).to_owned()));
    }
    commands
}

#[test]
fn every_command_that_is_shown_does_what_is_said() {
    let _alone = alone();
    let mut shown: BTreeSet<String> = DOCUMENTS.iter().flat_map(|text| shown(text)).collect();
    shown.extend(helped());
    assert!(shown.len() > 30, "{shown:#?}");
    let run = RUN.iter().map(|(command, _)| *command);
    let known: BTreeSet<&str> = run.chain(NOT_RUN).collect();
    for command in &known {
        assert!(shown.contains(*command), "nothing shows {command}");
    }
    for command in &shown {
        assert!(known.contains(command.as_str()), "no test runs {command}");
    }
    let place = Place::new();
    let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", place.0.display());
    for (command, prints) in RUN {
        let mut done: Finished = Child::new("bash")
            .args(["-c", command])
            .env("PATH", &path)
            .env("HOME", place.0.join("home").to_str().expect("text"))
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .current_dir(&place.0)
            .input("echo typed into bash\n")
            .run();
        if !(command.starts_with("buntime doctor") && done.status.code() == Some(LESS)) {
            let differs = command.contains(" diff ");
            done = done.expect(if differs { DIFFER } else { 0 });
        }
        assert!(done.stdout().contains(prints), "{command}\n{done}");
    }
}
