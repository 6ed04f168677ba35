//! Where the containers of one test live: bundles, a state directory, a parent of their control
//! groups; and the count that nothing of them stays.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use serde_json::{Value, json};

use crate::support::child::Running;
use crate::support::leftovers::Leftovers;
use crate::support::{
    Alone, Child, PATH, PATIENCE, Scratch, alone, binary, eventually, is_root, remove_group,
};

/// A static program with every tool that a container of a test needs.
const BUSYBOX: &str = "/bin/busybox";

/// Where the kernel's hierarchies are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// How often this process looks for orphans.
const LOOK: Duration = Duration::from_millis(5);

/// Runs the words after the first with both outputs in files, since what a container inherits it
/// holds open for as long as it lives.
const APART: &str = r#"out=$1; shift; exec "$@" >"$out.out" 2>"$out.err""#;

pub struct Yard {
    pub scratch: Scratch,
    before: Leftovers,
    parent: String,
    calls: AtomicU32,
    /// The processes that are waited for where they were started.
    started: Mutex<HashSet<u32>>,
    _alone: Alone,
}

/// What a call of the runtime has come to.
#[derive(Debug)]
pub struct Called {
    shown: String,
    code: Option<i32>,
    stem: String,
}

impl Yard {
    /// An empty yard, or nothing where the test cannot act as root.
    pub fn new(test: &str) -> Option<Yard> {
        let alone = alone();
        if !is_root(test) {
            return None;
        }
        let before = Leftovers::now();
        let scratch = Scratch::new();
        let root = scratch.path().join("rootfs");
        for folder in ["bin", "proc", "sys", "dev", "tmp", "etc", "root", "log"] {
            fs::create_dir_all(root.join(folder)).expect("a folder of the root can be made");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox can be copied");
        let listed = Command::new(BUSYBOX).arg("--list").output();
        let listed = listed.expect("busybox lists its tools (Debian's busybox-static)");
        for tool in String::from_utf8_lossy(&listed.stdout).lines() {
            if tool != "busybox" {
                symlink("busybox", root.join("bin").join(tool)).expect("a tool can be linked");
            }
        }
        fs::create_dir(scratch.path().join("log")).expect("a folder can be made");
        let yard = Yard {
            parent: scratch
                .path()
                .file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned(),
            scratch,
            before,
            calls: AtomicU32::new(0),
            started: Mutex::default(),
            _alone: alone,
        };
        for hierarchy in yard.groups() {
            fs::create_dir_all(&hierarchy).expect("a parent of control groups can be made");
        }
        Some(yard)
    }

    /// The parent of the test's control groups in every hierarchy.
    pub fn groups(&self) -> Vec<PathBuf> {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
        let points = text.lines().filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let is_group = kind.starts_with("cgroup") && point.starts_with(GROUPS);
            is_group.then(|| Path::new(point).join(&self.parent))
        });
        points.collect()
    }

    /// The state directory.
    pub fn state_root(&self) -> String {
        self.scratch.entry("state")
    }

    /// Runs `args` after `run` of a configuration that does nothing special.
    pub fn spec(&self, id: &str, args: &[&str]) -> Value {
        let few = json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": {"bounding": few, "effective": few, "permitted": few},
                "noNewPrivileges": true
            },
            "root": {"path": self.scratch.entry("rootfs")},
            "hostname": "inside",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
                {"destination": "/log", "type": "bind", "source": self.scratch.entry("log"),
                 "options": ["rbind", "rw"]}
            ],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.parent),
                "namespaces": [
                    {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                    {"type": "mount"}
                ]
            }
        })
    }

    /// Writes the bundle of a configuration and gives its path.
    pub fn bundle(&self, id: &str, spec: &Value) -> String {
        let text = serde_json::to_vec(spec).expect("a configuration is JSON");
        self.scratch
            .file(&format!("bundles/{id}/config.json"), &text);
        self.scratch.entry(&format!("bundles/{id}"))
    }

    /// A call of the runtime by the given program, with words before it.
    fn child(&self, before: &[&str], program: &str, args: &[&str]) -> (Child, String) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let stem = self.scratch.entry(&format!("call-{number}"));
        let child = Child::new("sh")
            .args(["-c", APART, "sh", &stem])
            .args(before)
            .arg(program)
            .args(["--root", &self.state_root()])
            .args(args)
            .env("PATH", PATH);
        (child, stem)
    }

    /// Starts a call of the runtime.
    pub fn start(&self, args: &[&str]) -> Pending {
        self.start_as(&[], &binary().display().to_string(), args)
    }

    /// Starts a call of the runtime by another file of it, below other programs.
    pub fn start_as(&self, before: &[&str], program: &str, args: &[&str]) -> Pending {
        let (child, stem) = self.child(before, program, args);
        let mut started = self.started.lock().expect("no test panics here");
        let running = child.start();
        started.insert(running.id());
        Pending {
            running,
            shown: args.join(" "),
            stem,
        }
    }

    /// Waits for the ended processes that a killed runtime has left to this one, where it is the
    /// first of its namespace: a container cannot end before all of its own are waited for.
    pub fn reap_orphans(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let started = self.started.lock().expect("no test panics here");
        while let Ok(ended) = waitid(Id::All, flags | WaitPidFlag::WNOWAIT) {
            let Some(pid) = ended.pid() else { return };
            let known = u32::try_from(pid.as_raw()).is_ok_and(|pid| started.contains(&pid));
            if known || waitid(Id::Pid(pid), flags).is_err() {
                return;
            }
        }
    }

    /// Calls the runtime and waits for its end.
    pub fn call(&self, args: &[&str]) -> Called {
        self.start(args).wait()
    }

    /// Calls the runtime below other programs, such as a shell.
    pub fn call_below(&self, before: &[&str], args: &[&str]) -> Called {
        self.start_as(before, &binary().display().to_string(), args)
            .wait()
    }

    /// Runs a container to its end.
    pub fn run(&self, id: &str, spec: &Value) -> Called {
        let bundle = self.bundle(id, spec);
        self.call(&["run", "--bundle", &bundle, id])
    }

    /// Creates a container.
    pub fn create(&self, id: &str, spec: &Value) -> Called {
        let bundle = self.bundle(id, spec);
        self.call(&["create", "--bundle", &bundle, id])
    }

    /// A container that sleeps, with changes to its configuration.
    pub fn sleeper(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut spec = self.spec(id, &["sleep", "1000"]);
        change(&mut spec);
        self.create(id, &spec).expect(0);
        self.call(&["start", id]).expect(0);
    }

    /// Runs a shell line in a container to its end and gives what it printed.
    #[track_caller]
    pub fn tells(&self, id: &str, line: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut spec = self.spec(id, &["sh", "-c", line]);
        change(&mut spec);
        self.run(id, &spec).expect(0).stdout()
    }

    /// What `state` says of a container.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        let told = self.call(&["state", id]).expect(0).stdout();
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    }

    /// Waits until a container is in this state.
    #[track_caller]
    pub fn reaches(&self, id: &str, status: &str) {
        eventually(PATIENCE, || match self.state(id) {
            state if state["status"] == status => Ok(()),
            state => Err(format!("{id} is {state}")),
        });
    }

    /// Kills a container and deletes it.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        let mut deleting = self.start(&["delete", "--force", id]);
        // Its processes may be this one's to wait for meanwhile.
        while deleting.running().status(LOOK).is_none() {
            self.reap_orphans();
        }
        deleting.wait().expect(0);
    }

    /// Whatever there is of containers now, each as a line.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for parent in self.groups() {
            below(&parent, &mut left);
        }
        for entry in fs::read_dir(self.state_root())
            .into_iter()
            .flatten()
            .flatten()
        {
            left.push(format!("state {}", entry.path().display()));
        }
        let mark = self.scratch.path().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&mark) {
                left.push(format!("process {}: {line}", entry.path().display()));
            }
        }
        left
    }

    /// Fails unless nothing is left, and takes the yard away.
    #[track_caller]
    pub fn ends_clean(self) {
        eventually(Duration::from_secs(20), || {
            self.reap_orphans();
            match self.left() {
                left if left.is_empty() => Ok(()),
                left => Err(format!("containers leave\n{}", left.join("\n"))),
            }
        });
        for parent in self.groups() {
            remove_group(&parent);
        }
        eventually(PATIENCE, || {
            self.reap_orphans();
            match self.before.new_since() {
                new if new.is_empty() => Ok(()),
                new => Err(format!("things stay behind:\n{}", new.join("\n"))),
            }
        });
    }
}

impl Drop for Yard {
    /// A test that has failed takes its containers away all the same.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.state_root())
            .into_iter()
            .flatten()
            .flatten()
        {
            let id = entry.file_name().to_string_lossy().into_owned();
            let ended = self.call(&["delete", "--force", &id]);
            eprintln!("cleared away: {ended:?}");
        }
        for parent in self.groups() {
            for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
                // Files of the kernel's cannot be removed, and need not be.
                fs::remove_dir(entry.path()).ok();
            }
            if let Err(error) = fs::remove_dir(&parent) {
                eprintln!("{} stays behind: {error}", parent.display());
            }
        }
    }
}

/// The groups below `parent`, and the processes in them.
fn below(parent: &Path, left: &mut Vec<String>) {
    let procs = fs::read_to_string(parent.join("cgroup.procs")).unwrap_or_default();
    left.extend(
        procs
            .lines()
            .map(|pid| format!("process {pid} in {}", parent.display())),
    );
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            left.push(format!("cgroup {}", entry.path().display()));
            below(&entry.path(), left);
        }
    }
}

/// A call that has not ended.
pub struct Pending {
    running: Running,
    shown: String,
    stem: String,
}

impl Pending {
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    #[track_caller]
    pub fn wait(mut self) -> Called {
        let ended = self.running.wait(PATIENCE);
        let code = ended.map(|ended| ended.status.code());
        let called = Called {
            shown: self.shown,
            code: code.flatten(),
            stem: self.stem,
        };
        assert!(code.is_some(), "it does not end: {called}");
        called
    }
}

impl Called {
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    fn file(&self, end: &str) -> String {
        let bytes = fs::read(format!("{}.{end}", self.stem)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it, and a container that it made, has printed by now.
    pub fn stdout(&self) -> String {
        self.file("out")
    }

    pub fn stderr(&self) -> String {
        self.file("err")
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Called {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails unless it ended with `code` and complained with these words.
    #[track_caller]
    pub fn fails(self, code: i32, words: &str) -> Called {
        let called = self.expect(code);
        assert!(called.stderr().contains(words), "no {words:?} in {called}");
        called
    }

    #[track_caller]
    pub fn prints(self, expected: &str) -> Called {
        let called = self.expect(0);
        assert_eq!(called.stdout(), expected, "{called}");
        called
    }
}

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "buntime {}: {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.code,
            self.stdout(),
            self.stderr()
        )
    }
}

/// A line of /proc/self/status as a container printed it.
#[track_caller]
pub fn status<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}
