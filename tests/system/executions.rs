//! Executions that are decided as they are made: which programs run, which are warned of, asked about
//! or compared by their digest, and that the dynamic loader runs none of the others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[cfg(target_arch = "x86_64")]
use crate::support::elf::{self, At};
use crate::support::{
    Child, Finished, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp, recorded,
};

const HELD: &str = concat!(
    include_str!("terminal/person.py"),
    include_str!("executions/held.py")
);

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

    fn add(&self, name: &str, bytes: &[u8]) {
        let path = format!("{}/{name}", self.0);
        fs::write(&path, bytes).expect("a program");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode is changed");
    }

    fn digest(&self, name: &str) -> String {
        let bytes = fs::read(format!("{}/{name}", self.0)).expect("a program");
        let digest = Sha256::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0);
        }
    }
}

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    User,
}

const EVERYBODY: [Who; 2] = [Who::Root, Who::User];

/// Runs a shell line under this policy, and gives what came of it and what was recorded.
fn shell(policy: &Value, line: &str) -> (Finished, Vec<Value>) {
    run(Who::Root, policy, &["/bin/sh", "-c", line])
}

fn run(who: Who, policy: &Value, command: &[&str]) -> (Finished, Vec<Value>) {
    let scratch = Scratch::new();
    let file = scratch.file("p.json", policy.to_string().as_bytes());
    let home = scratch.home();
    let log = format!("{home}/events.jsonl");
    let child = match who {
        Who::Root => Child::new(binary()),
        Who::User => Child::new(scratch.binary()).of_user(&home),
    };
    let flags = ["run", "--policy", &file, "--events", &log];
    let done = child.args(flags).arg("--").args(command).clean_path().run();
    let events = recorded(&log);
    (done, events)
}

/// The decisions about a program of the tools.
fn decisions(events: &[Value], target: &str) -> Vec<[String; 2]> {
    let named = |event: &&Value| {
        let about = event["target"].as_str();
        event["type"] == "decision" && about.is_some_and(|about| about.ends_with(target))
    };
    let text = |value: &Value| value.as_str().expect("a word").to_owned();
    let events = events.iter().filter(named);
    events
        .map(|event| [text(&event["verdict"]), text(&event["answer"])])
        .collect()
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

#[test]
fn what_is_warned_of_runs_and_what_nobody_answers_for_does_not() {
    let _alone = alone();
    if !is_root("what_is_warned_of_runs_and_what_nobody_answers_for_does_not") {
        return;
    }
    let tools = Tools::new("executions-warned");
    let here = &tools.0;
    let line = format!("{here}/good.bin; echo $?; {here}/good.sh.bin; echo $?");
    let rule = |action: &str| {
        policy(
            &tools,
            &json!([{"action": action, "path": format!("{here}/*.bin")}]),
        )
    };
    for who in EVERYBODY {
        let (done, events) = run(who, &rule("warn"), &["/bin/sh", "-c", &line]);
        assert_eq!(done.stdout(), "0\na script\n0\n", "{who:?}: {done}");
        let said = format!("warning: run {here}/good.bin (rule exec[0]");
        assert!(done.stderr().contains(&said), "{who:?}: {done}");
        for program in ["/good.bin", "/good.sh.bin"] {
            let warned = [["warn".to_owned(), "allowed".to_owned()]];
            assert_eq!(decisions(&events, program), warned, "{who:?}: {events:#?}");
        }
        let (done, events) = run(who, &rule("ask"), &["/bin/sh", "-c", &line]);
        assert_eq!(done.stdout(), "126\n126\n", "{who:?}: {done}");
        let denied = [["ask".to_owned(), "denied".to_owned()]];
        assert_eq!(
            decisions(&events, "/good.bin"),
            denied,
            "{who:?}: {events:#?}"
        );
    }
}

#[test]
fn a_digest_is_of_what_is_executed() {
    let _alone = alone();
    if !is_root("a_digest_is_of_what_is_executed") {
        return;
    }
    let tools = Tools::new("executions-digest");
    let here = &tools.0;
    tools.add("sh", &fs::read("/bin/sh").expect("a shell"));
    tools.add("script", format!("#!{here}/sh\necho a script\n").as_bytes());
    fs::copy(format!("{here}/good.bin"), format!("{here}/same")).expect("a copy");
    let line = format!(
        "{here}/good.bin; echo $?; {here}/same; echo $?; {here}/other; echo $?; {here}/script; echo $?"
    );
    let (good, shell) = (tools.digest("good.bin"), tools.digest("sh"));
    let rules = |shell: &str| {
        json!([
            {"action": "allow", "path": format!("{here}/**"), "sha256": good},
            {"action": "allow", "path": format!("{here}/script"), "sha256": tools.digest("script")},
            {"action": "allow", "path": format!("{here}/sh"), "sha256": shell},
        ])
    };
    let denied = json!([{"action": "deny", "path": "/**", "sha256": good}]);
    for who in EVERYBODY {
        let command = ["/bin/sh", "-c", &line];
        let (done, _) = run(who, &policy(&tools, &rules(&shell)), &command);
        assert_eq!(done.stdout(), "0\n0\n126\na script\n0\n", "{who:?}: {done}");
        // The interpreter of a script is what is executed.
        let (done, _) = run(who, &policy(&tools, &rules(&good)), &command);
        assert_eq!(done.stdout(), "0\n0\n126\n126\n", "{who:?}: {done}");
        let mut all = policy(&tools, &denied);
        all["defaults"]["exec"] = json!("allow");
        let (done, _) = run(who, &all, &command);
        assert!(
            done.stdout().starts_with("126\n126\nuid="),
            "{who:?}: {done}"
        );
        // What was chosen on the command line does not start against it.
        let (done, _) = run(who, &all, &[&format!("{here}/same")]);
        assert_eq!(
            done.status.code(),
            Some(126),
            "{who:?}: it was not denied: {done}"
        );
        run(who, &all, &[&format!("{here}/other")]).0.expect(0);
    }
}

/// Its interpreter reads a script again, so that its digest says nothing where it can be changed.
#[test]
fn a_script_that_can_be_changed_has_no_digest() {
    let _alone = alone();
    if !is_root("a_script_that_can_be_changed_has_no_digest") {
        return;
    }
    let tools = Tools::new("executions-script");
    let here = &tools.0;
    let other = "0".repeat(64);
    let rules = json!([{"action": "deny", "path": format!("{here}/good*"), "sha256": other}]);
    let mut fixed = policy(&tools, &rules);
    fixed["defaults"]["exec"] = json!("allow");
    let mut writable = fixed.clone();
    let perms = json!(["read_file", "read_dir", "execute", "write_file"]);
    writable["fs"]["rules"][0]["perms"] = perms;
    let line = format!("{here}/good.sh.bin; echo $?; {here}/good.bin; echo $?");
    for who in EVERYBODY {
        let command = ["/bin/sh", "-c", &line];
        let (done, _) = run(who, &fixed, &command);
        assert_eq!(done.stdout(), "a script\n0\n0\n", "{who:?}: {done}");
        let (done, _) = run(who, &writable, &command);
        assert_eq!(
            done.stdout(),
            "126\n0\n",
            "{who:?}: it was not denied: {done}"
        );
    }
}

/// Executes the descriptor of a memory file with a program in it, and each path, and says how.
const OTHER_WAYS: &str = r#"
import os, sys
def run(what):
    process = os.fork()
    if process == 0:
        try:
            os.execve(what, ["program", sys.argv[1]], {})
        except OSError as error:
            os._exit(200 + error.errno)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
memory = os.memfd_create("program", 0)
with open(sys.argv[1], "rb") as program:
    os.write(memory, program.read())
run(memory)
run(f"/proc/self/fd/{memory}")
for path in sys.argv[2:]:
    run(path)
    run(os.open(path, os.O_PATH))
"#;

#[test]
fn what_has_no_name_and_every_form_of_the_loader_is_denied() {
    let _alone = alone();
    if !is_root("what_has_no_name_and_every_form_of_the_loader_is_denied") {
        return;
    }
    let tools = Tools::new("executions-nameless");
    let here = &tools.0;
    tools.add("copy", &fs::read(LOADER).expect("a loader"));
    fs::hard_link(format!("{here}/copy"), format!("{here}/hard")).expect("a link");
    std::os::unix::fs::symlink(LOADER, format!("{here}/link")).expect("a link");
    let mut policy = policy(&tools, &json!([{"action": "warn", "path": here}]));
    policy["defaults"]["exec"] = json!("allow");
    let good = format!("{here}/good.bin");
    let ways = [LOADER.to_owned()]
        .into_iter()
        .chain(["copy", "hard", "link"].map(|name| format!("{here}/{name}")));
    let ways: Vec<String> = ways.collect();
    for who in EVERYBODY {
        let mut command = vec![PYTHON, "-I", "-c", OTHER_WAYS, &good];
        command.extend(ways.iter().map(String::as_str));
        let (done, _) = run(who, &policy, &command);
        let denied = "213\n".repeat(2 + 2 * ways.len());
        assert_eq!(done.stdout(), denied, "{who:?}: it was not denied: {done}");
    }
}

/// Whoever starts them, programs that may run have the loaders that they name.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_static_program_starts_whatever_may_run() {
    let _alone = alone();
    if !is_root("a_static_program_starts_whatever_may_run") {
        return;
    }
    let tools = Tools::new("executions-static");
    let here = &tools.0;
    tools.add("launch", &elf::starting());
    tools.add("sh", &fs::read("/bin/sh").expect("a shell"));
    tools.add("script", format!("#!{here}/sh\necho a script\n").as_bytes());
    let launch = format!("{here}/launch");
    let allowed = |name: &str| json!({"action": "allow", "path": name});
    let script = format!("{here}/script");
    let other = format!("{here}/other");
    for who in EVERYBODY {
        let started = |rule: &Value, live: bool, command: &[&str]| {
            let mut rules = vec![allowed(&launch), rule.clone()];
            if live {
                rules.push(json!({"action": "warn", "path": format!("{here}/nothing")}));
            }
            let command = [&[&*launch], command].concat();
            run(who, &policy(&tools, &json!(rules)), &command).0
        };
        for live in [false, true] {
            let done = started(&allowed("/usr/bin/true"), live, &["/usr/bin/true"]);
            assert_eq!(done.status.code(), Some(0), "{who:?} {live}: {done}");
            for rule in ["/usr/bin", "/usr/bin/t*"] {
                let done = started(&allowed(rule), live, &["/usr/bin/true"]);
                assert_eq!(done.status.code(), Some(0), "{who:?} {rule}: {done}");
            }
            let done = started(&allowed(here), live, &[&script]);
            assert_eq!(done.stdout(), "a script\n", "{who:?} {live}: {done}");
            // An interpreter runs whatever it is told to, and not this script alone.
            let done = started(&allowed(&script), live, &[&script]);
            assert_eq!(done.status.code(), Some(13), "it was not denied: {done}");
            // By the loader nothing more is to be had.
            let done = started(&allowed("/usr/bin/true"), live, &[LOADER, &other]);
            let failed = done.status.code() != Some(0) && done.stdout().is_empty();
            assert!(failed, "{who:?} {live}: it was not denied: {done}");
        }
    }
}

/// What a program names is shown with it, unless the worker may have written that, or it is none.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_a_program_names_is_shown_where_it_is_a_loader() {
    let _alone = alone();
    if !is_root("what_a_program_names_is_shown_where_it_is_a_loader") {
        return;
    }
    let tools = Tools::new("executions-naming");
    let hidden = Tools::new("executions-named");
    let loader = format!("{}/loader", hidden.0);
    hidden.add("loader", &fs::read(LOADER).expect("a loader"));
    hidden.add("text", b"a text\n");
    let text = format!("{}/text", hidden.0);
    let naming = |path: &str| elf::ending(3, At::Program, Some(path));
    tools.add("tool", &naming(&loader));
    tools.add("of-text", &naming(&text));
    let folder = format!("{}/written", tools.0);
    fs::create_dir(&folder).expect("a folder");
    tools.add("written/tool", &naming(&loader));
    let written = json!({"action": "allow", "path": folder});
    for (tool, named, shown) in [
        ("tool", &loader, true),
        ("of-text", &text, false),
        ("written/tool", &loader, false),
    ] {
        let rules = json!([{"action": "allow", "path": format!("{}/{tool}", tools.0)}]);
        let mut policy = policy(&tools, &rules);
        let files = policy["fs"]["rules"].as_array_mut().expect("rules");
        files.push(written.clone());
        let (done, _) = run(Who::Root, &policy, &["/usr/bin/cmp", named, named]);
        let same = done.status.code() == Some(0);
        assert_eq!(same, shown, "{tool}: it was not denied: {done}");
    }
}

/// What is said of a program holds for the file, whatever name it is run by.
#[test]
fn another_name_of_a_program_is_asked_about_too() {
    let _alone = alone();
    if !is_root("another_name_of_a_program_is_asked_about_too") {
        return;
    }
    let tools = Tools::new("executions-linked");
    let here = &tools.0;
    fs::hard_link(format!("{here}/good.bin"), format!("{here}/alias")).expect("a link");
    let rules = json!([
        {"action": "allow", "path": here},
        {"action": "ask", "path": format!("{here}/good.bin")},
    ]);
    for who in EVERYBODY {
        let line = format!("{here}/alias; echo $?; {here}/other > /dev/null; echo $?");
        let (done, _) = run(who, &policy(&tools, &rules), &["/bin/sh", "-c", &line]);
        assert_eq!(
            done.stdout(),
            "126\n0\n",
            "{who:?}: it was not denied: {done}"
        );
    }
}

#[test]
fn a_program_is_held_until_somebody_answers() {
    let _alone = alone();
    if !is_root("a_program_is_held_until_somebody_answers") {
        return;
    }
    let tools = Tools::new("executions-held");
    let here = &tools.0;
    for name in ["evil.bin", "fine.bin"] {
        fs::copy("/usr/bin/true", format!("{here}/{name}")).expect("a copy");
    }
    fs::create_dir(format!("{here}/w")).expect("a folder");
    let mode = fs::Permissions::from_mode(0o777);
    fs::set_permissions(format!("{here}/w"), mode).expect("its mode is changed");
    let mut policy = policy(
        &tools,
        &json!([
            {"action": "ask", "path": format!("{here}/good.bin")},
            {"action": "allow", "path": format!("{here}/fine.bin")},
            {"action": "allow", "path": format!("{here}/evil.bin"), "sha256": "0".repeat(64)},
        ]),
    );
    let files = policy["fs"]["rules"].as_array_mut().expect("rules");
    let perms = ["read_file", "read_dir", "write_file", "write_dir"];
    files.push(json!({"action": "allow", "path": format!("{here}/w"), "perms": perms}));
    policy["approval"] = json!({"timeout": "60s"});
    tools.add("ask.json", policy.to_string().as_bytes());
    for who in EVERYBODY {
        let scratch = Scratch::new();
        let person = Child::new(PYTHON).args(["-I", "-c", HELD, &scratch.binary(), here]);
        let person = match who {
            Who::Root => person,
            Who::User => person.of_user(&scratch.home()),
        };
        let person = person.clean_path().deadline(Duration::from_secs(200));
        person.run().prints("all held\n");
        for entry in fs::read_dir(format!("{here}/w")).expect("a folder") {
            fs::remove_file(entry.expect("an entry").path()).expect("it is removed");
        }
    }
}
