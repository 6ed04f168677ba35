//! Each refusal is tried on the kernel by its number, once with the filter and once without: a
//! fence that changes nothing is none.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use syscalls::Sysno;

use super::rules::Handling;
use super::*;
use crate::sys::forked::{self, Ended, attempt};
use crate::sys::seccomp::{Answer, answer, receive};

/// No call takes these for anything but an error, and none of them changes the machine.
const NONSENSE: [u64; 6] = [u64::MAX; 6];

type Answered = Result<u64, i32>;

pub(super) fn install(request: &SeccompRequest) -> Option<OwnedFd> {
    let filters = Filters::compile(request).unwrap();
    rustix::thread::set_no_new_privs(true).unwrap();
    // By the way that it takes to the child of a launch.
    let mut bytes = Vec::new();
    filters.write_to(&mut bytes);
    let taken = Filters::read_from(&bytes, filters.listens()).unwrap();
    taken.install().unwrap()
}

#[test]
fn what_is_no_whole_filter_is_not_taken() {
    for bytes in [&[][..], &[6; 7], &[6; 9]] {
        assert!(Filters::read_from(bytes, false).is_none());
    }
}

/// The answers to `calls` in one child, under the filter of `request` if there is one.
fn answers(request: Option<&SeccompRequest>, calls: &[(u64, [u64; 6])]) -> Vec<Answered> {
    let text = forked::ask(|| {
        // Its own session: vhangup would hang up the terminal of whoever runs the tests.
        rustix::process::setsid().unwrap();
        request.map(install);
        let answers = calls
            .iter()
            .map(|(number, arguments)| attempt(*number, *arguments));
        answers
            .map(|a| a.map_or_else(|e| format!("-{e}\n"), |v| format!("{v}\n")))
            .collect()
    });
    let parse = |line: &str| match line.strip_prefix('-') {
        Some(errno) => Err(errno.parse().unwrap()),
        None => Ok(line.parse().unwrap()),
    };
    let answers: Vec<_> = text.lines().map(parse).collect();
    assert_eq!(answers.len(), calls.len());
    answers
}

/// One call in a child of its own under `request`, and in another without.
fn with_and_without(
    request: &SeccompRequest,
    sysno: Sysno,
    arguments: [u64; 6],
) -> (Answered, Answered) {
    let call = [(sysno.id() as u64, arguments)];
    (answers(Some(request), &call)[0], answers(None, &call)[0])
}

pub(super) fn args<const N: usize>(given: [i64; N]) -> [u64; 6] {
    std::array::from_fn(|i| given.get(i).map_or(0, |value| value.cast_unsigned()))
}

pub(super) fn everything_permitted() -> SeccompRequest {
    SeccompRequest {
        network: true,
        unix: true,
        ..SeccompRequest::default()
    }
}

#[test]
fn every_refused_call_is_refused_by_the_filter_and_by_nothing_else() {
    let request = SeccompRequest {
        deny_memfd: true,
        ..everything_permitted()
    };
    let refused: Vec<(Sysno, i32)> = rules::table(&request)
        .unwrap()
        .into_iter()
        .filter_map(|(number, handling)| match handling {
            Handling::Refuse(errno) => Some((Sysno::new(number as usize).unwrap(), errno)),
            Handling::Compare(_) | Handling::Notify | Handling::Kill => None,
        })
        .collect();
    let calls: Vec<_> = refused
        .iter()
        .map(|(sysno, _)| (sysno.id() as u64, NONSENSE))
        .collect();
    let with = answers(Some(&request), &calls);
    let without = answers(None, &calls);
    let root = rustix::process::geteuid().is_root();
    let mut differ = 0;
    for (((sysno, errno), with), without) in refused.iter().zip(with).zip(without) {
        assert_eq!(with, Err(*errno), "{sysno} under the filter");
        // Without privilege many answer EPERM by themselves.
        assert!(
            without != with || !root,
            "{sysno} answers {without:?} without the filter too"
        );
        differ += usize::from(without != with);
    }
    assert!(
        differ >= 35,
        "only {differ} calls answer differently without the filter"
    );
}

#[test]
fn the_calls_of_the_brief_are_in_the_table() {
    let table = rules::table(&SeccompRequest::default()).unwrap();
    for name in [
        "io_uring_setup",
        "ptrace",
        "process_vm_writev",
        "pidfd_getfd",
        "mount",
        "pivot_root",
        "open_tree",
        "move_mount",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "userfaultfd",
        "open_by_handle_at",
        "kexec_load",
        "init_module",
        "reboot",
        "seccomp",
        "personality",
        "clone",
        "clone3",
        "socket",
        "socketpair",
        "ioctl",
        "mknodat",
        "fchmodat2",
        "openat",
    ] {
        let number: Sysno = name.parse().unwrap();
        assert!(table.contains_key(&i64::from(number.id())), "{name}");
    }
}

/// A call, its arguments, and the errno of the filter. Pointers are null and descriptors -1, so
/// that without the filter the same call fails for another reason or does nothing.
#[test]
fn arguments_decide() {
    let request = everything_permitted();
    let high = 1_i64 << 40;
    let mut cases = vec![
        (Sysno::personality, args([0x0004_0000]), libc::EPERM), // ADDR_NO_RANDOMIZE
        (Sysno::personality, args([8]), libc::EPERM),           // PER_LINUX32
        (Sysno::personality, args([0x0040_0000 | high]), libc::EPERM), // READ_IMPLIES_EXEC
        (Sysno::prctl, args([22, 2]), libc::EPERM),             // PR_SET_SECCOMP
        (Sysno::prctl, args([22 | high, 2]), libc::EPERM),
        (Sysno::ioctl, args([-1, 0x5412]), libc::EPERM), // TIOCSTI
        (Sysno::ioctl, args([-1, 0x5412 | high]), libc::EPERM),
        (Sysno::ioctl, args([-1, 0x541c]), libc::EPERM), // TIOCLINUX
        (Sysno::ioctl, args([-1, 0x5423]), libc::EPERM), // TIOCSETD
        (Sysno::ioctl, args([-1, 0x5000_9401]), libc::EOPNOTSUPP), // BTRFS_IOC_SNAP_CREATE
        (Sysno::ioctl, args([-1, 0x5000_9417]), libc::EOPNOTSUPP), // BTRFS_IOC_SNAP_CREATE_V2
        (
            Sysno::ioctl,
            args([-1, 0x5000_940e | high]),
            libc::EOPNOTSUPP,
        ), // BTRFS_IOC_SUBVOL_CREATE
        (Sysno::ioctl, args([-1, 0x4020_bc10]), libc::EOPNOTSUPP), // BCH_IOCTL_SUBVOLUME_CREATE
        (Sysno::ioctl, args([-1, 0x4018_6f04]), libc::EOPNOTSUPP), // OCFS2_IOC_REFLINK
        (Sysno::renameat2, args([-1, 0, -1, 0, 4]), libc::EPERM),
        (Sysno::fchmod, args([-1, 0o4755]), libc::EPERM),
        (Sysno::fchmod, args([-1, 0o2755 | high]), libc::EPERM),
        (Sysno::fchmodat, args([-1, 0, 0o4000]), libc::EPERM),
        (Sysno::fchmodat2, args([-1, 0, 0o2000, 0]), libc::EPERM),
        (
            Sysno::openat,
            args([-1, 0, i64::from(libc::O_CREAT), 0o4755]),
            libc::EPERM,
        ),
        (
            Sysno::openat,
            args([-1, 0, i64::from(libc::O_TMPFILE), 0o2755]),
            libc::EPERM,
        ),
        (Sysno::mknodat, args([-1, 0, 0o020_600]), libc::EPERM), // S_IFCHR
        (Sysno::mknodat, args([-1, 0, 0o060_600]), libc::EPERM), // S_IFBLK
        (Sysno::mknodat, args([-1, 0, 0o104_755]), libc::EPERM), // a set-id regular file
    ];
    #[cfg(target_arch = "x86_64")]
    cases.extend([
        (Sysno::chmod, args([0, 0o4755]), libc::EPERM),
        (Sysno::creat, args([0, 0o4755]), libc::EPERM),
        (
            Sysno::open,
            args([0, i64::from(libc::O_CREAT), 0o2755]),
            libc::EPERM,
        ),
        (Sysno::mknod, args([0, 0o020_600]), libc::EPERM),
    ]);
    for (sysno, arguments, errno) in cases {
        let (with, without) = with_and_without(&request, sysno, arguments);
        assert_eq!(with, Err(errno), "{sysno}{arguments:x?}");
        assert_ne!(without, with, "{sysno}{arguments:x?} without the filter");
    }
}

#[test]
fn arguments_that_are_harmless_pass() {
    let request = everything_permitted();
    let cases = [
        (Sysno::personality, args([0xffff_ffff])),
        (Sysno::personality, args([0])),
        (Sysno::personality, args([0x0002_0000])),
        (Sysno::prctl, args([i64::from(libc::PR_GET_DUMPABLE)])),
        (Sysno::ioctl, args([-1, 0x5413])),
        (Sysno::ioctl, args([-1, 0x4004_9409])), // FICLONE
        (Sysno::fchmod, args([-1, 0o1777])),
        // No file is made, so the mode is whatever was in the register.
        (
            Sysno::openat,
            args([-1, 0, i64::from(libc::O_RDONLY), 0o7777]),
        ),
        (
            Sysno::openat,
            args([-1, 0, i64::from(libc::O_DIRECTORY), 0o7777]),
        ),
        (
            Sysno::openat,
            args([-1, 0, i64::from(libc::O_CREAT), 0o0666]),
        ),
        (Sysno::mknodat, args([-1, 0, 0o010_644])),
        (Sysno::renameat2, args([-1, 0, -1, 0, 1])),
        (Sysno::getpriority, args([0])),
        (Sysno::landlock_create_ruleset, args([0, 0, 1])),
    ];
    for (sysno, arguments) in cases {
        let (with, without) = with_and_without(&request, sysno, arguments);
        assert_eq!(with, without, "{sysno}{arguments:x?}");
    }
}

#[test]
fn clone_makes_processes_and_threads_but_no_namespaces() {
    let request = SeccompRequest::default();
    // CLONE_THREAD without CLONE_SIGHAND is EINVAL, so nothing is made without the filter either.
    let thread = i64::from(libc::CLONE_THREAD);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        let (with, without) = with_and_without(&request, Sysno::clone, args([1 << bit | thread]));
        assert_eq!(
            (with, without),
            (Err(libc::EPERM), Err(libc::EINVAL)),
            "bit {bit}"
        );
    }
    let ended = forked::run(|| {
        install(&request);
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        match forked::run(|| 9) {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => 128 + signal,
        }
    });
    assert_eq!(ended, Ended::Exited(9));
}

#[test]
fn sockets_go_by_family_type_and_protocol() {
    const RAW: i64 = 3;
    const PACKET: i64 = 10;
    let answer = |network, unix, arguments: [u64; 6]| {
        let request = SeccompRequest {
            network,
            unix,
            ..SeccompRequest::default()
        };
        answers(Some(&request), &[(Sysno::socket.id() as u64, arguments)])[0]
    };
    let refused = |errno| move |answer: &Answered| *answer == Err(errno);
    let no_family = refused(libc::EAFNOSUPPORT);
    for family in [0, 2, 10, 16, 17, 38, 40, 44] {
        assert!(
            no_family(&answer(false, true, args([family, 1]))),
            "family {family}"
        );
        assert!(
            no_family(&answer(false, false, args([family, 1]))),
            "family {family}"
        );
        let internet = matches!(family, 2 | 10);
        let answer = answer(true, true, args([family, 1]));
        assert_eq!(answer.is_ok(), internet, "family {family}: {answer:?}");
    }
    assert!(answer(false, true, args([1, 1])).is_ok());
    assert!(answer(true, true, args([1, 5])).is_ok());
    assert!(no_family(&answer(true, false, args([1, 1]))));
    for family in [2, 10] {
        let cloexec = i64::from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        for (kind, protocol) in [(1, 0), (1, 6), (2, 0), (2, 17), (1 | cloexec, 0)] {
            let answer = answer(true, false, args([family, kind, protocol]));
            assert!(answer.is_ok(), "{family} {kind} {protocol}: {answer:?}");
        }
        for kind in [RAW, PACKET, RAW | cloexec, RAW | 1 << 40] {
            let answer = answer(true, true, args([family, kind, 1]));
            assert_eq!(answer, Err(libc::EPERM), "{family} {kind}");
        }
        for (kind, protocol) in [(1, 132), (1, 262), (2, 1), (2, 136), (5, 0), (6, 0)] {
            let answer = answer(true, true, args([family, kind, protocol]));
            assert_eq!(
                answer,
                Err(libc::EPROTONOSUPPORT),
                "{family} {kind} {protocol}"
            );
        }
    }
}

#[test]
fn pairs_of_sockets_are_of_the_unix_family_only() {
    let mut pair = [0_i32; 2];
    let place = (&raw mut pair) as i64;
    let request = SeccompRequest::default();
    let (with, _) = with_and_without(&request, Sysno::socketpair, args([1, 1, 0, place]));
    assert_eq!(with, Ok(0));
    let (with, without) = with_and_without(&request, Sysno::socketpair, args([2, 1, 0, place]));
    assert_eq!(with, Err(libc::EAFNOSUPPORT));
    assert_ne!(without, with);
    // A pair of datagram sockets can send to any name, so it goes with the sockets that have one.
    let datagrams = args([
        1,
        i64::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
        0,
        place,
    ]);
    let (with, without) = with_and_without(&request, Sysno::socketpair, datagrams);
    assert_eq!(with, Err(libc::EAFNOSUPPORT));
    assert_eq!(without, Ok(0));
    let named = SeccompRequest {
        unix: true,
        ..SeccompRequest::default()
    };
    assert_eq!(
        with_and_without(&named, Sysno::socketpair, datagrams).0,
        Ok(0)
    );
}

#[test]
fn memfds_are_refused_only_when_asked() {
    let name = c"x".as_ptr() as i64;
    let denying = SeccompRequest {
        deny_memfd: true,
        ..SeccompRequest::default()
    };
    let (with, without) = with_and_without(&denying, Sysno::memfd_create, args([name]));
    assert_eq!(with, Err(libc::EPERM));
    assert!(without.is_ok());
    let (with, _) = with_and_without(
        &SeccompRequest::default(),
        Sysno::memfd_create,
        args([name]),
    );
    assert!(with.is_ok());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_door_kills_and_x32_numbers_do_not_exist() {
    let enter = |filtered: bool| {
        forked::run(move || {
            if filtered {
                install(&SeccompRequest::default());
            }
            let pid = forked::int80_getpid();
            i32::from(pid != i64::from(std::process::id()))
        })
    };
    assert_eq!(enter(true), Ended::Killed(libc::SIGSYS));
    assert_ne!(enter(false), Ended::Killed(libc::SIGSYS));

    let getpid = u64::from(0x4000_0000_u32) | Sysno::getpid.id() as u64;
    let with = answers(Some(&SeccompRequest::default()), &[(getpid, [0; 6])])[0];
    assert_eq!(with, Err(libc::ENOSYS));
}

#[test]
fn names_of_the_policy_are_refused_and_unknown_ones_are_named() {
    let deny = |name: &str| SeccompRequest {
        deny: vec![name.to_owned()],
        ..SeccompRequest::default()
    };
    let (with, without) = with_and_without(&deny("getpriority"), Sysno::getpriority, [0; 6]);
    assert_eq!(with, Err(libc::EPERM));
    assert!(without.is_ok());
    // A comparison gives way to the policy's plain refusal.
    let (with, _) = with_and_without(&deny("personality"), Sysno::personality, [0; 6]);
    assert_eq!(with, Err(libc::EPERM));

    let error = Filters::compile(&deny("umont2")).unwrap_err().to_string();
    assert!(
        error.contains("\"umont2\"") && error.contains("`umount2`"),
        "{error}"
    );
    let error = Filters::compile(&deny("\u{1f980}".repeat(500).as_str())).unwrap_err();
    assert!(matches!(error, SeccompError::UnknownName { .. }));
    let error = Filters::compile(&deny("execve")).unwrap_err();
    assert!(matches!(error, SeccompError::Indispensable { .. }));
}

#[test]
fn nothing_is_installed_where_privileges_can_grow() {
    let answer = forked::ask(|| {
        let filters = Filters::compile(&SeccompRequest::default()).unwrap();
        filters.install().unwrap_err().to_string()
    });
    assert!(answer.contains("no_new_privs"), "{answer}");
}

/// Whether a child has ended. It can be waited for all the same.
fn has_ended(pid: i32) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let child = WaitId::Pid(Pid::from_raw(pid).unwrap());
    waitid(child, options).unwrap().is_some()
}

/// The way of the launch: one process installs and stays as the listener, its child runs the
/// program, whose own attempts to run another are answered by the listener.
fn exec_once_session(script: &str, second: Answer) -> String {
    forked::ask(|| {
        let request = SeccompRequest {
            exec_once: true,
            unix: true,
            ..SeccompRequest::default()
        };
        let listener = install(&request).unwrap();
        let script = script.to_owned();
        let program = forked::Child::start(move || {
            use std::os::unix::process::CommandExt;
            let error = Command::new("/bin/sh").args(["-c", &script]).exec();
            error.raw_os_error().unwrap_or(forked::PANICKED)
        });
        let mut notified = 0;
        let first = receive(listener.as_fd()).unwrap();
        assert_eq!(first.number, Sysno::execve.id());
        assert!(crate::sys::seccomp::still_waits(listener.as_fd(), first.id));
        answer(listener.as_fd(), first.id, Answer::Continue).unwrap();
        assert!(!crate::sys::seccomp::still_waits(
            listener.as_fd(),
            first.id
        ));
        // Whoever waits for an answer waits for ever, so the end of the program is the end of asking.
        while !has_ended(program.0) {
            let asked = rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN);
            let a_moment = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            if rustix::event::poll(&mut [asked], Some(&a_moment)).unwrap() == 0 {
                continue;
            }
            if let Ok(next) = receive(listener.as_fd()) {
                notified += 1;
                answer(listener.as_fd(), next.id, second).unwrap();
            }
        }
        format!("{:?} {notified}", program.wait())
    })
}

#[test]
fn exec_passes_once() {
    let refuse = Answer::Errno(libc::EACCES);
    assert_eq!(exec_once_session("exit 7", refuse), "Exited(7) 0");
    // The shell says 126 for a program that it may not execute.
    assert_eq!(
        exec_once_session("/bin/true; exit $?", refuse),
        "Exited(126) 1"
    );
    assert_eq!(
        exec_once_session("/bin/true; exit $?", Answer::Continue),
        "Exited(0) 1"
    );
    assert_eq!(exec_once_session("exec /bin/true", refuse), "Exited(126) 1");
}

#[test]
fn an_ordinary_program_does_not_notice() {
    const SCRIPT: &str = "import asyncio, json, os, socket, subprocess, tempfile, threading\n\
        async def main():\n await asyncio.sleep(0)\n\
        asyncio.run(main())\n\
        t = threading.Thread(target=json.dumps, args=([1],)); t.start(); t.join()\n\
        with tempfile.NamedTemporaryFile() as f:\n f.write(b'x'); os.chmod(f.name, 0o600)\n\
        assert subprocess.run(['/bin/echo', 'hi'], capture_output=True).stdout == b'hi\\n'\n\
        a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'\n";
    let ended = forked::run(|| {
        install(&SeccompRequest {
            deny_memfd: true,
            unix: true,
            ..SeccompRequest::default()
        });
        let status = Command::new("/usr/bin/python3")
            .args(["-I", "-c", SCRIPT])
            .status();
        status.unwrap().code().unwrap_or(255)
    });
    assert_eq!(ended, Ended::Exited(0));
}
