//! The threads that answer the worker's calls: nothing of them is shown to it, and they take nothing
//! from it.

use serde_json::{Value, json};

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root};

/// Runs the `code` of a test where the names of some files are decided as they are opened, and says
/// what it is to write. `FOLDER` is one that it may change.
#[track_caller]
fn writes(test: &str, limits: &Value, code: &str, expected: &str) {
    let rules = json!([
        {"action": "allow", "path": "FOLDER", "perms": ["read_file", "read_dir", "write_file",
            "make_reg", "make_fifo", "remove_file"]},
        {"action": "deny", "path": "FOLDER/**/*.key", "perms": ["read_file"]},
    ]);
    writes_under(test, (&rules, limits), code, expected);
}

/// The same under these rules about files.
#[track_caller]
fn writes_under(test: &str, (rules, limits): (&Value, &Value), code: &str, expected: &str) {
    let _alone = alone();
    if !is_root(test) {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.entry("folder");
    std::fs::create_dir(&folder).expect("a folder");
    let policy = json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": rules},
        "limits": limits
    });
    let policy = policy.to_string().replace("FOLDER", &folder);
    let file = scratch.file("p.json", policy.as_bytes());
    Child::new(binary())
        .args(["run", "--quiet", "--policy", &file, "--", PYTHON, "-c"])
        .arg(code.replace("FOLDER", &folder))
        .clean_path()
        .run()
        .prints(expected);
}

/// They are threads of init, whose memory the worker must not have: whoever opens a file in its
/// place may.
#[test]
fn init_is_not_read_by_the_numbers_of_its_threads() {
    let test = "init_is_not_read_by_the_numbers_of_its_threads";
    let code = r#"
import os
threads, opened = [], []
for number in range(1, 64):
    try:
        with open(f"/proc/{number}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
    except OSError:
        continue
    if fields["Tgid"].strip() != "1":
        continue
    threads.append(number)
    for name in ("mem", "maps", "environ", "auxv", "fd", "fdinfo", "task", "mountinfo", "fd/0", "cwd"):
        try:
            os.close(os.open(f"/proc/{number}/{name}", os.O_RDONLY))
            opened.append(f"{number}/{name}")
        except PermissionError:
            pass
print(len(threads) > 2, opened)
"#;
    writes(test, &json!({}), code, "True []\n");
}

/// They have the worker's uid, and the calls that change limits and scheduling ask for nothing else.
#[test]
fn the_threads_of_init_are_not_steered() {
    let test = "the_threads_of_init_are_not_steered";
    let code = r#"
import ctypes, os, resource, signal
# Whoever has the next numbers is the worker's own.
children = []
for _ in range(3):
    if (child := os.fork()) == 0:
        signal.pause()
    children.append(child)
libc = ctypes.CDLL(None, use_errno=True)
def ioprio_set(number):
    if libc.syscall(251, 1, number, 3 << 13) < 0:
        raise OSError(ctypes.get_errno(), "ioprio_set")
calls = {
    "prlimit": lambda number: resource.prlimit(number, resource.RLIMIT_NOFILE, (9, 9)),
    "affinity": lambda number: os.sched_setaffinity(number, {0}),
    "scheduler": lambda number: os.sched_setscheduler(number, os.SCHED_BATCH, os.sched_param(0)),
    "param": lambda number: os.sched_setparam(number, os.sched_param(0)),
    "priority": lambda number: os.setpriority(os.PRIO_PROCESS, number, 19),
    "ioprio": ioprio_set,
}
seen, done, undone = 0, [], []
for number in range(1, 64):
    try:
        with open(f"/proc/{number}/status") as file:
            group = next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))
    except OSError:
        continue
    seen += group == 1
    for name, call in calls.items():
        try:
            call(number)
            if group == 1:
                done.append(f"{number} {name}")
        except OSError as error:
            if group != 1:
                undone.append(f"{number} {name} {error}")
for child in children:
    os.kill(child, signal.SIGKILL)
print(seen > 2, done, undone)
"#;
    writes(test, &json!({}), code, "True [] []\n");
}

/// Whoever waits to write to a pipe is let go on by whoever opens it for reading, and finds a
/// reader then until it is done.
#[test]
fn a_named_pipe_has_a_reader_once_it_is_open() {
    let test = "a_named_pipe_has_a_reader_once_it_is_open";
    let code = r#"
import os
path = "FOLDER/pipe"
os.mkfifo(path)
for number in range(1500):
    if os.fork() == 0:
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, b"%d" % number)
        os._exit(0)
    reader = os.open(path, os.O_RDONLY)
    read = os.read(reader, 100)
    _, status = os.wait()
    if (read, status) != (b"%d" % number, 0):
        raise SystemExit(f"{number}: {read} {status}")
    os.close(reader)
print("all")
"#;
    writes(test, &json!({}), code, "all\n");
}

/// Whoever waits for a pipe can be killed at any time, and nothing waits for it then.
#[test]
fn who_is_killed_while_he_waits_keeps_nobody_waiting() {
    let test = "who_is_killed_while_he_waits_keeps_nobody_waiting";
    let code = r#"
import os, signal, time
os.mkfifo("FOLDER/pipe")
for number in range(200):
    if (child := os.fork()) == 0:
        os.open("FOLDER/pipe", os.O_RDONLY)
    time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.wait()
    os.close(os.open(f"FOLDER/{number}", os.O_CREAT | os.O_WRONLY))
print("all")
"#;
    writes(test, &json!({}), code, "all\n");
}

/// A process that waits for a pipe in the place of a caller has nothing open that another caller got.
#[test]
fn a_lock_ends_also_while_somebody_waits() {
    let test = "a_lock_ends_also_while_somebody_waits";
    let code = r#"
import fcntl, os, threading, time
os.mkfifo("FOLDER/pipe")
open("FOLDER/lock", "w").close()
def waits():
    os.open("FOLDER/pipe", os.O_RDONLY)
def begins():
    for _ in range(60):
        threading.Thread(target=waits, daemon=True).start()
        time.sleep(0.002)
beginning = threading.Thread(target=begins)
beginning.start()
taken = 0
while beginning.is_alive():
    lock = os.open("FOLDER/lock", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken += 1
    os.close(lock)
print(taken, flush=True)
os._exit(0)
"#;
    writes(test, &json!({}), code, "0\n");
}

/// Several threads of the worker that open at once each get their own file, and none that is denied.
#[test]
fn calls_at_once_are_not_taken_for_each_other() {
    let test = "calls_at_once_are_not_taken_for_each_other";
    let code = r#"
import os, threading
for number in range(8):
    with open(f"FOLDER/{number}", "w") as file:
        file.write(str(number))
wrong = []
def opens(number):
    for round in range(300):
        with open(f"FOLDER/{number}") as file:
            if file.read() != str(number):
                wrong.append(number)
        with open(f"FOLDER/{number}-{round}", "x") as file:
            file.write("x")
        os.rename(f"FOLDER/{number}-{round}", f"FOLDER/{number}.key")
        try:
            wrong.append(os.open(f"FOLDER/{number}.key", os.O_RDONLY))
        except PermissionError:
            pass
        os.unlink(f"FOLDER/{number}.key")
threads = [threading.Thread(target=opens, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(wrong)
"#;
    writes(test, &json!({}), code, "[]\n");
}

/// They are not the worker's to be counted.
#[test]
fn they_take_nothing_of_the_limit_of_processes() {
    let test = "they_take_nothing_of_the_limit_of_processes";
    let code = r#"
import os, signal
children = []
try:
    while True:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except BlockingIOError:
    print(len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"#;
    writes(test, &json!({"pids": 9}), code, "8\n");
}

/// A lock lasts until nobody has the file open any more, and whoever has closed it may count on that.
#[test]
fn a_lock_ends_with_the_descriptor_that_the_worker_closes() {
    let test = "a_lock_ends_with_the_descriptor_that_the_worker_closes";
    // Others keep the processors busy, so that whoever hands over comes late to close its own.
    let code = r#"
import fcntl, os, signal
busy = []
for _ in range(2 * os.cpu_count()):
    if (child := os.fork()) == 0:
        while True:
            pass
    busy.append(child)
open("FOLDER/lock", "w").close()
taken = 0
for _ in range(20000):
    lock = os.open("FOLDER/lock", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken += 1
    os.close(lock)
for child in busy:
    os.kill(child, signal.SIGKILL)
print(taken)
"#;
    writes(test, &json!({}), code, "0\n");
}

/// What a worker has written and closed it may run at once: nobody of ours has it open for writing any
/// more. On one processor, where whoever answers is hindered by the caller.
#[test]
fn what_was_just_written_runs() {
    let code = r#"
import os, subprocess
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
program = open("/usr/bin/true", "rb").read()
failed = 0
for number in range(200):
    path = f"FOLDER/{number}"
    with open(path, "wb") as file:
        file.write(program)
    os.chmod(path, 0o755)
    try:
        subprocess.run([path], check=True)
    except OSError:
        failed += 1
print(failed)
"#;
    let rules = json!([
        {"action": "allow", "path": "FOLDER"},
        {"action": "deny", "path": "FOLDER/**/*.key", "perms": ["write_file"]},
    ]);
    let test = "what_was_just_written_runs";
    writes_under(test, (&rules, &json!({})), code, "0\n");
}
