//! `buntime doctor`: what this host can enforce, and what to change.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::voice::harmless;
use crate::supervisor::{Diagnosis, Finding, Presence, Whole, diagnose};

/// Exit status of a host that cannot enforce the shipped default policy as a whole.
const LESS: u8 = 1;

/// What can be asked of the doctor.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  buntime doctor
  buntime doctor --missing
  buntime doctor --json > host.json

Each mechanism is used for real in a throwaway process, as the user who asks, and its effect
is looked at; versions are not. At the end a program that does nothing is run under the shipped
default policy. Nothing is left behind. What could not be tried is unknown, and not available.

Exit status: 0 when that policy is enforced as a whole here (each mechanism of the launch was
whole, as `buntime run --require full` asks); 1 when it is not; 125 when Buntime failed.")]
pub(super) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Leave out what is available
    #[arg(long)]
    missing: bool,
}

/// Runs `buntime doctor`.
pub(super) fn run(asked: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut diagnosis = diagnose()?;
    if asked.missing {
        let absent = |finding: &Finding| finding.state != Presence::Available;
        diagnosis.findings.retain(absent);
    }
    if asked.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&diagnosis)?)?;
    } else {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        write!(out, "{}", table(&diagnosis, colours))?;
    }
    Ok(match diagnosis.default_policy.enforced {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(LESS),
    })
}

fn table(diagnosis: &Diagnosis, colours: bool) -> String {
    let findings = &diagnosis.findings;
    let width = findings.iter().map(|finding| finding.name.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    let mut area = "";
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            text.push_str(&format!("{area}\n"));
        }
        text.push_str(&row(finding, width, colours));
    }
    text.push_str("the shipped default policy\n");
    text.push_str(&verdict(&diagnosis.default_policy, colours));
    text
}

fn row(finding: &Finding, width: usize, colours: bool) -> String {
    let word = match finding.state {
        Presence::Available => paint("available", GREEN, colours),
        Presence::Missing => paint("missing  ", RED, colours),
        Presence::Unknown => paint("unknown  ", YELLOW, colours),
    };
    let name = &finding.name;
    let mut text = format!("  {word}  {name:width$}  {}\n", finding.needed_for);
    let mut more = |what: &str, words: &Option<String>| {
        if let Some(words) = words {
            text.push_str(&format!("             {what}: {}\n", harmless(words)));
        }
    };
    more("why", &finding.why);
    more("change", &finding.change);
    text
}

fn verdict(whole: &Whole, colours: bool) -> String {
    if whole.enforced {
        let word = paint("enforced ", GREEN, colours);
        return format!(
            "  {word}  as a whole: a program ran under it, and each mechanism was whole\n"
        );
    }
    if let Some(why) = &whole.refused {
        let word = paint("refused  ", RED, colours);
        return format!(
            "  {word}  {}\n",
            harmless(why).replace('\n', "\n           ")
        );
    }
    let word = paint("partly   ", YELLOW, colours);
    let mut text = format!("  {word}  a program ran under it, and these mechanisms were less:\n");
    for one in &whole.less {
        let detail = harmless(&one.detail);
        text.push_str(&format!(
            "             {}: {}: {detail}\n",
            one.mechanism, one.state
        ));
    }
    text
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

fn paint(word: &str, colour: u8, colours: bool) -> String {
    match colours {
        true => format!("\u{1b}[{colour}m{word}\u{1b}[0m"),
        false => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(state: Presence) -> Finding {
        Finding {
            area: "network",
            name: "a route".to_owned(),
            state,
            why: Some("adding it: EPERM, Operation not permitted\u{1b}[2J".to_owned()),
            needed_for: "hosts",
            change: Some("let it be".to_owned()),
        }
    }

    #[test]
    fn a_table_says_why_and_what_to_change_and_is_safe_to_print() {
        let diagnosis = Diagnosis {
            default_policy: Whole {
                enforced: false,
                less: Vec::new(),
                refused: Some("no\nbecause".to_owned()),
            },
            findings: vec![sample(Presence::Missing), sample(Presence::Unknown)],
        };
        let plain = table(&diagnosis, false);
        assert!(
            plain.starts_with("network\n  missing    a route  hosts\n"),
            "{plain}"
        );
        assert!(plain.contains("change: let it be"), "{plain}");
        assert!(!plain.contains('\u{1b}'), "{plain}");
        let coloured = table(&diagnosis, true);
        assert!(
            coloured.contains("\u{1b}[31mmissing  \u{1b}[0m"),
            "{coloured}"
        );
        assert!(!coloured.contains("[2J\u{1b}"), "{coloured}");
    }
}
