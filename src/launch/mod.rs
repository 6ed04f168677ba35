//! Under construction.
pub mod cgroup;
pub mod features;
pub mod landlock;
pub mod rlimits;
pub mod seccomp;
