//! The laws of the house, each a function from one file to the places where it
//! is broken. They read text and nothing else, so that a bad sample can be put to each.

use std::path::{Component, Path};

use super::scan::{self, code_only, functions, inline_depth, line_of, names_after, without_tests};

/// One source file, as the laws read it.
pub struct Source {
    /// Path below the repository's root, such as `src/policy/mod.rs`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// Production code only: no comments, no literals, no test modules.
    pub code: String,
}

impl Source {
    /// Takes a file's text and prepares the code that the laws search. A test module in a
    /// file of its own is one as much as a test module inside a file.
    pub fn new(path: &str, text: &str) -> Source {
        let test_module = path.starts_with("src/") && path.ends_with("/tests.rs");
        let code = if test_module {
            String::new()
        } else {
            without_tests(&code_only(text))
        };
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    fn at(&self, position: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_of(&self.code, position))
    }

    /// The library's module that the file belongs to: `policy` for `src/policy/merge.rs`.
    fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name))
    }

    /// How many modules lie between the crate's root and this file's own content.
    fn depth(&self) -> usize {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let parts = Path::new(path)
            .components()
            .filter(|c| matches!(c, Component::Normal(_)));
        match path {
            "lib.rs" | "main.rs" => 0,
            _ if path.ends_with("/mod.rs") => parts.count() - 1,
            _ => parts.count(),
        }
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("examples/")
            || self.path.starts_with("benches/")
    }
}

/// Which modules of the library a module may import. Absent means none.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["supervisor", "oci", "audit", "policy"]),
    (
        "supervisor",
        &[
            "oci",
            "egress",
            "launch",
            "intercept",
            "ipc",
            "audit",
            "approval",
            "policy",
        ],
    ),
    ("oci", &["launch", "policy", "sys"]),
    ("ipc", &["policy", "sys"]),
    ("launch", &["intercept", "policy", "sys"]),
    ("intercept", &["policy", "sys"]),
    ("egress", &["policy", "sys"]),
    ("audit", &["policy"]),
    ("approval", &["policy"]),
    ("policy", &[]),
    ("sys", &[]),
];

/// Law: imports point down only; an arrow that is not drawn is forbidden.
pub fn arrows(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
        return match module {
            "lib" | "main" => Vec::new(),
            _ => vec![format!(
                "{}: no arrow is drawn for the module {module}",
                source.path
            )],
        };
    };
    imported_modules(source)
        .into_iter()
        .filter(|(_, name)| ARROWS.iter().any(|(known, _)| known == name))
        .filter(|(_, name)| name != module && !allowed.contains(&name.as_str()))
        .map(|(at, name)| source.at(at, &format!("{module} must not import {name}")))
        .collect()
}

/// Names taken from the crate's root, by `crate::` or by a chain of `super::` that reaches it.
fn imported_modules(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut found = Vec::new();
    for at in scan::words(code, "crate") {
        found.extend(
            names_after(code, at + "crate".len())
                .into_iter()
                .map(|name| (at, name)),
        );
    }
    for at in scan::words(code, "super") {
        // Only the first link of a chain is looked at; the walk takes the rest.
        if code[..at].trim_end().ends_with("super::") || code[..at].trim_end().ends_with("self::") {
            continue;
        }
        let mut here = at + "super".len();
        let mut steps = 1;
        while let Some(rest) = code[here..].strip_prefix("::super") {
            here = code.len() - rest.len();
            steps += 1;
        }
        if steps == source.depth() + inline_depth(code, at) {
            found.extend(names_after(code, here).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// Foreign crates that stop at the door of the modules named beside them.
const DOORS: &[(&str, &[&str])] = &[
    ("nix", &["launch", "oci", "sys"]),
    ("libcontainer", &["launch", "oci", "sys"]),
    ("oci_spec", &["launch", "oci", "sys"]),
    ("seccompiler", &["launch"]),
    ("landlock", &["launch"]),
    ("caps", &["launch", "sys"]),
    ("tokio", &["supervisor", "egress", "ipc"]),
    ("hickory_resolver", &["egress"]),
    ("hyper", &["egress"]),
    ("hyper_util", &["egress"]),
    ("http_body_util", &["egress"]),
    ("jsonschema", &["policy", "oci"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("anyhow", &["cli", "main"]),
];

/// Law: foreign types stop at the door.
pub fn doors(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    for (name, allowed) in DOORS {
        if allowed.contains(&module) {
            continue;
        }
        for at in scan::words(&source.code, name) {
            let path_follows = source.code[at + name.len()..].starts_with("::");
            let path_before = source.code[..at].ends_with("::");
            let attribute = source.code[..at].ends_with("#[") || source.code[..at].ends_with('(');
            if path_follows && !path_before && (!attribute || *name != "landlock") {
                broken.push(source.at(
                    at,
                    &format!("the crate {name} must not be used in {module}"),
                ));
            }
        }
    }
    broken
}

/// Law: unsafe code stands in `sys`, `worker/native` and the mapped memory of `worker/abi` only.
pub fn unsafe_places(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let allowed = path.starts_with("src/sys/")
        || path.starts_with("worker/native/src/")
        || path == "worker/abi/src/mapped.rs"
        || path.starts_with("worker/abi/tests/");
    let mut broken = Vec::new();
    for at in scan::words(&source.code, "unsafe") {
        if !allowed {
            broken.push(source.at(at, "unsafe code does not stand here"));
        }
    }
    for at in scan::words(&source.code, "unsafe_code") {
        let lifted = source.code[..at].trim_end().ends_with("allow(");
        if lifted && !allowed {
            broken.push(source.at(at, "unsafe code must not be allowed here"));
        }
    }
    broken
}

/// Law: `cfg(target_os)` swaps whole modules, in `lib.rs` and a few `mod.rs` only.
pub fn platform_switches(source: &Source) -> Vec<String> {
    const PLACES: &[&str] = &[
        "src/lib.rs",
        "src/main.rs",
        "src/sys/mod.rs",
        "src/launch/mod.rs",
        "src/oci/mod.rs",
        "src/intercept/mod.rs",
    ];
    if PLACES.contains(&source.path.as_str()) || !source.path.starts_with("src/") {
        return Vec::new();
    }
    scan::words(&source.code, "target_os")
        .into_iter()
        .map(|at| source.at(at, "cfg(target_os) does not stand here"))
        .collect()
}

/// Law: files are short. Lines of test modules and blank lines at the end do not count.
pub fn file_length(source: &Source) -> Vec<String> {
    let production = production_lines(source);
    let whole = source.text.lines().count();
    let mut broken = Vec::new();
    if production > 500 && !source.is_test() {
        broken.push(format!(
            "{}: {production} lines of production code, over 500",
            source.path
        ));
    }
    if whole > 800 {
        broken.push(format!("{}: {whole} lines, over 800", source.path));
    }
    broken
}

fn production_lines(source: &Source) -> usize {
    let tests: usize = {
        let cleaned = code_only(&source.text);
        let cut = without_tests(&cleaned);
        let kept = cut.lines().zip(cleaned.lines());
        kept.filter(|(after, before)| after.trim().is_empty() && !before.trim().is_empty())
            .count()
    };
    source.text.lines().count() - tests
}

/// Law: functions are short enough to be read at once.
pub fn function_length(source: &Source) -> Vec<String> {
    functions(&source.code)
        .into_iter()
        .filter(|(_, _, lines)| *lines > 120)
        .map(|(name, line, lines)| {
            format!("{}:{line}: {name} has {lines} lines, over 120", source.path)
        })
        .collect()
}

/// Law: a module's root says what it is for, what it trusts and what it never does.
pub fn module_heads(source: &Source) -> Vec<String> {
    let root = source.path.starts_with("src/") && source.path.ends_with("/mod.rs");
    if !root {
        return Vec::new();
    }
    if !source.text.starts_with("//!") {
        return vec![format!("{}: a mod.rs opens with //!", source.path)];
    }
    if source.depth() > 1 {
        return Vec::new();
    }
    let head: String = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect::<String>()
        .to_lowercase();
    ["trust", "never"]
        .iter()
        .filter(|word| !head.contains(**word))
        .map(|word| {
            format!(
                "{}: the head does not say what the module {word}s",
                source.path
            )
        })
        .collect()
}

/// Law: names say what a thing is.
pub fn names(source: &Source) -> Vec<String> {
    const EMPTY: &[&str] = &[
        "util", "utils", "common", "manager", "helper", "helpers", "misc",
    ];
    let mut broken = Vec::new();
    for part in source.path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if stem.split(['_', '-']).any(|word| EMPTY.contains(&word)) {
            broken.push(format!("{}: the name {part} says nothing", source.path));
        }
    }
    for (name, line, _) in functions(&source.code) {
        if name.starts_with("get_") {
            broken.push(format!("{}:{line}: {name} needs no get_", source.path));
        }
    }
    broken
}

/// Law: only the command line prints and ends the process.
pub fn printing(source: &Source) -> Vec<String> {
    let speaks = source.path.starts_with("src/cli/") || source.path == "src/main.rs";
    if speaks || !source.path.starts_with("src/") {
        return Vec::new();
    }
    ["println", "eprintln", "print", "eprint", "dbg"]
        .iter()
        .flat_map(|word| {
            scan::words(&source.code, word)
                .into_iter()
                .map(move |at| (at, word))
        })
        .filter(|(at, word)| source.code[at + word.len()..].starts_with('!'))
        .map(|(at, word)| source.at(at, &format!("{word}! belongs to the command line")))
        .collect()
}

/// Law: a security result is never thrown away, not even by a method that clippy lets pass.
pub fn discarded(source: &Source) -> Vec<String> {
    if source.is_test() || !(source.path.starts_with("src/") || source.path.starts_with("worker/"))
    {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for (at, _) in source.code.match_indices("let _ =") {
        broken.push(source.at(at, "a result is thrown away by let _"));
    }
    for (at, _) in source.code.match_indices(".ok();") {
        let start = source.code[..at]
            .rfind([';', '{', '}'])
            .map_or(0, |n| n + 1);
        // `let value = call().ok();` keeps the value; a bare statement drops it.
        let statement = source.code[start..at].trim_start();
        if !statement.starts_with("let ")
            && !statement.contains(" = ")
            && !statement.starts_with("return")
        {
            broken.push(source.at(at, "a result is thrown away by ok()"));
        }
    }
    broken
}

/// Law: the text is whole and speaks of the project, not of the place it was written at.
pub fn forbidden_words(path: &str, text: &str) -> Vec<String> {
    // Each is put together here, so that this file does not contain what it forbids.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/sha", "red"),
        concat!("/wo", "rk/.lib"),
        concat!("../sha", "red"),
        concat!("#[ig", "nore"),
    ];
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in words {
            let Some(at) = line.find(word) else { continue };
            let bytes = line.as_bytes();
            let part_of_word = word.bytes().all(scan::is_word)
                && (at.checked_sub(1).is_some_and(|n| scan::is_word(bytes[n]))
                    || bytes
                        .get(at + word.len())
                        .is_some_and(|b| scan::is_word(*b)));
            if !part_of_word {
                broken.push(format!("{path}:{}: the text says {word}", number + 1));
            }
        }
    }
    broken
}

/// Law: a dependency that no code uses does not stand in Cargo.toml.
pub fn unused_dependencies(manifest: &str, code: &str) -> Vec<String> {
    let mut section = "";
    let mut broken = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let Some((name, _)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim().trim_end_matches(".workspace");
        let listed = matches!(
            section,
            "[dependencies]" | "[dev-dependencies]" | "[build-dependencies]"
        );
        if listed && !name.starts_with('#') && scan::words(code, &name.replace('-', "_")).is_empty()
        {
            broken.push(format!("no code uses the dependency {name} of {section}"));
        }
    }
    broken
}

/// Long flags that a text mentions, such as `--allow-read`.
pub fn flags_in(text: &str) -> std::collections::BTreeSet<String> {
    let mut flags = std::collections::BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '/') {
            continue;
        }
        let name: String = text[at + 2..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        let name = name.trim_end_matches('-');
        if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            flags.insert(format!("--{name}"));
        }
    }
    flags
}
