//! The options of one mount in config.json, each known by its name.
//!
//! What no name here says is data for the file system itself, as other runtimes have it.

use crate::sys::mount::{Change, Reach, attr};

/// Attributes that an option of a mount can clear.
const CLEARABLE: u64 =
    attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NODIRATIME | attr::NOSYMFOLLOW;

/// Attributes of one mount, or of a whole tree of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// What is set.
    pub set: u64,
    /// What is cleared in so many words.
    pub clear: u64,
    /// When access times are kept, if something was said about it.
    pub atime: Option<u64>,
}

impl Attributes {
    pub(super) fn is_empty(self) -> bool {
        self == Attributes::default()
    }

    /// The attributes of a fresh mount, which starts with none.
    pub(super) fn fresh(self) -> u64 {
        self.set | self.atime.unwrap_or(0)
    }

    /// The change that makes an existing mount so, and leaves alone what was not named.
    pub(super) fn change(self) -> Change {
        let atime = self.atime.map_or(0, |_| attr::ATIME);
        Change {
            set: self.fresh(),
            clear: self.clear | atime,
            propagation: 0,
        }
    }

    fn apply(&mut self, effect: Attribute) {
        match effect {
            Attribute::Set(bits) => {
                self.set |= bits;
                self.clear &= !bits;
            }
            Attribute::Clear(bits) => {
                self.set &= !bits;
                self.clear |= bits & CLEARABLE;
            }
            Attribute::Times(when) => self.atime = Some(when),
            // The opposite of noatime is the kernel's default; the other two take back what
            // was said before them.
            Attribute::NotTimes(attr::NOATIME) => self.atime = Some(0),
            Attribute::NotTimes(when) => {
                if self.atime == Some(when) {
                    self.atime = None;
                }
            }
        }
    }
}

/// How a mount's peers see what is mounted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    pub reach: Reach,
}

impl Propagation {
    /// The propagation of that name.
    pub(super) fn named(name: &str) -> Option<Propagation> {
        match effect(name) {
            Some(Effect::Propagation(propagation)) => Some(propagation),
            _ => None,
        }
    }

    /// Whether no mount that it reaches shows the host what changes.
    pub(super) fn hears_only(self) -> bool {
        self.reach == Reach::Tree && matches!(self.kind, libc::MS_SLAVE | libc::MS_PRIVATE)
    }

    pub(super) fn change(self) -> Change {
        Change {
            propagation: self.kind,
            ..Change::default()
        }
    }
}

/// One word or one `name=value` for the file system.
pub(super) type Datum = (String, Option<String>);

/// What all the options of one mount ask for together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Of the mount itself.
    pub own: Attributes,
    /// Of the mount and all that is mounted below it.
    pub tree: Attributes,
    /// A bind mount, of one mount or of a tree.
    pub bind: Option<Reach>,
    /// A change of what is mounted there already.
    pub remount: bool,
    /// In the order given.
    pub propagation: Vec<Propagation>,
    /// Flags of the file system that every kind knows: sync, dirsync, ...
    pub superblock: Vec<&'static str>,
    /// Owners translated by a user namespace, of one mount or of the tree.
    pub idmap: Option<Reach>,
    /// A tmpfs starts with what it covers.
    pub copy_up: bool,
    /// A source that is a symbolic link is made again at the target.
    pub copy_symlink: bool,
    /// A source that is a symbolic link is meant itself.
    pub source_link: bool,
    /// A target that is a symbolic link is meant itself.
    pub target_link: bool,
    /// For the file system.
    pub data: Vec<Datum>,
}

impl Options {
    /// Reads options in their order; a later one wins.
    pub(super) fn parse<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Options {
        let mut options = Options::default();
        for word in words {
            let word = word.as_ref();
            match effect(word) {
                Some(effect) => options.apply(effect),
                None if word.is_empty() => {}
                None => options.data.push(match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                }),
            }
        }
        options
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Own(attribute) => self.own.apply(attribute),
            Effect::Tree(attribute) => self.tree.apply(attribute),
            Effect::Bind(reach) => self.bind = Some(reach),
            Effect::Remount => self.remount = true,
            Effect::Propagation(propagation) => self.propagation.push(propagation),
            Effect::Superblock(flag) => {
                if !self.superblock.contains(&flag) {
                    self.superblock.push(flag);
                }
            }
            Effect::NoSuperblock(flag) => self.superblock.retain(|known| *known != flag),
            Effect::IdMap(reach) => self.idmap = Some(reach),
            Effect::CopyUp => self.copy_up = true,
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SourceLink => self.source_link = true,
            Effect::TargetLink => self.target_link = true,
        }
    }

    /// Whether one of the names that this file knows, or the file system's data, sets `name`.
    pub(super) fn datum(&self, name: &str) -> Option<&str> {
        let found = self.data.iter().rev().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref())
    }
}

#[derive(Debug, Clone, Copy)]
enum Attribute {
    Set(u64),
    Clear(u64),
    Times(u64),
    NotTimes(u64),
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Nothing,
    Own(Attribute),
    Tree(Attribute),
    Bind(Reach),
    Remount,
    Propagation(Propagation),
    Superblock(&'static str),
    NoSuperblock(&'static str),
    IdMap(Reach),
    CopyUp,
    CopySymlink,
    SourceLink,
    TargetLink,
}

/// The names that the attributes of a mount go by; an `r` before one makes it the whole tree's.
const ATTRIBUTES: &[(&str, Attribute)] = &[
    ("ro", Attribute::Set(attr::RDONLY)),
    ("rw", Attribute::Clear(attr::RDONLY)),
    ("nosuid", Attribute::Set(attr::NOSUID)),
    ("suid", Attribute::Clear(attr::NOSUID)),
    ("nodev", Attribute::Set(attr::NODEV)),
    ("dev", Attribute::Clear(attr::NODEV)),
    ("noexec", Attribute::Set(attr::NOEXEC)),
    ("exec", Attribute::Clear(attr::NOEXEC)),
    ("nodiratime", Attribute::Set(attr::NODIRATIME)),
    ("diratime", Attribute::Clear(attr::NODIRATIME)),
    ("nosymfollow", Attribute::Set(attr::NOSYMFOLLOW)),
    ("symfollow", Attribute::Clear(attr::NOSYMFOLLOW)),
    ("relatime", Attribute::Times(0)),
    ("norelatime", Attribute::NotTimes(0)),
    ("noatime", Attribute::Times(attr::NOATIME)),
    ("atime", Attribute::NotTimes(attr::NOATIME)),
    ("strictatime", Attribute::Times(attr::STRICTATIME)),
    ("nostrictatime", Attribute::NotTimes(attr::STRICTATIME)),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

const OTHERS: &[(&str, Effect)] = &[
    ("defaults", Effect::Nothing),
    // How loud the kernel's log is about the mount; it has no effect on what is mounted.
    ("silent", Effect::Nothing),
    ("loud", Effect::Nothing),
    ("bind", Effect::Bind(Reach::One)),
    ("rbind", Effect::Bind(Reach::Tree)),
    ("remount", Effect::Remount),
    ("sync", Effect::Superblock("sync")),
    ("async", Effect::NoSuperblock("sync")),
    ("dirsync", Effect::Superblock("dirsync")),
    ("lazytime", Effect::Superblock("lazytime")),
    ("nolazytime", Effect::NoSuperblock("lazytime")),
    ("mand", Effect::Superblock("mand")),
    ("nomand", Effect::NoSuperblock("mand")),
    ("iversion", Effect::Superblock("iversion")),
    ("noiversion", Effect::NoSuperblock("iversion")),
    ("idmap", Effect::IdMap(Reach::One)),
    ("ridmap", Effect::IdMap(Reach::Tree)),
    ("tmpcopyup", Effect::CopyUp),
    ("copy-symlink", Effect::CopySymlink),
    ("src-nofollow", Effect::SourceLink),
    ("dest-nofollow", Effect::TargetLink),
];

fn effect(word: &str) -> Option<Effect> {
    fn named<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
        let found = table.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value)
    }
    let propagation = |word, reach| {
        named(PROPAGATION, word).map(|kind| Effect::Propagation(Propagation { kind, reach }))
    };
    named(OTHERS, word)
        .or_else(|| named(ATTRIBUTES, word).map(Effect::Own))
        .or_else(|| propagation(word, Reach::One))
        .or_else(|| {
            let of_tree = word.strip_prefix('r')?;
            named(ATTRIBUTES, of_tree)
                .map(Effect::Tree)
                .or_else(|| propagation(of_tree, Reach::Tree))
        })
}

/// Every option that is known by name, as `features` lists them.
pub fn known_options() -> impl Iterator<Item = String> {
    let attributes = ATTRIBUTES.iter().map(|(name, _)| *name);
    let both = attributes.chain(PROPAGATION.iter().map(|(name, _)| *name));
    both.flat_map(|name| [name.to_owned(), format!("r{name}")])
        .chain(OTHERS.iter().map(|(name, _)| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(words)
    }

    #[test]
    fn what_has_no_name_here_is_for_the_file_system() {
        let options = parse(&[
            "size=1m",
            "nosuid",
            "mode=755",
            "nr_inodes=k=2",
            "usrquota",
            "",
        ]);
        let data: Vec<_> = options
            .data
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        assert_eq!(
            data,
            [
                ("size", Some("1m")),
                ("mode", Some("755")),
                ("nr_inodes", Some("k=2")),
                ("usrquota", None)
            ]
        );
        assert_eq!(options.own.set, attr::NOSUID);
    }

    #[test]
    fn a_later_option_wins() {
        let own = |words: &[&str]| parse(words).own;
        assert_eq!(own(&["ro", "rw"]).set, 0);
        assert_eq!(own(&["ro", "rw"]).clear, attr::RDONLY);
        assert_eq!(own(&["rw", "ro"]).set, attr::RDONLY);
        assert_eq!(own(&["rw", "ro"]).clear, 0);
        assert_eq!(
            own(&["noatime", "strictatime"]).atime,
            Some(attr::STRICTATIME)
        );
        assert_eq!(own(&["noatime", "atime"]).atime, Some(0));
        assert_eq!(own(&["strictatime", "nostrictatime"]).atime, None);
        assert_eq!(
            own(&["noatime", "nostrictatime"]).atime,
            Some(attr::NOATIME)
        );
        assert_eq!(parse(&["sync", "async", "dirsync"]).superblock, ["dirsync"]);
        assert_eq!(parse(&["bind", "rbind"]).bind, Some(Reach::Tree));
    }

    #[test]
    fn an_r_before_it_means_the_tree() {
        let options = parse(&[
            "rro",
            "rnosymfollow",
            "rsuid",
            "rnoatime",
            "relatime",
            "rshared",
        ]);
        assert_eq!(options.tree.set, attr::RDONLY | attr::NOSYMFOLLOW);
        assert_eq!(options.tree.clear, attr::NOSUID);
        assert_eq!(options.tree.atime, Some(attr::NOATIME));
        assert_eq!(options.own.atime, Some(0));
        let shared = Propagation {
            kind: libc::MS_SHARED,
            reach: Reach::Tree,
        };
        assert_eq!(options.propagation, [shared]);
    }

    #[test]
    fn options_of_a_bind_mount_leave_alone_what_they_do_not_name() {
        let change = parse(&["ro", "exec"]).own.change();
        assert_eq!(change.set, attr::RDONLY);
        assert_eq!(change.clear, attr::NOEXEC);
        let change = parse(&["noatime"]).own.change();
        assert_eq!(change.set, attr::NOATIME);
        assert_eq!(change.clear, attr::ATIME);
    }

    #[test]
    fn every_known_option_is_known() {
        let known: Vec<String> = known_options().collect();
        assert!(known.iter().any(|name| name == "rnosymfollow"));
        for name in &known {
            assert!(parse(&[name]).data.is_empty(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_option_is_too_strange(words in prop::collection::vec("[a-z=,\\PC]{0,12}", 0..8)) {
            let options = Options::parse(&words);
            // Nothing is lost: what is not known is data.
            let data = words.iter().filter(|word| !word.is_empty() && effect(word).is_none());
            prop_assert_eq!(options.data.len(), data.count());
        }

        #[test]
        fn nothing_is_set_and_cleared(
            words in prop::collection::vec(
                prop::sample::select(known_options().collect::<Vec<_>>()), 0..12)
        ) {
            let options = Options::parse(&words);
            for attributes in [options.own, options.tree] {
                prop_assert_eq!(attributes.set & attributes.clear, 0);
                let change = attributes.change();
                prop_assert_eq!(change.set & change.clear & !attr::ATIME, 0);
            }
        }
    }
}
