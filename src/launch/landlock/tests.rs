//! Each right is tried in a forked child with the rule that gives it and with one that does not.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::sys::forked::{self, attempt};
use crate::sys::probe::landlock_abi;

/// A tree of its own for one test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("buntime-landlock-test-{}-{count}", std::process::id());
        let root = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir_all(root.join("in/sub")).unwrap();
        fs::create_dir_all(root.join("out")).unwrap();
        for file in ["in/file", "in/sub/file", "out/file"] {
            fs::write(root.join(file), "text").unwrap();
        }
        Scratch(root)
    }

    fn grant(&self, path: &str, perms: PermSet) -> Grant {
        Grant {
            path: self.0.join(path),
            perms,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What `attempt` answers in a child under `grants`: "ok", or the errno.
fn under(grants: &[Grant], abi: u32, attempt: impl FnOnce() -> io::Result<()>) -> String {
    forked::ask(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        restrict(grants, abi, true).unwrap();
        match attempt() {
            Ok(()) => "ok".to_owned(),
            Err(error) => match error.raw_os_error() {
                Some(libc::EACCES) => "EACCES".to_owned(),
                Some(libc::EPERM) => "EPERM".to_owned(),
                Some(libc::EXDEV) => "EXDEV".to_owned(),
                _ => error.to_string(),
            },
        }
    })
}

fn append(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().append(true).open(path).map(drop)
}

fn truncate(path: &Path) -> io::Result<()> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::TRUNC, Mode::empty())?;
    Ok(())
}

fn node(path: &Path, kind: FileType) -> io::Result<()> {
    Ok(rustix::fs::mknodat(
        CWD,
        path,
        kind,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    )?)
}

/// Whether the kernel can be asked what only `abi` has. Where tests must not be passed over,
/// an older kernel is a failure.
fn has_abi(abi: u32, test: &str) -> bool {
    let has = landlock_abi() >= abi;
    assert!(
        has || std::env::var_os("CI").is_none(),
        "{test} needs Landlock's ABI {abi}"
    );
    if !has {
        writeln!(
            io::stderr(),
            "{test}: not tested, because it needs Landlock's ABI {abi}"
        )
        .unwrap();
    }
    has
}

#[test]
fn this_kernel_has_landlock() {
    assert!(
        landlock_abi() >= 1,
        "the tests of this module need Landlock"
    );
}

/// One attempt for each permission: it passes with that permission and fails without.
#[test]
fn each_permission_gives_its_right_and_no_other_does() {
    type Attempt = fn(&Path) -> io::Result<()>;
    let cases: [(Perm, Attempt); 9] = [
        (Perm::ReadFile, |root| {
            fs::read(root.join("in/sub/file")).map(drop)
        }),
        (Perm::WriteFile, |root| append(&root.join("in/sub/file"))),
        (Perm::ReadDir, |root| {
            fs::read_dir(root.join("in/sub")).map(drop)
        }),
        (Perm::RemoveDir, |root| {
            fs::remove_dir(root.join("in/empty"))
        }),
        (Perm::RemoveFile, |root| {
            fs::remove_file(root.join("in/file"))
        }),
        (Perm::MakeDir, |root| fs::create_dir(root.join("in/new"))),
        (Perm::MakeReg, |root| {
            node(&root.join("in/new"), FileType::RegularFile)
        }),
        (Perm::MakeFifo, |root| {
            node(&root.join("in/new"), FileType::Fifo)
        }),
        (Perm::MakeSym, |root| {
            std::os::unix::fs::symlink("x", root.join("in/new"))
        }),
    ];
    for (perm, attempt) in cases {
        for (perms, wanted) in [
            (PermSet::of(&[perm]), "ok"),
            (PermSet::ALL.without(perm), "EACCES"),
        ] {
            let scratch = Scratch::new();
            fs::create_dir(scratch.0.join("in/empty")).unwrap();
            let grants = [scratch.grant("in", perms)];
            let answer = under(&grants, landlock_abi(), || attempt(&scratch.0));
            assert_eq!(answer, wanted, "{perm} with {perms}");
        }
    }
}

#[test]
fn sockets_and_devices_are_made_with_their_permissions_only() {
    let scratch = Scratch::new();
    let bind = || UnixListener::bind(scratch.0.join("in/sock")).map(drop);
    let without = [scratch.grant("in", PermSet::ALL.without(Perm::MakeSock))];
    assert_eq!(under(&without, landlock_abi(), bind), "EACCES");
    let with = [scratch.grant("in", PermSet::of(&[Perm::MakeSock]))];
    assert_eq!(under(&with, landlock_abi(), bind), "ok");

    let writing = [scratch.grant("in", PermSet::WRITE)];
    for kind in [FileType::CharacterDevice, FileType::BlockDevice] {
        let answer = under(&writing, landlock_abi(), || {
            node(&scratch.0.join("in/dev"), kind)
        });
        assert_eq!(answer, "EACCES", "{kind:?}");
    }
}

#[test]
fn programs_run_only_where_execute_is_granted() {
    let run = || {
        std::process::Command::new("/bin/true")
            .status()
            .map(|status| assert!(status.success()))
    };
    let libraries: Vec<Grant> = ["/usr", "/lib", "/lib64", "/etc"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| Grant {
            path: path.into(),
            perms: PermSet::READ,
        })
        .collect();
    assert_eq!(under(&libraries, landlock_abi(), run), "EACCES");
    let running: Vec<Grant> = libraries
        .iter()
        .cloned()
        .map(|grant| Grant {
            perms: grant.perms.with(Perm::Execute),
            ..grant
        })
        .collect();
    assert_eq!(under(&running, landlock_abi(), run), "ok");
}

#[test]
fn nothing_outside_of_the_grants_is_to_be_had() {
    let scratch = Scratch::new();
    let grants = [scratch.grant("in", PermSet::ALL)];
    let secret = scratch.0.join("out/file");
    for abi in 1..=landlock_abi() {
        assert_eq!(
            under(&grants, abi, || fs::read(&secret).map(drop)),
            "EACCES"
        );
        let dotted = scratch.0.join("in/sub/../../out/file");
        assert_eq!(
            under(&grants, abi, || fs::read(&dotted).map(drop)),
            "EACCES"
        );
        let link = || {
            std::os::unix::fs::symlink(&secret, scratch.0.join("in/link"))?;
            let answer = fs::read(scratch.0.join("in/link")).map(drop);
            fs::remove_file(scratch.0.join("in/link"))?;
            answer
        };
        assert_eq!(under(&grants, abi, link), "EACCES");
        let hard = || fs::hard_link(&secret, scratch.0.join("in/hard"));
        assert_ne!(under(&grants, abi, hard), "ok", "ABI {abi}");
        assert_eq!(
            under(&grants, abi, || append(&scratch.0.join("in/file"))),
            "ok"
        );
    }
    assert!(fs::read(&secret).is_ok());
}

#[test]
fn a_rule_on_a_file_gives_the_rights_of_a_file() {
    let scratch = Scratch::new();
    let grants = [scratch.grant("in/file", PermSet::ALL)];
    let read = || fs::read(scratch.0.join("in/file")).map(drop);
    assert_eq!(under(&grants, landlock_abi(), read), "ok");
    let neighbour = || fs::read(scratch.0.join("in/sub/file")).map(drop);
    assert_eq!(under(&grants, landlock_abi(), neighbour), "EACCES");
    // Only rights of directories: nothing to grant on a file, and no error.
    let grants = [scratch.grant("in/file", PermSet::WRITE_DIR)];
    assert_eq!(under(&grants, landlock_abi(), read), "EACCES");
}

#[test]
fn truncation_goes_with_writing_from_abi_3_on() {
    if !has_abi(3, "truncation_goes_with_writing_from_abi_3_on") {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.0.join("in/file");
    let reading = [scratch.grant("in", PermSet::READ)];
    // Landlock's own hole before ABI 3, which is why the status must name it.
    assert_eq!(under(&reading, 2, || truncate(&file)), "ok");
    assert_eq!(under(&reading, 3, || truncate(&file)), "EACCES");
    let writing = [scratch.grant("in", PermSet::READ.union(PermSet::WRITE))];
    assert_eq!(under(&writing, 3, || truncate(&file)), "ok");
}

#[test]
fn renames_across_directories_need_abi_2_and_writing_on_both_sides() {
    let scratch = Scratch::new();
    let rename = || {
        fs::rename(scratch.0.join("in/file"), scratch.0.join("in/sub/moved"))?;
        fs::rename(scratch.0.join("in/sub/moved"), scratch.0.join("in/file"))
    };
    let writing = [scratch.grant("in", PermSet::WRITE)];
    assert_eq!(under(&writing, 1, rename), "EXDEV");
    assert_eq!(under(&writing, 2, rename), "ok");
    let leave = || fs::rename(scratch.0.join("in/file"), scratch.0.join("out/moved"));
    assert_ne!(under(&writing, landlock_abi(), leave), "ok");
}

#[test]
fn devices_take_ioctl_only_under_dev_with_reading_and_writing() {
    if !has_abi(
        5,
        "devices_take_ioctl_only_under_dev_with_reading_and_writing",
    ) {
        return;
    }
    const RNDGETENTCNT: u64 = 0x8004_5200;
    let ioctl = || {
        let device = fs::File::open("/dev/urandom")?;
        let mut count = 0_i32;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&device) as u64;
        let place = (&raw mut count) as u64;
        attempt(libc::SYS_ioctl as u64, [fd, RNDGETENTCNT, place, 0, 0, 0])
            .map(drop)
            .map_err(io::Error::from_raw_os_error)
    };
    let dev = |perms| {
        [Grant {
            path: "/dev".into(),
            perms,
        }]
    };
    assert_eq!(under(&dev(PermSet::READ), 5, ioctl), "EACCES");
    assert_eq!(under(&dev(PermSet::READ), 4, ioctl), "ok");
    let both = PermSet::READ.with(Perm::WriteFile);
    assert_eq!(under(&dev(both), 5, ioctl), "ok");
}

#[test]
fn signals_end_at_the_domain_from_abi_6_on() {
    if !has_abi(6, "signals_end_at_the_domain_from_abi_6_on") {
        return;
    }
    let parent = rustix::process::getpid();
    let signal = || Ok(rustix::process::test_kill_process(parent)?);
    assert_eq!(under(&[], 5, signal), "ok");
    assert_eq!(under(&[], 6, signal), "EPERM");
    // Inside the domain they go on.
    let own = || {
        Ok(rustix::process::test_kill_process(
            rustix::process::getpid(),
        )?)
    };
    assert_eq!(under(&[], 6, own), "ok");
}

#[test]
fn abstract_sockets_end_at_the_domain_from_abi_6_on() {
    if !has_abi(6, "abstract_sockets_end_at_the_domain_from_abi_6_on") {
        return;
    }
    let name = format!("buntime-landlock-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let connect = || UnixStream::connect_addr(&address).map(drop);
    assert_eq!(under(&[], 5, connect), "ok");
    assert_eq!(under(&[], 6, connect), "EPERM");
}

#[test]
fn tcp_is_refused_on_request_from_abi_4_on() {
    if !has_abi(4, "tcp_is_refused_on_request_from_abi_4_on") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect(address).map(drop);
    let bind = || TcpListener::bind("127.0.0.1:0").map(drop);
    assert_eq!(under(&[], 3, connect), "ok");
    assert_eq!(under(&[], 4, connect), "EACCES");
    assert_eq!(under(&[], 4, bind), "EACCES");
    let answer = forked::ask(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        restrict(&[], landlock_abi(), false).unwrap();
        format!("{}", connect().is_ok())
    });
    assert_eq!(answer, "true");
}

#[test]
fn the_status_names_what_the_abi_lacks() {
    assert_eq!(missing(6, true), Vec::<&str>::new());
    assert_eq!(missing(9, true), Vec::<&str>::new());
    let phrases = missing(1, true).join("; ");
    for what in ["renames", "truncation", "TCP", "ioctl", "signals"] {
        assert!(phrases.contains(what), "{what} is not in {phrases}");
    }
    assert!(!missing(1, false).join("; ").contains("TCP"));
    let none = restrict(&[], 0, false).unwrap();
    assert!(none.is_none() && !none.is_full());
    let answer = forked::ask(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        let grants = [Grant {
            path: "/usr".into(),
            perms: PermSet::READ,
        }];
        serde_json::to_string(&restrict(&grants, 2, false).unwrap()).unwrap()
    });
    assert!(
        answer.starts_with("{\"abi\":2,\"rules\":1,\"missing\":["),
        "{answer}"
    );
}

#[test]
fn what_cannot_be_held_is_an_error() {
    let scratch = Scratch::new();
    let there = [scratch.grant("in", PermSet::READ)];
    let vanished = [scratch.grant("in/vanished", PermSet::READ)];
    let answer = forked::ask(|| {
        let error = restrict(&there, 1, false).unwrap_err().to_string();
        rustix::thread::set_no_new_privs(true).unwrap();
        error + "\n" + &restrict(&vanished, 1, false).unwrap_err().to_string()
    });
    let (no_new_privs, vanished) = answer.split_once('\n').unwrap();
    assert!(no_new_privs.contains("no_new_privs"), "{no_new_privs}");
    assert!(
        vanished.contains("in/vanished") && vanished.contains("No such file"),
        "{vanished}"
    );
}
