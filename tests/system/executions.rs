//! Executions that are decided as they are made: which programs run, and that the dynamic loader runs
//! none of the others.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Child, Finished, Scratch, alone, binary, is_root, outside_of_tmp, recorded};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// A folder of programs outside of /tmp, removed at the end.
struct Tools(String);

impl Tools {
    fn new(test: &str) -> Tools {
        let folder = outside_of_tmp().join(format!("{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, program) in [("good.bin", "true"), ("other", "id")] {
            fs::copy(format!("/usr/bin/{program}"), folder.join(name)).expect("a copy");
        }
        fs::write(folder.join("good.sh.bin"), "#!/bin/sh\necho a script\n").expect("a script");
        let script = folder.join("good.sh.bin");
        let mode = fs::metadata(folder.join("good.bin"))
            .expect("a file")
            .permissions();
        fs::set_permissions(script, mode).expect("its mode is changed");
        Tools(folder.display().to_string())
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0);
        }
    }
}

/// Runs a shell line under this policy, and gives what came of it and what was recorded.
fn shell(policy: &Value, line: &str) -> (Finished, Vec<Value>) {
    let scratch = Scratch::new();
    let file = scratch.file("p.json", policy.to_string().as_bytes());
    let log = scratch.entry("events.jsonl");
    let flags = ["run", "--policy", &file, "--events", &log, "--quiet"];
    let done = Child::new(binary())
        .args(flags)
        .args(["--", "/bin/sh", "-c", line])
        .run();
    let events = recorded(&log);
    (done, events)
}

fn policy(tools: &Tools, exec: &Value) -> Value {
    json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
        "fs": {"rules": [{"action": "allow", "path": tools.0, "perms": ["read_file", "read_dir", "execute"]}]},
        "exec": {"rules": exec},
        "audit": {"enabled": true}
    })
}

#[test]
fn a_pattern_lets_run_what_it_names_and_nothing_else() {
    let _alone = alone();
    if !is_root("a_pattern_lets_run_what_it_names_and_nothing_else") {
        return;
    }
    let tools = Tools::new("executions-pattern");
    let here = &tools.0;
    let policy = policy(
        &tools,
        &json!([
            {"action": "allow", "path": format!("{here}/*.bin")}
        ]),
    );
    let line = format!(
        "{here}/good.bin; echo $?; {here}/good.sh.bin; {here}/other; echo $?; \
         {LOADER} {here}/other; echo $?; {LOADER} {here}/good.bin; echo $?"
    );
    let (done, events) = shell(&policy, &line);
    assert_eq!(done.stdout(), "0\na script\n126\n126\n126\n", "{done}");
    let denied = |target: &str| {
        let of_target = |event: &&Value| {
            event["type"] == "decision"
                && event["verdict"] == "deny"
                && event["target"]
                    .as_str()
                    .is_some_and(|named| named.ends_with(target))
        };
        events.iter().filter(of_target).count()
    };
    assert_eq!(
        (denied("/other"), denied("ld-linux-x86-64.so.2")),
        (1, 2),
        "{events:#?}"
    );
}

/// With reading decided live no mount hides the programs in library directories, and the same rules
/// do.
#[test]
fn programs_of_libraries_stay_hidden_where_reading_is_decided() {
    let _alone = alone();
    if !is_root("programs_of_libraries_stay_hidden_where_reading_is_decided") {
        return;
    }
    const HELPER: &str = "/usr/lib/git-core/git";
    let tools = Tools::new("executions-helpers");
    let mut policy = policy(
        &tools,
        &json!([
            {"action": "allow", "path": format!("{}/good.bin", tools.0)}
        ]),
    );
    let line = format!("{HELPER} --version; {LOADER} {HELPER} --version; echo $?");
    let (done, _) = shell(&policy, &line);
    assert!(!done.stdout().contains("git version"), "{done}");
    policy["audit"] = json!({"enabled": true, "events": ["fs"]});
    let (done, _) = shell(&policy, &line);
    assert!(!done.stdout().contains("git version"), "{done}");
    assert!(done.stdout().ends_with("127\n"), "{done}");
}
