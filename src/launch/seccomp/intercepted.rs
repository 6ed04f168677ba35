//! The calls that the interceptor answers.

use syscalls::Sysno;

use super::SeccompError;
use super::conditions::{constant, equal, masked, rules, whole};
use super::rules::{Clause, Table};
use crate::intercept::{Holding, held};
use crate::policy::PermSet;

/// Flags of an open that changes something, or may: `O_TMPFILE` without its `O_DIRECTORY`.
const CHANGING: u64 =
    (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;

/// Commands of ioctl(2) that change what is known of a file, and take a descriptor that is open for
/// reading: FS_IOC_SETFLAGS of both sizes, FS_IOC_SETVERSION, EXT4_IOC_SETVERSION, FS_IOC_FSSETXATTR,
/// FS_IOC_SET_ENCRYPTION_POLICY, FS_IOC_ENABLE_VERITY and FAT_IOCTL_SET_ATTRIBUTES of linux/fs.h,
/// ext4.h, linux/fscrypt.h, linux/fsverity.h and linux/msdos_fs.h.
const ATTRIBUTES: [u64; 8] = [
    0x4008_6602,
    0x4004_6602,
    0x4008_7602,
    0x4008_6604,
    0x401c_5820,
    0x800c_6613,
    0x4080_6685,
    0x4004_7211,
];

/// Sends to the listener what may need one of `perms`. Of what was refused by an argument the
/// broker refuses the same.
pub(super) fn hold(table: &mut Table, perms: PermSet) -> Result<(), SeccompError> {
    for (sysno, holding) in held(perms) {
        // No permission is needed for a descriptor that names a file and does not open it.
        let names = constant(libc::O_PATH);
        let named = |flags| vec![masked(flags, names, names)];
        match holding {
            Holding::Always => table.ask(sysno),
            Holding::Opening(flags) => {
                let only = rules(sysno, &[named(flags)])?;
                table.put(sysno, vec![Clause::AdmitOrAsk { only }]);
            }
            Holding::Changing(flags) => {
                let only = rules(sysno, &[named(flags), vec![masked(flags, CHANGING, 0)]])?;
                table.put(sysno, vec![Clause::AdmitOrAsk { only }]);
            }
            Holding::Pointing(pointer) => {
                let only = rules(sysno, &[[whole(pointer, 0)]])?;
                table.put(sysno, vec![Clause::AdmitOrAsk { only }]);
            }
            Holding::Unknown => table.refuse(sysno, libc::ENOSYS),
        }
    }
    if perms.is_empty() {
        return Ok(());
    }
    // A domain of the worker's own would not hold for calls that are made in its place, and it must not
    // believe that it does.
    for sysno in [
        Sysno::landlock_create_ruleset,
        Sysno::landlock_add_rule,
        Sysno::landlock_restrict_self,
    ] {
        table.refuse(sysno, libc::EOPNOTSUPP);
    }
    // Also where only reading is decided: a directory can be made one in which another spelling of a
    // name, of which no rule speaks, leads to the same file.
    let commands = ATTRIBUTES.map(|command| [equal(1, command)]);
    let clause = Clause::Refuse {
        when: rules(Sysno::ioctl, &commands)?,
        errno: libc::EOPNOTSUPP,
    };
    table.append(Sysno::ioctl, clause);
    table.refuse(Sysno::file_setattr, libc::ENOSYS);
    // The paths of a process that hides its memory cannot be read. It is told that it has, as
    // nobody else is here from whom it could be hidden.
    let hides = [equal(0, constant(libc::PR_SET_DUMPABLE))];
    let clause = Clause::Refuse {
        when: rules(Sysno::prctl, &[hides])?,
        errno: 0,
    };
    table.append(Sysno::prctl, clause);
    Ok(())
}
