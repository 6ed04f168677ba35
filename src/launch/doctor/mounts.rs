//! Mounts, as a launch makes them: copies by descriptor, put over what they hide.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::Probe;
use super::namespaces::enter;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::clone;
use crate::sys::mount::{self, Change, Reach, attr};
use crate::sys::namespace;

const NEW_MOUNTS: u64 = libc::CLONE_NEWNS as u64;

pub(super) fn probes() -> Vec<Probe> {
    let probe = |name, needed_for, call, kernel, trial: fn(&Path) -> Result<(), Stop>| {
        let remedy = Remedy::new(call, kernel)
            .namespaces("user.max_user_namespaces")
            .namespaces("user.max_mnt_namespaces");
        Probe::new("mounts", name, needed_for, remedy, move |place| {
            trial(place.path()?)
        })
    };
    vec![
        probe(
            "mask over a path (open_tree, move_mount)",
            "a deny below an allow; the root of a launch",
            "unshare, open_tree and move_mount",
            "Linux 5.2 or newer",
            mask,
        ),
        probe(
            "read-only mount (mount_setattr)",
            "files that may be read and not written",
            "unshare and mount_setattr",
            "Linux 5.12 or newer",
            read_only,
        ),
        probe(
            "new tmpfs (fsopen, fsmount)",
            "the root of a launch, a private /tmp",
            "unshare, fsopen, fsconfig and fsmount",
            "Linux 5.2 or newer with CONFIG_TMPFS",
            |_| tmpfs(),
        ),
        Probe::new(
            "mounts",
            "idmapped mount",
            "root's own folders as --workdir or --out; containers that ask",
            Remedy::new("mount_setattr and unshare", "Linux 5.12 or newer")
                .when(
                    libc::EPERM,
                    "run as root of the host (an ordinary user has no need for it)",
                )
                .when(
                    libc::EINVAL,
                    "keep these folders on a file system that can (ext4, xfs, btrfs, tmpfs)",
                ),
            |place| translated(place.path()?),
        ),
    ]
}

fn path_of(path: &Path) -> Result<OwnedFd, Stop> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(Stop::unprepared("opening what is to be covered"))
}

fn mask(dir: &Path) -> Result<(), Stop> {
    let (covered, over) = (dir.join("covered"), dir.join("over"));
    for (path, text) in [(&covered, "seen"), (&over, "hidden")] {
        fs::write(path, text).map_err(Stop::unprepared("writing a file"))?;
    }
    enter(NEW_MOUNTS)?;
    mount::make_all_private().map_err(Stop::refused("making mounts private"))?;
    let tree = mount::clone_tree(None, &over).map_err(Stop::refused("copying a mount"))?;
    mount::attach(tree.as_fd(), path_of(&covered)?.as_fd())
        .map_err(Stop::refused("putting a mount over a file"))?;
    let seen = fs::read_to_string(&covered).map_err(Stop::unprepared("reading the file"))?;
    match seen.as_str() {
        "hidden" => Ok(()),
        _ => Err(Stop::NoEffect("the file below is still seen".to_owned())),
    }
}

fn read_only(dir: &Path) -> Result<(), Stop> {
    let dir = dir.join("read-only");
    fs::create_dir(&dir).map_err(Stop::unprepared("making a folder"))?;
    enter(NEW_MOUNTS)?;
    mount::make_all_private().map_err(Stop::refused("making mounts private"))?;
    let tree = mount::clone_tree(None, &dir).map_err(Stop::refused("copying a mount"))?;
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    mount::attach(tree.as_fd(), path_of(&dir)?.as_fd())
        .map_err(Stop::refused("attaching a mount"))?;
    File::create_new(dir.join("before")).map_err(Stop::unprepared("writing through the mount"))?;
    mount::change(tree.as_fd(), change, Reach::Tree)
        .map_err(Stop::refused("making a mount read-only"))?;
    match File::create_new(dir.join("after")) {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
        Err(error) => Err(Stop::unprepared("writing below a read-only mount")(error)),
        Ok(_) => Err(Stop::NoEffect("it can be written".to_owned())),
    }
}

fn tmpfs() -> Result<(), Stop> {
    enter(NEW_MOUNTS)?;
    let tree = mount::new_filesystem(c"tmpfs", &[(c"size", c"65536")], attr::NODEV)
        .map_err(Stop::refused("making a file system"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&tree, "file", flags, Mode::RUSR)
        .map(drop)
        .map_err(Stop::refused("making a file in it"))
}

/// The owner that the trial's file gets to have.
const OTHER: u32 = 0x7000_0001;

fn translated(dir: &Path) -> Result<(), Stop> {
    let path = dir.join("translated");
    let file = File::create_new(&path).map_err(Stop::unprepared("writing a file"))?;
    let owner = file
        .metadata()
        .map_err(Stop::unprepared("looking at a file"))?;
    let tree = mount::clone_tree(None, &path).map_err(Stop::refused("copying a mount"))?;
    let (waiting, holding) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let (told, telling) = std::io::pipe().map_err(Stop::unprepared("making a pipe"))?;
    let pid = clone::fork().map_err(Stop::unprepared("making a process"))?;
    if pid == 0 {
        drop((holding, told));
        let made = namespace::unshare(libc::CLONE_NEWUSER as u64);
        let byte = [u8::from(made.is_ok())];
        let said = std::io::Write::write_all(&mut &telling, &byte);
        // Its namespace is looked at until the other end is closed.
        let ended = std::io::Read::read(&mut &waiting, &mut [0]);
        clone::exit_now(i32::from(said.is_err() || ended.is_err()));
    }
    drop((waiting, telling));
    let mut made = [0];
    std::io::Read::read_exact(&mut &told, &mut made)
        .map_err(Stop::unprepared("hearing the child"))?;
    if made != [1] {
        return Err(Stop::untried("no user namespace can be made for its map"));
    }
    for (file, id) in [("uid_map", owner.uid()), ("gid_map", owner.gid())] {
        fs::write(format!("/proc/{pid}/{file}"), format!("{id} {OTHER} 1"))
            .map_err(Stop::refused(format!("writing a {file}")))?;
    }
    let user = File::open(format!("/proc/{pid}/ns/user"))
        .map_err(Stop::unprepared("opening a user namespace"))?;
    mount::translate_owners(tree.as_fd(), user.as_fd(), Reach::One)
        .map_err(Stop::refused("giving a mount a map"))?;
    let seen = rustix::fs::fstat(&tree).map_err(Stop::unprepared("looking through the mount"))?;
    drop(holding);
    crate::sys::process::wait_for(pid).map_err(Stop::unprepared("waiting for the child"))?;
    match seen.st_uid {
        OTHER => Ok(()),
        _ => Err(Stop::NoEffect("owners are as before".to_owned())),
    }
}
