//! The mounts of a bundle: host paths to show, private places in memory, and those that every
//! sandbox has a narrower one of.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::program::Place;
use super::settings::remark;
use crate::launch::{Mechanism, Piece, State};
use crate::policy::OWN_PLACES;
use crate::sys::mountinfo;

/// What the mounts of a bundle come to.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// What they add to the root, in order.
    pub pieces: Vec<Piece>,
    /// The sizes that /tmp and /dev/shm are asked to have at most, in bytes.
    pub tmp_bytes: Option<u64>,
    /// The same of /dev/shm.
    pub shm_bytes: Option<u64>,
    /// What is narrower than asked.
    pub remarks: Vec<Mechanism>,
}

/// Options that ask for no more than there is: the flags that are always set, and those on times
/// of access and on propagation, which never leaves the sandbox.
const HARMLESS: [&str; 26] = [
    "defaults",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "ro",
    "rro",
    "rw",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
    "strictatime",
    "nostrictatime",
    "rnosuid",
    "rnodev",
    "rnoexec",
    "silent",
];

/// Options with a value, of file systems in memory and of terminals.
const SIZES_AND_OWNERS: [&str; 7] = [
    "size=",
    "mode=",
    "uid=",
    "gid=",
    "nr_inodes=",
    "ptmxmode=",
    "max=",
];

/// Takes the mounts in their order. Host paths are also put into `place`, so that programs are
/// found in them.
///
/// # Errors
/// The mount that cannot be carried, and what to do.
pub(super) fn take(
    mounts: &[Mount],
    bundle: &Path,
    place: &mut Place,
    may_show: &dyn Fn(&Path) -> bool,
) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    for mount in mounts {
        let path = mount.destination();
        let refuse = |why: String| format!("its mount on {} {why}", path.display());
        if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
            return Err(refuse("is at no absolute path without `..`".to_owned()));
        }
        if has_mappings(mount) {
            return Err(refuse("has id mappings; take them out".to_owned()));
        }
        let options: Vec<&str> = mount
            .options()
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let bind = |option: &&str| matches!(*option, "bind" | "rbind");
        let kind = mount.typ().as_deref().unwrap_or("none");
        if kind == "bind" || options.iter().any(bind) {
            let source = source(mount, bundle, options.contains(&"rbind")).map_err(refuse)?;
            if !may_show(&source) {
                let source = source.display();
                return Err(refuse(format!(
                    "shows {source}, which is outside of the bundle; allow it: --allow-read={source}"
                )));
            }
            show(mount, &options, source, place, &mut mounted).map_err(refuse)?;
        } else {
            make(kind, path, &options, place, &mut mounted).map_err(refuse)?;
        }
    }
    Ok(mounted)
}

fn has_mappings(mount: &Mount) -> bool {
    let given = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
    given(mount.uid_mappings()) || given(mount.gid_mappings())
}

/// A host path.
fn show(
    mount: &Mount,
    options: &[&str],
    source: PathBuf,
    place: &mut Place,
    mounted: &mut Mounted,
) -> Result<(), String> {
    options_are_known(options, &["bind", "rbind"])?;
    let path = place.real_as_far(mount.destination());
    let within_private = mounted.pieces.iter().any(
        |piece| matches!(piece, Piece::Tmpfs { path: private, .. } if path.starts_with(private)),
    );
    if within_private || is_ours(&path) {
        return Err(OURS.to_owned());
    }
    has_room(place, mount.destination(), &path)?;
    if !options.iter().any(|option| matches!(*option, "ro" | "rro")) {
        mounted.remarks.push(remark(
            &format!("mount on {}", path.display()),
            State::Partial,
            "read-only; a policy's rule or --out gives what may be written",
        ));
    }
    let noexec = |option: &&str| matches!(*option, "noexec" | "rnoexec");
    place.mounts.push((path.clone(), source.clone()));
    mounted.pieces.push(Piece::Bind {
        dir: source.is_dir(),
        source,
        path,
        writable: false,
        executable: !options.iter().any(noexec),
        optional: false,
    });
    Ok(())
}

const OURS: &str = "stands where the sandbox has its own; take it out";

fn is_ours(path: &Path) -> bool {
    path == Path::new("/") || OWN_PLACES.iter().any(|place| path.starts_with(place))
}

/// The host path that a mount shows, without symbolic links; a relative one is the bundle's.
fn source(mount: &Mount, bundle: &Path, with_mounts: bool) -> Result<PathBuf, String> {
    let named = mount.source().as_ref().ok_or("has no source")?;
    let named = bundle.join(named);
    let lost = |error: std::io::Error| format!("shows {}: {error}", named.display());
    let source = named.canonicalize().map_err(lost)?;
    let found = source.metadata().map_err(lost)?;
    if !found.is_dir() && !found.is_file() {
        // A socket or a pipe could be used whatever the mount allows.
        return Err(format!(
            "shows {}, which is neither a file nor a directory; take it out",
            source.display()
        ));
    }
    match mounted_below(&source)? {
        Some(below) if !with_mounts => Err(format!(
            "shows {} without what is mounted below it at {}; say rbind, or name what is wanted",
            source.display(),
            below.display()
        )),
        _ => Ok(source),
    }
}

/// Nothing can be made in the bundle's root, which is shown as it is.
fn has_room(place: &Place, named: &Path, path: &Path) -> Result<(), String> {
    let existing = |path: &&Path| place.real(path).is_some();
    let around = path.ancestors().find(existing).unwrap_or(Path::new("/"));
    if around == path || around == Path::new("/") || around.starts_with("/run") {
        return Ok(());
    }
    Err(format!(
        "has no place in its root: make {} there",
        named.display()
    ))
}

/// A file system of its own.
fn make(
    kind: &str,
    path: &Path,
    options: &[&str],
    place: &Place,
    mounted: &mut Mounted,
) -> Result<(), String> {
    let at = |wanted: &str| path == Path::new(wanted);
    let mut narrowed = |state, how: &str| {
        let setting = format!("mount on {}", path.display());
        mounted.remarks.push(remark(&setting, state, how));
    };
    match kind {
        "proc" if at("/proc") => options_are_known(options, &[]),
        "tmpfs" if at("/dev") => options_are_known(options, &[]),
        "devpts" if at("/dev/pts") => options_are_known(options, &["newinstance"]),
        "tmpfs" if at("/dev/shm") => {
            mounted.shm_bytes = size(options)?;
            options_are_known(options, &[])
        }
        "tmpfs" if at("/tmp") => {
            mounted.tmp_bytes = size(options)?;
            options_are_known(options, &[])
        }
        "mqueue" if at("/dev/mqueue") => {
            narrowed(State::None, "there are no message queues to look at");
            Ok(())
        }
        "sysfs" if at("/sys") => {
            narrowed(State::None, "the kernel's view of the host is not shown");
            Ok(())
        }
        "cgroup" | "cgroup2" if at("/sys/fs/cgroup") => {
            narrowed(State::None, "control groups are not shown");
            Ok(())
        }
        "tmpfs" => {
            if is_ours(&place.real_as_far(path)) {
                return Err(OURS.to_owned());
            }
            if options.contains(&"ro") {
                return Err("is a tmpfs that cannot be written; take it out".to_owned());
            }
            options_are_known(options, &[])?;
            let real = place.real_as_far(path);
            has_room(place, path, &real)?;
            let bytes = size(options)?.unwrap_or(super::root::TMP_BYTES);
            if bytes > super::root::TMP_BYTES {
                narrowed(State::Partial, "64 MiB, as every private place at most");
            }
            mounted.pieces.push(Piece::Tmpfs {
                path: real,
                bytes: bytes.min(super::root::TMP_BYTES),
                executable: false,
            });
            Ok(())
        }
        other => Err(format!(
            "is of the type {other}, which is not carried; take it out"
        )),
    }
}

fn options_are_known(options: &[&str], own: &[&str]) -> Result<(), String> {
    let known = |option: &&str| {
        own.contains(option)
            || HARMLESS.contains(option)
            || SIZES_AND_OWNERS
                .iter()
                .any(|start| option.starts_with(start))
    };
    match options.iter().find(|option| !known(option)) {
        None => Ok(()),
        Some(option) => Err(format!(
            "has the option {option}, which is not carried; take it out"
        )),
    }
}

/// The size that a tmpfs is asked to have, as tmpfs(5) writes it, in bytes.
fn size(options: &[&str]) -> Result<Option<u64>, String> {
    let Some(text) = options
        .iter()
        .find_map(|option| option.strip_prefix("size="))
    else {
        return Ok(None);
    };
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("") => Some(1),
        Some("k" | "K") => Some(1 << 10),
        Some("m" | "M") => Some(1 << 20),
        Some("g" | "G") => Some(1 << 30),
        _ => None,
    };
    let bytes = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    match bytes {
        // For tmpfs this is no limit at all.
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!(
            "has the size {text}; give bytes, or a number with k, m or g"
        )),
    }
}

/// A mount of the host below a directory.
fn mounted_below(source: &Path) -> Result<Option<PathBuf>, String> {
    let list = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| format!("needs /proc/self/mountinfo to be looked at: {error}"))?;
    let mut points = mountinfo::mounts(&list).map(|mount| mount.point);
    Ok(points.find(|path| path != source && path.starts_with(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_tmpfs_reads_them() {
        assert_eq!(size(&["nosuid", "size=65536k"]), Ok(Some(64 << 20)));
        assert_eq!(size(&["size=7"]), Ok(Some(7)));
        assert_eq!(size(&["size=0"]), Ok(None));
        for bad in [
            "size=half",
            "size=50%",
            "size=1t",
            "size=99999999999999999g",
        ] {
            assert!(size(&[bad]).is_err(), "{bad}");
        }
    }
}
