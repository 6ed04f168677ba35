//! Namespaces, each made in a user namespace of its own as a launch does, and each seen to be another.

use std::fs;
use std::path::PathBuf;

use rustix::process::{getegid, geteuid, getpid, getppid};

use super::Probe;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::{self, clone, interface, mount, namespace, process, throwaway};

const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;

pub(super) fn probes() -> Vec<Probe> {
    vec![
        probe(
            ("user", 0, "user", "user.max_user_namespaces"),
            "every other namespace; without it only Landlock and seccomp hold",
            "Linux with CONFIG_USER_NS",
            identity,
        ),
        probe(
            ("mount", libc::CLONE_NEWNS, "mnt", "user.max_mnt_namespaces"),
            "a root of its own, masks over what is denied",
            "Linux",
            || mount::make_all_private().map_err(Stop::refused("making mounts private in it")),
        ),
        probe(
            (
                "pid",
                libc::CLONE_NEWPID,
                "pid_for_children",
                "user.max_pid_namespaces",
            ),
            "other processes are not seen; everything ends with the run",
            "Linux with CONFIG_PID_NS",
            first_process,
        ),
        probe(
            (
                "network",
                libc::CLONE_NEWNET,
                "net",
                "user.max_net_namespaces",
            ),
            "no network but a loopback of its own",
            "Linux with CONFIG_NET_NS",
            || interface::loopback_up().map_err(Stop::refused("bringing its loopback up")),
        ),
        probe(
            ("ipc", libc::CLONE_NEWIPC, "ipc", "user.max_ipc_namespaces"),
            "System V objects and message queues of its own",
            "Linux with CONFIG_IPC_NS",
            || Ok(()),
        ),
        probe(
            ("uts", libc::CLONE_NEWUTS, "uts", "user.max_uts_namespaces"),
            "a host name of its own",
            "Linux with CONFIG_UTS_NS",
            || {
                rustix::system::sethostname(b"trial")
                    .map_err(Stop::refused("setting its host name"))
            },
        ),
        probe(
            (
                "cgroup",
                libc::CLONE_NEWCGROUP,
                "cgroup",
                "user.max_cgroup_namespaces",
            ),
            "the paths of the host's control groups are not seen",
            "Linux 4.6 with CONFIG_CGROUPS",
            || Ok(()),
        ),
        probe(
            (
                "time",
                namespace::CLONE_NEWTIME as libc::c_int,
                "time_for_children",
                "user.max_time_namespaces",
            ),
            "containers that ask for clocks of their own",
            "Linux 5.6 with CONFIG_TIME_NS",
            || Ok(()),
        ),
    ]
}

fn probe(
    (name, flag, link, sysctl): (&'static str, libc::c_int, &'static str, &'static str),
    needed_for: &'static str,
    kernel: &'static str,
    effect: fn() -> Result<(), Stop>,
) -> Probe {
    let remedy = Remedy::new("unshare, clone and clone3 with CLONE_NEW*", kernel)
        .namespaces("user.max_user_namespaces")
        .namespaces(sysctl);
    let name = format!("{name} namespace");
    Probe::new("namespaces", name, needed_for, remedy, move |_| {
        let link = PathBuf::from("/proc/self/ns").join(link);
        let seen = || fs::read_link(&link);
        let before = seen().map_err(Stop::refused(format!("reading {}", link.display())))?;
        enter(flag as u64)?;
        // A namespace for children is there once there is a child, which its effect makes.
        let for_children = flag == libc::CLONE_NEWPID;
        effect()?;
        let after = seen().map_err(Stop::unprepared(format!("reading {}", link.display())))?;
        if after == before && !for_children {
            return Err(Stop::NoEffect(
                "the process is still in the old one".to_owned(),
            ));
        }
        Ok(())
    })
}

/// Moves this process into a user namespace of its own, with other namespaces of the kinds in
/// `flags` that belong to it, as its root.
pub(super) fn enter(flags: u64) -> Result<(), Stop> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let parent = getppid();
    namespace::unshare(NEW_USER | flags).map_err(Stop::refused("making it"))?;
    // A change of credentials may have cleared what ends this process with the doctor.
    if !parent.is_some_and(throwaway::dies_with) {
        return Err(Stop::untried("the doctor has ended"));
    }
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(Stop::refused(format!("writing /proc/self/{file}")))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {user} 1"))?;
    write("gid_map", format!("0 {group} 1"))
}

fn identity() -> Result<(), Stop> {
    match (geteuid().is_root(), sys::capabilities::permitted()) {
        (true, Ok(1..)) => Ok(()),
        (true, Ok(0)) => Err(Stop::NoEffect(
            "it gives its root no capabilities".to_owned(),
        )),
        (true, Err(error)) => Err(Stop::unprepared("reading capabilities")(error)),
        (false, _) => Err(Stop::NoEffect("its map is not in force".to_owned())),
    }
}

/// A child in the new pid namespace is its first process.
fn first_process() -> Result<(), Stop> {
    child(|| match getpid().is_init() {
        true => Ok(()),
        false => Err(Stop::NoEffect(
            "its first process is not number 1".to_owned(),
        )),
    })
}

/// Runs `body` in a child of the throwaway process, and gives what it came to.
pub(super) fn child(body: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    use std::io::{Read, Write};
    let (mut reading, mut writing) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let pid = clone::fork().map_err(Stop::refused("making a process in it"))?;
    if pid == 0 {
        drop(reading);
        let told = Stop::told(&body());
        clone::exit_now(i32::from(writing.write_all(&told).is_err()));
    }
    drop(writing);
    let mut told = Vec::new();
    reading
        .read_to_end(&mut told)
        .map_err(Stop::unprepared("hearing the child"))?;
    let status = process::wait_for(pid).map_err(Stop::unprepared("waiting for the child"))?;
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        let why = format!("signal {signal} ended a process of the trial");
        return Err(match signal {
            libc::SIGSYS => Stop::Fatal(format!("a system call filter killed it: {why}")),
            _ => Stop::untried(why),
        });
    }
    Stop::heard(&told)
}
