//! What an ELF file says of itself (elf(5)): whether it is a program, or a shared object that can be run
//! as one.
//!
//! The dynamic loader is such an object. Executed by itself it loads and runs whatever it can read, and
//! what the kernel sees is an execution of the loader. The other way round a program names the
//! interpreter that the kernel runs in its place, which can be any program.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread};

/// Bytes of the header, of a program header, and of an entry of the dynamic section, of 64 bits.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const ENTRY: usize = 16;

/// The same of 32 bits.
const HEADER_32: usize = 52;
const SEGMENT_32: usize = 32;

/// Bytes of a path with its NUL.
const PATH_MAX: usize = 4096;

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

/// The path of the interpreter that the kernel will run for this program (`PT_INTERP`, the first one);
/// none for what names none and for what is no ELF file.
///
/// # Errors
/// It cannot be read, or the kernel does not execute it either.
pub(super) fn interpreter(file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut header = [0; HEADER];
    let read = pread(file, &mut header, 0)?;
    if !header[..read].starts_with(b"\x7fELF") {
        return Ok(None);
    }
    // Little-endian, as the machines are that this runs on.
    let (least, segment, fields) = match header[4] {
        2 => (
            HEADER,
            SEGMENT,
            [(32, 8), (54, 2), (56, 2), (8, 8), (32, 8)],
        ),
        1 => (
            HEADER_32,
            SEGMENT_32,
            [(28, 4), (42, 2), (44, 2), (4, 4), (16, 4)],
        ),
        _ => return Err(Errno::NOEXEC),
    };
    let [at, size, count, offset, length] = fields;
    let of = |bytes: &[u8], (at, length): (usize, usize)| number(bytes, at, length);
    let count = of(&header, count) as usize;
    if read < least || of(&header, size) as usize != segment || count > MOST {
        return Err(Errno::NOEXEC);
    }
    let segments = part(file, of(&header, at), count * segment)?;
    let mut segments = segments.chunks_exact(segment);
    let Some(named) = segments.find(|segment| number(segment, 0, 4) == PT_INTERP) else {
        return Ok(None);
    };
    let size = usize::try_from(of(named, length)).map_err(|_| Errno::NOEXEC)?;
    if !(2..=PATH_MAX).contains(&size) {
        return Err(Errno::NOEXEC);
    }
    let path = part(file, of(named, offset), size)?;
    if path.last() != Some(&0) {
        return Err(Errno::NOEXEC);
    }
    Ok(path.split(|byte| *byte == 0).next().map(<[u8]>::to_vec))
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
    fn a_program_names_its_interpreter() {
        let of = |path: &str| {
            let file = std::fs::File::open(path).expect("it can be read");
            interpreter(&file.into())
        };
        let named = of("/usr/bin/true")
            .expect("a program")
            .expect("a dynamic one");
        assert!(named.starts_with(b"/lib"), "{named:?}");
        assert_eq!(of("/etc/passwd"), Ok(None));
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2"), Ok(None));
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
            let file = std::fs::File::open(&directory).expect("a file");
            let named = interpreter(&file.into());
            assert!(
                matches!(named, Ok(None) | Err(Errno::NOEXEC)),
                "{length}: {named:?}"
            );
        }
        std::fs::remove_file(&directory).expect("it is removed");
    }
}
