//! `buntime attest`: the attacks as people run them, who must get an answer that they can rely on.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::leftovers::Leftovers;
use crate::support::{
    Child, Finished, PATIENCE, Scratch, alone, binary, eventually, is_root, outside_of_tmp,
};

/// On the runtime, on what it runs, and on the way out.
const ON_THE_RUNTIME: [&str; 2] = ["--json", "1-11"];
const INSIDE: [&str; 3] = ["--json", "12-27", "43-51"];
/// What line 42 does to the way out is not held yet.
const ON_THE_NETWORK: [&str; 2] = ["--json", "28-42"];
/// Everything but races, which are the same for everybody.
const OF_A_USER: [&str; 4] = ["--json", "12-21", "23-27", "44-51"];

/// Runs it with its files in a folder where it leaves nothing.
fn attest(user: bool, words: &[&str]) -> Finished {
    let scratch = Scratch::new();
    let place = outside_of_tmp().join(format!("attest-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a folder can be made");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(&place, all).expect("its mode can be set");
    let command = Child::new(scratch.binary())
        .args(["attest", "--scratch", &place.display().to_string()])
        .args(words)
        .clean_path()
        .deadline(3 * PATIENCE);
    let done = match user {
        true => command.of_user(&scratch.home()).run(),
        false => command.run(),
    };
    std::fs::remove_dir(&place).expect("it leaves nothing behind");
    done
}

/// Every attack is denied, or does not apply. What goes wrong is named, whatever else there is. `least`
/// of them apply on every host that the tests run on.
fn judge(done: &Finished, least: usize) {
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done}"));
    let attacks = told["attacks"].as_array().expect("a list of attacks");
    let text = |one: &Value, field: &str| one[field].as_str().expect("a text").to_owned();
    let wrong: Vec<String> = attacks
        .iter()
        .filter(|one| one["outcome"] == "succeeded" || one["outcome"] == "unclear")
        .map(|one| {
            ["name", "outcome", "reason"]
                .map(|field| text(one, field))
                .join(": ")
        })
        .collect();
    assert!(wrong.is_empty(), "was not denied\n{}", wrong.join("\n"));
    let denied: Vec<&Value> = attacks
        .iter()
        .filter(|one| one["outcome"] == "denied")
        .collect();
    assert!(
        denied.len() >= least,
        "{} were denied\n{done}",
        denied.len()
    );
    assert_eq!(done.status.code(), Some(0), "{done}");
}

#[test]
fn no_attack_succeeds() {
    let _alone = alone();
    if !is_root("no_attack_succeeds") {
        return;
    }
    let before = Leftovers::now();
    judge(&attest(false, &INSIDE), 25);
    judge(&attest(true, &OF_A_USER), 25);
    before.none_new(PATIENCE);
}

/// In a network of its own, which an ordinary user has too.
#[test]
fn no_attack_on_the_network_succeeds() {
    let _alone = alone();
    if !is_root("no_attack_on_the_network_succeeds") {
        return;
    }
    let before = Leftovers::now();
    judge(&attest(false, &ON_THE_NETWORK), 18);
    judge(&attest(true, &ON_THE_NETWORK), 18);
    before.none_new(PATIENCE);
}

/// With containers, which an ordinary user has too.
#[test]
fn no_attack_on_the_runtime_succeeds() {
    let _alone = alone();
    if !is_root("no_attack_on_the_runtime_succeeds") {
        return;
    }
    let before = Leftovers::now();
    judge(&attest(false, &ON_THE_RUNTIME), 11);
    judge(&attest(true, &ON_THE_RUNTIME), 6);
    before.none_new(PATIENCE);
}

/// Whoever has had enough is left with nothing: no files, processes or control groups.
#[test]
fn what_is_interrupted_clears_away() {
    let _alone = alone();
    if !is_root("what_is_interrupted_clears_away") {
        return;
    }
    let before = Leftovers::now();
    // They take long enough not to be over by then.
    for (signal, attack) in [
        (Signal::INT, "killed runtime"),
        (Signal::TERM, "races"),
        (Signal::TERM, "exhaustion"),
        (Signal::INT, "races"),
    ] {
        let place = outside_of_tmp().join(format!("attest-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a folder can be made");
        let mut running = Child::new(binary())
            .args(["attest", "--scratch", &place.display().to_string()])
            .args(["--long", attack])
            .clean_path()
            .start();
        // It is in the middle of it as soon as the program of the attack has said something.
        let folder = format!("inside-{}", attack.replace(' ', "-"));
        eventually(PATIENCE, || {
            let made = std::fs::read_dir(&place).expect("it can be read").next();
            let made = made
                .ok_or_else(|| "nothing was made".to_owned())?
                .expect("an entry");
            match made.path().join(&folder).join("stdout").exists() {
                true => Ok(()),
                false => Err("no attack runs".to_owned()),
            }
        });
        running.signal(signal);
        let done = running.wait(PATIENCE).expect("it ends in time");
        let done = done.expect(128 + signal.as_raw());
        assert!(done.stderr().contains("nothing of theirs"), "{done}");
        std::fs::remove_dir(&place).expect("it leaves nothing behind");
        before.none_new(PATIENCE);
    }
}

/// What people read, and what they may ask for.
#[test]
fn the_answer_is_readable_and_of_what_was_asked_for() {
    let _alone = alone();
    if !is_root("the_answer_is_readable_and_of_what_was_asked_for") {
        return;
    }
    let done = attest(false, &["12", "spellings"]).expect(0);
    let rows: Vec<String> = done.stdout().lines().map(str::to_owned).collect();
    assert!(rows[0].starts_with("lines     name"), "{done}");
    assert!(
        rows[1].starts_with("12        io_uring                 denied"),
        "{done}"
    );
    assert!(
        rows[2].starts_with("48        spellings                denied"),
        "{done}"
    );
    assert!(done.stdout().contains("2 attacks of "), "{done}");
    assert_eq!(done.stderr(), "", "{done}");
    let listed = attest(false, &["--list"]).expect(0).stdout();
    assert!(
        listed.contains("io_uring                 A queue of system calls"),
        "{listed}"
    );
    let unknown = attest(false, &["nonsense"]).expect(125);
    assert!(
        unknown
            .stderr()
            .contains("no attack has the line or the name nonsense"),
        "{unknown}"
    );
    // Without an interpreter there is nothing to try it with, which is no pass.
    attest(false, &["--python", "/nonexistent", "12"]).expect(125);
}

/// An attack that cannot be made outside is none that was denied.
#[test]
fn what_fails_outside_too_is_no_pass() {
    let _alone = alone();
    if !is_root("what_fails_outside_too_is_no_pass") {
        return;
    }
    // An interpreter that says of every attempt that it was denied, and makes none.
    let scratch = Scratch::new();
    let liar = scratch.file("liar", b"#!/bin/sh\necho 'raw_setup: denied EPERM'\n");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&liar, all).expect("its mode can be set");
    let done = attest(false, &["--python", &liar, "io_uring"]).expect(125);
    assert!(done.stdout().contains("not applicable"), "{done}");
    assert!(
        done.stderr().contains("no attack could be made here"),
        "{done}"
    );
}
