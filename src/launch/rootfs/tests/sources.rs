//! Sources that only the parent can open, owners that are translated, and links that are meant.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::attributes::tmpfs;
use super::world::{World, is_root, mount_of};
use crate::sys::mount::attr;

fn bind(source: &str, target: &str, options: &[&str]) -> Value {
    let source = Path::new("/tmp/host").join(source);
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

/// A directory that is closed to everybody but its owner, who is nobody in the container.
fn closed(world: &mut World, owner: u32) {
    world.host(move |host| {
        let closed = host.join("closed");
        std::fs::create_dir_all(closed.join("inner/below")).unwrap();
        std::fs::write(closed.join("inner/file"), "closed").unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&closed, Some(owner), Some(owner)).unwrap();
    });
}

#[test]
fn the_parent_opens_what_the_child_cannot() {
    if !is_root("the_parent_opens_what_the_child_cannot") {
        return;
    }
    for owner in [0, 4000] {
        let mut world = World::new();
        world.user = true;
        closed(&mut world, owner);
        world.host(|host| std::fs::write(host.join("open"), "open").unwrap());
        world.mounts = json!([
            bind("closed/inner", "/inner", &["rbind", "ro", "rprivate"]),
            bind("closed/inner/file", "/file", &["bind"]),
            bind("open", "/open", &["bind"]),
        ]);
        world.run(|mounts| {
            assert_eq!(std::fs::read_to_string("/file").unwrap(), "closed");
            assert_eq!(std::fs::read_to_string("/inner/file").unwrap(), "closed");
            assert_eq!(std::fs::read_to_string("/open").unwrap(), "open");
            assert!(mount_of(mounts, "/inner").options.starts_with("ro"));
        });
        world.mounts = json!([bind("closed/absent", "/x", &["rbind"])]);
        let failure = world.failure();
        assert!(failure.contains("/tmp/host/closed/absent"), "{failure}");
    }
}

#[test]
fn what_the_parent_opens_stays_as_the_host_has_locked_it() {
    if !is_root("what_the_parent_opens_stays_as_the_host_has_locked_it") {
        return;
    }
    let mut world = World::new();
    world.user = true;
    closed(&mut world, 0);
    world.host(|host| {
        let inner = host.join("closed/inner/below");
        std::fs::write(inner.join("covered"), "covered").unwrap();
        tmpfs(&inner, attr::RDONLY | attr::NODEV);
    });
    world.mounts = json!([
        bind("closed/inner", "/inner", &["rbind"]),
        bind("closed/inner/below", "/below", &["bind"]),
    ]);
    world.run(|mounts| {
        assert_eq!(
            mount_of(mounts, "/inner/below").options,
            "ro,nodev,relatime"
        );
        // The root of the container can change mounts, and not these.
        let remount = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_BIND;
        for path in ["/inner/below", "/below"] {
            let changed =
                nix::mount::mount(None::<&str>, path, None::<&str>, remount, None::<&str>);
            assert_eq!(changed, Err(nix::errno::Errno::EPERM), "{path}");
        }
        assert!(nix::mount::umount("/inner/below").is_err());
        assert!(!Path::new("/inner/below/covered").exists());
    });
}

/// Whether the kernel translates the owners of a tmpfs, as Linux does from 6.3 on. Where tests must
/// not be passed over, an older one is a failure.
fn translates_tmpfs(test: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let has = (numbers.next(), numbers.next()) >= (Some(6), Some(3));
    let why = format!("{test} needs Linux 6.3, and this is {release}");
    assert!(has || std::env::var_os("CI").is_none(), "{why}");
    if !has {
        write!(std::io::stderr(), "not tested: {why}").unwrap();
    }
    has
}

#[test]
fn owners_are_translated() {
    if !is_root("owners_are_translated") || !translates_tmpfs("owners_are_translated") {
        return;
    }
    let owners = |path: &str| {
        let found = std::fs::metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    for user in [false, true] {
        let mut world = World::new();
        world.user = user;
        closed(&mut world, 0);
        world.host(|host| {
            let file = host.join("closed/inner/file");
            std::os::unix::fs::chown(file, Some(7), Some(8)).unwrap();
        });
        let host = if user { 100_000 } else { 500 };
        let mut mapped = bind("closed/inner", "/mapped", &["rbind", "ro"]);
        mapped["uidMappings"] = map(host);
        mapped["gidMappings"] = map(host);
        world.mounts = json!([mapped]);
        world.run(|mounts| {
            // In its user namespace the container sees what the file system has.
            let expected = if user { (7, 8) } else { (507, 508) };
            assert_eq!(owners("/mapped/file"), expected);
            assert!(mount_of(mounts, "/mapped").options.contains("idmapped"));
            assert!(mount_of(mounts, "/mapped").options.starts_with("ro"));
        });
        if user {
            world.mounts = json!([
                bind("closed/inner", "/own", &["rbind", "idmap"]),
                bind("closed/inner", "/tree", &["rbind", "ridmap"]),
            ]);
            world.run(|_| {
                assert_eq!(owners("/own/file"), (7, 8));
                assert_eq!(owners("/tree/file"), (7, 8));
            });
        } else {
            world.mounts = json!([bind("closed/inner", "/own", &["rbind", "idmap"])]);
            assert!(world.failure().contains("needs uidMappings"));
        }
    }
    let mut world = World::new();
    world.mounts = json!([{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}]);
    assert!(world.failure().contains("only a bind mount"));
    let mut half = bind("x", "/x", &["bind"]);
    half["uidMappings"] = map(1);
    world.mounts = json!([half]);
    assert!(world.failure().contains("uidMappings and gidMappings"));
}

#[test]
fn a_link_can_be_copied_or_meant_itself() {
    if !is_root("a_link_can_be_copied_or_meant_itself") {
        return;
    }
    let mut world = World::new();
    world.host(|host| {
        std::fs::write(host.join("file"), "file").unwrap();
        symlink("/tmp/host/file", host.join("link")).unwrap();
    });
    world.image(|root| {
        symlink("/elsewhere", root.join("here")).unwrap();
        symlink("/other", root.join("taken")).unwrap();
    });
    world.mounts = json!([
        bind("link", "/followed", &["bind"]),
        bind("link", "/copied", &["bind", "copy-symlink"]),
        bind("link", "/copied", &["bind", "copy-symlink"]),
        bind("file", "/plain", &["bind", "copy-symlink"]),
        bind("link", "/meant", &["bind", "src-nofollow"]),
        bind("link", "/here", &["bind", "src-nofollow", "dest-nofollow"]),
    ]);
    world.run(|_| {
        assert_eq!(std::fs::read_to_string("/followed").unwrap(), "file");
        assert_eq!(std::fs::read_to_string("/plain").unwrap(), "file");
        let target = Path::new("/tmp/host/file");
        assert_eq!(std::fs::read_link("/copied").unwrap(), target);
        let meant = std::fs::symlink_metadata("/meant").unwrap();
        assert!(meant.file_type().is_symlink() && !meant.file_type().is_block_device());
        assert_eq!(std::fs::read_link("/here").unwrap(), target);
        assert!(!Path::new("/elsewhere").exists());
    });
    world.mounts = json!([bind("link", "/taken", &["bind", "copy-symlink"])]);
    assert!(world.failure().contains("File exists"));
    world.mounts = json!([bind("file", "/absent", &["bind", "dest-nofollow"])]);
    assert!(world.failure().contains("No such file"));
}

#[test]
fn a_bind_mount_has_no_data() {
    let mut world = World::new();
    world.mounts = json!([bind("file", "/x", &["bind", "lowerdir=/a"])]);
    let told = super::super::Rootfs::prepare(&world.spec(), &world.bundle, &world.facts());
    let told = told.unwrap_err().to_string();
    assert!(
        told.contains("\"lowerdir\"") && told.contains("/x"),
        "{told}"
    );
}
