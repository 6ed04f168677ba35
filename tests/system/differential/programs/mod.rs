//! Executions at random under policies at random: for each the same answer from the oracle and from
//! the kernel, and where it is a yes the same program as without any sandbox.

mod expected;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buntime::policy::{ExecPlan, MaskKind, Perm, Verdict};
use serde_json::{Value, json};

use self::expected::{Oracle, digest};
use super::cells::Counts;
use super::{Chance, Kernel, Progress, asked_for, passes, resolved};
use crate::support::{
    Child, PYTHON, Scratch, USER, alone, binary, is_root, outside_of_tmp, recorded,
};

const EXECUTIONS: &str = include_str!("executions.py");

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Executions under one policy.
const EXECUTIONS_OF_ONE: usize = 40;

/// What programs of the tree end with. A loader that finds nothing to load ends otherwise, as does an
/// interpreter that may not read its script.
const ENDS: [i64; 4] = [0, 1, 2, 7];

/// By which call, and how the path is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Absolute,
    Relative,
    At,
    Nofollow,
    Empty,
    Descriptor,
    Loader,
}

impl How {
    const ALL: [How; 7] = [
        How::Absolute,
        How::Relative,
        How::At,
        How::Nofollow,
        How::Empty,
        How::Descriptor,
        How::Loader,
    ];

    fn name(self) -> &'static str {
        match self {
            How::Absolute => "absolute",
            How::Relative => "relative",
            How::At => "at",
            How::Nofollow => "nofollow",
            How::Empty => "empty",
            How::Descriptor => "descriptor",
            How::Loader => "loader",
        }
    }
}

#[derive(Debug)]
struct Execution {
    path: &'static str,
    how: How,
}

impl Execution {
    fn line(&self) -> String {
        format!("{}\n", json!({"path": self.path, "how": self.how.name()}))
    }
}

const PATHS: [&str; 21] = [
    "p/true",
    "p/false",
    "p/expr",
    "p/sh",
    "p/s.sh",
    "p/t.sh",
    "p/sub/expr",
    "q/true",
    "q/hard",
    "q/lnk",
    "q/rel.sh",
    "q/chain",
    "q/lost.sh",
    "link/true",
    "link/s.sh",
    "link/../q/true",
    "./p//false",
    "p",
    "p/data",
    "p/missing",
    "q/dangling",
];

const PATTERNS: [&str; 20] = [
    "p",
    "p/true",
    "p/false",
    "p/expr",
    "p/sh",
    "p/s.sh",
    "p/sub",
    "p/missing",
    "q",
    "q/true",
    "q/hard",
    "q/lnk",
    "link",
    "p/*.sh",
    "**/true",
    "p/**",
    "**/*.sh",
    "*/[eft]*",
    "q/?ain",
    "**",
];

/// The programs of the tree and of which of the host's they are copies.
const PROGRAMS: [(&str, &str); 6] = [
    ("p/true", "/usr/bin/true"),
    ("p/false", "/usr/bin/false"),
    ("p/expr", "/usr/bin/expr"),
    ("p/sh", "/bin/sh"),
    ("p/sub/expr", "/usr/bin/expr"),
    ("q/true", "/usr/bin/true"),
];

/// Fills an empty folder, and gives the digests of its files.
fn plant(root: &Path) -> BTreeMap<PathBuf, String> {
    for folder in ["p/sub", "q"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    for (path, program) in PROGRAMS {
        fs::copy(program, root.join(path)).expect("a copy");
    }
    let here = root.display();
    for (path, text) in [
        ("p/s.sh", format!("#!{here}/p/sh\nexit 7\n")),
        ("p/t.sh", format!("#! {here}/link/sh -e\nexit 7\n")),
        ("q/rel.sh", "#!p/sh\nexit 7\n".to_owned()),
        ("q/chain", format!("#!{here}/p/s.sh\n")),
        ("q/lost.sh", format!("#!{here}/p/missing\n")),
    ] {
        fs::write(root.join(path), text).expect("a script");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.join(path), mode).expect("its mode is changed");
    }
    fs::write(root.join("p/data"), "data").expect("a file");
    fs::hard_link(root.join("p/false"), root.join("q/hard")).expect("a link");
    symlink("../p/true", root.join("q/lnk")).expect("a link");
    symlink("nowhere", root.join("q/dangling")).expect("a link");
    symlink("p", root.join("link")).expect("a link");
    let folders =
        ["p", "p/sub", "q"].map(|folder| fs::read_dir(root.join(folder)).expect("it is read"));
    let entries = folders.into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.filter(|path| path.is_file() && !path.is_symlink());
    files
        .map(|path| {
            let bytes = fs::read(&path).expect("a file");
            (path, digest(&bytes))
        })
        .collect()
}

fn policy(chance: &mut Chance, root: &Path) -> Value {
    let here = root.display();
    let mut base = vec!["read_file", "read_dir", "execute"];
    match chance.next() % 12 {
        0 | 1 => base.push("write_file"),
        2 => base.retain(|perm| *perm != "read_file"),
        _ => {}
    }
    let mut files = vec![json!({"action": "allow", "path": root, "perms": base})];
    if chance.one_in(3) {
        let perms = *chance.of(&["execute", "read_file", "write_file"]);
        let pattern = *chance.of(&PATTERNS);
        files
            .push(json!({"action": "deny", "path": format!("{here}/{pattern}"), "perms": [perms]}));
    }
    let mut programs = Vec::new();
    for _ in 0..chance.next() % 6 {
        let pattern = *chance.of(&PATTERNS);
        let action = *chance.of(&["allow", "allow", "allow", "warn", "warn", "deny", "ask"]);
        // A program that is denied is hidden, and here that would be the whole tree.
        let action = match (pattern, action) {
            ("**", "deny") => "ask",
            (_, action) => action,
        };
        let mut rule = json!({"action": action, "path": format!("{here}/{pattern}")});
        if chance.one_in(4) {
            let (path, _) = *chance.of(&PROGRAMS);
            let path = *chance.of(&[path, path, "p/s.sh", "q/rel.sh"]);
            let bytes = fs::read(root.join(path)).expect("a file");
            rule["sha256"] = json!(digest(&bytes));
        }
        programs.push(rule);
    }
    let default = *chance.of(&["deny", "deny", "allow", "allow", "warn"]);
    json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": default},
        "fs": {"rules": files},
        "exec": {"rules": programs},
        "audit": {"enabled": true}
    })
}

/// What comes of the executions: answers of the program, one for each.
fn answers(text: &str, wanted: usize, told: &str) -> Vec<Value> {
    let answers = text.lines().map(serde_json::from_str);
    let answers: Vec<Value> = answers.collect::<Result<_, _>>().expect("answers");
    assert_eq!(answers.len(), wanted, "{told}");
    answers
}

fn outside(root: &Path, lines: &str, wanted: usize) -> Vec<Value> {
    let user = USER.to_string();
    let ids = ["--reuid", &user, "--regid", &user, "--clear-groups"];
    let mut process = Command::new("setpriv")
        .args(ids)
        .args(["--inh-caps=-all", PYTHON, "-I", "-c", EXECUTIONS])
        .arg(root)
        .arg(LOADER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("setpriv runs");
    let mut input = process.stdin.take().expect("it has an input");
    input.write_all(lines.as_bytes()).expect("it reads");
    drop(input);
    let done = process.wait_with_output().expect("it ends");
    answers(&String::from_utf8_lossy(&done.stdout), wanted, "outside")
}

/// `None` where the policy is refused.
fn inside(root: &Path, document: &Value, lines: &str, wanted: usize) -> Option<Ran> {
    let scratch = Scratch::new();
    let file = scratch.file("p.json", document.to_string().as_bytes());
    let log = scratch.entry("events.jsonl");
    let done = Child::new(binary())
        .args(["run", "--policy", &file, "--events", &log, "--quiet", "--"])
        .args([PYTHON, "-I", "-c", EXECUTIONS])
        .arg(root)
        .arg(LOADER)
        .input(lines)
        .run();
    let said = done.stderr();
    if done.status.code() == Some(125) {
        let is_refused = said.contains("cannot enforce the policy exactly");
        assert!(is_refused, "{document}: {said}");
        return None;
    }
    let told = format!("it ended early: {document}\n{said}");
    Some(Ran {
        answers: answers(&done.stdout(), wanted, &told),
        events: recorded(&log),
    })
}

/// Whether the way to the program was refused: to whoever executes it, and with the loader to the loader,
/// which opens it by itself and ends with 127 then.
fn is_refused(how: How, answer: &Value) -> bool {
    match how {
        How::Loader => *answer == json!([0, 127]),
        _ => answer[0] == libc::EACCES,
    }
}

struct Ran {
    answers: Vec<Value>,
    events: Vec<Value>,
}

/// Compares executions under one policy; false where that is refused.
fn compare(
    chance: &mut Chance,
    root: &Path,
    digests: &BTreeMap<PathBuf, String>,
    counts: &mut Counts<How>,
) -> bool {
    let document = policy(chance, root);
    let (policy, world) = resolved(&document, root, Kernel { abi: None });
    let Ok(plan) = policy.compile(&world) else {
        return false;
    };
    let intercept = plan.intercept.unwrap_or_default();
    let linked = intercept.linked.into_iter().map(|path: PathBuf| {
        let found = path.symlink_metadata().expect("it is there");
        (found.ino(), path)
    });
    let oracle = Oracle {
        policy: &policy,
        root,
        live: intercept.perms,
        once: plan.exec == ExecPlan::Once,
        linked: linked.collect(),
        binds: &plan.binds,
        masks: &plan.masks,
        digests,
    };
    let way = match intercept.perms.contains(Perm::Execute) {
        true => "interceptor",
        false => "static",
    };
    let draw = |chance: &mut Chance| Execution {
        path: chance.of::<&str>(&PATHS),
        how: *chance.of(&How::ALL),
    };
    let cell = |call: &Execution| Some((call.how, oracle.verdict(call)?, way));
    let calls = counts.choose(chance, EXECUTIONS_OF_ONE, draw, cell);
    let lines: String = calls.iter().map(Execution::line).collect();
    let Some(ran) = inside(root, &document, &lines, calls.len()) else {
        return false;
    };
    let native = outside(root, &lines, calls.len());
    let masks = plan.masks.iter();
    let hidden = masks.filter(|mask| mask.kind == MaskKind::Hidden);
    let hidden: Vec<&PathBuf> = hidden.map(|mask| &mask.path).collect();
    let is_hidden = |path: &Path| hidden.iter().any(|hidden| path.starts_with(hidden));
    let mut warned = 0;
    for ((call, answer), native) in calls.iter().zip(&ran.answers).zip(&native) {
        let verdict = oracle.verdict(call);
        let told =
            || format!("{call:?}: {verdict:?}, inside {answer}, outside {native}\n{document}");
        let has_run = |answer: &Value| {
            let end = answer[1].as_i64().expect("a number");
            answer[0] == 0 && ENDS.contains(&end) && *answer == *native
        };
        match verdict {
            Some(verdict) if !verdict.permits() => assert!(!has_run(answer), "it ran: {}", told()),
            // No way leads through what is hidden, wherever it goes on to.
            Some(_)
                if is_refused(call.how, answer)
                    && passes(root, call.path, |path| is_hidden(path)) => {}
            Some(_) => assert_eq!(answer, native, "another end: {}", told()),
            None => assert!(!has_run(answer) && !has_run(native), "it ran: {}", told()),
        }
        if let Some(verdict) = verdict {
            warned += u64::from(verdict == Verdict::Warn && has_run(answer));
            counts.count((call.how, verdict, way));
        }
    }
    let of_warn = |event: &&Value| event["verdict"] == "warn" && event["operation"] == "run";
    let recorded = ran.events.iter().filter(of_warn).count() as u64;
    assert!(
        recorded >= warned,
        "{recorded} of {warned} are recorded: {document}"
    );
    true
}

#[test]
fn the_kernel_runs_what_the_oracle_says() {
    let _alone = alone();
    if !is_root("the_kernel_runs_what_the_oracle_says") {
        return;
    }
    let (seed, wanted) = asked_for(600);
    let mut chance = Chance::of_seed(seed);
    let root = outside_of_tmp().join(format!("differential-programs-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a folder");
    let digests = plant(&root);
    let mut counts = Counts::<How>::new();
    let (mut pairs, mut refused) = (0, 0);
    while pairs < wanted {
        let progress = Progress { seed, pairs };
        match compare(&mut chance, &root, &digests, &mut counts) {
            true => pairs += EXECUTIONS_OF_ONE as u64,
            false => refused += 1,
        }
        drop(progress);
    }
    fs::remove_dir_all(&root).expect("the tree is removed");
    counts.tell(pairs, refused, pairs / 20, How::name);
}
