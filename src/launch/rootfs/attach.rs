//! One entry of `mounts`: where it goes, what may go there, and how it gets there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::filesystem::{self, Refused, Words};
use super::inside::{Last, Missing, Place};
use super::options::{Attributes, Options};
use super::plan::{Kind, Mount, lexical};
use super::{Assembled, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};

/// The type of procfs in statfs(2) (`linux/magic.h`).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// What may be mounted below /proc: files that lxcfs and its like show in the kernel's place.
const BELOW_PROC: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

impl Assembled {
    /// Makes one entry of `mounts`.
    pub(super) fn mount(&mut self, mount: &mut Mount) -> Result<(), Failure> {
        match mount.kind {
            Kind::Bind(reach) => self.bind(mount, reach),
            Kind::Remount => self.remount(mount),
            Kind::Cgroup => self.cgroup(mount),
            Kind::Fresh(ref kind) => self.fresh(mount, kind),
        }
    }

    fn bind(&mut self, mount: &mut Mount, reach: Reach) -> Result<(), Failure> {
        let opened = mount.opened.take();
        let mount = &*mount;
        let source = mount.source.as_deref().unwrap_or(Path::new("/"));
        let options = &mount.options;
        if options.copy_symlink && self.copy_symlink(mount, source)? {
            return Ok(());
        }
        let tree = match opened {
            Some(tree) => tree,
            None => mount::clone_of(None, source, reach, options.source_link)
                .map_err(failed("open the source of a mount,", source))?,
        };
        let kind = || -> io::Result<Missing> {
            let found = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
            Ok(match found {
                FileType::Directory => Missing::Directory,
                _ => Missing::File,
            })
        };
        let place = self
            .target(mount, kind)
            .map_err(failed("make the target of a mount,", &mount.target))?;
        self.may_bind(&place, tree.as_fd())
            .map_err(failed("mount on", &mount.target))?;
        // The console and its like are still to be made in it.
        let late = lexical(&mount.target).as_deref() == Some(Path::new("dev"));
        set_attributes(tree.as_fd(), options, late)
            .map_err(failed("set the options of the mount on", &mount.target))?;
        self.attach(mount, tree, &place, late)
    }

    /// Makes a symbolic link again where it is to be; false when the source is none.
    fn copy_symlink(&self, mount: &Mount, source: &Path) -> Result<bool, Failure> {
        let fail = failed("copy a symbolic link to", &mount.target);
        let target = match rustix::fs::readlink(source, Vec::new()) {
            Ok(target) => target,
            Err(Errno::INVAL) => return Ok(false),
            Err(error) => return Err(failed("read the link", source)(error.into())),
        };
        let (parent, name) = self.inside.parent(&mount.target).map_err(&fail)?;
        match rustix::fs::symlinkat(&target, &parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                let known = rustix::fs::readlinkat(&parent, name, Vec::new());
                if known.is_ok_and(|known| known == target) {
                    Ok(true)
                } else {
                    Err(fail(Errno::EXIST.into()))
                }
            }
            Err(error) => Err(fail(error.into())),
        }
    }

    fn target(
        &self,
        mount: &Mount,
        kind: impl FnOnce() -> io::Result<Missing>,
    ) -> io::Result<Place> {
        if mount.options.target_link {
            self.inside.existing(&mount.target, Last::Itself)
        } else {
            self.inside.place(&mount.target, Last::Followed, kind)
        }
    }

    /// A mount on /proc has to be a procfs: what a process believes of itself, and where it
    /// writes what restricts it, is read there.
    fn may_bind(&self, place: &Place, tree: BorrowedFd<'_>) -> io::Result<()> {
        if place.path == Path::new("proc") {
            return if rustix::fs::fstatfs(tree)?.f_type == PROC_SUPER_MAGIC {
                Ok(())
            } else {
                Err(io::Error::other("only a procfs can be mounted there"))
            };
        }
        may_mount(place)
    }

    /// Puts a detached tree on its place, and gives it its propagation.
    pub(super) fn attach(
        &mut self,
        mount: &Mount,
        tree: OwnedFd,
        place: &Place,
        late: bool,
    ) -> Result<(), Failure> {
        let fail = failed("mount on", &mount.target);
        let covers_root = place.path.as_os_str().is_empty();
        if covers_root && lexical(&mount.target).is_none_or(|path| path != place.path) {
            return Err(fail(io::Error::other(
                "the path leads to the root itself, which it does not say",
            )));
        }
        mount::attach(tree.as_fd(), place.fd.as_fd()).map_err(&fail)?;
        for propagation in &mount.options.propagation {
            mount::change(tree.as_fd(), propagation.change(), propagation.reach)
                .map_err(failed("set the propagation of the mount on", &mount.target))?;
        }
        if covers_root {
            self.inside = super::Inside::new(tree);
        } else if late && mount.options.own.set & attr::RDONLY != 0 {
            self.late.push((tree, mount.target.clone()));
        } else if mount.is("proc") && mount.options.own.set & attr::RDONLY == 0 {
            self.proc = Some(tree);
        }
        Ok(())
    }

    fn fresh(&mut self, mount: &Mount, kind: &CStr) -> Result<(), Failure> {
        let name = kind.to_string_lossy();
        let is_kernel = matches!(name.as_ref(), "proc" | "sysfs");
        let place = self
            .target(mount, || Ok(Missing::Directory))
            .map_err(failed("make the target of a mount,", &mount.target))?;
        if is_kernel {
            ordinary(mount, &place).map_err(failed(&format!("mount {name} on"), &mount.target))?;
        }
        if !(place.path == Path::new("proc") && name == "proc") {
            may_mount(&place).map_err(failed(&format!("mount {name} on"), &mount.target))?;
        }
        // Files are still to be made in these; they become read-only at the end.
        let late = name == "tmpfs" || lexical(&mount.target).as_deref() == Some(Path::new("dev"));
        let tree = match self.make(mount, kind, &place, late, None) {
            Ok(tree) => tree,
            Err(refused) => match self.instead(mount, &name, &place, late, &refused)? {
                Some(tree) => tree,
                None => return Err(explain(&name, mount, &refused)),
            },
        };
        if mount.options.copy_up && !place.made {
            super::copy_up::copy(place.fd.as_fd(), tree.as_fd())
                .map_err(failed("copy what is below", &mount.target))?;
        }
        if !mount.options.tree.is_empty() {
            mount::change(tree.as_fd(), mount.options.tree.change(), Reach::Tree)
                .map_err(failed("set the options of the mount on", &mount.target))?;
        }
        self.attach(mount, tree, &place, late)
    }

    fn make(
        &self,
        mount: &Mount,
        kind: &CStr,
        place: &Place,
        late: bool,
        without: Option<&str>,
    ) -> Result<OwnedFd, Refused> {
        let options = &mount.options;
        let name = kind.to_bytes();
        let mode;
        let mut data: Vec<(&str, Option<&str>)> = Vec::new();
        // A tmpfs is as open as the directory that it covers, unless it is told otherwise.
        if name == b"tmpfs" && !place.made && options.datum("mode").is_none() {
            let covered = rustix::fs::fstat(&place.fd).map_err(Refused::from)?;
            mode = format!("{:04o}", covered.st_mode & 0o7777);
            data.push(("mode", Some(&mode)));
        }
        // These are one file system however often they are mounted; a mount of theirs is
        // read-only by its attribute.
        let is_shared = matches!(
            name,
            b"proc" | b"sysfs" | b"mqueue" | b"devpts" | b"cgroup2" | b"tmpfs"
        );
        if options.own.set & attr::RDONLY != 0 && !is_shared {
            data.push(("ro", None));
        }
        data.extend(options.superblock.iter().map(|flag| (*flag, None)));
        let takes_label = !matches!(name, b"proc" | b"sysfs" | b"mqueue");
        if let Some(label) = self.plan.label.as_deref().filter(|_| takes_label) {
            data.push(("context", Some(label)));
        }
        let given = options.data.iter();
        let given = given.map(|(name, value)| (name.as_str(), value.as_deref()));
        data.extend(given.filter(|(name, _)| Some(*name) != without));
        let words = Words {
            source: mount.source.as_deref().and_then(Path::to_str),
            data: &data,
        };
        let mut attributes = options.own.fresh();
        if late {
            attributes &= !attr::RDONLY;
        }
        filesystem::fresh(kind, words, attributes)
    }

    /// What is mounted where a user namespace cannot have the file system that was asked for.
    fn instead(
        &self,
        mount: &Mount,
        name: &str,
        place: &Place,
        late: bool,
        refused: &Refused,
    ) -> Result<Option<OwnedFd>, Failure> {
        match (name, refused.errno) {
            // The group tty has no id in this user namespace.
            ("devpts", Errno::INVAL) if mount.options.datum("gid").is_some() => {
                Ok(self.make(mount, c"devpts", place, late, Some("gid")).ok())
            }
            // The network namespace is not this user namespace's: the host's sysfs, whole and
            // read-only, is what there is.
            ("sysfs", Errno::PERM) if mount.options.own.set & attr::RDONLY != 0 => {
                let shown = || -> io::Result<OwnedFd> {
                    let tree = mount::clone_of(None, Path::new("/sys"), Reach::Tree, false)?;
                    let set = mount.options.own.set;
                    let change = Change {
                        set,
                        ..Change::default()
                    };
                    mount::change(tree.as_fd(), change, Reach::Tree)?;
                    Ok(tree)
                };
                let fail = failed("show the host's /sys on", &mount.target);
                shown().map(Some).map_err(fail)
            }
            _ => Ok(None),
        }
    }

    fn remount(&mut self, mount: &Mount) -> Result<(), Failure> {
        let fail = failed("remount", &mount.target);
        let place = self
            .inside
            .existing(&mount.target, Last::Followed)
            .map_err(&fail)?;
        let options = &mount.options;
        if options.bind.is_none() && !(options.data.is_empty() && options.superblock.is_empty()) {
            let mut data: Vec<_> = options
                .superblock
                .iter()
                .map(|flag| (*flag, None))
                .collect();
            let given = options.data.iter();
            data.extend(given.map(|(name, value)| (name.as_str(), value.as_deref())));
            filesystem::reconfigure(place.fd.as_fd(), &data)
                .map_err(|refused| fail(io::Error::other(refused.to_string())))?;
        }
        mount::change(place.fd.as_fd(), options.own.change(), Reach::One).map_err(&fail)?;
        if !options.tree.is_empty() {
            mount::change(place.fd.as_fd(), options.tree.change(), Reach::Tree).map_err(&fail)?;
        }
        for propagation in &options.propagation {
            mount::change(place.fd.as_fd(), propagation.change(), propagation.reach)
                .map_err(&fail)?;
        }
        Ok(())
    }
}

/// What is mounted below /proc would be believed as the kernel's word, or be written to in its
/// place.
pub(super) fn may_mount(place: &Place) -> io::Result<()> {
    if place.path == Path::new("proc") {
        return Err(io::Error::other("only a procfs can be mounted there"));
    }
    if place.path.starts_with("proc")
        && !BELOW_PROC.iter().any(|path| place.path == Path::new(path))
    {
        return Err(io::Error::other(format!(
            "the path leads to /{}, and nothing may be mounted there inside /proc",
            place.path.display()
        )));
    }
    Ok(())
}

/// procfs and sysfs go where they are said to go, and not to where a link of the image leads. That
/// it is a directory is what the kernel wants of it.
fn ordinary(mount: &Mount, place: &Place) -> io::Result<()> {
    let is_link = lexical(&mount.target).is_none_or(|path| path != place.path);
    if is_link {
        return Err(io::Error::other(
            "it must be an ordinary directory, and no symbolic link on the way to it",
        ));
    }
    Ok(())
}

/// Gives a bind mount the options it was asked for. Options of its own replace those of the mount
/// it was taken from; where a user namespace keeps some of these locked, they stay.
fn set_attributes(tree: BorrowedFd<'_>, options: &Options, late: bool) -> io::Result<()> {
    let mut own = options.own;
    if late {
        own.set &= !attr::RDONLY;
    }
    if !options.own.is_empty() || !options.superblock.is_empty() {
        match mount::change(tree, own.replacement(), Reach::One) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                keep_locked(tree, own, error)?;
            }
            other => other?,
        }
    }
    if !options.tree.is_empty() {
        mount::change(tree, options.tree.change(), Reach::Tree)?;
    }
    Ok(())
}

fn keep_locked(tree: BorrowedFd<'_>, own: Attributes, refused: io::Error) -> io::Result<()> {
    // What was to be cleared in so many words must not stay without a word.
    if own.clear & of_source(tree)? != 0 {
        return Err(io::Error::new(
            refused.kind(),
            format!("{refused}: the source is mounted with options that cannot be cleared here"),
        ));
    }
    let change = own.change();
    mount::change(tree, change, Reach::One)
}

/// The attributes that the mount has which can be locked.
fn of_source(tree: BorrowedFd<'_>) -> io::Result<u64> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let flags = rustix::fs::fstatvfs(tree)?.f_flag;
    let pairs = [
        (Flags::RDONLY, attr::RDONLY),
        (Flags::NOSUID, attr::NOSUID),
        (Flags::NODEV, attr::NODEV),
        (Flags::NOEXEC, attr::NOEXEC),
        (Flags::NODIRATIME, attr::NODIRATIME),
    ];
    let held = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    Ok(held.fold(0, |all, (_, bit)| all | bit))
}

fn explain(name: &str, mount: &Mount, refused: &Refused) -> Failure {
    let why = match (name, refused.errno) {
        ("proc", Errno::PERM) => {
            ": a new procfs needs a pid namespace of the container's own, and in a user namespace \
             a /proc outside that nothing is mounted over"
        }
        ("sysfs", Errno::PERM) => {
            ": a new sysfs needs a network namespace of the container's own; with the option ro \
             the host's would be shown"
        }
        ("mqueue", Errno::PERM) => ": it needs an IPC namespace of the container's own",
        _ => "",
    };
    Failure::new(
        &format!("mount {name} on"),
        mount.target.display().to_string(),
        format!("{refused}{why}"),
    )
}
