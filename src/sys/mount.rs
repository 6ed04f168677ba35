//! The descriptor-based mount interface of Linux 5.12, and the classic mount(2) for the rest.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount::UnmountFlags;

const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_int = 0x8000;

/// Attributes of a mount, `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    /// Nothing below can be written.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities are ignored.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// No program runs and nothing is mapped executable.
    pub const NOEXEC: u64 = 0x8;
    /// The field that says when access times are kept: one of the two below, or 0 for relatime.
    pub const ATIME: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are kept at every access.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
    /// Owners are translated by a user namespace's maps.
    pub const IDMAP: u64 = 0x0010_0000;
}

/// Which mounts a call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The one mount.
    One,
    /// It and everything mounted below it.
    Tree,
}

impl Reach {
    fn flag(self) -> libc::c_int {
        match self {
            Reach::One => 0,
            Reach::Tree => AT_RECURSIVE,
        }
    }
}

/// A change of mounts, for [`change`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Attributes ([`attr`]) that are set.
    pub set: u64,
    /// Attributes that are cleared; [`attr::ATIME`] goes with any access time that is set.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE` of mount(2), or 0 for no change.
    pub propagation: u64,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    // SAFETY: the callers pass what a call that makes a descriptor returned; it is fresh.
    checked(result).map(|raw| unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// A path as the kernel takes it.
///
/// # Errors
/// `InvalidInput` for a path with a NUL byte.
pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path has a NUL byte"))
}

/// A detached copy of the mounts at and below `path`, which is resolved from `dir`.
///
/// # Errors
/// What open_tree(2) says; `EPERM` without CAP_SYS_ADMIN over the mount namespace.
pub fn clone_tree(dir: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<OwnedFd> {
    clone_of(dir, path, Reach::Tree, false)
}

/// A detached copy of the mount that `path`, resolved from `dir`, lies in, from `path` on; `link`
/// says that a symbolic link at its end is what is meant.
///
/// # Errors
/// What open_tree(2) says; `EINVAL` for what another mount namespace holds.
pub fn clone_of(
    dir: Option<BorrowedFd<'_>>,
    path: &Path,
    reach: Reach,
    link: bool,
) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let follow = if link { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as libc::c_uint
        | (libc::AT_EMPTY_PATH | reach.flag() | follow) as libc::c_uint;
    // SAFETY: the path is NUL-terminated and outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Changes attributes and propagation of the mount whose root `mount` is, all at once or not at
/// all.
///
/// # Errors
/// What mount_setattr(2) says; `EINVAL` when `mount` is not the root of a mount, `EPERM` for what
/// a less privileged user namespace must not clear.
pub fn change(mount: BorrowedFd<'_>, change: Change, reach: Reach) -> io::Result<()> {
    let attributes = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    apply(mount, &attributes, reach)
}

/// Translates the owners in a detached tree by the maps of the user namespace `userns`.
///
/// # Errors
/// What mount_setattr(2) says; `EINVAL` when a filesystem cannot be idmapped.
pub fn translate_owners(
    tree: BorrowedFd<'_>,
    userns: BorrowedFd<'_>,
    reach: Reach,
) -> io::Result<()> {
    let attributes = MountAttr {
        attr_set: attr::IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.as_raw_fd() as u64,
    };
    apply(tree, &attributes, reach)
}

/// Sets attributes ([`attr`]) on a mount and everything below it; `userns` goes with `IDMAP`.
///
/// # Errors
/// What mount_setattr(2) says; `EINVAL` when a filesystem cannot be idmapped.
pub fn set_attributes(
    tree: BorrowedFd<'_>,
    set: u64,
    userns: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attributes = MountAttr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    apply(tree, &attributes, Reach::Tree)
}

fn apply(tree: BorrowedFd<'_>, attributes: &MountAttr, reach: Reach) -> io::Result<()> {
    // SAFETY: the structure has the size that is passed and outlives the call; the path is "".
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            (libc::AT_EMPTY_PATH | reach.flag()) as libc::c_uint,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<MountAttr>(),
        )
    })
    .map(|_| ())
}

/// Attaches a detached tree on top of what `target` refers to.
///
/// # Errors
/// What move_mount(2) says; `ENOTDIR` when one is a directory and the other is not.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both paths are the empty string; the descriptors are borrowed for the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(|_| ())
}

/// Unmounts the mount whose root `mount` is, with all that is mounted on it, at once.
///
/// # Errors
/// What umount(2) says; `EINVAL` when `mount` is not the root of a mount.
pub fn detach(mount: BorrowedFd<'_>) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

/// The id of the mount that `fd` lies in, which no other mount has until the next boot.
///
/// # Errors
/// What statx(2) says; `Unsupported` before Linux 6.8.
pub fn unique_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // `STATX_MNT_ID_UNIQUE`.
    let unique = StatxFlags::from_bits_retain(0x4000);
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, unique)?;
    match found.stx_mask & unique.bits() {
        0 => Err(too_old()),
        _ => Ok(found.stx_mnt_id),
    }
}

fn too_old() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this kernel has no ids of mounts that stay; Linux 6.8 has",
    )
}

/// `SYS_statmount`, the same on all architectures, and its structures' sizes and offsets in bytes
/// (`linux/mount.h`).
mod statmount {
    pub const NUMBER: libc::c_long = 457;
    pub const POINT: u64 = 0x10;
    pub const MASK_AT: usize = 8;
    pub const POINT_AT: usize = 108;
    pub const TEXT_AT: usize = 512;

    #[repr(C)]
    pub struct Request {
        pub size: u32,
        pub spare: u32,
        pub id: u64,
        pub wanted: u64,
    }
}

/// Where the mount with this [`unique_id`] is attached in this mount namespace, below the root of
/// this process; none when it is not.
///
/// # Errors
/// What statmount(2) says, such as `EPERM` for a mount outside of the root; `Unsupported` before
/// Linux 6.8.
pub fn point_of(id: u64) -> io::Result<Option<PathBuf>> {
    let request = statmount::Request {
        size: size_of::<statmount::Request>() as u32,
        spare: 0,
        id,
        wanted: statmount::POINT,
    };
    // A path is of 4096 bytes at most.
    let mut told = vec![0u8; statmount::TEXT_AT + 2 * 4096];
    // SAFETY: the request has the size that it says; the buffer has the length that is passed, and
    // both outlive the call.
    let done = checked(unsafe {
        libc::syscall(
            statmount::NUMBER,
            std::ptr::from_ref(&request),
            told.as_mut_ptr(),
            told.len(),
            0,
        )
    });
    match done.map_err(|error| (error.raw_os_error(), error)) {
        Ok(_) => {}
        Err((Some(libc::ENOENT), _)) => return Ok(None),
        Err((Some(libc::ENOSYS), _)) => return Err(too_old()),
        Err((_, error)) => return Err(error),
    }
    let path = mounted_on(&told);
    let path = path.ok_or_else(|| io::Error::other("the kernel does not say where it is"))?;
    Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(path))))
}

/// The path in what statmount(2) has told.
fn mounted_on(told: &[u8]) -> Option<&[u8]> {
    let mask = told.get(statmount::MASK_AT..)?.first_chunk()?;
    if u64::from_ne_bytes(*mask) & statmount::POINT == 0 {
        return None;
    }
    let offset = told.get(statmount::POINT_AT..)?.first_chunk()?;
    let offset = u32::from_ne_bytes(*offset) as usize;
    let text = told.get(statmount::TEXT_AT.checked_add(offset)?..)?;
    Some(CStr::from_bytes_until_nul(text).ok()?.to_bytes())
}

/// Makes a detached mount of a filesystem: `kind` with string options, and mount attributes.
///
/// # Errors
/// What fsopen(2), fsconfig(2) and fsmount(2) say.
pub fn new_filesystem(kind: &CStr, options: &[(&CStr, &CStr)], set: u64) -> io::Result<OwnedFd> {
    const FSCONFIG_SET_FLAG: libc::c_uint = 0;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: fsopen takes a NUL-terminated name; 1 is FSOPEN_CLOEXEC.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })?;
    let configure =
        |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
            // SAFETY: key and value are null or NUL-terminated strings that outlive the call.
            checked(unsafe {
                libc::syscall(
                    libc::SYS_fsconfig,
                    context.as_raw_fd(),
                    command,
                    key,
                    value,
                    0,
                )
            })
        };
    for (key, value) in options {
        if value.is_empty() {
            configure(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())?;
        } else {
            configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
        }
    }
    configure(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: fsmount takes the context and integers; 1 is FSMOUNT_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, set) })
}

/// Makes every mount of this namespace private, so that nothing done here shows outside.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace.
pub fn make_all_private() -> io::Result<()> {
    // SAFETY: only the target is read; it is a NUL-terminated string.
    checked(libc::c_long::from(unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    }))
    .map(|_| ())
}
