//! Patterns against paths, one by one.

use std::ffi::OsStr;

use super::super::names::Names;
use super::*;

fn vars() -> Vars {
    Vars {
        home: "/home/u".into(),
        pwd: "/w/p*".into(),
        workspace: "/w".into(),
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let pattern = PathPattern::parse(pattern, &vars()).expect(pattern);
    let names = Names::of(Path::new(path)).expect(path);
    covers(pattern.components(), names.as_slice())
}

#[test]
fn a_path_covers_itself_and_below_but_no_neighbour() {
    assert!(fits("/tmp/ok", "/tmp/ok"));
    assert!(fits("/tmp/ok/", "/tmp/ok/a/b"));
    assert!(fits("/", "/"));
    assert!(fits("/", "/x"));
    assert!(!fits("/tmp/ok", "/tmp/ok_evil"));
    assert!(!fits("/tmp/ok", "/tmp/okay/../ok_evil"));
    assert!(fits("/a/./b//c/../d", "/a/b/d"));
    assert!(fits("/tmp/ok", "/tmp/x/..//./ok/"));
    assert!(fits("/a", "/../../a"));
}

#[test]
fn wildcards() {
    assert!(fits("/a/*.py", "/a/x.py"));
    assert!(!fits("/a/*.py", "/a/b/x.py"));
    assert!(fits("/a/**/x", "/a/x"));
    assert!(fits("/a/**/x", "/a/b/c/x/below"));
    assert!(!fits("/a/**/x", "/a/b/c/y"));
    assert!(fits("/**/a/b", "/a/c/a/b"));
    assert!(fits("/a/?", "/a/\u{e9}"));
    assert!(!fits("/a/?", "/a/bc"));
    assert!(fits("/a/[a-c]x", "/a/bx"));
    assert!(!fits("/a/[!a-c]x", "/a/bx"));
    assert!(fits("/a/[]x]", "/a/]"));
    assert!(fits("/a/\\*", "/a/*"));
    assert!(!fits("/a/\\*", "/a/b"));
    assert!(fits("/a/*a*b*c", "/a/xxaxxbxxcxabc"));
    assert!(!fits("/a/*a*b*c", "/a/xxaxxbxxcxab"));
}

#[test]
fn variables_are_literal() {
    assert!(fits("$PWD/x", "/w/p*/x"));
    assert!(!fits("$PWD/x", "/w/pp/x"));
    assert!(fits("~", "/home/u/.ssh"));
    assert!(fits("${WORKSPACE}/../z", "/z"));
    for bad in [
        "a", "", "~u/x", "$FOO/x", "$PWDx", "/a\0b", "/a/***", "/a/**b", "/a/*/..", "/a/[b",
        "/a/[z-a]", "/a\\",
    ] {
        let bad = bad.replace("\\0", "\0");
        assert!(PathPattern::parse(&bad, &vars()).is_err(), "{bad}");
    }
}

#[test]
fn bytes_and_long_paths() {
    let path = Path::new(OsStr::from_bytes(b"/a/\xff\xfe"));
    let names = Names::of(path).unwrap();
    let pattern = PathPattern::parse("/a/??", &vars()).unwrap();
    assert!(covers(pattern.components(), names.as_slice()));
    assert!(PathPattern::literal(path).unwrap().as_literal().as_deref() == Some(path));
    assert!(Names::of(Path::new("relative")).is_none());
    assert!(Names::of(Path::new("/a\0b")).is_none());
    let deep = format!("{}{}/z", "/x".repeat(100), "/..".repeat(100));
    assert_eq!(
        Names::of(Path::new(&deep)).unwrap().as_slice(),
        [Name::of(b"z")]
    );
    let deep = "/x".repeat(2000);
    assert_eq!(Names::of(Path::new(&deep)).unwrap().as_slice().len(), 2000);
}

#[test]
fn a_pattern_reaches_into_a_directory_or_speaks_of_all_of_it() {
    let reaches = |pattern: &str, directory: &str| {
        let pattern = PathPattern::parse(pattern, &vars()).expect(pattern);
        pattern.reaches_into(Path::new(directory))
    };
    assert!(reaches("/a/**/*.key", "/a/usb"));
    assert!(reaches("/a/**/*.key", "/a"));
    assert!(reaches("/a/*/x/y", "/a/usb"));
    assert!(reaches("/**/x", "/a/b/c"));
    assert!(!reaches("/a/*.key", "/a/usb"));
    assert!(!reaches("/a/*/x", "/a/usb/inner"));
    // What covers the directory knows everything in it by whatever name.
    assert!(!reaches("/a/us*", "/a/usb"));
    assert!(!reaches("/**/usb", "/a/usb/inner"));
}
