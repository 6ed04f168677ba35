//! `update`'s flags as the specification's `resources`.

use std::io::Read;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::args::UpdateArgs;

/// The resources that are to be changed, as JSON: those of the file, with the flags over them.
pub(super) fn resources(args: &UpdateArgs) -> anyhow::Result<Value> {
    let mut resources = match &args.resources {
        None => json!({}),
        Some(path) => {
            let text = match path.as_os_str() == "-" {
                true => {
                    let mut text = Vec::new();
                    std::io::stdin()
                        .read_to_end(&mut text)
                        .context("cannot read standard input")?;
                    text
                }
                false => std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
            };
            serde_json::from_slice(&text).with_context(|| format!("{}: no JSON", path.display()))?
        }
    };
    let mut set = |group: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            resources[group][key] = value;
        }
    };
    set("blockIO", "weight", args.blkio_weight.map(Value::from));
    set("cpu", "period", args.cpu_period.map(Value::from));
    set("cpu", "quota", args.cpu_quota.map(Value::from));
    set("cpu", "burst", args.cpu_burst.map(Value::from));
    set("cpu", "shares", args.cpu_share.map(Value::from));
    set("cpu", "realtimePeriod", args.cpu_rt_period.map(Value::from));
    set(
        "cpu",
        "realtimeRuntime",
        args.cpu_rt_runtime.map(Value::from),
    );
    set("cpu", "cpus", args.cpuset_cpus.clone().map(Value::from));
    set("cpu", "mems", args.cpuset_mems.clone().map(Value::from));
    set("cpu", "idle", args.cpu_idle.map(Value::from));
    set("pids", "limit", args.pids_limit.map(Value::from));
    let size = |flag: &str, text: &Option<String>| {
        let bytes = text.as_deref().map(|text| bytes(flag, text)).transpose()?;
        anyhow::Ok(bytes.map(Value::from))
    };
    set("memory", "limit", size("--memory", &args.memory)?);
    let reservation = size("--memory-reservation", &args.memory_reservation)?;
    set("memory", "reservation", reservation);
    set("memory", "swap", size("--memory-swap", &args.memory_swap)?);
    Ok(resources)
}

/// `512M` in bytes; -1 is no limit.
fn bytes(flag: &str, text: &str) -> anyhow::Result<i64> {
    let lower = text.trim().to_ascii_lowercase();
    if lower == "-1" {
        return Ok(-1);
    }
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => bail!("{flag} {text}: no size such as 4096, 512M or -1"),
    };
    digits
        .parse::<i64>()
        .ok()
        .filter(|number| *number >= 0)
        .and_then(|number| number.checked_mul(factor))
        .with_context(|| format!("{flag} {text}: no size such as 4096, 512M or -1"))
}
