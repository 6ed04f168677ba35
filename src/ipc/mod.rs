//! The supervisor's end of the channel to one worker.
//!
//! A segment with two rings carries the messages, a socket carries lines of text
//! as doorbells and state events; `buntime-abi` defines both. [`Channel`] is the
//! whole of it for the session loop: queue code and answers, take messages. A container's
//! supervisor, which waits for other things too, drives it by [`Channel::heard`].
//!
//! What it trusts: its own memory and nothing else. Every word in the segment
//! and every byte on the socket is an allegation of the worker, copied once into
//! private memory and then parsed; one that cannot be true is a [`Violation`].
//! What it never does: map the segment (a truncated file is an error here, never
//! a SIGBUS), block or spin because of what the worker does or does not do, hold
//! more than a bounded amount of what the worker sent, or decide anything.

pub mod assets;
mod channel;
mod config;
mod control;
mod error;
mod outgoing;
mod segment;
mod wire;

pub use buntime_abi::layout::DEFAULT_SEGMENT;
pub use channel::{Channel, Heard};
pub use config::{Config, Stdio};
pub use error::{ChannelError, Violation};
pub use wire::{Answer, Check, CheckKind, Message};
