//! The first process of the sandbox: it reaps, answers exec notifications, forwards signals and
//! tells how the program ended. It ends with the supervisor, and everything inside ends with it.
//!
//! Its memory was the supervisor's before the clone, so it is not dumpable and shares nothing.
//! What it reads of the worker (a path) is copied, cut, recorded, and asked for only to tell a
//! program that is not there from one that may not run.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::bare::Census;
use super::notice::{self, Notice};
use crate::sys::seccomp::{self, Answer};
use crate::sys::{clone, process, socket};

/// Lives init's life for the program `program`; returns never.
pub(super) fn live(
    notices: &OwnedFd,
    listener: Option<OwnedFd>,
    from_program: &OwnedFd,
    program: i32,
    mut census: Option<Census>,
) -> ! {
    let result = process::child_signals().and_then(|children| {
        if process::set_name(c"buntime-init").is_err() {
            clone::exit_now(1);
        }
        let mut kept: Vec<i32> = vec![
            notices.as_raw_fd(),
            children.as_raw_fd(),
            from_program.as_raw_fd(),
        ];
        kept.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
        close_all_but(&kept)?;
        if let Some(listener) = &listener {
            // It saves time only, so a kernel that cannot is as good.
            seccomp::wake_in_place(listener.as_fd());
        }
        watch(
            notices.as_fd(),
            listener.as_ref(),
            children.as_fd(),
            program,
            census.as_mut(),
        )
    });
    clone::exit_now(i32::from(result.is_err()))
}

fn close_all_but(kept: &[i32]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 0;
    for descriptor in kept {
        process::close_range(first, descriptor - 1)?;
        first = descriptor + 1;
    }
    process::close_range(first, i32::MAX)
}

fn watch(
    notices: BorrowedFd<'_>,
    listener: Option<&OwnedFd>,
    children: BorrowedFd<'_>,
    program: i32,
    mut census: Option<&mut Census>,
) -> io::Result<()> {
    let mut started = false;
    let mut listening = listener;
    loop {
        let mut polled = vec![
            PollFd::from_borrowed_fd(notices, PollFlags::IN),
            PollFd::from_borrowed_fd(children, PollFlags::IN),
        ];
        polled.extend(listening.map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        if let (Some(fd), Some(flags)) = (listening, ready.get(2)) {
            if flags.contains(PollFlags::IN) {
                let counted = census.as_deref_mut().map(|census| (census, program));
                answer_call(fd.as_fd(), notices, &mut started, counted)?;
            } else if !flags.is_empty() {
                // No process has the filter any more.
                listening = None;
            }
        }
        if !ready[0].is_empty() && !forward_signal(notices, program)? {
            return Ok(());
        }
        if !ready[1].is_empty() && reap(notices, children, program)? {
            return Ok(());
        }
    }
}

/// Without namespaces a thread that is to be made is counted. All other calls are of execve: the
/// first is the launch's own execve, made by a process with one thread whose memory is
/// ours: to let it go on is sound. Every later one is the worker's, and is refused.
fn answer_call(
    listener: BorrowedFd<'_>,
    notices: BorrowedFd<'_>,
    started: &mut bool,
    counted: Option<(&mut Census, i32)>,
) -> io::Result<()> {
    let call = match seccomp::receive(listener) {
        Ok(call) => call,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if i64::from(call.number) == libc::SYS_clone {
        let Some((census, program)) = counted else {
            return gone_is_fine(seccomp::answer(
                listener,
                call.id,
                Answer::Errno(libc::EPERM),
            ));
        };
        let before = census.is_reached();
        let judged = census.judge(program, call.pid);
        gone_is_fine(seccomp::answer(listener, call.id, judged))?;
        if census.is_reached() && !before {
            notice::send(notices, &Notice::PidsReached, &[])?;
        }
        return Ok(());
    }
    if !*started {
        *started = true;
        return gone_is_fine(seccomp::answer(listener, call.id, Answer::Continue));
    }
    let at = i64::from(call.number) == libc::SYS_execveat;
    let pointer = call.arguments[usize::from(at)];
    let from_cwd = !at || call.arguments[0] as i32 == libc::AT_FDCWD;
    // A process that took over the number meanwhile is not the caller.
    let path = read_path(call.pid, pointer)
        .map(|path| {
            if from_cwd {
                absolute(call.pid, path)
            } else {
                path
            }
        })
        .filter(|_| seccomp::still_waits(listener, call.id))
        .unwrap_or_else(|| b"?".to_vec());
    let missing = is_missing(&path);
    let path = String::from_utf8_lossy(&path).into_owned();
    let answer = if missing { libc::ENOENT } else { libc::EACCES };
    gone_is_fine(seccomp::answer(listener, call.id, Answer::Errno(answer)))?;
    let denied = Notice::ExecDenied {
        path,
        pid: call.pid,
        missing,
    };
    notice::send(notices, &denied, &[])
}

/// Whether nothing is there. A search along `PATH` goes by that, and so do programs that can do
/// without another one. Nothing runs either way, so a path that changes meanwhile gains nothing.
/// Only the root itself is looked at, which is in memory: on what is mounted below it init would
/// wait for somebody's file system, or be asked of its own /proc.
fn is_missing(path: &[u8]) -> bool {
    if path.len() >= LONGEST_PATH || !path.starts_with(b"/") {
        return false;
    }
    let found = rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    );
    matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
}

/// A relative path with the caller's directory before it, which it may have left meanwhile.
fn absolute(pid: u32, path: Vec<u8>) -> Vec<u8> {
    if path.is_empty() || path.starts_with(b"/") {
        return path;
    }
    match rustix::fs::readlink(format!("/proc/{pid}/cwd"), Vec::new()) {
        Ok(directory) => [directory.as_bytes(), b"/", &path].concat(),
        Err(_) => path,
    }
}

/// Bytes of a path that are looked at; a longer one is recorded cut.
const LONGEST_PATH: usize = 512;

fn gone_is_fine(answered: io::Result<()>) -> io::Result<()> {
    match answered {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// The path as it stands there now, for the record only.
fn read_path(pid: u32, pointer: u64) -> Option<Vec<u8>> {
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.seek(SeekFrom::Start(pointer)).ok()?;
    let mut bytes = [0; LONGEST_PATH];
    let mut length = 0;
    // Up to the end of the page at least; a read across an unmapped page is cut there.
    while length < bytes.len() && !bytes[..length].contains(&0) {
        let end = bytes.len().min(length + 64);
        match memory.read(&mut bytes[length..end]) {
            Ok(0) | Err(_) => break,
            Ok(count) => length += count,
        }
    }
    let path = bytes[..length].split(|byte| *byte == 0).next()?;
    Some(path.to_vec())
}

/// Returns false when the supervisor is gone.
fn forward_signal(notices: BorrowedFd<'_>, program: i32) -> io::Result<bool> {
    let (record, _) = match socket::receive_record(notices) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(false),
        other => other?,
    };
    match record.first() {
        None => Ok(false),
        Some(signal) => {
            // The whole group first; a program that left it is reached by its pid.
            let signal = i32::from(*signal);
            match process::kill(-program, signal).or_else(|_| process::kill(program, signal)) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
                _ => Ok(true),
            }
        }
    }
}

/// Reaps what ended; returns true when the program did.
fn reap(notices: BorrowedFd<'_>, children: BorrowedFd<'_>, program: i32) -> io::Result<bool> {
    let mut information = [0_u8; 128];
    match rustix::io::read(children, &mut information) {
        Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    while let Some(reaped) = process::reap()? {
        if reaped.pid != program {
            continue;
        }
        let usage = process::children_usage();
        let exit = Notice::Exit {
            code: libc::WIFEXITED(reaped.status).then(|| libc::WEXITSTATUS(reaped.status)),
            signal: libc::WIFSIGNALED(reaped.status).then(|| libc::WTERMSIG(reaped.status)),
            user_us: usage.user_us,
            system_us: usage.system_us,
            max_rss_kib: usage.max_rss_kib,
        };
        notice::send(notices, &exit, &[])?;
        return Ok(true);
    }
    Ok(false)
}
