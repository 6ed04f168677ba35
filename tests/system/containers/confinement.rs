//! What a container's process is held to, as it sees it from inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::yard::{Yard, status};
use crate::support::{Child, PATIENCE, PYTHON, binary, eventually};

/// CAP_CHOWN, CAP_KILL, CAP_SETGID and CAP_SETUID: bits 0, 5, 6 and 7.
const FEW: &str = "00000000000000e1";
const NONE: &str = "0000000000000000";

const STATUS: &str = "cat /proc/self/status";

#[test]
fn capabilities_are_those_asked_for() {
    let Some(yard) = Yard::new("capabilities_are_those_asked_for") else {
        return;
    };
    let expect = |told: &str, expected: [&str; 5]| {
        let names = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"];
        let seen = names.map(|name| status(told, name));
        assert_eq!(seen, expected, "{names:?}");
    };
    let told = yard.tells("one", STATUS, |_| {});
    expect(&told, [FEW, FEW, FEW, NONE, NONE]);
    let kill = json!(["CAP_KILL"]);
    let all = json!({"bounding": kill, "effective": kill, "permitted": kill,
                     "inheritable": kill, "ambient": kill});
    for uid in [0, 1000] {
        let told = yard.tells("one", STATUS, |spec| {
            spec["process"]["user"] = json!({"uid": uid, "gid": uid});
            spec["process"]["capabilities"] = all.clone();
        });
        expect(&told, ["0000000000000020"; 5]);
        // Without any there is none, whoever the user is.
        for none in [json!(null), json!({})] {
            let told = yard.tells("one", STATUS, |spec| {
                spec["process"]["user"] = json!({"uid": uid, "gid": uid});
                spec["process"]["capabilities"] = none.clone();
            });
            expect(&told, [NONE; 5]);
        }
    }
    // Another user has what it is given by execve(2): nothing, unless it is ambient.
    let told = yard.tells("one", STATUS, |spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    expect(&told, [FEW, NONE, NONE, NONE, NONE]);
    yard.ends_clean();
}

#[test]
fn ids_and_masks_and_limits_are_those_asked_for() {
    let Some(yard) = Yard::new("ids_and_masks_and_limits_are_those_asked_for") else {
        return;
    };
    let line = "cat /proc/self/status /proc/self/limits; echo \
                Score: $(cat /proc/self/oom_score_adj); echo Mask: $(umask); echo Cwd: $(pwd); \
                echo Home: $HOME; echo Session: $(cut -d' ' -f6 /proc/self/stat)";
    let told = yard.tells("one", line, |spec| {
        spec["process"]["user"] =
            json!({"uid": 1234, "gid": 567, "additionalGids": [89, 10, 89], "umask": 0o027});
        spec["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
        ]);
        spec["process"]["oomScoreAdj"] = json!(777);
        spec["process"]["cwd"] = json!("/tmp");
    });
    assert_eq!(status(&told, "Uid"), "1234\t1234\t1234\t1234");
    assert_eq!(status(&told, "Gid"), "567\t567\t567\t567");
    assert_eq!(status(&told, "Groups"), "10 89");
    assert_eq!(status(&told, "NoNewPrivs"), "1");
    assert_eq!(status(&told, "Score"), "777");
    assert_eq!(status(&told, "Mask"), "0027");
    assert_eq!(status(&told, "Cwd"), "/tmp");
    assert_eq!(status(&told, "Home"), "/");
    assert_eq!(status(&told, "Session"), "1");
    let limit = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name));
        let words = line.unwrap_or_default().split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files")[3..5], ["100", "200"]);
    assert_eq!(limit("Max core file size")[4..6], ["0", "0"]);
    let told = yard.tells("one", STATUS, |spec| {
        spec["process"]["noNewPrivileges"] = json!(false);
    });
    assert_eq!(status(&told, "NoNewPrivs"), "0");
    // Of root there are no groups but those of the configuration.
    assert_eq!(status(&told, "Groups"), "");
    yard.ends_clean();
}

/// A profile that permits all but what `rules` say.
fn profile(rules: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "syscalls": rules
    })
}

#[test]
fn system_calls_are_filtered() {
    let Some(yard) = Yard::new("system_calls_are_filtered") else {
        return;
    };
    let (enosys, kill) = (
        json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]),
        json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]),
    );
    // With no_new_privs the filter comes last; without, it must come before the capabilities go.
    for no_new_privileges in [true, false] {
        let filtered = |rules: &Value, line: &str| {
            let mut spec = yard.spec("one", &["sh", "-c", line]);
            spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            spec["linux"]["seccomp"] = profile(rules);
            yard.run("one", &spec)
        };
        let called = filtered(&enosys, "grep Seccomp: /proc/self/status; mkdir /tmp/x");
        assert_eq!(status(&called.stdout(), "Seccomp"), "2");
        called.fails(1, "Function not implemented");
        filtered(&kill, "mkdir /tmp/x; exit $?").expect(128 + 31);
        filtered(&json!([]), "mkdir /tmp/x; test -d /tmp/x").expect(0);
        // What the runtime does on the way is not for the container's filter to allow.
        let ways = json!([{
            "names": ["chdir", "close_range", "fchown", "fchownat", "getcwd"],
            "action": "SCMP_ACT_ERRNO"
        }]);
        filtered(&ways, "true").expect(0);
    }
    // What joins the container later is under the same filter.
    yard.sleeper("one", |spec| spec["linux"]["seccomp"] = profile(&enosys));
    yard.call(&["exec", "one", "mkdir", "/tmp/x"])
        .fails(1, "Function not implemented");
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn descriptors_of_the_caller_stay_outside() {
    let Some(yard) = Yard::new("descriptors_of_the_caller_stay_outside") else {
        return;
    };
    // The shell opens none of its own; ls has one for the folder.
    let line = "exec ls -l /proc/self/fd";
    let bundle = yard.bundle("one", &yard.spec("one", &["sh", "-c", line]));
    let open = [
        "sh",
        "-c",
        "exec 3</etc/passwd 4</etc 9</dev/null; exec \"$@\"",
        "sh",
    ];
    let run = ["run", "--bundle", &bundle, "one"];
    let numbers = |told: &str| -> Vec<String> {
        let entries = told.lines().filter_map(|line| {
            let (before, target) = line.split_once(" -> ")?;
            let own = target.starts_with("/proc/") && target.ends_with("/fd");
            (!own).then(|| before.rsplit(' ').next().map(str::to_owned))?
        });
        entries.collect()
    };
    let told = yard.call_below(&open, &run).expect(0).stdout();
    assert_eq!(numbers(&told), ["0", "1", "2"], "{told}");
    // The other way into a container.
    yard.sleeper("two", |_| {});
    let exec = ["exec", "two", "ls", "-l", "/proc/self/fd"];
    let told = yard.call_below(&open, &exec).expect(0).stdout();
    assert_eq!(numbers(&told), ["0", "1", "2"], "{told}");
    let first = yard.state("two")["pid"]
        .as_u64()
        .expect("it has a first process");
    let held = fs::read_dir(format!("/proc/{first}/fd")).expect("its descriptors can be listed");
    assert_eq!(held.count(), 3, "of the first process");

    let spec = yard.spec(
        "one",
        &[
            "sh",
            "-c",
            "head -n 1 <&3; ls /proc/self/fd/4/ >&2; ls -l /proc/self/fd",
        ],
    );
    let bundle = yard.bundle("one", &spec);
    let run = ["run", "--preserve-fds", "1", "--bundle", &bundle, "one"];
    let called = yard.call_below(&open, &run).expect(0);
    assert!(called.stdout().starts_with("root:"), "{called}");
    assert!(!called.stderr().contains("passwd"), "{called}");
    // Of more than are open none is one of the runtime's own.
    let bundle = yard.bundle("one", &yard.spec("one", &["sh", "-c", line]));
    let run = ["run", "--preserve-fds", "7", "--bundle", &bundle, "one"];
    let told = yard.call_below(&open, &run).expect(0).stdout();
    assert_eq!(numbers(&told), ["0", "1", "2", "3", "4", "9"], "{told}");
    let exec = [
        "exec",
        "--preserve-fds",
        "3",
        "two",
        "ls",
        "-l",
        "/proc/self/fd",
    ];
    let told = yard.call_below(&open, &exec).expect(0).stdout();
    assert_eq!(numbers(&told), ["0", "1", "2", "3", "4"], "{told}");
    yard.remove("two");
    yard.ends_clean();
}

#[test]
fn keys_of_the_caller_stay_outside() {
    let Some(yard) = Yard::new("keys_of_the_caller_stay_outside") else {
        return;
    };
    let bundle = yard.bundle("one", &yard.spec("one", &["cat", "/proc/keys"]));
    let told = yard
        .call(&["run", "--bundle", &bundle, "one"])
        .expect(0)
        .stdout();
    assert!(told.contains("_ses.one"), "{told}");
    // Of another id, since the kernel takes a keyring away later.
    let args = ["run", "--no-new-keyring", "--bundle", &bundle, "two"];
    let told = yard.call(&args).expect(0).stdout();
    assert!(!told.contains("_ses.two"), "{told}");
    yard.ends_clean();
}

/// Prints the pid of what runs of the runtime's own file.
const FIND: &str = r#"
for folder in /proc/[0-9]*; do
  case $(readlink $folder/exe) in */busybox | "") ;; *) pid=${folder#/proc/} ;; esac
done
echo ${pid:?none}
"#;

/// Holds the file open, and writes to it once nobody executes it any more.
const OVERWRITE: &str = r#"
exec 3</proc/$pid/exe || exit 8
kill -9 $pid
while readlink /proc/$pid/exe >/dev/null; do sleep 0.02; done
echo overwritten >>/proc/self/fd/3
"#;

#[test]
fn the_runtime_s_file_is_not_written_from_inside() {
    let Some(yard) = Yard::new("the_runtime_s_file_is_not_written_from_inside") else {
        return;
    };
    // A copy stands in, so that a fence that does not hold costs nothing.
    let program = yard.scratch.entry("runtime");
    fs::copy(binary(), &program).expect("the binary can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    let size = fs::metadata(&program).expect("it is there").len();
    let script = yard
        .scratch
        .file("rootfs/script", b"#!/proc/self/exe update\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    yard.sleeper("one", |spec| {
        // Everything that a container can have, and the libraries for the runtime's file.
        let all = super::exec::every_capability();
        spec["process"]["capabilities"] =
            json!({"bounding": all, "effective": all, "permitted": all});
        let mounts = spec["mounts"].as_array_mut().expect("there are mounts");
        for folder in ["/lib", "/lib64", "/usr/lib"] {
            mounts.push(
                json!({"destination": folder, "type": "bind", "source": folder,
                               "options": ["rbind", "ro"]}),
            );
        }
    });
    for entry in [
        &["/proc/self/exe", "update", "--resources", "-", "x"][..],
        &["/script", "--resources", "-"],
    ] {
        // With its input open it waits for more.
        let held = ["sh", "-c", "sleep 1000 | \"$@\"", "sh"];
        let args = [&["exec", "one"], entry].concat();
        let mut waiting = yard.start_as(&held, &program, &args);
        eventually(PATIENCE, || {
            let found = yard.call(&["exec", "one", "sh", "-c", FIND]);
            match found.code() {
                Some(0) => Ok(()),
                _ => Err(format!("{entry:?} does not run: {found}")),
            }
        });
        let tried = yard.call(&["exec", "one", "sh", "-c", &format!("{FIND}{OVERWRITE}")]);
        let now = fs::metadata(&program).expect("it is there").len();
        assert_eq!(now, size, "the runtime's file was overwritten: {tried}");
        let said = tried.stderr();
        assert_eq!(tried.code(), Some(1), "{tried}");
        assert!(
            said.contains("Read-only file system") || said.contains("Operation not permitted"),
            "{tried}"
        );
        waiting.running().kill();
    }
    yard.remove("one");
    yard.ends_clean();
}

/// Types into a container's terminal: its size, another size, and the exit status.
const TYPIST: &str = r#"
import fcntl, os, pty, re, select, struct, sys, termios, time
pid, master = pty.fork()
if pid == 0:
    os.read(0, 1)
    os.execv(sys.argv[1], sys.argv[1:])
def resize(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
seen = ""
def expect(pattern, key=""):
    global seen
    end = time.monotonic() + 60
    while not (found := re.search(pattern, seen)):
        if time.monotonic() > end:
            sys.exit(f"{pattern!r} was not shown, but {seen!r}")
        if key:
            type(key)
            time.sleep(0.5)
        if select.select([master], [], [], 1)[0]:
            seen += os.read(master, 65536).decode(errors="replace")
    seen = seen[found.end():]
    return found
def type(text):
    os.write(master, text.encode())
before = termios.tcgetattr(master)
resize(33, 101)
type("\n")
expect("READY> ")
type("tty; stty size\n")
expect(r"/dev/(pts/0|console)\r\n33 101\r\n")
resize(44, 77)
for _ in range(100):
    type("stty size\n")
    if expect(r"\n(\d+ \d+)\r\n").group(1) == "44 77":
        break
    time.sleep(0.1)
else:
    sys.exit("the new size never arrived")
# A shell itself heeds no key that is meant for the command that it is about to start.
type("echo be''gun; sleep 1000\n")
expect(r"\nbegun\r\n")
expect("READY> ", "\x03")
type("exit 7\n")
end = time.monotonic() + 60
while True:
    if select.select([master], [], [], 0.05)[0]:
        try:
            os.read(master, 65536)
        except OSError:
            pass
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        break
    if time.monotonic() > end:
        sys.exit("it does not end")
if termios.tcgetattr(master) != before:
    sys.exit("the terminal was left in another mode")
print("status", os.waitstatus_to_exitcode(status))
"#;

#[test]
fn a_terminal_is_usable() {
    let Some(yard) = Yard::new("a_terminal_is_usable") else {
        return;
    };
    let mut spec = yard.spec("one", &["sh", "-i"]);
    spec["process"]["terminal"] = json!(true);
    spec["process"]["env"] = json!(["PATH=/bin", "PS1=READY> ", "TERM=dumb"]);
    let bundle = yard.bundle("one", &spec);
    let root = yard.state_root();
    let typed = |args: &[&str]| {
        Child::new(PYTHON)
            .args(["-I", "-c", TYPIST])
            .arg(binary())
            .args(["--root", &root])
            .args(args)
            .deadline(Duration::from_secs(120))
            .run()
            .prints("status 7\n");
    };
    typed(&["run", "--bundle", &bundle, "one"]);
    yard.sleeper("two", |_| {});
    typed(&["exec", "--tty", "--env", "PS1=READY> ", "two", "sh", "-i"]);
    yard.remove("two");
    yard.ends_clean();
}
