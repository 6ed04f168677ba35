//! bpf(2): programs that decide about a control group's access to devices.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction (`struct bpf_insn`, `linux/bpf.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and source.
    pub code: u8,
    /// The destination register in the low half, the source register in the high.
    pub registers: u8,
    /// How far a jump goes, in instructions after the next; or where memory is read, in bytes.
    pub offset: i16,
    /// A number.
    pub immediate: i32,
}

/// A program's name, as the kernel keeps it: 15 bytes and a zero.
pub type Name = [u8; 16];

// Commands, types and flags (`linux/bpf.h`).
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// The most programs on one group that [`device_programs`] looks at; the kernel attaches 64.
const MOST_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: Name,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    /// The kernel looks at what would be padding.
    zero: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoBy {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to what is wanted of it. Lengths and pointers of
/// zero ask for no text of the program.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: u64,
    lengths: [u32; 2],
    pointers: [u64; 2],
    load_time: u64,
    created_by: u32,
    maps: u32,
    map_ids: u64,
    name: Name,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is one of the structures above, with the fields of the command at the
    // kernel's offsets and without padding; the size passed is its own, and the kernel
    // takes what is beyond it for zero. The pointers in it are to what outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            std::mem::size_of::<T>(),
        )
    };
    match i32::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: callers pass what a command that opens something has just answered, which nothing
    // else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Gives the kernel a program that decides about devices.
///
/// # Errors
/// `EPERM` without CAP_BPF (CAP_SYS_ADMIN before 5.8), or before 5.11 for want of memory that may be
/// locked; `EINVAL` and `EACCES` for a program that the kernel cannot prove safe.
pub fn load_device_program(program: &[Instruction], name: Name) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let Ok(insn_cnt) = u32::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    };
    let mut load = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: name,
        ..Load::default()
    };
    bpf(PROG_LOAD, &mut load).map(owned)
}

/// Has `program` decide about the devices of `group`, a directory of cgroup2, beside the programs
/// that are there, or at once instead of the one named `instead` (5.6).
///
/// # Errors
/// `EPERM` without privileges, or where a group above forbids it; `EINVAL` from kernels that cannot
/// replace.
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    instead: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | instead.map_or(0, |_| REPLACE),
        replace_bpf_fd: instead.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attach).map(|_| ())
}

/// Takes `program` off `group`.
///
/// # Errors
/// `ENOENT` when it was not on it.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut detach).map(|_| ())
}

/// The programs that decide about the devices of `group` by itself, with their names.
///
/// # Errors
/// `EPERM` without privileges, `EINVAL` before 4.15.
pub fn device_programs(group: BorrowedFd<'_>) -> io::Result<Vec<(OwnedFd, Name)>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = Query {
        target_fd: number(group),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    let count = (query.prog_cnt as usize).min(MOST_PROGRAMS);
    let mut found = Vec::new();
    for &id in &ids[..count] {
        let mut by_id = ById {
            id,
            ..ById::default()
        };
        let program = match bpf(PROG_GET_FD_BY_ID, &mut by_id).map(owned) {
            Ok(program) => program,
            // Taken off and gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut info = Info::default();
        let mut by = InfoBy {
            bpf_fd: program.as_raw_fd().cast_unsigned(),
            info_len: std::mem::size_of::<Info>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut by)?;
        found.push((program, info.name));
    }
    Ok(found)
}
