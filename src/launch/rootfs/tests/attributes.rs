//! What mounts may do: attributes of one and of the tree, propagation, and what stays locked.

use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Value, json};

use super::world::{World, is_root, mount_of};
use crate::sys::mount::{self, Change, Reach, attr};

fn bind(target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": "none", "source": "/tmp/host/source",
           "options": options})
}

/// A mount on the host that nothing runs in, with another below it.
fn world() -> World {
    let mut world = World::new();
    world.host(|host| {
        let source = host.join("source");
        std::fs::create_dir(&source).unwrap();
        tmpfs(
            &source,
            attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOATIME,
        );
        std::fs::create_dir(source.join("below")).unwrap();
        tmpfs(&source.join("below"), attr::NODEV);
    });
    world
}

pub fn tmpfs(path: &Path, set: u64) {
    let tree = mount::new_filesystem(c"tmpfs", &[(c"mode", c"0755")], set).unwrap();
    let place = std::fs::File::open(path).unwrap();
    mount::attach(tree.as_fd(), place.as_fd()).unwrap();
}

#[test]
fn options_of_a_bind_are_those_it_was_given() {
    if !is_root("options_of_a_bind_are_those_it_was_given") {
        return;
    }
    let mut world = world();
    let all = "rw,nosuid,nodev,noexec,noatime";
    let expected = [
        (&["rbind"][..], all, "rw,nodev,relatime"),
        (&["rbind", "rprivate"], all, "rw,nodev,relatime"),
        (
            &["rbind", "ro"],
            "ro,nosuid,nodev,noexec,noatime",
            "rw,nodev,relatime",
        ),
        (
            &["rbind", "nosuid", "dev"],
            "rw,nosuid,noexec,noatime",
            "rw,nodev,relatime",
        ),
        (&["rbind", "rw"], all, "rw,nodev,relatime"),
        (
            &["rbind", "strictatime", "nodiratime"],
            "rw,nosuid,nodev,noexec,nodiratime",
            "rw,nodev,relatime",
        ),
        (
            &["rbind", "relatime"],
            "rw,nosuid,nodev,noexec,relatime",
            "rw,nodev,relatime",
        ),
        (
            &["rbind", "nosymfollow"],
            "rw,nosuid,nodev,noexec,noatime,nosymfollow",
            "rw,nodev,relatime",
        ),
        (
            &["rbind", "rro"],
            "ro,nosuid,nodev,noexec,noatime",
            "ro,nodev,relatime",
        ),
        (
            &["rbind", "rdev", "rnoexec"],
            "rw,nosuid,noexec,noatime",
            "rw,noexec,relatime",
        ),
        (&["rbind", "rnoatime"], all, "rw,nodev,noatime"),
        (
            &["rbind", "rstrictatime"],
            "rw,nosuid,nodev,noexec",
            "rw,nodev",
        ),
        (
            &["rbind", "ro", "rnosymfollow"],
            "ro,nosuid,nodev,noexec,noatime,nosymfollow",
            "rw,nodev,relatime,nosymfollow",
        ),
    ];
    let mounts = expected.iter().enumerate();
    world.mounts = mounts
        .map(|(index, (options, ..))| bind(&format!("/{index}"), options))
        .collect();
    world.run(|mounts| {
        for (index, (options, own, below)) in expected.iter().enumerate() {
            let at = mount_of(mounts, &format!("/{index}"));
            assert_eq!(at.options, *own, "{options:?}");
            let at = mount_of(mounts, &format!("/{index}/below"));
            assert_eq!(at.options, *below, "{options:?}");
        }
    });
    world.mounts = json!([bind("/alone", &["bind"])]);
    world.run(|mounts| {
        mount_of(mounts, "/alone");
        assert!(!mounts.iter().any(|mount| mount.path == "/alone/below"));
    });
}

#[test]
fn a_user_namespace_keeps_what_the_host_has_locked() {
    if !is_root("a_user_namespace_keeps_what_the_host_has_locked") {
        return;
    }
    let mut world = world();
    world.user = true;
    world.host(|host| {
        let file = std::fs::File::open(host.join("source")).unwrap();
        let change = Change {
            set: attr::RDONLY,
            ..Change::default()
        };
        mount::change(file.as_fd(), change, Reach::One).unwrap();
    });
    let kept = "ro,nosuid,nodev,noexec,noatime";
    world.mounts = json!([
        bind("/plain", &["rbind"]),
        bind("/quiet", &["rbind", "nosuid"])
    ]);
    world.run(|mounts| {
        assert_eq!(mount_of(mounts, "/plain").options, kept);
        assert_eq!(mount_of(mounts, "/quiet").options, kept);
    });
    for cleared in [
        &["rbind", "rw"][..],
        &["rbind", "exec"],
        &["rbind", "ro", "suid"],
    ] {
        world.mounts = json!([bind("/loud", cleared)]);
        let failure = world.failure();
        assert!(
            failure.contains("cannot be cleared"),
            "{cleared:?}: {failure}"
        );
    }
    for refused in [&["rbind", "strictatime"][..], &["rbind", "rrw"]] {
        world.mounts = json!([bind("/loud", refused)]);
        let failure = world.failure();
        assert!(failure.contains("not permitted"), "{refused:?}: {failure}");
    }
}

#[test]
fn propagation_is_what_was_asked_for() {
    if !is_root("propagation_is_what_was_asked_for") {
        return;
    }
    let mut world = world();
    world.mounts = json!([
        bind("/default", &["rbind"]),
        bind("/private", &["rbind", "rprivate"]),
        bind("/slave", &["rbind", "rslave"]),
        bind("/shared", &["rbind", "rprivate", "shared"]),
        bind("/unbindable", &["rbind", "rprivate", "unbindable"]),
    ]);
    // The host's /tmp is shared, as are the mounts that lie in it.
    world.run(|mounts| {
        let of = |path: &str| mount_of(mounts, path).propagation;
        assert!(of("/default").starts_with("master:"), "{}", of("/default"));
        assert_eq!(of("/private"), "");
        assert!(of("/slave").starts_with("master:"));
        assert!(of("/shared").starts_with("shared:"));
        assert!(!of("/shared").contains("master"));
        assert_eq!(of("/shared/below"), "");
        assert_eq!(of("/unbindable"), "unbindable");
        assert_eq!(of("/"), "");
    });
}

#[test]
fn the_root_has_its_own_propagation() {
    if !is_root("the_root_has_its_own_propagation") {
        return;
    }
    for (name, expected) in [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        let mut world = world();
        world.linux["rootfsPropagation"] = json!(name);
        world.mounts = json!([bind("/x", &["rbind"])]);
        world.run(|mounts| {
            let found = mount_of(mounts, "/").propagation;
            assert!(found.starts_with(expected), "{name}: {found}");
            assert!(!expected.is_empty() || found.is_empty(), "{name}: {found}");
        });
        // Neither what is mounted nor what is unmounted is seen by the host.
        assert_eq!(world.host_mounts_afterwards(), world.host_mounts_without());
    }
    let mut world = world();
    world.linux["rootfsPropagation"] = json!("loud");
    assert!(world.failure().contains("private, slave, shared"));
}

#[test]
fn what_is_shared_with_the_host_stays_so() {
    if !is_root("what_is_shared_with_the_host_stays_so") {
        return;
    }
    for root in ["shared", "rshared"] {
        let mut world = world();
        world.linux["rootfsPropagation"] = json!(root);
        world.mounts = json!([
            bind("/one", &["rbind", "rshared"]),
            bind("/other", &["rbind"]),
            bind("/slave", &["rbind", "rslave"]),
        ]);
        world.run(|mounts| {
            // Two mounts made shared by themselves would not be peers.
            for below in ["", "/below"] {
                let of = |path: &str| mount_of(mounts, &format!("{path}{below}")).propagation;
                assert!(of("/one").starts_with("shared:"), "{root}: {}", of("/one"));
                assert!(!of("/one").contains("master:"), "{root}: {}", of("/one"));
                assert_eq!(of("/one"), of("/other"), "{root}");
                // Where the whole tree of the root is to share, a slave shares what it hears.
                let group = of("/one").replace("shared:", "master:");
                assert!(of("/slave").ends_with(&group), "{root}: {}", of("/slave"));
            }
        });
    }
}

#[test]
fn a_remount_changes_what_is_there() {
    if !is_root("a_remount_changes_what_is_there") {
        return;
    }
    let mut world = world();
    world.mounts = json!([
        bind("/bound", &["rbind"]),
        {"destination": "/bound", "type": "none", "options": ["remount", "bind", "ro", "exec"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["size=4k"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "x",
         "options": ["remount", "size=8k", "noexec", "rshared"]},
    ]);
    world.run(|mounts| {
        let bound = mount_of(mounts, "/bound");
        assert_eq!(bound.options, "ro,nosuid,nodev,noatime");
        let tmp = mount_of(mounts, "/tmp");
        assert_eq!(tmp.options, "rw,noexec,relatime");
        assert!(tmp.superblock.contains("size=8k"), "{}", tmp.superblock);
        assert!(tmp.propagation.starts_with("shared:"));
    });
}
