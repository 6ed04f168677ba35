//! What the kernel puts into a process that executes a program: its interpreter is a program too. And
//! executions of many threads, and under many signals, which must stop nobody else's.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::elf::{At, ending};
use crate::support::{
    Child, Finished, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp, recorded,
};

/// A folder of programs, which a worker may run and read but for what rules say, removed at the end.
struct Programs(PathBuf);

impl Programs {
    fn new(test: &str) -> Programs {
        let folder = outside_of_tmp().join(format!("{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Programs(folder)
    }

    fn add(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, bytes).expect("a program");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode is changed");
    }

    /// Any program runs but for what `rules` say of those of the folder.
    fn policy(&self, rules: &[(&str, &str)]) -> Value {
        let rule = |(action, pattern): &(&str, &str)| json!({"action": action, "path": self.0.join(pattern)});
        json!({
            "version": 1,
            "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
            "fs": {"rules": [{"action": "allow", "path": self.0, "perms": ["read_file", "read_dir", "execute"]}]},
            "exec": {"rules": rules.iter().map(rule).collect::<Vec<_>>()},
            "audit": {"enabled": true}
        })
    }

    /// Runs Python code in the folder.
    fn run(&self, policy: &Value, code: &str) -> Finished {
        self.recorded(policy, code).0
    }

    /// The same, and what was recorded of it.
    fn recorded(&self, policy: &Value, code: &str) -> (Finished, Vec<Value>) {
        let scratch = Scratch::new();
        let file = scratch.file("p.json", policy.to_string().as_bytes());
        let log = scratch.entry("events.jsonl");
        let folder = self.0.display().to_string();
        let done = Child::new(binary())
            .args([
                "run",
                "--quiet",
                "--ask=never",
                "--policy",
                &file,
                "--events",
                &log,
                "--",
            ])
            .args([PYTHON, "-I", "-c", &code.replace("FOLDER", &folder)])
            .clean_path()
            .run();
        (done, recorded(&log))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Says how each program of the folder ends, or why it does not begin.
const ENDS: &str = r#"
import errno, os, sys
os.chdir("FOLDER")
def end(path):
    child = os.fork()
    if child == 0:
        try:
            os.execv(path, [path])
        except OSError as error:
            os._exit(200 + error.errno)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"#;

#[test]
fn an_interpreter_is_a_program_and_runs_only_as_one_may() {
    let _alone = alone();
    if !is_root("an_interpreter_is_a_program_and_runs_only_as_one_may") {
        return;
    }
    let programs = Programs::new("images-interpreter");
    let interpreter = ending(7, At::Interpreter, None);
    programs.add("secret", &interpreter);
    programs.add("open", &ending(8, At::Interpreter, None));
    programs.add("by-secret", &ending(0, At::Program, Some("secret")));
    programs.add("by-open", &ending(0, At::Program, Some("open")));
    let digest: String = Sha256::digest(&interpreter)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let code = format!(
        "{ENDS}print(end('secret'), end('by-secret'), end('open'), end('by-open'), end('/usr/bin/true'))"
    );
    // Nobody denies them: so it is what they do.
    let done = programs.run(&programs.policy(&[("warn", "nothing*")]), &code);
    assert_eq!(done.stdout(), "7 7 8 8 0\n", "{done}");
    for action in ["deny", "ask"] {
        let done = programs.run(&programs.policy(&[(action, "sec*")]), &code);
        assert_eq!(
            done.stdout(),
            "213 213 8 8 0\n",
            "{action} was not denied: {done}"
        );
    }
    let mut by_digest = programs.policy(&[]);
    by_digest["exec"]["rules"] =
        json!([{"action": "deny", "path": programs.0.join("*"), "sha256": digest}]);
    let done = programs.run(&by_digest, &code);
    assert_eq!(
        done.stdout(),
        "213 213 8 8 0\n",
        "the digest was not denied: {done}"
    );
}

/// Its path can lead elsewhere when the kernel opens it than when it was looked at.
#[test]
fn an_interpreter_that_is_swapped_never_begins() {
    let _alone = alone();
    if !is_root("an_interpreter_that_is_swapped_never_begins") {
        return;
    }
    let programs = Programs::new("images-swapped");
    programs.add("secret", &ending(7, At::Interpreter, None));
    programs.add("open", &ending(8, At::Interpreter, None));
    programs.add("by-link", &ending(0, At::Program, Some("swapped/link")));
    let swapped = programs.0.join("swapped");
    fs::create_dir(&swapped).expect("a folder");
    symlink("../open", swapped.join("link")).expect("a link");
    let over = AtomicBool::new(false);
    let code = format!(
        "{ENDS}ends = [end('by-link') for _ in range(3000)]\nprint(ends.count(7), ends.count(8) > 0, ends.count(213) > 0)"
    );
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for aim in ["../secret", "../open"] {
                    symlink(aim, swapped.join("fresh")).expect("a link");
                    fs::rename(swapped.join("fresh"), swapped.join("link"))
                        .expect("it is replaced");
                }
            }
        });
        let done = programs.run(&programs.policy(&[("deny", "sec*")]), &code);
        over.store(true, Ordering::Relaxed);
        done
    });
    assert_eq!(done.stdout(), "0 True True\n", "it was not denied: {done}");
}

/// Whoever runs a program has its bytes in memory.
#[test]
fn what_may_not_be_read_does_not_run_either() {
    let _alone = alone();
    if !is_root("what_may_not_be_read_does_not_run_either") {
        return;
    }
    let programs = Programs::new("images-read");
    programs.add("secret", &ending(7, At::Program, None));
    programs.add("open", &ending(8, At::Program, None));
    for pattern in ["secret", "sec*"] {
        let mut policy = programs.policy(&[("warn", "nothing*")]);
        let rules = policy["fs"]["rules"].as_array_mut().expect("rules");
        rules.push(
            json!({"action": "deny", "path": programs.0.join(pattern), "perms": ["read_file"]}),
        );
        let done = programs.run(&policy, &format!("{ENDS}print(end('secret'), end('open'))"));
        assert_eq!(done.stdout(), "213 8\n", "{pattern} was not denied: {done}");
    }
}

/// In the moment before a wrong program is killed it could be read there.
#[test]
fn no_process_reads_the_memory_of_another() {
    let _alone = alone();
    if !is_root("no_process_reads_the_memory_of_another") {
        return;
    }
    let programs = Programs::new("images-memory");
    let code = r#"
import os, time
def reads(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
        return "yes"
    except PermissionError:
        return "no"
child = os.fork()
if child == 0:
    time.sleep(60)
number = os.getpid()
print([reads(f"/proc/{name}/mem") for name in ("self", "thread-self", number, f"self/task/{number}")],
      [reads(f"/proc/{name}/mem") for name in (child, f"{child}/task/{child}")])
os.kill(child, 9)
"#;
    let mut policy = programs.policy(&[("warn", "nothing*")]);
    policy["audit"]["events"] = json!([]);
    let rules = policy["fs"]["rules"].as_array_mut().expect("rules");
    rules.push(json!({"action": "deny", "path": programs.0.join("*.key")}));
    let done = programs.run(&policy, code);
    assert_eq!(
        done.stdout(),
        "['yes', 'yes', 'yes', 'yes'] ['no', 'no']\n",
        "it was not denied: {done}"
    );
}

/// The one ends the others, and waits for that, while each is to be followed.
#[test]
fn threads_that_execute_at_once_stop_nobody() {
    let _alone = alone();
    if !is_root("threads_that_execute_at_once_stop_nobody") {
        return;
    }
    let programs = Programs::new("images-threads");
    programs.add("end", &ending(7, At::Program, None));
    let code = r#"
import ctypes, os, threading
libc = ctypes.CDLL(None)
words = (ctypes.c_char_p * 2)(b"end", None)
ends = []
for _ in range(800):
    child = os.fork()
    if child == 0:
        together = threading.Barrier(8)
        def execute():
            together.wait()
            libc.execve(b"FOLDER/end", words, None)
        for _ in range(7):
            threading.Thread(target=execute, daemon=True).start()
        execute()
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(len(ends), set(ends))
"#;
    let done = programs.run(&programs.policy(&[("warn", "nothing*")]), code);
    assert_eq!(done.stdout(), "800 {7}\n", "it waits for ever: {done}");
}

/// A call that fails is followed to its end too, and signals of every number come in between.
#[test]
fn signals_while_a_program_is_executed_end_nobody() {
    let _alone = alone();
    if !is_root("signals_while_a_program_is_executed_end_nobody") {
        return;
    }
    let programs = Programs::new("images-signals");
    programs.add("none", b"no program");
    let code = r#"
import errno, os, signal, time
numbers = [signal.SIGUSR1, signal.SIGRTMIN + 5, signal.SIGRTMAX]
for number in numbers:
    signal.signal(number, lambda *_: None)
child = os.fork()
if child == 0:
    tries, others = 0, set()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            os.execv("FOLDER/none", ["none"])
        except OSError as error:
            tries += 1
            others.add(errno.errorcode[error.errno])
    # A signal that comes before anybody has heard of the call interrupts it.
    print(tries > 100, others - {"EINTR"}, flush=True)
    os._exit(0)
rounds = 0
while os.waitpid(child, os.WNOHANG)[0] == 0:
    rounds += 1
    for _ in range(20):
        os.kill(child, numbers[rounds % 3])
    # Without a pause it does nothing but take them.
    time.sleep(0.0005)
"#;
    let done = programs.run(&programs.policy(&[("warn", "nothing*")]), code);
    assert_eq!(done.stdout(), "True {'ENOEXEC'}\n", "{done}");
}

/// Whoever starts a program may go on before it is looked at.
#[test]
fn a_program_that_has_lost_its_name_runs() {
    let _alone = alone();
    if !is_root("a_program_that_has_lost_its_name_runs") {
        return;
    }
    let programs = Programs::new("images-unlinked");
    programs.add("end", &ending(7, At::Program, None));
    let mode = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&programs.0, mode).expect("its mode is changed");
    let code = r#"
import os, shutil, subprocess
os.chdir("FOLDER")
def run(change):
    shutil.copy("end", "mine")
    shutil.copy("end", "other")
    started = subprocess.Popen(["./mine"])
    change()
    return started.wait()
changes = [lambda: os.unlink("mine"), lambda: os.rename("other", "mine"), lambda: os.rename("mine", r"a\012b")]
print({run(change) for _ in range(100) for change in changes})
shutil.copy("end", r"a\012b")
print(subprocess.run([r"./a\012b"]).returncode)
descriptor = os.open(r"a\012b", os.O_PATH)
os.unlink(r"a\012b")
child = os.fork()
if child == 0:
    os.execve(descriptor, ["end"], {})
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let mut policy = programs.policy(&[("warn", "nothing*")]);
    policy["fs"]["rules"][0]["perms"] = json!([
        "read_file",
        "read_dir",
        "execute",
        "write_file",
        "write_dir"
    ]);
    let done = programs.run(&policy, code);
    assert_eq!(done.stdout(), "{7}\n7\n7\n", "{done}");
}

/// It tells nobody that it has ended while others of its process go on.
#[test]
fn a_first_thread_that_ends_keeps_nobody_waiting() {
    let _alone = alone();
    if !is_root("a_first_thread_that_ends_keeps_nobody_waiting") {
        return;
    }
    let programs = Programs::new("images-first");
    programs.add("end", &ending(7, At::Program, None));
    programs.add("none", b"no program");
    let code = r#"
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
words = (ctypes.c_char_p * 2)(b"end", None)
def execute():
    time.sleep(0.003)
    libc.execve(b"FOLDER/end", words, None)
ends = set()
for _ in range(300):
    child = os.fork()
    if child == 0:
        threading.Thread(target=execute).start()
        libc.execve(b"FOLDER/none", words, None)
        libc.syscall(60, 0)
    ends.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(ends)
"#;
    let done = programs.run(&programs.policy(&[("warn", "nothing*")]), code);
    assert_eq!(done.stdout(), "{7}\n", "it waits for ever: {done}");
}

/// Nobody keeps an interpreter from being written to, so that an answer about it would say nothing.
#[test]
fn an_interpreter_that_can_be_changed_is_not_asked_about() {
    let _alone = alone();
    if !is_root("an_interpreter_that_can_be_changed_is_not_asked_about") {
        return;
    }
    let programs = Programs::new("images-asked");
    programs.add("asked", &ending(7, At::Interpreter, None));
    programs.add("by-asked", &ending(0, At::Program, Some("asked")));
    let mut policy = programs.policy(&[("ask", "ask*")]);
    policy["fs"]["rules"][0]["perms"] = json!([
        "read_file",
        "read_dir",
        "execute",
        "write_file",
        "write_dir"
    ]);
    let (done, events) = programs.recorded(&policy, &format!("{ENDS}print(end('by-asked'))"));
    assert_eq!(done.stdout(), "213\n", "it was not denied: {done}");
    let asked = events.iter().any(|event| event["verdict"] == "ask");
    assert!(
        !asked,
        "it was not denied before anybody was asked: {events:#?}"
    );
}

/// Whoever reads a program for its digest does not read for ever.
#[test]
fn a_program_that_grows_while_it_is_read_is_not_executed() {
    let _alone = alone();
    if !is_root("a_program_that_grows_while_it_is_read_is_not_executed") {
        return;
    }
    let programs = Programs::new("images-growing");
    programs.add("grows", b"");
    let code = r#"
import os, threading, time
file = os.open("FOLDER/grows", os.O_RDWR)
os.ftruncate(file, 200 << 20)
child = os.fork()
if child == 0:
    os.close(file)
    try: os.execv("FOLDER/grows", ["grows"])
    except OSError as error: os._exit(error.errno)
time.sleep(0.05)
os.ftruncate(file, 1 << 43)
os.close(file)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let mut policy = programs.policy(&[]);
    policy["fs"]["rules"][0]["perms"] = json!(["read_file", "read_dir", "execute", "write_file"]);
    let sha256 = "a".repeat(64);
    policy["exec"]["rules"] =
        json!([{"action": "deny", "path": programs.0.join("grows"), "sha256": sha256}]);
    let done = programs.run(&policy, code);
    assert_eq!(done.stdout(), "13\n", "it was not denied: {done}");
}

/// A domain of its own does not hold for calls that are made in its place, so it gets none; nor does it
/// make others wait who open a file, or change by a descriptor what it may not change by a name.
#[test]
fn what_would_not_hold_or_hold_others_up_is_not_to_be_had() {
    let _alone = alone();
    if !is_root("what_would_not_hold_or_hold_others_up_is_not_to_be_had") {
        return;
    }
    let programs = Programs::new("images-attributes");
    programs.add("a.key", b"text");
    let code = r#"
import ctypes, errno, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def told(act):
    try:
        act()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def landlock():
    if libc.syscall(444, None, 0, 1) < 0:
        raise OSError(ctypes.get_errno(), "")
file = os.open("FOLDER/KIND", os.O_RDONLY)
print(told(landlock), told(lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
      told(lambda: fcntl.ioctl(file, 0x40086602, struct.pack("l", 0x40))),
      told(lambda: fcntl.ioctl(file, 0x401c5820, bytes(28))))
"#;
    // Where reading is decided, a directory that folds case would have names of which no rule speaks.
    for (decided, kind) in [
        (json!(["write_file", "write_dir"]), "a.key"),
        (json!(["read_file"]), "."),
    ] {
        let mut policy = programs.policy(&[]);
        let rules = policy["fs"]["rules"].as_array_mut().expect("rules");
        rules[0]["perms"] = json!(["read_file", "read_dir", "write_file", "write_dir"]);
        let keys = programs.0.join("*.key");
        rules.push(json!({"action": "deny", "path": keys, "perms": decided}));
        let done = programs.run(&policy, &code.replace("KIND", kind));
        assert_eq!(
            done.stdout(),
            "ENOTSUP EINVAL ENOTSUP ENOTSUP\n",
            "it was not denied, {decided}: {done}"
        );
    }
}
