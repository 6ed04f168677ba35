//! System call filters, and calls that wait for an answer: a call that the filter is about is made,
//! and what comes of it looked at. The call makes an event counter, which nothing else needs here.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::Probe;
use super::place::Place;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::clone;
use crate::sys::process;
use crate::sys::seccomp::{
    Answer, WAIT_KILLABLE_RECV, add_filter, answer, answer_with_descriptor, receive, set_filter,
    wake_in_place,
};

/// An errno that the kernel gives for no reason of its own.
const OURS: Errno = Errno::XFULL;

const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;

pub(super) fn probes() -> Vec<Probe> {
    let remedy = |kernel| {
        Remedy::new("seccomp and prctl", kernel).when(
            libc::EBUSY,
            "run outside of the sandbox that already answers system calls of this process",
        )
    };
    let probe = |name, needed_for, kernel, trial: fn(&Place) -> Result<(), Stop>| {
        Probe::new("seccomp", name, needed_for, remedy(kernel), trial)
    };
    vec![
        probe(
            "filter",
            "every launch: dangerous system calls",
            "Linux 3.17 or newer with CONFIG_SECCOMP_FILTER",
            |_| filter(),
        ),
        probe(
            "user notification",
            "rules that are decided live: patterns, warn, ask",
            "Linux 5.0 or newer with CONFIG_SECCOMP_FILTER",
            |_| notified(0, respond, is_ours),
        ),
        probe(
            "a descriptor as the answer (ADDFD with SEND)",
            "the same rules: files are opened for the worker",
            "Linux 5.14 or newer",
            |_| descriptor(),
        ),
        probe(
            "undisturbed wait (WAIT_KILLABLE_RECV)",
            "the same rules, undisturbed by signals",
            "Linux 5.19 or newer",
            |_| notified(WAIT_KILLABLE_RECV, respond, is_ours),
        ),
        probe(
            "wake on the same processor (SYNC_WAKE_UP)",
            "speed of answers alone",
            "Linux 6.6 or newer",
            |_| synchronous(),
        ),
    ]
}

/// Has calls for an event counter answered with `action`, and lets all others pass.
fn about_counters(action: u32) -> [libc::sock_filter; 4] {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        // The number of the call is the first word; this program calls by one architecture only.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_eventfd2 as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn counter() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC)
}

fn prepare() -> Result<(), Stop> {
    // The control: without the filter the call gives a counter.
    counter().map_err(Stop::unprepared("making an event counter"))?;
    process::set_no_new_privs().map_err(Stop::refused("setting no_new_privs"))
}

fn filter() -> Result<(), Stop> {
    prepare()?;
    let ours = OURS.raw_os_error() as u32;
    add_filter(&about_counters(libc::SECCOMP_RET_ERRNO | ours))
        .map_err(Stop::refused("adding a filter"))?;
    is_ours(counter())
}

fn is_ours(result: Result<OwnedFd, Errno>) -> Result<(), Stop> {
    match result {
        Err(OURS) => Ok(()),
        Err(other) => Err(Stop::untried(format!("the call ended otherwise: {other}"))),
        Ok(_) => Err(Stop::NoEffect(
            "the filter was taken, and the call was made".to_owned(),
        )),
    }
}

/// Has a child make the call, answers it, and has the child look at what came of it.
fn notified(
    flags: u32,
    respond: impl FnOnce(&OwnedFd, u64) -> std::io::Result<()>,
    judge: impl FnOnce(Result<OwnedFd, Errno>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    prepare()?;
    let listener = set_filter(
        &about_counters(libc::SECCOMP_RET_USER_NOTIF),
        NEW_LISTENER | flags,
    )
    .map_err(Stop::refused("adding a filter with a listener"))?
    .ok_or_else(|| Stop::NoEffect("the kernel opened no listener".to_owned()))?;
    let (mut told, mut telling) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let pid = clone::fork().map_err(Stop::unprepared("making a process"))?;
    if pid == 0 {
        let told = Stop::told(&judge(counter()));
        clone::exit_now(i32::from(telling.write_all(&told).is_err()));
    }
    drop(telling);
    waits(&listener)?;
    let waiting = receive(listener.as_fd()).map_err(Stop::refused("receiving the call"))?;
    respond(&listener, waiting.id).map_err(Stop::refused("answering the call"))?;
    let mut heard = Vec::new();
    told.read_to_end(&mut heard)
        .map_err(Stop::unprepared("hearing the caller"))?;
    process::wait_for(pid).map_err(Stop::unprepared("waiting for the caller"))?;
    Stop::heard(&heard)
}

/// A kernel without effect would have us wait for a call that was never held.
fn waits(listener: &OwnedFd) -> Result<(), Stop> {
    let patience = Duration::from_secs(2);
    let timeout = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    match poll(&mut asked, Some(&timeout)) {
        Ok(1..) => Ok(()),
        Ok(0) => Err(Stop::NoEffect("no call arrived at the listener".to_owned())),
        Err(error) => Err(Stop::unprepared("waiting for the call")(error)),
    }
}

fn descriptor() -> Result<(), Stop> {
    let (mut reading, writing) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let ours = OwnedFd::from(writing);
    notified(
        0,
        |listener, id| answer_with_descriptor(listener.as_fd(), id, ours.as_fd(), true),
        |given| {
            let given = given.map_err(Stop::refused("the call with a descriptor as its answer"))?;
            rustix::io::write(&given, b"k")
                .map(drop)
                .map_err(Stop::refused("writing to the descriptor"))
        },
    )?;
    drop(ours);
    let mut written = Vec::new();
    reading
        .read_to_end(&mut written)
        .map_err(Stop::unprepared("reading what was written"))?;
    match written.as_slice() {
        b"k" => Ok(()),
        _ => Err(Stop::NoEffect(
            "the caller got another descriptor".to_owned(),
        )),
    }
}

fn synchronous() -> Result<(), Stop> {
    let mut taken = false;
    notified(
        0,
        |listener, id| {
            taken = wake_in_place(listener.as_fd());
            respond(listener, id)
        },
        is_ours,
    )?;
    match taken {
        true => Ok(()),
        false => Err(Stop::Refused {
            step: "setting the listener's flags".to_owned(),
            errno: libc::EINVAL,
        }),
    }
}

fn respond(listener: &OwnedFd, id: u64) -> std::io::Result<()> {
    answer(listener.as_fd(), id, Answer::Errno(OURS.raw_os_error()))
}
