//! What the file system of a path does with names.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FsWord, Mode, OFlags, StatxFlags, fstatfs, ioctl_getflags, open, statfs, statx,
};

/// `FS_CASEFOLD_FL` of linux/fs.h.
const CASEFOLD: u32 = 0x4000_0000;

/// FAT, exFAT, NTFS in two drivers, SMB in two versions, and HFS+, as the other numbers of linux/magic.h:
/// case makes no difference on them.
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

/// ext2 to ext4, XFS, Btrfs, tmpfs and f2fs: a file has one inode there, whatever its names and whatever
/// becomes of it. An overlay copies a file that is changed under one name, and with FUSE and over a
/// network each name can have an inode of its own.
const KNOWING: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010];

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

/// Whether all hard links of a file at this path are known by its inode.
#[must_use]
pub fn share_an_inode(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| KNOWING.contains(&magic(found.f_type)))
}

/// When a file came into being, in seconds and nanoseconds, where its file system tells and nothing
/// changes it: a later file with the same inode has another time.
#[must_use]
pub fn birth(object: impl AsFd) -> Option<(i64, u32)> {
    let kind = magic(fstatfs(&object).ok()?.f_type);
    if !KNOWING.contains(&kind) {
        return None;
    }
    let said = statx(&object, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let is_told = StatxFlags::from_bits_retain(said.stx_mask).contains(StatxFlags::BTIME);
    is_told.then_some((said.stx_btime.tv_sec, said.stx_btime.tv_nsec))
}

/// A number of 32 bits in a word of the machine.
fn magic(word: FsWord) -> u32 {
    word as u32
}
