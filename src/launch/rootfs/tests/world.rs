//! A bundle in a mount namespace that goes away, and a child in new namespaces that enters it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Assembled, Cgroups, Rootfs, RootfsFacts};
use crate::launch::Failure;
use crate::sys::clone::{self, Cloned};
use crate::sys::{capabilities, forked, mount, process};

/// Whether this is root. Where tests must not be passed over, anything else is a failure.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "{test} needs root"
    );
    if !root {
        writeln!(io::stderr(), "{test}: not tested, because it needs root").unwrap();
    }
    root
}

/// Whether the kernel is of this version or a later one.
pub fn is_linux(version: (u32, u32)) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(version.0), Some(version.1))
}

/// One line of a mountinfo.
#[derive(Debug, Clone)]
pub struct Mounted {
    pub path: String,
    pub options: String,
    pub propagation: String,
    pub kind: String,
    pub source: String,
    pub superblock: String,
}

/// The mounts of this process. `own` is its directory in the host's /proc, because a container
/// need not have one.
fn mountinfo(own: &OwnedFd) -> Vec<Mounted> {
    let flags = rustix::fs::OFlags::RDONLY;
    let file = rustix::fs::openat(own, "mountinfo", flags, rustix::fs::Mode::empty()).unwrap();
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).unwrap();
    let of_line = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ").unwrap();
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        Mounted {
            path: mount[4].to_owned(),
            options: mount[5].to_owned(),
            propagation: mount[6..].join(" "),
            kind: filesystem[0].to_owned(),
            source: filesystem[1].to_owned(),
            superblock: filesystem[2].to_owned(),
        }
    };
    text.lines().map(of_line).collect()
}

/// What is on top at a path.
pub fn mount_of(mounts: &[Mounted], path: &str) -> Mounted {
    let found = mounts.iter().rev().find(|mount| mount.path == path);
    found
        .unwrap_or_else(|| panic!("nothing is mounted on {path}: {mounts:#?}"))
        .clone()
}

type Step = Box<dyn Fn(&Path)>;

/// A container to be, and the host that it sees of.
pub struct World {
    pub bundle: PathBuf,
    /// Files of the host.
    pub host: PathBuf,
    pub user: bool,
    pub mount_namespace: bool,
    pub no_pivot: bool,
    /// Namespaces that it shares with the host after all.
    pub shares: i32,
    /// How many ids its user namespace has, and the first of them outside.
    pub ids: u32,
    pub first_id: u32,
    /// The first group outside, where it is another number.
    pub first_gid: Option<u32>,
    /// The caller may not make devices.
    pub without_mknod: bool,
    pub mounts: Value,
    pub linux: Value,
    pub root: Value,
    pub process: Value,
    pub cgroups: Cgroups,
    pub cgroup_namespace: bool,
    image: Vec<Step>,
    outside: Vec<Step>,
}

/// Its number in `linux/capability.h`.
const CAP_MKNOD: u64 = 27;

const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

impl World {
    pub fn new() -> World {
        World {
            bundle: PathBuf::from("/tmp/bundle"),
            host: PathBuf::from("/tmp/host"),
            user: false,
            mount_namespace: true,
            no_pivot: false,
            shares: 0,
            ids: 65536,
            first_id: 100_000,
            first_gid: None,
            without_mknod: false,
            mounts: json!([]),
            linux: json!({"namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network"}, {"type": "cgroup"},
            ]}),
            root: json!({"path": "rootfs"}),
            process: json!({"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}}),
            cgroups: Cgroups::None,
            cgroup_namespace: true,
            image: Vec::new(),
            outside: Vec::new(),
        }
    }

    /// Adds to the image.
    pub fn image(&mut self, step: impl Fn(&Path) + 'static) {
        self.image.push(Box::new(step));
    }

    /// Adds to the host.
    pub fn host(&mut self, step: impl Fn(&Path) + 'static) {
        self.outside.push(Box::new(step));
    }

    pub fn spec(&self) -> oci_spec::runtime::Spec {
        let mut linux = self.linux.clone();
        if self.user {
            let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": self.ids}]);
            linux["uidMappings"] = map(self.first_id);
            linux["gidMappings"] = map(self.first_gid.unwrap_or(self.first_id));
            let namespaces = linux["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "user"}));
        }
        let spec = json!({"ociVersion": "1.2.0", "root": self.root, "mounts": self.mounts,
                          "process": self.process, "linux": linux});
        serde_json::from_value(spec).unwrap()
    }

    pub fn facts(&self) -> RootfsFacts {
        RootfsFacts {
            user_namespace: self.user,
            mount_namespace: self.mount_namespace,
            cgroup_namespace: self.cgroup_namespace,
            cgroups: self.cgroups.clone(),
        }
    }

    /// Assembles, enters and finishes the root, and has `look` at its mounts from inside.
    pub fn run(&self, look: impl FnOnce(&[Mounted])) {
        let told = self.try_run(|_| Ok(()), look);
        assert_eq!(told, "", "the root was refused");
    }

    /// The failure that the root ends with.
    pub fn failure(&self) -> String {
        let told = self.try_run(|_| Ok(()), |_| {});
        assert_ne!(told, "", "nothing was refused");
        told
    }

    /// The whole life, with a step before the root is entered. Gives the failure, or nothing.
    pub fn try_run(
        &self,
        before: impl FnOnce(&mut Assembled) -> Result<(), Failure>,
        look: impl FnOnce(&[Mounted]),
    ) -> String {
        self.in_child(|rootfs| {
            let own = OwnedFd::from(std::fs::File::open("/proc/self").unwrap());
            let mut stands = rootfs.assemble()?;
            before(&mut stands)?;
            stands.pivot(self.no_pivot)?;
            stands.finish()?;
            look(&mountinfo(&own));
            Ok(())
        })
    }

    /// Runs `body` as the first process of the container's namespaces. Gives what it fails with,
    /// or nothing.
    pub fn in_child(&self, body: impl FnOnce(Rootfs) -> Result<(), Failure>) -> String {
        forked::ask(|| {
            self.build();
            let rootfs = match Rootfs::prepare(&self.spec(), &self.bundle, &self.facts()) {
                Ok(rootfs) => rootfs,
                Err(error) => return error.to_string(),
            };
            self.born(|| match body(rootfs) {
                Ok(()) => String::new(),
                Err(failure) => failure.to_string(),
            })
        })
    }

    /// What is mounted below the host's /tmp after a container has come and gone.
    pub fn host_mounts_afterwards(&self) -> Vec<String> {
        self.host_mounts(true)
    }

    /// The same without a container.
    pub fn host_mounts_without(&self) -> Vec<String> {
        self.host_mounts(false)
    }

    /// The mountinfo of the host while a container stands that has the host's mount namespace, and
    /// once its mounts were taken away.
    pub fn host_mounts_with_and_after(&self) -> (String, String) {
        let text = forked::ask(|| {
            self.build();
            let rootfs = Rootfs::prepare(&self.spec(), &self.bundle, &self.facts()).unwrap();
            let own = rootfs.own_mount().expect("it has mounts").clone();
            let told = self.born(|| {
                let live = || -> Result<(), Failure> {
                    let mut stands = rootfs.assemble()?;
                    stands.pivot(self.no_pivot)?;
                    stands.finish()
                };
                live().map_or_else(|failure| failure.to_string(), |()| String::new())
            });
            assert_eq!(told, "");
            let table = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let with = table();
            own.take_away().unwrap();
            let after = table();
            // What is gone already is no error.
            own.take_away().unwrap();
            format!("{with}=\n{after}")
        });
        let (with, after) = text.split_once("=\n").unwrap();
        (with.to_owned(), after.to_owned())
    }

    fn host_mounts(&self, with: bool) -> Vec<String> {
        let text = forked::ask(|| {
            self.build();
            let rootfs = Rootfs::prepare(&self.spec(), &self.bundle, &self.facts()).unwrap();
            let told = self.born(|| {
                let live = || -> Result<(), Failure> {
                    let mut stands = rootfs.assemble()?;
                    stands.pivot(self.no_pivot)?;
                    stands.finish()
                };
                let lived = if with { live() } else { Ok(()) };
                lived.map_or_else(|failure| failure.to_string(), |()| String::new())
            });
            assert_eq!(told, "");
            let own = OwnedFd::from(std::fs::File::open("/proc/self").unwrap());
            let paths = mountinfo(&own).into_iter().map(|mount| mount.path);
            paths.collect::<Vec<_>>().join("\n")
        });
        text.lines().map(str::to_owned).collect()
    }

    fn build(&self) {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount::make_all_private().unwrap();
        rustix::process::umask(rustix::fs::Mode::empty());
        let tmp = mount::new_filesystem(c"tmpfs", &[(c"mode", c"755")], 0).unwrap();
        let place = std::fs::File::open("/tmp").unwrap();
        mount::attach(tmp.as_fd(), place.as_fd()).unwrap();
        // As a host is after its start.
        let shared = mount::Change {
            propagation: libc::MS_SHARED,
            ..mount::Change::default()
        };
        mount::change(tmp.as_fd(), shared, mount::Reach::One).unwrap();
        std::fs::create_dir_all(self.bundle.join("rootfs")).unwrap();
        std::fs::create_dir(&self.host).unwrap();
        for step in &self.outside {
            step(&self.host);
        }
        for step in &self.image {
            step(&self.bundle.join("rootfs"));
        }
        if self.user {
            give_away(&self.bundle.join("rootfs"), self.first_id);
        }
        if self.without_mknod {
            let rest = capabilities::permitted().unwrap() & !(1 << CAP_MKNOD);
            let sets = capabilities::Sets {
                effective: rest,
                permitted: rest,
                ..capabilities::Sets::default()
            };
            capabilities::apply(&sets).unwrap();
        }
    }

    fn born(&self, body: impl FnOnce() -> String) -> String {
        let (mut told, mut telling) = io::pipe().unwrap();
        let (mut waiting, mut mapped) = io::pipe().unwrap();
        let mut flags = (NAMESPACES & !self.shares) as u64;
        if !self.mount_namespace {
            flags &= !(libc::CLONE_NEWNS as u64);
        }
        if self.user {
            flags |= libc::CLONE_NEWUSER as u64;
        }
        match clone::clone(flags, None).unwrap() {
            Cloned::Child => {
                drop((told, mapped));
                waiting.read_exact(&mut [0]).unwrap();
                if self.user {
                    process::become_ids(0, 0).unwrap();
                }
                let text = catch_unwind(AssertUnwindSafe(body))
                    .unwrap_or_else(|panic| format!("panic: {}", forked::message(panic.as_ref())));
                telling.write_all(text.as_bytes()).unwrap();
                clone::exit_now(0)
            }
            Cloned::Parent { pid, .. } => {
                drop((telling, waiting));
                if self.user {
                    let first_gid = self.first_gid.unwrap_or(self.first_id);
                    for (map, first) in [("uid_map", self.first_id), ("gid_map", first_gid)] {
                        let text = format!("0 {first} {}", self.ids);
                        std::fs::write(format!("/proc/{pid}/{map}"), text).unwrap();
                    }
                }
                mapped.write_all(b"m").unwrap();
                let mut text = String::new();
                told.read_to_string(&mut text).unwrap();
                assert_eq!(process::wait_for(pid).unwrap(), 0);
                assert!(!text.starts_with("panic: "), "{text}");
                text
            }
        }
    }
}

/// The image of a container with a user namespace is its root's.
fn give_away(path: &Path, owner: u32) {
    let found = std::fs::symlink_metadata(path).unwrap();
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).unwrap();
    if found.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), owner);
        }
    }
}
