//! The supervisor killed with SIGKILL: before and after each system call that it or the sandbox
//! makes until the program runs, and at random moments. No worker outlives it, and nothing stays
//! that the next start does not clean. `hack/soak` asks for all; a plain test run takes a sample.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::leftovers::Leftovers;
use crate::support::tracer::{Whose, kill_supervisor_at};
use crate::support::{Child, PATIENCE, Scratch, alone, buntime, eventually, is_root};

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

/// Kills the supervisor at stops of `whose`: at all of them, or at a sample that is spread over
/// the start and lies elsewhere each time.
fn at_stops_of(whose: Whose, sample: usize) {
    let before = Leftovers::now();
    let fewer = |index| !kill_supervisor_at(whose, index, SLEEP);
    // How many there are differs by a few from start to start; twice as many are never reached.
    let mut stops = 1;
    while !fewer(stops) {
        stops *= 2;
    }
    let (mut known, mut past) = (stops / 2, stops);
    while past - known > 1 {
        let middle = usize::midpoint(known, past);
        if fewer(middle) {
            past = middle;
        } else {
            known = middle;
        }
    }
    assert!(known > 200, "only {known} stops were seen");
    let step = if full() { 1 } else { (known / sample).max(1) };
    let first = 1 + std::process::id() as usize % step;
    eprintln!("{whose:?}: {known} stops; killing at every {step}th from {first} on");
    let mut times = Vec::new();
    for index in (first..=known).step_by(step) {
        if !fewer(index) {
            let took = survivors_end(&before);
            if took > Duration::from_secs(1) {
                eprintln!("stop {index}: {took:?}");
            }
            times.push(took);
        }
        if times.len() % 100 == 0 {
            the_next_start_cleans(&before);
        }
    }
    assert!(
        times.len() * 10 >= known / step * 9,
        "{} kills",
        times.len()
    );
    judge(times);
    the_next_start_cleans(&before);
}

#[test]
fn at_system_calls_of_the_supervisor() {
    let _alone = alone();
    if is_root("at_system_calls_of_the_supervisor") {
        at_stops_of(Whose::Supervisor, 60);
    }
}

#[test]
fn at_system_calls_of_the_sandbox() {
    let _alone = alone();
    if is_root("at_system_calls_of_the_sandbox") {
        at_stops_of(Whose::Sandbox, 60);
    }
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
