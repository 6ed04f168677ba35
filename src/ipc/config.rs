//! What a worker is told before it runs anything.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Where a worker's standard output and error go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// To descriptors 1 and 2, as in a plain interpreter.
    Direct,
    /// Through the ring, as [`super::Message::Stdout`] and [`super::Message::Stderr`].
    Ring,
}

/// How a worker runs the code that it gets.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program's arguments: `["-c", ...]` or `[FILE, ...]` as the interpreter would show them.
    pub argv: Vec<OsString>,
    /// The file that the code came from; `None` for code without one (`-c`).
    pub filename: Option<PathBuf>,
    /// Run one piece of code and exit with its status, as a plain interpreter
    /// does. Otherwise a session: every piece of code runs in the same module.
    pub once: bool,
    /// Where output goes.
    pub stdio: Stdio,
    /// Use the native library for the channel.
    pub native: bool,
    /// Give the value of a last expression with `exec_end` (sessions want it, a plain run does not).
    pub value: bool,
    /// Check operations in the worker, for readable errors and notices of reads.
    pub checks: bool,
}

impl Config {
    /// One run that behaves as the plain interpreter.
    pub fn once(argv: Vec<OsString>, filename: Option<PathBuf>) -> Config {
        Config {
            argv,
            filename,
            once: true,
            stdio: Stdio::Direct,
            native: false,
            value: false,
            checks: true,
        }
    }

    /// A session: code after code in one module, output through the ring.
    pub fn session() -> Config {
        Config {
            argv: vec!["-c".into()],
            filename: None,
            once: false,
            stdio: Stdio::Ring,
            native: false,
            value: true,
            checks: true,
        }
    }
}

/// A string of the system in JSON: text where it is UTF-8, else the list of its bytes.
struct Text<'a>(&'a std::ffi::OsStr);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => self.0.as_bytes().serialize(serializer),
        }
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let argv: Vec<_> = self.argv.iter().map(|argument| Text(argument)).collect();
        let stdio = match self.stdio {
            Stdio::Direct => "direct",
            Stdio::Ring => "ring",
        };
        let mut object = serializer.serialize_struct("Config", 7)?;
        object.serialize_field("argv", &argv)?;
        object.serialize_field(
            "filename",
            &self.filename.as_deref().map(|p| Text(p.as_os_str())),
        )?;
        object.serialize_field("once", &self.once)?;
        object.serialize_field("stdio", stdio)?;
        object.serialize_field("native", &self.native)?;
        object.serialize_field("value", &self.value)?;
        object.serialize_field("checks", &self.checks)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn arguments_that_are_not_text_keep_their_bytes() {
        let argv = vec!["-c".into(), OsString::from_vec(vec![b'a', 0xff])];
        let json = serde_json::to_string(&Config::once(argv, None)).expect("plain data");
        assert_eq!(
            json,
            r#"{"argv":["-c",[97,255]],"filename":null,"once":true,"stdio":"direct","native":false,"value":false,"checks":true}"#
        );
    }
}
