//! What was compared how often, and choices of what was compared seldom.

use std::collections::BTreeMap;

use buntime::policy::Verdict;

use crate::support::chance::Chance;

/// Pairs from which on each cell has to be full.
const MANY: u64 = 20_000;

/// How often each cell has to be seen in so many pairs.
const FULL: u64 = 50;

/// What is drawn for one choice.
const DRAWN: usize = 16;

/// What was done, what the oracle says of it, and which mechanism carries that.
pub type Cell<N> = (N, Verdict, &'static str);

/// How often each cell was seen.
#[derive(Clone)]
pub struct Counts<N>(BTreeMap<Cell<N>, u64>);

impl<N: Copy + Ord> Counts<N> {
    pub fn new() -> Counts<N> {
        Counts(BTreeMap::new())
    }

    pub fn count(&mut self, cell: Cell<N>) {
        *self.0.entry(cell).or_default() += 1;
    }

    fn seen(&self, cell: Option<Cell<N>>) -> u64 {
        // What nothing is said of comes last.
        cell.map_or(u64::MAX, |cell| self.0.get(&cell).copied().unwrap_or(0))
    }

    /// So many of what can be drawn, mostly of cells that were seen seldom.
    pub fn choose<T>(
        &self,
        chance: &mut Chance,
        number: usize,
        draw: impl Fn(&mut Chance) -> T,
        cell: impl Fn(&T) -> Option<Cell<N>>,
    ) -> Vec<T> {
        let mut counts = self.clone();
        let mut chosen = Vec::new();
        while chosen.len() < number {
            let first = (draw(chance), None);
            let drawn = match chance.one_in(5) {
                true => 0,
                false => DRAWN,
            };
            let mut least = (u64::MAX, first);
            for _ in 0..drawn {
                let one = draw(chance);
                let cell = cell(&one);
                let seen = counts.seen(cell);
                if seen < least.0 {
                    least = (seen, (one, cell));
                }
            }
            let (_, (one, cell)) = least;
            if let Some(cell) = cell {
                counts.count(cell);
            }
            chosen.push(one);
        }
        chosen
    }

    /// Says what was compared, of which enough has to be permitted and hardly a policy refused, and
    /// in a long run each cell to be full.
    pub fn tell(&self, pairs: u64, refused: u64, few: u64, name: impl Fn(N) -> &'static str) {
        let mut seldom = Vec::new();
        for ((done, verdict, mechanism), count) in &self.0 {
            let line = format!("{} {verdict} {mechanism}: {count}", name(*done));
            eprintln!("{line}");
            if *count < FULL {
                seldom.push(line);
            }
        }
        let all: u64 = self.0.values().sum();
        let permitted = self
            .0
            .iter()
            .filter(|((_, verdict, _), _)| verdict.permits());
        let permitted: u64 = permitted.map(|(_, count)| count).sum();
        eprintln!(
            "{pairs} pairs, {all} of them decided, {permitted} permitted; {refused} policies refused"
        );
        assert!(permitted * 4 >= all, "{permitted} of {all} were permitted");
        assert!(refused < few, "{refused} policies were refused");
        assert!(pairs < MANY || seldom.is_empty(), "too few of {seldom:#?}");
    }
}
