//! File systems that never answer, as of a network that is gone: whoever waits for one is in the
//! kernel, where no signal reaches it. That may be the program, and must not be who holds it.

use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, PYTHON, Scratch, alone, binary, is_root};

const SILENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/waiting/silent.py"
);

/// Runs `code` with `flags` beside a directory that never answers, and gives what was said.
fn beside_silence(flags: &[&str], code: &str) -> String {
    let scratch = Scratch::new();
    let folder = scratch.path().join("silent");
    std::fs::create_dir(&folder).expect("a directory");
    let folder = folder.display().to_string();
    let flags = flags.iter().map(|flag| flag.replace("SILENT", &folder));
    let done = Child::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            PYTHON,
            SILENT,
            &folder,
        ])
        .args([&binary().display().to_string(), "run", "--timeout", "1s"])
        .args(flags.collect::<Vec<_>>())
        .args(["-c", &code.replace("SILENT", &folder)])
        .run()
        .expect(0);
    format!("{}{}", done.stdout(), done.stderr())
}

/// The supervisor is on the host, and a path of the program's is nothing that it looks up.
#[test]
fn a_path_that_is_executed_keeps_nobody_waiting() {
    let _alone = alone();
    if !is_root("a_path_that_is_executed_keeps_nobody_waiting") {
        return;
    }
    let before = Leftovers::now();
    // Past the worker's hook, which would look for the program itself.
    let code = "import ctypes, time\nlibc = ctypes.CDLL(None)\n\
                libc.execve(b'SILENT/program', None, None)\ntime.sleep(600)";
    for flags in [&[][..], &["--allow-read=SILENT"]] {
        let said = beside_silence(flags, code);
        assert!(said.contains("ended with 124"), "{said}");
        assert!(said.contains("denied run"), "{said}");
    }
    before.none_new(PATIENCE);
}

/// Not even SIGKILL ends it before the file system does.
#[test]
fn a_program_that_waits_in_the_kernel_does_not_hold_the_supervisor() {
    let _alone = alone();
    if !is_root("a_program_that_waits_in_the_kernel_does_not_hold_the_supervisor") {
        return;
    }
    let before = Leftovers::now();
    let said = beside_silence(
        &["--allow-read=SILENT"],
        "import os\nos.stat('SILENT/file')",
    );
    assert!(said.contains("ended with 124"), "{said}");
    assert!(said.contains("does not answer"), "{said}");
    // The next start removes the control groups, as after a kill of the supervisor.
    let code = Child::new(binary()).args(["run", "-c", "pass"]).run();
    code.expect(0);
    before.none_new(PATIENCE);
}
