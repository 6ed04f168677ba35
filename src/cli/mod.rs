//! Under construction.

pub mod policy;
