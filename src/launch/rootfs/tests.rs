//! Real mounts, in new namespaces of forked children, seen from inside.

mod attributes;
mod entry;
mod filesystems;
mod hostile;
mod nodes;
mod shared;
mod sources;
mod world;

use std::path::Path;

use serde_json::json;

use self::world::{World, is_root, mount_of};

/// What Docker writes for a container without options.
pub(super) fn docker(world: &World) -> serde_json::Value {
    let file = |name: &str| {
        json!({"destination": format!("/etc/{name}"), "type": "bind",
               "source": world.host.join(name), "options": ["rbind", "rprivate"]})
    };
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["ro", "nosuid", "noexec", "nodev"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
        file("resolv.conf"), file("hostname"), file("hosts"),
    ])
}

/// Docker's, and two that every kernel has.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/proc/version",
    "/sys/kernel",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn check_docker(user: bool) {
    let mut world = World::new();
    world.user = user;
    world.image(|root| {
        for name in ["etc", "proc", "sys", "dev", "tmp"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("etc/hosts"), "of the image").unwrap();
    });
    world.host(|host| {
        for name in ["resolv.conf", "hostname", "hosts"] {
            std::fs::write(host.join(name), "of the host").unwrap();
        }
    });
    world.mounts = docker(&world);
    world.linux["maskedPaths"] = json!(MASKED);
    world.linux["readonlyPaths"] = json!(READ_ONLY);
    world.run(|mounts| {
        let at = |path: &str| mount_of(mounts, path);
        for (path, kind, source, options) in [
            ("/proc", "proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
            ("/dev", "tmpfs", "tmpfs", "rw,nosuid"),
            ("/dev/pts", "devpts", "devpts", "rw,nosuid,noexec,relatime"),
            ("/sys", "sysfs", "sysfs", "ro,nosuid,nodev,noexec,relatime"),
            (
                "/dev/mqueue",
                "mqueue",
                "mqueue",
                "rw,nosuid,nodev,noexec,relatime",
            ),
            (
                "/dev/shm",
                "tmpfs",
                "shm",
                "rw,nosuid,nodev,noexec,relatime",
            ),
        ] {
            let mount = at(path);
            assert_eq!(
                (
                    mount.kind.as_str(),
                    mount.source.as_str(),
                    mount.options.as_str()
                ),
                (kind, source, options),
                "{path}"
            );
        }
        assert!(at("/dev").superblock.contains("mode=755"));
        assert!(at("/dev/shm").superblock.contains("size=65536k"));
        assert!(at("/sys/fs/cgroup").options.starts_with("ro,"));
        for name in ["resolv.conf", "hostname", "hosts"] {
            let path = Path::new("/etc").join(name);
            assert_eq!(std::fs::read_to_string(path).unwrap(), "of the host");
        }
        assert_eq!(std::fs::read("/proc/version").unwrap(), b"");
        assert_eq!(std::fs::read_dir("/sys/kernel").unwrap().count(), 0);
        let refused = std::fs::write("/proc/sys/vm/swappiness", "60").unwrap_err();
        assert!(matches!(
            refused.raw_os_error(),
            Some(libc::EROFS | libc::EACCES)
        ));
        assert!(
            at("/proc/sys")
                .options
                .starts_with("ro,nosuid,nodev,noexec")
        );
        std::fs::write("/dev/null", "gone").unwrap();
        assert_eq!(
            std::fs::read_link("/dev/ptmx").unwrap(),
            Path::new("pts/ptmx")
        );
        assert_eq!(
            std::fs::read_link("/dev/fd").unwrap(),
            Path::new("/proc/self/fd")
        );
        std::fs::File::open("/dev/ptmx").unwrap();
        std::fs::write("/tmp/a", "the root can be written").unwrap();
        assert_eq!(at("/etc/hosts").propagation, "");
        // Nothing of the outside is left.
        assert_eq!(mounts.iter().filter(|mount| mount.path == "/").count(), 1);
        assert!(!mounts.iter().any(|mount| mount.path.contains("bundle")));
    });
}

#[test]
fn what_docker_asks_for_is_what_stands() {
    if is_root("what_docker_asks_for_is_what_stands") {
        check_docker(false);
    }
}

#[test]
fn what_docker_asks_for_stands_in_a_user_namespace() {
    if is_root("what_docker_asks_for_stands_in_a_user_namespace") {
        check_docker(true);
    }
}
