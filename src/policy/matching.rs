//! Paths and path patterns, component by component.
//!
//! A pattern covers what it names and everything below. Symbolic links are not followed: the
//! caller resolves them before it asks.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod fitting;

pub(super) use fitting::{ahead, covers};

use super::layer::Vars;
use super::names::{Name, Names, head};

/// One component of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Component {
    /// Exactly this name.
    Literal(Box<[u8]>),
    /// A name that begins so and then fits. Most names fail at the beginning, at once.
    Glob { prefix: Prefix, rest: Box<[Token]> },
    /// `**`: any number of names, none included.
    AnyDepth,
}

/// How a name has to begin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Prefix {
    bytes: Box<[u8]>,
    /// The head of the prefix, and which bits of a name's head have to agree with it.
    head: u64,
    mask: u64,
}

impl Prefix {
    fn of(bytes: &[u8]) -> Prefix {
        let ones = [0xff; 8];
        let mask = head(&ones[..bytes.len().min(8)]);
        Prefix {
            bytes: bytes.into(),
            head: head(bytes),
            mask,
        }
    }

    /// The beginning.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn strip<'n>(&self, name: &Name<'n>) -> Option<&'n [u8]> {
        if name.head & self.mask != self.head {
            return None;
        }
        name.bytes.strip_prefix(&*self.bytes)
    }
}

/// A piece of a name that has wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Token {
    /// This byte.
    Byte(u8),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Many,
    /// `[a-z]`, `[!a-z]`.
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

/// A path pattern with everything expanded and normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern {
    components: Vec<Component>,
}

impl PathPattern {
    /// Reads what a policy file says: `~`, `$PWD` and `${WORKSPACE}` at the start, wildcards,
    /// and `\` before a wildcard that stands for itself.
    pub fn parse(text: &str, vars: &Vars) -> Result<PathPattern, String> {
        if text.contains('\0') {
            return Err("a path cannot contain NUL".into());
        }
        let (base, rest) = expand(text, vars)?;
        let mut components = literal_components(base)?;
        for name in rest.split('/') {
            push(&mut components, name)?;
        }
        // A pattern covers what is below it in any case.
        while components.len() > 1 && components.last() == Some(&Component::AnyDepth) {
            components.pop();
        }
        Ok(PathPattern { components })
    }

    /// A path in which nothing is special but `.` and `..`.
    pub fn literal(path: &Path) -> Result<PathPattern, String> {
        if path.as_os_str().as_bytes().contains(&0) {
            return Err("a path cannot contain NUL".into());
        }
        if !path.is_absolute() {
            return Err(format!("{} is not absolute", path.display()));
        }
        Ok(PathPattern {
            components: literal_components(Some(path))?,
        })
    }

    /// The components.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The path before the first wildcard, if there is a wildcard and a name before it.
    pub fn beginning(&self) -> Option<PathBuf> {
        let literal = |component: &Component| matches!(component, Component::Literal(_));
        let length = self
            .components
            .iter()
            .take_while(|one| literal(one))
            .count();
        if length == 0 || length == self.components.len() {
            return None;
        }
        let components = self.components[..length].to_vec();
        PathPattern { components }.as_literal()
    }

    /// The path, or that at which it begins, which may be the root.
    pub fn place(&self) -> PathBuf {
        let begins = || self.beginning().unwrap_or_else(|| PathBuf::from("/"));
        self.as_literal().unwrap_or_else(begins)
    }

    /// Whether it fits some of what can be below a directory, and not the directory as a whole.
    pub fn reaches_into(&self, directory: &Path) -> bool {
        Names::of(directory).is_none_or(|names| {
            let rest = ahead(&self.components, names.as_slice());
            !rest.is_empty() && rest.iter().all(|rest| !rest.is_empty())
        })
    }

    /// The same pattern with another path before its first wildcard.
    pub fn beginning_at(&self, path: &Path) -> Result<PathPattern, String> {
        let mut components = literal_components(Some(path))?;
        let literal = |component: &&Component| matches!(component, Component::Literal(_));
        components.extend(self.components.iter().skip_while(literal).cloned());
        Ok(PathPattern { components })
    }

    /// The path, if there is no wildcard in it.
    pub fn as_literal(&self) -> Option<PathBuf> {
        let mut bytes = Vec::new();
        for component in &self.components {
            let Component::Literal(name) = component else {
                return None;
            };
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }
}

/// As a policy file would say it, with everything expanded.
impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.components.is_empty() {
            return out.write_str("/");
        }
        for component in &self.components {
            out.write_str("/")?;
            match component {
                Component::AnyDepth => out.write_str("**")?,
                Component::Literal(name) => show_name(name, out)?,
                Component::Glob { prefix, rest } => {
                    show_name(&prefix.bytes, out)?;
                    show_glob(rest, out)?;
                }
            }
        }
        Ok(())
    }
}

fn show_name(name: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    String::from_utf8_lossy(name)
        .chars()
        .try_for_each(|next| escaped(next, "*?[\\", out))
}

fn escaped(character: char, special: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if special.contains(character) {
        out.write_char('\\')?;
    }
    out.write_char(character)
}

fn show_glob(tokens: &[Token], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = tokens;
    while let Some(token) = rest.first() {
        let byte = |token: &Token| {
            if let Token::Byte(byte) = token {
                Some(*byte)
            } else {
                None
            }
        };
        let bytes: Vec<u8> = rest.iter().map_while(byte).collect();
        match token {
            Token::Byte(_) => show_name(&bytes, out)?,
            Token::One => out.write_char('?')?,
            Token::Many => out.write_char('*')?,
            Token::Class { negated, ranges } => {
                out.write_str(if *negated { "[!" } else { "[" })?;
                for (low, high) in ranges {
                    escaped(*low, "]\\!^-", out)?;
                    if high != low {
                        out.write_char('-')?;
                        escaped(*high, "]\\!^-", out)?;
                    }
                }
                out.write_char(']')?;
            }
        }
        rest = &rest[bytes.len().max(1)..];
    }
    Ok(())
}

/// Splits the variable off the start. Its value is taken literally, wildcards included.
fn expand<'v, 't>(text: &'t str, vars: &'v Vars) -> Result<(Option<&'v Path>, &'t str), String> {
    let known: [(&str, &Path); 7] = [
        ("~", &vars.home),
        ("${HOME}", &vars.home),
        ("$HOME", &vars.home),
        ("${PWD}", &vars.pwd),
        ("$PWD", &vars.pwd),
        ("${WORKSPACE}", &vars.workspace),
        ("$WORKSPACE", &vars.workspace),
    ];
    for (name, value) in known {
        if let Some(rest) = text.strip_prefix(name)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            if !value.is_absolute() {
                return Err(format!(
                    "{name} stands for {:?}, which is not absolute; set it, or write the path",
                    value.display().to_string()
                ));
            }
            return Ok((Some(value), rest));
        }
    }
    if text.starts_with('/') {
        return Ok((None, text));
    }
    if text.starts_with('$') {
        return Err(format!(
            "{text:?}: the variables are ~, $PWD and ${{WORKSPACE}}"
        ));
    }
    Err(format!(
        "{text:?} is not absolute; write $PWD/{text} for what is below the working directory"
    ))
}

fn literal_components(base: Option<&Path>) -> Result<Vec<Component>, String> {
    let mut components = Vec::new();
    for name in base
        .map_or(&[][..], |base| base.as_os_str().as_bytes())
        .split(|byte| *byte == b'/')
    {
        match name {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            name => components.push(Component::Literal(name.into())),
        }
    }
    Ok(components)
}

fn push(components: &mut Vec<Component>, name: &str) -> Result<(), String> {
    match name {
        "" | "." => {}
        ".." => match components.pop() {
            None | Some(Component::Literal(_)) => {}
            Some(_) => return Err("\"..\" cannot follow a wildcard".into()),
        },
        "**" => components.push(Component::AnyDepth),
        name => {
            let mut tokens = tokens(name)?;
            let byte = |token: &Token| {
                if let Token::Byte(byte) = token {
                    Some(*byte)
                } else {
                    None
                }
            };
            let prefix: Vec<u8> = tokens.iter().map_while(byte).collect();
            let rest = tokens.split_off(prefix.len());
            components.push(if rest.is_empty() {
                Component::Literal(prefix.into())
            } else {
                Component::Glob {
                    prefix: Prefix::of(&prefix),
                    rest: rest.into(),
                }
            });
        }
    }
    Ok(())
}

fn tokens(name: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = name.chars();
    while let Some(next) = chars.next() {
        match next {
            '*' if tokens.last() == Some(&Token::Many) => {
                return Err(format!(
                    "{name:?}: \"**\" must stand alone between two slashes"
                ));
            }
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '[' => tokens.push(class(&mut chars).ok_or_else(|| {
                format!(
                    "{name:?}: \"[\" without a set and \"]\"; write \\[ for the character itself"
                )
            })?),
            '\\' => {
                let escaped = chars
                    .next()
                    .ok_or_else(|| format!("{name:?} ends in \"\\\""))?;
                push_char(&mut tokens, escaped);
            }
            other => push_char(&mut tokens, other),
        }
    }
    Ok(tokens)
}

fn push_char(tokens: &mut Vec<Token>, character: char) {
    let mut buffer = [0; 4];
    tokens.extend(character.encode_utf8(&mut buffer).bytes().map(Token::Byte));
}

fn class(chars: &mut std::str::Chars<'_>) -> Option<Token> {
    let mut ranges = Vec::new();
    let mut next = chars.next()?;
    let negated = matches!(next, '!' | '^');
    if negated {
        next = chars.next()?;
    }
    loop {
        // A "]" that comes first stands for itself, as in the shell.
        if next == ']' && !ranges.is_empty() {
            return Some(Token::Class {
                negated,
                ranges: ranges.into(),
            });
        }
        let low = if next == '\\' { chars.next()? } else { next };
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|end| end != ']') {
            chars.next();
            let high = chars.next()?;
            let high = if high == '\\' { chars.next()? } else { high };
            if high < low {
                return None;
            }
            ranges.push((low, high));
        } else {
            ranges.push((low, low));
        }
        next = chars.next()?;
    }
}

impl Component {
    /// The head that a name has to have, and which of its bits count: a quick way to tell that
    /// no name of a path fits. No bits count where anything may begin a name.
    pub fn needs(&self) -> (u64, u64) {
        match self {
            Component::Literal(name) => (head(name), u64::MAX),
            Component::Glob { prefix, .. } => (prefix.head, prefix.mask),
            Component::AnyDepth => (0, 0),
        }
    }

    fn matches(&self, name: &Name<'_>) -> bool {
        match self {
            Component::Literal(literal) => **literal == *name.bytes,
            Component::Glob { prefix, rest } => prefix
                .strip(name)
                .is_some_and(|name| fitting::glob_matches(rest, name)),
            Component::AnyDepth => true,
        }
    }
}

#[cfg(test)]
mod tests;
