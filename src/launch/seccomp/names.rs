//! System calls by name, as policies write them.

use std::str::FromStr;

use syscalls::Sysno;

use super::SeccompError;

/// Numbers of the named system calls on this architecture. A name that only another supported
/// architecture has is accepted and yields nothing: the call cannot be made here.
pub(super) fn resolve(names: &[String]) -> Result<Vec<i64>, SeccompError> {
    let mut numbers = Vec::with_capacity(names.len());
    for name in names {
        if name == "execve" {
            return Err(SeccompError::Indispensable { name: name.clone() });
        }
        match Sysno::from_str(name) {
            Ok(sysno) => numbers.push(i64::from(sysno.id())),
            Err(_) if exists_elsewhere(name) => {}
            Err(_) => {
                return Err(SeccompError::UnknownName {
                    name: name.clone(),
                    advice: nearest(name),
                });
            }
        }
    }
    Ok(numbers)
}

fn exists_elsewhere(name: &str) -> bool {
    syscalls::x86_64::Sysno::from_str(name).is_ok()
        || syscalls::aarch64::Sysno::from_str(name).is_ok()
}

fn nearest(name: &str) -> String {
    let best = Sysno::iter()
        .map(|sysno| (distance(name, sysno.name()), sysno.name()))
        .min_by_key(|(distance, _)| *distance);
    match best {
        Some((distance, candidate)) if distance <= name.len() / 2 + 1 => {
            format!("did you mean `{candidate}`?")
        }
        _ => "take it out".to_owned(),
    }
}

/// Levenshtein distance in bytes. Names of system calls are short and ASCII; a policy's string may
/// be neither, and one row of the table is all that is kept.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}
