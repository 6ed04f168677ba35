//! The `buntime` command; everything is in the library.

fn main() {}
