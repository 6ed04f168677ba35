//! Signals held back for a short while, and one that interrupts.

use std::io;

/// Signals that a person or a service manager sends to end or to steer a program.
const HELD: [i32; 7] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
];

/// While this lives, the calling thread gets none of the signals that end or steer
/// a program; they wait and are delivered afterwards.
#[derive(Debug)]
pub struct HeldSignals {
    before: libc::sigset_t,
}

impl HeldSignals {
    /// Holds the signals back from now on.
    ///
    /// # Errors
    /// None that pthread_sigmask(3) names for these arguments.
    pub fn hold() -> io::Result<Self> {
        let mut held = empty_set()?;
        for signal in HELD {
            // SAFETY: `held` is an initialised signal set on our stack, and every
            // member of HELD is a valid signal number.
            check(unsafe { libc::sigaddset(&raw mut held, signal) })?;
        }
        let mut before = empty_set()?;
        // SAFETY: both pointers are to initialised sets that outlive the call, which
        // writes the second and keeps neither.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held, &raw mut before) } {
            0 => Ok(Self { before }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was written by pthread_sigmask in `hold`; a null third
        // argument asks for nothing back. SIG_SETMASK with a valid set cannot fail.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            );
        }
    }
}

/// Sent to a process that called [`let_itself_be_interrupted`].
pub const INTERRUPT: i32 = libc::SIGUSR1;

extern "C" fn nothing(_: libc::c_int) {}

/// From now on [`INTERRUPT`] lets a call of this thread that waits fail with EINTR, and does nothing
/// else.
///
/// # Errors
/// None that sigaction(2) and pthread_sigmask(3) name for these arguments.
pub fn let_itself_be_interrupted() -> io::Result<()> {
    let mut set = empty_set()?;
    // SAFETY: the action is initialised, its handler calls nothing, and the set is initialised and
    // given a valid signal; the kernel keeps no pointer.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        check(libc::sigaction(
            INTERRUPT,
            &raw const action,
            std::ptr::null_mut(),
        ))?;
        check(libc::sigaddset(&raw mut set, INTERRUPT))?;
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn empty_set() -> io::Result<libc::sigset_t> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset writes the whole set behind the pointer, which is valid
    // for that; only then is it assumed to be initialised.
    unsafe {
        check(libc::sigemptyset(set.as_mut_ptr()))?;
        Ok(set.assume_init())
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_signal_waits_until_it_is_let_go() {
        let pending = || {
            let mut set = empty_set().unwrap();
            // SAFETY: the set is initialised and outlives both calls.
            unsafe {
                libc::sigpending(&raw mut set);
                libc::sigismember(&raw const set, libc::SIGUSR2) == 1
            }
        };
        // SAFETY: ignoring a signal runs no handler of ours.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
        let held = HeldSignals::hold().unwrap();
        // SAFETY: pthread_kill to the calling thread, which exists.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
        assert!(pending());
        // SAFETY: as above; an ignored pending signal is discarded (signal(7)).
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        assert!(!pending());
        drop(held);
    }
}
