//! Bundles: the one that Buntime writes, run by other runtimes too, and those that other runtimes
//! write, run by Buntime.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, alone, buntime, is_root};

const CODE: &str = "
import os, sys
print(6*7, os.getuid(), sys.prefix, len(open('/etc/passwd').readlines()))
for path in ('/etc/shadow', '/root', '/home'):
    try:
        os.stat(path) and print('there is', path)
    except OSError:
        pass
for path in ('/usr/lib/planted', '/etc/planted', '/planted'):
    try:
        open(path, 'w') and print('wrote', path)
    except OSError:
        pass
open('/tmp/own', 'w').write('x')
";

const SAID: &str = "42 1000 /usr 3\n";

/// A runtime's run of a bundle, with a state folder of its own.
fn other(runtime: &str, scratch: &Scratch, bundle: &str, name: &str) -> Finished {
    // Debian's crun refuses a hybrid layout of control groups, so none sees that mount.
    let hide = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";
    let mut words = vec!["--mount", "sh", "-c", hide, "sh", runtime];
    if runtime == "crun" {
        words.push("--cgroup-manager=disabled");
    }
    let state = scratch.entry(&format!("state-{runtime}"));
    words.extend(["--root", &state, "run", "--bundle", bundle, name]);
    Child::new("unshare")
        .args(words)
        .clean_path()
        .input(CODE)
        .run()
}

#[test]
fn the_written_bundle_runs_everywhere() {
    let _alone = alone();
    if !is_root("the_written_bundle_runs_everywhere") {
        return;
    }
    let scratch = Scratch::new();
    let bundle = scratch.entry("bundle");
    // Whatever mask its writer has.
    Child::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(scratch.binary())
        .args(["bundle", "init", "python", &bundle])
        .run()
        .prints(&format!("{bundle}\n"));
    for runtime in ["runc", "crun"] {
        let name = format!("test-{}", std::process::id());
        let done = other(runtime, &scratch, &bundle, &name);
        assert_eq!(done.stdout(), SAID, "{runtime}: {done}");
        done.expect(0);
    }
    buntime(["run", "--bundle", &bundle])
        .input(CODE)
        .run()
        .prints(SAID);
    buntime(["run", "--bundle", &bundle, "-c", CODE])
        .run()
        .prints(SAID);
    buntime([
        "run", "--bundle", &bundle, "--", "python3", "-Ic", "print(7)",
    ])
    .run()
    .prints("7\n");
    Child::new(scratch.binary())
        .args(["run", "--bundle", &bundle, "-c", "print(6*7)"])
        .clean_path()
        .of_user(&scratch.home())
        .run()
        .prints("42\n");
}

/// A bundle of somebody else: a static shell and a runtime's own template.
fn foreign(scratch: &Scratch, runtime: &str) -> String {
    let bundle = scratch.entry(runtime);
    let root = Path::new(&bundle).join("rootfs");
    for folder in ["bin", "proc", "dev", "sys", "tmp", "etc", "data"] {
        fs::create_dir_all(root.join(folder)).expect("a root");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for name in ["sh", "cat", "id", "ls", "mkdir"] {
        symlink("busybox", root.join("bin").join(name)).expect("a name of it");
    }
    Child::new(runtime)
        .args(["spec", "--bundle", &bundle])
        .clean_path()
        .current_dir(&bundle)
        .run()
        .expect(0);
    bundle
}

fn configure(bundle: &str, change: impl FnOnce(&mut Value)) {
    let file = Path::new(bundle).join("config.json");
    let text = fs::read_to_string(&file).expect("a configuration");
    let mut value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    fs::write(file, value.to_string()).expect("the configuration is written");
}

#[test]
fn a_runtimes_own_template_runs_with_the_least() {
    let _alone = alone();
    if !is_root("a_runtimes_own_template_runs_with_the_least") {
        return;
    }
    let scratch = Scratch::new();
    for runtime in ["runc", "crun"] {
        let bundle = foreign(&scratch, runtime);
        let report = scratch.entry("report.json");
        let input = "echo $((6*7)) $(pwd); read line < /etc/shadow || read line < /proc/self/status; \
                     echo x > /bin/planted || echo x > /tmp/own && echo wrote\n";
        let run = buntime(["run", "--bundle", &bundle, "--report", &report]);
        let done = run.input(input).run().expect(0);
        assert_eq!(done.stdout(), "42 /\nwrote\n", "{runtime}: {done}");
        assert!(!Path::new(&bundle).join("rootfs/bin/planted").exists());
        let text = fs::read_to_string(&report).expect("a report");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let said = |name: &str| {
            let all = report["enforced"].as_array().expect("a list");
            all.iter()
                .any(|one| one["mechanism"] == format!("bundle: {name}"))
        };
        for narrowed in ["process.capabilities", "process.user", "mount on /sys"] {
            assert!(said(narrowed), "{runtime}: {narrowed}: {text}");
        }
        // What it asks for is looked at where it is asked: the soft limit on descriptors.
        let code = "while read -r line; do case $line in *'open files'*) echo \"$line\"; esac; done < /proc/self/limits";
        configure(&bundle, |value| {
            value["process"]["args"] = json!(["sh", "-c", code]);
            value["process"]["rlimits"] =
                json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 30 }]);
        });
        let done = buntime(["run", "--bundle", &bundle]).run().expect(0);
        let words: Vec<String> = done
            .stdout()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words[3..5], ["20", "30"], "{done}");
    }
}

#[test]
fn mounts_and_filters_of_a_bundle_hold() {
    let _alone = alone();
    if !is_root("mounts_and_filters_of_a_bundle_hold") {
        return;
    }
    let scratch = Scratch::new();
    let bundle = foreign(&scratch, "runc");
    scratch.file("runc/host/file", b"of the bundle\n");
    let run = |words: &[&str]| {
        // From another directory: a source is relative to the bundle.
        let run = buntime(["run", "--allow-run", "--bundle", &bundle, "--"]);
        run.args(words).current_dir("/").run()
    };
    configure(&bundle, |value| {
        let mounts = value["mounts"].as_array_mut().expect("a list");
        mounts.push(
            json!({ "destination": "/data", "type": "bind", "source": "host",
            "options": ["rbind", "rw"] }),
        );
        mounts.push(
            json!({ "destination": "/run/own", "type": "tmpfs", "source": "tmpfs",
            "options": ["size=64k"] }),
        );
    });
    run(&["cat", "/data/file"]).prints("of the bundle\n");
    let done = run(&["sh", "-c", "echo x > /data/planted"]);
    assert_ne!(done.status.code(), Some(0), "{done}");
    assert!(!Path::new(&bundle).join("host/planted").exists());
    run(&["sh", "-c", "echo kept > /run/own/file && cat /run/own/file"]).prints("kept\n");
    let done = run(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 5000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done > /run/own/file",
    ]);
    assert!(
        done.stderr().contains("No space"),
        "64 KiB hold 200 KB\n{done}"
    );

    run(&["mkdir", "/tmp/made"]).expect(0);
    configure(&bundle, |value| {
        value["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] });
    });
    let done = run(&["mkdir", "/tmp/made"]);
    assert!(done.stderr().contains("not permitted"), "{done}");

    configure(&bundle, |value| {
        value["linux"]["sysctl"] = json!({ "kernel.domainname": "x" })
    });
    let done = run(&["id"]).expect(125);
    assert!(done.stderr().contains("linux.sysctl"), "{done}");
}

/// What interfaces a sandbox has is its bundle's to choose where no flag does.
#[test]
fn a_bundle_chooses_its_interfaces() {
    let _alone = alone();
    if !is_root("a_bundle_chooses_its_interfaces") {
        return;
    }
    let scratch = Scratch::new();
    let bundle = foreign(&scratch, "runc");
    let chosen = |choice: &str| {
        configure(&bundle, |value| {
            value["annotations"] = json!({ "buntime.dev/network": choice, "other": "x" });
        });
    };
    let run = |flags: &[&str]| {
        let run = buntime(["run", "--quiet", "--bundle", &bundle]);
        let command = ["--", "cat", "/proc/net/dev"];
        run.args(flags).args(command).run()
    };
    let net = "--allow-net=allowed.example";
    chosen("veth");
    let done = run(&[net]).expect(0);
    assert!(done.stdout().contains("eth0:"), "{done}");
    let done = run(&[net, "--network", "loopback"]).expect(0);
    assert!(!done.stdout().contains("eth0:"), "{done}");
    let done = run(&[]).expect(125);
    assert!(
        done.stderr().contains("the policy lets nothing leave"),
        "{done}"
    );
    chosen("bridge");
    let done = run(&[net]).expect(125);
    let why = "annotations.buntime.dev/network is \"bridge\": write \"loopback\" or \"veth\"";
    assert!(done.stderr().contains(why), "{done}");
}

#[test]
fn another_root_runs_what_is_in_it() {
    let _alone = alone();
    if !is_root("another_root_runs_what_is_in_it") {
        return;
    }
    let scratch = Scratch::new();
    let bundle = foreign(&scratch, "crun");
    let root = format!("{bundle}/rootfs");
    fs::write(format!("{root}/etc/own"), "of the root\n").expect("a file");
    buntime(["run", "--rootfs", &root, "--", "cat", "/etc/own"])
        .run()
        .prints("of the root\n");
    buntime(["run", "--rootfs", &root, "--", PYTHON, "-c", "pass"])
        .run()
        .expect(127);
    let done = buntime(["run", "--rootfs", &root, "--", "cat", "/etc/passwd"]).run();
    assert_ne!(done.status.code(), Some(0), "the root has none\n{done}");
}
