//! Images that want to be mounted over, written to or believed where they must not be.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::world::{World, is_root};

fn proc() -> serde_json::Value {
    json!({"destination": "/proc", "type": "proc", "source": "proc"})
}

fn bind(world: &World, source: &str, target: &str) -> serde_json::Value {
    json!({"destination": target, "type": "bind", "source": world.host.join(source),
           "options": ["rbind", "rprivate"]})
}

/// A world with a file `secret` and a directory `volume` on the host.
fn world() -> World {
    let mut world = World::new();
    world.host(|host| {
        std::fs::write(host.join("secret"), "secret").unwrap();
        std::fs::create_dir(host.join("volume")).unwrap();
        std::fs::write(host.join("volume/file"), "of the volume").unwrap();
    });
    world.image(|root| std::fs::create_dir(root.join("dev")).unwrap());
    world
}

#[test]
fn procfs_goes_on_no_link_of_the_image() {
    if !is_root("procfs_goes_on_no_link_of_the_image") {
        return;
    }
    for target in ["/", "/fake", "fake", "../fake"] {
        let mut world = world();
        world.image(move |root| {
            std::fs::create_dir(root.join("fake")).unwrap();
            symlink(target, root.join("proc")).unwrap();
        });
        world.mounts = json!([proc()]);
        let failure = world.failure();
        assert!(failure.contains("ordinary directory"), "{failure}");
    }
}

#[test]
fn nothing_but_a_procfs_is_mounted_on_proc() {
    if !is_root("nothing_but_a_procfs_is_mounted_on_proc") {
        return;
    }
    for target in ["/proc", "/proc/", "/x/../proc", "/link", "/link/."] {
        for kind in ["bind", "tmpfs"] {
            let mut world = world();
            world.image(|root| {
                std::fs::create_dir(root.join("proc")).unwrap();
                std::fs::create_dir(root.join("x")).unwrap();
                symlink("/proc", root.join("link")).unwrap();
            });
            world.mounts = json!([if kind == "bind" {
                bind(&world, "volume", target)
            } else {
                json!({"destination": target, "type": kind, "source": kind})
            }]);
            let failure = world.failure();
            assert!(failure.contains("only a procfs"), "{target}: {failure}");
        }
    }
}

#[test]
fn nothing_is_mounted_inside_proc_but_what_lxcfs_shows() {
    if !is_root("nothing_is_mounted_inside_proc_but_what_lxcfs_shows") {
        return;
    }
    for target in [
        "/proc/self/attr",
        "/link/sys/kernel",
        "/up/version",
        "/proc/1/../version",
    ] {
        let mut world = world();
        world.image(|root| {
            symlink("/proc", root.join("link")).unwrap();
            symlink("x/../../proc", root.join("up")).unwrap();
            std::fs::create_dir(root.join("x")).unwrap();
        });
        world.mounts = json!([proc(), bind(&world, "secret", target)]);
        let failure = world.failure();
        assert!(failure.contains("inside /proc"), "{target}: {failure}");
    }
    let mut world = world();
    world.mounts = json!([proc(), bind(&world, "secret", "/proc/uptime")]);
    world.run(|_| assert_eq!(std::fs::read_to_string("/proc/uptime").unwrap(), "secret"));
}

#[test]
fn links_of_the_image_lead_to_places_of_the_image() {
    if !is_root("links_of_the_image_lead_to_places_of_the_image") {
        return;
    }
    let mut world = world();
    world.image(|root| {
        symlink("/", root.join("all")).unwrap();
        symlink("../../../../tmp/host", root.join("up")).unwrap();
        symlink("/tmp/host", root.join("away")).unwrap();
        symlink("/missing/dir", root.join("dangling")).unwrap();
        symlink("missing-file", root.join("dangling-file")).unwrap();
    });
    world.mounts = json!([
        bind(&world, "volume", "/up"),
        bind(&world, "volume", "/away/deeper"),
        bind(&world, "volume", "/dangling"),
        bind(&world, "secret", "/dangling-file"),
        bind(&world, "volume", "/../../../escaped"),
        bind(&world, "volume", "/all/all/below"),
    ]);
    world.run(|mounts| {
        for path in ["/tmp/host", "/missing/dir", "/escaped", "/below"] {
            let file = Path::new(path).join("file");
            assert_eq!(std::fs::read_to_string(file).unwrap(), "of the volume");
        }
        assert_eq!(std::fs::read_to_string("/missing-file").unwrap(), "secret");
        assert!(mounts.iter().any(|mount| mount.path == "/tmp/host/deeper"));
    });
    // And on the host nothing was made.
    let told = world.in_child(|rootfs| {
        rootfs.assemble()?;
        assert_eq!(std::fs::read_dir("/tmp/host").unwrap().count(), 2);
        Ok(())
    });
    assert_eq!(told, "");
}

#[test]
fn a_link_to_the_root_is_not_a_way_to_cover_it() {
    if !is_root("a_link_to_the_root_is_not_a_way_to_cover_it") {
        return;
    }
    for target in ["/all", "/all/x/.."] {
        let mut world = world();
        world.image(|root| symlink("/", root.join("all")).unwrap());
        world.image(|root| std::fs::create_dir(root.join("x")).unwrap());
        world.mounts = json!([bind(&world, "volume", target)]);
        let failure = world.failure();
        assert!(failure.contains("the root itself"), "{target}: {failure}");
    }
}

#[test]
fn a_masked_link_masks_inside_the_root() {
    if !is_root("a_masked_link_masks_inside_the_root") {
        return;
    }
    let mut world = world();
    world.image(|root| {
        std::fs::create_dir_all(root.join("tmp/host")).unwrap();
        std::fs::write(root.join("tmp/host/secret"), "of the image").unwrap();
        symlink("/tmp/host/secret", root.join("masked")).unwrap();
        symlink("../../tmp/host/volume", root.join("absent")).unwrap();
    });
    world.linux["maskedPaths"] = json!(["/masked", "/absent", "/masked"]);
    world.linux["readonlyPaths"] = json!(["/absent", "/tmp"]);
    let told = world.try_run(
        |_| {
            // Seen from the host's side, once it is all done.
            assert_eq!(
                std::fs::read_to_string("/tmp/host/secret").unwrap(),
                "secret"
            );
            Ok(())
        },
        |mounts| {
            assert_eq!(std::fs::read("/tmp/host/secret").unwrap(), b"");
            assert!(!mounts.iter().any(|mount| mount.path.contains("volume")));
            let refused = std::fs::write("/tmp/new", "").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        },
    );
    assert_eq!(told, "");
}

#[test]
fn masks_are_the_null_device_and_nothing_that_an_image_calls_so() {
    if !is_root("masks_are_the_null_device_and_nothing_that_an_image_calls_so") {
        return;
    }
    // Made by the image, where no tmpfs is mounted on /dev.
    let mut replaced = world();
    replaced.image(|root| std::fs::write(root.join("dev/null"), "of the image").unwrap());
    let failure = replaced.failure();
    assert!(failure.contains("something else at its place"), "{failure}");
    // Exchanged while the container is made, as a race would.
    type Exchange = fn(&Path);
    let exchanges: [Exchange; 2] = [
        |dev| symlink("/tmp/x", dev.join("null")).unwrap(),
        |dev| std::fs::write(dev.join("null"), "mine").unwrap(),
    ];
    for exchange in exchanges {
        let mut world = world();
        world.image(|root| {
            std::fs::create_dir(root.join("tmp")).unwrap();
            std::fs::write(root.join("tmp/x"), "of the image").unwrap();
            std::fs::write(root.join("masked"), "masked").unwrap();
        });
        world.linux["maskedPaths"] = json!(["/masked"]);
        let told = world.try_run(
            |_| {
                let dev = Path::new("/tmp/bundle/rootfs/dev");
                std::fs::remove_file(dev.join("null")).unwrap();
                exchange(dev);
                Ok(())
            },
            |_| panic!("the mask was taken for one"),
        );
        let refused = told.contains("not the null device") || told.contains("symbolic link");
        assert!(refused, "{told}");
    }
}

#[test]
fn a_root_behind_a_link_is_refused() {
    if !is_root("a_root_behind_a_link_is_refused") {
        return;
    }
    let mut world = world();
    world.host(|host| symlink("/tmp/bundle/rootfs", host.join("link")).unwrap());
    world.root = json!({"path": "/tmp/host/link"});
    let failure = world.failure();
    assert!(failure.contains("symbolic link"), "{failure}");
    world.root = json!({"path": "/tmp/host/../bundle/rootfs"});
    world.run(|_| {});
}
