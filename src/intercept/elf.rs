//! What an ELF file says of itself (elf(5)): whether it is a program, or a shared object that can be run
//! as one.
//!
//! The dynamic loader is such an object. Executed by itself it loads and runs whatever it can read, and
//! what the kernel sees is an execution of the loader. The other way round a program names the
//! interpreter that the kernel runs in its place, which can be any program.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread};

/// Bytes of a path with its NUL.
const PATH_MAX: usize = 4096;

/// The most program headers and dynamic entries that are looked at: more than any program has.
const MOST: usize = 4096;

const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EM_386: u64 = 3;
const EM_ARM: u64 = 40;
const EM_X86_64: u64 = 62;
const EM_AARCH64: u64 = 183;
const ET_DYN: u64 = 3;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

/// Whether the file is an ELF object with addresses of its choice that names no interpreter and does
/// not say that it is a program. What is no ELF file is none.
///
/// # Errors
/// It cannot be read; it has more headers than are looked at, or ones outside of it; it is of a machine
/// that is not this one's, or says two things of its size.
pub(super) fn is_shared_object(file: &OwnedFd) -> Result<bool, Errno> {
    let Some(object) = Object::read(file)? else {
        return Ok(false);
    };
    let layout = object.layout;
    if object.kind != ET_DYN || object.segment(PT_INTERP).is_some() {
        return Ok(false);
    }
    let Some((at, length)) = object.segment(PT_DYNAMIC) else {
        return Ok(true);
    };
    let length = usize::try_from(length).map_err(|_| Errno::NOEXEC)?;
    let word = layout.word;
    if length > MOST * 2 * word {
        return Err(Errno::NOEXEC);
    }
    let entries = part(file, at, length)?;
    let flags = entries
        .chunks_exact(2 * word)
        .find(|entry| number(entry, 0, word) == DT_FLAGS_1);
    Ok(flags.is_none_or(|entry| number(entry, word, word) & DF_1_PIE == 0))
}

/// Where what counts stands in an object, by its number of bits.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes of an address or an offset.
    word: usize,
    /// Bytes of the header, and of a program header.
    header: usize,
    segment: usize,
    /// In the header: where the program headers are, their size, and how many there are.
    segments: [usize; 3],
    /// In a program header: where the segment begins in the file, and its length there.
    part: [usize; 2],
}

const OF_64_BITS: Layout = Layout {
    word: 8,
    header: 64,
    segment: 56,
    segments: [32, 54, 56],
    part: [8, 32],
};

const OF_32_BITS: Layout = Layout {
    word: 4,
    header: 52,
    segment: 32,
    segments: [28, 42, 44],
    part: [4, 16],
};

/// An ELF file's header and program headers.
struct Object {
    layout: Layout,
    kind: u64,
    segments: Vec<u8>,
}

impl Object {
    /// `None` for what is no ELF file.
    fn read(file: &OwnedFd) -> Result<Option<Object>, Errno> {
        let mut header = [0; OF_64_BITS.header];
        let read = pread(file, &mut header, 0)?;
        if !header[..read].starts_with(b"\x7fELF") {
            return Ok(None);
        }
        // The kernel goes by the machine alone, and loaders by the class: no file may mean two things.
        let layout = match (number(&header, 18, 2), header[4], header[5]) {
            (EM_X86_64 | EM_AARCH64, CLASS_64, LITTLE_ENDIAN) => OF_64_BITS,
            (EM_386 | EM_ARM, CLASS_32, LITTLE_ENDIAN) => OF_32_BITS,
            _ => return Err(Errno::NOEXEC),
        };
        let [at, size, count] = layout.segments;
        let size = number(&header, size, 2) as usize;
        let count = number(&header, count, 2) as usize;
        if read < layout.header || size != layout.segment || count > MOST {
            return Err(Errno::NOEXEC);
        }
        Ok(Some(Object {
            layout,
            kind: number(&header, 16, 2),
            segments: part(file, number(&header, at, layout.word), count * size)?,
        }))
    }

    /// Where the first segment of a kind begins in the file, and how many bytes it has there.
    fn segment(&self, kind: u64) -> Option<(u64, u64)> {
        let mut segments = self.segments.chunks_exact(self.layout.segment);
        let segment = segments.find(|segment| number(segment, 0, 4) == kind)?;
        let [at, length] = self.layout.part;
        let word = self.layout.word;
        Some((number(segment, at, word), number(segment, length, word)))
    }
}

/// The path of the interpreter that the kernel will run for this program (`PT_INTERP`, the first one);
/// none for what names none and for what is no ELF file.
///
/// # Errors
/// It cannot be read, or the kernel does not execute it either.
pub(super) fn interpreter(file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let Some(object) = Object::read(file)? else {
        return Ok(None);
    };
    let Some((at, length)) = object.segment(PT_INTERP) else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| Errno::NOEXEC)?;
    if !(2..=PATH_MAX).contains(&length) {
        return Err(Errno::NOEXEC);
    }
    let path = part(file, at, length)?;
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
    fn a_loader_that_says_that_it_has_32_bits_is_nothing() {
        let mut bytes = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("a loader");
        let path = std::env::temp_dir().join(format!("elf-forged-{}", std::process::id()));
        for (at, byte) in [(4, 1), (4, 0), (5, 2), (18, 3)] {
            let former = std::mem::replace(&mut bytes[at], byte);
            std::fs::write(&path, &bytes).expect("a file");
            bytes[at] = former;
            let file = std::fs::File::open(&path).expect("it can be read").into();
            assert_eq!(is_shared_object(&file), Err(Errno::NOEXEC), "{at}: {byte}");
            assert_eq!(interpreter(&file), Err(Errno::NOEXEC), "{at}: {byte}");
        }
        std::fs::remove_file(&path).expect("it is removed");
    }

    #[test]
    fn a_damaged_file_is_refused_or_none() {
        let bytes = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("a loader");
        let directory = std::env::temp_dir().join(format!("elf-{}", std::process::id()));
        for length in [0, 3, 63, 64, 65, 500] {
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
