//! What a worker says that it is about to do, as the policy is asked about it.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::audit::Operation;
use crate::ipc::{Check, CheckKind};
use crate::policy::{Perm, Policy, Proto, Request, Verdict};

/// What a check is recorded as.
pub(super) fn operation(kind: CheckKind) -> Operation {
    match kind {
        CheckKind::FsRead => Operation::Read,
        CheckKind::FsWrite => Operation::Write,
        CheckKind::NetConnect => Operation::Connect,
        CheckKind::Exec => Operation::Run,
        CheckKind::ListDir => Operation::List,
    }
}

/// A worker's claim, parsed; it borrows the bytes of the check.
pub(super) enum Claim<'a> {
    Fs(&'a Path, Perm),
    Net(Proto, Option<&'a str>, Option<IpAddr>, u16),
    Exec(&'a Path),
}

impl<'a> Claim<'a> {
    pub fn parse(check: &'a Check) -> Option<Self> {
        if check.kind == CheckKind::NetConnect && check.detail != Some("unix") {
            let proto = if check.detail == Some("udp") {
                Proto::Udp
            } else {
                Proto::Tcp
            };
            return endpoint(std::str::from_utf8(&check.target).ok()?, proto);
        }
        let path = Path::new(OsStr::from_bytes(&check.target));
        if !path.is_absolute() {
            return None;
        }
        let named = check.detail.and_then(Perm::from_name);
        Some(match check.kind {
            CheckKind::Exec => Self::Exec(path),
            CheckKind::FsRead => Self::Fs(path, named.unwrap_or(Perm::ReadFile)),
            CheckKind::ListDir => Self::Fs(path, named.unwrap_or(Perm::ReadDir)),
            // Connecting to a Unix socket needs write permission on it (unix(7)).
            CheckKind::FsWrite | CheckKind::NetConnect => {
                Self::Fs(path, named.unwrap_or(Perm::WriteFile))
            }
        })
    }

    /// Whether the kernel holds such an operation for this verdict, and asks again. The worker does not
    /// say what a program contains.
    pub fn is_held(&self, policy: &Policy, verdict: Verdict) -> bool {
        let is_live = matches!(verdict, Verdict::Warn | Verdict::Ask);
        match self {
            Self::Net(..) => false,
            Self::Fs(..) => is_live,
            Self::Exec(path) => is_live || policy.compares_digest_of(path),
        }
    }

    /// Whether it is about a connection to an address or a name.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Net(..))
    }

    pub fn request(&self) -> Request<'a> {
        match *self {
            Self::Fs(path, perm) => Request::Fs { path, perm },
            Self::Net(proto, host, addr, port) => Request::Net {
                proto,
                host,
                addr,
                port,
            },
            Self::Exec(path) => Request::Exec { path, sha256: None },
        }
    }
}

/// `HOST:PORT`, `ADDRESS:PORT` or `[V6]:PORT`.
fn endpoint(text: &str, proto: Proto) -> Option<Claim<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(Claim::Net(proto, None, Some(address), port)),
        Err(_) if bare.is_empty() => None,
        Err(_) => Some(Claim::Net(proto, Some(bare), None, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: CheckKind, target: &str, detail: Option<&'static str>) -> Check {
        Check {
            id: 1,
            kind,
            target: target.into(),
            detail,
        }
    }

    #[test]
    fn a_claim_is_parsed_or_refused() {
        let net = check(CheckKind::NetConnect, "[::1]:80", Some("tcp"));
        assert!(matches!(
            Claim::parse(&net).map(|asked| match asked.request() {
                Request::Net { addr, port, .. } => (addr, port),
                _ => (None, 0),
            }),
            Some((Some(IpAddr::V6(_)), 80))
        ));
        for (kind, bad) in [
            (CheckKind::NetConnect, "localhost"),
            (CheckKind::NetConnect, ":80"),
            (CheckKind::NetConnect, "a:99999"),
            (CheckKind::FsRead, "etc/shadow"),
            (CheckKind::Exec, "sh"),
        ] {
            assert!(Claim::parse(&check(kind, bad, None)).is_none(), "{bad}");
        }
        let socket = check(CheckKind::NetConnect, "/run/x.sock", Some("unix"));
        assert!(matches!(
            Claim::parse(&socket),
            Some(Claim::Fs(_, Perm::WriteFile))
        ));
    }
}
