//! What the filter holds besides for a worker without namespaces, on the kernel and in children.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use syscalls::Sysno;

use super::rules::{Handling, table};
use super::tests::{args, install};
use super::*;
use crate::sys::forked::{ask, attempt};

fn alone(guard_truncation: bool) -> SeccompRequest {
    SeccompRequest {
        alone: Some(Alone {
            pid: std::process::id(),
            count_threads: false,
            guard_truncation,
        }),
        ..SeccompRequest::default()
    }
}

/// What `calls` answer in a child, under the filter if there is one.
fn answers(request: Option<fn() -> SeccompRequest>, calls: &[(Sysno, [u64; 6])]) -> Vec<String> {
    let text = ask(|| {
        request.map(|request| install(&request()));
        let each = calls
            .iter()
            .map(|(sysno, given)| match attempt(sysno.id() as u64, *given) {
                Ok(_) => "done\n".to_owned(),
                Err(errno) => format!("{errno}\n"),
            });
        each.collect()
    });
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_further_refusal_is_the_filters_and_no_one_elses() {
    let plain = table(&SeccompRequest::default()).unwrap();
    let refused: Vec<(Sysno, i32)> = table(&alone(true))
        .unwrap()
        .into_iter()
        .filter_map(|(number, handling)| match handling {
            Handling::Refuse(errno) => Some((Sysno::new(number as usize)?, errno)),
            Handling::Compare(_) | Handling::Notify | Handling::Kill => None,
        })
        .filter(|(sysno, _)| {
            !matches!(plain.get(&i64::from(sysno.id())), Some(Handling::Refuse(_)))
        })
        // These make a process whatever they are given.
        .filter(|(sysno, _)| !["fork", "vfork"].contains(&sysno.name()))
        .collect();
    assert!(refused.len() > 45, "{refused:?}");
    let calls: Vec<_> = refused
        .iter()
        .map(|(sysno, _)| (*sysno, [u64::MAX; 6]))
        .collect();
    let with = answers(Some(|| alone(true)), &calls);
    let without = answers(None, &calls);
    for (((sysno, errno), with), without) in refused.iter().zip(with).zip(without) {
        assert_eq!(with, errno.to_string(), "{sysno} under the filter");
        assert_ne!(without, with, "{sysno} without it");
    }
}

#[test]
fn no_call_names_another_process() {
    let other = i64::from(std::process::id());
    let calls: Vec<(Sysno, [u64; 6])> = vec![
        (Sysno::kill, args([other, 0])),
        (Sysno::kill, args([-other, 0])),
        (Sysno::tgkill, args([other, other, 0])),
        (Sysno::tkill, args([other, 0])),
        (Sysno::pidfd_open, args([other, 0])),
        (Sysno::getpgid, args([other])),
        (Sysno::getsid, args([other])),
        (Sysno::sched_getscheduler, args([other])),
        (Sysno::prlimit64, args([other, 7, 0, 0])),
        (Sysno::getpriority, args([0, other])),
        (Sysno::getpriority, args([1, 0])),
        (Sysno::ioprio_get, args([1, other])),
    ];
    for (answer, call) in answers(Some(|| alone(false)), &calls).iter().zip(&calls) {
        assert!(["1", "3"].contains(&answer.as_str()), "{call:?}: {answer}");
    }
    let reached = answers(None, &calls);
    let failed = reached.iter().filter(|answer| *answer != "done").count();
    // The test's process leads no group, when the harness started it.
    assert!(failed <= 1, "{reached:?}");
    // A process may do all of this to itself.
    let itself = ask(|| {
        install(&alone(false));
        let own = i64::from(std::process::id());
        let calls = [
            (Sysno::kill, args([own, 0])),
            (Sysno::kill, args([0, 0])),
            (Sysno::tgkill, args([own, own, 0])),
            (Sysno::getpgid, args([0])),
            (Sysno::getpgid, args([own])),
            (Sysno::prlimit64, args([0, 7, 0, 0])),
            (Sysno::getpriority, args([0, 0])),
            (Sysno::sched_getscheduler, args([own])),
        ];
        let failed = calls
            .iter()
            .filter(|(sysno, given)| attempt(sysno.id() as u64, *given).is_err());
        format!("{:?}", failed.collect::<Vec<_>>())
    });
    assert_eq!(itself, "[]");
}

/// For kernels whose Landlock does not see it.
#[test]
fn a_file_is_cut_only_by_a_descriptor_that_writes() {
    let path = std::env::temp_dir().join(format!("cut-{}", std::process::id()));
    std::fs::write(&path, b"whole").unwrap();
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    let at = name.as_ptr() as i64;
    let here = i64::from(libc::AT_FDCWD);
    let open = |flags: i32| (Sysno::openat, args([here, at, i64::from(flags), 0]));
    let calls = [
        (Sysno::truncate, args([at, 0])),
        open(libc::O_RDONLY | libc::O_TRUNC),
        open(libc::O_ACCMODE | libc::O_TRUNC),
        open(libc::O_RDONLY),
        open(libc::O_WRONLY | libc::O_TRUNC),
    ];
    let refused = answers(Some(|| alone(true)), &calls[..4]);
    assert_eq!(refused, ["1", "13", "13", "done"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    assert_eq!(answers(Some(|| alone(true)), &calls[4..]), ["done"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    for call in &calls[..3] {
        std::fs::write(&path, b"whole").unwrap();
        assert_eq!(answers(Some(|| alone(false)), &[*call]), ["done"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"", "{call:?}");
    }
    std::fs::remove_file(&path).unwrap();
}
