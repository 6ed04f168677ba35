//! Memory that is a file: seals, and the rule that none of it is run.

use std::fs;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

use super::Probe;
use super::namespaces::{child, enter};
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::mount::{self, attr};

pub(super) fn probes() -> Vec<Probe> {
    vec![
        Probe::new(
            "memory files",
            "seals (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE)",
            "its own program, sealed before a container can see it",
            Remedy::new("memfd_create and fcntl", "Linux 3.17 or newer"),
            |_| seals(),
        ),
        Probe::new(
            "memory files",
            "vm.memfd_noexec of a pid namespace",
            "lists of programs; without it memfd_create is denied to them",
            Remedy::new(
                "unshare and memfd_create",
                "Linux 6.3 or newer with CONFIG_SYSCTL",
            )
            .when(
                libc::EACCES,
                "run as root of the host; an ordinary user has no need for it",
            )
            .namespaces("user.max_pid_namespaces"),
            |_| not_executable(),
        ),
    ]
}

fn seals() -> Result<(), Stop> {
    let file = memfd_create("trial", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(Stop::refused("making a memory file"))?;
    ftruncate(&file, 1).map_err(Stop::unprepared("giving it a size"))?;
    fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .map_err(Stop::refused("sealing it"))?;
    let changes = [
        ftruncate(&file, 0),
        ftruncate(&file, 2),
        rustix::io::write(&file, b"x").map(drop),
    ];
    match changes {
        [Err(Errno::PERM), Err(Errno::PERM), Err(Errno::PERM)] => Ok(()),
        _ => Err(Stop::NoEffect("it can be changed all the same".to_owned())),
    }
}

fn not_executable() -> Result<(), Stop> {
    enter((libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64)?;
    child(|| {
        // A /proc of the new pid namespace, whose sysctl it is; nobody else sees the mount.
        let proc = mount::new_filesystem(c"proc", &[], attr::NOSUID)
            .map_err(Stop::unprepared("mounting /proc"));
        let sysctl = "sys/vm/memfd_noexec";
        let write = |text: &str| match &proc {
            Ok(proc) => {
                use rustix::fs::{Mode, OFlags, openat};
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let file = openat(proc, sysctl, flags, Mode::empty())?;
                rustix::io::write(&file, text.as_bytes()).map(drop)
            }
            // Where no /proc can be mounted, that of the host shows the writer's own value.
            Err(_) => fs::write(format!("/proc/{sysctl}"), text)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        write("2").map_err(Stop::refused("writing vm.memfd_noexec"))?;
        // The control: one that cannot be executed is made all the same.
        memfd_create("trial", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
            .map_err(Stop::refused("making a memory file"))?;
        match memfd_create("trial", MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
            Err(Errno::ACCESS) => Ok(()),
            Err(error) => Err(Stop::refused("making a memory file")(error)),
            Ok(_) => Err(Stop::NoEffect("executable ones can be made".to_owned())),
        }
    })
}
