//! Policies for containers: what a policy denies is denied to the first process and to those that
//! join it alike, and nothing that the container's configuration says makes it more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use super::yard::{Called, Yard};

/// Programs run, files are the image's, `/data` is written, and one file of the image is taken away.
fn plain() -> Value {
    json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [
            {"action": "allow", "path": "/data",
             "perms": ["read_file", "read_dir", "write_file", "write_dir"]},
            {"action": "deny", "path": "/etc/shadow", "perms": ["read_file"]}
        ]}
    })
}

struct Held {
    yard: Yard,
    policy: String,
}

impl Held {
    /// A yard with a policy in a file, a secret in the image and a volume with another.
    fn new(test: &str, policy: &Value) -> Option<Held> {
        let yard = Yard::new(test)?;
        let shadow = yard
            .scratch
            .file("rootfs/etc/shadow", b"secret of the image");
        fs::set_permissions(shadow, fs::Permissions::from_mode(0o600)).expect("it is ours");
        yard.scratch
            .file("rootfs/etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
        yard.scratch.file("rootfs/data/old", b"old");
        yard.scratch.file("rootfs/vol/under", b"under");
        yard.scratch.file("volume/file", b"secret of the host");
        let text = serde_json::to_vec(policy).expect("a policy is JSON");
        yard.scratch.file("policy.json", &text);
        let policy = yard.scratch.entry("policy.json");
        Some(Held { yard, policy })
    }

    /// A configuration with the volume, every capability and no profile: nothing else denies.
    fn spec(&self, id: &str, line: &str) -> Value {
        let mut spec = self.yard.spec(id, &["sh", "-c", line]);
        let all = json!([
            "CAP_DAC_OVERRIDE",
            "CAP_SYS_ADMIN",
            "CAP_NET_RAW",
            "CAP_SYS_CHROOT"
        ]);
        spec["process"]["capabilities"] =
            json!({"bounding": all, "effective": all, "permitted": all});
        spec["process"]["noNewPrivileges"] = json!(false);
        let volume = json!({"destination": "/vol", "type": "bind", "options": ["rbind", "rw"],
                            "source": self.yard.scratch.entry("volume")});
        spec["mounts"]
            .as_array_mut()
            .expect("mounts are a list")
            .push(volume);
        spec
    }

    /// Runs a line, with these flags before the verb.
    fn run(&self, flags: &[&str], line: &str) -> Called {
        self.run_of(flags, &self.spec("c", line))
    }

    fn run_of(&self, flags: &[&str], spec: &Value) -> Called {
        let bundle = self.yard.bundle("c", spec);
        let rest = ["run", "--bundle", &bundle, "c"];
        self.yard.call(&[flags, &rest[..]].concat())
    }

    fn flag(&self) -> [&str; 2] {
        ["--policy", &self.policy]
    }
}

/// Each attempt prints `NAME yes` where it has an effect.
const ATTEMPTS: &str = "\
try() { name=$1; shift; if eval \"$*\" 2>/dev/null; then echo $name yes; else echo $name no; fi; }
try image 'grep -q root /etc/passwd'
try data 'echo x >/data/new && grep -q x /data/new'
try device 'echo x >/dev/null'
try memory 'echo x >/tmp/new && grep -q x /tmp/new'
try secret 'grep -q secret /etc/shadow'
try outside 'echo x >/etc/new'
try truncate 'truncate -s 0 /etc/passwd'
try volume 'grep -q secret /vol/file'
try into 'echo x >/vol/new'
try socket 'nc -l -p 9999 -w 1 -e true; nc 127.0.0.1 1 2>&1 | grep -q refused'
try setid 'chmod 4755 /data/old'
try mount 'mount -t tmpfs none /data'
";

const HELD: &str = "image yes\ndata yes\ndevice yes\nmemory yes\nsecret no\noutside no\ntruncate no\n\
    volume no\ninto no\nsocket no\nsetid no\nmount no\n";

#[test]
fn a_policy_holds_what_a_plain_container_may_do() {
    let Some(held) = Held::new("a_policy_holds_what_a_plain_container_may_do", &plain()) else {
        return;
    };
    held.run(&held.flag(), ATTEMPTS).prints(HELD);
    let untouched = fs::read(held.yard.scratch.path().join("volume/file")).unwrap();
    assert_eq!(untouched, b"secret of the host");
    assert!(!held.yard.scratch.path().join("volume/new").exists());
    // Without it every attempt succeeds: each was kept by the policy and by nothing else.
    let open = held.run(&[], ATTEMPTS).expect(0).stdout();
    let kept: Vec<&str> = open.lines().filter(|line| line.ends_with(" no")).collect();
    assert_eq!(kept, Vec::<&str>::new(), "{open}");
    held.yard.ends_clean();
}

#[test]
fn a_process_that_joins_is_held_as_the_first_one_is() {
    let Some(held) = Held::new("a_process_that_joins_is_held_as_the_first_one_is", &plain()) else {
        return;
    };
    let bundle = held.yard.bundle("c", &held.spec("c", "sleep 1000"));
    let [flag, file] = held.flag();
    held.yard
        .call(&[flag, file, "create", "--bundle", &bundle, "c"])
        .expect(0);
    held.yard.call(&["start", "c"]).expect(0);
    // What the file says later changes nothing.
    fs::write(&held.policy, "{}").expect("the policy can be written");
    held.yard
        .call(&["exec", "c", "sh", "-c", ATTEMPTS])
        .prints(HELD);
    held.yard
        .call(&["exec", "c", "grep", "NoNewPrivs", "/proc/self/status"])
        .prints("NoNewPrivs:\t1\n");
    // A path that was granted and leads elsewhere now is granted no more.
    held.yard
        .call(&[
            "exec",
            "c",
            "sh",
            "-c",
            "cd /data && rm -r old new; mkdir /data/x",
        ])
        .expect(0);
    let rootfs = held.yard.scratch.path().join("rootfs");
    fs::rename(rootfs.join("data"), rootfs.join("moved")).unwrap();
    symlink("/etc", rootfs.join("data")).unwrap();
    held.yard
        .call(&["exec", "c", "sh", "-c", "echo x >/data/new"])
        .fails(1, "Permission denied");
    held.yard.remove("c");
    held.yard.ends_clean();
}

#[test]
fn a_volume_is_what_a_rule_grants() {
    let policy = json!({"version": 1, "defaults": {"fs": "allow", "net": "deny", "exec": "allow"}});
    let Some(held) = Held::new("a_volume_is_what_a_rule_grants", &policy) else {
        return;
    };
    let line = "cat /vol/file 2>/dev/null || echo closed; echo x >/etc/new && echo open";
    held.run(&held.flag(), line).prints("closed\nopen\n");
    let grant = json!({"version": 1, "defaults": {"fs": "allow", "net": "deny", "exec": "allow"},
        "fs": {"rules": [{"action": "allow", "path": "/vol", "perms": ["read_file", "read_dir"]}]}});
    fs::write(&held.policy, grant.to_string()).unwrap();
    let line = "cat /vol/file; echo; echo x >/vol/new || chmod 777 /vol/file || echo kept";
    held.run(&held.flag(), line)
        .prints("secret of the host\nkept\n");
    held.yard.ends_clean();
}

#[test]
fn nothing_runs_but_the_one_program() {
    let mut policy = plain();
    policy["defaults"]["exec"] = json!("deny");
    let Some(held) = Held::new("nothing_runs_but_the_one_program", &policy) else {
        return;
    };
    let line = "echo began; /bin/true || /bin/busybox true || exec /bin/true";
    let ran = held.run(&held.flag(), line).expect(126);
    assert_eq!(ran.stdout(), "began\n", "{ran}");
    let program = json!({"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
        "exec": {"rules": [{"action": "allow", "path": "/bin/true"}]}});
    fs::write(&held.policy, program.to_string()).unwrap();
    held.run(&held.flag(), "true")
        .fails(1, "a list of programs is not held");
    held.yard.ends_clean();
}

#[test]
fn an_annotation_narrows_and_never_widens() {
    let Some(held) = Held::new("an_annotation_narrows_and_never_widens", &plain()) else {
        return;
    };
    let annotated = |name: &str, line: &str| {
        let mut spec = held.spec("c", line);
        spec["annotations"] = json!({"buntime.dev/policy": name});
        spec
    };
    // Shipped, and open where the file is closed: it lets the working directory be written.
    let flags = ["--allow-degraded", "--policy", &held.policy];
    let line = "echo x >/data/new && echo data; echo x >/etc/new && echo widened; read x </etc/shadow && echo seen";
    let ran = held
        .run_of(&flags, &annotated("no-network", line))
        .expect(1);
    assert_eq!(ran.stdout(), "data\n", "{ran}");
    // Shipped, and closed where the file is open.
    let closed = annotated("strict", "echo began; /bin/true; echo x >/data/new");
    let events = held.yard.scratch.entry("events.jsonl");
    let recorded = [&flags[..], &["--events", &events]].concat();
    let ran = held.run_of(&recorded, &closed).expect(1);
    assert_eq!(ran.stdout(), "began\n", "{ran}");
    for name in ["../../etc/passwd", "/etc/passwd", "", ".hidden"] {
        held.run_of(&flags, &annotated(name, "true"))
            .fails(1, "it is no name of a policy");
    }
    held.run_of(&flags, &annotated("unknown", "true"))
        .fails(1, "no shipped policy of this name");
    held.yard.ends_clean();
}

#[test]
fn what_is_not_carried_out_is_refused_by_name_or_said() {
    let mut policy = plain();
    policy["plugins"] = json!({"namespaces": true, "landlock": true, "seccomp": true});
    policy["limits"] = json!({"memory": "64M", "pids": 32, "files": 77});
    let Some(held) = Held::new(
        "what_is_not_carried_out_is_refused_by_name_or_said",
        &policy,
    ) else {
        return;
    };
    let spec = |line: &str| {
        let mut spec = held.spec("c", line);
        let namespaces = spec["linux"]["namespaces"].as_array_mut();
        namespaces
            .expect("namespaces are a list")
            .retain(|one| one["type"] != "ipc");
        spec
    };
    held.run_of(&held.flag(), &spec("true"))
        .fails(1, "plugins.namespaces");
    let mut linked = held.spec("c", "true");
    linked["annotations"] = json!({"buntime.dev/network": "veth"});
    held.run_of(&held.flag(), &linked)
        .fails(1, "take the annotation out");
    held.run(&["--policy", "no-such-policy"], "true")
        .fails(1, "no shipped policy");
    let [flag, file] = held.flag();
    held.run_of(
        &[&format!("{flag}={file}"), "--allow-degraded"],
        &spec("ulimit -n"),
    )
    .prints("77\n");

    let bundle = held.yard.bundle("c", &spec("sleep 1000"));
    // As an engine puts them: flags of the runtime, then its own.
    let log = held.yard.scratch.entry("log.json");
    let flags = [
        flag,
        file,
        "--allow-degraded",
        "--log",
        &log,
        "--log-format",
        "json",
    ];
    held.yard
        .call(&[&flags[..], &["create", "--bundle", &bundle, "c"]].concat())
        .expect(0);
    let state = held.yard.state("c");
    let shown = &state["buntime"]["policy"];
    assert_eq!(shown["names"], json!([file]));
    let enforced = shown["enforced"].as_array().expect("a list").clone();
    let of = |name: &str| {
        let found = enforced.iter().find(|one| one["mechanism"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {state}"))["state"].clone()
    };
    for name in [
        "landlock",
        "seccomp",
        "network",
        "exec",
        "masks",
        "no_new_privs",
        "limits.memory",
    ] {
        assert_eq!(of(name), "full", "{name}");
    }
    assert_eq!(of("plugins.namespaces"), "none");
    let update = ["update", "--memory", "1G", "c"];
    held.yard.call(&update).expect(0);
    for group in held.yard.groups() {
        for name in ["memory.limit_in_bytes", "memory.max"] {
            if let Ok(text) = fs::read_to_string(group.join("c").join(name)) {
                assert_eq!(
                    text.trim(),
                    (64 << 20).to_string(),
                    "an update lifts no limit"
                );
            }
        }
    }
    held.yard.remove("c");

    let bundle = held.yard.bundle("p", &held.spec("p", "sleep 1000"));
    let plain = held
        .yard
        .call(&["--debug", "create", "--bundle", &bundle, "p"]);
    assert!(plain.expect(0).stderr().contains("no policy"));
    assert_eq!(held.yard.state("p")["buntime"], json!({"policy": null}));
    held.yard.remove("p");
    held.yard.ends_clean();
}
