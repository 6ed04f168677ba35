//! Everything that this process has brought into being, whoever made it: while it adopts orphans,
//! nothing of a run can be alive once it has no child any more.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// When something that lives on is given up. The test has failed long before.
pub const GIVEN_UP: Duration = Duration::from_secs(15);

/// When the last process of a run had ended, counted from the kill.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// The beginning of the last look that found something alive.
    pub alive: Duration,
    /// The end of the look that found nothing.
    pub gone: Duration,
}

/// Orphans come to this process while it exists.
pub struct Descendants(());

impl Descendants {
    /// Adopts from now on. There must be no child yet.
    pub fn adopt() -> Descendants {
        nix::sys::prctl::set_child_subreaper(true).expect("orphans can be adopted");
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        let found = waitpid(None, Some(flags));
        let descendants = Descendants(());
        assert_eq!(
            found,
            Err(Errno::ECHILD),
            "a child of an earlier test: {:?}",
            descendants.described()
        );
        descendants
    }

    /// Waits until none is alive; `since` is the moment of the kill. Whoever was started must have
    /// been waited for before.
    pub fn end(&self, since: Instant) -> Ending {
        let mut alive = Duration::ZERO;
        loop {
            let looked = since.elapsed();
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            match waitpid(None, Some(flags)) {
                Err(Errno::ECHILD) => break,
                Err(error) => panic!("waiting for orphans: {error}"),
                Ok(WaitStatus::StillAlive) => {
                    alive = looked;
                    assert!(
                        looked < GIVEN_UP,
                        "something lives on: {:?}",
                        self.described()
                    );
                    std::thread::sleep(Duration::from_micros(100));
                }
                Ok(_) => {}
            }
        }
        Ending {
            alive,
            gone: since.elapsed(),
        }
    }

    /// What is known of each that is alive, for a failure's text.
    pub fn described(&self) -> Vec<String> {
        family().into_iter().map(|(_, status)| status).collect()
    }
}

/// The children of this process and their children: pids, and the beginning of their status.
fn family() -> Vec<(Pid, String)> {
    let mut known = vec![std::process::id().to_string()];
    let mut found = Vec::new();
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<(String, String)> = folders
        .filter_map(|entry| {
            let pid = entry.file_name().into_string().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            Some((pid, status))
        })
        .collect();
    // Every round finds a child of those that are known.
    while let Some(at) = all.iter().position(|(_, status)| {
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        parent.is_some_and(|parent| known.iter().any(|pid| pid == parent))
    }) {
        let (pid, status) = all.swap_remove(at);
        let lines: Vec<&str> = status.lines().take(9).collect();
        let number = pid.parse().expect("a folder with a status is a process");
        found.push((Pid::from_raw(number), lines.join(", ")));
        known.push(pid);
    }
    found
}

impl Drop for Descendants {
    fn drop(&mut self) {
        // A test that has failed does not leave running what it has found alive.
        if std::thread::panicking() {
            for (pid, status) in family() {
                if let Err(error) = kill(pid, Signal::SIGKILL) {
                    eprintln!("ending {status}: {error}");
                }
            }
        }
        if let Err(error) = nix::sys::prctl::set_child_subreaper(false) {
            eprintln!("this process goes on adopting orphans: {error}");
        }
    }
}
