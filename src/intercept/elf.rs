//! What an ELF file says of itself (elf(5)): whether it is a program, or a shared object that can be run
//! as one.
//!
//! The dynamic loader is such an object. Executed by itself it loads and runs whatever it can read, and
//! what the kernel sees is an execution of the loader.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread};

/// Bytes of the header, of a program header, and of an entry of the dynamic section, of 64 bits.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const ENTRY: usize = 16;

/// The most program headers and dynamic entries that are looked at: more than any program has.
const MOST: usize = 4096;

const ET_DYN: u64 = 3;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

/// Whether the file is an ELF object with addresses of its choice that names no interpreter and does
/// not say that it is a program. What is no ELF file of 64 bits is none.
///
/// # Errors
/// It cannot be read; or it has more headers than are looked at, or ones outside of it.
pub(super) fn is_shared_object(file: &OwnedFd) -> Result<bool, Errno> {
    let mut header = [0; HEADER];
    let read = pread(file, &mut header, 0)?;
    if read < HEADER || !header.starts_with(b"\x7fELF\x02\x01") || number(&header, 16, 2) != ET_DYN
    {
        return Ok(false);
    }
    let (at, size) = (number(&header, 32, 8), number(&header, 54, 2) as usize);
    let count = number(&header, 56, 2) as usize;
    if size != SEGMENT || count > MOST {
        return Err(Errno::NOEXEC);
    }
    let segments = part(file, at, count * SEGMENT)?;
    let mut dynamic = None;
    for segment in segments.chunks_exact(SEGMENT) {
        match number(segment, 0, 4) {
            PT_INTERP => return Ok(false),
            PT_DYNAMIC => dynamic = Some((number(segment, 8, 8), number(segment, 32, 8))),
            _ => {}
        }
    }
    let Some((at, length)) = dynamic else {
        return Ok(true);
    };
    let length = usize::try_from(length).map_err(|_| Errno::NOEXEC)?;
    if length > MOST * ENTRY {
        return Err(Errno::NOEXEC);
    }
    let entries = part(file, at, length)?;
    let flags = entries
        .chunks_exact(ENTRY)
        .find(|entry| number(entry, 0, 8) == DT_FLAGS_1);
    Ok(flags.is_none_or(|entry| number(entry, 8, 8) & DF_1_PIE == 0))
}

fn part(file: &OwnedFd, at: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    match pread(file, &mut bytes, at)? == length {
        true => Ok(bytes),
        false => Err(Errno::NOEXEC),
    }
}

/// A number of `length` bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let of_number = bytes[at..at + length].iter().rev();
    of_number.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<bool, Errno> {
        let file = std::fs::File::open(path).expect("it can be read");
        is_shared_object(&file.into())
    }

    #[test]
    fn a_loader_is_told_from_programs() {
        let loader = std::fs::canonicalize("/lib64/ld-linux-x86-64.so.2").expect("a loader");
        assert_eq!(of(loader.to_str().expect("text")), Ok(true));
        let own = std::env::current_exe().expect("this program");
        for program in ["/usr/bin/true", "/etc/passwd", own.to_str().expect("text")] {
            assert_eq!(of(program), Ok(false), "{program}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_or_none() {
        let bytes = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("a loader");
        let directory = std::env::temp_dir().join(format!("elf-{}", std::process::id()));
        for length in [0, 3, HEADER - 1, HEADER, HEADER + 1, 500] {
            std::fs::write(&directory, &bytes[..length]).expect("a file");
            let found = of(directory.to_str().expect("text"));
            assert!(
                found == Ok(false) || found == Err(Errno::NOEXEC),
                "{length}: {found:?}"
            );
        }
        std::fs::remove_file(&directory).expect("it is removed");
    }
}
