//! What was seen, and what follows from it for rules that can be read.
//!
//! The steps of [`Facts::close`] only ever add, each for what is covered and not for how it is
//! written, so that it does not matter in which order runs are learned from, nor how often.

use std::collections::{BTreeMap, BTreeSet};

use super::ground::{Ground, Standing};
use super::place::{Name, Place};
use crate::policy::perm::{Perm, PermSet};

/// From how many entries of a directory on the directory is named in their place.
const MANY: usize = 8;

/// What changes the entries of a directory.
pub(super) const ENTRIES: PermSet = PermSet::ENTRIES.with(Perm::WriteDir);

/// What is done to a file's contents.
const CONTENTS: PermSet = PermSet::of(&[Perm::ReadFile, Perm::WriteFile]);

/// Everything that rules are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// What was done at paths, and below them.
    pub exact: BTreeMap<Place, PermSet>,
    /// What was done at names that come and go.
    pub coming: BTreeMap<Place, PermSet>,
    /// Programs that were run.
    pub programs: BTreeSet<Place>,
    /// Between which places files were moved.
    pub moves: BTreeSet<(Place, Place)>,
}

impl Facts {
    /// Adds; gives whether that is new.
    pub fn add(&mut self, place: Place, perms: PermSet) -> bool {
        if perms.is_empty() {
            return false;
        }
        let kind = match place.is_exact() {
            true => &mut self.exact,
            false => &mut self.coming,
        };
        let known = kind.entry(place).or_insert(PermSet::NONE);
        let before = *known;
        *known = before.union(perms);
        *known != before
    }

    /// Both.
    pub fn extend(&mut self, other: Facts) {
        for (place, perms) in other.exact.into_iter().chain(other.coming) {
            self.add(place, perms);
        }
        self.programs.extend(other.programs);
        self.moves.extend(other.moves);
    }

    /// Adds what follows, and leaves out what something else covers.
    pub fn close(&mut self, ground: &Ground) {
        loop {
            let lifted = self.lift();
            let gathered = self.gather(ground);
            if !(self.follow_moves() | lifted | gathered) {
                break;
            }
        }
        self.reduce();
    }

    /// What is allowed all over the place.
    pub fn covering(&self, place: &Place) -> PermSet {
        let own = self.exact.get(place).or_else(|| self.coming.get(place));
        let own = own.copied().unwrap_or(PermSet::NONE);
        own.union(self.around(place))
    }

    /// What of that others say.
    fn around(&self, place: &Place) -> PermSet {
        let above = self.above(place).map(|(_, perms)| *perms);
        let coming = self.coming.iter();
        let coming = coming.filter(|(own, _)| *own != place && own.covers(place));
        above
            .chain(coming.map(|(_, perms)| *perms))
            .fold(PermSet::NONE, PermSet::union)
    }

    /// What is in a directory that was made is spoken of where it was made, since a rule can only name
    /// what is there; and the contents of what is next to files that are made, removed or
    /// replaced are spoken of where that happens, since a file that a rule names on its own
    /// could not be replaced.
    fn lift(&mut self) -> bool {
        let mut changed = false;
        let mut lifted = Vec::new();
        for (place, perms) in self.exact.iter().chain(&self.coming) {
            let contents = perms.intersection(CONTENTS);
            for (above, known) in self.above(place) {
                if known.contains(Perm::MakeDir) {
                    lifted.push((above, *perms));
                } else if known.intersects(ENTRIES) {
                    lifted.push((place.parent(), contents));
                }
            }
            let coming = self.coming.iter();
            for (own, known) in coming.filter(|(own, _)| *own != place && own.covers(place)) {
                if known.contains(Perm::MakeDir) {
                    lifted.push((own.clone(), *perms));
                } else if known.intersects(ENTRIES) {
                    lifted.push((own.clone(), contents));
                }
            }
        }
        for (place, perms) in lifted {
            changed |= self.add(place, perms);
        }
        changed
    }

    /// The places above that something is known of.
    fn above(&self, place: &Place) -> impl Iterator<Item = (Place, &PermSet)> {
        let above = (0..place.0.len()).map(|length| place.above(length));
        above.filter_map(|above| {
            let known = self.exact.get(&above)?;
            Some((above, known))
        })
    }

    /// A directory stands for many entries of it.
    fn gather(&mut self, ground: &Ground) -> bool {
        let mut gathered: Vec<(Place, Perm)> = Vec::new();
        for perm in Perm::ALL {
            let mut entries: BTreeMap<&[Name], BTreeSet<&Name>> = BTreeMap::new();
            let places = self.exact.iter().filter(|(_, perms)| perms.contains(perm));
            for (place, _) in places {
                for (at, name) in place.0.iter().enumerate() {
                    entries.entry(&place.0[..at]).or_default().insert(name);
                }
            }
            let many = entries.into_iter().filter(|(_, names)| names.len() >= MANY);
            let many = many.map(|(names, _)| Place(names.to_vec()));
            gathered.extend(
                many.filter(|place| ground.standing(place) == Standing::Open)
                    .map(|place| (place, perm)),
            );
        }
        let mut changed = false;
        for (place, perm) in gathered {
            changed |= self.add(place, PermSet::of(&[perm]));
        }
        changed
    }

    /// A move must not make permitted what was not, so what is allowed where files are moved to is
    /// allowed where they come from.
    fn follow_moves(&mut self) -> bool {
        let mut changed = false;
        for (from, to) in self.moves.clone() {
            let missing = self.covering(&to).difference(self.covering(&from));
            changed |= self.add(from, missing);
        }
        changed
    }

    fn reduce(&mut self) {
        let all = self.clone();
        for (place, perms) in self.exact.iter_mut().chain(&mut self.coming) {
            *perms = perms.difference(all.around(place));
        }
        self.exact.retain(|_, perms| !perms.is_empty());
        self.coming.retain(|_, perms| !perms.is_empty());
        self.programs.retain(|program| {
            let mut others = all.programs.iter();
            !others.any(|other| other != program && other.covers(program))
        });
        // What is allowed anywhere below a place in which directories are made is allowed all over it.
        let shared = |from: &Place, to: &Place| {
            (0..=from.0.len()).any(|length| {
                let above = from.above(length);
                let makes = all.exact.get(&above);
                makes.is_some_and(|perms| perms.contains(Perm::MakeDir)) && above.covers(to)
            })
        };
        self.moves
            .retain(|(from, to)| from != to && !shared(from, to));
    }
}
