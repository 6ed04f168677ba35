//! ptrace(2), as far as an execution is to be looked at before its first instruction.

use std::io;

use nix::sys::ptrace;
use nix::unistd::Pid;

/// What a traced thread has stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It has executed a program, and none of its instructions.
    Executed,
    /// It was asked to stop, or its whole process was.
    Asked,
    /// This signal is about to reach it.
    Signal(i32),
}

/// What the status of a stopped thread, as waitpid(2) gives it, means; `None` for an end.
#[must_use]
pub fn stop_of(status: i32) -> Option<Stop> {
    if !libc::WIFSTOPPED(status) {
        return None;
    }
    Some(match status >> 16 {
        libc::PTRACE_EVENT_EXEC => Stop::Executed,
        libc::PTRACE_EVENT_STOP => Stop::Asked,
        _ => Stop::Signal(libc::WSTOPSIG(status)),
    })
}

/// Follows a thread, which goes on, to its next execution. It ends when this process does.
///
/// # Errors
/// `EPERM` where somebody else follows it, or it may not be followed; `ESRCH` when it is gone.
pub fn seize(thread: u32) -> io::Result<()> {
    let options = ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_EXITKILL;
    Ok(ptrace::seize(of(thread), options)?)
}

/// Has it stop when its call is over.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn interrupt(thread: u32) -> io::Result<()> {
    Ok(ptrace::interrupt(of(thread))?)
}

/// Lets a stopped thread go on, and follows it no more.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn let_go(thread: u32) -> io::Result<()> {
    Ok(ptrace::detach(of(thread), None)?)
}

/// Lets a stopped thread go on with this signal, and follows it further.
///
/// # Errors
/// `ESRCH` when it is gone, `EIO` for what is no signal.
pub fn go_on(thread: u32, signal: i32) -> io::Result<()> {
    // By its number: real-time signals have no other name.
    // SAFETY: PTRACE_CONT takes no address, and a number of a signal in the place of data.
    let done = unsafe {
        libc::ptrace(
            libc::PTRACE_CONT,
            of(thread).as_raw(),
            std::ptr::null_mut::<libc::c_void>(),
            signal as libc::c_long,
        )
    };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The number that a thread had before it executed a program.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn former_thread(thread: u32) -> io::Result<u32> {
    let former = ptrace::getevent(of(thread))?;
    u32::try_from(former).map_err(io::Error::other)
}

fn of(thread: u32) -> Pid {
    Pid::from_raw(thread as i32)
}
