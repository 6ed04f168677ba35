//! The SELinux label that the program is to run with, given to the kernel and to nothing that stands
//! in its place: the container's /proc may be whatever the image or its processes have made of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::sys::mount::{self, Reach};

/// The type of procfs in statfs(2) (`linux/magic.h`).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The inode of the root of every procfs (`linux/proc_ns.h`).
const PROC_ROOT_INODE: u64 = 1;

/// Sets the label that the next execve(2) of the calling process gives.
pub(super) fn set(label: &str) -> io::Result<()> {
    let file = rustix::fs::openat2(
        whole_proc()?,
        "self/attr/exec",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )?;
    match rustix::io::write(&file, label.as_bytes())? {
        written if written == label.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// The procfs at /proc from its root on, without anything that is mounted over a part of it.
fn whole_proc() -> io::Result<OwnedFd> {
    let proc = mount::clone_of(None, Path::new("/proc"), Reach::One, false)?;
    let is_procfs = rustix::fs::fstatfs(proc.as_fd())?.f_type == PROC_SUPER_MAGIC;
    if !is_procfs || rustix::fs::fstat(&proc)?.st_ino != PROC_ROOT_INODE {
        return Err(io::Error::other(
            "/proc of the container is no procfs, or not all of one",
        ));
    }
    Ok(proc)
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::sys::forked;

    /// What comes of a label in a mount namespace in which `prepare` has changed /proc, and what a
    /// file then has that could be taken for the kernel's.
    fn labelled(prepare: impl Fn(&Path)) -> (String, String) {
        let folder = std::env::temp_dir().join(format!("label-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("self/attr")).unwrap();
        let trap = folder.join("self/attr/exec");
        std::fs::write(&trap, "").unwrap();
        let said = forked::ask(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            prepare(&folder);
            format!("{:?}", set("system_u:system_r:container_t:s0"))
        });
        let caught = std::fs::read_to_string(&trap).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        (said, caught)
    }

    fn bind(from: &Path, to: &str) {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    #[test]
    fn a_label_goes_to_the_kernel_and_not_to_what_covers_it() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            return;
        }
        let (plain, _) = labelled(|_| {});
        let (said, caught) = labelled(|folder| bind(folder, "/proc"));
        assert!(said.contains("is no procfs"), "{said}");
        assert_eq!(caught, "", "a false /proc was given the label");
        let (said, caught) = labelled(|folder| {
            let own = format!("/proc/{}/attr/exec", std::process::id());
            bind(&folder.join("self/attr/exec"), &own);
        });
        assert_eq!(said, plain, "the cover changes nothing");
        assert_eq!(caught, "", "what covers the file was given the label");
        let (said, _) = labelled(|_| bind(Path::new("/proc/sys"), "/proc"));
        assert!(said.contains("not all of one"), "{said}");
    }
}
