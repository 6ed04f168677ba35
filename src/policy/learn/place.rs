//! Where a learned rule speaks: a path, or names that come and go in a folder.

use std::path::{Component as Part, Path};

use crate::policy::matching::{Component, PathPattern, Token};

/// One name of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// This name.
    Exact(String),
    /// A name that comes and goes: these characters, `None` for any one. It is written as a pattern
    /// even where it fits one name only, because a path that a rule names is a mount point, which
    /// can be neither made nor replaced.
    Coming(Vec<Option<char>>),
}

impl Name {
    fn covers(&self, other: &Name) -> bool {
        match (self, other) {
            (Name::Coming(fits), Name::Exact(name)) => {
                let mut chars = name.chars();
                let all = fits.iter().all(|one| {
                    chars
                        .next()
                        .is_some_and(|next| one.is_none_or(|c| c == next))
                });
                all && chars.next().is_none()
            }
            (own, other) => own == other,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Name::Exact(name) => name.chars().for_each(|next| escaped(next, "*?[\\", out)),
            Name::Coming(fits) if fits.iter().all(Option::is_some) => {
                let mut chars = fits.iter().flatten();
                if let Some(first) = chars.next() {
                    out.push('[');
                    escaped(*first, "]\\!^-", out);
                    out.push(']');
                }
                chars.for_each(|next| escaped(*next, "*?[\\", out));
            }
            Name::Coming(fits) => {
                for one in fits {
                    match one {
                        Some(next) => escaped(*next, "*?[\\", out),
                        None => out.push('?'),
                    }
                }
            }
        }
    }

    fn read(component: &Component) -> Option<Name> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match component {
            Component::AnyDepth => None,
            Component::Literal(name) => text(name).map(Name::Exact),
            Component::Glob { prefix, rest } => {
                let mut fits: Vec<Option<char>> = text(prefix.bytes())?.chars().map(Some).collect();
                let mut bytes = Vec::new();
                for token in rest {
                    if let Token::Byte(byte) = token {
                        bytes.push(*byte);
                        continue;
                    }
                    fits.extend(text(&std::mem::take(&mut bytes))?.chars().map(Some));
                    fits.push(match token {
                        Token::One => None,
                        Token::Class {
                            negated: false,
                            ranges,
                        } => match **ranges {
                            [(low, high)] if low == high => Some(low),
                            _ => return None,
                        },
                        _ => return None,
                    });
                }
                fits.extend(text(&bytes)?.chars().map(Some));
                Some(Name::Coming(fits))
            }
        }
    }
}

fn escaped(next: char, special: &str, out: &mut String) {
    if special.contains(next) {
        out.push('\\');
    }
    out.push(next);
}

/// The names of an absolute path, from the root on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub Vec<Name>);

impl Place {
    /// `None` for a path that is relative, not normalised, or no text.
    pub fn of(path: &Path) -> Option<Place> {
        let mut parts = path.components();
        if parts.next() != Some(Part::RootDir) {
            return None;
        }
        let name = |part: Part<'_>| match part {
            Part::Normal(name) => Some(Name::Exact(name.to_str()?.to_owned())),
            _ => None,
        };
        parts.map(name).collect::<Option<Vec<Name>>>().map(Place)
    }

    /// What a rule of ours names, if it can be one.
    pub fn read(pattern: &PathPattern) -> Option<Place> {
        let names = pattern.components().iter().map(Name::read);
        names.collect::<Option<Vec<Name>>>().map(Place)
    }

    /// As a policy file says it.
    pub fn pattern(&self) -> String {
        let mut text = String::new();
        for name in &self.0 {
            text.push('/');
            name.write(&mut text);
        }
        if text.is_empty() {
            text.push('/');
        }
        text
    }

    /// Whether it is one path.
    pub fn is_exact(&self) -> bool {
        self.0.iter().all(|name| matches!(name, Name::Exact(_)))
    }

    /// Whether a rule about this speaks of the other too.
    pub fn covers(&self, other: &Place) -> bool {
        let names = self.0.iter().zip(&other.0);
        self.0.len() <= other.0.len()
            && names.fold(true, |all, (own, other)| all && own.covers(other))
    }

    /// The directory; the root is in itself.
    pub fn parent(&self) -> Place {
        let (_, names) = self
            .0
            .split_last()
            .unwrap_or((&Name::Coming(Vec::new()), &[]));
        Place(names.to_vec())
    }

    /// The first names of it.
    pub fn above(&self, length: usize) -> Place {
        Place(self.0[..length].to_vec())
    }

    /// The same with a last name that comes and goes, whose random part may be any.
    pub fn coming(mut self) -> Place {
        if let Some(name) = self.0.last_mut() {
            *name = name.clone().into_coming();
        }
        self
    }

    /// The same with all names coming and going but the first, which is a place that every run has.
    pub fn blurred(self) -> Place {
        let names = self.0.into_iter().enumerate();
        Place(
            names
                .map(|(at, name)| if at == 0 { name } else { name.into_coming() })
                .collect(),
        )
    }
}

impl Name {
    fn into_coming(self) -> Name {
        match self {
            Name::Exact(name) => Name::Coming(without_random(&name)),
            coming => coming,
        }
    }
}

/// A name with every character of what looks random left open: of temporary files and the like.
fn without_random(name: &str) -> Vec<Option<char>> {
    let is_word = |next: char| next.is_ascii_alphanumeric() || next == '_';
    let mut fits = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|next| is_word(next) != is_word(first))
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let known = random_from(run);
        let chars = run.chars().enumerate();
        fits.extend(chars.map(|(at, next)| (at < known).then_some(next)));
        rest = after;
    }
    fits
}

/// From which character on a run of letters and digits looks random; its length where it does not.
fn random_from(run: &str) -> usize {
    let rest = run.strip_prefix("tmp").unwrap_or_default();
    let lower = |next: char| matches!(next, 'a'..='z' | '0'..='9' | '_');
    // Python's tempfile.
    if rest.len() == 8 && rest.chars().all(lower) {
        return 3;
    }
    let has = |is: fn(&char) -> bool| run.chars().filter(is).count();
    let digits = has(char::is_ascii_digit);
    let is_digest = run.len() >= 16 && digits > 0 && run.chars().all(|c| c.is_ascii_hexdigit());
    let pairs = run.chars().zip(run.chars().skip(1));
    let turns = pairs
        .filter(|(one, next)| one.is_ascii_digit() != next.is_ascii_digit())
        .count();
    let is_mixed = run.len() >= 6 && turns >= 2;
    // mkstemp(3)
    let upper = run.chars().skip(1).filter(char::is_ascii_uppercase).count();
    let is_made = run.len() == 6 && upper > 0 && has(char::is_ascii_lowercase) > 0;
    match is_digest || is_mixed || is_made {
        true => 0,
        false => run.len(),
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.pattern())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::layer::Vars;

    #[test]
    fn what_looks_random_is_left_open() {
        for (name, pattern) in [
            ("tmpab_12xyz", "tmp????????"),
            ("out.json", "[o]ut.json"),
            ("report2024.csv", "[r]eport2024.csv"),
            (".out.Xk3f9Q", ".out.??????"),
            ("[x]", "[[]x]"),
            ("]x", "[\\]]x"),
            ("3f2a9c0d1e4b5a67.o", "????????????????.o"),
            ("ünder", "[ü]nder"),
        ] {
            let place = Place::of(&Path::new("/h").join(name)).unwrap().coming();
            assert_eq!(place.pattern(), format!("/h/{pattern}"));
        }
    }

    #[test]
    fn a_pattern_is_read_back() {
        let vars = Vars::of("/".into(), None);
        for path in ["/", "/a", "/a*b/c?d", "/a/[b]", "/a/b\\c", "/h/tmpabcdefgh"] {
            let exact = Place::of(Path::new(path)).unwrap();
            for place in [exact.clone(), exact.clone().coming(), exact.blurred()] {
                let pattern = PathPattern::parse(&place.pattern(), &vars).unwrap();
                assert_eq!(Place::read(&pattern), Some(place));
            }
        }
        for foreign in ["/a/*", "/**/b", "/a/[bc]", "/a/[!b]"] {
            let pattern = PathPattern::parse(foreign, &vars).unwrap();
            assert_eq!(Place::read(&pattern), None, "{foreign}");
        }
    }
}
