//! Another policy for a run that goes on: what changes at once, what is refused, and that nothing
//! between two policies ever holds.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::leftovers::Leftovers;
use crate::support::{
    Child, Finished, PATIENCE, PYTHON, Scratch, USER, alone, binary, buntime, is_root,
    outside_of_tmp, recorded,
};

const WORKER: &str = include_str!("reload/worker.py");
const ASKED: &str = concat!(
    include_str!("terminal/person.py"),
    include_str!("reload/asked.py")
);

/// Where root's runs are found.
const RUNS: &str = "/run/buntime-runs";

/// A folder that is shown to the worker, beside one that holds policies and is not.
struct Yard {
    folder: String,
    policies: Scratch,
}

impl Yard {
    fn new(test: &str) -> Yard {
        let folder = outside_of_tmp().join(format!("{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for name in ["a", "b", "c.key"] {
            fs::write(folder.join(name), "secret").expect("a file");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
            .expect("its mode is changed");
        Yard {
            folder: folder.display().to_string(),
            policies: Scratch::new(),
        }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// A policy that shows the folder for these permissions, with a pattern, so that they are decided
    /// live, and with more rules.
    fn policy(&self, perms: &[&str], more: &[Value]) -> Value {
        let mut rules = vec![
            json!({"action": "allow", "path": self.folder, "perms": perms}),
            json!({"action": "deny", "path": self.at("**/*.key")}),
        ];
        rules.extend_from_slice(more);
        json!({
            "version": 1,
            "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
            "fs": {"rules": rules},
            "audit": {"enabled": true}
        })
    }

    fn write(&self, name: &str, policy: &Value) -> String {
        self.policies.file(name, policy.to_string().as_bytes())
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder);
        }
    }
}

const READ: &[&str] = &["read_file", "read_dir"];
const CHANGE: &[&str] = &["read_file", "read_dir", "write_file", "write_dir"];

/// A run that does what it is told.
struct Worker {
    run: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(flags: &[&str]) -> Worker {
        Worker::of(Command::new(binary()), flags)
    }

    fn of(mut program: Command, flags: &[&str]) -> Worker {
        let mut run = program
            .args(["run", "--quiet"])
            .args(flags)
            .args(["-c", WORKER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let orders = run.stdin.take().expect("stdin was piped");
        let answers = BufReader::new(run.stdout.take().expect("stdout was piped"));
        let mut worker = Worker {
            run,
            orders,
            answers,
        };
        assert_eq!(worker.line(), "ready");
        worker
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }

    fn tell(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("it listens");
        self.line()
    }

    #[track_caller]
    fn does(&mut self, order: &str, told: &str) {
        assert_eq!(
            self.tell(order),
            told,
            "{order}: was not denied, or not allowed"
        );
    }

    /// Ends it, and waits for that.
    fn end(self) {
        let Worker {
            mut run, orders, ..
        } = self;
        drop(orders);
        assert!(run.wait().expect("it ends").success());
    }
}

fn reload(arguments: &[&str]) -> Finished {
    let child = buntime(["policy", "reload"]).args(arguments);
    child.run()
}

/// The JSON that a reload of this run to this policy gives.
#[track_caller]
fn reloaded(id: &str, policy: &str) -> Value {
    let done = reload(&["--json", id, policy]).expect(0);
    serde_json::from_str(&done.stdout()).expect("it is JSON")
}

#[track_caller]
fn refused(id: &str, policy: &str, why: &str) {
    let done = reload(&[id, policy]).expect(1);
    assert!(
        done.stderr().contains(why),
        "was not denied: {}",
        done.stderr()
    );
}

#[test]
fn what_is_decided_live_changes_at_once_and_back() {
    let _alone = alone();
    if !is_root("what_is_decided_live_changes_at_once_and_back") {
        return;
    }
    let before = Leftovers::now();
    let yard = Yard::new("reload-live");
    let (a, b) = (yard.at("a"), yard.at("b"));
    let wide = yard.write("wide.json", &yard.policy(READ, &[]));
    let deny = json!({"action": "deny", "path": a});
    let narrow = yard.write("narrow.json", &yard.policy(READ, &[deny]));
    let warn = json!({"action": "warn", "path": b, "perms": ["read_file"]});
    let warned = yard.write("warned.json", &yard.policy(READ, &[warn]));
    let mut nothing = yard.policy(READ, &[]);
    nothing["fs"]["rules"]
        .as_array_mut()
        .expect("rules")
        .remove(0);
    let nothing = yard.write("nothing.json", &nothing);
    let log = yard.policies.entry("events.jsonl");
    let report = yard.policies.entry("report.json");
    let flags = [
        "--name", "live", "--policy", &wide, "--events", &log, "--report", &report,
    ];
    let mut worker = Worker::start(&flags);
    worker.does(&format!("read {a}"), "yes");
    worker.does(&format!("read {}", yard.at("c.key")), "EACCES");
    worker.does(&format!("hold {a}"), "yes");

    let told = reloaded("live", &narrow);
    assert_eq!(told["generation"], 2);
    assert_ne!(told["from"], told["to"]);
    let notes = told["notes"].to_string();
    assert!(notes.contains("keeps"), "{notes}");
    worker.does(&format!("read {a}"), "EACCES");
    worker.does(&format!("hook {a}"), "no");
    worker.does(&format!("read {b}"), "yes");
    // What is open stays open, and the answer said so.
    worker.does(&format!("again {a}"), "secret");

    assert_eq!(reloaded("live", &wide)["notes"], json!([]));
    worker.does(&format!("read {a}"), "yes");
    worker.does(&format!("hook {a}"), "yes");

    assert_eq!(reloaded("live", &warned)["generation"], 4);
    worker.does(&format!("read {b}"), "yes");

    reloaded("live", &nothing);
    worker.does(&format!("read {a}"), "EACCES");
    worker.does(&format!("read {b}"), "EACCES");

    // Its own policies are read again from where they are.
    fs::copy(&wide, &nothing).expect("another policy in its place");
    reload(&["live"]).expect(0);
    worker.does(&format!("read {a}"), "yes");
    worker.end();

    let events = recorded(&log);
    let start = events.iter().find(|event| event["type"] == "session-start");
    assert_eq!(start.expect("a start")["id"], "live");
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((of("reload"), of("reload-refused")), (5, 0));
    let last = events.iter().rfind(|event| event["verdict"] == "warn");
    assert_eq!(last.expect("a warning")["generation"], 4);
    // Also where the worker itself asks or tells.
    let is_told = events.iter().any(|event| {
        let own = event["origin"] == "check" || event["origin"] == "notice";
        own && event["target"] == a.as_str() && event["generation"] == 2
    });
    assert!(is_told, "{events:#?}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(&report).expect("a report")).expect("JSON");
    assert_eq!(report["id"], "live");
    assert_eq!(report["reloads"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["reloads"][0]["to"], told["to"]);
    assert!(!Path::new(RUNS).exists(), "the directory of runs stays");
    drop(yard);
    before.none_new(PATIENCE);
}

#[test]
fn what_only_a_restart_carries_is_refused_and_changes_nothing() {
    let _alone = alone();
    if !is_root("what_only_a_restart_carries_is_refused_and_changes_nothing") {
        return;
    }
    let yard = Yard::new("reload-refused");
    let a = yard.at("a");
    let policy = yard.policy(READ, &[]);
    let held = yard.write("held.json", &policy);
    let writes = yard.write("writes.json", &yard.policy(CHANGE, &[]));
    let other = yard.policies.file("other/file", b"x");
    let rule = json!({"action": "allow", "path": other, "perms": ["read_file"]});
    let shows = yard.write("shows.json", &yard.policy(READ, &[rule]));
    let asks = json!({"action": "ask", "path": "/tmp/x", "perms": ["make_reg"]});
    let asks = yard.write("asks.json", &yard.policy(READ, &[asks]));
    let mut programs = policy.clone();
    programs["defaults"]["exec"] = json!("allow");
    let programs = yard.write("programs.json", &programs);
    let mut limits = policy.clone();
    limits["limits"] = json!({"pids": 3});
    let limits = yard.write("limits.json", &limits);
    let mut recorded_files = policy.clone();
    recorded_files["audit"]["events"] = json!(["fs"]);
    let recorded_files = yard.write("recorded.json", &recorded_files);
    let broken = yard
        .policies
        .file("broken.json", b"{\"version\": 1,\n \"fss\": {}}");
    let log = yard.policies.entry("events.jsonl");

    let mut worker = Worker::start(&["--name", "held", "--policy", &held, "--events", &log]);
    refused(
        "held",
        &writes,
        "the filter of the start does not hold these calls",
    );
    refused("held", &shows, &format!("{other} would have to be shown"));
    refused(
        "held",
        &asks,
        "the filter of the start does not hold these calls",
    );
    refused("held", &programs, "whether programs may run");
    refused("held", &limits, "limits of ");
    refused(
        "held",
        &recorded_files,
        "the filter of the start does not hold these calls",
    );
    refused("held", &broken, "broken.json:2:");
    refused("held", "/nowhere/x.json", "cannot read the policy");
    reload(&["other", &held]).expect(125);
    let unknown = reload(&["other", &held]).stderr();
    assert!(unknown.contains("there are: held"), "{unknown}");
    let named = reload(&["../held", &held]).expect(125).stderr();
    assert!(named.contains("can be no run's id"), "{named}");
    let taken = buntime(["run", "--name", "held", "--policy", &held, "-c", "pass"]);
    taken.run().expect(125);
    worker.does(&format!("read {a}"), "yes");
    worker.does(&format!("write {a}"), "EACCES");
    assert_eq!(reloaded("held", &held)["generation"], 2);
    worker.end();
    let events = recorded(&log);
    let refusals = events
        .iter()
        .filter(|event| event["type"] == "reload-refused");
    assert_eq!(refusals.count(), 6);

    // A run of flags has no policy that another could take the place of.
    let mut worker = Worker::start(&["--name", "flags"]);
    refused("flags", &held, "without --policy");
    worker.does(&format!("read {a}"), "ENOENT");
    worker.end();
}

/// Each of the two policies denies the move, by one of its names. Only between them, or after half
/// of each, would it be let through.
#[test]
fn every_call_is_decided_by_one_policy() {
    let _alone = alone();
    if !is_root("every_call_is_decided_by_one_policy") {
        return;
    }
    let yard = Yard::new("reload-whole");
    let (a, b) = (yard.at("a"), yard.at("new"));
    let deny =
        |path: &str| json!({"action": "deny", "path": path, "perms": ["remove_file", "make_reg"]});
    let warn =
        |path: &str| json!({"action": "warn", "path": path, "perms": ["remove_file", "make_reg"]});
    let one = yard.write("one.json", &yard.policy(CHANGE, &[deny(&a), warn(&b)]));
    let other = yard.write("other.json", &yard.policy(CHANGE, &[warn(&a), deny(&b)]));
    let mut worker = Worker::start(&["--name", "whole", "--policy", &one]);
    worker.does(&format!("move {a}:{b}"), "yes");
    for _ in 0..40 {
        reloaded("whole", &other);
        reloaded("whole", &one);
    }
    worker.does("stop ", "True False");
    assert!(Path::new(&a).exists(), "was not denied: it was moved");
    worker.end();
}

/// Somebody who asks and is gone leaves the run with the one policy or the other.
#[test]
fn who_is_killed_while_he_asks_leaves_a_whole_policy() {
    let _alone = alone();
    if !is_root("who_is_killed_while_he_asks_leaves_a_whole_policy") {
        return;
    }
    let yard = Yard::new("reload-killed");
    let (a, b) = (yard.at("a"), yard.at("b"));
    let deny = |path: &str| json!({"action": "deny", "path": path});
    let one = yard.write("one.json", &yard.policy(READ, &[deny(&a)]));
    let other = yard.write("other.json", &yard.policy(READ, &[deny(&b)]));
    let mut worker = Worker::start(&["--name", "killed", "--policy", &one]);
    for delay in 0..20_u64 {
        let policy = if delay % 2 == 0 { &other } else { &one };
        let mut caller = buntime(["policy", "reload", "killed", policy]).start();
        std::thread::sleep(Duration::from_millis(3 * delay));
        caller.kill();
        let seen = [
            worker.tell(&format!("read {a}")),
            worker.tell(&format!("read {b}")),
        ];
        let (yes, no) = ("yes".to_owned(), "EACCES".to_owned());
        // It may still go over between the two looks.
        let whole = [[&yes, &no], [&no, &yes]];
        assert!(
            whole
                .iter()
                .any(|whole| seen.iter().eq(whole.iter().copied()))
                || seen[0] == seen[1],
            "{seen:?}"
        );
    }
    // A caller who says nothing more, and one who says what is none, keep nobody.
    let silent =
        std::os::unix::net::UnixStream::connect(format!("{RUNS}/killed")).expect("a caller");
    let mut wrong =
        std::os::unix::net::UnixStream::connect(format!("{RUNS}/killed")).expect("another");
    wrong.write_all(b"{\"policies\": 1").expect("it is said");
    drop(wrong);
    reloaded("killed", &one);
    worker.does(&format!("read {a}"), "EACCES");
    worker.does(&format!("read {b}"), "yes");
    drop(silent);
    worker.end();
}

/// A file that the worker has given another name is known by the new policy under both, and what it
/// waits for under the former policy it does not get.
#[test]
fn what_was_done_under_the_former_policy_opens_nothing_under_the_new_one() {
    let _alone = alone();
    if !is_root("what_was_done_under_the_former_policy_opens_nothing_under_the_new_one") {
        return;
    }
    let yard = Yard::new("reload-former");
    let (a, alias, pipe) = (yard.at("a"), yard.at("alias"), yard.at("pipe"));
    fs::set_permissions(&a, fs::Permissions::from_mode(0o777)).expect("its mode is changed");
    Child::new("mkfifo")
        .args(["-m", "666", &pipe])
        .run()
        .expect(0);
    let perms = ["read_file", "read_dir", "write_file", "write_dir"];
    let wide = yard.write("wide.json", &yard.policy(&perms, &[]));
    let deny = |path: &str| json!({"action": "deny", "path": path, "perms": ["read_file"]});
    let narrow = yard.write(
        "narrow.json",
        &yard.policy(&perms, &[deny(&a), deny(&pipe)]),
    );
    let mut worker = Worker::start(&["--name", "former", "--policy", &wide]);
    worker.does(&format!("link {a}:{alias}"), "yes");
    worker.does(&format!("read {alias}"), "yes");
    worker.does(&format!("wait {pipe}"), "yes");
    reloaded("former", &narrow);
    worker.does(&format!("read {a}"), "EACCES");
    worker.does(&format!("read {alias}"), "EACCES");
    // The other end is there now. What was let through before would be opened by that.
    let other_end = fs::File::options()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("the other end");
    let waited = worker.tell("waited ");
    assert!(
        ["EINTR", "EACCES"].contains(&waited.as_str()),
        "was not denied: {waited}"
    );
    drop(other_end);
    // A link that the worker has made leads no rule elsewhere.
    let planted = yard.at("planted");
    std::os::unix::fs::symlink(&a, &planted).expect("a link");
    let rule = json!({"action": "warn", "path": planted, "perms": ["read_file"]});
    let led = yard.write("led.json", &yard.policy(&perms, &[rule]));
    refused("former", &led, "is a symbolic link");
    // Nor is a policy the person's that the worker could have written.
    let own = yard.at("own.json");
    fs::copy(&wide, &own).expect("a policy in the worker's folder");
    refused("former", &own, "the program may write below");
    worker.does(&format!("read {a}"), "EACCES");
    worker.end();
}

/// What a file was known by at the start it is known by for good, whatever has got its name since.
#[test]
fn a_file_stays_known_when_another_has_its_name() {
    let _alone = alone();
    if !is_root("a_file_stays_known_when_another_has_its_name") {
        return;
    }
    let yard = Yard::new("reload-known");
    let (a, alias) = (yard.at("a"), yard.at("alias"));
    fs::set_permissions(&a, fs::Permissions::from_mode(0o777)).expect("its mode is changed");
    fs::hard_link(&a, &alias).expect("a link");
    let perms = ["read_file", "read_dir", "write_file", "write_dir"];
    let deny = json!({"action": "deny", "path": a, "perms": ["read_file"]});
    let policy = yard.write("policy.json", &yard.policy(&perms, &[deny]));
    let mut worker = Worker::start(&["--name", "known", "--policy", &policy]);
    worker.does(&format!("read {alias}"), "EACCES");
    worker.does(&format!("replace {a}"), "yes");
    worker.does(&format!("read {alias}"), "EACCES");
    for _ in 0..2 {
        reloaded("known", &policy);
        worker.does(&format!("read {alias}"), "EACCES");
        worker.does(&format!("read {a}"), "EACCES");
    }
    worker.end();
}

#[test]
fn a_question_that_waits_is_asked_by_the_new_policy() {
    let _alone = alone();
    if !is_root("a_question_that_waits_is_asked_by_the_new_policy") {
        return;
    }
    let yard = Yard::new("reload-asked");
    let a = yard.at("a");
    let rule = |action: &str| json!({"action": action, "path": a, "perms": ["read_file"]});
    let ask = yard.write("ask.json", &yard.policy(READ, &[rule("ask")]));
    let denied = yard.write("denied.json", &yard.policy(READ, &[rule("deny")]));
    let allowed = yard.write("allowed.json", &yard.policy(READ, &[]));
    let other = yard.write(
        "other.json",
        &yard.policy(READ, &[rule("warn"), rule("ask")]),
    );
    let shown = binary().display().to_string();
    let arguments = [
        "-I", "-c", ASKED, &shown, &ask, &a, &denied, &allowed, &other,
    ];
    let person = Child::new(PYTHON).args(arguments).clean_path();
    let done = person.deadline(Duration::from_secs(200)).run().expect(0);
    assert!(
        done.stdout().ends_with("all asked again\n"),
        "{}",
        done.stdout()
    );
}

#[test]
fn an_ordinary_user_has_his_own_runs_obey_another_policy() {
    let _alone = alone();
    if !is_root("an_ordinary_user_has_his_own_runs_obey_another_policy") {
        return;
    }
    let yard = Yard::new("reload-user");
    let a = yard.at("a");
    let deny = json!({"action": "deny", "path": a});
    let held = yard.write("held.json", &yard.policy(READ, &[]));
    let narrow = yard.write("narrow.json", &yard.policy(READ, &[deny]));
    let (program, home) = (yard.policies.binary(), yard.policies.home());
    let mut run = Command::new(&program);
    let run_of_user = run
        .uid(USER)
        .gid(USER)
        .env("HOME", &home)
        .current_dir(&home);
    run_of_user.env("XDG_RUNTIME_DIR", &home);
    let mut worker = Worker::of(run, &["--name", "own", "--policy", &held]);
    worker.does(&format!("read {a}"), "yes");
    let socket = format!("{home}/buntime-runs/own");
    assert!(Path::new(&socket).exists());
    worker.does(&format!("ask {socket}"), "no");
    let asked = Child::new(&program)
        .of_user(&home)
        .env("XDG_RUNTIME_DIR", &home);
    asked
        .args(["policy", "reload", "own", &narrow])
        .run()
        .expect(0);
    worker.does(&format!("read {a}"), "EACCES");
    worker.end();
    assert!(!Path::new(&home).join("buntime-runs").exists());
}

/// Who is not the run's user, and who lives in a sandbox, is not heard.
#[test]
fn nobody_else_asks_for_another_policy() {
    let _alone = alone();
    if !is_root("nobody_else_asks_for_another_policy") {
        return;
    }
    let yard = Yard::new("reload-others");
    let a = yard.at("a");
    let narrow = yard.write(
        "narrow.json",
        &yard.policy(READ, &[json!({"action": "deny", "path": a})]),
    );
    let held = yard.write("held.json", &yard.policy(READ, &[]));
    let mut worker = Worker::start(&["--name", "mine", "--policy", &held]);
    let socket = format!("{RUNS}/mine");
    worker.does(&format!("ask {socket}"), "no");
    let program = yard.policies.binary();
    let home = yard.policies.home();
    let user = |runtime: &str| {
        let child = Child::new(&program)
            .of_user(&home)
            .env("XDG_RUNTIME_DIR", runtime);
        child
            .args(["policy", "reload", "mine", &narrow])
            .run()
            .expect(125)
            .stderr()
    };
    assert!(
        user("/run").contains("another user's"),
        "was not denied: {}",
        user("/run")
    );
    assert!(user(&home).contains("no run mine"), "was not denied");
    // Also where the directory would let him in.
    let open = |path: &str, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode is changed");
    };
    open(RUNS, 0o711);
    open(&socket, 0o666);
    let direct = "import socket, sys\ncaller = socket.socket(socket.AF_UNIX)\n\
                  caller.connect(sys.argv[1])\n\
                  caller.sendall(b'{\"policies\": []}')\ncaller.shutdown(1)\n\
                  print(caller.recv(1000))";
    let asked = Child::new(PYTHON)
        .of_user(&home)
        .args(["-I", "-c", direct, &socket])
        .run();
    assert!(
        !asked.stdout().contains("reloaded"),
        "was not denied: {}",
        asked.stdout()
    );
    open(RUNS, 0o700);
    // Root of another pid namespace, as in a container that was given too much.
    let inside = Child::new("unshare")
        .args(["--pid", "--fork", &binary().display().to_string()])
        .args(["policy", "reload", "mine", &narrow])
        .run();
    assert!(
        !inside.stdout().contains("holds"),
        "was not denied: {}",
        inside.stdout()
    );
    worker.does(&format!("read {a}"), "yes");
    assert_eq!(reloaded("mine", &narrow)["generation"], 2, "was not denied");
    worker.end();
}

/// No sandbox is shown where runs are found.
#[test]
fn a_run_that_would_see_where_runs_are_found_has_no_name() {
    let _alone = alone();
    if !is_root("a_run_that_would_see_where_runs_are_found_has_no_name") {
        return;
    }
    let yard = Yard::new("reload-seen");
    let rule = json!({"action": "allow", "path": "/run", "perms": READ});
    let sees = yard.write("sees.json", &yard.policy(READ, &[rule]));
    let code = format!("import os; print(os.path.exists({RUNS:?}))");
    let run = buntime(["run", "--name", "seen", "--policy", &sees, "-c", &code]).run();
    assert!(
        run.stderr().contains("the program is shown /run"),
        "was not denied: {run}"
    );
    run.expect(125);
    buntime(["run", "--policy", &sees, "-c", &code])
        .run()
        .prints("False\n");
}

/// A supervisor that is killed leaves a name, which the next start takes away.
#[test]
fn names_of_killed_runs_are_taken_away() {
    let _alone = alone();
    if !is_root("names_of_killed_runs_are_taken_away") {
        return;
    }
    let before = Leftovers::now();
    let yard = Yard::new("reload-left");
    let held = yard.write("held.json", &yard.policy(READ, &[]));
    let mut worker = Worker::start(&["--name", "left", "--policy", &held]);
    worker.run.kill().expect("it is killed");
    worker.run.wait().expect("it has ended");
    assert!(Path::new(RUNS).join("left").exists());
    let gone = reload(&["left", &held]).expect(125);
    assert!(gone.stderr().contains("no run left"), "{}", gone.stderr());
    // The name is free again, with a door of its own or without one.
    Worker::start(&["--name", "left", "--policy", &held]).end();
    assert!(!Path::new(RUNS).exists());
    let mut worker = Worker::start(&["--name", "left", "--policy", &held]);
    worker.run.kill().expect("it is killed");
    worker.run.wait().expect("it has ended");
    buntime(["run", "-c", "pass"]).run().expect(0);
    assert!(!Path::new(RUNS).exists());
    drop(yard);
    before.none_new(PATIENCE);
}
