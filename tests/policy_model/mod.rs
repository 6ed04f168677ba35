//! Random policies and worlds over a small alphabet, a naive reading of the language, and a
//! model of the kernel that carries out a plan.

mod kernel;
mod naive;
mod shapes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buntime::policy::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub use kernel::Kernel;
pub use naive::{naive_exec, naive_fs, naive_net, names_a_program};
pub use shapes::document;

pub fn vars() -> Vars {
    Vars {
        home: "/h".into(),
        pwd: "/w".into(),
        workspace: "/w".into(),
    }
}

pub fn parse(text: &str) -> Layer {
    Layer::parse(text.as_bytes(), "model", &vars())
        .unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// A layer as the tests see it.
#[derive(Debug, Clone)]
pub struct Model {
    pub fs_default: Option<&'static str>,
    pub net_default: Option<&'static str>,
    pub exec_default: Option<&'static str>,
    pub fs: Vec<(&'static str, String, Option<Vec<&'static str>>)>,
    pub net: Vec<(&'static str, String, Option<u16>)>,
    pub exec: Vec<(&'static str, String)>,
}

impl Model {
    pub fn text(&self) -> String {
        let mut defaults = serde_json::Map::new();
        for (name, default) in [
            ("fs", self.fs_default),
            ("net", self.net_default),
            ("exec", self.exec_default),
        ] {
            if let Some(default) = default {
                defaults.insert(name.into(), default.into());
            }
        }
        let fs: Vec<serde_json::Value> = self
            .fs
            .iter()
            .map(|(action, path, perms)| match perms {
                Some(perms) => serde_json::json!({"action": action, "path": path, "perms": perms}),
                None => serde_json::json!({"action": action, "path": path}),
            })
            .collect();
        let net: Vec<serde_json::Value> = self
            .net
            .iter()
            .map(|(action, target, port)| {
                let mut rule = serde_json::json!({"action": action});
                let kind = if target.starts_with(|byte: char| byte.is_ascii_digit()) {
                    "cidr"
                } else {
                    "host"
                };
                if !target.is_empty() {
                    rule[kind] = target.clone().into();
                }
                if let Some(port) = port {
                    rule["ports"] = (*port).into();
                }
                rule
            })
            .collect();
        let exec: Vec<serde_json::Value> = self
            .exec
            .iter()
            .map(|(action, path)| serde_json::json!({"action": action, "path": path}))
            .collect();
        serde_json::json!({"version": 1, "defaults": defaults, "fs": {"rules": fs},
            "net": {"rules": net}, "exec": {"rules": exec}})
        .to_string()
    }
}

pub fn merge(layers: &[Model], bundle: &[Grant]) -> Policy {
    let named = |(number, layer): (usize, &Model)| {
        let text = layer.text();
        Layer::parse(text.as_bytes(), &number.to_string(), &vars())
            .unwrap_or_else(|error| panic!("{text}\n{error}"))
    };
    let layers = layers.iter().enumerate().map(named).collect();
    Policy::merge(layers, bundle.to_vec()).unwrap()
}

/// Few names, so that rules meet: depth up to three below two names, and the bundle's places.
fn places() -> Vec<String> {
    let mut places = vec![
        "/".to_owned(),
        "/lib".into(),
        "/lib/a".into(),
        "/t".into(),
        "/t/a".into(),
    ];
    for one in ["a", "b"] {
        places.push(format!("/{one}"));
        for two in ["a", "b"] {
            places.push(format!("/{one}/{two}"));
            for three in ["a", "b"] {
                places.push(format!("/{one}/{two}/{three}"));
            }
        }
    }
    places
}

pub fn every_path() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = places().into_iter().map(PathBuf::from).collect();
    paths.extend(["/lib/b", "/t/b", "/c", "/a/c", "/a/a/a/a", "/b/b/c"].map(PathBuf::from));
    paths
}

fn literal() -> impl Strategy<Value = String> {
    select(places())
}

fn glob() -> impl Strategy<Value = String> {
    select(vec![
        "/*", "/a/*", "/a/**", "/**/b", "/a/?/b", "/[ab]/a", "/a/**/a", "/b/[!a]*", "/**",
    ])
    .prop_map(str::to_owned)
}

pub fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => literal(),
        1 => Just("/a/./b//a".to_owned()),
        1 => Just("/b/../a/b/".to_owned()),
        1 => Just("/ab".to_owned()),
        1 => Just("/a/c/b/d".to_owned()),
    ]
}

/// A path as a call has it, the root excepted.
pub fn place() -> impl Strategy<Value = String> {
    select(
        places()
            .into_iter()
            .chain(["/c".to_owned(), "/a/c".to_owned()])
            .filter(|path| path != "/")
            .collect::<Vec<_>>(),
    )
}

/// Everything up to three names below a directory, of names that rules know and one that none does.
pub fn suffixes() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|path| ["a", "b", "c"].map(|name| format!("{path}/{name}")))
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

pub fn perm() -> impl Strategy<Value = Perm> {
    select(Perm::ALL.to_vec())
}

pub fn host() -> impl Strategy<Value = String> {
    select(vec![
        "a.example",
        "b.a.example",
        "xa.example",
        "10.1.2.3",
        "11.0.0.1",
        "127.0.0.1",
    ])
    .prop_map(str::to_owned)
}

const GROUPS: [&[&str]; 8] = [
    &["read_file"],
    &["read_file", "read_dir"],
    &["write_file", "write_dir"],
    &["write_file", "write_dir", "make_char", "make_block"],
    &["execute"],
    &["make_reg"],
    &["remove_file", "remove_dir"],
    &["read_file", "read_dir", "write_file", "write_dir"],
];

fn perms() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop_oneof![
        2 => Just(None),
        4 => select(GROUPS.to_vec()).prop_map(|group| Some(group.to_vec())),
        1 => subsequence(Perm::ALL.map(Perm::name).to_vec(), 1..4).prop_map(Some),
    ]
}

fn action(all: bool) -> BoxedStrategy<&'static str> {
    if all {
        select(vec!["allow", "allow", "deny", "warn", "ask"]).boxed()
    } else {
        select(vec!["allow", "allow", "deny"]).boxed()
    }
}

fn default(all: bool) -> BoxedStrategy<Option<&'static str>> {
    if all {
        select(vec![
            None,
            Some("allow"),
            Some("deny"),
            Some("deny"),
            Some("warn"),
            Some("ask"),
        ])
        .boxed()
    } else {
        select(vec![None, Some("allow"), Some("deny"), Some("deny")]).boxed()
    }
}

impl Model {
    /// The path of the rule of that name, if it is a rule of this layer about paths.
    pub fn path_of(&self, what: &str) -> Option<&str> {
        let (section, number) = what.strip_suffix(']')?.split_once('[')?;
        let number: usize = number.parse().ok()?;
        match section {
            "fs" => self.fs.get(number).map(|(_, path, _)| path.as_str()),
            "exec" => self.exec.get(number).map(|(_, path)| path.as_str()),
            _ => None,
        }
    }
}

/// `all` is the whole language; otherwise what needs nobody who decides live.
pub fn layer(all: bool) -> impl Strategy<Value = Model> {
    let pattern = if all {
        prop_oneof![3 => literal(), 1 => glob()].boxed()
    } else {
        literal().boxed()
    };
    let fs = proptest::collection::vec((action(all), pattern.clone(), perms()), 0..5);
    let targets = select(vec![
        "",
        "a.example",
        "*.a.example",
        "10.0.0.0/8",
        "127.0.0.0/8",
    ])
    .prop_map(str::to_owned);
    let port = select(vec![None, Some(1), Some(2)]);
    let nets = if all { 0..3 } else { 0..1 };
    let net = proptest::collection::vec((action(all), targets, port), nets);
    let exec = proptest::collection::vec((action(all), pattern), 0..3);
    let net_default = if all {
        default(true)
    } else {
        Just(Some("deny")).boxed()
    };
    (default(all), net_default, default(all), fs, net, exec).prop_map(
        |(fs_default, net_default, exec_default, fs, net, exec)| Model {
            fs_default,
            net_default,
            exec_default,
            fs,
            net,
            exec,
        },
    )
}

/// Layers that speak of files and programs with the whole language, and of no network.
pub fn layers_without_network() -> impl Strategy<Value = Vec<Model>> {
    layers(true).prop_map(|mut layers| {
        for layer in &mut layers {
            layer.net.clear();
            layer.net_default = Some("deny");
        }
        layers
    })
}

pub fn layers(all: bool) -> impl Strategy<Value = Vec<Model>> {
    proptest::collection::vec(layer(all), 1..4)
}

/// Layers of which one at least has a default for files, and one for the network.
pub fn layers_with_defaults() -> impl Strategy<Value = Vec<Model>> {
    let verdict = || select(vec!["allow", "deny", "warn", "ask"]);
    let place = any::<proptest::sample::Index>;
    (layers(true), (place(), verdict()), (place(), verdict())).prop_map(|(mut layers, fs, net)| {
        if layers.iter().all(|layer| layer.fs_default.is_none()) {
            let at = fs.0.index(layers.len());
            layers[at].fs_default = Some(fs.1);
        }
        if layers.iter().all(|layer| layer.net_default.is_none()) {
            let at = net.0.index(layers.len());
            layers[at].net_default = Some(net.1);
        }
        layers
    })
}

pub fn bundle() -> impl Strategy<Value = Vec<Grant>> {
    let code = PermSet::READ.with(Perm::Execute);
    let all = vec![
        Grant {
            path: "/lib".into(),
            perms: code,
        },
        Grant {
            path: "/t".into(),
            perms: PermSet::READ.union(PermSet::WRITE),
        },
        Grant {
            path: "/b".into(),
            perms: PermSet::READ,
        },
    ];
    subsequence(all, 0..=3)
}

/// The host's files and what there is of kernel features.
#[derive(Debug, Clone)]
pub struct RandomWorld {
    kinds: BTreeMap<PathBuf, EntryKind>,
    links: u64,
    namespaces: bool,
    alias: Option<(PathBuf, PathBuf)>,
}

impl RandomWorld {
    /// The snapshot, when the bundle shows these.
    pub fn for_bundle(&self, bundle: &[Grant]) -> World {
        let shown = |path: &Path| {
            path == Path::new("/")
                || bundle
                    .iter()
                    .any(|grant| path.starts_with(&grant.path) && grant.path != Path::new("/t"))
                || (path == Path::new("/t") && bundle.iter().any(|grant| grant.path == path))
        };
        let mut entries: BTreeMap<PathBuf, Entry> = self
            .kinds
            .iter()
            .map(|(path, kind)| {
                let entry = Entry {
                    kind: *kind,
                    links: self.links,
                    in_bundle: shown(path),
                    real: path.clone(),
                };
                (path.clone(), entry)
            })
            .collect();
        if let Some((from, to)) = &self.alias
            && let Some(entry) = entries.get(to).cloned()
            && entry.kind != EntryKind::Missing
        {
            entries.insert(from.clone(), entry);
        }
        let private = bundle
            .iter()
            .map(|grant| grant.path.clone())
            .filter(|path| path == Path::new("/t"))
            .collect();
        World {
            through: BTreeMap::new(),
            aliases: BTreeMap::new(),
            entries,
            private: if self.namespaces { private } else { Vec::new() },
            namespaces: self.namespaces,
            landlock_abi: 7,
            command: Some("/c".into()),
            loaders: Vec::new(),
            helpers: vec!["/lib/b".into()],
            container: None,
        }
    }
}

pub fn world() -> impl Strategy<Value = RandomWorld> {
    let kinds = select(vec![
        EntryKind::Dir,
        EntryKind::Dir,
        EntryKind::File,
        EntryKind::Missing,
    ]);
    let all: Vec<PathBuf> = every_path();
    let count = all.len();
    let alias = select(vec![
        None,
        None,
        Some((PathBuf::from("/a/b"), PathBuf::from("/b/a"))),
        Some((PathBuf::from("/b"), PathBuf::from("/a"))),
    ]);
    (
        proptest::collection::vec(kinds, count),
        select(vec![1u64, 1, 1, 2]),
        prop::bool::weighted(0.8),
        alias,
    )
        .prop_map(move |(kinds, links, namespaces, alias)| {
            let mut kinds: BTreeMap<PathBuf, EntryKind> = all.iter().cloned().zip(kinds).collect();
            for root in ["/", "/lib", "/t"] {
                kinds.insert(root.into(), EntryKind::Dir);
            }
            kinds.insert("/c".into(), EntryKind::File);
            kinds.insert("/lib/b".into(), EntryKind::File);
            // Nothing is below what is no directory.
            let paths: Vec<PathBuf> = kinds.keys().cloned().collect();
            for path in paths {
                if let Some(parent) = path.parent()
                    && kinds
                        .get(parent)
                        .is_some_and(|kind| *kind != EntryKind::Dir)
                {
                    kinds.insert(path, EntryKind::Missing);
                }
            }
            let alias = alias.filter(|(from, _)| {
                let below = |path: &PathBuf| path != from && path.starts_with(from);
                kinds
                    .iter()
                    .all(|(path, kind)| !below(path) || *kind == EntryKind::Missing)
            });
            RandomWorld {
                kinds,
                links,
                namespaces,
                alias,
            }
        })
}

/// What a second policy has otherwise than a first one.
#[derive(Debug, Clone)]
pub enum Change {
    Nothing,
    Another(Vec<Model>),
    Rule(&'static str, String, Option<Vec<&'static str>>),
    Without(proptest::sample::Index),
    Action(proptest::sample::Index, &'static str),
}

pub fn change() -> impl Strategy<Value = Change> {
    let rule = (
        action(true),
        prop_oneof![2 => literal(), 1 => glob()],
        perms(),
    );
    let index = any::<proptest::sample::Index>;
    prop_oneof![
        1 => Just(Change::Nothing),
        2 => layers_without_network().prop_map(Change::Another),
        4 => rule.prop_map(|(action, path, perms)| Change::Rule(action, path, perms)),
        3 => index().prop_map(Change::Without),
        3 => (index(), action(true)).prop_map(|(at, action)| Change::Action(at, action)),
    ]
}

impl Change {
    pub fn made_to(&self, layers: &[Model]) -> Vec<Model> {
        let mut layers = layers.to_vec();
        let first = &mut layers[0].fs;
        match self {
            Change::Nothing => {}
            Change::Another(others) => return others.clone(),
            Change::Rule(action, path, perms) => first.push((action, path.clone(), perms.clone())),
            Change::Without(at) if !first.is_empty() => drop(first.remove(at.index(first.len()))),
            Change::Action(at, action) if !first.is_empty() => {
                let at = at.index(first.len());
                first[at].0 = action;
            }
            Change::Without(_) | Change::Action(..) => {}
        }
        layers
    }
}
