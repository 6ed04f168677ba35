//! Every setting of a configuration by its name: carried, carried more narrowly than it asks, or
//! refused. Nothing that a configuration says is dropped without a word.

use serde_json::{Map, Value};

use crate::launch::{Mechanism, State};

/// What becomes of a setting that says something.
#[derive(Debug, Clone, Copy)]
enum Handling {
    /// It is read elsewhere.
    Carried,
    /// A sandbox gives less than it asks, which the report says with these words.
    Narrowed(&'static str),
    /// The start is refused, with this advice.
    Refused(&'static str),
}

use Handling::{Carried, Narrowed, Refused};

type Table = [(&'static str, Handling)];

const TAKE_OUT: &str = "take it out";

const TOP: &Table = &[
    ("ociVersion", Carried),
    ("hostname", Carried),
    ("process", Carried),
    ("root", Carried),
    ("mounts", Carried),
    ("linux", Carried),
    (
        "annotations",
        Narrowed("they are for other programs; of them buntime.dev/network alone is read"),
    ),
    ("domainname", Refused(TAKE_OUT)),
    (
        "hooks",
        Refused("take them out: no program of a bundle runs outside of it"),
    ),
    ("windows", Refused(OTHER_SYSTEM)),
    ("solaris", Refused(OTHER_SYSTEM)),
    ("freebsd", Refused(OTHER_SYSTEM)),
    ("zos", Refused(OTHER_SYSTEM)),
    ("vm", Refused(OTHER_SYSTEM)),
];

const OTHER_SYSTEM: &str = "take it out: it is for another kind of system";

const PROCESS: &Table = &[
    ("args", Carried),
    ("env", Carried),
    ("cwd", Carried),
    ("user", Carried),
    ("rlimits", Carried),
    ("noNewPrivileges", Carried),
    (
        "terminal",
        Narrowed("--tty decides, and without it whether there is a terminal outside"),
    ),
    (
        "consoleSize",
        Narrowed("a terminal has the size of the one outside"),
    ),
    (
        "capabilities",
        Narrowed("no set has any, whatever is asked"),
    ),
    (
        "apparmorProfile",
        Refused("take it out, or start Buntime itself under the profile"),
    ),
    (
        "selinuxLabel",
        Refused("take it out, or start Buntime itself under the label"),
    ),
    (
        "oomScoreAdj",
        Refused("take it out, or set it for Buntime itself (choom)"),
    ),
    (
        "scheduler",
        Refused("take it out, or set it for Buntime itself (chrt)"),
    ),
    (
        "ioPriority",
        Refused("take it out, or set it for Buntime itself (ionice)"),
    ),
    (
        "execCPUAffinity",
        Refused("take it out, or set it for Buntime itself (taskset)"),
    ),
    ("commandLine", Refused(OTHER_SYSTEM)),
];

const USER: &Table = &[
    ("uid", Carried),
    ("gid", Carried),
    ("umask", Carried),
    (
        "additionalGids",
        Narrowed("there are no supplementary groups"),
    ),
    ("username", Refused(OTHER_SYSTEM)),
];

const LINUX: &Table = &[
    ("namespaces", Carried),
    ("devices", Carried),
    ("resources", Carried),
    ("seccomp", Carried),
    ("rootfsPropagation", Carried),
    ("maskedPaths", Carried),
    ("readonlyPaths", Carried),
    ("uidMappings", Narrowed(OWN_IDS)),
    ("gidMappings", Narrowed(OWN_IDS)),
    (
        "cgroupsPath",
        Narrowed("the run has a control group of its own, which is removed at its end"),
    ),
    ("sysctl", Refused(TAKE_OUT)),
    (
        "mountLabel",
        Refused("take it out, or start Buntime itself under the label"),
    ),
    ("intelRdt", Refused(TAKE_OUT)),
    ("personality", Refused(TAKE_OUT)),
    ("timeOffsets", Refused(TAKE_OUT)),
    (
        "netDevices",
        Refused("take it out: the network of a sandbox has no device of the host"),
    ),
    (
        "memoryPolicy",
        Refused("take it out, or set it for Buntime itself (numactl)"),
    ),
];

const OWN_IDS: &str = "a worker has one user and one group, which nobody else has";

const RESOURCES: &Table = &[
    ("devices", Carried),
    ("memory", Carried),
    ("cpu", Carried),
    ("pids", Carried),
    ("blockIO", Refused(NO_SUCH_LIMIT)),
    ("hugepageLimits", Refused(NO_SUCH_LIMIT)),
    ("network", Refused(NO_SUCH_LIMIT)),
    ("rdma", Refused(NO_SUCH_LIMIT)),
    ("unified", Refused(NO_SUCH_LIMIT)),
];

const NO_SUCH_LIMIT: &str = "take it out; memory.limit, cpu.quota and pids.limit are held";

const MEMORY: &Table = &[
    ("limit", Carried),
    // Nothing of a sandbox is swapped, and children count with their parents.
    ("swap", Carried),
    ("swappiness", Carried),
    ("useHierarchy", Carried),
    ("checkBeforeUpdate", Carried),
    ("reservation", Refused(NO_SUCH_LIMIT)),
    ("kernel", Refused(NO_SUCH_LIMIT)),
    ("kernelTCP", Refused(NO_SUCH_LIMIT)),
    ("disableOOMKiller", Refused(NO_SUCH_LIMIT)),
];

const CPU: &Table = &[
    ("quota", Carried),
    ("period", Carried),
    ("shares", Refused(NO_SUCH_LIMIT)),
    ("burst", Refused(NO_SUCH_LIMIT)),
    ("idle", Refused(NO_SUCH_LIMIT)),
    ("realtimeRuntime", Refused(NO_SUCH_LIMIT)),
    ("realtimePeriod", Refused(NO_SUCH_LIMIT)),
    ("cpus", Refused(NO_SUCH_LIMIT)),
    ("mems", Refused(NO_SUCH_LIMIT)),
];

/// The tables by the JSON Pointer of their objects.
const TABLES: &[(&str, &Table)] = &[
    ("", TOP),
    ("/process", PROCESS),
    ("/process/user", USER),
    ("/linux", LINUX),
    ("/linux/resources", RESOURCES),
    ("/linux/resources/memory", MEMORY),
    ("/linux/resources/cpu", CPU),
    ("/linux/resources/pids", &[("limit", Carried)]),
    ("/root", &[("path", Carried), ("readonly", Carried)]),
];

/// Looks at every setting, and says of each that is narrowed what becomes of it.
///
/// # Errors
/// The first setting that cannot be carried, and what to do.
pub(super) fn sort(configuration: &Value) -> Result<Vec<Mechanism>, String> {
    let mut remarks = Vec::new();
    for (pointer, table) in TABLES {
        let object = configuration.pointer(pointer).and_then(Value::as_object);
        if let Some(object) = object {
            sort_object(pointer, object, table, &mut remarks)?;
        }
    }
    Ok(remarks)
}

fn sort_object(
    pointer: &str,
    object: &Map<String, Value>,
    table: &Table,
    remarks: &mut Vec<Mechanism>,
) -> Result<(), String> {
    for (name, _) in object.iter().filter(|(_, value)| says_something(value)) {
        let path = format!("{pointer}/{name}").replace('/', ".");
        let path = path.trim_start_matches('.');
        match table.iter().find(|(known, _)| known == name) {
            Some((_, Carried)) => {}
            Some((_, Narrowed(how))) => remarks.push(remark(path, State::Partial, *how)),
            Some((_, Refused(advice))) => {
                return Err(format!("{path} is not carried; {advice}"));
            }
            // The specification forbids an error; the report says it.
            None => remarks.push(remark(path, State::None, "not known here, and not carried")),
        }
    }
    Ok(())
}

/// A remark on a setting, for the report.
pub(super) fn remark(setting: &str, state: State, detail: impl Into<String>) -> Mechanism {
    Mechanism {
        mechanism: format!("bundle: {setting}"),
        state,
        detail: detail.into(),
    }
}

/// Runtimes and tools write many settings that ask for nothing: empty, off, zero, or without limit.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number
            .as_f64()
            .is_none_or(|number| !(-1.0..=0.0).contains(&number)),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(says_something),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_asks_for_nothing_is_nothing() {
        let quiet = json!({
            "hooks": { "prestart": [] },
            "process": { "oomScoreAdj": 0, "apparmorProfile": "" },
            "linux": { "sysctl": {}, "resources": { "cpu": { "shares": 0 }, "blockIO": { "weight": 0 },
                "memory": { "reservation": -1, "disableOOMKiller": false } } }
        });
        assert_eq!(sort(&quiet), Ok(Vec::new()));
    }

    #[test]
    fn every_refusal_names_its_setting_and_advises() {
        for (pointer, table) in TABLES {
            for (name, handling) in table.iter() {
                let path = format!("{pointer}/{name}");
                let mut asked = json!({ *name: { "any": ["thing"] } });
                for outer in pointer.split('/').skip(1).collect::<Vec<_>>().iter().rev() {
                    asked = json!({ *outer: asked });
                }
                let setting = path.replace('/', ".");
                let setting = setting.trim_start_matches('.');
                match (handling, sort(&asked)) {
                    (Refused(advice), Err(said)) => {
                        assert_eq!(said, format!("{setting} is not carried; {advice}"));
                    }
                    (Narrowed(how), Ok(remarks)) => {
                        let wanted = remark(setting, State::Partial, *how);
                        assert!(remarks.contains(&wanted), "{path}: {remarks:?}");
                    }
                    (Carried, Ok(_)) => {}
                    (_, said) => panic!("{path}: {said:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_remarked() {
        let remarks = sort(&json!({ "linux": { "novelty": { "on": true } } })).unwrap();
        assert_eq!(remarks[0].mechanism, "bundle: linux.novelty");
        assert_eq!(remarks[0].state, State::None);
    }
}
