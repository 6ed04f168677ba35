//! What it costs to open and close a file: the median of many, in nanoseconds, on standard output.
//!
//! ```text
//! opens FILE [THREADS] [notified|opened]
//! ```
//!
//! With `notified` each open goes to another process by seccomp user notification, which looks at
//! nothing and lets the kernel go on: the least that any answer from outside costs. With `opened`
//! it copies the path, opens that and hands the descriptor over, whatever it is: the least that an
//! answer costs which the caller cannot change after it. Threads that do this at once share that
//! process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use buntime::sys::seccomp::{self, Answer};
use buntime::sys::{clone, memory, process, socket};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Files opened between two looks at the clock, and how often that is done.
const BATCH: u32 = 100;
const BATCHES: usize = 100;

/// Threads that open for a process: one takes a call while the caller of another takes what it was
/// given.
const OPENING: usize = 2;

/// Bytes of the longest path.
const LONGEST_PATH: usize = libc::PATH_MAX as usize;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, rest @ ..] = &arguments[..] else {
        bail!("usage: opens FILE [THREADS] [notified|opened]");
    };
    let threads: usize = match rest.first() {
        Some(number) => number.parse().context("read the number of threads")?,
        None => 1,
    };
    let file = Path::new(file);
    match rest.get(1).map(String::as_str) {
        None => report(file, threads),
        Some("notified") => supervised(file, threads, let_go_on),
        Some("opened") => supervised(file, threads, open_each),
        Some(other) => bail!("neither `notified` nor `opened`: {other}"),
    }
}

/// Measures in as many threads, and prints the median of all batches.
fn report(file: &Path, threads: usize) -> Result<()> {
    let mut taken = std::thread::scope(|scope| {
        let measuring: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| batches(file)))
            .collect();
        let mut taken = Vec::new();
        for thread in measuring {
            let batches = thread.join().map_err(|_| anyhow::anyhow!("a thread"))?;
            taken.extend(batches?);
        }
        anyhow::Ok(taken)
    })?;
    taken.sort_unstable();
    println!("{}", taken[taken.len() / 2]);
    Ok(())
}

/// Nanoseconds for one open and close, of each batch.
fn batches(file: &Path) -> Result<Vec<u128>> {
    let mut taken = Vec::with_capacity(BATCHES);
    // The first fills the caches.
    for number in 0..=BATCHES {
        let start = Instant::now();
        for _ in 0..BATCH {
            drop(openat(CWD, file, OFlags::RDONLY, Mode::empty())?);
        }
        if number > 0 {
            taken.push(start.elapsed().as_nanos() / u128::from(BATCH));
        }
    }
    Ok(taken)
}

/// Measures here, while a child answers the opens of this process.
fn supervised(file: &Path, threads: usize, answer: fn(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    let (ours, theirs) = socket::record_pair()?;
    if clone::fork()? == 0 {
        let done = supervise(&theirs, answer);
        clone::exit_now(i32::from(done.is_err()));
    }
    hold_opens(&ours)?;
    report(file, threads)
}

/// Has every openat of this process notified from here on.
fn hold_opens(supervisor: &OwnedFd) -> Result<()> {
    let number = u32::try_from(libc::SYS_openat)?;
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, jt, jf, k| -> Result<libc::sock_filter> {
        let code = u16::try_from(code)?;
        Ok(libc::sock_filter { code, jt, jf, k })
    };
    // The first field of `struct seccomp_data` is the number of the call.
    let program = [
        instruction(load, 0, 0, 0)?,
        instruction(jump, 0, 1, number)?,
        instruction(end, 0, 0, libc::SECCOMP_RET_USER_NOTIF)?,
        instruction(end, 0, 0, libc::SECCOMP_RET_ALLOW)?,
    ];
    rustix::thread::set_no_new_privs(true)?;
    let listener = seccomp::add_filter_with_listener(&program)?;
    socket::send_descriptors(supervisor.as_fd(), &[listener.as_fd()])?;
    Ok(())
}

/// Takes the listener and answers, for as long as its parent lives.
fn supervise(supervised: &OwnedFd, answer: fn(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    process::set_parent_death_signal(libc::SIGKILL)?;
    let received = socket::receive_descriptors(supervised.as_fd())?;
    let listener = received.first().context("receive the listener")?.as_fd();
    seccomp::wake_in_place(listener);
    answer(listener)
}

/// Lets every call go on.
fn let_go_on(listener: BorrowedFd<'_>) -> Result<()> {
    loop {
        let call = seccomp::receive(listener)?;
        seccomp::answer(listener, call.id, Answer::Continue)?;
    }
}

/// Opens for reading what each call names.
fn open_each(listener: BorrowedFd<'_>) -> Result<()> {
    let open = || -> Result<()> {
        loop {
            let call = seccomp::receive(listener)?;
            let path = memory::read_text(call.pid, call.arguments[1], LONGEST_PATH)?;
            let file = openat(CWD, path, OFlags::RDONLY, Mode::empty())?;
            seccomp::answer_with_descriptor(listener, call.id, file.as_fd(), true)?;
        }
    };
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..OPENING).map(|_| scope.spawn(open)).collect();
        for thread in opening {
            thread.join().map_err(|_| anyhow::anyhow!("a thread"))??;
        }
        Ok(())
    })
}
