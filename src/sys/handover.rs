//! Installing a filter whose listener is handed over by a thread that the filter does not hold.
//!
//! From the moment that a thread has a filter with a listener, any call of that thread may wait
//! for an answer from the listener's owner, and the listener itself is a descriptor of that very
//! thread. A second thread, made before, keeps the calls that it had and sees the same
//! descriptors. Between installing and the end of the handing over the filtered thread makes no
//! system call at all.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// How often the second thread looks whether the filter has been installed.
const LOOK: Duration = Duration::from_micros(50);

/// In `listener`: not known yet. No descriptor and no errno is negative.
const PENDING: i32 = -1;
/// In `listener`: there will be none.
const NONE: i32 = -2;

/// What the two threads tell each other, without a lock: waiting for one is a system call.
struct Cell {
    listener: AtomicI32,
    /// 0, or the errno of what failed.
    handed: AtomicI32,
}

/// Reports the end of the second thread, also when it panics.
struct Told(Arc<Cell>, i32);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.handed.store(self.1, Ordering::Release);
    }
}

/// Calls `install`, which puts a filter on the calling thread, and gives the listener that comes
/// of it to `hand_over`, which runs in a second thread and outside of the filter. Returns when
/// that has returned; its answer is the inner one. When it failed, the filter is there, and its
/// listener is lost.
///
/// # Errors
/// No second thread may be made, or `install` failed: then `hand_over` is not called.
pub fn hand_over(
    install: impl FnOnce() -> io::Result<Option<OwnedFd>>,
    hand_over: impl FnOnce(OwnedFd) -> io::Result<()> + Send + 'static,
) -> io::Result<io::Result<()>> {
    let cell = Arc::new(Cell {
        listener: AtomicI32::new(PENDING),
        handed: AtomicI32::new(PENDING),
    });
    let other = Arc::clone(&cell);
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || wait_and_hand_over(other, hand_over))?;
    let installed = install();
    let listener = match installed {
        Ok(Some(listener)) => listener.into_raw_fd(),
        without => {
            cell.listener.store(NONE, Ordering::Release);
            return without.map(|_| Ok(()));
        }
    };
    cell.listener.store(listener, Ordering::Release);
    let handed = loop {
        match cell.handed.load(Ordering::Acquire) {
            // Sleeping would be a system call.
            PENDING => std::hint::spin_loop(),
            handed => break handed,
        }
    };
    // Freeing memory may be one too.
    std::mem::forget(cell);
    Ok(match handed {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    })
}

fn wait_and_hand_over(cell: Arc<Cell>, hand_over: impl FnOnce(OwnedFd) -> io::Result<()>) {
    let mut told = Told(Arc::clone(&cell), libc::EIO);
    let listener = loop {
        match cell.listener.load(Ordering::Acquire) {
            PENDING => std::thread::sleep(LOOK),
            listener => break listener,
        }
    };
    if listener < 0 {
        return;
    }
    // SAFETY: the first thread has given up its ownership of this open descriptor by
    // `into_raw_fd`, and stored it once.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    told.1 = match hand_over(listener) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
}
