//! The wire between a supervisor and its worker: one definition for both ends.
//!
//! A **segment** is a file of fixed size that holds two rings, the one from the
//! supervisor to the worker first ([`layout`]). A **ring** carries framed
//! messages from one producer to one consumer ([`ring`], [`message`]). The
//! doorbells are lines of text on a socket ([`mod@line`]).
//!
//! What it trusts: nothing that the peer wrote. [`ring::Producer`] and
//! [`ring::Consumer`] keep their own index private and treat what the other end
//! claims as an allegation, which is either a number of bytes or a
//! [`Violation`]. What it never does: allocate by a length that the peer chose,
//! or block; waiting is the business of the two ends.
#![deny(unsafe_code)]

pub mod layout;
pub mod line;
pub mod mapped;
pub mod message;
pub mod ring;
mod violation;

pub use layout::{Direction, Layout};
pub use message::{Header, Inbox, Kind};
pub use ring::{Memory, Polled, RingReader, RingWriter, Words};
pub use violation::Violation;
