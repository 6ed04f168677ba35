//! `buntime bundle`: the built-in bundles as files, to be looked at and changed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::supervisor;

/// What can be done with bundles.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BundleCommand {
    /// Writes a built-in bundle to a directory
    #[command(
        after_help = "Example:\n  buntime bundle init python my-bundle\n  buntime run --bundle my-bundle -c 'print(6*7)'"
    )]
    Init {
        /// Which one.
        kind: Kind,
        /// A directory that is empty or does not exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// The built-in bundles.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Kind {
    /// The Python worker's.
    Python,
}

/// Runs `buntime bundle ...`.
///
/// # Errors
/// When the bundle cannot be written.
pub(super) fn run(command: BundleCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let BundleCommand::Init { kind, directory } = command;
    match kind {
        Kind::Python => supervisor::write_python_bundle(&directory)?,
    }
    writeln!(out, "{}", directory.display())?;
    Ok(ExitCode::SUCCESS)
}
