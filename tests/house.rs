//! Reads the repository and fails where the code breaks a law of the house. A law
//! that nothing checks is a wish; a check that was never seen to fail is one too,
//! so each law is put to a bad sample first.

#[path = "house/laws.rs"]
mod laws;
#[path = "house/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use laws::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the root that a person wrote: no build output, no repository data.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("the source can be listed");
        for entry in entries.map(|entry| entry.expect("the source can be listed")) {
            let path = entry.path();
            let name = entry.file_name();
            let kind = entry
                .file_type()
                .expect("the kind of a source file is known");
            if kind.is_dir() && name != "target" && name != ".git" && name != "node_modules" {
                folders.push(path);
            } else if kind.is_file() && name != "Cargo.lock" && name != ".git" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("a file below the root")
        .to_string_lossy()
        .into_owned()
}

fn rust_sources() -> Vec<Source> {
    let sources: Vec<Source> = files()
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("Rust source is UTF-8");
            Source::new(&relative(path), &text)
        })
        .collect();
    assert!(
        sources.len() > 10,
        "only {} Rust files were found",
        sources.len()
    );
    sources
}

/// Applies a law to every file, after it was seen to fail on each bad sample and
/// to pass the good one.
fn enforce(law: fn(&Source) -> Vec<String>, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(
            !law(&Source::new(path, text)).is_empty(),
            "the law passed a bad sample: {text}"
        );
    }
    for (path, text) in good {
        let broken = law(&Source::new(path, text));
        assert!(
            broken.is_empty(),
            "the law failed a good sample: {broken:?}"
        );
    }
    let broken: Vec<String> = rust_sources().iter().flat_map(law).collect();
    assert!(
        broken.is_empty(),
        "{} places:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn imports_point_down() {
    enforce(
        laws::arrows,
        &[
            ("src/policy/load.rs", "use crate::sys::fd;"),
            ("src/policy/mod.rs", "use crate::{sys::fd, policy::load};"),
            ("src/policy/mod.rs", "use super::launch;"),
            (
                "src/policy/load.rs",
                "fn f() { super::super::launch::go() }",
            ),
            (
                "src/launch/init.rs",
                "mod inner { use super::super::super::cli; }",
            ),
            ("src/stray.rs", "fn f() {}"),
        ],
        &[
            (
                "src/launch/init.rs",
                "use crate::{policy::Plan, sys}; use super::root;",
            ),
            (
                "src/policy/load.rs",
                "// crate::sys\nconst A: &str = \"crate::sys\";",
            ),
            (
                "src/policy/load.rs",
                "#[cfg(test)]\nmod tests { use crate::sys; }",
            ),
        ],
    );
}

#[test]
fn foreign_types_stop_at_the_door() {
    enforce(
        laws::doors,
        &[
            ("src/supervisor/mod.rs", "use nix::sched::clone;"),
            ("src/policy/load.rs", "use tokio::fs;"),
            (
                "src/policy/load.rs",
                "fn f() -> anyhow::Result<()> { Ok(()) }",
            ),
        ],
        &[
            ("src/launch/mod.rs", "use nix::sched::clone;"),
            ("src/cli/run.rs", "use anyhow::Context;"),
        ],
    );
}

#[test]
fn unsafe_code_stands_where_it_is_argued() {
    enforce(
        laws::unsafe_places,
        &[
            ("src/launch/mod.rs", "fn f() { unsafe { g() } }"),
            ("src/launch/mod.rs", "#![allow(unsafe_code)]"),
            ("worker/abi/src/wire.rs", "unsafe impl Send for A {}"),
        ],
        &[
            (
                "src/sys/fd.rs",
                "#![allow(unsafe_code)] fn f() { unsafe { g() } }",
            ),
            ("src/launch/mod.rs", "// unsafe\n#![deny(unsafe_code)]"),
        ],
    );
}

#[test]
fn platform_switches_swap_whole_modules() {
    enforce(
        laws::platform_switches,
        &[(
            "src/policy/load.rs",
            "#[cfg(target_os = \"linux\")] fn f() {}",
        )],
        &[("src/lib.rs", "#[cfg(target_os = \"linux\")] mod sys;")],
    );
}

#[test]
fn files_are_short() {
    let long = "fn f() {}\n".repeat(501);
    let tested = format!(
        "fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(600)
    );
    let endless = "fn f() {}\n".repeat(801);
    enforce(
        laws::file_length,
        &[("src/policy/a.rs", &long), ("tests/a.rs", &endless)],
        &[("src/policy/a.rs", &tested), ("tests/a.rs", &long)],
    );
}

#[test]
fn functions_are_short() {
    let body = "    g();\n".repeat(120);
    let long = format!("fn f() {{\n{body}}}\n");
    enforce(
        laws::function_length,
        &[("src/policy/a.rs", &long)],
        &[("src/a.rs", "fn f() {}\n")],
    );
}

#[test]
fn modules_open_with_their_purpose() {
    enforce(
        laws::module_heads,
        &[
            ("src/policy/mod.rs", "use std::fs;"),
            (
                "src/policy/mod.rs",
                "//! Decides.\n\nuse std::fs; // trusts never",
            ),
        ],
        &[(
            "src/policy/mod.rs",
            "//! Decides. Trusts nobody and never reads.\n",
        )],
    );
}

#[test]
fn names_say_something() {
    enforce(
        laws::names,
        &[
            ("src/policy/utils.rs", ""),
            ("src/common/mod.rs", ""),
            ("src/policy/path_helper.rs", ""),
            ("src/policy/a.rs", "fn get_path() {}"),
        ],
        &[("src/policy/paths.rs", "fn target_path() {}")],
    );
}

#[test]
fn only_the_command_line_prints() {
    enforce(
        laws::printing,
        &[("src/launch/mod.rs", "fn f() { println!(\"a\") }")],
        &[
            ("src/cli/run.rs", "fn f() { println!(\"a\") }"),
            ("src/policy/a.rs", "// println!(a)"),
        ],
    );
}

#[test]
fn results_are_not_thrown_away() {
    enforce(
        laws::discarded,
        &[
            ("src/launch/mod.rs", "fn f() { let _ = g(); }"),
            ("src/launch/mod.rs", "fn f() { a.g().ok(); }"),
        ],
        &[(
            "src/launch/mod.rs",
            "fn f() { let a = g().ok(); let _lock = h(); }",
        )],
    );
}

#[test]
fn the_text_is_whole_and_speaks_of_the_project() {
    for bad in [
        concat!("// TO", "DO later"),
        concat!("see /wo", "rk/main/x"),
        concat!("#[ig", "nore]"),
    ] {
        assert!(
            !laws::forbidden_words("a", bad).is_empty(),
            "the law passed {bad}"
        );
    }
    let good = concat!("the net", "/wo", "rk is MAST", "ODON");
    assert_eq!(
        laws::forbidden_words("a", &good.replace("/w", "w")),
        Vec::<String>::new()
    );
    let mut broken = Vec::new();
    for path in files() {
        // Pictures and other data are not text.
        if let Ok(text) = std::fs::read_to_string(&path) {
            broken.extend(laws::forbidden_words(&relative(&path), &text));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let sample = "[dependencies]\nserde = \"1\"\nused = { path = \"a\" }\n";
    let found = laws::unused_dependencies(sample, "use used::A;");
    assert_eq!(
        found,
        ["no code uses the dependency serde of [dependencies]"]
    );
    let mut broken = Vec::new();
    for (manifest, below) in [
        (
            "Cargo.toml",
            &["src/", "tests/", "build.rs", "examples/", "benches/"][..],
        ),
        ("worker/abi/Cargo.toml", &["worker/abi/"]),
        ("worker/native/Cargo.toml", &["worker/native/"]),
    ] {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a manifest");
        let code: String = rust_sources()
            .into_iter()
            .filter(|source| below.iter().any(|prefix| source.path.starts_with(prefix)))
            .map(|source| scan::code_only(&source.text))
            .collect();
        broken.extend(laws::unused_dependencies(&text, &code));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn help(verb: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_buntime"))
        .args(verb)
        .arg("--help")
        .output()
        .expect("the binary starts");
    assert!(
        output.status.success(),
        "buntime {verb:?} --help failed: {output:?}"
    );
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The README is where people learn a flag, and where a flag outlives its removal.
#[test]
fn readme_and_help_name_the_same_flags() {
    let sample = laws::flags_in("`--allow-read=PATH`, a--b, --- and --timeout 1");
    let expected: BTreeSet<String> = ["--allow-read", "--timeout"].map(str::to_owned).into();
    assert_eq!(sample, expected);
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let written = laws::flags_in(&readme);
    let of_run = laws::flags_in(&help(&["run"]));
    assert!(of_run.len() > 10, "the help of run names only {of_run:?}");
    let unwritten: Vec<&String> = of_run.difference(&written).collect();
    assert!(
        unwritten.is_empty(),
        "flags of run that the README does not name: {unwritten:?}"
    );
    let mut known = of_run;
    known.extend(laws::flags_in(&help(&[])));
    for verb in [
        "policy",
        "bundle",
        "init-policy",
        "doctor",
        "attest",
        "completions",
    ] {
        known.extend(laws::flags_in(&help(&[verb])));
    }
    known.extend(laws::flags_in(&help(&["policy", "explain"])));
    // Flags of cargo and of Docker in the README's own commands.
    known.extend(["--release", "--runtime"].map(str::to_owned));
    let unknown: Vec<&String> = written.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "flags that the README names and the help does not: {unknown:?}"
    );
}
