//! From a plan to kernel state: the only place where a worker comes into being.
//!
//! Trusts the plan and the request, which the supervisor made. Builds everything inside the
//! child's own namespaces, verifies it there, and reports what holds. Never decides what a policy
//! means, and never forks a process that has threads.

mod bare;
pub mod beside;
mod bpf;
pub mod cgroup;
mod child;
mod confine;
mod connection;
pub mod container;
mod courier;
pub mod demand;
pub mod doctor;
mod doors;
pub mod enforced;
mod executor;
pub mod features;
mod filter;
pub mod group;
mod identity;
mod init;
pub mod landlock;
mod link;
pub mod notice;
pub mod profile;
mod receivers;
pub mod request;
pub mod rlimits;
mod root;
pub mod rootfs;
pub mod seccomp;
mod source;
mod start;

pub use bare::{Bare, BareRequest, Layout, Place, PlaceError, UserError};
pub use cgroup::Cgroup;
pub use demand::{Less, Require};
pub use doors::{Datagrams, Doors, Elsewhere, RESOLVER};
pub use enforced::{Enforced, Mechanism, State};
pub use features::Features;
pub use link::Subnet;
pub use notice::{Failure, FailureKind, Notice};
pub use request::{ChannelRequest, LaunchRequest, Piece, Program, StdioRequest};
pub use start::{LaunchError, Launched, SYSTEM_FOLDERS, launch};

/// Signals that end the caller, held back over a launch so that none is lost between.
pub use crate::sys::signal::HeldSignals;

/// The Landlock ABI of this kernel; 0 without Landlock.
pub use crate::sys::probe::landlock_abi;

/// How many threads the calling process has: a launch needs one.
pub use crate::sys::clone::thread_count;
