//! The attacks on the runtime itself, which are made from outside.

use super::{Attack, Control};

/// What stands before each of their programs.
pub(in crate::cli::attest) const HARNESS: &str =
    include_str!("../../../../tests/attacks/runtime.py");
/// The runtime without fences that they succeed on.
pub(in crate::cli::attest) const CARELESS: &str =
    include_str!("../../../../tests/attacks/careless.py");

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/attacks/", $name))
    };
}

const fn on(
    lines: &'static [u8],
    name: &'static str,
    fence: &'static str,
    program: &'static str,
) -> Attack {
    let mut attack = Attack::new(lines, name, fence, program);
    attack.control = Control::Runtime;
    attack
}

pub(super) static RUNTIME: &[Attack] = &[
    on(
        &[1],
        "runtime file",
        "a runtime that runs from where nobody can write",
        file!("runtime_file.py"),
    ),
    on(
        &[3],
        "missing files",
        "the interceptor; masks that are watched",
        file!("missing_files.py"),
    ),
    on(
        &[4],
        "swapped devices",
        "devices opened without links, known by their number",
        file!("swapped_devices.py"),
    ),
    on(
        &[5],
        "redirected writes",
        "a procfs of its own that nothing covers",
        file!("redirected_writes.py"),
    ),
    on(
        &[6],
        "mount targets",
        "paths resolved by descriptors in the root",
        file!("mount_targets.py"),
    ),
    on(
        &[7],
        "ids",
        "an id is checked before anything else",
        file!("ids.py"),
    ),
    on(
        &[8],
        "reused pids",
        "a pidfd and the time of a start",
        file!("reused_pids.py"),
    ),
    on(
        &[10],
        "groups of containers",
        "read-only mounts of the container's own groups",
        file!("container_groups.py"),
    ),
    on(
        &[11],
        "killed runtime",
        "filters before the program; death signals",
        file!("killed_runtime.py"),
    ),
];
