//! The same without namespaces, where nothing of the kernel's takes everything with it: the signals
//! at a parent's death do, as the program is one process; and a directory has to be swept.

use super::{SAMPLE, SLEEP, at_stops, full, judge};
use crate::bare::within;
use crate::support::leftovers::Leftovers;
use crate::support::tracer::{Killed, Start, Victim, Whose};
use crate::support::{Child, PATIENCE, Scratch, USER, alone, is_root};

/// Fills the worker's own directory, whose removal may be cut short anywhere.
const FILL: &str = "
import os
for path in ('a/a/a', 'a/b/a', 'b/a/a', 'b/b'):
    path = os.environ['TMPDIR'] + '/' + path
    os.makedirs(path)
    open(path + '/file', 'w').close()
";

/// Two ways in which namespaces are forbidden, and as whom Buntime runs there: with the caller's
/// own ids, and with others for the worker, for which the kernel takes back what it promised.
const GROUNDS: [(&str, u32); 2] = [("sysctl", USER), ("filter", 0)];

/// The other pairs, for the long search.
const MORE_GROUNDS: [(&str, u32); 2] = [("filter", USER), ("sysctl", 0)];

/// Calls `search` with a start of each of the codes on each ground, and the size of its sample.
/// Afterwards, and whenever `search` asks for it, the next start has cleaned.
fn on_each_ground(search: impl Fn(&str, (&Start, usize), &dyn Fn())) {
    let more = MORE_GROUNDS.iter().filter(|_| full());
    for (way, uid) in GROUNDS.iter().chain(more) {
        let scratch = Scratch::new();
        let start = Start {
            within: within(&scratch, way, *uid),
            binary: scratch.binary(),
            home: Some(scratch.home()),
            code: SLEEP.to_owned(),
        };
        let before = Leftovers::now();
        let next = || {
            let run = Child::new(&start.within[0]).args(&start.within[1..]);
            let home = scratch.home();
            let run = run.arg(&start.binary).env("HOME", &home).current_dir(&home);
            let done = run.clean_path().args(["run", "-c", "print(1)"]).run();
            let done = done.prints("1\n");
            assert!(
                done.stderr().starts_with("buntime: without namespaces"),
                "{done}"
            );
            before.none_new(PATIENCE);
        };
        search(
            &format!("{way}, uid {uid}"),
            (&start, SAMPLE / GROUNDS.len()),
            &next,
        );
        next();
    }
}

#[test]
fn of_the_supervisor_at_every_kth_call() {
    let _alone = alone();
    if !is_root("of_the_supervisor_at_every_kth_call") {
        return;
    }
    on_each_ground(|ground, (start, sample), next_start_cleans| {
        for (whose, code) in [
            (Whose::Supervisor, SLEEP),
            (Whose::SupervisorAtTheEnd, FILL),
        ] {
            let code = code.to_owned();
            let start = Start {
                code,
                ..start.clone()
            };
            let check = |index: usize, _: &Killed| {
                if index.is_multiple_of(100) {
                    next_start_cleans();
                }
            };
            let endings = at_stops(Victim::Supervisor, whose, (&start, sample), check);
            judge(&format!("{whose:?}, {ground}"), &endings);
        }
    });
}

#[test]
fn of_the_supervisor_at_every_kth_call_of_the_sandbox() {
    let _alone = alone();
    if !is_root("of_the_supervisor_at_every_kth_call_of_the_sandbox") {
        return;
    }
    on_each_ground(|ground, start, next_start_cleans| {
        let (mut at_once, mut later) = (0, Vec::new());
        let check = |index: usize, killed: &Killed| {
            match killed.at_once {
                Some(true) => at_once += 1,
                Some(false) => later.push(index),
                None => {}
            }
            if index.is_multiple_of(100) {
                next_start_cleans();
            }
        };
        let endings = at_stops(Victim::Supervisor, Whose::Sandbox, start, check);
        judge(&format!("Sandbox, {ground}"), &endings);
        eprintln!("{at_once} times the kernel ended init with the supervisor, not at {later:?}");
        // Before it has asked the kernel to, and from its change of ids until it asks again.
        assert!(
            later.len() * 2 < at_once,
            "init ended by itself at {later:?}"
        );
    });
}

#[test]
fn of_init_at_every_kth_call() {
    let _alone = alone();
    if !is_root("of_init_at_every_kth_call") {
        return;
    }
    on_each_ground(|ground, start, _| {
        let before = Leftovers::now();
        let endings = at_stops(Victim::First, Whose::Sandbox, start, |index, killed| {
            // The supervisor lives, says so and clears away: nobody else is needed.
            assert!(
                killed.status.is_some_and(|status| status != 0),
                "stop {index}: {:?}",
                killed.status
            );
            if index.is_multiple_of(20) {
                before.none_new(PATIENCE);
            }
        });
        judge(&format!("First, {ground}"), &endings);
        before.none_new(PATIENCE);
    });
}
