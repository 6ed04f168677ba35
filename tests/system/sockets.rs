//! Unix sockets with names where writing is decided call by call: the same servers and clients inside
//! as outside, but for what the policy denies.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Child, Finished, PYTHON, Scratch, USER, alone, binary, is_root, outside_of_tmp, recorded,
};

const CALLS: &str = include_str!("sockets/calls.py");
const STREAMS: &str = include_str!("sockets/streams.py");

/// What the policy denies inside, where the kernel alone would say something else.
const DENIED: &str = "denied ";

/// A folder with sockets of the host, removed at the end.
struct Tree {
    root: String,
    /// How often somebody came to a socket that may not be reached.
    reached: Arc<AtomicUsize>,
}

impl Tree {
    fn new(name: &str) -> Tree {
        let root = outside_of_tmp().join(format!("sockets-{name}-{}", std::process::id()));
        let root = root.display().to_string();
        for folder in ["", "/ok", "/no", "/read"] {
            let folder = format!("{root}{folder}");
            fs::create_dir_all(&folder).expect("a folder");
            open_to_all(&folder);
        }
        fs::write(format!("{root}/calls.py"), CALLS).expect("a file");
        fs::write(format!("{root}/ok/file"), "content").expect("a file");
        open_to_all(&format!("{root}/ok/file"));
        let tree = Tree {
            root,
            reached: Arc::default(),
        };
        for (name, counts) in [
            ("host.sock", false),
            ("no.sock", true),
            ("read/host.sock", true),
        ] {
            tree.listen(name, counts);
        }
        for (name, counts) in [("host.dgram", false), ("no.dgram", true)] {
            tree.receive(name, counts);
        }
        for (link, aim) in [
            ("link", "ok"),
            ("link-to-no", "no"),
            ("link-to-no.sock", "no.sock"),
            ("link-to-no.dgram", "no.dgram"),
            ("link-to-read.sock", "read/host.sock"),
            ("link-to-host.sock", "host.sock"),
            ("ok/loop", "loop"),
        ] {
            symlink(aim, tree.entry(link)).expect("a link");
        }
        fs::hard_link(tree.entry("no.sock"), tree.entry("hard.sock")).expect("a link");
        tree
    }

    fn entry(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    fn counter(&self, counts: bool) -> Arc<AtomicUsize> {
        match counts {
            true => Arc::clone(&self.reached),
            false => Arc::default(),
        }
    }

    /// Says hello to everybody who connects.
    fn listen(&self, name: &str, counts: bool) {
        let listener = UnixListener::bind(self.entry(name)).expect("a socket");
        open_to_all(&self.entry(name));
        let reached = self.counter(counts);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                reached.fetch_add(1, Ordering::SeqCst);
                // Some leave at once, without listening.
                drop(stream.write_all(b"hello"));
            }
        });
    }

    fn receive(&self, name: &str, counts: bool) {
        let receiver = UnixDatagram::bind(self.entry(name)).expect("a socket");
        open_to_all(&self.entry(name));
        let reached = self.counter(counts);
        std::thread::spawn(move || {
            while receiver.recv(&mut [0; 8]).is_ok() {
                reached.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    fn policy(&self, more: &[Value]) -> Value {
        let all = ["read_file", "read_dir", "write_file", "write_dir"];
        let writes = ["write_file", "write_dir"];
        let deny =
            |name: &str| json!({"action": "deny", "path": self.entry(name), "perms": writes});
        let mut rules = vec![
            json!({"action": "allow", "path": self.root, "perms": all}),
            deny("read"),
            deny("no.sock"),
            deny("**/no*"),
        ];
        rules.extend_from_slice(more);
        json!({
            "version": 1,
            "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
            "fs": {"rules": rules},
            "audit": {"enabled": true}
        })
    }

    /// What the program of all calls prints.
    fn calls(&self, command: Child) -> Vec<(String, String)> {
        let done = command
            .args([&self.entry("calls.py"), &self.root])
            .run()
            .expect(0);
        let lines = done.stdout();
        let found: Vec<_> = lines
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
            .collect();
        assert!(found.len() > 130, "{done}");
        found
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{} stays: {error}", self.root);
        }
    }
}

fn open_to_all(path: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("the mode can be set");
}

#[test]
fn with_names_are_used_inside_as_outside_but_for_what_is_denied() {
    let _alone = alone();
    if !is_root("with_names_are_used_inside_as_outside_but_for_what_is_denied") {
        return;
    }
    let outside = Tree::new("outside");
    let user = ["--reuid", &USER.to_string(), "--clear-groups", "--", PYTHON];
    let expected = outside.calls(Child::new("setpriv").args(user));
    assert!(outside.reached.load(Ordering::SeqCst) > 10);
    for of_user in [false, true] {
        let scratch = Scratch::new();
        let inside = Tree::new("inside");
        let policy = scratch.file("p.json", inside.policy(&[]).to_string().as_bytes());
        let run = Child::new(scratch.binary()).clean_path();
        let run = run.args(["run", "--policy", &policy, "--quiet"]);
        // With the hook of the Python worker, and without.
        let run = match of_user {
            true => run.args(["--", PYTHON]).of_user(&scratch.home()),
            false => run.current_dir("/"),
        };
        let found = inside.calls(run);
        assert_eq!(found.len(), expected.len());
        for ((name, outcome), (_, outside)) in found.iter().zip(&expected) {
            let denied = name.starts_with(DENIED);
            let expected = match (denied, &**name) {
                (_, "denied and replaced") => "['EACCES']",
                (true, _) => "EACCES",
                (false, _) => outside,
            };
            assert_eq!(outcome, expected, "{name}, of a user: {of_user}");
            assert!(!denied || outside != "EACCES", "{name} shows nothing");
        }
        assert_eq!(inside.reached.load(Ordering::SeqCst), 0);
        let nothing = ["ok/nothing", "no/here"].map(|name| inside.entry(name));
        assert!(
            nothing
                .iter()
                .all(|path| !fs::exists(path).expect("a folder"))
        );
    }
}

#[test]
fn connections_that_a_rule_warns_of_are_recorded() {
    let _alone = alone();
    if !is_root("connections_that_a_rule_warns_of_are_recorded") {
        return;
    }
    let (scratch, tree) = (Scratch::new(), Tree::new("warned"));
    let warn = json!({"action": "warn", "path": tree.entry("host.sock"), "perms": ["write_file"]});
    let policy = scratch.file("p.json", tree.policy(&[warn]).to_string().as_bytes());
    let log = scratch.entry("events.jsonl");
    let code = "import os, socket, sys\n\
                client = socket.socket(socket.AF_UNIX)\n\
                try: client.connect(sys.argv[1])\n\
                except OSError as error: print(error.errno)\n\
                else: print(client.recv(16))\n";
    let connect = |name: &str| -> Finished {
        let flags = [
            "run", "--policy", &policy, "--events", &log, "--quiet", "--",
        ];
        let run = Child::new(binary()).clean_path().args(flags);
        run.args([PYTHON, "-c", code, &tree.entry(name)]).run()
    };
    connect("host.sock").prints("b'hello'\n");
    let verdicts = |name: &str| {
        let target = tree.entry(name);
        let of_target = |event: &Value| event["target"] == target.as_str();
        let events = recorded(&log).into_iter().filter(of_target);
        events
            .map(|event| event["verdict"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts("host.sock"), ["\"warn\""]);
    connect("no.sock").prints("13\n");
    assert_eq!(verdicts("no.sock"), ["\"deny\""]);
}

/// A caller that would wait in the kernel is not told that less was sent than would have been there.
#[test]
fn a_stream_takes_of_a_message_what_it_takes_outside() {
    let _alone = alone();
    if !is_root("a_stream_takes_of_a_message_what_it_takes_outside") {
        return;
    }
    let (scratch, tree) = (Scratch::new(), Tree::new("streams"));
    let policy = scratch.file("p.json", tree.policy(&[]).to_string().as_bytes());
    let run = ["run", "--policy", &policy, "--quiet", "--", PYTHON];
    let inside = Child::new(binary()).clean_path().args(run);
    let expected = Child::new(PYTHON).args(["-I", "-c", STREAMS]).run();
    let found = inside.args(["-I", "-c", STREAMS]).run();
    let [expected, found] = [expected, found].map(|done| done.expect(0).stdout());
    assert_eq!(expected.lines().count(), 16, "{expected}");
    assert_eq!(found, expected);
}
