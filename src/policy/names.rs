//! The path of a request, name by name.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One name of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'p> {
    pub bytes: &'p [u8],
    /// See [`head`].
    pub head: u64,
}

impl<'p> Name<'p> {
    pub fn of(bytes: &'p [u8]) -> Name<'p> {
        Name {
            bytes,
            head: head(bytes),
        }
    }
}

/// The first eight bytes as a number that sorts as they do: most comparisons of names end here,
/// without a look at memory.
pub(super) fn head(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let shift = 8 * (8 - bytes.len() as u32);
            let number = bytes
                .iter()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            number.checked_shl(shift).unwrap_or(0)
        }
    }
}

/// The components of a request's path, without allocation for up to 24 of them.
pub(super) struct Names<'p> {
    few: [Name<'p>; Names::FEW],
    count: usize,
    many: Option<Vec<Name<'p>>>,
}

impl<'p> Names<'p> {
    const FEW: usize = 24;

    /// The normalised components; `None` when the path is relative or has NUL in it.
    pub fn of(path: &'p Path) -> Option<Names<'p>> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.first() != Some(&b'/') {
            return None;
        }
        let mut names = Names {
            few: [Name {
                bytes: &[],
                head: 0,
            }; Names::FEW],
            count: 0,
            many: None,
        };
        let mut start = 1;
        for (index, byte) in bytes.iter().enumerate().skip(1) {
            match byte {
                0 => return None,
                b'/' => {
                    names.push(&bytes[start..index]);
                    start = index + 1;
                }
                _ => {}
            }
        }
        names.push(&bytes[start..]);
        Some(names)
    }

    fn push(&mut self, name: &'p [u8]) {
        match (name, &mut self.many) {
            (b"" | b".", _) => {}
            (b"..", Some(many)) => drop(many.pop()),
            (b"..", None) => self.count = self.count.saturating_sub(1),
            (name, Some(many)) => many.push(Name::of(name)),
            (name, None) if self.count < Names::FEW => {
                self.few[self.count] = Name::of(name);
                self.count += 1;
            }
            (name, None) => {
                let mut many = self.few.to_vec();
                many.push(Name::of(name));
                self.many = Some(many);
            }
        }
    }

    /// The components.
    pub fn as_slice(&self) -> &[Name<'p>] {
        self.many.as_deref().unwrap_or(&self.few[..self.count])
    }
}
