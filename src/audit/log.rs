//! The append-only log of events: JSON Lines, one write(2) an event.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags, flock};
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
/// to a descriptor with `O_APPEND`, so lines are never mixed, and is made under a lock, so that half
/// a line is never somebody's who is still writing.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    session: String,
    container: Option<String>,
    sequence: u64,
    written: u64,
    line: Vec<u8>,
}

/// The fields of every line, in the order in which they stand there.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
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
            // What the last line ends in is looked at.
            .read(true)
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
            container: None,
            sequence: 0,
            written: 0,
            line: Vec::new(),
        })
    }

    /// The same log, in which each event names the OCI container that the session is of.
    #[must_use]
    pub fn of_container(self, id: &str) -> Self {
        Self {
            container: Some(id.to_owned()),
            ..self
        }
    }

    /// How many bytes the session has recorded.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
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
            container: self.container.as_deref(),
            sequence: self.sequence,
            event,
        };
        // A number is used once, though its event may come to be half written.
        self.sequence += 1;
        let lock = || flock(&self.file, FlockOperation::LockExclusive);
        let written = rustix::io::retry_on_intr(lock)
            .map_err(io::Error::from)
            .and_then(|()| is_torn(&self.file))
            .and_then(|torn| {
                if torn {
                    self.line.push(b'\n');
                }
                serde_json::to_writer(&mut self.line, &line)?;
                self.line.push(b'\n');
                write_once(&mut self.file, &self.line)
            });
        // It cannot fail on what was locked, and ends with the descriptor at the latest.
        let unlocked = flock(&self.file, FlockOperation::Unlock).map_err(io::Error::from);
        let written = written.and(unlocked);
        written.map_err(|source| LogError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.written += self.line.len() as u64;
        Ok(())
    }
}

/// Whether the last line is half a one: the disk was full when it was written.
fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut end = [b'\n'];
    // A file that was cut meanwhile has nothing there.
    file.read_at(&mut end, last)?;
    Ok(end != [b'\n'])
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
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A log on a full disk.
    pub(crate) fn full_log() -> EventLog {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        EventLog {
            file,
            path: PathBuf::from("/dev/full"),
            session: String::new(),
            container: None,
            sequence: 0,
            written: 0,
            line: Vec::new(),
        }
    }

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
    fn an_event_begins_its_own_line_after_half_a_one() {
        let directory = scratch("torn");
        let path = directory.join("events");
        std::fs::write(&path, "{\"type\":\"vio").unwrap();
        let mut log = EventLog::open(&path, "s").unwrap().of_container("web");
        for _ in 0..2 {
            log.append(&Event::ContainerStart).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "{\"type\":\"vio"));
        for (sequence, line) in lines[1..].iter().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["sequence"], sequence);
            assert_eq!(line["container"], "web");
        }
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
        let result = full_log().append(&Event::Violation {
            reason: String::new(),
        });
        assert!(matches!(result, Err(LogError::Write { .. })));
    }
}
