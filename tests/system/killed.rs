//! SIGKILL for the supervisor: before and after each system call that it or the sandbox makes
//! until the program runs, each that it makes when the program has ended, and at random moments.
//! No worker outlives it by more than a second, and nothing stays that the next start does not
//! clean. The sandbox's first process killed in the same way takes the whole run with it.
//!
//! A plain test run takes every k-th stop, from another one each time; `hack/soak` takes k = 1.

mod bare;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::descendants::{Descendants, Ending};
use crate::support::leftovers::Leftovers;
use crate::support::tracer::{Killed, Start, Victim, Whose, kill_at, stops};
use crate::support::{Child, PATIENCE, Scratch, alone, binary, buntime, is_root};

/// What the workers do: they would go on for long after the test.
const SLEEP: &str = "import time; time.sleep(300)";

/// What is promised: how long a process may live on after the supervisor.
const PROMISED: Duration = Duration::from_secs(1);

/// Stops of each kind that a plain test run takes.
const SAMPLE: usize = 60;

/// Whether everything is to be tried, and not a sample.
fn full() -> bool {
    std::env::var_os("BUNTIME_SOAK").is_some()
}

/// Another number each time, which is printed, so that it can be tried again.
fn seed() -> u64 {
    let given = std::env::var("BUNTIME_SEED")
        .ok()
        .map(|text| text.parse().expect("BUNTIME_SEED is a number"));
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    eprintln!("BUNTIME_SEED={seed}");
    seed
}

/// Whoever is seen alive by a look that began after the promised second has outlived it. A look
/// that a busy machine held up, and that then finds nothing, proves nothing against it.
fn judge(what: &str, endings: &[Ending]) {
    let mut times: Vec<Duration> = endings.iter().map(|ending| ending.gone).collect();
    times.sort();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{what}: {} kills; nothing was alive {median:?} after the kill (median), {most:?} at most",
        times.len()
    );
    let late = endings.iter().filter(|ending| ending.alive > PROMISED);
    assert_eq!(late.count(), 0, "{what}: seen alive after {PROMISED:?}");
}

/// Buntime as the tests' own user, with everything that the host offers.
fn plain(code: &str) -> Start {
    Start {
        within: Vec::new(),
        binary: binary().to_str().expect("its path is text").to_owned(),
        home: None,
        code: code.to_owned(),
    }
}

/// Kills `victim` at stops of `whose`, of which there are `sample` unless all are wanted. After
/// each `check`, which gets the stop's number.
fn at_stops(
    victim: Victim,
    whose: Whose,
    (start, sample): (&Start, usize),
    mut check: impl FnMut(usize, &Killed),
) -> Vec<Ending> {
    let mut counts = [0; 3].map(|_| stops(whose, start));
    counts.sort_unstable();
    let known = counts[1];
    assert!(known > 50, "only {known} stops of {whose:?} were seen");
    let step = if full() { 1 } else { (known / sample).max(1) };
    let first = 1 + (seed() % step as u64) as usize;
    eprintln!("{whose:?}: {known} stops; {victim:?} is killed at one of {step}, from {first} on");
    let mut endings = Vec::new();
    // A run may make more calls than another, the more the busier the machine is: the search is
    // over when three in a row have ended before the stop.
    let mut missed = 0;
    for index in (first..).step_by(step) {
        match kill_at(victim, whose, index, start) {
            Some(killed) => {
                missed = 0;
                if killed.ending.alive > PROMISED {
                    eprintln!("stop {index}: alive after {:?}", killed.ending.alive);
                }
                check(index, &killed);
                endings.push(killed.ending);
            }
            None => missed += 1,
        }
        if missed == 3 {
            break;
        }
    }
    // Far fewer would mean that it ended too early, and not that this run was a short one.
    assert!(
        endings.len() * 2 > known / step,
        "only {} kills",
        endings.len()
    );
    endings
}

#[test]
fn at_every_kth_call_of_the_supervisor() {
    let _alone = alone();
    if !is_root("at_every_kth_call_of_the_supervisor") {
        return;
    }
    let before = Leftovers::now();
    for (whose, code) in [
        (Whose::Supervisor, SLEEP),
        (Whose::SupervisorAtTheEnd, "pass"),
    ] {
        let start = plain(code);
        let endings = at_stops(Victim::Supervisor, whose, (&start, SAMPLE), |index, _| {
            if index % 100 == 0 {
                the_next_start_cleans(&before);
            }
        });
        judge(&format!("{whose:?}"), &endings);
        the_next_start_cleans(&before);
    }
}

#[test]
fn at_every_kth_call_of_the_sandbox() {
    let _alone = alone();
    if !is_root("at_every_kth_call_of_the_sandbox") {
        return;
    }
    let before = Leftovers::now();
    let (mut at_once, mut later) = (0, Vec::new());
    let endings = at_stops(
        Victim::Supervisor,
        Whose::Sandbox,
        (&plain(SLEEP), SAMPLE),
        |index, killed| {
            match killed.at_once {
                Some(true) => at_once += 1,
                Some(false) => later.push(index),
                None => {}
            }
            if index % 100 == 0 {
                the_next_start_cleans(&before);
            }
        },
    );
    judge("Sandbox", &endings);
    eprintln!(
        "{at_once} times the kernel ended the first process with the supervisor, and {} times it \
         ended by itself",
        later.len()
    );
    // Before it has asked the kernel to, and while libcontainer has changed its ids, which takes
    // that back until it is ours again.
    assert!(
        later.len() * 2 < at_once,
        "the first process is not the kernel's to end at {later:?}"
    );
    the_next_start_cleans(&before);
}

#[test]
fn of_the_first_process_at_every_kth_call() {
    let _alone = alone();
    if !is_root("of_the_first_process_at_every_kth_call") {
        return;
    }
    let before = Leftovers::now();
    let endings = at_stops(
        Victim::First,
        Whose::Sandbox,
        (&plain(SLEEP), SAMPLE),
        |index, killed| {
            // The supervisor lives, says so and clears away: nobody else is needed.
            assert!(
                killed.status.is_some_and(|status| status != 0),
                "stop {index}: {:?}",
                killed.status
            );
            if index % 20 == 0 {
                before.none_new(PATIENCE);
            }
        },
    );
    judge("First", &endings);
    before.none_new(PATIENCE);
}

#[test]
fn at_random_moments() {
    let _alone = alone();
    if !is_root("at_random_moments") {
        return;
    }
    let before = Leftovers::now();
    let tries = if full() { 200 } else { 20 };
    let mut seed = seed();
    let mut endings = Vec::new();
    for _ in 0..tries {
        // xorshift, since any spread over the start and a while after it will do.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let run = buntime(["run", "-c", SLEEP]);
        endings.push(kill_after(Duration::from_micros(seed % 150_000), run));
    }
    judge("random moments", &endings);
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
    let run = |code| {
        let run = Child::new(scratch.binary()).clean_path();
        run.args(["run", "-c", code]).of_user(&home)
    };
    let endings: Vec<Ending> = [0, 3, 6, 9, 12, 20, 40, 200]
        .map(|milliseconds| kill_after(Duration::from_millis(milliseconds), run(SLEEP)))
        .to_vec();
    judge("an ordinary user", &endings);
    run("print(1)").run().prints("1\n");
    before.none_new(PATIENCE);
}

/// Starts a run and kills its supervisor after a while.
fn kill_after(delay: Duration, run: Child) -> Ending {
    let descendants = Descendants::adopt();
    let mut running = run.start();
    std::thread::sleep(delay);
    let since = Instant::now();
    running.signal(Signal::KILL);
    let status = running.status(PATIENCE);
    let status = status.expect("a killed supervisor ends");
    let ending = descendants.end(since);
    assert_eq!(status.code(), None, "it had ended by itself: {status}");
    ending
}

fn the_next_start_cleans(before: &Leftovers) {
    buntime(["run", "-c", "print(1)"]).run().prints("1\n");
    before.none_new(PATIENCE);
}
