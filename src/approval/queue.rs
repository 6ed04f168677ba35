//! The wishes that wait for an answer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wish::{Answer, Grant, Wish};
use crate::policy::Scope;

/// Wishes that wait at one time. More than that nobody reads, and a person who answers them all the
/// same answers without reading.
const MOST_WAITING: usize = 16;
/// Calls that wait for one answer.
const MOST_CALLS: usize = 1024;
/// Wishes that one session may bring before somebody.
const MOST_ASKED: u64 = 1000;
/// What is kept of answers.
const MOST_GRANTS: usize = 1000;

/// A wish that waits, and everything that waits for it.
#[derive(Debug)]
pub struct Case<T> {
    /// From 1, in the order of asking.
    pub number: u64,
    /// What is wished for.
    pub wish: Wish,
    /// The calls.
    pub calls: Vec<T>,
    /// When it was first asked.
    pub since: Instant,
    shown: bool,
    deadline: Option<Instant>,
}

/// What became of a call that the policy asks about.
#[derive(Debug)]
pub enum Admission<'q, T> {
    /// It cannot be asked, so it is denied.
    Refused(T, Refusal),
    /// The same is being asked already.
    Joined,
    /// It is to be asked.
    Opened(&'q Case<T>),
}

/// Why something is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too much is waiting already.
    Crowded,
    /// Too much was asked in this session.
    Spent,
    /// The answer was never to ask again.
    Never,
    /// The policy leaves no answer that could allow it.
    NoScope,
}

/// See the module. `T` is a call that waits.
#[derive(Debug)]
pub struct Queue<T> {
    cases: VecDeque<Case<T>>,
    grants: Vec<Grant>,
    /// How many have been asked.
    asked: u64,
    never: bool,
    timeout: Duration,
    scopes: Vec<Scope>,
}

impl<T> Queue<T> {
    /// Nothing waits. `timeout` is how long an answer may take from when a wish is shown, `scopes`
    /// how far it may reach.
    #[must_use]
    pub fn new(timeout: Duration, scopes: &[Scope]) -> Queue<T> {
        Queue {
            cases: VecDeque::new(),
            grants: Vec::new(),
            asked: 0,
            never: false,
            timeout,
            scopes: scopes.to_vec(),
        }
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How far an answer may reach.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The case whose answer allows this already.
    #[must_use]
    pub fn granted(&self, wish: &Wish) -> Option<u64> {
        let grant = self.grants.iter().find(|grant| grant.covers(wish))?;
        Some(grant.number)
    }

    /// Takes in a call that nothing allows yet.
    #[must_use]
    pub fn admit(&mut self, wish: Wish, call: T, now: Instant) -> Admission<'_, T> {
        if self.never {
            return Admission::Refused(call, Refusal::Never);
        }
        if self.scopes.is_empty() {
            return Admission::Refused(call, Refusal::NoScope);
        }
        let same = self.cases.iter_mut().find(|case| case.wish.is_same(&wish));
        if let Some(case) = same {
            if case.calls.len() >= MOST_CALLS {
                return Admission::Refused(call, Refusal::Crowded);
            }
            case.calls.push(call);
            return Admission::Joined;
        }
        if self.cases.len() >= MOST_WAITING {
            return Admission::Refused(call, Refusal::Crowded);
        }
        if self.asked >= MOST_ASKED {
            return Admission::Refused(call, Refusal::Spent);
        }
        self.asked += 1;
        self.cases.push_back(Case {
            number: self.asked,
            wish,
            calls: vec![call],
            since: now,
            shown: false,
            deadline: None,
        });
        Admission::Opened(&self.cases[self.cases.len() - 1])
    }

    /// A wish that waits.
    #[must_use]
    pub fn case(&self, number: u64) -> Option<&Case<T>> {
        self.cases.iter().find(|case| case.number == number)
    }

    /// The numbers of all that wait.
    #[must_use]
    pub fn waiting(&self) -> Vec<u64> {
        self.cases.iter().map(|case| case.number).collect()
    }

    /// The next one to be shown, where so many may be shown at one time.
    #[must_use]
    pub fn unshown(&self, abreast: usize) -> Option<u64> {
        let shown = self.cases.iter().filter(|case| case.shown).count();
        let next = self.cases.iter().find(|case| !case.shown)?;
        (shown < abreast).then_some(next.number)
    }

    /// Those that are shown.
    #[must_use]
    pub fn shown(&self) -> Vec<u64> {
        let shown = self.cases.iter().filter(|case| case.shown);
        shown.map(|case| case.number).collect()
    }

    /// From when a wish is first shown its time runs.
    pub fn show(&mut self, number: u64, now: Instant) {
        let timeout = self.timeout;
        if let Some(case) = self.case_mut(number) {
            case.shown = true;
            case.deadline = case.deadline.or(now.checked_add(timeout));
        }
    }

    /// It is to be shown again, and its time goes on.
    pub fn hide(&mut self, number: u64) {
        if let Some(case) = self.case_mut(number) {
            case.shown = false;
        }
    }

    /// When the next one's time is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.cases.iter().filter_map(|case| case.deadline).min()
    }

    /// The first one whose time is over.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Option<u64> {
        let is_over = |case: &&Case<T>| case.deadline.is_some_and(|deadline| deadline <= now);
        self.cases.iter().find(is_over).map(|case| case.number)
    }

    /// Whether this can be answered to that wish, as the policy limits it.
    #[must_use]
    pub fn admits(&self, number: u64, answer: &Answer) -> bool {
        let fits = |case: &Case<T>| answer.fits(case.wish.path());
        let is_open = |scope| self.scopes.contains(&scope);
        self.case(number).is_some_and(fits) && answer.scope().is_none_or(is_open)
    }

    /// Ends a wish by an answer, and with it whatever that answers too: first the wish itself,
    /// which is not there where it does not wait any more. An answer that does not fit is a no.
    #[must_use]
    pub fn close(&mut self, number: u64, answer: &Answer) -> Vec<Case<T>> {
        let fits = self.admits(number, answer);
        let Some(at) = self.cases.iter().position(|case| case.number == number) else {
            return Vec::new();
        };
        let mut closed: Vec<Case<T>> = self.cases.remove(at).into_iter().collect();
        if *answer == Answer::Never {
            self.never = true;
            closed.extend(self.cases.drain(..));
        }
        let wish = closed.first().map(|case| &case.wish).filter(|_| fits);
        let grant = wish.and_then(|wish| Grant::of(answer, wish, number));
        if let Some(grant) = grant
            && self.grants.len() < MOST_GRANTS
        {
            let (covered, others) = std::mem::take(&mut self.cases)
                .into_iter()
                .partition::<Vec<_>, _>(|case| grant.covers(&case.wish));
            self.cases = others.into();
            closed.extend(covered);
            self.grants.push(grant);
        }
        closed
    }

    /// Goes on under other rules: forgets what was allowed under the former ones, and gives back
    /// whatever waits.
    #[must_use]
    pub fn renew(&mut self, timeout: Duration, scopes: &[Scope]) -> Vec<Case<T>> {
        self.grants.clear();
        self.timeout = timeout;
        self.scopes = scopes.to_vec();
        self.cases.drain(..).collect()
    }

    fn case_mut(&mut self, number: u64) -> Option<&mut Case<T>> {
        self.cases.iter_mut().find(|case| case.number == number)
    }
}

#[cfg(test)]
mod tests;
