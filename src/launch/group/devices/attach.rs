//! Putting the program on a group of cgroup2.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::program::assemble;
use super::rule::Rule;
use crate::launch::group::GroupError;
use crate::sys::bpf;

/// By this name the program is known again among those that others put there: systemd has its own.
const NAME: bpf::Name = *b"buntime_devices\0";

/// Has the group at `dir` hold `rules`, instead of those it held before; there is no moment at which
/// it holds none. A `new` group holds none yet.
pub(in crate::launch::group) fn apply(
    dir: &Path,
    rules: &[Rule],
    new: bool,
) -> Result<(), GroupError> {
    let program = assemble(rules)
        .map_err(io::Error::other)
        .and_then(|program| loaded(&program))
        .map_err(GroupError::io(
            "giving the kernel the device rules (bpf: BPF_PROG_LOAD) for",
            dir,
        ))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group = rustix::fs::openat(CWD, dir, flags, Mode::empty())
        .map_err(|error| GroupError::io("opening the control group", dir)(error.into()))?;
    let attached = match new {
        true => bpf::attach_device_program(group.as_fd(), program.as_fd(), None),
        false => replace(&group, &program),
    };
    attached.map_err(GroupError::io(
        "putting the device rules (bpf: BPF_PROG_ATTACH) on",
        dir,
    ))
}

fn replace(group: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut old: Vec<OwnedFd> = bpf::device_programs(group.as_fd())?
        .into_iter()
        .filter(|(_, name)| *name == NAME)
        .map(|(program, _)| program)
        .collect();
    let last = old.last().map(AsFd::as_fd);
    let replaced = bpf::attach_device_program(group.as_fd(), program.as_fd(), last);
    match replaced {
        // A kernel that cannot replace: for a moment both decide, which allows less.
        Err(error) if last.is_some() && error.raw_os_error() == Some(libc::EINVAL) => {
            bpf::attach_device_program(group.as_fd(), program.as_fd(), None)?;
        }
        answer => {
            answer?;
            old.pop();
        }
    }
    old.iter()
        .try_for_each(|old| bpf::detach_device_program(group.as_fd(), old.as_fd()))
}

/// Before 5.11 the kernel counts programs of a user as locked memory, all of them together against
/// the limit of the process at hand. It is lifted for the moment only: the container inherits it.
fn loaded(program: &[bpf::Instruction]) -> io::Result<OwnedFd> {
    match bpf::load_device_program(program, NAME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let before = getrlimit(Resource::Memlock);
            let lifted = Rlimit {
                current: None,
                maximum: None,
            };
            if setrlimit(Resource::Memlock, lifted).is_err() {
                return Err(error);
            }
            let answer = bpf::load_device_program(program, NAME);
            setrlimit(Resource::Memlock, before)?;
            answer
        }
        answer => answer,
    }
}
