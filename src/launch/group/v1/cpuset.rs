//! Processors and memory nodes on v1, which a new group does not inherit.

use std::path::Path;

use oci_spec::runtime::LinuxCpu;

use crate::launch::group::GroupError;
use crate::launch::group::files::{line, set, write};

const CPUS: &str = "cpuset.cpus";
const MEMS: &str = "cpuset.mems";

/// Gives the new group at `dir` its processors and nodes: those that are asked for, or its parent's.
/// Without any, no process can enter it.
pub(super) fn prepare(dir: &Path, cpu: Option<&LinuxCpu>) -> Result<(), GroupError> {
    for (file, field, wanted) in wanted(cpu) {
        let Some(parent) = dir.parent() else { continue };
        let inherited = filled(parent, file)?;
        match wanted {
            Some(list) => set(dir, file, field, list)?,
            None => write(dir, file, &inherited)?,
        }
    }
    Ok(())
}

/// Changes those that are asked for.
pub(super) fn apply(dir: &Path, cpu: &LinuxCpu) -> Result<(), GroupError> {
    for (file, field, wanted) in wanted(Some(cpu)) {
        if let Some(list) = wanted {
            set(dir, file, field, list)?;
        }
    }
    Ok(())
}

type Wanted<'a> = (&'static str, &'static str, Option<&'a str>);

fn wanted(cpu: Option<&LinuxCpu>) -> [Wanted<'_>; 2] {
    let cpus = cpu.and_then(|cpu| cpu.cpus().as_deref());
    let mems = cpu.and_then(|cpu| cpu.mems().as_deref());
    [
        (CPUS, "cpu.cpus", cpus.filter(|list| !list.is_empty())),
        (MEMS, "cpu.mems", mems.filter(|list| !list.is_empty())),
    ]
}

/// The value of `file` in `dir`; where it is empty, as in a parent that has just been made, the
/// parent's is filled in first. The root's is never empty.
fn filled(dir: &Path, file: &str) -> Result<String, GroupError> {
    let value = line(dir, file).map_err(GroupError::io("reading", &dir.join(file)))?;
    if !value.is_empty() {
        return Ok(value);
    }
    let Some(parent) = dir.parent() else {
        return Ok(value);
    };
    let inherited = filled(parent, file)?;
    write(dir, file, &inherited)?;
    Ok(inherited)
}
