//! `run --learn`: what a program does becomes a policy, and the program passes under it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Child, Finished, alone, buntime, outside_of_tmp};

/// A folder that is not below /tmp, with one for the program, which it may write.
struct Ground {
    root: PathBuf,
    file: String,
    data: String,
}

impl Ground {
    fn new() -> Ground {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("learning-{}-{number}", std::process::id());
        let root = outside_of_tmp().join(name);
        let entry = |name: &str| root.join(name).display().to_string();
        let (file, data) = (entry("learned.json"), entry("data"));
        for folder in [&data, &entry("other")] {
            fs::create_dir_all(folder).expect("a folder can be made");
        }
        for (name, text) in [
            ("data/one.txt", "1"),
            ("data/two.txt", "2"),
            ("other/secret", "s"),
        ] {
            fs::write(entry(name), text).expect("a file can be written");
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777))
            .expect("the data can be opened to all");
        Ground { root, file, data }
    }

    fn entry(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.entry(name), text).expect("a file can be written");
        self.entry(name)
    }

    /// A run of this code that is learned from.
    fn learn(&self, code: &str) -> Finished {
        self.learning(&["-c", code]).run()
    }

    fn learning(&self, rest: &[&str]) -> Child {
        let read = format!("--allow-read={}", self.data);
        let write = format!("--allow-write={}", self.data);
        let run = buntime(["run", "--learn", &self.file, &read, &write]);
        run.current_dir("/tmp").args(rest)
    }

    fn under(&self, code: &str) -> Finished {
        let run = buntime(["run", "--policy", &self.file, "-c", code]);
        run.current_dir("/tmp").run()
    }

    fn learned(&self) -> String {
        fs::read_to_string(&self.file).expect("a policy was written")
    }

    fn rules(&self) -> Vec<(String, Vec<String>)> {
        let document: serde_json::Value =
            serde_json::from_str(&self.learned()).expect("the policy is JSON");
        let rules = document["fs"]["rules"].as_array().cloned();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let rule = |rule: &serde_json::Value| {
            let perms = rule["perms"].as_array().cloned().unwrap_or_default();
            (text(&rule["path"]), perms.iter().map(text).collect())
        };
        rules.iter().flatten().map(rule).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{} stays behind: {error}", self.root.display());
        }
    }
}

/// What ordinary programs do, in a folder that it gets by its name.
const WORK: &str = r#"
import json, os, sqlite3, subprocess, sys, tempfile
data = DATA
result = [open(data + '/one.txt').read(), open(data + '/two.txt').read()]
descriptor, new = tempfile.mkstemp(dir=data)
with os.fdopen(descriptor, 'w') as file:
    json.dump(result, file)
os.chmod(new, 0o644)
os.replace(new, data + '/result.json')
with open(data + '/result.json') as file:
    result = json.load(file)
os.makedirs(data + '/parts/0', exist_ok=True)
with open(data + '/parts/0/part', 'w') as file:
    file.write('part')
base = sqlite3.connect(data + '/base')
base.execute('pragma journal_mode=delete')
base.execute('create table if not exists kept (one)')
base.execute('insert into kept values (1)')
base.commit()
base.close()
result.append(sorted(name for name in os.listdir(data) if not name.startswith('tmp')))
run = dict(capture_output=True, text=True, check=True)
result.append(subprocess.run('cat ' + data + '/one.txt | wc -c', shell=True, **run).stdout.strip())
with tempfile.TemporaryDirectory() as own:
    tool = own + '/tool'
    with open(tool, 'w') as file:
        file.write('#!/bin/sh\necho made\n')
    os.chmod(tool, 0o755)
    result.append(subprocess.run([tool], **run).stdout.strip())
print(result)
"#;

const RESULT: &str =
    "['1', '2', ['base', 'one.txt', 'parts', 'result.json', 'two.txt'], '1', 'made']\n";

#[test]
fn a_program_passes_under_what_was_learned_from_it() {
    let _alone = alone();
    let ground = Ground::new();
    let work = WORK.replace("DATA", &format!("{:?}", ground.data));
    let done = ground.learn(&work);
    let said = done.stderr();
    done.prints(RESULT);
    let closing = format!("run under it with --policy {}\n", ground.file);
    assert!(said.ends_with(&closing), "{said}");
    let first = ground.learned();
    // With what the first run has left, and without.
    for left in [true, false] {
        if !left {
            for name in ["base", "result.json"] {
                fs::remove_file(Path::new(&ground.data).join(name)).expect("the run has left it");
            }
            fs::remove_dir_all(Path::new(&ground.data).join("parts")).expect("so it has this");
        }
        let done = ground.under(&work);
        assert_eq!(done.stderr(), "", "{done}");
        done.prints(RESULT);
    }
    // The same program teaches nothing new.
    ground.learn(&work).prints(RESULT);
    assert_eq!(ground.learned(), first);
    let check = buntime(["policy", "check", &ground.file]).run();
    check.expect(0);
    // What it has not done it may not do.
    let secret = ground.entry("other/secret");
    let other = format!("{}/one.txt", ground.data);
    for (denied, error) in [
        (format!("open({secret:?})"), "FileNotFoundError"),
        (
            "import subprocess; subprocess.run(['id'])".to_owned(),
            "Error",
        ),
        ("open('/usr/bin/git')".to_owned(), "Error"),
        (
            format!("import os; os.symlink('x', {other:?} + '-')"),
            "PermissionError",
        ),
    ] {
        let done = ground.under(&denied).expect(1);
        assert!(done.stderr().contains(error), "{denied}: {done}");
    }
}

#[test]
fn several_runs_are_learned_from() {
    let _alone = alone();
    let ground = Ground::new();
    let read = |name: &str| format!("print(open('{}/{name}').read())", ground.data);
    ground.learn(&read("one.txt")).prints("1\n");
    ground.under(&read("two.txt")).expect(1);
    ground.learn(&read("two.txt")).prints("2\n");
    ground.under(&read("one.txt")).prints("1\n");
    ground.under(&read("two.txt")).prints("2\n");
    let file = |name: &str| {
        (
            format!("{}/{name}", ground.data),
            vec!["read_file".to_owned()],
        )
    };
    assert_eq!(ground.rules(), [file("one.txt"), file("two.txt")]);
}

#[test]
fn links_and_programs_are_found_by_the_names_that_they_were_used_by() {
    let _alone = alone();
    let ground = Ground::new();
    let link = format!("{}/latest", ground.data);
    std::os::unix::fs::symlink("two.txt", &link).expect("a link can be made");
    let code =
        format!("import subprocess\nsubprocess.run(['/bin/sh', '-c', 'cat {link}'], check=True)");
    ground.learn(&code).prints("2");
    ground.under(&code).prints("2");
}

#[test]
fn it_is_learned_from_however_the_run_ends() {
    let _alone = alone();
    for (end, flags, code) in [
        ("raise SystemExit(3)", vec![], 3),
        ("import os; os.kill(os.getpid(), 9)", vec![], 137),
        ("import time; time.sleep(600)", vec!["--timeout", "2s"], 124),
    ] {
        let ground = Ground::new();
        let read = format!("open('{}/one.txt')\n{end}", ground.data);
        let mut rest = flags;
        rest.extend(["-c", &read]);
        ground.learning(&rest).run().expect(code);
        let path = format!("{}/one.txt", ground.data);
        assert_eq!(ground.rules(), [(path, vec!["read_file".to_owned()])]);
    }
}

#[test]
fn the_host_stays_hidden_and_what_was_asked_for_is_said() {
    let _alone = alone();
    let ground = Ground::new();
    let secret = ground.entry("other/secret");
    let code = format!(
        "for path in [{secret:?}, '/etc/shadow']:\n try: open(path)\n except OSError as error: print(error.errno)"
    );
    let done = ground.learn(&code);
    let said = done.stderr();
    done.prints("2\n2\n");
    for path in [&secret, "/etc/shadow"] {
        let remedy = format!("allow with --allow-read={path}\n");
        assert!(said.contains(&remedy), "{said}");
        assert!(
            !said.contains(&format!("not learned: read {path}")),
            "{said}"
        );
    }
    assert_eq!(ground.rules(), []);
    // Another program than Python, which asks nobody before.
    let cat = format!("cat {secret}; exit 0");
    let done = ground
        .learning(&["--", "/bin/sh", "-c", &cat])
        .run()
        .expect(0);
    assert!(
        done.stderr()
            .contains(&format!("not learned: read {secret}: it is not shown")),
        "{done}"
    );
}

#[test]
fn what_failed_is_not_learned() {
    let _alone = alone();
    let ground = Ground::new();
    let locked = ground.write("data/locked", "locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("its mode can be set");
    let code = format!("try: open({locked:?})\nexcept OSError as error: print(error.errno)");
    let done = ground.learn(&code);
    let said = done.stderr();
    done.prints("13\n");
    let left = format!("not learned: read {locked}: the file's owner, mode");
    assert!(said.contains(&left), "{said}");
    assert_eq!(ground.rules(), []);
}

#[test]
fn what_no_flag_allows_stays_denied() {
    let _alone = alone();
    let ground = Ground::new();
    let new = format!("{}/new", ground.data);
    let list = format!(
        "import os\nfor call in [lambda: open({new:?}, 'w'), lambda: os.listdir('/'), \
         lambda: os.listdir({:?})]:\n try: call()\n except OSError as error: print(error.errno)",
        ground.root
    );
    let read = format!("--allow-read={}", ground.data);
    let run = buntime(["run", "--learn", &ground.file, &read, "-c", &list]);
    let done = run.current_dir("/tmp").run();
    assert!(!Path::new(&new).exists(), "{new} was written: {done}");
    done.prints("13\n13\n13\n");
    assert_eq!(ground.rules(), []);
}

#[test]
fn the_sandboxs_own_folders_do_not_stand_for_the_hosts() {
    let _alone = alone();
    let ground = Ground::new();
    let code = "import os; os.mkdir('/tmp/own'); print(open('/tmp/own/x', 'w').write('x'))";
    let flags = ["--allow-read=/tmp", "--allow-write=/tmp", "-c", code];
    ground.learning(&flags).run().prints("1\n");
    assert_eq!(ground.rules(), []);
    ground.under(code).prints("1\n");
}

#[test]
fn what_cannot_be_learned_into_is_named_before_anything_runs() {
    let _alone = alone();
    let ground = Ground::new();
    let foreign = ground.write("mine.json", r#"{"version": 1, "name": "mine"}"#);
    let junk = ground.write("junk", "junk");
    let inside = format!("{}/learned.json", ground.data);
    let write = format!("--allow-write={}", ground.data);
    let nowhere = ground.entry("none/learned.json");
    for (flags, why) in [
        (vec!["--learn", &foreign], "no policy that --learn wrote"),
        (vec!["--learn", &junk], "junk:1:1"),
        (
            vec!["--learn", &nowhere],
            "name a file in a folder that you may write",
        ),
        (vec!["--learn", "/dev/null"], "no regular file"),
        (
            vec!["--learn", &ground.file, "--policy", "strict"],
            "leave --policy out",
        ),
        (vec!["--learn", &inside, &write], "choose a place outside"),
    ] {
        let run = buntime(["run"]).args(&flags).args(["-c", "print('ran')"]);
        let done = run.run().expect(125);
        assert!(
            done.stdout().is_empty() && done.stderr().contains(why),
            "{why}: {done}"
        );
    }
    assert_eq!(fs::read(&junk).expect("it is there"), b"junk");
    assert!(!Path::new(&ground.file).exists() && !Path::new(&inside).exists());
}
