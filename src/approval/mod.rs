//! What a person is asked, and how far an answer reaches.
//!
//! A [`Wish`] is one operation on one object, or one connection, by the rule that asks about it. The
//! [`Queue`] holds those that wait: the same wish is asked once, however many calls wait for it; only
//! so many wait at a time; and what was allowed for longer than once is not asked again.
//!
//! It trusts its caller to have decided that the policy asks, and to record what is asked and
//! answered. The path of a wish is the worker's choice: it is compared, name by name, and never
//! looked up; the [`Site`] of a connection is compared as a whole. It never allows what was not
//! answered, and an answer never reaches beyond the rule and the kind of operation that were shown.

mod queue;
mod wish;

pub use queue::{Admission, Case, Queue, Refusal};
pub use wish::{Act, Answer, Site, Wish};
