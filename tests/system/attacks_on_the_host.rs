//! What hostile programs and hostile files can do to the host and to Buntime itself: take what
//! all sandboxes share, get at host programs through the kernel, or make the supervisor wait.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Child, Finished, PATIENCE, PYTHON, Scratch, alone, binary, buntime, is_root};

/// Runs code inside as root and as an ordinary user, who both must see the same.
fn both(flags: &[&str], code: &str, expected: &str) {
    let scratch = Scratch::new();
    let run = || {
        Child::new(scratch.binary())
            .clean_path()
            .arg("run")
            .args(flags)
            .args(["-c", code])
    };
    run().current_dir(scratch.path()).run().prints(expected);
    run().of_user(&scratch.home()).run().prints(expected);
}

/// The kernel may be set to start a program of the host for every core. It heeds a limit of one
/// byte and no other (core(5)).
#[test]
fn a_crash_starts_no_program_of_the_host() {
    let _alone = alone();
    if is_root("a_crash_starts_no_program_of_the_host") {
        let code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))";
        both(&[], code, "(1, 1)\n");
    }
}

/// Buffers of sockets are memory that v1 control groups count apart.
#[test]
fn memory_in_the_buffers_of_sockets() {
    let _alone = alone();
    if !is_root("memory_in_the_buffers_of_sockets") {
        return;
    }
    let code = "
import socket
listening = socket.create_server(('127.0.0.1', 0))
held, total = [], 0
try:
    while True:
        one = socket.create_connection(listening.getsockname())
        held += [one, listening.accept()[0]]
        one.settimeout(0.02)
        try:
            while True:
                total += one.send(bytes(1 << 20))
        except TimeoutError:
            pass
        if len(held) > 300:
            break
except OSError:
    pass
print(total >> 20)
";
    let done = buntime(["run", "--memory", "96M", "-c", code]).run();
    match done.status.code() {
        Some(0) => {
            let mebibytes: u64 = done.stdout().trim().parse().expect("a number");
            assert!(mebibytes <= 96, "{mebibytes} MiB are held\n{done}");
        }
        _ => assert!(done.stderr().contains("memory"), "{done}"),
    }
}

/// Pseudo-terminals and asynchronous requests are counted for the whole host.
#[test]
fn what_all_the_host_has_to_share() {
    let _alone = alone();
    if !is_root("what_all_the_host_has_to_share") {
        return;
    }
    let code = "
import ctypes, errno, os
held = []
try:
    while len(held) < 200:
        held.append(os.open('/dev/pts/ptmx', os.O_RDWR | os.O_NOCTTY))
except OSError as error:
    print(len(held) <= 64, errno.errorcode[error.errno])
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(206, 128, ctypes.byref(ctypes.c_ulong(0))), errno.errorcode[ctypes.get_errno()])
";
    both(&[], code, "True ENOSPC\n-1 ENOSYS\n");
}

/// The program fills standard error, which nobody reads, and then has the supervisor speak there.
#[test]
fn a_full_standard_error_does_not_stop_the_clock() {
    let _alone = alone();
    if !is_root("a_full_standard_error_does_not_stop_the_clock") {
        return;
    }
    let code = "
import os, threading, time
def fill():
    while True:
        os.write(2, bytes(65536))
threading.Thread(target=fill, daemon=True).start()
time.sleep(1)
for number in range(30):
    try:
        open('/etc/shadow%d' % number)
    except OSError:
        pass
while True:
    time.sleep(1)
";
    let mut child = Command::new(binary())
        .args(["run", "--timeout", "3", "-c", code])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let start = Instant::now();
    let ended = loop {
        match child.try_wait().expect("the child can be waited for") {
            Some(status) => break Some(status),
            None if start.elapsed() > PATIENCE / 2 => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let Some(status) = ended else {
        child.kill().expect("the child can be killed");
        child.wait().expect("the child can be waited for");
        panic!("the wall limit of 3 s does not hold");
    };
    assert_eq!(status.code(), Some(124));
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    stderr.read_to_end(&mut said).expect("a pipe can be read");
    assert!(said.len() >= 65536, "{} bytes filled nothing", said.len());
}

/// A run that must end by itself with a failure of ours that says `expected`.
fn refused(scratch: &Scratch, folder: &str, arguments: &[&str], expected: &str) -> Finished {
    let done = Child::new(binary())
        .clean_path()
        .arg("run")
        .args(arguments)
        .current_dir(scratch.path().join(folder))
        .deadline(PATIENCE / 3)
        .run();
    assert!(
        matches!(done.status.code(), Some(125..=127)) && done.stderr().contains(expected),
        "{folder}\n{done}"
    );
    done
}

fn pipe(scratch: &Scratch, name: &str) {
    let path = scratch.file(name, b"");
    std::fs::remove_file(&path).expect("the file can be removed");
    Child::new("mkfifo")
        .args(["-m", "755", &path])
        .run()
        .expect(0);
}

/// Files of others may be pipes without a writer, which would be waited for, or never end.
#[test]
fn files_that_would_be_waited_for() {
    let _alone = alone();
    let scratch = Scratch::new();
    pipe(&scratch, "project/.buntime.json");
    refused(&scratch, "project", &["-c", ""], ".buntime.json");
    pipe(&scratch, "policy/pipe.json");
    scratch.file("policy/.buntime.json", br#"{"policy": "./pipe.json"}"#);
    refused(&scratch, "policy", &["-c", ""], "regular file");
    pipe(&scratch, "bundle/config.json");
    refused(
        &scratch,
        "bundle",
        &["--bundle", ".", "-c", ""],
        "regular file",
    );
    std::fs::create_dir(scratch.path().join("endless")).expect("a folder can be made");
    std::os::unix::fs::symlink("/dev/zero", scratch.entry("endless/config.json"))
        .expect("a link can be made");
    refused(
        &scratch,
        "endless",
        &["--bundle", ".", "-c", ""],
        "regular file",
    );
    pipe(&scratch, "root/usr/bin/python3");
    refused(
        &scratch,
        "root",
        &["--rootfs", ".", "-c", ""],
        "regular file",
    );
    pipe(&scratch, "script/bin/pipe");
    scratch.file("script/bin/x", b"#!/bin/pipe\n");
    refused(
        &scratch,
        "script",
        &["--rootfs", ".", "--", "/bin/x"],
        "/bin/x",
    );
}

/// What others named stands in our messages, and must not steer the terminal that shows them.
#[test]
fn names_that_steer_a_terminal() {
    let _alone = alone();
    let scratch = Scratch::new();
    let name = r#"{"policy": "./\u001b]0;owned\u0007.json"}"#;
    scratch.file("project/.buntime.json", name.as_bytes());
    scratch.file("script/bin/x", b"#!/bin/\x1b]0;owned\x07\n");
    for done in [
        refused(&scratch, "project", &["-c", ""], "owned"),
        refused(
            &scratch,
            "script",
            &["--rootfs", ".", "--", "/bin/x"],
            "owned",
        ),
    ] {
        assert!(!done.stderr.contains(&0x1b), "{done}");
    }
}

/// An interpreter in somebody's home, or a virtual environment that leads to a program of the
/// host, opens its library and not what else there is beside it.
#[test]
fn what_lies_beside_an_interpreter() {
    let _alone = alone();
    let scratch = Scratch::new();
    let key = scratch.file("home/.ssh/key", b"canary");
    std::fs::create_dir_all(scratch.path().join("home/bin")).expect("a folder can be made");
    let python = scratch.entry("home/bin/python3");
    std::fs::copy(PYTHON, &python).expect("the interpreter can be copied");
    scratch.file("home/lib/notes", b"canary");
    scratch.file("repository/venv/pyvenv.cfg", b"home = /usr/bin\n");
    let venv = scratch.entry("repository/venv");
    std::fs::create_dir(format!("{venv}/bin")).expect("a folder can be made");
    std::os::unix::fs::symlink("../../../home/bin/python3", format!("{venv}/bin/python"))
        .expect("a link can be made");
    let code = format!(
        "
for name in {key:?}, {:?}:
    try:
        print(open(name).read())
    except OSError:
        print('denied')
",
        scratch.entry("home/lib/notes")
    );
    for flags in [["--python", &python], ["--venv", &venv]] {
        let run = Child::new(binary()).clean_path().arg("run").args(flags);
        let done = run.args(["-c", &code]).current_dir(scratch.path()).run();
        done.prints("denied\ndenied\n");
    }
}

/// Somebody who may write into a root swaps a folder of it for a link that leads out, again and
/// again, while it is started.
#[test]
fn a_root_that_changes_while_it_is_started() {
    let _alone = alone();
    if !is_root("a_root_that_changes_while_it_is_started") {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("outside/key", b"canary");
    let data = scratch.entry("root/data");
    for folder in ["root/data", "root/usr/bin", "aside"] {
        std::fs::create_dir_all(scratch.path().join(folder)).expect("a folder can be made");
    }
    std::fs::copy("/bin/busybox", scratch.entry("root/usr/bin/busybox"))
        .expect("busybox is installed (hack/test does it) and can be copied");
    let flip = format!(
        "
import os
data, outside, aside = {data:?}, {:?}, {:?}
while True:
    os.rename(data, aside)
    os.symlink(outside, data)
    os.unlink(data)
    os.rename(aside, data)
",
        scratch.entry("outside"),
        scratch.entry("aside/data")
    );
    let mut flipping = Child::new(PYTHON)
        .args(["-I", "-c", &flip])
        .deadline(2 * PATIENCE)
        .start();
    let root = scratch.entry("root");
    for _ in 0..150 {
        let done = buntime(["run", "--quiet", "--rootfs", &root, "--"])
            .args(["/usr/bin/busybox", "cat", "/data/key"])
            .run();
        assert!(!done.stdout().contains("canary"), "it led out\n{done}");
    }
    flipping.kill();
}

/// Whoever is asked for a user's home reads the root's `/etc/nsswitch.conf` and loads the library
/// that it names, into init, where no filter is in force yet.
#[test]
fn a_name_service_of_the_root() {
    let _alone = alone();
    if !is_root("a_name_service_of_the_root") {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("root/etc/nsswitch.conf", b"passwd: planted\n");
    let source = "#include <unistd.h>\n__attribute__((constructor)) static void loaded(void) \
                  { if (write(1, \"LOADED\\n\", 7)) {} }";
    scratch.file("planted.c", source.as_bytes());
    for folder in ["root/usr/bin", "root/lib", "root/usr/lib"] {
        std::fs::create_dir_all(scratch.path().join(folder)).expect("a folder can be made");
    }
    let library = scratch.entry("root/lib/libnss_planted.so.2");
    Child::new("gcc")
        .args([
            "-shared",
            "-fPIC",
            "-o",
            &library,
            &scratch.entry("planted.c"),
        ])
        .run()
        .expect(0);
    let libraries = [
        ("/lib/x86_64-linux-gnu", "libc.so.6"),
        ("/lib64", "ld-linux-x86-64.so.2"),
        ("/lib/aarch64-linux-gnu", "libc.so.6"),
        ("/lib", "ld-linux-aarch64.so.1"),
    ];
    for (folder, name) in libraries {
        let host = Path::new(folder).join(name);
        if host.exists() {
            std::fs::copy(&host, scratch.path().join("root/lib").join(name))
                .expect("a library can be copied");
        }
    }
    std::fs::copy("/bin/busybox", scratch.entry("root/usr/bin/busybox"))
        .expect("busybox is installed (hack/test does it) and can be copied");
    let root = scratch.entry("root");
    buntime(["run", "--quiet", "--rootfs", &root, "--"])
        .args(["/usr/bin/busybox", "echo", "ran"])
        .run()
        .prints("ran\n");
}

/// Init is a copy of the supervisor, whose arguments name files of the host.
#[test]
fn the_arguments_of_the_supervisor() {
    let _alone = alone();
    if is_root("the_arguments_of_the_supervisor") {
        let code = "print(open('/proc/1/cmdline', 'rb').read().strip(bytes(1)))";
        both(&["--quiet"], code, "b''\n");
    }
}

/// A mask is a mount on the host's file; when that is replaced, the mask goes with it.
#[test]
fn a_hidden_file_that_the_host_replaces() {
    let _alone = alone();
    if !is_root("a_hidden_file_that_the_host_replaces") {
        return;
    }
    let code = "import time; print('up', flush=True); time.sleep(120)";
    type Change = fn(&Scratch);
    let replaced: Change = |scratch| {
        scratch.file("d/sub/.env.tmp", b"new secret");
        rename(scratch, "d/sub/.env.tmp", "d/sub/.env");
    };
    let moved: Change = |scratch| rename(scratch, "d/sub", "d/other");
    let removed: Change = |scratch| {
        std::fs::remove_file(scratch.entry("d/sub/.env")).expect("the file can be removed");
    };
    for change in [replaced, moved, removed] {
        let scratch = Scratch::new();
        let secret = scratch.file("d/sub/.env", b"old secret");
        let granted = scratch.entry("d");
        let read = format!("--allow-read={granted}");
        let deny = format!("--deny-read={secret}");
        let run = Child::new(binary())
            .clean_path()
            .args(["run", &read, &deny]);
        let mut running = run.args(["-c", code]).current_dir("/").start();
        running.wait_for_output("up");
        // Changes of other files are nobody's business.
        scratch.file("d/sub/other", b"x");
        rename(&scratch, "d/sub/other", "d/sub/third");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(running.wait(std::time::Duration::ZERO).is_none());
        change(&scratch);
        let done = running.wait(PATIENCE).expect("the run ends");
        let done = done.expect(125);
        assert!(done.stderr().contains("was changed on the host"), "{done}");
        assert!(done.stderr().contains(".env"), "{done}");
    }
}

/// A denied name at which nothing is, or a link, where the host puts something.
#[test]
fn a_denied_name_that_the_host_gives_to_something() {
    let _alone = alone();
    if !is_root("a_denied_name_that_the_host_gives_to_something") {
        return;
    }
    let code = "import time; print('up', flush=True); time.sleep(120)";
    type Change = fn(&Scratch);
    let made: Change = |scratch| drop(scratch.file("d/sub/.env", b"secret"));
    let below: Change = |scratch| drop(scratch.file("d/later/.env", b"secret"));
    let led_to: Change = |scratch| drop(scratch.file("d/missing", b"secret"));
    let exchanged: Change = |scratch| {
        symlink("other", scratch.entry("d/new")).expect("a link");
        rename(scratch, "d/new", "d/link");
    };
    for (denied, change) in [
        ("sub/.env", made),
        ("later/.env", below),
        ("dangling", led_to),
        ("link", exchanged),
    ] {
        let scratch = Scratch::new();
        scratch.file("d/sub/there", b"");
        scratch.file("d/secret", b"old secret");
        scratch.file("d/other", b"new secret");
        symlink("missing", scratch.entry("d/dangling")).expect("a link");
        symlink("secret", scratch.entry("d/link")).expect("a link");
        let read = format!("--allow-read={}", scratch.entry("d"));
        let deny = format!("--deny-read={}", scratch.entry(&format!("d/{denied}")));
        let run = Child::new(binary()).clean_path();
        let run = run.args(["run", &read, &deny, "-c", code]);
        let mut running = run.current_dir("/").start();
        running.wait_for_output("up");
        scratch.file("d/sub/unrelated", b"x");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(
            running.wait(std::time::Duration::ZERO).is_none(),
            "{denied}"
        );
        change(&scratch);
        let done = running.wait(PATIENCE).expect("the run ends").expect(125);
        assert!(
            done.stderr().contains("was changed on the host"),
            "{denied}: {done}"
        );
    }
}

fn rename(scratch: &Scratch, from: &str, to: &str) {
    std::fs::rename(scratch.entry(from), scratch.entry(to)).expect("it can be renamed");
}

/// The same where no rule shows the folder, but the bundle does.
#[test]
fn a_hidden_file_of_the_bundle_that_the_host_replaces() {
    let _alone = alone();
    if !is_root("a_hidden_file_of_the_bundle_that_the_host_replaces") {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("v/pyvenv.cfg", b"home = /usr/bin\n");
    scratch.file("v/bin/.keep", b"");
    symlink(PYTHON, scratch.entry("v/bin/python")).expect("a link");
    let secret = scratch.file("v/sub/key", b"old secret");
    scratch.file("v/sub/key.tmp", b"new secret");
    let deny = ["read", "write"].map(|verb| format!("--deny-{verb}={secret}"));
    let code = "import time; print('up', flush=True); time.sleep(120)";
    let run = Child::new(binary()).clean_path();
    let run = run.args(["run", "--venv", &scratch.entry("v")]);
    let run = run.args(&deny).args(["-c", code]);
    let mut running = run.current_dir("/").start();
    running.wait_for_output("up");
    rename(&scratch, "v/sub/key.tmp", "v/sub/key");
    let done = running.wait(PATIENCE).expect("the run ends");
    let done = done.expect(125);
    assert!(done.stderr().contains("was changed on the host"), "{done}");
}
