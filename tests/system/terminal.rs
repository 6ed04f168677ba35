//! A shell in the sandbox, in a real terminal: window size, Ctrl-C, job control, Ctrl-D. The
//! person at the terminal is a Python program that types and reads.

use std::time::Duration;

use crate::support::{Child, PYTHON, Scratch, alone, is_root};

const TYPIST: &str = include_str!("terminal/typist.py");

#[test]
fn bash_is_usable_as_root() {
    let _alone = alone();
    if is_root("bash_is_usable_as_root") {
        let scratch = Scratch::new();
        let typist = Child::new(PYTHON).args(["-I", "-c", TYPIST, &scratch.binary()]);
        typist
            .clean_path()
            .deadline(Duration::from_secs(180))
            .run()
            .prints("all seen\n");
    }
}

#[test]
fn bash_is_usable_as_an_ordinary_user() {
    let _alone = alone();
    if is_root("bash_is_usable_as_an_ordinary_user") {
        let scratch = Scratch::new();
        let typist = Child::new(PYTHON).args(["-I", "-c", TYPIST, &scratch.binary()]);
        let typist = typist.clean_path().of_user(&scratch.home());
        typist
            .deadline(Duration::from_secs(180))
            .run()
            .prints("all seen\n");
    }
}
