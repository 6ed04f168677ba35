//! A real program that nobody here wrote: modules of CPython's own test suite give the same
//! result for each of their tests inside as outside, as the same user.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::support::{Child, Finished, PYTHON, Scratch, alone, is_root};

const MODULES: [&str; 5] = [
    "test_json",
    "test_re",
    "test_sqlite3",
    "test_pathlib",
    "test_asyncio.test_locks",
];

/// Tests whose results differ, each with the reason. Anything else that differs fails.
pub type Expected = [(&'static str, &'static str)];

const EXPECTED: &Expected = &[
    ("test.test_pathlib.PathTest.test_is_socket_true", NO_NAMES),
    (
        "test.test_pathlib.PosixPathTest.test_is_socket_true",
        NO_NAMES,
    ),
];
const NO_NAMES: &str = "no socket gets a name where a folder is shown that may only be read";

/// Prints each test of a JUnit report with its outcome. One that failed in a part of it has no name
/// there, so that it is missing.
const READ_REPORT: &str = "
import sys, xml.etree.ElementTree as tree
for case in tree.parse(sys.argv[1]).iter('testcase'):
    children = {child.tag for child in case} - {'system-out', 'system-err'}
    if case.get('name'):
        print(case.get('name'), ','.join(sorted(children)) or 'passed')
";

#[test]
fn its_own_tests_give_the_same_results() {
    let _alone = alone();
    if !is_root("its_own_tests_give_the_same_results") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    for folder in ["outside", "inside"] {
        let path = format!("{home}/{folder}");
        std::fs::create_dir(&path).expect("a folder for reports");
        std::os::unix::fs::chown(&path, Some(1000), Some(1000)).expect("it is the user's");
    }
    let library = test_library(&home);
    let outside = format!("{home}/outside");
    let suite = |report: &str| {
        let mut command = vec![PYTHON.to_owned(), "-m".to_owned(), "test".to_owned()];
        command.extend(["--junit-xml".to_owned(), format!("{report}/report.xml")]);
        command.extend(MODULES.map(str::to_owned));
        command
    };
    let plain = Child::new("env")
        .args(suite(&outside))
        .clean_path()
        .of_user(&home);
    let plain = plain
        .env("PYTHONPATH", &library)
        .deadline(Duration::from_secs(600))
        .run();
    let inside = format!("{home}/inside");
    // The suite starts its own interpreter again.
    let run = format!("--allow-run={PYTHON}");
    let read = format!("--allow-read={library}");
    let path = format!("PYTHONPATH={library}");
    let sandboxed = Child::new(scratch.binary())
        .args([
            "run",
            "--out",
            &inside,
            "--timeout",
            "500",
            &run,
            &read,
            "--env",
            &path,
            "--",
        ])
        .args(suite(&inside))
        .clean_path()
        .of_user(&home)
        .deadline(Duration::from_secs(600))
        .run();
    let plain_results = results(&format!("{outside}/report.xml"), &plain);
    let sandboxed_results = results(&format!("{inside}/report.xml"), &sandboxed);
    assert!(plain_results.len() > 1000, "too few tests ran\n{plain}");
    compare(&plain_results, &sandboxed_results, EXPECTED, &sandboxed);
    eprintln!(
        "{} tests; outside {:?}, inside {:?}",
        plain_results.len(),
        plain.took,
        sandboxed.took
    );
}

/// Debian's package of tests with the one module that it leaves out beside the others.
fn test_library(home: &str) -> String {
    let library = format!("{home}/lib");
    let package = format!("{library}/test");
    std::fs::create_dir_all(&package).expect("a folder for the package");
    let debian = std::fs::read_dir("/usr/lib/python3.11/test").expect("libpython3.11-testsuite");
    for entry in debian
        .flatten()
        .filter(|entry| entry.file_name() != "__pycache__")
    {
        let link = Path::new(&package).join(entry.file_name());
        std::os::unix::fs::symlink(entry.path(), link).expect("a link to Debian's test");
    }
    // Debian's package leaves this one out; its source package has it.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cpython/test_sqlite3");
    let copy = Path::new(&package).join("test_sqlite3");
    std::fs::create_dir(&copy).expect("a folder for the module");
    for entry in std::fs::read_dir(own)
        .expect("CPython's sqlite3 tests, which hack/test brings")
        .flatten()
    {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy of a test");
    }
    library
}

/// The outcome of each test of a report.
pub fn results(report: &str, run: &Finished) -> BTreeMap<String, String> {
    assert!(
        Path::new(report).exists(),
        "the suite wrote no report\n{run}"
    );
    let read = Child::new(PYTHON)
        .args(["-I", "-c", READ_REPORT, report])
        .run()
        .expect(0);
    let lines = read.stdout();
    lines
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

/// Fails where another test than those expected differs, and where one of those does not.
pub fn compare(
    plain: &BTreeMap<String, String>,
    inside: &BTreeMap<String, String>,
    expected: &Expected,
    run: &Finished,
) {
    let mut differences = Vec::new();
    for name in plain
        .keys()
        .chain(inside.keys().filter(|name| !plain.contains_key(*name)))
    {
        let (before, after) = (plain.get(name), inside.get(name));
        if before != after && !expected.iter().any(|(expected, _)| expected == name) {
            differences.push(format!("{name}: outside {before:?}, inside {after:?}"));
        }
    }
    for (name, reason) in expected {
        assert!(
            plain.get(*name) != inside.get(*name),
            "{name} is the same again: not {reason}"
        );
    }
    assert!(differences.is_empty(), "{}\n{run}", differences.join("\n"));
}
