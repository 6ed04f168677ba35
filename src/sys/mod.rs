//! Thin, safe wrappers over the system calls that no crate of ours offers.
//!
//! Each file wraps one family and argues for every `unsafe` block. Trusts the
//! kernel's documented behaviour and nothing else. Never decides anything: no
//! policy, no retries beyond `EINTR`, no logging.
#![allow(unsafe_code)]

pub mod beneath;
pub mod bpf;
pub mod capabilities;
pub mod clone;
pub mod datagrams;
#[cfg(test)]
pub mod forked;
pub mod handover;
pub mod idle;
pub mod interface;
pub mod keyring;
pub mod links;
pub mod memory;
pub mod message;
pub mod mount;
pub mod mountinfo;
pub mod names;
pub mod namespace;
pub mod netfilter;
pub mod probe;
pub mod process;
pub mod redirected;
pub mod route;
pub mod scheduling;
pub mod sealed;
pub mod seccomp;
pub mod secret;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod throwaway;
pub mod trace;
pub mod trial;
