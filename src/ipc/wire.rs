//! From the worker's bytes to values, and from answers to bytes.

use buntime_abi::{Header, Kind};
use serde_json::Value;

use super::error::Violation;

/// What a worker has said.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The worker is there and waits for its configuration and code.
    Ready,
    /// Bytes for standard output.
    Stdout(Vec<u8>),
    /// Bytes for standard error.
    Stderr(Vec<u8>),
    /// An operation that the worker asks about or tells of.
    Check(Check),
    /// The worker's state changed: `exec_start`, `exception`, `exec_end`.
    State {
        /// The name of the event.
        event: String,
        /// What the event carries, `Null` if nothing.
        data: Value,
    },
    /// The worker closed the channel or died. Nothing follows.
    Closed,
}

/// An operation of the worker. It is what the worker claims to be about to do,
/// good for a readable error and for telemetry; the kernel holds it to the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// To answer with, if [`CheckKind::awaits_answer`].
    pub id: u32,
    /// What kind of operation.
    pub kind: CheckKind,
    /// A path for files, directories and programs; `HOST:PORT` for connections.
    pub target: Vec<u8>,
    /// What exactly: a permission of the policy language (`write_file`,
    /// `make_dir`, ...) for files; `tcp`, `udp` or `unix` for connections.
    pub detail: Option<&'static str>,
}

/// The kinds of operations that a worker tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// A file is opened for reading.
    FsRead,
    /// A file or directory is written, made or removed.
    FsWrite,
    /// A connection is made.
    NetConnect,
    /// A program is run.
    Exec,
    /// A directory is listed.
    ListDir,
}

impl CheckKind {
    /// Whether the worker waits for an answer. Reads and listings are notices.
    pub fn awaits_answer(self) -> bool {
        matches!(
            self,
            CheckKind::FsWrite | CheckKind::NetConnect | CheckKind::Exec
        )
    }
}

/// The supervisor's answer to a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The worker may try.
    Allow,
    /// The worker's hook raises `PermissionError`. The text stands in its
    /// message: "rule fs\[2\] of default.json; allow with --allow-write=/x".
    Deny(&'a str),
}

/// The longest target of a check, in bytes: Linux's PATH_MAX and a tail for the detail.
const LONGEST_TARGET: usize = 4096 + 32;

/// The details that a check can carry after its target and a zero byte.
const DETAILS: [&str; 16] = [
    "read_file",
    "write_file",
    "execute",
    "read_dir",
    "write_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "tcp",
    "udp",
];

/// Reads one message of the ring.
pub(super) fn message(header: Header, payload: &[u8]) -> Result<Message, Violation> {
    let unknown = Violation::UnknownMessage { kind: header.kind };
    let kind = match Kind::from_wire(header.kind).ok_or(unknown.clone())? {
        Kind::Stdout => return Ok(Message::Stdout(payload.to_vec())),
        Kind::Stderr => return Ok(Message::Stderr(payload.to_vec())),
        Kind::FsRead => CheckKind::FsRead,
        Kind::FsWrite => CheckKind::FsWrite,
        Kind::NetConnect => CheckKind::NetConnect,
        Kind::Exec => CheckKind::Exec,
        Kind::ListDir => CheckKind::ListDir,
        Kind::Allow | Kind::Deny | Kind::Code | Kind::CodePart | Kind::Config => {
            return Err(unknown);
        }
    };
    check(header.request, kind, payload).map(Message::Check)
}

fn check(id: u32, kind: CheckKind, payload: &[u8]) -> Result<Check, Violation> {
    let malformed = |reason| Violation::MalformedRequest { id, reason };
    if payload.len() > LONGEST_TARGET {
        return Err(malformed("its target is longer than any path"));
    }
    let mut parts = payload.splitn(2, |byte| *byte == 0);
    let target = parts.next().unwrap_or_default();
    if target.is_empty() {
        return Err(malformed("it has no target"));
    }
    let detail = match parts.next() {
        None => None,
        Some(b"unix") => Some("unix"),
        Some(detail) => Some(
            DETAILS
                .into_iter()
                .find(|known| known.as_bytes() == detail)
                .ok_or_else(|| malformed("its detail is no permission and no protocol"))?,
        ),
    };
    Ok(Check {
        id,
        kind,
        target: target.to_vec(),
        detail,
    })
}

/// Reads a JSON state event.
pub(super) fn state(line: &str) -> Result<Message, Violation> {
    let unknown = || Violation::UnknownLine {
        excerpt: line.chars().take(80).collect(),
    };
    let Ok(Value::Object(mut object)) = serde_json::from_str(line) else {
        return Err(unknown());
    };
    if object.get("type").and_then(Value::as_str) != Some("state") {
        return Err(unknown());
    }
    let Some(Value::String(event)) = object.remove("event") else {
        return Err(unknown());
    };
    let data = object.remove("data").unwrap_or(Value::Null);
    Ok(Message::State { event, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kind: u8, payload: &[u8]) -> Result<Message, Violation> {
        message(Header { kind, request: 7 }, payload)
    }

    #[test]
    fn a_check_has_a_target_and_perhaps_a_detail() {
        let check = |target: &[u8], detail| {
            Ok(Message::Check(Check {
                id: 7,
                kind: CheckKind::FsWrite,
                target: target.to_vec(),
                detail,
            }))
        };
        assert_eq!(parsed(2, b"/tmp/a"), check(b"/tmp/a", None));
        assert_eq!(
            parsed(2, b"/tmp/a\0make_dir"),
            check(b"/tmp/a", Some("make_dir"))
        );
        assert_eq!(parsed(2, b"/tmp/\xff"), check(b"/tmp/\xff", None));
    }

    #[test]
    fn what_a_worker_cannot_say_is_a_violation() {
        for kind in [0x07, 0x10, 0x11, 0x20, 0x21, 0x22, 0xff] {
            assert_eq!(parsed(kind, b"x"), Err(Violation::UnknownMessage { kind }));
        }
        for payload in [
            &b""[..],
            b"\0write_file",
            b"/a\0fly",
            b"/a\0write_file\0",
            &[b'a'; 5000],
        ] {
            assert!(matches!(
                parsed(2, payload),
                Err(Violation::MalformedRequest { id: 7, .. })
            ));
        }
    }

    #[test]
    fn a_state_event_needs_its_type_and_name() {
        assert_eq!(
            state(r#"{"type": "state", "event": "exec_start"}"#),
            Ok(Message::State {
                event: "exec_start".into(),
                data: Value::Null
            })
        );
        for line in [
            "",
            "{",
            "[]",
            "DATA ",
            r#"{"type":"state"}"#,
            r#"{"event":"x"}"#,
        ] {
            assert!(
                matches!(state(line), Err(Violation::UnknownLine { .. })),
                "{line}"
            );
        }
        let deep = "[".repeat(60_000);
        assert!(matches!(state(&deep), Err(Violation::UnknownLine { .. })));
    }
}
