//! An `execve(2)` whose three arguments lie at addresses that nobody else can know.
//!
//! A filter that permits an execution at these addresses alone permits one: the new program has
//! another address space, is told nothing of the old one, and would have to guess three page
//! numbers of more than thirty bits each.

use std::ffi::CString;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// User space up to 2^46, in pages of 4 KiB; every kernel of 64 bits gives a process that much.
const PAGES: u64 = ((1 << 46) - 1) & !0xfff;
/// The lowest address that is taken: nothing else is mapped on purpose below 4 GiB.
const LOWEST: u64 = 1 << 32;
/// How often an address is drawn before giving up; most of the space is free.
const TRIES: usize = 64;

/// See the module. What it maps stays mapped until the process executes or ends.
#[derive(Debug)]
pub struct SecretCall {
    path: u64,
    argv: u64,
    envp: u64,
    /// What the arrays point to.
    _texts: (Vec<CString>, Vec<CString>),
}

impl SecretCall {
    /// Puts the arguments of an execution into place.
    ///
    /// # Errors
    /// No memory, or no random numbers.
    pub fn place(path: &CString, args: Vec<CString>, env: Vec<CString>) -> io::Result<SecretCall> {
        let pointers = |list: &[CString]| -> Vec<u8> {
            let entries = list.iter().map(|entry| entry.as_ptr() as usize);
            entries.chain([0]).flat_map(usize::to_ne_bytes).collect()
        };
        Ok(SecretCall {
            path: put(path.as_bytes_with_nul())?,
            argv: put(&pointers(&args))?,
            envp: put(&pointers(&env))?,
            _texts: (args, env),
        })
    }

    /// Where the path, the arguments and the environment are.
    #[must_use]
    pub fn addresses(&self) -> [u64; 3] {
        [self.path, self.argv, self.envp]
    }

    /// Executes; returns only with an error.
    #[must_use]
    pub fn execute(&self) -> io::Error {
        // SAFETY: the three addresses are mappings of ours that hold a NUL-terminated path and two
        // arrays that end with a null pointer, of strings that this value owns.
        unsafe { libc::syscall(libc::SYS_execve, self.path, self.argv, self.envp) };
        io::Error::last_os_error()
    }
}

/// A mapping with these bytes at an address drawn at random.
fn put(bytes: &[u8]) -> io::Result<u64> {
    let mut refused = io::Error::from_raw_os_error(libc::ENOMEM);
    for _ in 0..TRIES {
        let mut drawn = [0; 8];
        getrandom(&mut drawn, GetRandomFlags::empty())?;
        let address = u64::from_ne_bytes(drawn) & PAGES;
        if address < LOWEST {
            continue;
        }
        // SAFETY: an anonymous mapping, which with FIXED_NOREPLACE takes nobody's place.
        let mapped = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                bytes.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            refused = io::Error::last_os_error();
            continue;
        }
        if mapped as u64 != address {
            // A kernel before 4.17 takes the address for a hint, which can be foreseen.
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        // SAFETY: the mapping is fresh, writable and as long as the bytes, which lie elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), mapped.cast(), bytes.len()) };
        return Ok(address);
    }
    Err(refused)
}
