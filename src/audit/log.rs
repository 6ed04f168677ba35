//! The append-only log of events: JSON Lines, one write(2) an event.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use serde::Serialize;
use thiserror::Error;

use super::clock::rfc3339;
use super::event::Event;

/// Why an event could not be recorded.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file cannot be opened for appending.
    #[error("open the event log {}: {source}; name a regular file that you own", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is something else, or somebody else's.
    #[error("open the event log {}: it is {what}; name a regular file that you own", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The session has said so much that its log would fill the disk.
    #[error(
        "write the event log {}: the session has recorded {MOST_BYTES} bytes, which is the most; \
         the operation is denied",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// An event could not be written whole.
    #[error("write the event log {}: {source}; the operation is denied", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Bytes of events that one session may record. A worker that asks in a loop must not
/// fill the host's disk: past this every decision is a denial.
const MOST_BYTES: u64 = 256 << 20;

/// An open log. Several sessions may append to one file: each event is one write
/// to a descriptor with `O_APPEND`, so lines are never mixed.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    session: String,
    sequence: u64,
    written: u64,
    line: Vec<u8>,
}

/// The fields of every line, in the order in which they stand there.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    session: &'a str,
    sequence: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl EventLog {
    /// Opens `path` for appending, and creates it for its owner alone.
    ///
    /// # Errors
    /// When it cannot be opened, is a symbolic link, is no regular file, or
    /// belongs to another user, who could then rewrite it.
    pub fn open(path: &Path, session: &str) -> Result<Self, LogError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            // A named pipe without a reader would make the open wait.
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .map_err(|source| LogError::Open {
                path: path.to_owned(),
                source,
            })?;
        let unfit = |what| LogError::Unfit {
            path: path.to_owned(),
            what,
        };
        let metadata = file.metadata().map_err(|source| LogError::Open {
            path: path.to_owned(),
            source,
        })?;
        if !metadata.is_file() {
            return Err(unfit("not a regular file"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unfit("another user's"));
        }
        let (path, session) = (path.to_owned(), session.to_owned());
        Ok(Self {
            file,
            path,
            session,
            sequence: 0,
            written: 0,
            line: Vec::new(),
        })
    }

    /// Appends one event. The caller must not let the event's effect happen when
    /// this fails.
    ///
    /// # Errors
    /// When the line could not be written whole.
    pub fn append(&mut self, event: &Event) -> Result<(), LogError> {
        if self.written > MOST_BYTES {
            return Err(LogError::Full {
                path: self.path.clone(),
            });
        }
        self.line.clear();
        let time = rfc3339(SystemTime::now());
        let line = Line {
            time,
            session: &self.session,
            sequence: self.sequence,
            event,
        };
        let result = serde_json::to_writer(&mut self.line, &line)
            .map_err(io::Error::from)
            .and_then(|()| {
                self.line.push(b'\n');
                write_once(&mut self.file, &self.line)
            });
        result.map_err(|source| LogError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.sequence += 1;
        self.written += self.line.len() as u64;
        Ok(())
    }
}

/// Two writes of one line could be separated by another session's line, so a
/// short write is a failure and not a reason to go on.
fn write_once(file: &mut File, line: &[u8]) -> io::Result<()> {
    loop {
        match file.write(line) {
            Ok(written) if written == line.len() => return Ok(()),
            Ok(_short) => return Err(io::ErrorKind::StorageFull.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("buntime-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn every_event_is_one_line_of_json_with_a_running_number() {
        let directory = scratch("lines");
        let path = directory.join("events");
        for session in ["one", "two"] {
            let mut log = EventLog::open(&path, session).unwrap();
            log.append(&Event::Violation {
                reason: "a\nb".to_owned(),
            })
            .unwrap();
            log.append(&Event::Limit {
                limit: "wall",
                ended: true,
            })
            .unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["type"], "violation");
        assert_eq!(lines[0]["reason"], "a\nb");
        assert_eq!(lines[3]["session"], "two");
        assert_eq!(lines[3]["sequence"], 1);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn links_and_devices_are_no_logs() {
        let directory = scratch("unfit");
        let link = directory.join("link");
        std::os::unix::fs::symlink(directory.join("target"), &link).unwrap();
        assert!(matches!(
            EventLog::open(&link, "s"),
            Err(LogError::Open { .. })
        ));
        let null = Path::new("/dev/null");
        assert!(matches!(
            EventLog::open(null, "s"),
            Err(LogError::Unfit { .. } | LogError::Open { .. })
        ));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let (path, session) = (PathBuf::from("/dev/full"), String::new());
        let mut log = EventLog {
            file,
            path,
            session,
            sequence: 0,
            written: 0,
            line: Vec::new(),
        };
        let result = log.append(&Event::Violation {
            reason: String::new(),
        });
        assert!(matches!(result, Err(LogError::Write { .. })));
    }
}
