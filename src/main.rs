//! The `buntime` command; everything is in the library.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    buntime::cli::main(std::env::args_os().collect())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
