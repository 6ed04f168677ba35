//! Documents whose shape may be wrong and whose meanings are all right, so that the loader and
//! the schema have to agree about them.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

fn values() -> Vec<Value> {
    [
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "-1",
        "0.5",
        "443",
        "70000",
        "9e15",
        "9e16",
        "\"\"",
        "\"x\"",
        "\"allow\"",
        "\"deny\"",
        "\"ask\"",
        "\"kill\"",
        "\"/a\"",
        "\"~\"",
        "\"$PWD/x\"",
        "\"read_file\"",
        "\"tcp\"",
        "\"any\"",
        "\"443\"",
        "\"80, 443\"",
        "\"8-9,10\"",
        "\"512M\"",
        "\"1.5GiB\"",
        "\"5X\"",
        "\"30s\"",
        "\"500ms\"",
        "\"5 s\"",
        "\"code\"",
        "\"once\"",
        "\"net\"",
        "[]",
        "{}",
        "[\"read_file\"]",
        "[\"read_file\", \"write_dir\"]",
        "[\"read\"]",
        "[1]",
        "[\"net\"]",
        "[\"once\"]",
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    ]
    .into_iter()
    .filter_map(|text| serde_json::from_str(text).ok())
    .collect()
}

/// An object of these fields: each absent, right, or anything at all.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, right)| {
            let value = prop_oneof![3 => Just(None), 12 => right.prop_map(Some), 1 => select(values()).prop_map(Some)];
            (Just(name), value)
        })
        .collect();
    let stray = prop_oneof![12 => Just(None), 1 => Just(Some(("$comment", json!("why")))), 1 => Just(Some(("stray", json!(1))))];
    (fields, stray)
        .prop_map(|(fields, stray)| {
            let mut object = Map::new();
            for (name, value) in fields {
                if let Some(value) = value {
                    object.insert(name.to_owned(), value);
                }
            }
            if let Some((name, value)) = stray {
                object.insert(name.to_owned(), value);
            }
            Value::Object(object)
        })
        .boxed()
}

fn one_of(values: &[&str]) -> BoxedStrategy<Value> {
    let values: Vec<Value> = values
        .iter()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect();
    select(values).boxed()
}

fn rules(rule: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let list = proptest::collection::vec(rule, 0..3)
        .prop_map(Value::Array)
        .boxed();
    object(vec![("rules", list)])
}

pub fn document() -> BoxedStrategy<Value> {
    let action = || one_of(&["\"allow\"", "\"deny\"", "\"warn\"", "\"ask\""]);
    let path = || one_of(&["\"/a\"", "\"~/x\"", "\"${WORKSPACE}\"", "\"/a/*/b\""]);
    let flag = || one_of(&["true", "false"]);
    let size = || one_of(&["\"512M\"", "1", "4096", "\"2GiB\"", "\"7B\""]);
    let time = || one_of(&["\"30s\"", "0.5", "10", "\"500ms\"", "\"2\""]);
    let count = || one_of(&["1", "64", "2.0"]);
    let fs = object(vec![
        ("action", action()),
        ("path", path()),
        (
            "perms",
            one_of(&["[\"read_file\"]", "[\"write_dir\", \"execute\"]"]),
        ),
    ]);
    let net = object(vec![
        ("action", action()),
        ("proto", one_of(&["\"tcp\"", "\"udp\"", "\"any\""])),
        ("host", one_of(&["\"a.example\""])),
        ("ports", one_of(&["443", "\"80,443\"", "\"8000-9000\""])),
    ]);
    let net = prop_oneof![3 => net, 1 => object(vec![("action", action()), ("cidr", one_of(&["\"10.0.0.0/8\"", "\"::1\""]))])].boxed();
    let exec = object(vec![("action", action()), ("path", path())]);
    let risk = object(vec![
        ("on", one_of(&["\"code\""])),
        ("pattern", one_of(&["\"x+\""])),
        ("raise", one_of(&["\"ask\""])),
    ]);
    object(vec![
        ("version", one_of(&["1", "1.0"])),
        ("name", one_of(&["\"n\""])),
        ("description", one_of(&["\"d\""])),
        (
            "plugins",
            object(vec![
                ("namespaces", flag()),
                ("landlock", flag()),
                ("seccomp", flag()),
            ]),
        ),
        (
            "defaults",
            object(vec![
                ("fs", action()),
                ("net", action()),
                ("exec", action()),
            ]),
        ),
        ("fs", rules(fs)),
        ("net", rules(net)),
        ("exec", rules(exec)),
        (
            "antiEscape",
            object(vec![("denySyscalls", one_of(&["[]", "[\"mount\"]"]))]),
        ),
        (
            "audit",
            object(vec![
                ("enabled", flag()),
                ("events", one_of(&["[]", "[\"net\", \"fs\"]"])),
            ]),
        ),
        (
            "limits",
            object(vec![
                ("memory", size()),
                ("cpus", one_of(&["1", "0.5"])),
                ("pids", count()),
                ("wall", time()),
                ("output", size()),
                ("files", count()),
            ]),
        ),
        ("onViolation", one_of(&["\"deny\"", "\"kill\""])),
        ("risk", rules(risk)),
        (
            "approval",
            object(vec![
                ("timeout", time()),
                ("scopes", one_of(&["[\"once\", \"path\"]", "[]"])),
            ]),
        ),
    ])
}
