//! Device nodes that the child cannot make, made in the parent.
//!
//! No user namespace but the first can make a device, and one on a file system of another cannot
//! be opened. So they are made here, on a file system of the caller's that is never mounted where
//! somebody could find it, and the child gets a mount of each node alone: there is no directory
//! to be reached from it, and nothing to make another node in. Who may not make them, as root of
//! nothing but a user namespace, leaves the child to show the host's own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::devices::NODE;
use super::ids::{self, IdMaps, Ids};
use super::plan::{Device, Plan};
use super::{RootfsError, RootfsFacts, filesystem};
use crate::sys::mount::{self, Change, Reach};
use crate::sys::namespace;

/// Makes what the host does not have as config.json wants it, and leaves the rest to the child.
pub(super) fn make(plan: &mut Plan, spec: &Spec, facts: &RootfsFacts) -> Result<(), RootfsError> {
    let has_both = facts.user_namespace && facts.mount_namespace;
    if !has_both || !plan.fills_dev || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut maps = Maps::Unread(Ids::of(spec));
    let mut wanted = Vec::new();
    for device in &mut plan.devices {
        // The child makes a pipe by itself.
        if device.kind == FileType::Fifo {
            continue;
        }
        // What cannot be looked at is not it; the child says why, where nothing better is made.
        let found = rustix::fs::stat(&device.path).ok();
        // A container with the id of the node's owner could change the host's node.
        let is_reached = match &found {
            Some(found) => maps.read()?.holds(found.st_uid),
            None => false,
        };
        if let (Some(found), false) = (&found, is_reached)
            && is_it(found, device, &mut maps)?
        {
            continue;
        }
        let owner = maps.owner(device)?;
        wanted.push(Wanted {
            device,
            owner,
            is_reached,
        });
    }
    if wanted.is_empty() {
        return Ok(());
    }
    make_all(&mut wanted, plan.label.as_deref()).map_err(RootfsError::Nodes)
}

/// A device that is to be made, with its owner as the host has it.
struct Wanted<'a> {
    device: &'a mut Device,
    owner: (Uid, Gid),
    /// Whether the host's node could be changed by the container, and must not be shown instead.
    is_reached: bool,
}

/// The maps of the container, which are read when they are asked for.
enum Maps {
    Unread(Option<Ids>),
    Read(IdMaps),
}

impl Maps {
    fn read(&mut self) -> Result<&IdMaps, RootfsError> {
        if let Maps::Unread(ids) = self {
            let none = || io::Error::other("it has no id maps");
            let read = ids.take().ok_or_else(none).and_then(Ids::maps);
            *self = Maps::Read(read.map_err(RootfsError::Nodes)?);
        }
        match self {
            Maps::Read(maps) => Ok(maps),
            Maps::Unread(_) => Err(RootfsError::Nodes(Errno::INVAL.into())),
        }
    }

    fn owner(&mut self, device: &Device) -> Result<(Uid, Gid), RootfsError> {
        let (uid, gid) = device.full_owner();
        match self.read()?.outside((uid, gid)) {
            (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
            _ => Err(RootfsError::Device {
                path: device.path.clone(),
                why: format!(
                    "its owner {uid}:{gid} has no ids outside: map them in linux.uidMappings and \
                     linux.gidMappings"
                ),
            }),
        }
    }
}

/// Whether the host's node of the same path is all that is asked for.
fn is_it(found: &Stat, device: &Device, maps: &mut Maps) -> Result<bool, RootfsError> {
    let number = (
        rustix::fs::major(found.st_rdev),
        rustix::fs::minor(found.st_rdev),
    );
    if FileType::from_raw_mode(found.st_mode) != device.kind || number != device.number() {
        return Ok(false);
    }
    if device
        .mode
        .is_some_and(|mode| mode != found.st_mode & 0o7777)
    {
        return Ok(false);
    }
    if device.owner == (None, None) {
        return Ok(true);
    }
    let (uid, gid) = maps.owner(device)?;
    let differs = |asked: Option<u32>, own: u32, found: u32| asked.is_some() && own != found;
    Ok(!differs(device.owner.0, uid.as_raw(), found.st_uid)
        && !differs(device.owner.1, gid.as_raw(), found.st_gid))
}

/// Makes the nodes, each named by its place in the list, and a mount of each alone.
fn make_all(wanted: &mut [Wanted<'_>], label: Option<&str>) -> io::Result<()> {
    let mut data = vec![("mode", Some("0700"))];
    data.extend(label.map(|label| ("context", Some(label))));
    let place = match filesystem::plain(c"tmpfs", &data, 0) {
        Ok(place) => place,
        Err(refused) if refused.errno == Errno::PERM => {
            return wanted.iter().try_for_each(leave_to_child);
        }
        Err(refused) => return Err(io::Error::other(refused.to_string())),
    };
    let mut made = Vec::new();
    for (number, one) in wanted.iter_mut().enumerate() {
        let name = number.to_string();
        match make_node(place.as_fd(), &name, one.device, one.owner) {
            Ok(()) => made.push((name, &mut one.device.opened)),
            Err(Errno::PERM) => leave_to_child(one)?,
            Err(error) => return Err(error.into()),
        }
    }
    if made.is_empty() {
        return Ok(());
    }
    // Older kernels clone nothing that is mounted nowhere.
    ids::in_copy(|| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        let apart = Change {
            propagation: libc::MS_PRIVATE,
            ..Change::default()
        };
        mount::change(root.as_fd(), apart, Reach::One)?;
        mount::attach(place.as_fd(), root.as_fd())?;
        for (name, opened) in made {
            *opened = Some(alone(place.as_fd(), &name)?);
        }
        Ok(())
    })
}

/// In a user namespace, or under a device control group of the caller's, none can be made, and the
/// child shows the host's own. Root of the host has nodes there that the container must not change.
fn leave_to_child(one: &Wanted<'_>) -> io::Result<()> {
    match one.is_reached && !namespace::is_in_user_namespace()? {
        true => Err(Errno::PERM.into()),
        false => Ok(()),
    }
}

fn make_node(
    place: BorrowedFd<'_>,
    name: &str,
    device: &Device,
    (uid, gid): (Uid, Gid),
) -> Result<(), Errno> {
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(place, name, device.kind, Mode::empty(), number)?;
    let mode = Mode::from_raw_mode(device.full_mode());
    rustix::fs::chownat(place, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // By itself, for the caller's umask counts where a node is made.
    rustix::fs::chmodat(place, name, mode, AtFlags::empty())
}

fn alone(place: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let node = mount::clone_of(Some(place), Path::new(name), Reach::One, true)?;
    mount::change(node.as_fd(), NODE, Reach::One)?;
    Ok(node)
}
