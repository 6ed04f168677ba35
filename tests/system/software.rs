//! Real software that nobody here wrote gives the same under the interceptor as outside, as the same
//! user: how it ends, what it prints, and the files that it leaves. The policy allows what the programs
//! need and has every call held that can be held.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use buntime::intercept;
use buntime::policy::PermSet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cpython::{Expected, compare, results};
use crate::support::{Child, Finished, PYTHON, Scratch, USER, alone, is_root};

/// Debian's programs, whatever else a machine has.
const PROGRAMS: &str = "/usr/bin:/bin";

/// What programs read beside what every program sees.
const DATA: [&str; 2] = ["/usr/include", "/usr/share/git-core"];

const LONG: Duration = Duration::from_secs(300);

const MODULES: [&str; 4] = ["test_os", "test_shutil", "test_subprocess", "test_tempfile"];

/// Tests of CPython whose results differ, each with the reason.
const EXPECTED: &Expected = &[
    (
        "test.test_os.ChownFileTests.test_chown_without_permission",
        NO_SUCH_ID,
    ),
    (
        "test.test_subprocess.POSIXProcessTestCase.test_user",
        NO_SUCH_ID,
    ),
    (
        "test.test_subprocess.POSIXProcessTestCase.test_group",
        NO_SUCH_ID,
    ),
];
const NO_SUCH_ID: &str = "the user namespace has one user and one group: EINVAL instead of EPERM";

/// A user's folder in which the same is done twice.
struct Ground {
    scratch: Scratch,
    home: String,
    policy: String,
}

/// What a run came to.
struct Outcome {
    finished: Finished,
    files: BTreeMap<PathBuf, String>,
}

impl Ground {
    fn new() -> Ground {
        let scratch = Scratch::new();
        let home = scratch.home();
        let read = DATA.map(
            |path| json!({"action": "allow", "path": path, "perms": ["read_file", "read_dir"]}),
        );
        let mut rules = vec![
            json!({"action": "allow", "path": home}),
            json!({"action": "deny", "path": format!("{home}/**/*.denied")}),
            json!({"action": "warn", "path": format!("{home}/**/*.warned")}),
        ];
        rules.extend(read);
        let policy = json!({
            "version": 1,
            "defaults": {"fs": "allow", "net": "deny", "exec": "allow"},
            "fs": {"rules": rules},
            "exec": {"rules": [{"action": "warn", "path": format!("{home}/**/*.warned")}]},
        });
        let policy = scratch.file("policy.json", policy.to_string().as_bytes());
        Ground {
            scratch,
            home,
            policy,
        }
    }

    /// An empty folder of the user's, always of the same name.
    fn work(&self) -> PathBuf {
        let work = Path::new(&self.home).join("work");
        if work.exists() {
            fs::remove_dir_all(&work).expect("what was left before is removed");
        }
        for folder in [work.clone(), work.join("tmp")] {
            fs::create_dir(&folder).expect("a folder");
            chown(&folder, Some(USER), Some(USER)).expect("it is the user's");
        }
        work
    }

    /// The variables that both have, and no others of this test.
    fn variables(&self) -> [String; 4] {
        [
            format!("PATH={PROGRAMS}"),
            format!("HOME={}", self.home),
            format!("TMPDIR={}/work/tmp", self.home),
            "LC_ALL=C.UTF-8".to_owned(),
        ]
    }

    fn outside(&self, command: &[&str]) -> Finished {
        let run = Child::new("env").arg("-i").args(self.variables());
        let run = run.args(command).of_user(&self.home);
        let work = Path::new(&self.home).join("work");
        run.current_dir(work).deadline(LONG).run()
    }

    /// Runs the command in the sandbox, and looks whether its interceptor was there.
    fn inside(&self, command: &[&str]) -> Finished {
        let report = format!("{}/reports/report.json", self.scratch.path().display());
        let folder = Path::new(&report).parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("a folder for the report");
        chown(folder, Some(USER), Some(USER)).expect("it is the user's");
        let mut run = Child::new(self.scratch.binary()).args(["run", "--quiet"]);
        for variable in self.variables() {
            run = run.args(["--env", &variable]);
        }
        let work = format!("{}/work", self.home);
        let flags = [
            "--policy",
            &self.policy,
            "--workdir",
            &work,
            "--report",
            &report,
            "--timeout",
            "280",
            "--",
        ];
        let run = run.args(flags).args(command).of_user(&self.home);
        let finished = run.deadline(LONG).run();
        let report = fs::read_to_string(&report).expect("there is a report");
        let report: Value = serde_json::from_str(&report).expect("a report is JSON");
        assert_eq!(held(&report).as_deref(), Some("full"), "{report:#}");
        finished
    }

    /// Takes the steps of a script by this program, outside and inside.
    fn both(&self, program: &str, script: &str) -> [Outcome; 2] {
        type Way = fn(&Ground, &[&str]) -> Finished;
        let ways: [Way; 2] = [Ground::outside, Ground::inside];
        ways.map(|way| {
            let work = self.work();
            fs::write(work.join("steps"), script).expect("the steps");
            let finished = way(self, &[program, "steps"]);
            Outcome {
                finished,
                files: listed(&work),
            }
        })
    }
}

/// How far the interceptor was in force, as a report says.
fn held(report: &Value) -> Option<String> {
    let enforced = report["enforced"].as_array()?;
    let found = enforced
        .iter()
        .find(|each| each["mechanism"] == "interceptor")?;
    found["state"].as_str().map(str::to_owned)
}

/// Everything below a folder: what it is, its mode, owner and other names, and what it contains.
fn listed(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for entry in fs::read_dir(&here).expect("a folder can be listed") {
            let path = entry.expect("an entry").path();
            let stat = path.symlink_metadata().expect("it is there");
            let content = match stat.file_type() {
                kind if kind.is_symlink() => {
                    format!("{:?}", fs::read_link(&path).expect("a link"))
                }
                kind if kind.is_file() && !changes_by_itself(&path) => {
                    let bytes = fs::read(&path).expect("a file can be read");
                    let digest = Sha256::digest(&bytes);
                    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("{} bytes, {digest}", bytes.len())
                }
                kind => {
                    if kind.is_dir() {
                        folders.push(path.clone());
                    }
                    String::new()
                }
            };
            let (mode, names) = (stat.permissions().mode(), stat.nlink());
            let owners = (stat.uid(), stat.gid());
            let line = format!("{mode:o} {owners:?} {names} {content}");
            let below = path.strip_prefix(folder).expect("it is below");
            found.insert(below.to_owned(), line);
        }
    }
    found
}

/// Files whose bytes are others each time: times and inodes are in them, or the order of writers.
fn changes_by_itself(path: &Path) -> bool {
    let ends = |end: &str| path.to_string_lossy().ends_with(end);
    let is_index = ends("/index") && path.components().any(|part| part.as_os_str() == ".git");
    is_index || ends(".pyc") || ends(".db")
}

/// The steps are taken outside and inside, to the end, with the same result, and leave this.
#[track_caller]
fn same(test: &str, program: &str, script: &str, left: &[&str]) {
    let _alone = alone();
    if !is_root(test) {
        return;
    }
    let [outside, inside] = Ground::new().both(program, script);
    let said = outside.finished.expect(0).stdout();
    inside.finished.prints(&said);
    for name in left {
        assert!(
            outside.files.contains_key(Path::new(name)),
            "{name} is not left"
        );
    }
    let names = outside.files.keys().chain(inside.files.keys());
    let differ = names.filter(|name| outside.files.get(*name) != inside.files.get(*name));
    let differ: Vec<_> = differ
        .map(|name| (name, outside.files.get(name), inside.files.get(name)))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
    eprintln!("{} files are the same", outside.files.len());
}

#[test]
fn every_call_that_can_be_held_is_held() {
    let _alone = alone();
    if !is_root("every_call_that_can_be_held_is_held") {
        return;
    }
    let ground = Ground::new();
    ground.work();
    let plan = Child::new(ground.scratch.binary())
        .args(["policy", "plan", "--json", "--policy", &ground.policy])
        .of_user(&ground.home)
        .run()
        .expect(0);
    let plan: Value = serde_json::from_str(&plan.stdout()).expect("a plan is JSON");
    let calls = plan["calls"].as_array().expect("it holds calls");
    let held = intercept::held(PermSet::ALL).into_iter();
    let held = held
        .map(|(sysno, _)| sysno.name())
        .chain(["execve", "execveat"]);
    for name in held {
        assert!(calls.iter().any(|call| call == name), "{name}: {plan:#}");
    }
    // And they are: a rule that only a live decision carries.
    let done = ground.inside(&[
        "sh",
        "-c",
        "echo x >tmp/x.denied || echo no; echo y >tmp/x.warned",
    ]);
    done.prints("no\n");
}

#[test]
fn pip_installs_a_wheel_into_an_environment() {
    same(
        "pip_installs_a_wheel_into_an_environment",
        "sh",
        include_str!("software/install.sh"),
        &["environment/bin/greet", "environment/share/greeting/text"],
    );
}

#[test]
fn git_clones_and_merges() {
    same(
        "git_clones_and_merges",
        "sh",
        include_str!("software/versions.sh"),
        &[
            "clone/tool",
            "common/refs/heads/side",
            "unbundled/.git/HEAD",
        ],
    );
}

#[test]
fn gcc_builds_a_project() {
    same(
        "gcc_builds_a_project",
        "sh",
        include_str!("software/build.sh"),
        &["project/installed/bin/count", "project/kept/libcount.so"],
    );
}

#[test]
fn sqlite_keeps_a_log_that_several_write() {
    same(
        "sqlite_keeps_a_log_that_several_write",
        PYTHON,
        include_str!("software/database.py"),
        &["base.db", "copy.db"],
    );
}

#[test]
fn the_systems_tools_do_the_same() {
    same(
        "the_systems_tools_do_the_same",
        "sh",
        include_str!("software/tools.sh"),
        &["tree/e/here", "copy/pipe"],
    );
}

#[test]
fn calls_answer_the_same_at_their_edges() {
    same(
        "calls_answer_the_same_at_their_edges",
        PYTHON,
        include_str!("software/corners.py"),
        &["named0", "dangling"],
    );
}

/// Their bits on a program would give it another identity; on a folder they hand a group on.
#[test]
fn set_id_bits_are_for_folders_alone() {
    let _alone = alone();
    if !is_root("set_id_bits_are_for_folders_alone") {
        return;
    }
    let ground = Ground::new();
    let steps = "umask 022\nmkdir folder\ncp /usr/bin/id program\nchmod 2775 folder\nchmod g+s program || echo no\n\
                 chmod u+s program || echo no\nmkdir folder/below\nstat -c '%A %n' folder folder/below program\n";
    ground.work();
    let done = ground.inside(&["sh", "-c", steps]);
    done.prints("no\nno\ndrwxrwsr-x folder\ndrwxr-sr-x folder/below\n-rwxr-xr-x program\n");
}

#[test]
fn cpythons_tests_of_files_and_programs_give_the_same_results() {
    let _alone = alone();
    if !is_root("cpythons_tests_of_files_and_programs_give_the_same_results") {
        return;
    }
    let ground = Ground::new();
    let mut command = vec![PYTHON, "-m", "test", "--junit-xml", "report.xml"];
    command.extend(MODULES);
    let report = format!("{}/work/report.xml", ground.home);
    ground.work();
    let plain = ground.outside(&command);
    let before = results(&report, &plain);
    assert!(before.len() > 900, "too few tests ran\n{plain}");
    ground.work();
    let sandboxed = ground.inside(&command);
    compare(&before, &results(&report, &sandboxed), EXPECTED, &sandboxed);
    eprintln!(
        "{} tests; outside {:?}, inside {:?}",
        before.len(),
        plain.took,
        sandboxed.took
    );
}
