//! Programs that take all they can get. Each is contained by a limit or ended by one, the limit
//! is named, and the host stays usable meanwhile and afterwards.

use crate::support::leftovers::Leftovers;
use crate::support::{Child, Finished, PATIENCE, alone, buntime, is_root};

/// Runs a flood under the default policy's limits, with a time limit against a hang.
fn flood(flags: &[&str], code: &str) -> Finished {
    let before = Leftovers::now();
    let run = buntime(["run", "--timeout", "30"])
        .args(flags)
        .args(["-c", code]);
    let mut running = run.start();
    // While the flood runs, the host starts programs as ever.
    for _ in 0..5 {
        Child::new("true").run().expect(0);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let done = match running.wait(2 * PATIENCE) {
        Some(done) => done,
        None => panic!("the time limit did not end it\n{}", running.kill()),
    };
    Child::new("true").run().expect(0);
    before.none_new(PATIENCE);
    done
}

#[test]
fn processes() {
    let _alone = alone();
    if !is_root("processes") {
        return;
    }
    let code = "
import errno, os, signal, time
children = 0
try:
    while children < 100_000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError as error:
    print(errno.errorcode[error.errno], children)
";
    let done = flood(&["--pids", "40"], code).expect(0);
    let words: Vec<String> = done
        .stdout()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(words[0], "EAGAIN", "{done}");
    let children: u32 = words[1].parse().expect("a number of children");
    assert!((10..=40).contains(&children), "{done}");
    assert!(
        done.stderr().contains("pids"),
        "the limit is not named\n{done}"
    );
}

/// A bomb that never stops, and whose processes ignore every failure.
#[test]
fn processes_that_never_give_up() {
    let _alone = alone();
    if !is_root("processes_that_never_give_up") {
        return;
    }
    let code = "
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
";
    let done = flood(&["--timeout", "3"], code).expect(124);
    assert!(done.stderr().contains("wall"), "{done}");
}

#[test]
fn memory() {
    let _alone = alone();
    if !is_root("memory") {
        return;
    }
    let code = "
blocks = []
while True:
    blocks.append(bytearray(b'x') * (16 << 20))
";
    let done = flood(&["--memory", "256M"], code);
    assert!(matches!(done.status.code(), Some(137 | 1)), "{done}");
    assert!(
        done.stderr().contains("memory"),
        "the limit is not named\n{done}"
    );
}

#[test]
fn descriptors() {
    let _alone = alone();
    if !is_root("descriptors") {
        return;
    }
    let code = "
import errno, os
held = []
try:
    while len(held) < 10_000_000:
        held.append(os.open('/dev/null', os.O_RDONLY))
except OSError as error:
    print(errno.errorcode[error.errno], len(held) < 100_000)
";
    flood(&[], code).prints("EMFILE True\n");
}

/// The flood ends at the size of its place, or at the memory limit, which is named then.
fn ends_without_space(done: &Finished) {
    match done.status.code() {
        Some(0) => assert_eq!(done.stdout(), "ENOSPC\n", "{done}"),
        Some(137) => assert!(done.stderr().contains("memory"), "{done}"),
        _ => panic!("{done}"),
    }
}

/// The private /tmp is memory: it fills at a size that the memory limit covers.
#[test]
fn temporary_files() {
    let _alone = alone();
    if !is_root("temporary_files") {
        return;
    }
    let code = "
import errno
written = 0
try:
    with open('/tmp/flood', 'wb', buffering=0) as file:
        while written < 1 << 40:
            written += file.write(bytes(1 << 20))
except OSError as error:
    print(errno.errorcode[error.errno])
";
    ends_without_space(&flood(&[], code));
}

/// Empty files take inodes, which are the kernel's memory and no page of the program's.
#[test]
fn empty_files() {
    let _alone = alone();
    if !is_root("empty_files") {
        return;
    }
    let code = "
import errno, os
made = 0
try:
    while made < 100_000_000:
        os.close(os.open('/tmp/%d' % made, os.O_CREAT))
        made += 1
except OSError as error:
    print(errno.errorcode[error.errno])
";
    ends_without_space(&flood(&[], code));
}

#[test]
fn output() {
    let _alone = alone();
    if !is_root("output") {
        return;
    }
    let code = "
import sys
while True:
    sys.stdout.write('y' * 65536)
";
    let done = flood(&["--max-output", "8M"], code);
    assert_ne!(done.status.code(), Some(0), "{done}");
    assert!(
        done.stdout.len() <= 8 << 20,
        "{} bytes came out",
        done.stdout.len()
    );
    assert!(
        done.stdout.len() > 7 << 20,
        "{} bytes came out",
        done.stdout.len()
    );
    assert!(
        done.stderr().contains("output"),
        "the limit is not named\n{done}"
    );
}
