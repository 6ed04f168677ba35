//! A conversation with systemd, over its own socket or a message bus.
//!
//! One call at a time, by a process with one thread that is gone soon. Trusts systemd and the bus,
//! which run as root or as the caller. Never waits for ever.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{self, BEGINNING, Message, Method, Reader, Writer};

/// How long systemd may take for an answer, or for a job.
const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The host's.
    System,
    /// The caller's own (`systemd --user`).
    User,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// There is no way to systemd.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The conversation broke off.
    #[error("did not answer: {0}")]
    Broken(#[from] io::Error),
    /// systemd refused.
    #[error("{text} ({name})")]
    Refused {
        /// The error's name.
        name: String,
        /// What systemd says.
        text: String,
    },
    /// A job ended otherwise than well.
    #[error("the job ended as {0:?}")]
    Job(String),
}

impl BusError {
    /// Whether systemd refused with the error that ends in `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, BusError::Refused { name: own, .. } if own.rsplit('.').next() == Some(name))
    }
}

/// An open conversation.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Ends of jobs that were told before somebody waited for them: the job, and how it ended.
    ended: Vec<(String, String)>,
}

impl Bus {
    /// Opens one: by systemd's own socket where that is the caller's to use, else over the bus.
    pub(super) fn open(whose: Whose) -> Result<Bus, BusError> {
        let mut failures = Vec::new();
        if let Some(path) = private(whose) {
            match UnixStream::connect(&path).and_then(Bus::greet) {
                Ok(bus) => return Ok(bus),
                Err(error) => failures.push(format!("{}: {error}", path.display())),
            }
        }
        for address in addresses(whose) {
            match connect(&address).and_then(Bus::greet) {
                Ok(mut bus) => {
                    bus.register()?;
                    return Ok(bus);
                }
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        if failures.is_empty() {
            failures.push(
                "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a bus".to_owned(),
            );
        }
        Err(BusError::Unreachable(failures.join("; ")))
    }

    /// Says who calls, by the credentials that the kernel attests.
    fn greet(mut stream: UnixStream) -> io::Result<Bus> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = line(&mut stream)?;
            if line.starts_with("OK") {
                break;
            }
            if line != "DATA" {
                let why = format!("it does not let this user in: {line}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        Ok(Bus {
            stream,
            serial: 0,
            ended: Vec::new(),
        })
    }

    /// Takes a name on a bus, and asks for systemd's signals.
    fn register(&mut self) -> Result<(), BusError> {
        let bus = |member, signature| Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature,
        };
        self.call(&bus("Hello", ""), |_| {})?;
        let wanted =
            format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
        self.call(&bus("AddMatch", "s"), |arguments| arguments.string(&wanted))?;
        self.call(&manager("Subscribe", ""), |_| {}).map(|_| ())
    }

    /// Calls a method of the manager's; gives the answer's body.
    pub(super) fn manager(
        &mut self,
        member: &str,
        signature: &str,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Vec<u8>, BusError> {
        self.call(&manager(member, signature), write)
    }

    /// The same for a method that starts a job, whose end is waited for.
    pub(super) fn job(
        &mut self,
        member: &str,
        signature: &str,
        write: impl FnOnce(&mut Writer),
    ) -> Result<(), BusError> {
        let answer = self.manager(member, signature, write)?;
        let Some(job) = Reader::new(&answer).string() else {
            return Err(strange("an answer without a job"));
        };
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.ended.iter().position(|(ended, _)| ended == job) {
                return match self.ended.swap_remove(at) {
                    (_, result) if result == "done" => Ok(()),
                    (_, result) => Err(BusError::Job(result)),
                };
            }
            if Instant::now() > end {
                return Err(BusError::Broken(io::ErrorKind::TimedOut.into()));
            }
            let message = self.receive()?;
            self.note(&message);
        }
    }

    /// A property of the manager's that is a string.
    pub(super) fn property(&mut self, name: &str) -> Result<String, BusError> {
        let get = Method {
            interface: "org.freedesktop.DBus.Properties",
            ..manager("Get", "ss")
        };
        let answer = self.call(&get, |arguments| {
            arguments.string(MANAGER);
            arguments.string(name);
        })?;
        let value = Reader::new(&answer).variant_string().map(str::to_owned);
        value.ok_or_else(|| strange("a property that is no string"))
    }

    fn call(
        &mut self,
        method: &Method<'_>,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Vec<u8>, BusError> {
        let mut arguments = Writer::default();
        write(&mut arguments);
        self.serial += 1;
        let serial = self.serial;
        let message = wire::call(serial, method, &arguments.bytes)
            .ok_or_else(|| BusError::Broken(io::Error::from_raw_os_error(libc::EMSGSIZE)))?;
        self.stream.write_all(&message)?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.receive()? {
                Message::Return { to, body } if to == serial => return Ok(body),
                Message::Error { to, name, text } if to == serial => {
                    return Err(BusError::Refused { name, text });
                }
                other => self.note(&other),
            }
        }
        Err(BusError::Broken(io::ErrorKind::TimedOut.into()))
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        let mut message = vec![0; BEGINNING];
        self.stream.read_exact(&mut message)?;
        let beginning = message.first_chunk().and_then(wire::rest);
        let rest = beginning.ok_or_else(|| strange("what is no message"))?;
        message.resize(BEGINNING + rest, 0);
        self.stream.read_exact(&mut message[BEGINNING..])?;
        wire::parse(&message).ok_or_else(|| strange("what is no message"))
    }

    fn note(&mut self, message: &Message) {
        let Message::Signal { member, body } = message else {
            return;
        };
        if member != "JobRemoved" {
            return;
        }
        // Number, job, unit, result.
        let mut body = Reader::new(body);
        if let (Some(_), Some(job), Some(_), Some(result)) =
            (body.u32(), body.string(), body.string(), body.string())
        {
            self.ended.push((job.to_owned(), result.to_owned()));
        }
    }
}

fn manager<'a>(member: &'a str, signature: &'a str) -> Method<'a> {
    Method {
        destination: SYSTEMD,
        path: MANAGER_PATH,
        interface: MANAGER,
        member,
        signature,
    }
}

fn strange(what: &str) -> BusError {
    let why = format!("it sent {what}");
    BusError::Broken(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// A line of the greeting, without its end.
fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 4096 {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            b'\r' => {}
            other => line.push(other),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// systemd's own socket, which is for its own user alone: `systemctl` goes there too.
pub(super) fn private(whose: Whose) -> Option<PathBuf> {
    match whose {
        Whose::System => Some("/run/systemd/private".into()),
        Whose::User => Some(runtime_dir()?.join("systemd/private")),
    }
}

fn runtime_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    dir.filter(|dir| dir.is_absolute())
}

/// The addresses of the message bus, the first that works being the one.
fn addresses(whose: Whose) -> Vec<String> {
    let (variable, usual) = match whose {
        Whose::System => (
            "DBUS_SYSTEM_BUS_ADDRESS",
            Some("/run/dbus/system_bus_socket".into()),
        ),
        Whose::User => (
            "DBUS_SESSION_BUS_ADDRESS",
            runtime_dir().map(|dir| dir.join("bus")),
        ),
    };
    let named = std::env::var(variable).unwrap_or_default();
    if !named.is_empty() {
        return named.split(';').map(str::to_owned).collect();
    }
    let usual: Option<PathBuf> = usual;
    let usual = usual.map(|path| format!("unix:path={}", path.display()));
    usual.into_iter().collect()
}

/// Connects to an address of the forms `unix:path=PATH` and `unix:abstract=NAME`.
fn connect(address: &str) -> io::Result<UnixStream> {
    let unsupported = || io::Error::new(io::ErrorKind::Unsupported, "no address of a local bus");
    let pairs = address.strip_prefix("unix:").ok_or_else(unsupported)?;
    for (key, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = unescape(value).ok_or_else(unsupported)?;
        match key {
            "path" => return UnixStream::connect(Path::new(&OsString::from_vec(value))),
            "abstract" => {
                return UnixStream::connect_addr(&SocketAddr::from_abstract_name(value)?);
            }
            _ => {}
        }
    }
    Err(unsupported())
}

/// Values of addresses write other than plain characters as `%` and two hexadecimal digits.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        plain.push((high * 16 + low) as u8);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(unescape("/a%20b").unwrap(), b"/a b");
        assert_eq!(unescape("/a%2"), None);
        assert_eq!(unescape("/a%zz"), None);
        for wrong in ["tcp:host=x", "unix:tmpdir=/x", "unix:", ""] {
            let error = connect(wrong).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{wrong}");
        }
        let error = connect("unix:guid=1,path=/nonexistent/bus").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
