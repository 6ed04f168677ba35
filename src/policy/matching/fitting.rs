//! Whether names fit patterns.

use super::super::names::Name;
use super::{Component, Token};

/// Whether a prefix of the path fits the whole pattern: a pattern covers what is below it.
///
/// Between two `**` stands a run of names of a fixed length; taking each run where it first
/// fits leaves the most room for the next, so that nothing is ever tried twice.
pub(in crate::policy) fn covers(pattern: &[Component], path: &[Name<'_>]) -> bool {
    let mut runs = pattern.split(|component| matches!(component, Component::AnyDepth));
    let fits = |run: &[Component], names: &[Name<'_>]| {
        run.iter()
            .zip(names)
            .all(|(component, name)| component.matches(name))
    };
    let first = runs.next().unwrap_or_default();
    if path.len() < first.len() || !fits(first, path) {
        return false;
    }
    let mut rest = &path[first.len()..];
    for run in runs {
        let found = (0..=rest.len()).find(|at| {
            let names = &rest[*at..];
            names.len() >= run.len() && fits(run, names)
        });
        match found {
            Some(at) => rest = &rest[at + run.len()..],
            None => return false,
        }
    }
    true
}

/// What is left of the pattern after the path, for each way in which the path can be read as its
/// beginning; nothing of it where the path, or something above it, fits the whole.
pub(in crate::policy) fn ahead<'p>(
    pattern: &'p [Component],
    path: &[Name<'_>],
) -> Vec<&'p [Component]> {
    let whole = pattern.len();
    // Which components could be the next, after `**` has stood for no name at all.
    let reach = |at: usize, open: &mut Vec<bool>| {
        let skipped = pattern[at..]
            .iter()
            .take_while(|one| **one == Component::AnyDepth);
        let end = at + skipped.count();
        open[at..=end].fill(true);
    };
    let mut open = vec![false; whole + 1];
    reach(0, &mut open);
    for name in path {
        if open[whole] {
            break;
        }
        let mut next = vec![false; whole + 1];
        for at in (0..whole).filter(|at| open[*at]) {
            match &pattern[at] {
                Component::AnyDepth => reach(at, &mut next),
                component if component.matches(name) => reach(at + 1, &mut next),
                _ => {}
            }
        }
        open = next;
    }
    let open = (0..=whole).filter(|at| open[*at]);
    open.map(|at| &pattern[at..]).collect()
}

pub(super) fn glob_matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut next, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(next) {
            None if at == name.len() => return true,
            None => None,
            Some(Token::Many) => {
                retry = Some((next, at));
                next += 1;
                continue;
            }
            Some(token) => token_matches(token, &name[at..]),
        };
        match (step, &mut retry) {
            (Some(length), _) => {
                next += 1;
                at += length;
            }
            (None, Some((star, from))) if *from < name.len() => {
                *from += first_char(&name[*from..]).map_or(1, |(_, length)| length);
                (next, at) = (*star + 1, *from);
            }
            _ => return false,
        }
    }
}

/// How many bytes the token takes from the start of the rest of a name.
fn token_matches(token: &Token, rest: &[u8]) -> Option<usize> {
    match token {
        Token::Byte(byte) => (rest.first() == Some(byte)).then_some(1),
        Token::One => first_char(rest).map(|(_, length)| length),
        Token::Many => Some(0),
        Token::Class { negated, ranges } => {
            let (character, length) = first_char(rest)?;
            let inside = character.is_some_and(|character| {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character))
            });
            (inside != *negated).then_some(length)
        }
    }
}

/// The first character and its length; a byte that is not UTF-8 counts as one unknown character.
fn first_char(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((Some(first as char), 1));
    }
    for length in 2..=4.min(bytes.len()) {
        if let Ok(text) = std::str::from_utf8(&bytes[..length])
            && let Some(character) = text.chars().next()
        {
            return Some((Some(character), length));
        }
    }
    Some((None, 1))
}
