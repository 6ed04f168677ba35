//! The oracle and the kernel: policies at random, calls at random made by a real worker as raw
//! system calls, and for each the same answer from both.
//!
//! The same calls are made in a second tree without any sandbox, as far as the oracle permits them:
//! what is permitted gives the same there and inside, what is not fails inside, and at the end both
//! trees are the same.

mod cells;
mod chance;
mod expected;
mod programs;
mod ways;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use buntime::policy::{Entry, EntryKind, Layer, Policy, Vars, Verdict, World};
use serde_json::Value;

use self::cells::Counts;
use self::chance::{call, policy};
use self::expected::{Call, Need, Oracle, needs};
use self::ways::Ways;
use self::world::{described, leads, plant, without_links};
use crate::support::chance::{Chance, given};
use crate::support::{
    Child, PYTHON, Scratch, USER, alone, binary, is_root, outside_of_tmp, recorded,
};

const CALLS: &str = include_str!("calls.py");

/// What a program says whose policy leaves it no socket.
const NO_SOCKET: &str = "no socket";

/// Calls that are made under one policy.
const CALLS_OF_ONE: usize = 40;

/// A program that makes calls without any sandbox, as the tree's owner.
struct Native {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Native {
    fn start(root: &Path) -> Native {
        let user = USER.to_string();
        let mut process = Command::new("setpriv")
            .args([
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "--inh-caps=-all",
            ])
            .args([PYTHON, "-I", "-c", CALLS])
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        Native {
            input: process.stdin.take().expect("it has an input"),
            output: BufReader::new(process.stdout.take().expect("it has an output")),
            process,
        }
    }

    fn make(&mut self, call: &Call) -> Value {
        self.input
            .write_all(call.line().as_bytes())
            .expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{call:?}: {line:?}"))
    }

    fn end(mut self) {
        drop(self.input);
        self.process.wait().expect("it ends");
    }
}

/// What the oracle is asked with: the paths that rules name, as they are in the tree.
fn resolved(document: &Value, root: &Path, kernel: Kernel) -> (Policy, World) {
    let vars = Vars {
        home: "/home".into(),
        pwd: "/".into(),
        workspace: "/".into(),
    };
    let layer =
        Layer::parse(document.to_string().as_bytes(), "p.json", &vars).expect("it is valid");
    let policy = Policy::merge(vec![layer], Vec::new()).expect("it is one layer");
    let mut through = BTreeMap::new();
    let entries: BTreeMap<PathBuf, Entry> = policy
        .literal_paths()
        .into_iter()
        .map(|path| {
            let (real, names) = without_links(&path);
            through.insert(path.clone(), names);
            let found = real.metadata().ok();
            let kind = match &found {
                None => EntryKind::Missing,
                Some(found) if found.is_dir() => EntryKind::Dir,
                Some(found) if found.is_file() => EntryKind::File,
                Some(_) => EntryKind::Other,
            };
            let links = found.map_or(0, |found| if found.is_dir() { 1 } else { found.nlink() });
            (
                path,
                Entry {
                    kind,
                    links,
                    in_bundle: false,
                    real,
                },
            )
        })
        .collect();
    let world = World {
        entries,
        through,
        namespaces: true,
        landlock_abi: kernel.abi.unwrap_or(7),
        ..World::default()
    };
    assert!(root.is_dir());
    (policy.resolve(&world), world)
}

struct Pair {
    scratch: Scratch,
    inside: PathBuf,
    native: PathBuf,
    /// Their sockets.
    #[expect(dead_code, reason = "what is closed is not listened on")]
    listening: Vec<UnixListener>,
}

impl Pair {
    fn planted(place: &Path) -> Pair {
        let scratch = Scratch::new();
        let (inside, native) = (place.join("inside"), place.join("native"));
        let mut listening = Vec::new();
        for root in [&inside, &native] {
            if root.exists() {
                fs::remove_dir_all(root).expect("an old tree is removed");
            }
            fs::create_dir_all(root).expect("a folder");
            listening.extend(plant(root));
        }
        give_away(&native);
        Pair {
            scratch,
            inside,
            native,
            listening,
        }
    }
}

fn give_away(path: &Path) {
    lchown(path, Some(USER), Some(USER)).expect("it is given away");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a folder is read") {
            give_away(&entry.expect("an entry").path());
        }
    }
}

/// The newest version of Landlock's ABI that this kernel has, or an older one.
#[derive(Clone, Copy)]
struct Kernel {
    abi: Option<u32>,
}

impl Kernel {
    /// `buntime run`, which is told that the kernel has that version, and uses no more of it.
    fn run(self) -> Child {
        let Some(abi) = self.abi else {
            return Child::new(binary()).arg("run");
        };
        let call = "landlock_create_ruleset";
        Child::new("strace")
            .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:retval={abi}")])
            .arg(binary())
            .arg("run")
    }
}

/// What a worker under the policy says of the calls; `None` where the policy is refused.
fn inside(
    pair: &Pair,
    kernel: Kernel,
    document: &Value,
    calls: &[Call],
    log: &str,
) -> Option<Vec<Value>> {
    let file = pair.scratch.file("p.json", document.to_string().as_bytes());
    let done = kernel
        .run()
        .args(["--policy", &file, "--events", log, "--quiet", "--"])
        .args([PYTHON, "-I", "-c", CALLS])
        .arg(&pair.inside)
        .input(calls.iter().map(Call::line).collect::<String>())
        .run();
    let said = done.stderr();
    if done.status.code() == Some(125) {
        let is_refused = said.contains("cannot enforce the policy exactly");
        assert!(is_refused, "it ended early: {document}\n{said}");
        return None;
    }
    let stdout = done.stdout();
    let answers = stdout.lines().map(serde_json::from_str);
    let answers: Vec<Value> = answers.collect::<Result<_, _>>().expect("answers");
    let told = format!("it ended early: {document}\n{said}");
    assert_eq!(answers.len(), calls.len(), "{told}");
    Some(answers)
}

/// Makes calls under one policy; gives how many pairs were compared, or `None` where the policy is
/// refused.
fn compare(
    chance: &mut Chance,
    kernel: Kernel,
    place: &Path,
    counts: &mut Counts<&'static str>,
) -> Option<usize> {
    let pair = Pair::planted(place);
    let document = policy(chance, &pair.inside.display().to_string());
    let log = pair.scratch.entry("events.jsonl");
    let (oracle, world) = resolved(&document, &pair.inside, kernel);
    let ways = Ways::of(oracle.compile(&world).ok(), kernel);
    let asked = Oracle {
        policy: &oracle,
        here: &pair.native,
        there: &pair.inside,
        linked: ways.linked(&pair),
    };
    let cell = |call: &Call, needs: &[Need], verdict| {
        let way = ways.mechanism(&pair, call, needs, verdict);
        (call.name, verdict, way)
    };
    let of_planted = |one: &Call| {
        let needs = needs(&pair.native, one)?;
        Some(cell(one, &needs, asked.verdict(&needs)))
    };
    let calls = counts.choose(chance, CALLS_OF_ONE, call, of_planted);
    let answers = inside(&pair, kernel, &document, &calls, &log)?;
    let mut native = Native::start(&pair.native);
    let mut warned = Vec::new();
    for (number, (call, answer)) in calls.iter().zip(&answers).enumerate() {
        if renames_to_itself(&pair.native, call) {
            continue;
        }
        let needed = needs(&pair.native, call);
        let verdict = needed.as_deref().map(|needs| asked.verdict(needs));
        let told = || format!("call {number} {call:?} needs {needed:?}: {verdict:?}\n{document}");
        let errno = &answer[0];
        match verdict {
            Some(verdict) if !verdict.permits() => {
                let needs = needed.as_deref().unwrap_or_default();
                let by_landlock = ways.mechanism(&pair, call, needs, verdict) == "landlock";
                let carries = ways.carry_all() && asked.permits_but_for_carrying(needs);
                let permits = carries || asked.permits_by_another_name(needs);
                if *errno == 0 && by_landlock && permits {
                    assert_eq!(*answer, native.make(call), "{}", told());
                    continue;
                }
                assert_ne!(*errno, 0, "it was done: {}", told());
                let makes =
                    by_landlock && ways.makes_first(call) && !ways.hide_the_way(&pair, &call.path);
                if let Some(path) = asked.made(needs).filter(|_| makes) {
                    native.make(&call.node(path));
                }
            }
            _ if ways.stand_between(&pair, call, answer) => continue,
            Some(_) => {
                let outside = native.make(call);
                assert_eq!(*answer, outside, "inside, and without: {}", told());
            }
            // It fails in any case, and may do so for another reason.
            None => {
                assert_ne!(native.make(call)[0], 0, "it needs nothing: {}", told());
                assert_ne!(*errno, 0, "it was done inside alone: {}", told());
            }
        }
        if verdict == Some(Verdict::Warn) && *errno == 0 {
            warned.push(told());
        }
        if let (Some(needs), Some(verdict)) = (&needed, verdict) {
            counts.count(cell(call, needs, verdict));
        }
    }
    native.end();
    let trees = (described(&pair.inside), described(&pair.native));
    assert_eq!(
        trees.0, trees.1,
        "the trees differ: {document}\n{calls:#?}\n{answers:?}"
    );
    let events = recorded(&log);
    let of_warn = events.iter().filter(|event| event["verdict"] == "warn");
    assert!(of_warn.count() >= warned.len(), "not all of {warned:#?}");
    Some(calls.len())
}

/// Whether both names are of one object: nothing happens then, whatever the answer.
fn renames_to_itself(root: &Path, call: &Call) -> bool {
    let object = |path: &str| {
        let found = leads(root, path, false)?.symlink_metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    let from = object(&call.path);
    call.name == "rename" && from.is_some() && from == object(&call.to)
}

/// Whether the way to a path leads through a directory of this kind.
fn passes(root: &Path, path: &str, is_one: impl Fn(&Path) -> bool) -> bool {
    let ends = path.match_indices('/').map(|(end, _)| &path[..end]);
    ends.filter(|part| !part.is_empty())
        .filter_map(|part| leads(root, part, true))
        .any(|real| is_one(&real))
}

/// The seed, and how many pairs there are to be, where nothing else is asked for.
fn asked_for(usual: u64) -> (u64, u64) {
    let seed = given("BUNTIME_SEED").unwrap_or(1);
    eprintln!("BUNTIME_SEED={seed}");
    (seed, given("BUNTIME_PAIRS").unwrap_or(usual))
}

/// Says how far a comparison came that ends in a panic.
struct Progress {
    seed: u64,
    pairs: u64,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Progress { seed, pairs } = self;
            eprintln!("seed {seed}, after {pairs} pairs");
        }
    }
}

/// Compares so many pairs, and says what these were.
fn compare_many(kernel: Kernel, seed: u64, wanted: u64) {
    let mut chance = Chance::of_seed(seed);
    let place = outside_of_tmp().join(format!("differential-{}", std::process::id()));
    fs::create_dir_all(&place).expect("a folder");
    let mut counts = Counts::new();
    let (mut pairs, mut refused) = (0, 0);
    while pairs < wanted {
        let progress = Progress { seed, pairs };
        match compare(&mut chance, kernel, &place, &mut counts) {
            Some(compared) => pairs += compared as u64,
            None => refused += 1,
        }
        drop(progress);
    }
    fs::remove_dir_all(&place).expect("the trees are removed");
    counts.tell(pairs, refused, pairs / 100, |name| name);
}

#[test]
fn the_kernel_does_what_the_oracle_says() {
    let _alone = alone();
    if !is_root("the_kernel_does_what_the_oracle_says") {
        return;
    }
    let (seed, wanted) = asked_for(1800);
    compare_many(Kernel { abi: None }, seed, wanted);
}

#[test]
fn an_older_kernel_does_what_the_oracle_says() {
    let _alone = alone();
    if !is_root("an_older_kernel_does_what_the_oracle_says") {
        return;
    }
    let (seed, wanted) = asked_for(480);
    for abi in [1, 2, 4] {
        eprintln!("Landlock's ABI {abi}");
        compare_many(Kernel { abi: Some(abi) }, seed, wanted);
    }
}
