//! What a profile may leave out, what it may say beyond its machine, and how short it stays.

use std::path::Path;

use serde_json::json;

use super::samples::{compile, parse};
use crate::launch::bpf::interpreter::Call;
use crate::launch::profile::Profile;
use crate::launch::profile::arch::{Abi, Machine};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const SPEC_ALLOW: u32 = 4;

#[test]
fn an_empty_profile_allows_and_one_without_calls_answers_by_default() {
    let profile = compile(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(profile.listener(), None);
    assert!(profile.skipped().is_empty());
    let call = |number| Call {
        number,
        architecture: 0xc000_003e,
        arguments: [0; 6],
    };
    for seccomp in [
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_KILL"}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": null, "architectures": null, "flags": null}),
    ] {
        let profile = Profile::compile_for(Machine::X86_64, &parse(seccomp)).unwrap();
        for number in [0, 1, 500, u32::MAX] {
            assert_eq!(
                call(number).answered_by(&profile.program),
                ALLOW,
                "{number}"
            );
        }
        // The architecture, x32, and what is left over.
        assert!(profile.instructions() <= 8, "{profile:?}");
    }
    let profile = parse(json!({"defaultAction": "SCMP_ACT_TRAP"}));
    let profile = Profile::compile_for(Machine::X86_64, &profile).unwrap();
    assert_eq!(
        call(0).answered_by(&profile.program),
        libc::SECCOMP_RET_TRAP
    );
    assert_eq!(
        call(9_999).answered_by(&profile.program),
        libc::SECCOMP_RET_TRAP
    );
}

#[test]
fn names_are_left_out_only_where_no_architecture_has_them() {
    let names = [
        "read",
        "no_such_call",
        "set_tls",
        "send",
        "socketcall",
        "rt_sigaction",
        "newfstatat",
        "listns",
        "",
        "break",
        "utimensat_time64",
        "READ",
    ];
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(compile(seccomp).skipped(), ["no_such_call", "READ"]);
    // Also where the rule says what the default says.
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(compile(seccomp).skipped(), ["no_such_call"]);
}

#[test]
fn the_listener_is_told_where_something_notifies() {
    let notify = json!([{"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_NOTIFY"}]);
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent",
        "listenerMetadata": "x=1", "syscalls": notify});
    let profile = compile(seccomp.clone());
    assert_eq!(
        profile.listener(),
        Some((Path::new("/run/agent"), Some("x=1")))
    );
    assert_eq!(profile.flags(), SPEC_ALLOW | 8);
    let mut without = seccomp.clone();
    without["syscalls"] = json!([]);
    assert_eq!(compile(without).listener(), None);
    let mut killable = seccomp;
    killable["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    assert_eq!(compile(killable).flags(), 32 | 8);
}

#[test]
fn flags_are_added_and_none_named_is_one() {
    let flags = |flags: serde_json::Value| {
        compile(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).flags()
    };
    assert_eq!(flags(json!(null)), SPEC_ALLOW);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), 0);
    assert_eq!(
        flags(json!([
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
        ])),
        6
    );
}

#[test]
fn the_tables_are_ascending_and_whole() {
    for abi in Abi::ALL {
        let calls: Vec<_> = abi.calls().collect();
        assert!(
            calls.windows(2).all(|pair| pair[0].1 < pair[1].1),
            "{abi:?}"
        );
        assert!(calls.len() > 300, "{abi:?}");
        assert!(calls.iter().all(|(name, _)| !name.contains('#')), "{abi:?}");
        for name in [
            "read",
            "execve",
            "ioctl",
            "recvmsg",
            "file_setattr",
            "listns",
        ] {
            assert!(
                calls.iter().any(|(known, _)| *known == name),
                "{abi:?} {name}"
            );
        }
    }
}
