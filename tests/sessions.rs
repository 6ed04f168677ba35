//! The life of a session from outside: signals, limits, what a hostile worker gets for its
//! lies, and what is written down. What the sandbox holds is tested in tests/system.

#[path = "system/support/mod.rs"]
mod support;

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Child, Finished, PATIENCE, Scratch, alone, binary, buntime, eventually};

const UP_AND_ASLEEP: &str = "import time; print('up', flush=True); time.sleep(600)";

fn events(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the log is there");
    let parse = |line: &str| serde_json::from_str(line).expect("every line is JSON");
    text.lines().map(parse).collect()
}

fn report(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the report is there")).expect("JSON")
}

/// The one line of ours that names a limit, a violation or a denial.
fn says(done: &Finished, what: &str) -> bool {
    let stderr = done.stderr();
    let ours = stderr.split("buntime: ").skip(1);
    ours.filter_map(|text| text.lines().next())
        .any(|line| line.contains(what))
}

#[test]
fn a_signal_reaches_the_program_which_answers_as_it_likes() {
    let _alone = alone();
    let code = "import os, signal, time
def answer(number, frame):
    os.write(1, b'got %d\\n' % number)
    raise SystemExit(9)
signal.signal(signal.SIGUSR1, answer)
print('up', flush=True)
time.sleep(600)";
    let mut running = buntime(["run", "-c", code]).start();
    running.wait_for_output("up");
    running.signal(Signal::USR1);
    let done = running.wait(PATIENCE).expect("it ends").expect(9);
    assert_eq!(done.stdout(), "got 10\n");
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_five_seconds() {
    let _alone = alone();
    let code = format!("import signal; signal.signal(15, signal.SIG_IGN); {UP_AND_ASLEEP}");
    let mut running = buntime(["run", "-c", &code]).start();
    running.wait_for_output("up");
    running.signal(Signal::TERM);
    let asked = Instant::now();
    running.wait(PATIENCE).expect("it is killed").expect(143);
    assert!(asked.elapsed() > Duration::from_secs(4));
}

#[test]
fn a_second_interrupt_kills() {
    let _alone = alone();
    let code = format!("import signal; signal.signal(2, signal.SIG_IGN); {UP_AND_ASLEEP}");
    let mut running = buntime(["run", "-c", &code]).start();
    running.wait_for_output("up");
    running.signal(Signal::INT);
    assert!(running.wait(Duration::from_millis(500)).is_none());
    running.signal(Signal::INT);
    running.wait(PATIENCE).expect("it is killed").expect(130);
}

/// As under nohup(1), or behind a script's `&`.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let _alone = alone();
    let code = "import time; print('up', flush=True); time.sleep(1); print('whole')";
    let mut running = Child::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(binary())
        .args(["run", "-c", code])
        .start();
    running.wait_for_output("up");
    running.signal(Signal::HUP);
    let done = running.wait(PATIENCE).expect("it ends").expect(0);
    assert_eq!(done.stdout(), "whole\n");
}

#[test]
fn a_stop_stops_the_program_too_and_a_continue_continues_it() {
    let _alone = alone();
    let code = "import time
begun = last = time.monotonic()
print('up', flush=True)
longest = 0
while longest <= 0.7 and last < begun + 30:
    time.sleep(0.01)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(longest > 0.7)";
    let mut running = buntime(["run", "-c", code]).start();
    running.wait_for_output("up");
    running.signal(Signal::TSTP);
    let stat = format!("/proc/{}/stat", running.id());
    eventually(PATIENCE, || {
        let stat = fs::read_to_string(&stat).map_err(|error| error.to_string())?;
        let state = stat.rsplit(')').next().unwrap_or_default();
        state
            .trim_start()
            .starts_with('T')
            .then_some(())
            .ok_or(stat)
    });
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::CONT);
    let done = running.wait(PATIENCE).expect("it ends").expect(0);
    assert_eq!(done.stdout(), "True\n");
}

/// The clock must not depend on somebody reading the output.
#[test]
fn the_time_limit_holds_while_nobody_reads() {
    let _alone = alone();
    let mut child = Command::new(binary())
        .args([
            "run",
            "--timeout",
            "1",
            "-c",
            "while True: print('x' * 999)",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(124));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn the_output_limit_is_exact_and_named() {
    let _alone = alone();
    let scratch = Scratch::new();
    let path = scratch.entry("report.json");
    let code = "import sys\nwhile True: sys.stdout.write('X' * 777); sys.stderr.write('Y' * 333)";
    let done = buntime(["run", "--max-output=100000", "--report", &path, "-c", code]).run();
    let done = done.expect(137);
    assert!(says(&done, "output limit"), "{done}");
    let report = report(&path);
    assert_eq!(report["limits_reached"], serde_json::json!(["output"]));
    assert_eq!(report["exit"]["status"], 137);
    // Our own last words stand on standard error too, without either letter.
    let count = |bytes: &[u8], letter| bytes.iter().filter(|byte| **byte == letter).count();
    let written = count(&done.stdout, b'X') + count(&done.stderr, b'Y');
    assert_eq!(written, 100_000, "{done}");
}

#[test]
fn a_reader_who_leaves_breaks_the_programs_pipe() {
    let _alone = alone();
    let mut child = Command::new(binary())
        .args(["run", "-c", "while True: print('y')"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("it starts");
    let mut line = [0; 2];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut line).expect("one line");
    drop(stdout);
    let done = child.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&done.stderr).contains("BrokenPipeError"));
    assert_ne!(done.status.code(), Some(125));
}

/// Each lie on the channel, the violation that it is recorded as, and nothing after it.
#[test]
fn a_lying_worker_is_recorded_and_killed() {
    let _alone = alone();
    let scratch = Scratch::new();
    let path = scratch.entry("report.json");
    let on_socket = |line: &str| {
        format!(
            "import os, stat, time
for fd in range(3, 99):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, {line})
    except OSError: pass
time.sleep(600)"
        )
    };
    let on_segment = |action: &str| {
        format!(
            "import mmap, os, time
file = os.open('/run/buntime/segment', os.O_RDWR)
{action}
os.listdir('/tmp')
open('/nowhere', 'w')
time.sleep(600)"
        )
    };
    let lies = [
        (on_socket(r"b'garbage\n'"), "no signal and no state event"),
        (on_socket("b'x' * 100000"), "is longer than"),
        (on_socket(r"b'\xff\n'"), "not UTF-8"),
        (on_socket(r"b'READY\n'"), "READY"),
        (on_segment("os.ftruncate(file, 10)"), "truncated"),
        (
            on_segment("mmap.mmap(file, 0)[524288:524352] = b'\\xff' * 64"),
            "capacity",
        ),
    ];
    for (code, reason) in lies {
        let done = buntime(["run", "--report", &path, "-c", &code])
            .run()
            .expect(125);
        assert!(says(&done, reason), "{reason}\n{done}");
        let report = report(&path);
        assert_eq!(report["exit"]["cause"], "violation");
        let violations = report["violations"].as_array().expect("a list");
        assert_eq!(violations.len(), 1, "{violations:?}");
    }
}

#[test]
fn a_policy_that_kills_kills() {
    let _alone = alone();
    let scratch = Scratch::new();
    let policy = scratch.file(
        "kill.json",
        br#"{"version": 1, "onViolation": "kill", "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}}"#,
    );
    for code in [
        "open('/etc/shadow')",
        "open('/nowhere', 'w')",
        "import os; os.listdir('/root')",
        "import os; os.system('true')",
    ] {
        let code =
            format!("try:\n  exec(\"{code}\")\nexcept OSError: pass\nimport time; time.sleep(600)");
        let done = buntime(["run", "--policy", &policy, "-c", &code])
            .run()
            .expect(137);
        assert!(says(&done, "onViolation"), "{done}");
    }
}

#[test]
fn the_log_has_the_whole_life_and_is_only_appended_to() {
    let _alone = alone();
    let scratch = Scratch::new();
    let path = scratch.entry("events.jsonl");
    let code = "open('/tmp/x', 'w')\ntry: open('/etc/shadow')\nexcept OSError: pass";
    for _ in 0..2 {
        buntime(["run", "--events", &path, "-c", code])
            .run()
            .expect(0);
    }
    let events = events(&path);
    let sessions: std::collections::BTreeSet<_> = events
        .iter()
        .map(|event| event["session"].to_string())
        .collect();
    assert_eq!(sessions.len(), 2);
    let first: Vec<_> = events
        .iter()
        .filter(|event| event["session"] == events[0]["session"])
        .collect();
    for (number, event) in first.iter().enumerate() {
        assert_eq!(event["sequence"], number, "{event}");
    }
    let of_type = |kind: &str| first.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(
        (
            of_type("session-start"),
            of_type("launch-enforced"),
            of_type("exit")
        ),
        (1, 1, 1)
    );
    let denied = first
        .iter()
        .find(|event| event["target"] == "/etc/shadow")
        .expect("recorded");
    assert_eq!(
        (&denied["verdict"], &denied["operation"]),
        (&"deny".into(), &"read".into())
    );
    assert_eq!(first.last().expect("events")["type"], "exit");
}

#[test]
fn a_log_within_reach_of_the_program_is_refused() {
    let _alone = alone();
    let scratch = Scratch::new();
    let folder = scratch.path().to_str().expect("text");
    let allow = format!("--allow-write={folder}");
    let read = format!("--allow-read={folder}");
    for flag in ["--events", "--report"] {
        let path = scratch.entry("log");
        let done = buntime(["run", &allow, &read, flag, &path, "-c", "pass"])
            .run()
            .expect(125);
        assert!(says(&done, "the program may write"), "{done}");
    }
}

#[test]
fn denials_are_said_once_and_not_without_end() {
    let _alone = alone();
    let code = "
for turn in range(3):
    for number in range(50):
        try: open(f'/nowhere/\\x1b[2K{number}')
        except OSError: pass";
    let done = buntime(["run", "-c", code]).run().expect(0);
    let stderr = done.stderr();
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.contains("denied read"))
            .count(),
        20,
        "{done}"
    );
    assert!(says(&done, "more denials"), "{done}");
    assert!(!stderr.contains('\x1b'), "{done}");
}

#[test]
fn the_supervisor_is_small_and_has_one_thread() {
    let _alone = alone();
    let mut running = buntime(["run", "-c", UP_AND_ASLEEP]).start();
    running.wait_for_output("up");
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it runs");
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a field");
        line.split_whitespace()
            .next()
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    assert_eq!(field("Threads:"), 1);
    assert!(field("RssAnon:") < 4096, "{status}");
    let pid = Pid::from_raw(running.id() as i32).expect("a pid");
    kill_process(pid, Signal::TERM).expect("it runs");
    running.wait(PATIENCE).expect("it ends").expect(143);
}

/// A library session in a process with threads, which the test harness is.
#[test]
fn a_process_with_threads_is_told_why_it_cannot_launch() {
    use buntime::supervisor::{Config, RunError, State, Supervisor};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut supervisor = Supervisor::new(Config::default());
        assert_eq!(supervisor.state(), State::Starting);
        assert!(matches!(
            supervisor.send_code("1").await,
            Err(RunError::NotRunning)
        ));
        assert!(matches!(
            supervisor.start().await,
            Err(RunError::Threads { count: 2.. })
        ));
        assert!(matches!(
            supervisor.start().await,
            Err(RunError::AlreadyStarted)
        ));
    });
}

/// A project's limit holds when it is the smaller one, and is no error otherwise.
#[test]
fn a_projects_limits_can_only_be_smaller() {
    let _alone = alone();
    let scratch = Scratch::new();
    let path = scratch.entry("report.json");
    let limits = |configuration: &str| {
        scratch.file(".buntime.json", configuration.as_bytes());
        let run = buntime(["run", "--report", &path, "-c", "pass"]);
        run.current_dir(scratch.path()).run().expect(0);
        report(&path)["limits"].clone()
    };
    let usual = limits("{}");
    assert_eq!(limits(r#"{"timeout": "99h", "memory": "64T"}"#), usual);
    let narrowed = limits(r#"{"timeout": "99h", "memory": "100M"}"#);
    assert_eq!(
        (&narrowed["wall"], &narrowed["memory"]),
        (&usual["wall"], &(100 << 20).into())
    );
}
