//! Where the report and the log are kept, and what the private /tmp has to do with the host's.

use std::fs;
use std::path::Path;

use crate::support::{Child, PYTHON, Scratch, alone, binary, buntime};

#[test]
fn reports_and_logs_below_tmp_are_the_hosts() {
    let _alone = alone();
    let scratch = Scratch::new();
    let (report, events) = (scratch.entry("report.json"), scratch.entry("events.jsonl"));
    // The same name inside is the worker's own.
    let forge = format!(
        "import os\nos.makedirs({0:?}, exist_ok=True)\nopen({1:?}, 'w').write('forged')\nprint('made')",
        scratch.path().display().to_string(),
        report
    );
    for flags in [&[][..], &["--allow-write=/tmp"][..]] {
        let run = buntime(["run", "--report", &report, "--events", &events]).args(flags);
        run.args(["-c", &forge]).run().prints("made\n");
        let text = fs::read_to_string(&report).expect("the report");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["exit"]["status"], 0, "{text}");
        let log = fs::read_to_string(&events).expect("the log");
        assert!(log.lines().count() > 1 && !log.contains("forged"), "{log}");
    }
    // Where the host's folder is shown writable, they could be forged.
    let writable = format!("--allow-write={0}", scratch.path().display());
    let readable = format!("--allow-read={0}", scratch.path().display());
    for (flag, file) in [("--report", &report), ("--events", &events)] {
        let run = buntime(["run", &writable, &readable, flag, file, "-c", "pass"]);
        let done = run.run().expect(125);
        assert!(done.stderr().contains("choose a place outside"), "{done}");
    }
}

/// A policy over a host path below /tmp, with the rules in between.
fn under(scratch: &Scratch, rules: &str) -> String {
    let text = format!(
        r#"{{"version": 1, "defaults": {{"fs": "deny", "net": "deny", "exec": "deny"}}, "fs": {{"rules": [{rules}]}}}}"#
    );
    scratch.file("policy.json", text.as_bytes())
}

#[test]
fn a_deny_never_shows_what_the_host_has() {
    let _alone = alone();
    let scratch = Scratch::new();
    let secret = scratch.file("data/secret", b"of the host");
    scratch.file("data/open", b"open to it");
    let data = scratch.entry("data");
    let read = |path: &str| format!("print(open({path:?}).read())");
    // The worker's own /tmp is allowed, and a part is denied of a name that the host has there too.
    for perms in ["make_reg", "write_file", "execute", "read_dir"] {
        for allowed in [
            "\"write_file\", \"write_dir\"",
            "\"read_file\", \"read_dir\"",
        ] {
            let policy = under(
                &scratch,
                &format!(
                    r#"{{"path": "/tmp", "action": "allow", "perms": [{allowed}]}},
                    {{"path": {secret:?}, "action": "deny", "perms": [{perms:?}]}}"#
                ),
            );
            let done = buntime(["run", "--policy", &policy, "-c", &read(&secret)]).run();
            assert!(
                !done.stdout().contains("of the host"),
                "{perms} of {allowed}\n{done}"
            );
            assert_ne!(done.status.code(), Some(0), "{done}");
        }
    }
    // Where it is allowed by name, what is denied below stays denied.
    let allow = format!("--allow-read={data}");
    let deny = format!("--deny-read={secret}");
    let open = format!("{data}/open");
    let done = buntime(["run", &allow, &deny, "-c", &read(&open)]).run();
    done.prints("open to it\n");
    let done = buntime(["run", &allow, &deny, "-c", &read(&secret)])
        .run()
        .expect(1);
    assert!(done.stderr().contains("PermissionError"), "{done}");
    // And a deny of what the worker's own place around it would let be made holds there too.
    let write = format!("import os\nos.makedirs({data:?})\nopen({secret:?}, 'w')");
    let done = buntime(["run", &format!("--deny-write={secret}"), "-c", &write])
        .run()
        .expect(1);
    assert!(done.stderr().contains("PermissionError"), "{done}");
    assert!(Path::new(&secret).exists());
}

/// What runs in the background of nobody's session may not change the terminal. The program has
/// been launched by then, and the records say so.
#[test]
fn a_failure_after_the_launch_is_recorded_as_an_end() {
    let _alone = alone();
    let scratch = Scratch::new();
    let (report, events) = (scratch.entry("report.json"), scratch.entry("events.jsonl"));
    let binary = binary().display().to_string();
    let code = format!(
        "
import fcntl, os, pty, sys, termios, time
ours, theirs = pty.openpty()
if os.fork() == 0:
    os.setsid()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    leader = os.fork()
    if leader == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            while os.getppid() == os.getpgid(0):
                time.sleep(0.01)
            os.dup2(theirs, 0)
            os.dup2(theirs, 1)
            os.execv({binary:?}, [{binary:?}, 'run', '--tty', 'always', '--report', {report:?},
                                  '--events', {events:?}, '--', '/bin/sleep', '600'])
        os._exit(0)
    os.waitpid(leader, 0)
    while not os.path.exists({report:?}) or os.path.getsize({report:?}) == 0:
        time.sleep(0.01)
    os._exit(0)
os.wait()
"
    );
    Child::new(PYTHON).args(["-c", &code]).run().expect(0);
    let text = fs::read_to_string(&report).expect("the report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["exit"]["cause"], "failure", "{text}");
    assert!(!report["enforced"].as_array().expect("a list").is_empty());
    let log = fs::read_to_string(&events).expect("the log");
    assert!(log.contains(r#""type":"exit""#), "{log}");
    assert!(!log.contains(r#""type":"refused""#), "{log}");
}
