//! Ways out of a container that other runtimes have had, tried by a hostile image, by a hostile
//! state, and through descriptors that the caller or the runtime left open.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::{Value, json};

use super::yard::Yard;
use crate::support::USER;

/// Descriptors that a runtime or its caller may have open.
const DESCRIPTORS: std::ops::Range<u32> = 3..20;

/// A caller that leaves a directory of the host open for all that it starts.
const LEAKING: &str = "exec 3<\"$DIR\" 9<\"$DIR\"; exec \"$@\"";

/// A program of the host's beside the state directory, and in the image a link to it for each
/// descriptor, by way of a directory two levels below: a bundle or a container's state.
fn links_to_the_host(yard: &Yard) {
    let program = yard.scratch.entry("outside");
    fs::copy("/bin/busybox", &program).expect("a program can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    for number in DESCRIPTORS {
        let link = yard.scratch.entry(&format!("rootfs/busybox{number}"));
        symlink(format!("/proc/self/fd/{number}/../../outside"), link).expect("a link is made");
    }
}

/// CVE-2024-21626: what is open while the program is looked for has a name in /proc.
#[test]
fn a_link_to_a_descriptor_runs_no_program_of_the_host() {
    let Some(yard) = Yard::new("a_link_to_a_descriptor_runs_no_program_of_the_host") else {
        return;
    };
    links_to_the_host(&yard);
    let sleeping = yard.spec("two", &["sleep", "1000"]);
    let folder = yard.bundle("two", &sleeping);
    let assign = format!("DIR={folder}");
    let leaking = ["env", &assign, "sh", "-c", LEAKING, "sh"];
    let args = |number: u32| {
        [
            format!("/busybox{number}"),
            "echo".to_owned(),
            "outside".to_owned(),
        ]
    };
    let create = |number: u32| {
        let words = args(number);
        let spec = yard.spec("one", &words.each_ref().map(String::as_str));
        yard.bundle("one", &spec)
    };
    // The links do lead out, as the one shows whose descriptor the caller has given.
    let given = ["run", "--preserve-fds", "1", "--bundle", &create(3), "one"];
    let told = yard.call_below(&leaking, &given);
    assert!(told.stdout().contains("outside"), "{told}");
    yard.create("two", &sleeping).expect(0);
    yard.call(&["start", "two"]).expect(0);
    for number in DESCRIPTORS {
        let run = ["run", "--bundle", &create(number), "one"];
        let told = yard.call_below(&leaking, &run);
        assert!(
            told.code() != Some(0) && !told.stdout().contains("outside"),
            "descriptor {number}: {told}"
        );
        let words = args(number);
        let mut exec = vec!["exec", "two"];
        exec.extend(words.iter().map(String::as_str));
        let told = yard.call_below(&leaking, &exec);
        assert!(
            told.code() != Some(0) && !told.stdout().contains("outside"),
            "descriptor {number} by exec: {told}"
        );
    }
    yard.remove("two");
    yard.ends_clean();
}

/// The same for the directory in which the program starts.
#[test]
fn a_descriptor_is_no_working_directory() {
    let Some(yard) = Yard::new("a_descriptor_is_no_working_directory") else {
        return;
    };
    links_to_the_host(&yard);
    yard.sleeper("two", |_| {});
    let assign = format!("DIR={}", yard.scratch.entry("bundles/two"));
    let leaking = ["env", &assign, "sh", "-c", LEAKING, "sh"];
    for number in DESCRIPTORS {
        let cwd = format!("/proc/self/fd/{number}");
        let mut spec = yard.spec("one", &["sh", "-c", "ls ../../outside && echo outside"]);
        spec["process"]["cwd"] = json!(cwd);
        let bundle = yard.bundle("one", &spec);
        let told = yard.call_below(&leaking, &["run", "--bundle", &bundle, "one"]);
        assert!(!told.stdout().contains("outside"), "{cwd}: {told}");
        let exec = ["exec", "--cwd", &cwd, "two", "ls", "../../outside"];
        let told = yard.call_below(&leaking, &exec);
        assert!(
            told.code() != Some(0) && !told.stdout().contains("outside"),
            "{cwd} by exec: {told}"
        );
    }
    yard.remove("two");
    yard.ends_clean();
}

/// A container that shares the caller's mounts has a root that no namespace gives.
#[test]
fn a_process_that_joins_is_in_the_root_of_the_container() {
    let Some(yard) = Yard::new("a_process_that_joins_is_in_the_root_of_the_container") else {
        return;
    };
    let inside = yard.scratch.file("rootfs/etc/inside", b"inside\n");
    for namespaces in [json!([]), json!([{"type": "pid"}])] {
        yard.sleeper("one", |spec| {
            spec["mounts"] = json!([]);
            spec["linux"]["namespaces"] = namespaces.clone();
            spec.as_object_mut().map(|spec| spec.remove("hostname"));
        });
        yard.call(&["exec", "one", "cat", "/etc/inside"])
            .prints("inside\n");
        let host = yard.call(&["exec", "one", "cat", &inside]);
        assert_eq!(host.code(), Some(1), "the host's files are seen: {host}");
        yard.remove("one");
    }
    yard.ends_clean();
}

/// The names of sysctls say whose they are, and `..` leads to the host's.
#[test]
fn a_sysctl_of_the_host_is_not_set() {
    let Some(yard) = Yard::new("a_sysctl_of_the_host_is_not_set") else {
        return;
    };
    const HOST: &str = "/proc/sys/kernel/printk_delay";
    let before = fs::read_to_string(HOST).expect("the host has it");
    for name in [
        "net/../kernel/printk_delay",
        "net/ipv4/../../kernel/printk_delay",
        "net.ipv4/../../kernel.printk_delay",
        "kernel.printk_delay",
    ] {
        let mut spec = yard.spec("one", &["true"]);
        spec["linux"]["sysctl"] = json!({name: "7"});
        let told = yard.run("one", &spec);
        let after = fs::read_to_string(HOST).expect("the host has it");
        if after != before {
            fs::write(HOST, &before).expect("it can be set back");
        }
        assert_eq!(after, before, "{name} has changed the host's: {told}");
        told.fails(1, "linux.sysctl");
    }
    yard.ends_clean();
}

/// A creation that was cut short has a group by its plan alone.
#[test]
fn a_container_without_a_process_takes_none_of_anothers() {
    let Some(yard) = Yard::new("a_container_without_a_process_takes_none_of_anothers") else {
        return;
    };
    yard.sleeper("one", |_| {});
    let state = yard.scratch.path().join("state");
    let text = fs::read(state.join("one/state.json")).expect("it has a state");
    let mut record: Value = serde_json::from_slice(&text).expect("it is JSON");
    record["id"] = json!("two");
    record["first"] = Value::Null;
    record["complete"] = json!(false);
    fs::create_dir(state.join("two")).expect("a folder can be made");
    fs::write(state.join("two/state.json"), record.to_string()).expect("it can be written");
    yard.call(&["delete", "--force", "two"]).expect(0);
    yard.call(&["state", "two"]).fails(1, "does not exist");
    assert_eq!(yard.state("one")["status"], "running", "it was killed");
    yard.remove("one");
    yard.ends_clean();
}

/// Whoever owns the state directory says what the runtime kills, joins and removes.
#[test]
fn a_state_directory_of_somebody_else_is_not_believed() {
    let Some(yard) = Yard::new("a_state_directory_of_somebody_else_is_not_believed") else {
        return;
    };
    yard.sleeper("one", |_| {});
    let root = yard.state_root();
    let give = |uid: u32, mode: u32| {
        chown(&root, Some(uid), None).expect("it can be given");
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("a mode can be set");
    };
    for (uid, mode) in [(USER, 0o700), (0, 0o777)] {
        give(uid, mode);
        for (args, code) in [
            (&["state", "one"][..], 1),
            (&["kill", "one", "KILL"], 1),
            (&["exec", "one", "true"], 255),
            (&["delete", "--force", "one"], 1),
        ] {
            yard.call(args).fails(code, "name another directory");
        }
        give(0, 0o711);
        assert_eq!(yard.state("one")["status"], "running");
    }
    yard.remove("one");
    yard.ends_clean();
}
