//! What the file system of a path does with names.

use std::path::Path;

use rustix::fs::{FsWord, Mode, OFlags, ioctl_getflags, open, statfs};

/// `FS_CASEFOLD_FL` of linux/fs.h.
const CASEFOLD: u32 = 0x4000_0000;

/// `OVERLAYFS_SUPER_MAGIC`, as the other numbers of linux/magic.h.
const OVERLAY: u32 = 0x794c_7630;

/// FAT, exFAT, NTFS in two drivers, SMB in two versions, and HFS+: case makes no difference on them.
const FOLDING: [u32; 7] = [
    0x4d44,
    0x2011_bab0,
    0x7366_746e,
    0x5346_544e,
    0xff53_4d42,
    0xfe53_4d42,
    0x482b,
];

/// ext4, tmpfs, f2fs and Btrfs, which say by a flag of the directory whether it does.
const SAYING: [u32; 4] = [0xef53, 0x0102_1994, 0xf2f5_2010, 0x9123_683e];

/// Whether upper and lower case make no difference to names in a directory; `None` where its file system
/// does not say.
#[must_use]
pub fn fold_case(directory: &Path) -> Option<bool> {
    let kind = magic(statfs(directory).ok()?.f_type);
    if FOLDING.contains(&kind) {
        return Some(true);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty());
    match opened.and_then(|directory| ioctl_getflags(&directory)) {
        Ok(flags) if flags.bits() & CASEFOLD != 0 => Some(true),
        Ok(_) if SAYING.contains(&kind) => Some(false),
        _ => None,
    }
}

/// Whether a path is on an overlay, which copies a file when it is first written to.
#[must_use]
pub fn are_on_overlay(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| magic(found.f_type) == OVERLAY)
}

/// A number of 32 bits in a word of the machine.
fn magic(word: FsWord) -> u32 {
    word as u32
}
