//! Properties of the unit that annotations give: `org.systemd.property.NAME`, with a value in the
//! text form of GLib's variants.

use std::collections::HashMap;

use super::wire::{Property, Value};
use crate::launch::group::GroupError;

const PREFIX: &str = "org.systemd.property.";

/// The properties among `annotations`, in the order of their names.
pub(super) fn properties(
    annotations: &HashMap<String, String>,
) -> Result<Vec<Property>, GroupError> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let invalid = |why: &str| GroupError::Annotation {
            key: key.clone(),
            value: text.clone(),
            why: why.to_owned(),
        };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(invalid("a property's name is of three letters at least"));
        }
        let value = value(text.trim()).ok_or_else(|| {
            invalid("it is no value such as true, 'text', 5, uint64 5 or ['a', 'b']")
        })?;
        found.push(in_microseconds(name, value).ok_or_else(|| invalid("it is no time"))?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// On the bus times are in microseconds and named so, where units' files have seconds.
fn in_microseconds(name: &str, value: Value) -> Option<Property> {
    let stem = name.strip_suffix("Sec");
    let Some(stem) = stem.filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) else {
        return Some(Property::new(name, value));
    };
    let whole = |seconds: u64| seconds.checked_mul(1_000_000);
    let time = match value {
        Value::I32(seconds) => whole(seconds.try_into().ok()?)?,
        Value::I64(seconds) => whole(seconds.try_into().ok()?)?,
        Value::U32(seconds) => whole(seconds.into())?,
        Value::U64(seconds) => whole(seconds)?,
        // A float that is out of range saturates in the conversion.
        Value::Double(seconds) if seconds >= 0.0 => (seconds * 1_000_000.0) as u64,
        _ => return None,
    };
    Some(Property::new(&format!("{stem}USec"), Value::U64(time)))
}

fn value(text: &str) -> Option<Value> {
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        let typed = match kind {
            "boolean" | "@b" => number.parse().ok().map(Value::Bool),
            "int32" | "@i" => number.parse().ok().map(Value::I32),
            "uint32" | "@u" => number.parse().ok().map(Value::U32),
            "int64" | "@x" => number.parse().ok().map(Value::I64),
            "uint64" | "@t" => number.parse().ok().map(Value::U64),
            "double" | "@d" => number.parse().ok().map(Value::Double),
            "@s" | "string" => quoted(number)
                .filter(|(_, rest)| rest.is_empty())
                .map(|(text, _)| Value::Text(text)),
            "@as" => texts(number).map(Value::Texts),
            _ => None,
        };
        if typed.is_some() {
            return typed;
        }
    }
    if text.starts_with('[') {
        return texts(text).map(Value::Texts);
    }
    if let Some((text, "")) = quoted(text) {
        return Some(Value::Text(text));
    }
    if let Ok(value) = text.parse() {
        return Some(Value::Bool(value));
    }
    if let Ok(value) = text.parse() {
        return Some(Value::I32(value));
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
    text.parse()
        .ok()
        .filter(|_| number && text.contains('.'))
        .map(Value::Double)
}

fn texts(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut found = Vec::new();
    loop {
        if let Some("") = rest.strip_prefix(']') {
            return Some(found);
        }
        let (one, after) = quoted(rest)?;
        found.push(one);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None => after.starts_with(']').then_some(after)?,
        };
    }
}

/// A text between quotes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut plain = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => plain.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other if other.is_ascii_alphanumeric() => return None,
                other => other,
            }),
            end if end == quote => return Some((plain, &text[at + 1..])),
            other => plain.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (written, meant) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("uint64 5", Value::U64(5)),
            ("@t 5", Value::U64(5)),
            ("int32 -5", Value::I32(-5)),
            ("1.5", Value::Double(1.5)),
            ("'a b'", text("a b")),
            ("\"it's\"", text("it's")),
            (r"'it\'s'", text("it's")),
            (
                "['a', \"b\"]",
                Value::Texts(vec!["a".to_owned(), "b".to_owned()]),
            ),
            ("@as []", Value::Texts(Vec::new())),
        ] {
            assert_eq!(value(written), Some(meant), "{written}");
        }
        for wrong in [
            "",
            "a",
            "'a",
            "'a' b",
            "uint64 -1",
            "['a'",
            "['a' 'b']",
            "[5]",
            "uint7 5",
            "nan",
        ] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let annotations = [
            ("org.systemd.property.TimeoutStopSec", "uint32 2"),
            ("org.systemd.property.RuntimeMaxSec", "0.5"),
            ("org.systemd.property.CollectMode", "'inactive'"),
            ("org.other", "x"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let found = properties(&HashMap::from(annotations)).unwrap();
        let expected = [
            Property::new("CollectMode", Value::Text("inactive".to_owned())),
            Property::new("RuntimeMaxUSec", Value::U64(500_000)),
            Property::new("TimeoutStopUSec", Value::U64(2_000_000)),
        ];
        assert_eq!(found, expected);
        for (name, value) in [
            ("X", "5"),
            ("Na-me", "5"),
            ("TimeoutStopSec", "'a'"),
            ("Name", "?"),
        ] {
            let annotations = HashMap::from([(format!("{PREFIX}{name}"), value.to_owned())]);
            let error = properties(&annotations).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
