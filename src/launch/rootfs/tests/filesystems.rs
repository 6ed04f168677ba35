//! File systems that are made for the container.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use super::super::{Cgroups, Hierarchy};
use super::world::{World, is_root, mount_of};
use crate::launch::group::GroupRecord;

fn mode(path: &str) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_tmpfs_is_as_open_as_what_it_covers() {
    if !is_root("a_tmpfs_is_as_open_as_what_it_covers") {
        return;
    }
    let mut world = World::new();
    world.image(|root| {
        for (name, mode) in [("open", 0o1777), ("closed", 0o700), ("told", 0o711)] {
            std::fs::create_dir(root.join(name)).unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(root.join(name), mode).unwrap();
        }
    });
    let tmpfs = |target: &str, options: &[&str]| json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options});
    world.mounts = json!([
        tmpfs("/open", &["nosuid", "size=16k"]),
        tmpfs("/closed", &[]),
        tmpfs("/told", &["mode=0750", "uid=7", "gid=8"]),
        tmpfs("/new/deep", &["ro", "noexec"]),
        tmpfs("/new/deep/inside", &["rnodev"]),
    ]);
    world.run(|mounts| {
        assert_eq!(mode("/open"), 0o1777);
        assert_eq!(mode("/closed"), 0o700);
        assert_eq!(mode("/told"), 0o750);
        let told = std::fs::metadata("/told").unwrap();
        assert_eq!((told.uid(), told.gid()), (7, 8));
        assert!(mount_of(mounts, "/open").superblock.contains("size=16k"));
        // Read-only, and still what is mounted in it has found its place.
        assert_eq!(mount_of(mounts, "/new/deep").options, "ro,noexec,relatime");
        assert_eq!(
            mount_of(mounts, "/new/deep/inside").options,
            "rw,nodev,relatime"
        );
        assert_eq!(mode("/new"), 0o755);
        std::fs::write("/new/deep/inside/file", "x").unwrap();
    });
    world.mounts = json!([tmpfs("/open", &["size=1m", "no-such-option=2"])]);
    let failure = world.failure();
    assert!(
        failure.contains("/open") && failure.contains("no-such-option=2"),
        "{failure}"
    );
    world.mounts = json!([{"destination": "/open", "type": "no-such-fs"}]);
    assert!(world.failure().contains("no file system no-such-fs"));
    world.mounts = json!([{"destination": "/open", "options": ["ro"]}]);
    assert!(world.failure().contains("no type of a file system"));
}

#[test]
fn a_tmpfs_can_start_with_what_it_covers() {
    if !is_root("a_tmpfs_can_start_with_what_it_covers") {
        return;
    }
    let mut world = World::new();
    world.image(|root| {
        let data = root.join("data");
        std::fs::create_dir_all(data.join("a/b")).unwrap();
        std::fs::write(data.join("a/b/file"), vec![7; 100_000]).unwrap();
        std::fs::write(data.join("program"), "x").unwrap();
        std::os::unix::fs::chown(data.join("program"), Some(5), Some(6)).unwrap();
        let mode = std::fs::Permissions::from_mode(0o4711);
        std::fs::set_permissions(data.join("program"), mode).unwrap();
        std::fs::set_permissions(data.join("a"), PermissionsExt::from_mode(0o2750)).unwrap();
        symlink("/etc/passwd", data.join("link")).unwrap();
        let dir = std::fs::File::open(&data).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&dir, "fifo", fifo, 0o640.into(), 0).unwrap();
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o751)).unwrap();
    });
    world.mounts = json!([
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs",
         "options": ["tmpcopyup", "nosuid", "size=1m"]},
        {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    ]);
    world.run(|mounts| {
        assert_eq!(mount_of(mounts, "/data").kind, "tmpfs");
        assert_eq!(std::fs::read("/data/a/b/file").unwrap(), vec![7; 100_000]);
        assert_eq!(mode("/data/program"), 0o4711);
        let program = std::fs::metadata("/data/program").unwrap();
        assert_eq!((program.uid(), program.gid()), (5, 6));
        assert_eq!(mode("/data/a"), 0o2750);
        assert_eq!(mode("/data"), 0o751);
        let link = std::fs::read_link("/data/link").unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
        let fifo = std::fs::symlink_metadata("/data/fifo").unwrap();
        assert!(fifo.file_type().is_fifo());
        std::fs::write("/data/program", "only in the tmpfs").unwrap();
    });
    world.mounts = json!([{"destination": "/data", "type": "proc", "options": ["tmpcopyup"]}]);
    assert!(world.failure().contains("tmpcopyup"));
}

#[test]
fn an_overlay_may_have_many_layers() {
    if !is_root("an_overlay_may_have_many_layers") {
        return;
    }
    let mut world = World::new();
    let mut layers = Vec::new();
    for index in 0..8 {
        let name = format!("layer-with-a-name-that-is-long-enough-{index}");
        layers.push(format!("/tmp/host/{name}"));
        world.host(move |host| {
            let layer = host.join(&name);
            std::fs::create_dir(&layer).unwrap();
            std::fs::write(layer.join(format!("file{index}")), "x").unwrap();
        });
    }
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 300);
    let short = format!("lowerdir={}", layers[..2].join(":"));
    world.mounts = json!([
        {"destination": "/many", "type": "overlay", "source": "overlay",
         "options": [lower, "nosuid", "nodev", "noatime"]},
        {"destination": "/few", "type": "overlay", "source": "overlay", "options": [short]},
    ]);
    world.run(|mounts| {
        assert_eq!(std::fs::read_dir("/many").unwrap().count(), 8);
        assert_eq!(std::fs::read_dir("/few").unwrap().count(), 2);
        let many: Vec<_> = mounts
            .iter()
            .filter(|mount| mount.path == "/many")
            .collect();
        assert_eq!(many.len(), 1, "{many:?}");
        assert_eq!(many[0].options, "rw,nosuid,nodev,noatime");
        assert_eq!(many[0].kind, "overlay");
    });
}

#[test]
fn a_user_namespace_has_what_the_kernel_gives_it() {
    if !is_root("a_user_namespace_has_what_the_kernel_gives_it") {
        return;
    }
    let mut world = World::new();
    world.user = true;
    // The group tty has no id.
    world.ids = 3;
    world.mounts = json!([
        {"destination": "/pts", "type": "devpts", "source": "devpts",
         "options": ["newinstance", "ptmxmode=0666", "gid=5"]},
    ]);
    world.run(|mounts| {
        let pts = mount_of(mounts, "/pts").superblock;
        assert!(
            pts.contains("ptmxmode=666") && !pts.contains("gid"),
            "{pts}"
        );
    });
    // The network is the host's.
    world.shares = libc::CLONE_NEWNET;
    world.mounts = json!([{"destination": "/sys", "type": "sysfs", "source": "sysfs",
                           "options": ["nosuid", "ro"]}]);
    world.run(|mounts| {
        let of_sys = mounts.iter().filter(|mount| mount.path.starts_with("/sys"));
        let (mut count, mut writable) = (0, 0);
        for mount in of_sys {
            count += 1;
            writable += usize::from(!mount.options.starts_with("ro"));
        }
        assert!(count > 0 && writable == 0);
    });
    world.mounts = json!([{"destination": "/sys", "type": "sysfs", "source": "sysfs"}]);
    assert!(world.failure().contains("needs a network namespace"));
    world.shares = libc::CLONE_NEWPID;
    world.mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    assert!(world.failure().contains("needs a pid namespace"));
    world.shares = libc::CLONE_NEWIPC;
    world.mounts = json!([{"destination": "/mq", "type": "mqueue", "source": "mqueue"}]);
    assert!(world.failure().contains("needs an IPC namespace"));
}

fn cgroup() -> serde_json::Value {
    json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["ro", "nosuid", "noexec", "nodev"]}])
}

/// The hierarchies of version 1 that this host has, with their roots for a group.
fn hierarchies() -> Vec<Hierarchy> {
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let of_line = |line: &str| {
        let options = line.split(':').nth(1)?;
        let name = options.trim_start_matches("name=");
        let group = Path::new("/sys/fs/cgroup").join(name);
        (!name.is_empty() && group.join("tasks").exists()).then(|| Hierarchy {
            name: name.to_owned(),
            options: options.to_owned(),
            group,
        })
    };
    memberships.lines().filter_map(of_line).collect()
}

#[test]
fn control_groups_of_version_1_lie_side_by_side() {
    if !is_root("control_groups_of_version_1_lie_side_by_side") {
        return;
    }
    let known = hierarchies();
    for own_namespace in [true, false] {
        let mut world = World::new();
        world.mounts = cgroup();
        world.cgroup_namespace = own_namespace;
        world.cgroups = Cgroups::V1(known.clone());
        world.run(|mounts| {
            let ground = mount_of(mounts, "/sys/fs/cgroup");
            assert_eq!(ground.kind, "tmpfs");
            assert_eq!(ground.options, "rw,nosuid,nodev,noexec,relatime");
            for hierarchy in &known {
                let path = format!("/sys/fs/cgroup/{}", hierarchy.name);
                let mount = mount_of(mounts, &path);
                assert_eq!(mount.kind, "cgroup");
                assert!(mount.options.starts_with("ro,nosuid,nodev,noexec"));
                assert!(Path::new(&path).join("tasks").exists());
            }
        });
    }
}

#[test]
fn the_control_group_of_version_2_is_one() {
    if !is_root("the_control_group_of_version_2_is_one") {
        return;
    }
    let usual = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let is_unified = |path: &&&str| Path::new(path).join("cgroup.controllers").exists();
    let Some(host) = usual.iter().find(is_unified) else {
        return;
    };
    for user in [false, true] {
        let mut world = World::new();
        world.user = user;
        world.mounts = cgroup();
        world.cgroups = Cgroups::V2 {
            mount: host.into(),
            group: Some(host.into()),
        };
        world.run(|mounts| {
            let mount = mount_of(mounts, "/sys/fs/cgroup");
            assert_eq!(mount.kind, "cgroup2");
            assert!(mount.options.starts_with("ro,nosuid,nodev,noexec"));
        });
        // Without a cgroup namespace the host's has to do for a user namespace.
        world.shares = libc::CLONE_NEWCGROUP;
        world.cgroup_namespace = false;
        world.run(|mounts| {
            let mount = mount_of(mounts, "/sys/fs/cgroup");
            assert_eq!(mount.kind, "cgroup2");
            assert!(mount.options.starts_with("ro,nosuid,nodev,noexec"));
        });
    }
}

#[test]
fn a_group_tells_what_is_shown() {
    let record: GroupRecord = serde_json::from_value(json!({
        "v1": [{"controllers": "cpu,cpuacct", "path": "/g/cpu,cpuacct/x"},
               {"controllers": "name=systemd", "path": "/g/systemd/x"}],
    }))
    .unwrap();
    let Cgroups::V1(hierarchies) = Cgroups::of(&record) else {
        panic!("not of version 1");
    };
    let names: Vec<_> = hierarchies
        .iter()
        .map(|one| (one.name.as_str(), one.options.as_str()))
        .collect();
    assert_eq!(
        names,
        [("cpu,cpuacct", "cpu,cpuacct"), ("systemd", "name=systemd")]
    );
}
