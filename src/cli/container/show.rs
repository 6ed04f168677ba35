//! What container verbs print.

use std::io::{self, Write};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::args::{ListArgs, ListFormat, PsArgs, SpecArgs};
use crate::oci::container::{Listed, example_spec, example_spec_rootless};

/// JSON for people and programs alike.
pub(super) fn pretty(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// `list`.
pub(super) fn list(out: &mut dyn Write, listed: &[Listed], args: &ListArgs) -> io::Result<()> {
    if args.quiet {
        return listed
            .iter()
            .try_for_each(|one| writeln!(out, "{}", one.id));
    }
    if args.format == ListFormat::Json {
        let states: Vec<&str> = listed.iter().map(|one| one.state.as_str()).collect();
        return writeln!(out, "[{}]", states.join(","));
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(listed.iter().map(|one| {
        [
            one.id.clone(),
            one.pid.to_string(),
            one.status.to_owned(),
            one.bundle.clone(),
            one.created.clone(),
            one.owner.clone(),
        ]
    }));
    table(out, &rows)
}

fn table<const N: usize>(out: &mut dyn Write, rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default().max(9) + 3
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&format!("{cell:<width$}", width = width(column)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `ps`: for people by ps(1), whose lines are kept that name a process of the container.
pub(super) fn processes(out: &mut dyn Write, pids: &[i32], args: &PsArgs) -> anyhow::Result<()> {
    if args.format == ListFormat::Json {
        serde_json::to_writer(&mut *out, pids)?;
        out.write_all(b"\n")?;
        return Ok(());
    }
    let options: Vec<&str> = match args.options.is_empty() {
        true => vec!["-ef"],
        false => args.options.iter().map(String::as_str).collect(),
    };
    let output = Command::new("ps")
        .args(&options)
        .output()
        .context("cannot run ps (of Debian's package procps)")?;
    ensure!(
        output.status.success(),
        "ps {}: {}",
        options.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_whitespace()
        .position(|name| name == "PID")
        .with_context(|| format!("ps {} prints no column PID", options.join(" ")))?;
    writeln!(out, "{head}")?;
    for line in lines {
        let pid = line.split_whitespace().nth(column);
        let is_ours = pid
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid));
        if is_ours {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// `spec`.
pub(super) fn spec(args: &SpecArgs) -> anyhow::Result<()> {
    let spec = match args.rootless {
        true => example_spec_rootless(
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
        false => example_spec(),
    };
    let path = args.bundle.join("config.json");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    pretty(&mut file, &spec).with_context(|| format!("cannot write {}", path.display()))
}
