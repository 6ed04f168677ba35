//! What a program did, as the narrowest policy that can be read and admits it.
//!
//! It is pure: it takes observations of a run, which is made elsewhere, and gives a document of the
//! language. The same observations give the same document, in whatever order and however often they
//! come, also where some of them come as a document that was learned before.
//!
//! A rule names a path that was used. A directory stands for many of its entries, and for those
//! that are made, removed or replaced, of which no rule can name each. Never does it stand for the
//! root, a directory of the system, or a home: there names are named, those that come and go
//! as patterns.

mod document;
mod facts;
mod ground;
mod layer;
mod place;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::limits::{Limits, Plugins};
use super::perm::{Perm, PermSet};
use facts::{ENTRIES, Facts};
use ground::{Ground, Standing};
use place::Place;

pub use document::LearnedError;

/// Something that a program did, and that nothing but the permission to learn let through. Paths
/// are absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation<'o> {
    /// An operation on a path.
    Fs {
        /// The path: what was made or removed, and not the directory around it.
        path: &'o Path,
        /// The operation.
        perm: Perm,
    },
    /// A change of mode, owner, times or attributes.
    Change {
        /// The path.
        path: &'o Path,
    },
    /// A program that was run.
    Exec {
        /// Its path.
        path: &'o Path,
        /// Whether it lies in a place of the worker's own, where this run has put it.
        made: bool,
    },
    /// A file or directory that got another name, beside the old one or in its place. That it was made
    /// there is another observation.
    Moved {
        /// The old name.
        from: &'o Path,
        /// The new one.
        to: &'o Path,
    },
}

/// Why something stays out of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unlearned {
    /// A policy is text.
    #[error("the path is no text")]
    NoText,
    /// Of this directory nothing is allowed as a whole.
    #[error("a rule for it would speak of a whole directory of the system, or of a home")]
    Wide,
}

/// What was learned from runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    ground: Ground,
    facts: Facts,
    limits: Limits,
    plugins: Plugins,
}

impl Learned {
    /// Nothing yet, of a run with these limits and this isolation. `home` is never named as a whole.
    #[must_use]
    pub fn new(home: Option<&Path>, limits: Limits, plugins: Plugins) -> Learned {
        Learned {
            ground: Ground::new(home),
            facts: Facts::default(),
            limits,
            plugins,
        }
    }

    /// Learns what a program did.
    ///
    /// # Errors
    /// No rule can say it without saying too much.
    pub fn note(&mut self, observation: &Observation<'_>) -> Result<(), Unlearned> {
        match *observation {
            Observation::Fs {
                path,
                perm: Perm::Execute,
            } => self.program(path, false)?,
            Observation::Exec { path, made } => self.program(path, made)?,
            Observation::Fs { path, perm } if ENTRIES.contains(perm) => {
                let place = self.entry(path)?;
                let perms = match perm {
                    Perm::WriteDir => PermSet::WRITE_DIR,
                    perm => PermSet::of(&[perm]),
                };
                self.facts.add(place, perms);
            }
            Observation::Fs { path, perm } => self.at(path, perm)?,
            // Who may write a file may change these too.
            Observation::Change { path } => self.at(path, Perm::WriteFile)?,
            Observation::Moved { from, to } => {
                let places = (self.entry(from)?, self.entry(to)?);
                self.facts.moves.insert(places);
            }
        }
        Ok(())
    }

    fn program(&mut self, path: &Path, made: bool) -> Result<(), Unlearned> {
        let place = named(path)?;
        if self.ground.is_known_directory(&place) {
            return Err(Unlearned::Wide);
        }
        // A path without a pattern would show what the host has there.
        self.facts.programs.insert(match made {
            true => place.blurred(),
            false => place,
        });
        Ok(())
    }

    /// Where an entry changes: its directory, or a name in it.
    fn entry(&self, path: &Path) -> Result<Place, Unlearned> {
        let place = named(path)?;
        let around = place.parent();
        match self.ground.standing(&around) {
            Standing::Open => Ok(around),
            Standing::Kept => Ok(place.coming()),
            Standing::Closed => Err(Unlearned::Wide),
        }
    }

    fn at(&mut self, path: &Path, perm: Perm) -> Result<(), Unlearned> {
        let place = named(path)?;
        let is_wide = match perm {
            Perm::ReadDir => self.ground.standing(&place) == Standing::Closed,
            _ => self.ground.is_known_directory(&place),
        };
        if is_wide {
            return Err(Unlearned::Wide);
        }
        self.facts.add(place, PermSet::of(&[perm]));
        Ok(())
    }

    /// What either learned, and the greater limits.
    #[must_use]
    pub fn merged(mut self, other: Learned) -> Learned {
        self.facts.extend(other.facts);
        self.limits = self.limits.join(other.limits);
        self.plugins = self.plugins.union(other.plugins);
        self
    }

    /// What the document says.
    fn closed(&self) -> Facts {
        let mut facts = self.facts.clone();
        facts.close(&self.ground);
        facts
    }
}

fn named(path: &Path) -> Result<Place, Unlearned> {
    Place::of(path).ok_or(Unlearned::NoText)
}
