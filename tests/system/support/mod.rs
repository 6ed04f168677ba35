//! What the whole-system tests stand on: children with a deadline, another user,
//! scratch folders, and counts of what a run could leave behind.

#![allow(dead_code)]

pub mod chance;
pub mod child;
pub mod descendants;
pub mod elf;
pub mod leftovers;
pub mod tracer;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use child::{Child, Finished};

/// The ordinary user that the tests act as. No account of that number is needed.
pub const USER: u32 = 1000;

/// Debian's interpreter. Another one on the PATH may live where only root can look.
pub const PYTHON: &str = "/usr/bin/python3";

/// The PATH of a fresh Debian: no interpreter out of a person's home.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long anything may take that should take milliseconds: long enough for a
/// machine that does something else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary that is tested: the one that `BUNTIME_BINARY` names, as the release build, or
/// the one that was built with the tests.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_buntime"));
        std::env::var_os("BUNTIME_BINARY").map_or_else(built, PathBuf::from)
    });
    &BINARY
}

/// A command that starts the built binary, with Debian's interpreter first on the PATH.
pub fn buntime<const N: usize>(args: [&str; N]) -> Child {
    Child::new(binary()).args(args).clean_path()
}

/// Says whether the test can act as root. Where it cannot, the test fails in CI and
/// tells its reason elsewhere.
pub fn is_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{test} needs root, and CI must run it"
    );
    eprintln!("{test}: not tested, because it needs root");
    false
}

/// Held while a test uses what the whole host shares. Tests hold it one after another,
/// whatever program runs them, with threads or with processes.
pub struct Alone(#[expect(dead_code, reason = "closing it gives the lock back")] fs::File);

/// Waits until no other test of this suite runs.
pub fn alone() -> Alone {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alone.lock");
    let file = fs::File::create(path).expect("the lock file can be made");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("the lock is taken");
    Alone(file)
}

/// Where folders of tests stand: not below /tmp, of which a program has one of its own, even
/// where the build does.
pub fn outside_of_tmp() -> &'static Path {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if built.starts_with("/tmp") {
        Path::new("/var/tmp")
    } else {
        built
    }
}

/// A folder below /tmp that everybody may read, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder. Its name does not look like one of Buntime's own.
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/test-{}-{number}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).expect("an old scratch folder can be removed");
        }
        fs::create_dir(&path).expect("a scratch folder can be made");
        open_to_all(&path);
        Scratch(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of an entry, as text.
    pub fn entry(&self, name: &str) -> String {
        self.0
            .join(name)
            .to_str()
            .expect("scratch paths are text")
            .to_owned()
    }

    /// Writes a file that everybody may read, and returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder below a scratch folder can be made");
        }
        fs::write(&path, content).expect("a scratch file can be written");
        open_to_all(&path);
        self.entry(name)
    }

    /// A folder that belongs to [`USER`], as a home would.
    pub fn home(&self) -> String {
        let home = self.0.join("home");
        fs::create_dir_all(&home).expect("a home can be made");
        if rustix::process::geteuid().is_root() {
            chown(&home, Some(USER), Some(USER)).expect("the home can be given away");
        }
        self.entry("home")
    }

    /// A copy of the binary that [`USER`] can reach, wherever the build folder is.
    pub fn binary(&self) -> String {
        let path = self.0.join("buntime");
        if !path.exists() {
            fs::copy(binary(), &path).expect("the binary can be copied");
            open_to_all(&path);
        }
        self.entry("buntime")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
}

/// Whether a process runs. One that has ended stays in /proc until whoever is its parent by now
/// waits for it, which may be the machine's first process and may take its time.
pub fn lives(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name before the state is in parentheses, and may have some of its own.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with(['Z', 'X'])
}

/// Removes a control group that nobody is in. The kernel takes what has ended out of its group in its
/// own time, later than the end can be seen.
#[track_caller]
pub fn remove_group(path: &Path) {
    eventually(PATIENCE, || {
        fs::remove_dir(path).map_err(|error| format!("{}: {error}", path.display()))
    });
}

/// The events of a log. The last line may just be written.
pub fn recorded(log: &str) -> Vec<serde_json::Value> {
    let text = eventually(PATIENCE, || {
        let text = fs::read_to_string(log).expect("there is a log");
        match text.is_empty() || text.ends_with('\n') {
            true => Ok(text),
            false => Err(text),
        }
    });
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// Asks again and again until the answer is `Ok`, and fails with the last `Err` after
/// the deadline. Much of what the kernel takes down, it takes down later.
#[track_caller]
pub fn eventually<T>(deadline: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = std::time::Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) if start.elapsed() > deadline => panic!("not within {deadline:?}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
