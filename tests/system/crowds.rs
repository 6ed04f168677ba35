//! Many runs, one after another and at once: all succeed, and nothing of them stays.

use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, Scratch, alone, buntime, is_root};

#[test]
fn two_hundred_runs_leave_nothing() {
    let _alone = alone();
    if !is_root("two_hundred_runs_leave_nothing") {
        return;
    }
    let before = Leftovers::now();
    for number in 0..200 {
        let code = format!("print({number})");
        buntime(["run", "-c", &code])
            .run()
            .prints(&format!("{number}\n"));
    }
    before.none_new(PATIENCE);
}

#[test]
fn twenty_at_once_leave_nothing() {
    let _alone = alone();
    if !is_root("twenty_at_once_leave_nothing") {
        return;
    }
    let before = Leftovers::now();
    let code = "import os, time; open('/tmp/x', 'w').write('1'); time.sleep(1); print(len(os.listdir('/tmp')))";
    let mut all: Vec<_> = (0..20)
        // Not below /tmp, where the way to the working directory would be counted too.
        .map(|_| buntime(["run", "-c", code]).current_dir("/").start())
        .collect();
    // The count can see a run: while they sleep, there is something to be seen.
    crate::support::eventually(PATIENCE, || match before.new_since().len() {
        0 => Err("no run was seen".to_owned()),
        _ => Ok(()),
    });
    for running in &mut all {
        let done = running.wait(PATIENCE).expect("a run ends").prints("1\n");
        assert_eq!(done.stderr(), "", "{done}");
    }
    before.none_new(PATIENCE);
}

#[test]
fn twenty_of_an_ordinary_user_leave_nothing() {
    let _alone = alone();
    if !is_root("twenty_of_an_ordinary_user_leave_nothing") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let before = Leftovers::now();
    let run = || {
        Child::new(scratch.binary())
            .clean_path()
            .args(["run", "-c", "print(1)"])
    };
    let mut all: Vec<_> = (0..20).map(|_| run().of_user(&home).start()).collect();
    for running in &mut all {
        running.wait(PATIENCE).expect("a run ends").prints("1\n");
    }
    before.none_new(PATIENCE);
}

#[test]
fn runs_that_end_badly_leave_nothing() {
    let _alone = alone();
    if !is_root("runs_that_end_badly_leave_nothing") {
        return;
    }
    let before = Leftovers::now();
    for code in [
        "import os; os._exit(3)",
        "import os; os.kill(os.getpid(), 9)",
        "raise SystemExit(5)",
        "import os\nif os.fork() == 0:\n    import time; time.sleep(600)",
        "import os\nos.setsid()\nif os.fork() == 0:\n    os.close(1); os.close(2); import time; time.sleep(600)",
        "import ctypes; ctypes.string_at(0)",
    ] {
        buntime(["run", "--timeout", "20", "-c", code]).run();
    }
    buntime(["run", "--", "/no/such/program"]).run().expect(127);
    buntime([
        "run",
        "--timeout",
        "1",
        "-c",
        "import time; time.sleep(600)",
    ])
    .run()
    .expect(124);
    before.none_new(PATIENCE);
}
