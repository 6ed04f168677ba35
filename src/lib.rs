//! Buntime runs code that nobody trusts: a supervisor launches each worker as an
//! OCI bundle and holds it to one JSON policy that the kernel enforces.
//!
//! Start reading at [`policy`] (the pure oracle), then [`launch`] (how a plan
//! becomes kernel state) and [`supervisor`] (the life of one session).
#![deny(unsafe_code)]

pub mod policy;

#[cfg(target_os = "linux")]
pub mod approval;
#[cfg(target_os = "linux")]
pub mod audit;
#[cfg(target_os = "linux")]
pub mod cli;
#[cfg(target_os = "linux")]
pub mod egress;
#[cfg(target_os = "linux")]
pub mod intercept;
#[cfg(target_os = "linux")]
pub mod ipc;
#[cfg(target_os = "linux")]
pub mod launch;
#[cfg(target_os = "linux")]
pub mod oci;
#[cfg(target_os = "linux")]
pub mod supervisor;
#[cfg(target_os = "linux")]
pub mod sys;
