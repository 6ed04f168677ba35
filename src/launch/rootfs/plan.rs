//! What config.json says of the root file system, read and checked before anything is made.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{self as oci, LinuxDeviceType, Spec};
use rustix::fs::FileType;

use super::RootfsError;
use super::ids::IdMaps;
use super::options::{Options, Propagation};
use super::sysctl::{self, Sysctl};
use crate::sys::mount::Reach;

/// The whole of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// The bundle, from which a relative root is resolved.
    pub bundle: PathBuf,
    pub root: PathBuf,
    pub readonly: bool,
    pub propagation: Option<Propagation>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// Whether /dev is ours to fill: it is not when a mount brings one along.
    pub fills_dev: bool,
    pub masked: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    pub sysctls: Vec<Sysctl>,
    pub cwd: PathBuf,
    /// The SELinux context of new mounts, where SELinux is enabled.
    pub label: Option<String>,
}

/// What one entry of `mounts` makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something of the host, shown at another place.
    Bind(Reach),
    /// A change of what is mounted there already.
    Remount,
    /// The control groups of the container, whatever version they are of.
    Cgroup,
    /// A file system of this type.
    Fresh(CString),
}

/// One entry of `mounts`.
#[derive(Debug)]
pub(super) struct Mount {
    pub target: PathBuf,
    /// Absolute for a bind mount; any text otherwise.
    pub source: Option<PathBuf>,
    pub kind: Kind,
    pub options: Options,
    /// Maps of its own for an id-mapped mount, which has the container's without.
    pub maps: Option<IdMaps>,
    /// The source of a bind mount, where the child could not open it by itself.
    pub opened: Option<OwnedFd>,
}

impl Mount {
    pub(super) fn is(&self, kind: &str) -> bool {
        matches!(&self.kind, Kind::Fresh(own) if own.as_bytes() == kind.as_bytes())
    }
}

/// A device node.
#[derive(Debug)]
pub(super) struct Device {
    pub path: PathBuf,
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
    /// 0666 where config.json says nothing.
    pub mode: Option<u32>,
    /// User and group as the container has them; its root where config.json says nothing.
    pub owner: (Option<u32>, Option<u32>),
    /// A mount of the node alone, where the child could not make it by itself.
    pub opened: Option<OwnedFd>,
}

impl Device {
    pub(super) fn number(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    pub(super) fn full_mode(&self) -> u32 {
        self.mode.unwrap_or(0o666)
    }

    pub(super) fn full_owner(&self) -> (u32, u32) {
        (self.owner.0.unwrap_or(0), self.owner.1.unwrap_or(0))
    }
}

/// The devices that every container has: name, major and minor number.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("random", 1, 8),
    ("full", 1, 7),
    ("tty", 5, 0),
    ("zero", 1, 5),
    ("urandom", 1, 9),
];

impl Plan {
    pub(super) fn read(spec: &Spec, bundle: &Path) -> Result<Plan, RootfsError> {
        let root = spec.root().as_ref().ok_or(RootfsError::NoRoot)?;
        let linux = spec.linux().as_ref();
        let mounts = read_mounts(spec, bundle)?;
        let list = |paths: Option<&Option<Vec<String>>>| unique(paths.and_then(Option::as_ref));
        Ok(Plan {
            bundle: bundle.to_owned(),
            root: root.path().clone(),
            readonly: root.readonly().unwrap_or(false),
            propagation: linux
                .and_then(|linux| linux.rootfs_propagation().as_deref())
                .filter(|name| !name.is_empty())
                .map(|name| {
                    Propagation::named(name).ok_or_else(|| RootfsError::Propagation(name.into()))
                })
                .transpose()?,
            fills_dev: !mounts.iter().any(|mount| {
                matches!(mount.kind, Kind::Bind(_))
                    && lexical(&mount.target).as_deref() == Some(Path::new("dev"))
            }),
            devices: read_devices(linux)?,
            mounts,
            masked: list(linux.map(oci::Linux::masked_paths)),
            readonly_paths: list(linux.map(oci::Linux::readonly_paths)),
            sysctls: sysctl::read(linux)?,
            cwd: spec
                .process()
                .as_ref()
                .map_or_else(|| PathBuf::from("/"), |process| process.cwd().clone()),
            label: label(linux),
        })
    }
}

/// Files cannot be labelled where nothing would look at the labels.
fn label(linux: Option<&oci::Linux>) -> Option<String> {
    let label = linux.and_then(|linux| linux.mount_label().clone())?;
    if label.is_empty() {
        return None;
    }
    let enabled = super::label::enabled();
    if !enabled {
        tracing::warn!(%label, "linux.mountLabel is left out: SELinux is not enabled on this host");
    }
    enabled.then_some(label)
}

fn unique(paths: Option<&Vec<String>>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let paths = paths.into_iter().flatten().map(PathBuf::from);
    paths.filter(|path| seen.insert(path.clone())).collect()
}

fn read_mounts(spec: &Spec, bundle: &Path) -> Result<Vec<Mount>, RootfsError> {
    let mounts = spec.mounts().iter().flatten();
    let container = spec.linux().as_ref();
    mounts
        .map(|mount| read_mount(mount, bundle, container))
        .collect()
}

fn read_mount(
    mount: &oci::Mount,
    bundle: &Path,
    container: Option<&oci::Linux>,
) -> Result<Mount, RootfsError> {
    let target = mount.destination().clone();
    let refused = |why: String| RootfsError::Mount {
        target: target.clone(),
        why,
    };
    let mut options = Options::parse(mount.options().iter().flatten());
    let name = mount.typ().clone().unwrap_or_default();
    let kind = match (options.bind, name.as_str()) {
        (Some(reach), _) if !options.remount => Kind::Bind(reach),
        (_, _) if options.remount => Kind::Remount,
        (_, "" | "none" | "bind") => {
            return Err(refused(
                "it has no type of a file system, and no option bind or rbind".into(),
            ));
        }
        (_, "cgroup") => Kind::Cgroup,
        (_, name) => Kind::Fresh(
            CString::new(name).map_err(|_| refused("its type has a NUL byte".to_owned()))?,
        ),
    };
    let is_bind = matches!(kind, Kind::Bind(_));
    if is_bind {
        without_tmpfs_data(&target, &mut options);
    }
    if is_bind && let Some((datum, _)) = options.data.first() {
        return Err(refused(format!(
            "the option {datum:?} is one of a file system, which a bind mount cannot have"
        )));
    }
    if options.copy_up && name != "tmpfs" {
        return Err(refused("tmpcopyup is for tmpfs alone".to_owned()));
    }
    if options.copy_symlink && (options.source_link || options.target_link) {
        return Err(refused(
            "copy-symlink goes with neither src-nofollow nor dest-nofollow".to_owned(),
        ));
    }
    let source = mount.source().as_ref().map(|source| {
        if is_bind {
            bundle.join(source)
        } else {
            source.clone()
        }
    });
    if is_bind && source.is_none() {
        return Err(refused("it has no source".to_owned()));
    }
    let maps = read_maps(mount, container).map_err(refused)?;
    if maps.is_some() && options.idmap.is_none() {
        // Maps without a word about how far they reach are of the one mount.
        options.idmap = Some(Reach::One);
    }
    if options.idmap.is_some() && !is_bind {
        return Err(refused("only a bind mount can be id-mapped".to_owned()));
    }
    Ok(Mount {
        target,
        source,
        kind,
        options,
        maps,
        opened: None,
    })
}

/// Takes out what makes a tmpfs: callers say it of every mount, and what is there already neither
/// grows nor shrinks by it.
fn without_tmpfs_data(target: &Path, options: &mut Options) {
    const TMPFS: [&str; 6] = ["gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"];
    options.data.retain(|(name, _)| {
        let is_of_tmpfs = TMPFS.contains(&name.as_str());
        if is_of_tmpfs {
            tracing::warn!(mount = %target.display(), option = %name, "a bind mount has no such option");
        }
        !is_of_tmpfs
    });
}

/// The maps of one mount; none when it has none or they are those of the container.
fn read_maps(mount: &oci::Mount, container: Option<&oci::Linux>) -> Result<Option<IdMaps>, String> {
    match (mount.uid_mappings(), mount.gid_mappings()) {
        (None, None) => Ok(None),
        (Some(uids), Some(gids)) if !uids.is_empty() && !gids.is_empty() => {
            let same = container.is_some_and(|container| {
                container.uid_mappings().as_ref() == Some(uids)
                    && container.gid_mappings().as_ref() == Some(gids)
            });
            Ok((!same).then(|| IdMaps::new(uids, gids)))
        }
        _ => Err("an id-mapped mount needs uidMappings and gidMappings".to_owned()),
    }
}

fn read_devices(linux: Option<&oci::Linux>) -> Result<Vec<Device>, RootfsError> {
    let asked = linux.and_then(|linux| linux.devices().as_ref());
    let mut devices: Vec<Device> = asked
        .into_iter()
        .flatten()
        // Its place is taken by the link to the container's own pts/ptmx.
        .filter(|device| lexical(device.path()).as_deref() != Some(Path::new("dev/ptmx")))
        .map(read_device)
        .collect::<Result<_, _>>()?;
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        if !devices.iter().any(|device| device.path == path) {
            devices.push(Device {
                path,
                kind: FileType::CharacterDevice,
                major,
                minor,
                mode: None,
                owner: (None, None),
                opened: None,
            });
        }
    }
    Ok(devices)
}

fn read_device(device: &oci::LinuxDevice) -> Result<Device, RootfsError> {
    let refused = |why: String| RootfsError::Device {
        path: device.path().clone(),
        why,
    };
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(refused("its type must be one of b, c, u and p".into())),
    };
    let number = |of: &str, number: i64| {
        u32::try_from(number).map_err(|_| refused(format!("its {of} number is {number}")))
    };
    Ok(Device {
        path: device.path().clone(),
        kind,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        mode: device.file_mode().map(|mode| mode & 0o7777),
        owner: (device.uid(), device.gid()),
        opened: None,
    })
}

/// A path below the root as its text has it; none when only the file system can tell, for `..`.
pub(super) fn lexical(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => return None,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(plain)
}
