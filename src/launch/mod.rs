//! Under construction.
pub mod seccomp;
pub mod cgroup;
pub mod features;
pub mod landlock;
pub mod rlimits;
