//! `spec`: a configuration to start from.

use serde_json::{Value, json};

/// A configuration that runs a shell in `rootfs`, as root without most of root's rights.
#[must_use]
pub fn example() -> Value {
    let few = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm"
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": few,
                "effective": few,
                "permitted": few,
                "ambient": few
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "buntime",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"},
                {"type": "network"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"}
            ],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger"
            ]
        }
    });
    // As callers know it from runc, and some of them add the namespace where it is not listed.
    if has_one_hierarchy()
        && let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut()
    {
        namespaces.push(json!({"type": "cgroup"}));
    }
    spec
}

/// Whether control groups are of version 2 alone.
fn has_one_hierarchy() -> bool {
    rustix::fs::statfs("/sys/fs/cgroup")
        .is_ok_and(|found| found.f_type == libc::CGROUP2_SUPER_MAGIC)
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        json!({
            "destination": destination,
            "type": kind,
            "source": source,
            "options": options
        })
    };
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"]
        )
    ])
}

/// The same for a caller that is not root: a user namespace in which only the caller is mapped, and
/// nothing that needs more.
#[must_use]
pub fn example_rootless(uid: u32, gid: u32) -> Value {
    let mut spec = example();
    let one = |outside: u32| json!([{"containerID": 0, "hostID": outside, "size": 1}]);
    let linux = &mut spec["linux"];
    linux["uidMappings"] = one(uid);
    linux["gidMappings"] = one(gid);
    if let Some(kept) = linux.as_object_mut() {
        kept.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        // The caller's network, which without a helper is the only one that leads anywhere.
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        for mount in mounts.iter_mut() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
            // A new one needs a network namespace of the same user namespace. The host's control
            // groups lie on it, which nobody inside is to change.
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys",
                    "type": "none",
                    "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "rro"]
                });
            }
        }
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    }
    spec
}
