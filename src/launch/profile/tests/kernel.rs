//! Profiles on the kernel, each in a child of its own, and the same calls without one.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use oci_spec::runtime::State;
use serde_json::{Value, json};
use syscalls::Sysno;

use super::samples::compile;
use crate::launch::profile::{ProcessState, notify};
use crate::sys::forked::{self, Ended, attempt};
use crate::sys::seccomp::{Answer, answer, receive};
use crate::sys::socket;

/// Harmless, never made by the runtime between install and exit, and always allowed.
const CALL: Sysno = Sysno::getpriority;

fn profile(default: &str, syscalls: Value) -> Value {
    json!({"defaultAction": default, "listenerPath": "/none", "syscalls": syscalls})
}

fn one(action: &str) -> Value {
    profile(
        "SCMP_ACT_ALLOW",
        json!([{"names": ["getpriority"], "action": action}]),
    )
}

fn install(seccomp: Value) -> Option<OwnedFd> {
    rustix::thread::set_no_new_privs(true).unwrap();
    compile(seccomp).install().unwrap()
}

/// How a child ends that makes one call under the profile: with 0 when it worked, else its errno.
fn ended(seccomp: Option<Value>, number: u64, arguments: [u64; 6]) -> Ended {
    forked::run(move || {
        seccomp.map(install);
        attempt(number, arguments).map_or_else(|errno| errno, |_| 0)
    })
}

fn number(sysno: Sysno) -> u64 {
    u64::from(sysno.id().unsigned_abs())
}

#[test]
fn every_action_does_what_it_says() {
    assert_eq!(ended(None, number(CALL), [0; 6]), Ended::Exited(0));
    let killed = Ended::Killed(libc::SIGSYS);
    for (action, end) in [
        ("SCMP_ACT_ERRNO", Ended::Exited(libc::EPERM)),
        ("SCMP_ACT_KILL", killed),
        ("SCMP_ACT_KILL_THREAD", killed),
        ("SCMP_ACT_KILL_PROCESS", killed),
        ("SCMP_ACT_TRAP", killed),
        ("SCMP_ACT_LOG", Ended::Exited(0)),
        // Nobody traces.
        ("SCMP_ACT_TRACE", Ended::Exited(libc::ENOSYS)),
        ("SCMP_ACT_ALLOW", Ended::Exited(0)),
    ] {
        assert_eq!(
            ended(Some(one(action)), number(CALL), [0; 6]),
            end,
            "{action}"
        );
        let other = number(Sysno::getppid);
        assert_eq!(
            ended(Some(one(action)), other, [0; 6]),
            Ended::Exited(0),
            "{action}"
        );
    }
    let mut errno = one("SCMP_ACT_ERRNO");
    errno["syscalls"][0]["errnoRet"] = json!(libc::ENETDOWN);
    assert_eq!(
        ended(Some(errno), number(CALL), [0; 6]),
        Ended::Exited(libc::ENETDOWN)
    );
}

#[test]
fn a_trap_is_a_signal_and_a_killed_thread_leaves_the_others() {
    let thread_dies = |action: &'static str| {
        forked::run(move || {
            let thread = std::thread::spawn(move || {
                install(one(action));
                attempt(number(CALL), [0; 6])
            });
            // A thread that the kernel ended can be waited for like any other.
            while !thread.is_finished() {
                std::thread::yield_now();
                if std::fs::read_dir("/proc/self/task").unwrap().count() == 1 {
                    return 7;
                }
            }
            8
        })
    };
    assert_eq!(thread_dies("SCMP_ACT_KILL"), Ended::Exited(7));
    assert_eq!(
        thread_dies("SCMP_ACT_KILL_PROCESS"),
        Ended::Killed(libc::SIGSYS)
    );
    assert_eq!(thread_dies("SCMP_ACT_TRAP"), Ended::Killed(libc::SIGSYS));
}

#[test]
fn conditions_are_the_kernels_own_comparison() {
    let arg = |op, value: u64, two: u64| {
        let args = json!([{"index": 1, "op": op, "value": value, "valueTwo": two}]);
        profile(
            "SCMP_ACT_ALLOW",
            json!([{"names": ["getpriority"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": args}]),
        )
    };
    let high = 1 << 40;
    for (op, value, two, hit, missed) in [
        ("SCMP_CMP_EQ", 5, 0, vec![5], vec![4, 6, 5 | high]),
        ("SCMP_CMP_NE", 5, 0, vec![4, 5 | high], vec![5]),
        (
            "SCMP_CMP_LT",
            high,
            0,
            vec![0, 0xffff_ffff],
            vec![high, high + 1, u64::MAX],
        ),
        (
            "SCMP_CMP_LE",
            high,
            0,
            vec![0, high],
            vec![high + 1, u64::MAX],
        ),
        (
            "SCMP_CMP_GT",
            high,
            0,
            vec![high + 1, u64::MAX],
            vec![high, 0xffff_ffff],
        ),
        (
            "SCMP_CMP_GE",
            high,
            0,
            vec![high, u64::MAX],
            vec![high - 1, 0],
        ),
        (
            "SCMP_CMP_MASKED_EQ",
            high | 6,
            high | 2,
            vec![high | 2, high | 9 | 2],
            vec![2, high | 6],
        ),
    ] {
        let answers = |given: u64| {
            ended(
                Some(arg(op, value, two)),
                number(CALL),
                [u64::MAX, given, 0, 0, 0, 0],
            )
        };
        for given in hit {
            assert_eq!(
                answers(given),
                Ended::Exited(77),
                "{given:#x} {op} {value:#x}"
            );
        }
        for given in missed {
            assert_eq!(
                answers(given),
                Ended::Exited(libc::EINVAL),
                "{given:#x} {op} {value:#x}"
            );
        }
    }
}

/// Everything below is allowed to go on, so that the child can tell.
fn strict(more: &[&str]) -> Value {
    let mut names = vec![
        "exit_group",
        "write",
        "futex",
        "close",
        "munmap",
        "madvise",
        "rt_sigprocmask",
        "sigaltstack",
    ];
    names.extend(more);
    profile(
        "SCMP_ACT_ERRNO",
        json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]),
    )
}

#[test]
fn what_is_newer_than_the_profile_does_not_exist() {
    let openat2 = number(Sysno::openat2);
    let with = |more: &'static [&'static str], number| ended(Some(strict(more)), number, [0; 6]);
    assert_eq!(with(&[], number(CALL)), Ended::Exited(libc::EPERM));
    assert_eq!(with(&[], openat2), Ended::Exited(libc::ENOSYS));
    assert_eq!(with(&[], 5_000), Ended::Exited(libc::ENOSYS));
    // The newest name moves the border, whatever it is answered.
    assert_eq!(with(&["faccessat2"], openat2), Ended::Exited(libc::EPERM));
    assert_eq!(with(&["faccessat2"], 5_000), Ended::Exited(libc::ENOSYS));
    // Where the kernel would say so by itself, it does.
    assert_eq!(ended(None, 5_000, [0; 6]), Ended::Exited(libc::ENOSYS));
    assert_ne!(ended(None, openat2, [0; 6]), Ended::Exited(libc::ENOSYS));
    let log = profile(
        "SCMP_ACT_LOG",
        json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]),
    );
    assert_eq!(ended(Some(log), number(CALL), [0; 6]), Ended::Exited(0));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_doors_are_shut_or_held_to_the_profile() {
    let of = |architectures: &[&str], default: &str, action: &str| {
        let mut seccomp = profile(
            default,
            json!([{"names": ["getpid"], "action": action,
            "errnoRet": (action == "SCMP_ACT_ERRNO").then_some(77)}]),
        );
        seccomp["architectures"] = json!(architectures);
        seccomp
    };
    let int80 = |seccomp: Option<Value>| {
        forked::run(move || {
            let pid = i64::from(std::process::id());
            seccomp.map(install);
            match forked::int80_getpid() {
                own if own == pid => 0,
                errno => i32::try_from(-errno).unwrap_or(255),
            }
        })
    };
    let refused = |architectures| of(architectures, "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    let killed = Ended::Killed(libc::SIGSYS);
    assert_eq!(int80(Some(refused(&[]))), killed);
    assert_eq!(
        int80(Some(refused(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]))),
        killed
    );
    // A kernel without this door kills there too, which the last line would show.
    if int80(None) == Ended::Exited(0) {
        assert_eq!(int80(Some(refused(&["SCMP_ARCH_X86"]))), Ended::Exited(77));
        let log = of(&["SCMP_ARCH_X86"], "SCMP_ACT_ALLOW", "SCMP_ACT_LOG");
        assert_eq!(int80(Some(log)), Ended::Exited(0));
    }

    let x32 = |seccomp| ended(seccomp, 0x4000_0000 | number(Sysno::getpid), [0; 6]);
    assert_ne!(x32(None), killed);
    assert_eq!(x32(Some(refused(&[]))), killed);
    assert_eq!(x32(Some(refused(&["SCMP_ARCH_X86"]))), killed);
    assert_eq!(x32(Some(refused(&["SCMP_ARCH_X32"]))), Ended::Exited(77));
    // The same number without the bit is another door, held by the same rule.
    let plain = ended(
        Some(refused(&["SCMP_ARCH_X32"])),
        number(Sysno::getpid),
        [0; 6],
    );
    assert_eq!(plain, Ended::Exited(77));
}

#[test]
fn it_takes_no_new_privs_or_the_capability() {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "only root has the capability, and CI runs as root"
    );
    let refused = forked::ask(|| {
        if rustix::process::geteuid().is_root() {
            let id = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_uid(id).unwrap();
        }
        let error = compile(one("SCMP_ACT_ERRNO")).install().unwrap_err();
        assert!(attempt(number(CALL), [0; 6]).is_ok());
        error.to_string()
    });
    assert!(
        refused.contains("CAP_SYS_ADMIN or no_new_privs"),
        "{refused}"
    );
    if root {
        let answered = forked::ask(|| {
            compile(one("SCMP_ACT_ERRNO")).install().unwrap();
            assert!(!rustix::thread::no_new_privs().unwrap());
            format!("{:?}", attempt(number(CALL), [0; 6]))
        });
        assert_eq!(answered, format!("{:?}", Err::<u64, _>(libc::EPERM)));
    }
}

#[test]
fn flags_are_the_kernels() {
    let all = [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    ];
    for flags in [json!(null), json!([]), json!(all)] {
        let mut seccomp = one("SCMP_ACT_ERRNO");
        seccomp["flags"] = flags.clone();
        let end = ended(Some(seccomp), number(CALL), [0; 6]);
        assert_eq!(end, Ended::Exited(libc::EPERM), "{flags}");
    }
}

#[test]
fn a_listener_answers() {
    let answered = forked::ask(|| {
        let mut seccomp = one("SCMP_ACT_NOTIFY");
        seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let listener = install(seccomp).unwrap();
        let caller = forked::Child::start(|| match attempt(number(CALL), [0, 9, 0, 0, 0, 0]) {
            Err(errno) => errno,
            Ok(_) => 0,
        });
        let call = receive(listener.as_fd()).unwrap();
        assert_eq!((call.number, call.arguments[1]), (CALL.id(), 9));
        answer(listener.as_fd(), call.id, Answer::Errno(libc::ENOMEDIUM)).unwrap();
        format!("{:?}", caller.wait())
    });
    assert_eq!(answered, format!("{:?}", Ended::Exited(libc::ENOMEDIUM)));
}

#[test]
fn a_second_listener_is_refused_with_its_reason() {
    let refused = forked::ask(|| {
        let listener = install(one("SCMP_ACT_NOTIFY"));
        let error = compile(one("SCMP_ACT_NOTIFY")).install().unwrap_err();
        drop(listener);
        error.to_string()
    });
    assert!(refused.contains("already listens"), "{refused}");
}

/// Whatever the profile does to calls, the listener gets out. Here all but the last one kill.
#[test]
fn the_listener_is_handed_over_past_the_profile() {
    let (ours, theirs) = socket::record_pair().unwrap();
    let child = forked::Child::start(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        let profile = compile(profile(
            "SCMP_ACT_KILL_PROCESS",
            json!([
                {"names": ["exit_group"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["getpriority", "sendmsg"], "action": "SCMP_ACT_NOTIFY"},
            ]),
        ));
        let handed = profile.install_and_hand_over(move |listener| {
            socket::send_record(theirs.as_fd(), b"listener", &[listener.as_fd()])
        });
        match handed {
            Ok(()) => attempt(number(CALL), [0; 6]).map_or_else(|errno| errno, |_| 0),
            Err(_) => forked::PANICKED,
        }
    });
    let (record, mut descriptors) = socket::receive_record(ours.as_fd()).unwrap();
    assert_eq!(record, b"listener");
    let listener = descriptors.pop().expect("a descriptor came along");
    let call = receive(listener.as_fd()).unwrap();
    assert_eq!(call.number, CALL.id());
    answer(listener.as_fd(), call.id, Answer::Errno(66)).unwrap();
    assert_eq!(child.wait(), Ended::Exited(66));
}

/// What the agent is told, as the specification has it.
#[test]
fn the_agent_gets_the_state_and_the_listener() {
    let folder = std::env::temp_dir().join(format!("profile-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("agent.sock");
    let state: State = serde_json::from_value(json!({"ociVersion": "1.2.0", "id": "c1",
        "status": "creating", "pid": 41, "bundle": "/b",
        "annotations": {"large": "x".repeat(600_000)}}))
    .unwrap();
    let told = ProcessState {
        pid: 41,
        metadata: Some("m=1"),
        state: &state,
    };
    let (reading, writing) = io::pipe().unwrap();
    let refused = notify(reading.as_fd(), &path, &told)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("failed to connect with seccomp agent") && refused.contains("agent.sock"),
        "{refused}"
    );
    let server = UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        let (connection, _) = server.accept().unwrap();
        let mut text = Vec::new();
        let descriptors = receive_some(&connection, &mut text);
        (&connection).read_to_end(&mut text).unwrap();
        (descriptors, text)
    });
    notify(reading.as_fd(), &path, &told).unwrap();
    let (descriptors, text) = agent.join().unwrap();
    let told: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(told["ociVersion"], "1.2.0");
    assert_eq!(told["fds"], json!(["seccompFd"]));
    assert_eq!(told["pid"], 41);
    assert_eq!(told["metadata"], "m=1");
    assert_eq!(told["state"]["id"], "c1");
    assert_eq!(told["state"]["status"], "creating");
    assert_eq!(told["state"]["bundle"], "/b");
    assert_eq!(
        told["state"]["annotations"]["large"].as_str().map(str::len),
        Some(600_000)
    );
    // It is the very pipe.
    let [got] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
    (&writing).write_all(b"x").unwrap();
    let mut byte = [0];
    io::PipeReader::from(got).read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// One message of a stream, with its descriptors.
fn receive_some(connection: &UnixStream, text: &mut Vec<u8>) -> Vec<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4_096];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(
        connection,
        &mut parts,
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    text.extend_from_slice(&bytes[..received.bytes]);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    rights.flatten().collect()
}
