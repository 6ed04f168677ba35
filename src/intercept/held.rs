//! Which calls are held for which permissions.

use syscalls::Sysno;

use crate::policy::{Perm, PermSet};

/// When a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Always.
    Always,
    /// When the flags at this argument may read, list or change something: always but for `O_PATH`.
    Opening(u8),
    /// When the flags at this argument change something.
    Changing(u8),
    /// When the pointer at this argument is not null.
    Pointing(u8),
    /// Never: the call is answered as on a kernel without it.
    Unknown,
}

/// Calls that change a directory's entries, each with the permissions that it may need.
const ENTRIES: &[(Sysno, PermSet)] = &[
    (Sysno::mkdirat, PermSet::of(&[Perm::MakeDir])),
    (
        Sysno::mknodat,
        PermSet::of(&[Perm::MakeReg, Perm::MakeFifo, Perm::MakeSock]),
    ),
    (Sysno::symlinkat, PermSet::of(&[Perm::MakeSym])),
    (
        Sysno::unlinkat,
        PermSet::of(&[Perm::RemoveDir, Perm::RemoveFile]),
    ),
    // What has another name has other rules.
    (Sysno::linkat, PermSet::ALL),
    (Sysno::renameat, PermSet::ALL),
    (Sysno::renameat2, PermSet::ALL),
    (Sysno::truncate, PermSet::of(&[Perm::WriteFile])),
];

#[cfg(target_arch = "x86_64")]
const ENTRIES_HERE: &[(Sysno, PermSet)] = &[
    (Sysno::mkdir, PermSet::of(&[Perm::MakeDir])),
    (
        Sysno::mknod,
        PermSet::of(&[Perm::MakeReg, Perm::MakeFifo, Perm::MakeSock]),
    ),
    (Sysno::symlink, PermSet::of(&[Perm::MakeSym])),
    (Sysno::unlink, PermSet::of(&[Perm::RemoveFile])),
    (Sysno::rmdir, PermSet::of(&[Perm::RemoveDir])),
    (Sysno::link, PermSet::ALL),
    (Sysno::rename, PermSet::ALL),
    (Sysno::creat, PermSet::of(&[Perm::WriteFile, Perm::MakeReg])),
];
#[cfg(not(target_arch = "x86_64"))]
const ENTRIES_HERE: &[(Sysno, PermSet)] = &[];

/// Calls that change what is known of a file.
const ATTRIBUTES: &[Sysno] = &[
    Sysno::fchmod,
    Sysno::fchmodat,
    Sysno::fchmodat2,
    Sysno::fchown,
    Sysno::fchownat,
    Sysno::utimensat,
    Sysno::setxattr,
    Sysno::lsetxattr,
    Sysno::fsetxattr,
    Sysno::removexattr,
    Sysno::lremovexattr,
    Sysno::fremovexattr,
];

#[cfg(target_arch = "x86_64")]
const ATTRIBUTES_HERE: &[Sysno] = &[
    Sysno::chmod,
    Sysno::chown,
    Sysno::lchown,
    Sysno::utime,
    Sysno::utimes,
    Sysno::futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const ATTRIBUTES_HERE: &[Sysno] = &[];

/// Calls that bind, connect or send to a socket with a name.
const SOCKETS: &[(Sysno, Holding)] = &[
    (Sysno::bind, Holding::Always),
    (Sysno::connect, Holding::Always),
    (Sysno::sendto, Holding::Pointing(4)),
    (Sysno::sendmsg, Holding::Always),
    (Sysno::sendmmsg, Holding::Always),
];

/// What could lead the path of a socket elsewhere between the decision and the call. Moves and links
/// are held in any case.
const LEADING: &[Sysno] = &[
    Sysno::symlinkat,
    Sysno::unlinkat,
    #[cfg(target_arch = "x86_64")]
    Sysno::symlink,
    #[cfg(target_arch = "x86_64")]
    Sysno::unlink,
    #[cfg(target_arch = "x86_64")]
    Sysno::rmdir,
];

/// Newer forms, whose callers fall back to the others.
const NEWER: &[Sysno] = &[Sysno::setxattrat, Sysno::removexattrat];

/// The calls to hold where `perms` are decided as each call is made.
#[must_use]
pub fn held(perms: PermSet) -> Vec<(Sysno, Holding)> {
    if perms.is_empty() {
        return Vec::new();
    }
    let reads = perms.intersects(PermSet::READ);
    let opening = |flags| match reads {
        true => Holding::Opening(flags),
        false => Holding::Changing(flags),
    };
    let mut held = Vec::new();
    if reads || perms.intersects(PermSet::of(&[Perm::WriteFile, Perm::MakeReg])) {
        held.push((Sysno::openat, opening(2)));
        #[cfg(target_arch = "x86_64")]
        held.push((Sysno::open, opening(1)));
    }
    let entries = ENTRIES.iter().chain(ENTRIES_HERE);
    held.extend(
        entries
            .filter(|(_, needed)| needed.intersects(perms))
            .map(|(sysno, _)| (*sysno, Holding::Always)),
    );
    if perms.intersects(PermSet::CHANGE) {
        let attributes = ATTRIBUTES.iter().chain(ATTRIBUTES_HERE);
        held.extend(attributes.map(|sysno| (*sysno, Holding::Always)));
        held.extend(NEWER.iter().map(|sysno| (*sysno, Holding::Unknown)));
    }
    if perms.intersects(PermSet::NAMED_SOCKETS) {
        held.extend(SOCKETS);
        let mut leading = LEADING.to_vec();
        leading.retain(|sysno| !held.iter().any(|(there, _)| there == sysno));
        held.extend(leading.iter().map(|sysno| (*sysno, Holding::Always)));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_holds_no_more_calls_than_it_needs() {
        assert!(held(PermSet::NONE).is_empty());
        let reading = held(PermSet::READ);
        assert!(reading.contains(&(Sysno::openat, Holding::Opening(2))));
        assert!(!reading.iter().any(|(sysno, _)| *sysno == Sysno::mkdirat));
        // A file that may not be read could be renamed to one that may.
        assert!(reading.contains(&(Sysno::renameat2, Holding::Always)));
        let writing = held(PermSet::of(&[Perm::WriteFile]));
        assert!(writing.contains(&(Sysno::openat, Holding::Changing(2))));
        assert!(held(PermSet::WRITE_DIR).contains(&(Sysno::unlinkat, Holding::Always)));
    }

    #[test]
    fn sockets_with_names_are_held_with_all_that_could_lead_them_elsewhere() {
        let is_held = |perms: PermSet, sysno| held(perms).contains(&(sysno, Holding::Always));
        assert!(!is_held(PermSet::READ, Sysno::connect));
        for perm in [Perm::WriteFile, Perm::MakeSock] {
            for sysno in [
                Sysno::bind,
                Sysno::sendmsg,
                Sysno::unlinkat,
                Sysno::symlinkat,
            ] {
                assert!(is_held(PermSet::of(&[perm]), sysno), "{perm:?} {sysno}");
            }
        }
    }
}
