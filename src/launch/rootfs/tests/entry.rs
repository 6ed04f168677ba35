//! Devices, the console, the entry into the root, and what is taken away at the end.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::super::inside::{Inside, Last, Missing};
use super::world::{World, is_root, mount_of};
use crate::sys::clone;
use crate::sys::forked::{self, Child, Ended};

pub(super) fn dev(options: &[&str]) -> Value {
    json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options})
}

pub(super) fn proc() -> Value {
    json!({"destination": "/proc", "type": "proc", "source": "proc"})
}

#[test]
fn devices_are_what_config_json_names() {
    if !is_root("devices_are_what_config_json_names") {
        return;
    }
    let mut world = World::new();
    world.mounts = json!([dev(&["nosuid", "mode=755"])]);
    world.linux["devices"] = json!([
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o640,
         "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0},
        {"path": "/elsewhere/disk", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o622},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
    ]);
    world.run(|_| {
        let of = |path: &str| std::fs::symlink_metadata(path).unwrap();
        let number = |path: &str| {
            let found = of(path).rdev();
            (rustix::fs::major(found), rustix::fs::minor(found))
        };
        assert_eq!(number("/dev/net/tun"), (10, 200));
        let tun = of("/dev/net/tun");
        assert_eq!((tun.mode() & 0o7777, tun.uid(), tun.gid()), (0o640, 3, 4));
        assert!(of("/dev/pipe").file_type().is_fifo());
        assert!(of("/elsewhere/disk").file_type().is_block_device());
        assert_eq!(number("/elsewhere/disk"), (7, 9));
        assert_eq!(of("/dev/null").mode() & 0o7777, 0o622);
        for (name, device) in [
            ("zero", (1, 5)),
            ("full", (1, 7)),
            ("random", (1, 8)),
            ("urandom", (1, 9)),
            ("tty", (5, 0)),
        ] {
            let path = format!("/dev/{name}");
            assert_eq!(number(&path), device);
            assert_eq!(of(&path).mode(), libc::S_IFCHR | 0o666);
        }
        assert!(of("/dev/ptmx").file_type().is_symlink());
    });
    for (device, why) in [
        (
            json!({"path": "/dev/x", "type": "a", "major": 1, "minor": 2}),
            "its type",
        ),
        (
            json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 2}),
            "major number is -1",
        ),
    ] {
        world.linux["devices"] = json!([device]);
        let failure = world.failure();
        assert!(
            failure.contains(why) && failure.contains("/dev/x"),
            "{failure}"
        );
    }
}

#[test]
fn devices_of_the_host_are_not_touched() {
    if !is_root("devices_of_the_host_are_not_touched") {
        return;
    }
    let mut world = World::new();
    world.host(|host| std::fs::create_dir(host.join("dev")).unwrap());
    world.mounts = json!([{"destination": "/dev/", "type": "bind", "source": "/tmp/host/dev",
                           "options": ["rbind", "ro"]}]);
    world.run(|mounts| {
        assert!(mount_of(mounts, "/dev").options.starts_with("ro"));
        assert_eq!(std::fs::read_dir("/dev").unwrap().count(), 0);
    });
}

#[test]
fn the_console_stands_in_a_dev_that_is_read_only_afterwards() {
    if !is_root("the_console_stands_in_a_dev_that_is_read_only_afterwards") {
        return;
    }
    let pts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                     "options": ["newinstance", "ptmxmode=0666"]});
    for (hostile, entered) in [(false, false), (false, true), (true, true)] {
        let mut world = World::new();
        world.mounts = json!([dev(&["ro", "mode=755"]), pts]);
        let told = world.in_child(|rootfs| {
            let mut stands = rootfs.assemble()?;
            if hostile {
                symlink("/tmp/host", "/tmp/bundle/rootfs/dev/console").unwrap();
            }
            if entered {
                stands.pivot(false)?;
            }
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            let none = rustix::fs::Mode::empty();
            let master = rustix::fs::openat(stands.root(), "dev/pts/ptmx", flags, none).unwrap();
            let pty = crate::sys::terminal::open_peer(master.as_fd()).unwrap();
            stands.console(pty.as_fd())?;
            if !entered {
                stands.pivot(false)?;
            }
            stands.finish()?;
            let number = |path: &str| std::fs::metadata(path).unwrap().rdev();
            assert_eq!(number("/dev/console"), number("/dev/pts/0"));
            let refused = std::fs::write("/dev/new", "").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
            std::fs::write("/dev/null", "").unwrap();
            Ok(())
        });
        let expected = if hostile { "symbolic link" } else { "" };
        assert!(
            told.contains(expected) && hostile != told.is_empty(),
            "{told}"
        );
    }
}

#[test]
fn a_read_only_root_is_one() {
    if !is_root("a_read_only_root_is_one") {
        return;
    }
    for user in [false, true] {
        let mut world = World::new();
        world.user = user;
        world.root = json!({"path": "rootfs", "readonly": true});
        world.mounts = json!([dev(&["mode=755"]),
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"}]);
        world.process["cwd"] = json!("/made/for/it");
        world.run(|mounts| {
            assert!(mount_of(mounts, "/").options.starts_with("ro"));
            let refused = std::fs::write("/new", "").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
            std::fs::write("/run/new", "").unwrap();
            assert!(Path::new("/made/for/it").is_dir());
        });
    }
}

#[test]
fn without_pivot_root_nothing_of_the_kernels_is_left_to_mount_afresh() {
    if !is_root("without_pivot_root_nothing_of_the_kernels_is_left_to_mount_afresh") {
        return;
    }
    let mut world = World::new();
    world.no_pivot = true;
    world.mounts = json!([dev(&["mode=755"]), proc()]);
    world.linux["maskedPaths"] = json!(["/proc/version"]);
    world.run(|mounts| {
        // Only what lies below the root is listed.
        assert!(mounts.iter().any(|mount| mount.path == "/proc"));
        assert_eq!(std::fs::read("/proc/version").unwrap(), b"");
        // A user namespace inside must not get a procfs without masks.
        let status = Child::start(|| {
            let flags = nix::sched::CloneFlags::CLONE_NEWUSER
                | nix::sched::CloneFlags::CLONE_NEWNS
                | nix::sched::CloneFlags::CLONE_NEWPID;
            if nix::sched::unshare(flags).is_err() {
                return 2;
            }
            let mounted = Child::start(|| {
                let made = crate::sys::mount::new_filesystem(c"proc", &[], 0);
                i32::from(made.is_ok())
            });
            match mounted.wait() {
                Ended::Exited(status) => status,
                Ended::Killed(_) => 3,
            }
        });
        assert_eq!(
            status.wait(),
            Ended::Exited(0),
            "a whole procfs could be mounted"
        );
    });
    assert_eq!(world.host_mounts_afterwards(), world.host_mounts_without());
}

#[test]
fn without_a_mount_namespace_nothing_is_mounted() {
    if !is_root("without_a_mount_namespace_nothing_is_mounted") {
        return;
    }
    let mut world = World::new();
    world.mount_namespace = false;
    world.image(|root| std::fs::write(root.join("here"), "x").unwrap());
    let own = world.in_child(|rootfs| {
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = std::fs::File::open("/proc/self").unwrap();
        let mut stands = rootfs.assemble()?;
        stands.pivot(false)?;
        stands.finish()?;
        assert!(Path::new("/here").exists());
        std::fs::write("/dev/null", "x").unwrap();
        rustix::process::fchdir(&own).unwrap();
        // From where it has come, the same mounts are there.
        let (mounts, none) = (rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
        let after = rustix::fs::openat(&own, "mountinfo", mounts, none).unwrap();
        let after = std::io::read_to_string(std::fs::File::from(after)).unwrap();
        assert!(after.lines().count() <= before.lines().count());
        Ok(())
    });
    assert_eq!(own, "");
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces() {
    if !is_root("sysctls_are_set_in_the_containers_namespaces") {
        return;
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
    let host = read("net/ipv4/ip_default_ttl");
    for proc_mount in [
        json!([proc()]),
        json!([]),
        json!([{"destination": "/proc", "type": "proc", "options": ["ro"]}]),
    ] {
        let mut world = World::new();
        world.mounts = proc_mount.clone();
        world.linux["sysctl"] = json!({
            "net.ipv4.ip_default_ttl": "77",
            "net/ipv4/conf/lo/rp_filter": "1",
            "kernel.msgmax": "12345",
            "fs.mqueue.msg_max": "11",
        });
        world.linux["readonlyPaths"] = json!(["/proc/sys"]);
        world.run(|_| {
            if proc_mount != json!([]) {
                assert_eq!(read("net/ipv4/ip_default_ttl"), "77\n");
                assert_eq!(read("net/ipv4/conf/lo/rp_filter"), "1\n");
                assert_eq!(read("kernel/msgmax"), "12345\n");
            }
        });
    }
    assert_eq!(read("net/ipv4/ip_default_ttl"), host);
    let mut world = World::new();
    for (name, why) in [
        ("kernel.hostname", "the field hostname"),
        ("vm.swappiness", "no namespace has it"),
        ("kernel.core_pattern", "no namespace has it"),
        ("kernel/core_pattern", "no namespace has it"),
        ("user.max_user_namespaces", "a user namespace"),
        ("net.ipv4/../../kernel/core_pattern", "empty or dots"),
        ("net/../kernel/core_pattern", "empty or dots"),
        ("net/ipv4/../../kernel/core_pattern", "empty or dots"),
        ("net//ipv4", "empty or dots"),
        ("fs.mqueue.", "empty or dots"),
    ] {
        world.linux["sysctl"] = json!({name: "1"});
        let failure = world.failure();
        assert!(failure.contains(why), "{name}: {failure}");
    }
    world.linux["namespaces"] = json!([{"type": "mount"}, {"type": "network",
                                       "path": "/proc/self/ns/net"}]);
    for (name, why) in [
        ("net.ipv4.ip_forward", "a network namespace"),
        ("kernel.sem", "an IPC namespace"),
        ("kernel.domainname", "a UTS namespace"),
    ] {
        world.linux["sysctl"] = json!({name: "1"});
        assert!(world.failure().contains(why), "{name}");
    }
}

#[test]
fn a_sysctl_goes_to_the_kernel_and_not_to_what_covers_it() {
    if !is_root("a_sysctl_goes_to_the_kernel_and_not_to_what_covers_it") {
        return;
    }
    let mut world = World::new();
    world.mounts = json!([proc()]);
    world.linux["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
    let told = world.try_run(
        |_| {
            // As a hook could, or another container in the same root.
            std::fs::write("/tmp/host/trap", "").unwrap();
            nix::mount::mount(
                Some("/tmp/host/trap"),
                "/tmp/bundle/rootfs/proc/sys/net/ipv4/ip_default_ttl",
                None::<&str>,
                nix::mount::MsFlags::MS_BIND,
                None::<&str>,
            )
            .unwrap();
            Ok(())
        },
        |_| panic!("the value went somewhere else"),
    );
    assert!(told.contains("ip_default_ttl"), "{told}");
}

#[test]
fn no_descriptor_of_the_hosts_dev_goes_in() {
    if !is_root("no_descriptor_of_the_hosts_dev_goes_in") {
        return;
    }
    let mut world = World::new();
    world.mounts = json!([dev(&["mode=755"]), proc()]);
    let told = world.in_child(|rootfs| {
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let other = std::fs::File::open("/tmp/host").unwrap();
        for (file, number) in [(&null, 0), (&null, 1), (&other, 2)] {
            let raw = std::os::fd::AsRawFd::as_raw_fd(file);
            crate::sys::process::duplicate_onto(raw, number).unwrap();
        }
        let host = rustix::fs::fstat(&null).unwrap().st_dev;
        let mut stands = rootfs.assemble()?;
        stands.pivot(false)?;
        stands.finish()?;
        let device = |number: i32| {
            let path = format!("/proc/self/fd/{number}");
            rustix::fs::stat(path.as_str()).unwrap().st_dev
        };
        assert_ne!(device(0), host);
        assert_ne!(device(1), host);
        assert_eq!(device(2), rustix::fs::fstat(&other).unwrap().st_dev);
        Ok(())
    });
    assert_eq!(told, "");
}

/// A directory and a link out of the root take each other's place all the time.
#[test]
fn a_race_for_a_target_does_not_lead_outside() {
    let folder = std::env::temp_dir().join(format!("race-{}", std::process::id()));
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("swap/dir")).unwrap();
    std::fs::create_dir_all(folder.join("outside/dir")).unwrap();
    symlink(folder.join("outside"), root.join("link")).unwrap();
    let directory = || std::fs::File::open(&root).unwrap();
    let (stop, mut go_on) = std::io::pipe().unwrap();
    let racer = Child::start(|| {
        // A failure of the test must not leave it running.
        crate::sys::process::set_parent_death_signal(libc::SIGKILL).unwrap();
        let root = directory();
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        nix::fcntl::fcntl(
            std::os::fd::AsRawFd::as_raw_fd(&stop),
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        loop {
            for _ in 0..64 {
                rustix::fs::renameat_with(&root, "swap", &root, "link", flags).unwrap();
            }
            let read = rustix::io::read(&stop, &mut [0; 1]);
            if read.is_ok() {
                return 0;
            }
        }
    });
    let inside = Inside::new(directory().into());
    let own = std::fs::canonicalize(&root).unwrap();
    let (mut found, mut lost) = (0, 0);
    for turn in 0..3000 {
        let name = format!("swap/{}", ["dir", "new/deep", "dir/file"][turn % 3]);
        let kind = if turn % 3 == 2 {
            Missing::File
        } else {
            Missing::Directory
        };
        let place = inside.place(Path::new(&name), Last::Followed, || Ok(kind));
        let Ok(place) = place else {
            lost += 1;
            continue;
        };
        found += 1;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&place.fd);
        let real = std::fs::read_link(format!("/proc/self/fd/{raw}")).unwrap();
        assert!(
            real.starts_with(&own),
            "{} leads to {}",
            name,
            real.display()
        );
    }
    std::io::Write::write_all(&mut go_on, b"x").unwrap();
    assert_eq!(racer.wait(), Ended::Exited(0));
    let outside = std::fs::read_dir(folder.join("outside/dir"))
        .unwrap()
        .count();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(outside, 0, "something was made outside");
    assert!(found > 100, "{found} found, {lost} lost");
}

#[test]
fn the_harness_sees_a_failure() {
    if !is_root("the_harness_sees_a_failure") {
        return;
    }
    let seen = std::panic::catch_unwind(|| World::new().run(|_| panic!("seen")));
    let seen = seen.unwrap_err();
    assert!(forked::message(seen.as_ref()).contains("seen"));
    assert!(clone::thread_count().unwrap() >= 1);
}
