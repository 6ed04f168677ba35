//! Completion scripts for shells.

use std::ffi::{OsStr, OsString};

use clap::builder::{PossibleValue, TypedValueParser};
use clap_complete::Shell;

use crate::policy::shipped_names;

/// A policy's file or name: any word, of which shells propose the shipped names.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolicyName;

impl TypedValueParser for PolicyName {
    type Value = OsString;

    fn parse_ref(
        &self,
        _command: &clap::Command,
        _arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            shipped_names().iter().copied().map(PossibleValue::new),
        ))
    }
}

/// The script for `shell`.
pub(super) fn script(shell: Shell, mut command: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "buntime", &mut script);
    with_files(shell, &String::from_utf8_lossy(&script))
}

/// The generator proposes either fixed words or files, and in fish nothing at all for words
/// without an option; where a policy is wanted, names and files are both right.
fn with_files(shell: Shell, script: &str) -> String {
    let names = shipped_names().join(" ");
    match shell {
        Shell::Bash => script.replace(
            &format!("$(compgen -W \"{names}\" -- \"${{cur}}\")"),
            &format!("$(compgen -W \"{names}\" -- \"${{cur}}\"; compgen -f -- \"${{cur}}\")"),
        ),
        Shell::Zsh => {
            let function = format!(
                "#compdef buntime\n\n_buntime_policies() {{\n    \
                 _alternative 'names:policy:({names})' 'files:file:_files'\n}}\n"
            );
            script
                .replace(&format!(":({names})"), ":_buntime_policies")
                .replacen("#compdef buntime\n", &function, 1)
        }
        Shell::Fish => {
            let first = shipped_names().first().copied().unwrap_or_default();
            let words = format!(
                "complete -c buntime -n \"__fish_buntime_using_subcommand policy; and \
                 __fish_seen_subcommand_from show diff\" -F -a \"{names}\"\n"
            );
            script.replace(
                &format!("-r -f -a \"{first}\\t"),
                &format!("-r -F -a \"{first}\\t"),
            ) + &words
        }
        _ => script.to_owned(),
    }
}
