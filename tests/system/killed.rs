//! The supervisor killed with SIGKILL, before each of its system calls and at random
//! moments: no worker outlives it, and nothing stays that the next start does not clean.
//! `hack/soak` asks for all of it; a plain test run takes a sample.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, Scratch, alone, binary, buntime, eventually, is_root};

/// What the workers do: they would go on for long after the test.
const SLEEP: &str = "import time; time.sleep(300)";

/// Whether everything is to be tried, and not a sample.
fn full() -> bool {
    std::env::var_os("BUNTIME_SOAK").is_some()
}

/// Waits until no process of a killed run is alive, and says how long that took.
fn survivors_end(before: &Leftovers) -> Duration {
    let start = Instant::now();
    eventually(PATIENCE, || {
        let new = before.new_since();
        let alive: Vec<String> = new
            .into_iter()
            .filter(|line| line.starts_with("process"))
            .collect();
        if alive.is_empty() {
            Ok(())
        } else {
            Err(alive.join("\n"))
        }
    });
    start.elapsed()
}

/// A second is promised. A noisy machine may hold up the look at it, not the worker's end, so a
/// single look is given more time and the median none.
fn judge(mut times: Vec<Duration>) {
    times.sort();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{} kills; the last process ended after {median:?}, at most {most:?}",
        times.len()
    );
    assert!(median < Duration::from_secs(1), "{median:?}");
    assert!(most < Duration::from_secs(10), "{most:?}");
}

#[test]
fn at_every_system_call() {
    let _alone = alone();
    // Minutes long: hack/soak runs it.
    if !full() || !is_root("at_every_system_call") {
        return;
    }
    let scratch = Scratch::new();
    let before = Leftovers::now();
    let calls = calls_of_a_start(&scratch);
    assert!(calls > 50, "strace counted only {calls} calls");
    // strace counts the calls of each number apart: the n-th call of whichever comes first.
    let mut times = Vec::new();
    for index in 1..=calls {
        let inject = format!("inject=all:signal=SIGKILL:when={index}");
        // The program sleeps, so that only the injected signal can end the run so early.
        let mut running = Child::new("strace")
            .args(["-q", "-o", "/dev/null", "-e", "trace=all", "-e", &inject])
            .arg(binary())
            .args(["run", "-c", SLEEP])
            .clean_path()
            .start();
        // When no call comes so often, the program runs on, and there is nothing more to kill.
        let over = running.wait(Duration::from_secs(20)).is_none();
        if over {
            assert!(index > 8, "the kill before call {index} did not happen");
            running.kill();
        }
        times.push(survivors_end(&before));
        if over {
            break;
        }
    }
    judge(times);
    the_next_start_cleans(&before);
}

/// How many system calls the supervisor makes until its worker runs and it has nothing to do.
fn calls_of_a_start(scratch: &Scratch) -> usize {
    let log = scratch.entry("calls");
    let mut running = Child::new("strace")
        .args(["-q", "-o", &log])
        .arg(binary())
        .args([
            "run",
            "-c",
            "import time; print('up', flush=True); time.sleep(300)",
        ])
        .clean_path()
        .start();
    running.wait_for_output("up");
    let count = || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let calls = eventually(PATIENCE, || {
        let first = count();
        std::thread::sleep(Duration::from_millis(300));
        if first == count() {
            Ok(first)
        } else {
            Err("it goes on making calls".to_owned())
        }
    });
    running.kill();
    calls
}

#[test]
fn at_random_moments() {
    let _alone = alone();
    if !is_root("at_random_moments") {
        return;
    }
    let before = Leftovers::now();
    let tries = if full() { 200 } else { 20 };
    let mut seed = u64::from(std::process::id()) | 1;
    eprintln!("seed {seed}");
    let mut times = Vec::new();
    for _ in 0..tries {
        // xorshift, since any spread over the start and a while after it will do.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut running = buntime(["run", "-c", SLEEP]).start();
        std::thread::sleep(Duration::from_micros(seed % 150_000));
        running.signal(Signal::KILL);
        running.wait(PATIENCE).expect("a killed supervisor ends");
        times.push(survivors_end(&before));
    }
    judge(times);
    the_next_start_cleans(&before);
}

#[test]
fn of_an_ordinary_user() {
    let _alone = alone();
    if !is_root("of_an_ordinary_user") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let before = Leftovers::now();
    let mut times = Vec::new();
    for milliseconds in [0, 3, 6, 9, 12, 20, 40, 200] {
        let run = Child::new(scratch.binary())
            .clean_path()
            .args(["run", "-c", SLEEP]);
        let mut running = run.of_user(&home).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::KILL);
        running.wait(PATIENCE).expect("a killed supervisor ends");
        times.push(survivors_end(&before));
    }
    judge(times);
    let next = Child::new(scratch.binary())
        .clean_path()
        .args(["run", "-c", "print(1)"]);
    next.of_user(&home).run().prints("1\n");
    before.none_new(PATIENCE);
}

fn the_next_start_cleans(before: &Leftovers) {
    buntime(["run", "-c", "print(1)"]).run().prints("1\n");
    before.none_new(PATIENCE);
}
