//! Code in a forked child of its own, bounded in time: what it does to itself cannot be undone, and
//! whatever it leaves running ends with it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{clone, process};

/// The most bytes that a child may tell: well below what a pipe holds without a reader.
const LONGEST: u64 = 32 * 1024;

/// What became of the child.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it told.
    Told(Vec<u8>),
    /// A signal ended it before it could tell.
    Killed(i32),
    /// It ended with this status and told nothing.
    Mute(i32),
    /// Its time was over, and it was killed.
    Late,
}

/// Runs `body` in a forked child, for at most `patience`, and gives what it returned. All processes
/// that `body` starts and that stay in their process group end with it.
///
/// # Errors
/// `EBUSY` when this process has more than one thread, and what fork(2) and pipe(2) say.
pub fn run(patience: Duration, body: impl FnOnce() -> Vec<u8>) -> io::Result<Fate> {
    if clone::thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let (mut reading, writing) = io::pipe()?;
    let supervisor = rustix::process::getpid();
    let pid = clone::fork()?;
    if pid == 0 {
        drop(reading);
        clone::exit_now(live(supervisor, writing, body));
    }
    drop(writing);
    let told = hear(&mut reading, Instant::now() + patience);
    // The child makes its group before it does anything else, so that no group means no process
    // but itself, which is not waited for yet: nobody else can have its number.
    let ended = process::kill(-pid, libc::SIGKILL).or_else(|_| process::kill(pid, libc::SIGKILL));
    let status = process::wait_for(pid)?;
    ended?;
    Ok(match told? {
        Some(bytes) => Fate::Told(bytes),
        None if libc::WIFEXITED(status) => Fate::Mute(libc::WEXITSTATUS(status)),
        // It is our own signal where nothing was heard in time.
        None if libc::WTERMSIG(status) == libc::SIGKILL => Fate::Late,
        None => Fate::Killed(libc::WTERMSIG(status)),
    })
}

/// The child's life; gives its exit status.
fn live(
    supervisor: rustix::process::Pid,
    mut writing: io::PipeWriter,
    body: impl FnOnce() -> Vec<u8>,
) -> i32 {
    let grouped = rustix::process::setpgid(None, None).is_ok();
    if !grouped || !dies_with(supervisor) {
        return 1;
    }
    let Ok(told) = catch_unwind(AssertUnwindSafe(body)) else {
        return 2;
    };
    let length = (told.len() as u64).to_ne_bytes();
    let written = writing
        .write_all(&length)
        .and_then(|()| writing.write_all(&told));
    i32::from(written.is_err())
}

/// Has the calling process end with its parent, which was `parent`; false when that has ended already.
#[must_use]
pub fn dies_with(parent: rustix::process::Pid) -> bool {
    process::set_parent_death_signal(libc::SIGKILL).is_ok()
        && rustix::process::getppid() == Some(parent)
}

/// What the child says until `end`; nothing when it ends or stays silent. Its own descendants may
/// hold the pipe open, so its length comes first.
fn hear(reading: &mut io::PipeReader, end: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut heard = Vec::new();
    loop {
        if let Some((length, rest)) = heard.split_first_chunk() {
            let length = u64::from_ne_bytes(*length);
            if length > LONGEST {
                return Ok(None);
            }
            if rest.len() as u64 >= length {
                return Ok(Some(rest.to_vec()));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let fd = reading.as_fd();
        let mut asked = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut asked, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(None),
            Ok(_) => {}
        }
        let mut space = [0; 512];
        match reading.read(&mut space)? {
            0 => return Ok(None),
            count => heard.extend_from_slice(&space[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::forked;

    #[test]
    fn a_child_tells_ends_is_killed_or_is_late() {
        let seen = forked::ask(|| {
            let told = run(Duration::from_secs(60), || b"42".to_vec());
            let mute = run(Duration::from_secs(60), || clone::exit_now(7));
            let killed = run(Duration::from_secs(60), || {
                process::kill(std::process::id() as i32, libc::SIGTERM).expect("it can");
                std::thread::sleep(Duration::from_secs(60));
                Vec::new()
            });
            let late = run(Duration::from_millis(50), || {
                std::thread::sleep(Duration::from_secs(60));
                Vec::new()
            });
            format!("{told:?} {mute:?} {killed:?} {late:?}")
        });
        assert_eq!(
            seen,
            "Ok(Told([52, 50])) Ok(Mute(7)) Ok(Killed(15)) Ok(Late)"
        );
    }

    #[test]
    fn what_a_child_started_ends_with_it() {
        let seen = forked::ask(|| {
            let fate = run(Duration::from_secs(60), || {
                match clone::fork().expect("a child can be made") {
                    0 => loop {
                        std::thread::sleep(Duration::from_secs(60));
                    },
                    pid => pid.to_string().into_bytes(),
                }
            });
            let Ok(Fate::Told(pid)) = fate else {
                return format!("{fate:?}");
            };
            let pid = String::from_utf8_lossy(&pid).into_owned();
            // Whoever adopts it may be slow to wait for it; a process that has ended has no memory.
            let runs = || {
                std::fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|status| status.contains("VmRSS"))
            };
            let end = Instant::now() + Duration::from_secs(60);
            while runs() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            format!("runs: {}", runs())
        });
        assert_eq!(seen, "runs: false");
    }
}
