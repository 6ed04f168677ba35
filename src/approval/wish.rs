//! What is wished for, and what is answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::policy::{Perm, Proto, RuleRef, Scope};

/// A kind of operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// One that needs this permission.
    Fs(Perm),
    /// A change of mode, owner, times or attributes.
    Change,
    /// Running a program, of this SHA-256 in lower-case hexadecimal where it is known.
    Exec(Option<String>),
    /// A connection.
    Connect,
    /// A request to a host.
    Request,
}

/// Where a connection is to lead: there and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The name, where it is for one.
    pub host: Option<String>,
    /// Any of these.
    pub addresses: BTreeSet<IpAddr>,
    /// The port.
    pub port: u16,
    /// By which transport.
    pub proto: Proto,
    /// The method, path and query, where it is about one request there.
    pub request: Option<String>,
}

impl Act {
    /// What a person is asked: "may the program ... PATH".
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Act::Fs(perm) => match perm {
                Perm::ReadFile => "read",
                Perm::WriteFile | Perm::MakeReg => "create or write",
                Perm::Execute => "run what it may run of",
                Perm::ReadDir => "list",
                Perm::WriteDir => "change the directory",
                Perm::RemoveDir => "remove the directory",
                Perm::RemoveFile => "remove or rename",
                Perm::MakeChar => "create the character device",
                Perm::MakeDir => "create the directory",
                Perm::MakeSock => "create the socket",
                Perm::MakeFifo => "create the named pipe",
                Perm::MakeBlock => "create the block device",
                Perm::MakeSym => "create the symbolic link",
            },
            Act::Change => "change the mode, owner, times or attributes of",
            Act::Exec(_) => "run the program",
            Act::Connect => "connect to",
            Act::Request => "request",
        }
    }

    /// Whether both were asked in the same words: creating a file and writing to it are one kind.
    fn is_like(&self, other: &Act) -> bool {
        match (self, other) {
            (Act::Fs(_), Act::Fs(_)) => self.words() == other.words(),
            _ => self == other,
        }
    }
}

/// One operation on one object, and the rule that asks about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    act: Act,
    object: Object,
    rule: RuleRef,
}

/// What an operation is on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object {
    Path(PathBuf),
    Site(Site),
}

impl Wish {
    /// A wish for what is at `path`; `None` where that is not absolute, or not resolved.
    #[must_use]
    pub fn new(act: Act, path: &Path, rule: RuleRef) -> Option<Wish> {
        let resolved = |part| matches!(part, Component::RootDir | Component::Normal(_));
        let is_whole = path.is_absolute() && path.components().all(resolved);
        is_whole.then(|| Wish {
            act,
            object: Object::Path(path.components().collect()),
            rule,
        })
    }

    /// A wish for a connection, or for a request.
    #[must_use]
    pub fn connection(site: Site, rule: RuleRef) -> Wish {
        let act = match site.request {
            None => Act::Connect,
            Some(_) => Act::Request,
        };
        Wish {
            act,
            object: Object::Site(site),
            rule,
        }
    }

    /// The kind of operation.
    #[must_use]
    pub fn act(&self) -> &Act {
        &self.act
    }

    /// The object, where it is at a path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.object {
            Object::Path(path) => Some(path),
            Object::Site(_) => None,
        }
    }

    /// Where to, of a connection.
    #[must_use]
    pub fn site(&self) -> Option<&Site> {
        match &self.object {
            Object::Site(site) => Some(site),
            Object::Path(_) => None,
        }
    }

    /// The rule that asks.
    #[must_use]
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// Whether one question is enough for both.
    pub(super) fn is_same(&self, other: &Wish) -> bool {
        self.act.is_like(&other.act) && self.object == other.object && self.rule == other.rule
    }
}

/// What somebody who was asked may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// No, this time.
    Deny,
    /// No, and nothing more is to be asked in this session: all of it is denied.
    Never,
    /// Yes, to the calls that wait now.
    Once,
    /// Yes, to this kind of operation on this path and everything below it, as long as the session
    /// lives and the same rule asks. The path is that of the wish, or one above it.
    Path(PathBuf),
    /// Yes, to this kind of operation wherever the same rule asks, as long as the session lives; of a
    /// connection, to the same name, addresses and port by the same transport.
    Session,
}

impl Answer {
    /// How far a yes reaches; `None` for a no.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Answer::Deny | Answer::Never => None,
            Answer::Once => Some(Scope::Once),
            Answer::Path(_) => Some(Scope::Path),
            Answer::Session => Some(Scope::Session),
        }
    }

    /// Whether it is an answer to a wish for this path, or for what has none.
    #[must_use]
    pub fn fits(&self, path: Option<&Path>) -> bool {
        match self {
            Answer::Path(place) => {
                place.is_absolute() && path.is_some_and(|path| path.starts_with(place))
            }
            _ => true,
        }
    }
}

/// What was allowed for longer than once.
#[derive(Debug)]
pub(super) struct Grant {
    act: Act,
    rule: RuleRef,
    /// `None` is wherever the rule asks.
    place: Option<Object>,
    /// The case that was answered so.
    pub number: u64,
}

impl Grant {
    /// What this answer to this wish allows from now on, if anything.
    pub fn of(answer: &Answer, wish: &Wish, number: u64) -> Option<Grant> {
        let place = match answer {
            Answer::Path(place) => Some(Object::Path(place.components().collect())),
            // Another address may be anybody's.
            Answer::Session => wish.site().cloned().map(Object::Site),
            Answer::Deny | Answer::Never | Answer::Once => return None,
        };
        Some(Grant {
            act: wish.act.clone(),
            rule: wish.rule.clone(),
            place,
            number,
        })
    }

    pub fn covers(&self, wish: &Wish) -> bool {
        let is_there = |place: &Object| match (place, &wish.object) {
            (Object::Path(place), Object::Path(path)) => path.starts_with(place),
            (place, object) => place == object,
        };
        self.act.is_like(&wish.act)
            && self.rule == wish.rule
            && self.place.as_ref().is_none_or(is_there)
    }
}
