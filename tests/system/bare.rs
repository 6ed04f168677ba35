//! Where user namespaces are forbidden, in the two ways that people meet: by a sysctl, and by the
//! system call filter of a container. A policy is then carried by Landlock and seccomp alone and
//! exactly, or refused with a word about what to change.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal::SIGKILL as KILLED;
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::attacks::Attack;
use crate::support::{Child, PATIENCE, PYTHON, Scratch, USER, alone, eventually, is_root};

const FORBID: &str = include_str!("bare/forbid.py");

/// The ways in which user namespaces are forbidden here.
const WAYS: [&str; 2] = ["sysctl", "filter"];

/// What stands before a command that runs as `uid` where user namespaces are forbidden.
pub fn within(scratch: &Scratch, way: &str, uid: u32) -> Vec<String> {
    let forbid = scratch.file("forbid.py", FORBID.as_bytes());
    [PYTHON, "-I", &forbid, way, &uid.to_string()]
        .map(str::to_owned)
        .to_vec()
}

/// A command there.
fn forbidden(scratch: &Scratch, way: &str, uid: u32) -> Child {
    let home = scratch.home();
    let child = Child::new(PYTHON).args(&within(scratch, way, uid)[1..]);
    let child = child.clean_path();
    child.env("HOME", &home).current_dir(&home)
}

/// Buntime, there.
fn bare(scratch: &Scratch, way: &str) -> Child {
    let binary = scratch.binary();
    forbidden(scratch, way, USER).arg(binary)
}

/// The state and the detail of each mechanism in a report.
fn mechanism<'r>(report: &'r Value, name: &str) -> (&'r str, &'r str) {
    let list = report["enforced"].as_array().expect("a list of mechanisms");
    let found = list
        .iter()
        .find(|one| one["mechanism"] == name)
        .unwrap_or_else(|| panic!("{name} is not in {report:#}"));
    let text = |field: &str| found[field].as_str().expect("mechanisms are texts");
    (text("state"), text("detail"))
}

#[test]
fn the_default_policy_runs_and_says_how_it_is_held() {
    let _alone = alone();
    if !is_root("the_default_policy_runs_and_says_how_it_is_held") {
        return;
    }
    for way in WAYS {
        let scratch = Scratch::new();
        let report = format!("{}/report.json", scratch.home());
        let done = bare(&scratch, way)
            .args(["run", "--report", &report, "-c", "print(6*7)"])
            .run()
            .prints("42\n");
        let said = done.stderr();
        assert!(said.starts_with("buntime: without namespaces ("), "{done}");
        assert_eq!(said.lines().count(), 1, "{done}");
        let report = std::fs::read(&report).expect("the report is there");
        let report: Value = serde_json::from_slice(&report).expect("the report is JSON");
        assert_eq!(mechanism(&report, "namespaces").0, "none");
        assert_eq!(mechanism(&report, "landlock").0, "full");
        assert_eq!(mechanism(&report, "names of files").0, "partial");
        assert!(mechanism(&report, "user").1.contains("uid 1000"));
        let quiet = bare(&scratch, way).args(["run", "--quiet", "-c", "print(1)"]);
        assert_eq!(quiet.run().prints("1\n").stderr(), "");
    }
    assert!(places(USER).is_empty(), "{:?}", places(USER));
}

#[test]
fn scripts_commands_streams_and_exit_codes_are_as_always() {
    let _alone = alone();
    if !is_root("scripts_commands_streams_and_exit_codes_are_as_always") {
        return;
    }
    let scratch = Scratch::new();
    let script = scratch.file("script.py", b"import sys; print(sys.argv[1:])");
    let run = |args: &[&str]| bare(&scratch, "filter").arg("run").args(args);
    run(&[&script, "a", "-x"]).run().prints("['a', '-x']\n");
    run(&["--", "cat"]).input("hi").run().prints("hi");
    run(&["-c", "import sys; sys.exit(7)"]).run().expect(7);
    run(&["--timeout", "1", "-c", "while True: pass"])
        .run()
        .expect(124);
    let own = "import os; f = os.environ['TMPDIR'] + '/x'; open(f, 'w').write('hi'); \
               print(open(f).read(), os.path.expanduser('~') == os.environ['TMPDIR'])";
    run(&["-c", own]).run().prints("hi True\n");
    let terminal = "import os; print(os.isatty(0), os.get_terminal_size().columns > 0)";
    let done = run(&["--tty=always", "-c", terminal]).run().expect(0);
    assert!(done.stdout().contains("True"), "{done}");
}

/// A program may have as many threads as the policy says, and the kernel's count is believed.
#[test]
fn the_limit_on_processes_holds_for_threads() {
    let _alone = alone();
    if !is_root("the_limit_on_processes_holds_for_threads") {
        return;
    }
    let scratch = Scratch::new();
    let code = "
import threading
stop, count, lock = threading.Event(), 0, threading.Lock()
def more(depth):
    global count
    with lock:
        count += 1
    if depth:
        try:
            for _ in range(5):
                threading.Thread(target=more, args=(depth - 1,), daemon=True).start()
        except RuntimeError:
            pass
    stop.wait()
threading.stack_size(65536)
more_first = threading.Thread(target=more, args=(4,), daemon=True)
more_first.start()
import time
time.sleep(1.5)
end = time.monotonic() + 30
while count + 1 < 10 and time.monotonic() < end:
    time.sleep(0.1)
with lock:
    print('at most', count + 1 <= 20, 'some', count + 1 >= 10)
stop.set()
while time.monotonic() < end:
    try:
        again = threading.Thread(target=print, args=('again',))
        again.start()
        break
    except RuntimeError:
        time.sleep(0.1)  # Those that were told to end have not all done so.
again.join()
";
    let done = bare(&scratch, "filter")
        .args(["run", "--pids", "20", "--memory", "unlimited", "-c", code])
        .run()
        .prints("at most True some True\nagain\n");
    assert!(
        done.stderr().contains("the pids limit was reached"),
        "{done}"
    );
}

#[test]
fn what_needs_mounts_or_processes_is_refused_by_name() {
    let _alone = alone();
    if !is_root("what_needs_mounts_or_processes_is_refused_by_name") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    std::fs::create_dir(format!("{home}/secrets")).expect("a folder can be made");
    let policy = scratch.file(
        "policy.json",
        br#"{"version": 1, "plugins": {"namespaces": true}}"#,
    );
    let allow = format!("--allow-read={home}");
    let deny = format!("--deny-read={home}/secrets");
    for (flags, expected) in [
        (vec![&*allow, &*deny], "which needs a mount"),
        (vec!["--allow-run"], "processes of their own"),
        (vec!["--allow-run=cat"], "noexec mounts"),
        (vec!["--policy", &*policy], "namespaces are required"),
        (vec!["--rootfs", "/"], "needs mounts"),
        (vec!["--cpus", "1"], "`cpus` cannot be held"),
    ] {
        for way in WAYS {
            let run = bare(&scratch, way).arg("run").args(&flags);
            let done = run.args(["-c", "print('ran')"]).run().expect(125);
            assert_eq!(done.stdout(), "", "{done}");
            assert!(done.stderr().contains(expected), "{done}");
            if expected != "`cpus` cannot be held" {
                assert!(done.stderr().contains("permit user namespaces"), "{done}");
            }
        }
    }
    // The log of a run must not be the program's to write.
    let out = format!("{home}/out");
    std::fs::create_dir(&out).expect("a folder can be made");
    chown(&out, Some(USER), Some(USER)).expect("it can be given away");
    std::fs::write(format!("{out}/log"), b"").expect("a file can be made");
    chown(format!("{out}/log"), Some(USER), Some(USER)).expect("it can be given away");
    let (write, log) = (format!("--allow-write={out}"), format!("{out}/log"));
    let read = format!("--allow-read={out}");
    for way in WAYS {
        let run = bare(&scratch, way).args(["run", &write, &read, "--events", &log]);
        let done = run.args(["-c", "print('ran')"]).run().expect(125);
        assert!(done.stderr().contains("the program may write"), "{done}");
    }
}

/// A user namespace without any id mapped gives the program none, and the words say how to.
#[test]
fn where_no_ids_are_mapped_the_start_says_so() {
    let _alone = alone();
    if !is_root("where_no_ids_are_mapped_the_start_says_so") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let ordinary = ["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"];
    for within in [&["env"][..], &[&["setpriv"][..], &ordinary].concat()] {
        let run = |flags: &[&str]| {
            let child = Child::new(within[0]).args(&within[1..]);
            let child = child.arg("unshare").args(flags).arg("--");
            let child = child.arg(scratch.binary()).clean_path();
            let child = child.args(["run", "-c", "print(1)"]);
            child.env("HOME", &home).current_dir(&home).run()
        };
        let done = run(&["--user"]).expect(125);
        let said = done.stderr();
        assert!(said.contains("no user id is mapped"), "{done}");
        assert!(said.contains("unshare --user --map-root-user"), "{done}");
        // What it says to do helps.
        run(&["--user", "--map-root-user"]).prints("1\n");
    }
}

#[test]
fn nothing_of_the_user_is_reached() {
    let _alone = alone();
    if !is_root("nothing_of_the_user_is_reached") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let own = |path: &str, content: &[u8]| {
        let path = Path::new(&home).join(path);
        let folder = path.parent().expect("it lies in the home");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        std::fs::write(&path, content).expect("a file can be written");
        for given in [folder, &path] {
            chown(given, Some(USER), Some(USER)).expect("it can be given away");
        }
        path
    };
    own(".ssh/id_ed25519", b"SECRET CANARY");
    let granted = own("granted/file", b"granted");
    let untouched = own("own", b"own");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port of loopback can be had");
    let port = tcp.local_addr().expect("it has an address").port();
    let stream = UnixListener::bind(format!("{home}/stream.sock")).expect("a socket can be bound");
    let datagrams =
        UnixDatagram::bind(format!("{home}/datagram.sock")).expect("a socket can be bound");
    for name in ["stream.sock", "datagram.sock"] {
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(format!("{home}/{name}"), open).expect("the mode can be set");
    }
    let name = format!("attacked-bare-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
    let abstracts = UnixListener::bind_addr(&address).expect("the abstract name is free");
    let ordinary = ["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"];
    let victim = Child::new("setpriv").args(ordinary).args(["sleep", "1000"]);
    let victim = victim.start();
    let pid = victim.id().to_string();
    eventually(PATIENCE, || {
        match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(comm) if comm.trim() == "sleep" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let places = [
        ("VICTIM", &*pid),
        ("PORT", &*port.to_string()),
        ("HOME", &*home),
        ("ABSTRACT", &*name),
    ];
    let attack = Attack::new("bare", include_str!("bare/attempts.py"), &places);
    let program = scratch.file("attack.py", attack.program().as_bytes());

    // Outside each attempt succeeds, as the same user and without a fence.
    let outside = Child::new("setpriv").args(ordinary);
    attack.all_succeed(&outside.args([PYTHON, "-I", &program]).run());
    std::fs::write(&granted, b"granted").expect("the file can be restored");

    let read = format!("--allow-read={}", granted.display());
    for way in WAYS {
        let run = bare(&scratch, way).args(["run", &read, "--memory", "unlimited"]);
        attack.all_denied(&run.args(["-c", attack.program()]).run());
    }
    assert_eq!(std::fs::read(&granted).expect("it is there"), b"granted");
    assert_eq!(std::fs::read(&untouched).expect("it is there"), b"own");
    drop((tcp, stream, datagrams, abstracts, victim));
}

/// The directories that bare workers of this user have, or left.
fn places(user: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/tmp").expect("/tmp can be listed");
    let of_user = |entry: &std::fs::DirEntry| entry.metadata().is_ok_and(|it| it.uid() == user);
    let own = entries.flatten().filter(of_user);
    let names = own.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("buntime-bare-"))
        .collect()
}

fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be listed");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Supervisors and inits of this scratch folder's binary.
fn ours(scratch: &Scratch) -> Vec<i32> {
    let runs = |pid: &i32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.starts_with(scratch.path()))
    };
    processes().into_iter().filter(runs).collect()
}

/// Processes that run in the directory of a bare worker, by what they were started with.
fn workers() -> Vec<i32> {
    // By its threads: the first may have ended, and others go on.
    let runs_there = |pid: &i32| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        threads.into_iter().flatten().flatten().any(|thread| {
            let line = std::fs::read(thread.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("/buntime-bare-")
        })
    };
    processes().into_iter().filter(runs_there).collect()
}

/// The first thread ends, which takes the parent-death signal with it if anything does; another
/// goes on. All of it ends with the supervisor all the same.
const CLINGING: &str = "
import ctypes, os, signal, threading, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
libc = ctypes.CDLL(None)
print('prctl', libc.prctl(1, 0), 'setsid', libc.setsid(), flush=True)
def stay():
    while True:
        time.sleep(0.01)
threading.Thread(target=stay).start()
print('clinging', flush=True)
libc.syscall(60, 0)
";

/// Waits until neither Buntime nor a worker of it is alive.
fn all_end(scratch: &Scratch) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<i32> = workers().into_iter().chain(ours(scratch)).collect();
        if left.is_empty() {
            return;
        }
        if Instant::now() > end {
            for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                kill_process(pid, Signal::KILL).expect("what is left can be killed");
            }
            panic!("{left:?} lived on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    let _alone = alone();
    if !is_root("nothing_outlives_a_killed_supervisor") {
        return;
    }
    let scratch = Scratch::new();
    assert!(workers().is_empty(), "an earlier test has left a worker");
    for way in WAYS {
        let mut running = bare(&scratch, way).args(["run", "-c", CLINGING]).start();
        running.wait_for_output("clinging");
        assert_eq!(workers().len(), 1);
        running.signal(Signal::KILL);
        running.wait(PATIENCE).expect("a killed supervisor ends");
        all_end(&scratch);
    }
    for milliseconds in [0, 3, 6, 9, 12, 15, 20, 30, 40, 60, 200] {
        let code = "import time; time.sleep(300)";
        let mut running = bare(&scratch, "filter").args(["run", "-c", code]).start();
        // The interpreter that forbids namespaces starts first.
        std::thread::sleep(Duration::from_millis(30 + milliseconds));
        running.signal(Signal::KILL);
        running.wait(PATIENCE).expect("a killed supervisor ends");
        all_end(&scratch);
    }
    // What is left is directories, and the next start removes them.
    assert!(!places(USER).is_empty(), "no kill came while there was one");
    let next = bare(&scratch, "filter").args(["run", "-c", "print(1)"]);
    next.run().prints("1\n");
    assert!(places(USER).is_empty(), "{:?}", places(USER));
}

/// Init sees the end of the supervisor's socket too, but not while it stands still: at a stop for
/// a tracer here, since the end of its group's leader makes any other stopped process go on.
#[test]
fn an_init_that_stands_still_ends_with_the_supervisor() {
    let _alone = alone();
    if !is_root("an_init_that_stands_still_ends_with_the_supervisor") {
        return;
    }
    // Root's worker has ids of its own: their change takes back what init has asked for before.
    for (way, uid) in [("sysctl", USER), ("filter", USER), ("filter", 0)] {
        let scratch = Scratch::new();
        let run = forbidden(&scratch, way, uid).arg(scratch.binary());
        let code = "import time; print('runs', flush=True); time.sleep(300)";
        let mut running = run.args(["run", "-c", code]).start();
        running.wait_for_output("runs");
        let supervisor = i32::try_from(running.id()).expect("a pid is an i32");
        let mut inits = ours(&scratch);
        inits.retain(|pid| *pid != supervisor);
        let [init] = inits[..] else {
            panic!("{inits:?} are not one init");
        };
        let init = nix::unistd::Pid::from_raw(init);
        ptrace::seize(init, ptrace::Options::empty()).expect("init can be traced");
        ptrace::interrupt(init).expect("init can be stopped");
        let stopped = waitpid(init, None).expect("init can be waited for");
        assert!(
            matches!(stopped, WaitStatus::PtraceEvent(..)),
            "{stopped:?}"
        );
        running.signal(Signal::KILL);
        let ended = running.status(PATIENCE);
        ended.expect("a killed supervisor ends");
        all_end(&scratch);
        let ended = waitpid(init, None).expect("init can be waited for");
        assert!(
            matches!(ended, WaitStatus::Signaled(_, KILLED, _)),
            "{ended:?}"
        );
    }
}

#[test]
fn root_runs_it_as_nobody_else() {
    let _alone = alone();
    if !is_root("root_runs_it_as_nobody_else") {
        return;
    }
    let scratch = Scratch::new();
    let binary = scratch.binary();
    let code = "import os; print(os.getuid() >= 0x70000000, os.getgroups(), os.getgid() > 1000)";
    for way in WAYS {
        let run = forbidden(&scratch, way, 0).args([&*binary, "run", "-c", code]);
        run.run().prints("True [] True\n");
    }
    assert!(places(0).is_empty(), "{:?}", places(0));
    // A root that may be nobody else is refused, not run.
    let alone = ["--inh-caps=-all", "--bounding-set=-all", "--"];
    let run = forbidden(&scratch, "filter", 0).arg("setpriv").args(alone);
    let done = run.args([&*binary, "run", "-c", code]).run().expect(125);
    assert!(done.stderr().contains("run as root"), "{done}");
}
