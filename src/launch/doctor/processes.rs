//! Holding on to processes, tracing them and reading their memory.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Probe;
use super::place::Place;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::{clone, memory, process, socket, trace};

const YAMA: &str = "set the sysctl kernel.yama.ptrace_scope to 1 or 0";

pub(super) fn probes() -> Vec<Probe> {
    let probe = |name, needed_for, remedy, trial: fn(&Place) -> Result<(), Stop>| {
        Probe::new("processes", name, needed_for, remedy, trial)
    };
    vec![
        probe(
            "pidfd",
            "every launch: its own process is never mistaken",
            Remedy::new("pidfd_open and pidfd_send_signal", "Linux 5.3 or newer"),
            |_| pidfd(),
        ),
        probe(
            "a descriptor of another process (pidfd_getfd)",
            "connections that are decided live",
            Remedy::new("pidfd_getfd", "Linux 5.6 or newer").when(libc::EPERM, YAMA),
            |_| foreign_descriptor(),
        ),
        probe(
            "how a process has ended (PIDFD_GET_INFO)",
            "exit codes of containers that others wait for",
            Remedy::new("ioctl", "Linux 6.15 or newer"),
            |_| ended(),
        ),
        probe(
            "sockets that take no descriptors (SO_PASSRIGHTS)",
            "a worker's channel: descriptors are refused, not only closed",
            Remedy::new("setsockopt", "Linux 6.16 or newer"),
            |_| no_descriptors(),
        ),
        probe(
            "tracing a descendant (ptrace)",
            "exec rules that are decided live: sha256, warn, ask",
            Remedy::new("ptrace", "Linux").when(libc::EPERM, YAMA),
            |_| traced(),
        ),
        probe(
            "reading a descendant's memory (process_vm_readv)",
            "rules that are decided live: the paths that calls name",
            Remedy::new(
                "process_vm_readv",
                "Linux 3.2 or newer with CONFIG_CROSS_MEMORY_ATTACH",
            )
            .when(libc::EPERM, YAMA),
            |_| read(),
        ),
    ]
}

/// A child that lives until it is killed, and what holds it.
fn sleeper() -> Result<i32, Stop> {
    match clone::fork().map_err(Stop::unprepared("making a process"))? {
        0 => loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        },
        pid => Ok(pid),
    }
}

fn hold(pid: i32) -> Result<OwnedFd, Stop> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Stop::untried("no process"))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(Stop::refused("opening a pidfd"))
}

fn end(pidfd: &OwnedFd, pid: i32) -> Result<i32, Stop> {
    process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL)
        .map_err(Stop::refused("sending a signal by it"))?;
    process::wait_for(pid).map_err(Stop::unprepared("waiting for the process"))
}

/// For trials that are not about pidfds. Nobody has waited for the process, so the number is its own.
fn end_by_number(pid: i32) -> Result<(), Stop> {
    process::kill(pid, libc::SIGKILL).map_err(Stop::unprepared("ending the process"))?;
    process::wait_for(pid)
        .map(drop)
        .map_err(Stop::unprepared("waiting for the process"))
}

fn pidfd() -> Result<(), Stop> {
    let pid = sleeper()?;
    let status = end(&hold(pid)?, pid)?;
    match libc::WIFSIGNALED(status) {
        true => Ok(()),
        false => Err(Stop::NoEffect(
            "the signal did not end the process".to_owned(),
        )),
    }
}

fn foreign_descriptor() -> Result<(), Stop> {
    let (reading, writing) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&writing);
    let pid = sleeper()?;
    // From here on the child alone has it.
    drop(writing);
    let pidfd = hold(pid)?;
    let got = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
        .map_err(Stop::refused("taking a descriptor"))?;
    rustix::io::write(&got, b"k").map_err(Stop::refused("using the descriptor"))?;
    end_by_number(pid)?;
    drop(got);
    let mut written = [0; 1];
    match rustix::io::read(&reading, &mut written) {
        Ok(1) if written == *b"k" => Ok(()),
        Ok(_) => Err(Stop::NoEffect("it is another descriptor".to_owned())),
        Err(error) => Err(Stop::unprepared("reading what was written")(error)),
    }
}

fn ended() -> Result<(), Stop> {
    let pid = clone::fork().map_err(Stop::unprepared("making a process"))?;
    if pid == 0 {
        clone::exit_now(7);
    }
    let pidfd = hold(pid)?;
    process::wait_for(pid).map_err(Stop::unprepared("waiting for the process"))?;
    match process::exit_status_of(pidfd.as_fd()) {
        Some(status) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7 => Ok(()),
        Some(_) => Err(Stop::NoEffect("it tells another status".to_owned())),
        None => Err(Stop::NoEffect("the kernel does not tell it".to_owned())),
    }
}

fn no_descriptors() -> Result<(), Stop> {
    let (taking, giving) = socket::record_pair().map_err(Stop::unprepared("making sockets"))?;
    let send = || socket::send_descriptors(giving.as_fd(), &[giving.as_fd()]);
    // The control: without the option it is taken.
    send().map_err(Stop::unprepared("sending a descriptor"))?;
    socket::refuse_descriptors(taking.as_fd()).map_err(Stop::refused("setting the option"))?;
    match send() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) => Err(Stop::unprepared("sending a descriptor")(error)),
        Ok(()) => Err(Stop::NoEffect("a descriptor was taken".to_owned())),
    }
}

fn traced() -> Result<(), Stop> {
    let pid = sleeper()?;
    let thread = pid.unsigned_abs();
    trace::seize(thread)
        .and_then(|()| trace::interrupt(thread))
        .map_err(Stop::refused("tracing it"))?;
    let status = process::wait_for(pid).map_err(Stop::unprepared("waiting for the process"))?;
    if trace::stop_of(status) != Some(trace::Stop::Asked) {
        return Err(Stop::NoEffect("it did not stop".to_owned()));
    }
    trace::let_go(thread).map_err(Stop::refused("letting it go on"))?;
    end_by_number(pid)
}

static SECRET: AtomicU64 = AtomicU64::new(0);

fn read() -> Result<(), Stop> {
    const VALUE: u64 = 0x6275_6e74_696d_6521;
    let (ready, telling) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let pid = clone::fork().map_err(Stop::unprepared("making a process"))?;
    if pid == 0 {
        drop(ready);
        // Only the child's copy has the value, so it cannot be had from our own memory.
        SECRET.store(VALUE, Ordering::SeqCst);
        drop(telling);
        loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
    drop(telling);
    rustix::io::read(&ready, &mut [0_u8; 1]).map_err(Stop::unprepared("waiting for the child"))?;
    let mut found = [0; 8];
    let address = std::ptr::from_ref(&SECRET).addr() as u64;
    memory::read_memory(pid as u32, address, &mut found)
        .map_err(Stop::refused("reading its memory"))?;
    end_by_number(pid)?;
    match u64::from_ne_bytes(found) {
        VALUE => Ok(()),
        _ => Err(Stop::NoEffect("other memory was read".to_owned())),
    }
}
