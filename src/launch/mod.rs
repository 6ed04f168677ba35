//! Under construction.
pub mod seccomp;
