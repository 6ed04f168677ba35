//! The forms of the kernel's statistics.

use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::launch::group::GroupError;
use crate::launch::group::files::{is_absent, text};

/// The whole of a file; nothing where there is none, or the kernel does not count.
pub(super) fn whole(dir: &Path, file: &str) -> Result<Option<String>, GroupError> {
    match text(dir, file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(GroupError::io("reading", &dir.join(file))(error)),
    }
}

/// A file of one number; `max` is the greatest.
pub(super) fn number(dir: &Path, file: &str) -> Result<Option<u64>, GroupError> {
    let Some(text) = whole(dir, file)? else {
        return Ok(None);
    };
    match text.trim() {
        "max" => Ok(Some(u64::MAX)),
        number => parsed(dir, file, number).map(Some),
    }
}

/// The lines of a file that are a name and a number.
pub(super) fn keyed(dir: &Path, file: &str) -> Result<Vec<(String, u64)>, GroupError> {
    let text = whole(dir, file)?.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, number)| Ok((name.to_owned(), parsed(dir, file, number)?)))
        .collect()
}

/// A part of a file as what it must be.
pub(super) fn parsed<T: FromStr>(dir: &Path, file: &str, text: &str) -> Result<T, GroupError> {
    text.trim().parse().map_err(|_| {
        let why = format!("{text:?} is no number");
        GroupError::io("reading", &dir.join(file))(io::Error::new(io::ErrorKind::InvalidData, why))
    })
}

/// The sizes of huge pages that this host has, as the kernel names its files: `2MB`.
pub(super) fn huge_page_sizes() -> Vec<String> {
    // Without them there is nothing to count.
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| size_of(name.to_str()?)).collect()
}

fn size_of(name: &str) -> Option<String> {
    let kib: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kib {
        1_048_576.. => format!("{}GB", kib >> 20),
        1_024.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_huge_pages_are_named_as_the_kernel_names_them() {
        let sizes = ["64", "2048", "1048576", "16777216"];
        let named = sizes.map(|size| size_of(&format!("hugepages-{size}kB")).unwrap());
        assert_eq!(named, ["64KB", "2MB", "1GB", "16GB"]);
        assert_eq!(size_of("hugepages-2MB"), None);
    }
}
