//! For tests: code that must not run in the test's own process, because what it does to itself
//! cannot be undone, and system calls made as an attacker makes them.
#![allow(unsafe_code)]

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a forked child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
}

/// The exit status of a child whose closure panicked.
pub const PANICKED: i32 = 101;

/// Runs `body` in a forked child, which exits with what it returns.
pub fn run(body: impl FnOnce() -> i32) -> Ended {
    Child::start(body).wait()
}

/// Runs `body` in a forked child and gives what it returns, whole. A panic there fails the test
/// here, with its message.
pub fn ask(body: impl FnOnce() -> String) -> String {
    let (mut reading, mut writing) = io::pipe().expect("a pipe can be made");
    let child = Child::start(move || {
        let (status, text) = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(text) => (0, text),
            Err(panic) => (PANICKED, message(panic.as_ref())),
        };
        // With its length: processes that the body leaves behind hold the pipe open too.
        let length = (text.len() as u64).to_ne_bytes();
        let told = writing
            .write_all(&length)
            .and_then(|()| writing.write_all(text.as_bytes()));
        told.map_or(PANICKED, |()| status)
    });
    let mut length = [0; 8];
    let mut text = Vec::new();
    let told = reading.read_exact(&mut length).and_then(|()| {
        reading
            .take(u64::from_ne_bytes(length))
            .read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text).into_owned();
    let ended = child.wait();
    assert_eq!(
        ended,
        Ended::Exited(0),
        "the forked child failed ({told:?}): {text}"
    );
    text
}

/// What a panic said.
pub fn message(panic: &dyn Any) -> String {
    match panic.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

/// A forked child that has not been waited for.
pub struct Child(
    /// Its pid.
    pub i32,
);

impl Child {
    /// Forks; the child runs `body` and exits with what it returns.
    pub fn start(body: impl FnOnce() -> i32) -> Child {
        // SAFETY: the child is a copy of the test's thread alone. glibc's fork leaves its
        // allocator usable there, and nothing else of another thread's is used by these tests.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", io::Error::last_os_error()),
            0 => {
                let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
                // SAFETY: _exit takes an integer and ends the copy without its exit handlers.
                unsafe { libc::_exit(status) }
            }
            pid => Child(pid),
        }
    }

    /// Waits for the end.
    pub fn wait(self) -> Ended {
        let mut status = 0;
        loop {
            // SAFETY: `status` outlives the call.
            let answer = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
            if answer == self.0 {
                break;
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "waitpid: {error}");
        }
        if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// Makes a system call by its number, and gives its value or its errno. For a forked child only:
/// pointers are integers here, and tests pass 0 or the address of something that is alive.
pub fn attempt(number: u64, arguments: [u64; 6]) -> Result<u64, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel answers EFAULT for a pointer that leads nowhere; where a test passes an
    // address, it is of a static or a local that outlives the call. The child exits soon.
    let answer = unsafe { libc::syscall(number.cast_signed(), a, b, c, d, e, f) };
    if answer == -1 {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(answer.cast_unsigned())
    }
}

/// Enters the kernel by the 32-bit door: getpid there has number 20.
#[cfg(target_arch = "x86_64")]
pub fn int80_getpid() -> i64 {
    let answer: i64;
    // SAFETY: the interrupt takes the number in eax and clobbers only rax and, on old kernels,
    // r8 to r11; getpid reads and writes no memory.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_i64 => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}
