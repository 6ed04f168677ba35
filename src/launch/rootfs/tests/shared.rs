//! Containers that have mounts and no mount namespace of their own.

use std::os::fd::AsFd;

use serde_json::json;

use super::attributes::tmpfs;
use super::world::{World, is_linux, is_root, mount_of};
use crate::sys::mount::{self, Change, Reach};

const ROOT: &str = "/tmp/bundle/rootfs";

fn world() -> World {
    let mut world = World::new();
    world.mount_namespace = false;
    world.mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
    ]);
    world
}

/// Whether such a container can be here, by its refusal where not.
fn is_had() -> bool {
    let has = is_linux((6, 8));
    if !has {
        let failure = world().failure();
        assert!(failure.contains("Linux 6.8"), "{failure}");
    }
    has
}

/// Mount points below the root, and the root itself.
fn below(table: &str) -> Vec<&str> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(ROOT)).collect()
}

#[test]
fn mounts_lie_on_one_that_goes_with_them() {
    if !is_root("mounts_lie_on_one_that_goes_with_them") || !is_had() {
        return;
    }
    let mut world = world();
    world.root = json!({"path": "rootfs", "readonly": true});
    world.image(|root| std::fs::create_dir(root.join("covered")).unwrap());
    world.linux["maskedPaths"] = json!(["/proc/keys", "/covered"]);
    world.linux["readonlyPaths"] = json!(["/proc/sys"]);
    world.run(|mounts| {
        assert!(std::fs::write("/x", "").is_err(), "the root is writable");
        assert!(std::fs::write("/proc/sys/kernel/hostname", "x").is_err());
        std::fs::write("/dev/null", "x").unwrap();
        assert_eq!(std::fs::read("/proc/keys").unwrap(), b"");
        assert_eq!(std::fs::read_dir("/covered").unwrap().count(), 0);
        assert_eq!(mount_of(mounts, "/proc").kind, "proc");
    });
    let (with, after) = world.host_mounts_with_and_after();
    for path in ["", "/proc", "/dev", "/dev/pts", "/proc/sys", "/covered"] {
        let place = format!("{ROOT}{path}");
        assert!(below(&with).contains(&place.as_str()), "{place}: {with}");
    }
    // The host shares what holds the root: nothing that is mounted in it does.
    for line in with.lines().filter(|line| line.contains(ROOT)) {
        assert!(!line.contains("shared:"), "it spreads: {line}");
    }
    assert_eq!(below(&after), Vec::<&str>::new(), "something stays");
}

#[test]
fn what_the_host_shares_stays_mounted_there() {
    if !is_root("what_the_host_shares_stays_mounted_there") || !is_had() {
        return;
    }
    let mut world = world();
    world.host(|host| {
        std::fs::create_dir_all(host.join("tree/below")).unwrap();
        let shared = Change {
            propagation: libc::MS_SHARED,
            ..Change::default()
        };
        for place in ["tree", "tree/below"] {
            let place = host.join(place);
            tmpfs(&place, 0);
            let mounted = std::fs::File::open(&place).unwrap();
            mount::change(mounted.as_fd(), shared, Reach::One).unwrap();
            std::fs::create_dir_all(place.join("below")).unwrap();
        }
    });
    let tree = json!({"destination": "/tree", "type": "bind", "source": "/tmp/host/tree",
                      "options": ["rbind"]});
    let inner = json!({"destination": "/tree/below/below", "type": "tmpfs", "source": "tmpfs"});
    world.mounts = json!([tree, inner]);
    let (with, after) = world.host_mounts_with_and_after();
    let of_host = |table: &str| -> Vec<String> {
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let points = points.filter(|point| point.starts_with("/tmp/host"));
        points.map(str::to_owned).collect()
    };
    let both = ["/tmp/host/tree", "/tmp/host/tree/below"];
    assert!(below(&with).contains(&"/tmp/bundle/rootfs/tree/below/below"));
    assert_eq!(of_host(&with), both, "the host has another");
    assert_eq!(of_host(&after), both, "the host has lost one");
    assert_eq!(below(&after), Vec::<&str>::new());
}

#[test]
fn what_would_change_the_host_is_refused() {
    if !is_root("what_would_change_the_host_is_refused") {
        return;
    }
    let refused = |change: fn(&mut World), words: &str| {
        let mut world = world();
        change(&mut world);
        let failure = world.failure();
        assert!(failure.contains(words), "{failure}");
        assert!(failure.contains("needs a mount namespace"), "{failure}");
    };
    refused(
        |world| world.linux["rootfsPropagation"] = json!("private"),
        "linux.rootfsPropagation",
    );
    refused(
        |world| world.root = json!({"path": "/"}),
        "the root of the host",
    );
    refused(|world| world.user = true, "mounts");
    for (mount, words) in [
        (
            json!({"destination": "/.", "type": "tmpfs"}),
            "a mount on the root",
        ),
        (
            json!({"destination": "/proc", "options": ["remount", "ro"]}),
            "the option remount",
        ),
    ] {
        let mut world = world();
        world.mounts.as_array_mut().unwrap().push(mount);
        let failure = world.failure();
        assert!(failure.contains(words), "{failure}");
    }
    if !is_had() {
        return;
    }
    // A link of the image's leads to the root after all.
    let mut world = world();
    world.image(|root| std::os::unix::fs::symlink("/", root.join("link")).unwrap());
    world.mounts = json!([{"destination": "/link", "type": "tmpfs"}]);
    assert!(world.failure().contains("leads to the root itself"));
}
