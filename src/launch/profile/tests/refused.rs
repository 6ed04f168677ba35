//! What no filter can do is refused, by name.

use serde_json::{Value, json};

use super::samples::parse;
use crate::launch::profile::Profile;

fn refusal(seccomp: Value) -> String {
    Profile::compile(&parse(seccomp)).unwrap_err().to_string()
}

fn of_rule(rule: Value) -> String {
    refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "syscalls": [rule]}))
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn arguments_and_names_that_do_not_exist() {
    let arg = json!([{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]);
    let error =
        of_rule(json!({"names": ["getpid"], "action": "SCMP_ACT_LOG", "args": arg.clone()}));
    says(
        &error,
        &["linux.seccomp.syscalls", "`getpid`", "argument 6"],
    );
    let arg = json!([{"index": u64::MAX, "value": 0, "op": "SCMP_CMP_EQ"}]);
    says(
        &of_rule(json!({"names": ["getpid"], "action": "SCMP_ACT_LOG", "args": arg})),
        &["18446744073709551615"],
    );
    says(
        &of_rule(json!({"names": ["getpid", ""], "action": "SCMP_ACT_LOG"})),
        &["empty string"],
    );
}

#[test]
fn errnos_that_cannot_be_answered() {
    let error = of_rule(json!({"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4_096}));
    says(&error, &["errnoRet of the rule for `a`", "4096"]);
    let error = of_rule(json!({"names": ["a"], "action": "SCMP_ACT_KILL", "errnoRet": 1}));
    says(&error, &["errnoRet of the rule for `a`", "SCMP_ACT_KILL "]);
    let error = refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}));
    says(&error, &["defaultErrnoRet", "SCMP_ACT_ALLOW"]);
    let error = refusal(json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 70_000}));
    says(&error, &["defaultErrnoRet", "70000"]);
}

#[test]
fn two_answers_for_the_same_arguments() {
    let rules = |first: Value, second: Value| {
        let rule = |action, args| json!({"names": ["dup"], "action": action, "args": args});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule("SCMP_ACT_KILL", first), rule("SCMP_ACT_TRAP", second)]})
    };
    let arg = |index, value| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let error = refusal(rules(json!([arg(0, 1)]), json!([arg(0, 1)])));
    says(&error, &["`dup`", "different actions"]);
    // What the first one says of some, the second one says of all.
    let error = refusal(rules(json!([arg(1, 2), arg(0, 1)]), json!([arg(0, 1)])));
    says(&error, &["`dup`"]);
    // The other way around the first one has decided.
    let seccomp = rules(json!([arg(0, 1)]), json!([arg(0, 1), arg(1, 2)]));
    assert!(Profile::compile(&parse(seccomp)).is_ok());
    // As 32 bits they are the same, which matters where such programs are let in.
    let mut seccomp = rules(json!([arg(0, 1)]), json!([arg(0, 0x1_0000_0001_u64)]));
    #[cfg(target_arch = "x86_64")]
    {
        assert!(Profile::compile(&parse(seccomp.clone())).is_ok());
        seccomp["architectures"] = json!(["SCMP_ARCH_X86"]);
        says(&refusal(seccomp), &["`dup`"]);
    }
}

#[test]
fn notifications_that_nobody_could_answer() {
    let error = refusal(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"}));
    says(
        &error,
        &["SCMP_ACT_NOTIFY cannot be used as default action"],
    );
    let error = of_rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}));
    says(
        &error,
        &["SCMP_ACT_NOTIFY cannot be used for the write syscall"],
    );
    for listener in [json!(null), json!("")] {
        let error = refusal(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener,
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
        );
        says(
            &error,
            &["linux.seccomp.listenerPath is not set", "`mkdir`"],
        );
    }
    let error = refusal(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}));
    says(&error, &["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
}

#[test]
fn a_program_longer_than_the_kernel_takes() {
    for count in [1_000_u64, 5_000, 100_000] {
        let args: Vec<Value> = (0..count)
            .map(|value| json!({"index": 0, "value": value << 16, "op": "SCMP_CMP_EQ"}))
            .collect();
        let error = of_rule(json!({"names": ["dup"], "action": "SCMP_ACT_KILL", "args": args}));
        says(&error, &["instructions", "4096"]);
    }
}

#[test]
fn words_that_the_specification_does_not_have() {
    let error = |seccomp: Value| {
        serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(seccomp)
            .unwrap_err()
            .to_string()
    };
    says(
        &error(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]})),
        &["SECCOMP_FILTER_FLAG_X"],
    );
    says(
        &error(json!({"defaultAction": "SCMP_ACT_NONE"})),
        &["SCMP_ACT_NONE"],
    );
    says(
        &error(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]})),
        &["SCMP_ARCH_VAX"],
    );
}
