//! Devices of a container with a user namespace: the host's, or those that were made for it.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::entry::{dev, proc};
use super::world::{World, is_root, mount_of};
use crate::sys::mount;

#[test]
fn a_user_namespace_is_shown_the_hosts_devices_and_no_others() {
    if !is_root("a_user_namespace_is_shown_the_hosts_devices_and_no_others") {
        return;
    }
    let mut world = World::new();
    world.user = true;
    world.mounts = json!([dev(&["mode=755"])]);
    world.run(|mounts| {
        assert_eq!(
            mount_of(mounts, "/dev/null").options,
            "rw,nosuid,noexec,relatime"
        );
        std::fs::write("/dev/null", "x").unwrap();
    });
    // Who cannot make devices has the host's alone. This name of the host's stands for another
    // device than the one that was allowed; and this one for none.
    world.without_mknod = true;
    world.run(|_| std::fs::write("/dev/null", "x").unwrap());
    for (path, why) in [
        ("/dev/zero", "another file there"),
        ("/dev/bt-none", "only root"),
    ] {
        world.linux["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 11}]);
        let failure = world.failure();
        assert!(failure.contains(why) && failure.contains(path), "{failure}");
    }
}

#[test]
fn a_user_namespace_has_devices_that_the_host_does_not_show() {
    if !is_root("a_user_namespace_has_devices_that_the_host_does_not_show") {
        return;
    }
    let mut world = World::new();
    world.user = true;
    world.mounts = json!([proc(), dev(&["mode=755"])]);
    world.linux["devices"] = json!([
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 3},
        {"path": "/else/where", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640,
         "uid": 10, "gid": 11},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0, "uid": 3, "gid": 4},
        {"path": "/dev/bt-disk", "type": "b", "major": 7, "minor": 9},
    ]);
    world.run(|mounts| {
        let told = |path: &str| {
            let found = std::fs::symlink_metadata(path).unwrap();
            let number = (
                rustix::fs::major(found.rdev()),
                rustix::fs::minor(found.rdev()),
            );
            (found.mode(), found.uid(), found.gid(), number)
        };
        let (char, block) = (libc::S_IFCHR, libc::S_IFBLK);
        assert_eq!(told("/dev/zero"), (char | 0o666, 0, 0, (1, 3)));
        assert_eq!(told("/else/where"), (char | 0o640, 10, 11, (1, 5)));
        assert_eq!(told("/dev/full"), (char | 0o600, 0, 0, (1, 7)));
        assert_eq!(told("/dev/bt-disk"), (block | 0o666, 0, 0, (7, 9)));
        assert_eq!(told("/dev/pipe"), (libc::S_IFIFO | 0o666, 3, 4, (0, 0)));
        // They are devices that work, and not files of that look.
        assert_eq!(std::fs::read("/dev/zero").unwrap(), b"");
        let full = std::fs::write("/dev/full", "x").unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        let mut byte = [7];
        let mut opened = std::fs::File::open("/else/where").unwrap();
        std::io::Read::read_exact(&mut opened, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        let shown = mount_of(mounts, "/else/where");
        assert_eq!(
            shown.options, "rw,nosuid,noexec,relatime",
            "as the host's would be"
        );
        // What is mounted is the node alone, and where it comes from is mounted nowhere.
        let roots = |place: &str| -> Vec<String> {
            let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let device = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
            let line = text
                .lines()
                .find(|line| line.split(' ').nth(4) == Some(place));
            let own = device(line.unwrap());
            let same = text.lines().filter(|line| device(line) == own);
            same.map(|line| line.split(' ').nth(3).unwrap().to_owned())
                .collect()
        };
        let roots = roots("/else/where");
        assert_eq!(roots.len(), 4, "{roots:?}");
        assert!(roots.iter().all(|root| root.len() > 1), "{roots:?}");
        // The container makes no more of them, wherever it tries.
        let more = rustix::fs::mknodat(
            rustix::fs::CWD,
            "/dev/more",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            rustix::fs::makedev(1, 3),
        );
        assert_eq!(more, Err(rustix::io::Errno::PERM));
    });
    world.linux["devices"] = json!([{"path": "/dev/foo", "type": "c", "major": 1, "minor": 3,
                                     "uid": 70_000}]);
    let failure = world.failure();
    assert!(
        failure.contains("/dev/foo") && failure.contains("uidMappings"),
        "{failure}"
    );
}

#[test]
fn where_devices_are_made_nothing_shows_on_a_host_that_shares() {
    if !is_root("where_devices_are_made_nothing_shows_on_a_host_that_shares") {
        return;
    }
    let mounts_of = |devices: Value| {
        let mut world = World::new();
        world.user = true;
        world.host(|_| {
            let shared = mount::Change {
                propagation: libc::MS_SHARED,
                ..mount::Change::default()
            };
            let root = std::fs::File::open("/").unwrap();
            mount::change(root.as_fd(), shared, mount::Reach::One).unwrap();
        });
        world.mounts = json!([dev(&["mode=755"])]);
        world.linux["devices"] = devices;
        world.host_mounts_afterwards()
    };
    let made = mounts_of(json!([{"path": "/dev/foo", "type": "c", "major": 1, "minor": 3}]));
    assert_eq!(made, mounts_of(json!([])), "the host shows it");
}

#[test]
fn a_container_with_the_ids_of_the_hosts_root_has_no_node_of_the_hosts() {
    if !is_root("a_container_with_the_ids_of_the_hosts_root_has_no_node_of_the_hosts") {
        return;
    }
    let mode = || std::fs::metadata("/dev/null").unwrap().mode();
    let before = mode();
    let host = rustix::fs::stat("/dev/null").unwrap().st_dev;
    // Who has the owner's uid can change the mode, whatever the gid.
    for first_gid in [0, 100_000] {
        let mut world = World::new();
        world.user = true;
        world.first_id = 0;
        world.first_gid = Some(first_gid);
        world.mounts = json!([dev(&["mode=755"])]);
        world.run(|_| {
            let own = rustix::fs::stat("/dev/null").unwrap().st_dev;
            assert_ne!(own, host, "it is the host's");
        });
    }
    assert_eq!(mode(), before);
}
