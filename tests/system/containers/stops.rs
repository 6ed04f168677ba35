//! SIGKILL for the runtime before and after each system call of a verb: `delete --force` takes
//! away whatever there is then, also when it was killed itself.
//!
//! A plain test run takes some stops of each verb, others each time; `hack/soak` takes all.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::crash::agrees;
use super::namespaces::{mounts_below, mounts_can_be_shared};
use super::yard::Yard;
use crate::support::{PATH, binary, eventually};

/// Says that it is there, waits to be traced, and becomes the runtime. What a container inherits
/// it holds open, so its outputs are nobody's.
const SHELL: &str = "echo && read -r line && exec \"$0\" \"$@\" </dev/null >/dev/null 2>&1";

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It was killed at the stop.
    Killed,
    /// It was over before, after so many stops.
    Over(usize),
}

/// Calls the runtime and kills it at its stop `index`, counted from 1: each system call has two.
/// What it makes is not traced.
#[expect(
    clippy::zombie_processes,
    reason = "a tracer waits for it by its number"
)]
fn kill_at(yard: &Yard, args: &[&str], index: usize) -> Ended {
    let mut child = Command::new("sh")
        .args(["-c", SHELL])
        .arg(binary())
        .args(["--root", &yard.state_root()])
        .args(args)
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
    let mut stdout = child.stdout.take().expect("stdout was piped");
    stdout.read_exact(&mut [0]).expect("the shell says so");
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("a child can be traced");
    ptrace::interrupt(pid).expect("a child can be stopped");
    let mut stdin = child.stdin.take().expect("stdin was piped");
    stdin.write_all(b"\n").expect("the shell reads");
    let (mut begun, mut counted) = (false, 0);
    loop {
        let deliver = match waitpid(pid, None).expect("it is a child") {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ended::Over(counted),
            WaitStatus::PtraceEvent(_, _, event) => {
                begun |= event == Event::PTRACE_EVENT_EXEC as i32;
                None
            }
            WaitStatus::PtraceSyscall(_) => {
                counted += usize::from(begun);
                if begun && counted == index {
                    kill(pid, Signal::SIGKILL).expect("it stands at a stop");
                    let ended = waitpid(pid, None).expect("it is a child");
                    assert!(matches!(ended, WaitStatus::Signaled(..)), "{ended:?}");
                    return Ended::Killed;
                }
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            other => panic!("an unexpected change: {other:?}"),
        };
        ptrace::syscall(pid, deliver).expect("a stopped process goes on");
    }
}

/// The stops of one verb at which it is killed.
fn chosen(stops: usize, sample: usize, seed: usize) -> Vec<usize> {
    let step = match std::env::var_os("BUNTIME_SOAK") {
        Some(_) => 1,
        None => (stops / sample).max(1),
    };
    (1 + seed % step..=stops).step_by(step).collect()
}

/// The verbs that are killed, each after those before it, with how many of their stops.
type Verbs<'a> = [(&'a [&'a str], usize)];

/// Kills the runtime in the middle of each verb, and finds nothing after `delete --force`.
fn are_cleared_away(yard: &Yard, verbs: &Verbs<'_>) {
    let given = std::env::var("BUNTIME_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(std::process::id() as usize);
    eprintln!("BUNTIME_SEED={seed}");
    for (number, (args, sample)) in verbs.iter().enumerate() {
        let prepare = || {
            for (before, _) in verbs.iter().take(number.min(2)) {
                yard.call(before).expect(0);
            }
        };
        let check = |index: usize| {
            yard.reap_orphans();
            agrees(yard, "one");
            yard.remove("one");
            let half_made = std::fs::read_dir(yard.scratch.entry("pids"))
                .expect("it can be listed")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name != "one");
            let mut left: Vec<String> = half_made.chain(mounts_below(yard)).collect();
            assert_eq!(
                left,
                Vec::<String>::new(),
                "{args:?} killed at stop {index}"
            );
            eventually(crate::support::PATIENCE, || {
                yard.reap_orphans();
                left = yard.left();
                match left.is_empty() {
                    true => Ok(()),
                    false => Err(format!("{args:?} killed at stop {index}: {left:#?}")),
                }
            });
        };
        prepare();
        let Ended::Over(stops) = kill_at(yard, args, usize::MAX) else {
            panic!("it was killed at no stop");
        };
        check(0);
        assert!(stops > 50, "only {stops} stops of {args:?}");
        let mut killed = 0;
        for index in chosen(stops, *sample, seed) {
            prepare();
            killed += usize::from(kill_at(yard, args, index) == Ended::Killed);
            check(index);
        }
        eprintln!("{}: {stops} stops, killed at {killed}", args[0]);
        assert!(killed > 0, "{args:?} was never killed");
    }
}

#[test]
fn of_any_verb_are_cleared_away() {
    let Some(yard) = Yard::new("of_any_verb_are_cleared_away") else {
        return;
    };
    let mut spec = yard.spec("one", &["sleep", "1000"]);
    spec["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/true"}]});
    let bundle = yard.bundle("one", &spec);
    std::fs::create_dir(yard.scratch.entry("pids")).expect("a folder can be made");
    let pids = yard.scratch.entry("pids/one");
    let create = ["create", "--pid-file", &pids, "--bundle", &bundle, "one"];
    let verbs: [(&[&str], usize); 5] = [
        (&create, 24),
        (&["start", "one"], 6),
        (&["exec", "one", "true"], 10),
        (&["kill", "one", "KILL"], 4),
        (&["delete", "--force", "one"], 12),
    ];
    are_cleared_away(&yard, &verbs);
    yard.ends_clean();
}

#[test]
fn with_mounts_in_the_callers_namespace_are_cleared_away() {
    let Some(yard) = Yard::new("with_mounts_in_the_callers_namespace_are_cleared_away") else {
        return;
    };
    let mut spec = yard.spec("one", &["sleep", "1000"]);
    let kinds = spec["linux"]["namespaces"].as_array_mut();
    let kinds = kinds.expect("it is a list");
    kinds.retain(|kind| kind["type"] != "mount");
    if !mounts_can_be_shared(&yard, &spec) {
        return yard.ends_clean();
    }
    let bundle = yard.bundle("one", &spec);
    std::fs::create_dir(yard.scratch.entry("pids")).expect("a folder can be made");
    let verbs: [(&[&str], usize); 2] = [
        (&["create", "--bundle", &bundle, "one"], 24),
        (&["delete", "--force", "one"], 12),
    ];
    are_cleared_away(&yard, &verbs);
    yard.ends_clean();
}
