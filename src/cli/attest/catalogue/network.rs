//! The attacks on the network, which are made in one of their own.

use serde_json::{Value, json};

use super::{Attack, Control};

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/attacks/", $name))
    };
}

/// What stands before each of their programs.
pub(in crate::cli::attest) const WAYS: &str = file!("ways.py");
/// The network that they are made in, with the way out that they succeed on.
pub(in crate::cli::attest) const WORLD: &str = concat!(
    file!("servers.py"),
    file!("careless_proxy.py"),
    file!("world.py")
);

/// What a program runs under, once after the other, each a document and what its attempts are told
/// apart by.
#[derive(Debug)]
pub(in crate::cli::attest) struct Policies {
    each: &'static [(&'static str, &'static str)],
    /// What a run that goes on may be given instead.
    others: &'static [(&'static str, &'static str)],
    /// Beside another sandbox.
    neighbour: bool,
}

impl Policies {
    const fn new(each: &'static [(&'static str, &'static str)]) -> Policies {
        Policies {
            each,
            others: &[],
            neighbour: false,
        }
    }

    const fn or(mut self, others: &'static [(&'static str, &'static str)]) -> Policies {
        self.others = others;
        self
    }

    const fn beside_another(mut self) -> Policies {
        self.neighbour = true;
        self
    }

    /// As the world reads it.
    pub(in crate::cli::attest) fn as_json(&self) -> String {
        let texts = |list: &[(&str, &str)]| -> Value {
            let each = list.iter();
            each.map(|(name, text)| ((*name).to_owned(), Value::from(*text)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({"each": texts(self.each), "others": texts(self.others), "neighbour": self.neighbour})
            .to_string()
    }
}

const fn on(
    lines: &'static [u8],
    name: &'static str,
    fence: &'static str,
    program: &'static str,
    policies: &'static Policies,
) -> Attack {
    let mut attack = Attack::new(lines, name, fence, program);
    attack.control = Control::World;
    attack.policies = Some(policies);
    attack
}

/// Every host but one, by its name and by its addresses.
const ALL_BUT_ONE: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "allow", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "helm.example"}, {"action": "deny", "host": "denied.example"},
    {"action": "deny", "cidr": "45.80.0.81/32"}, {"action": "deny", "cidr": "2a0e:aaaa::81/128"}]}}"#;
/// One host by its name.
const ONE: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "allowed.example"}, {"action": "allow", "host": "helm.example"}]}}"#;
/// The same, and every name below another.
const ONE_AND_BELOW: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "allowed.example"}, {"action": "allow", "host": "helm.example"},
    {"action": "allow", "host": "*.wild.example"}]}}"#;
/// One host by its name and by its address, where another is too.
const FRONT: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "allowed.example"}, {"action": "allow", "cidr": "45.80.0.80/32"},
    {"action": "allow", "host": "helm.example"}, {"action": "deny", "host": "denied.example"}]}}"#;
/// One host, and names of whoever answers for them as he likes.
const ONE_AND_UNANSWERED: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "allowed.example"}, {"action": "allow", "host": "helm.example"},
    {"action": "allow", "host": "*.unanswered.example"}]}}"#;
/// A host that stays, and one that another policy takes away.
const TWO: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "helm.example"}, {"action": "allow", "host": "allowed.example"},
    {"action": "allow", "cidr": "45.80.0.80/32"}]}}"#;
const OTHER_OF_TWO: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "net": {"rules": [
    {"action": "allow", "host": "helm.example"}]}}"#;
/// A folder with sockets of the host that may only be read.
const FOLDER: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "fs": {"rules": [
    {"action": "allow", "path": "/run/granted", "perms": ["read_file", "read_dir"]}]}}"#;
/// The same, where writing is decided call by call.
const FOLDER_TO_WRITE: &str = r#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "deny"}, "fs": {"rules": [
    {"action": "allow", "path": "/run/granted", "perms": ["read_file", "read_dir", "write_file", "write_dir"]},
    {"action": "deny", "path": "/run/granted/*.sock", "perms": ["write_file"]}]}}"#;
const EMPTY: &[(&str, &str)] = &[
    ("no rules", r#"{"version": 1, "net": {"rules": []}}"#),
    ("no list", r#"{"version": 1}"#),
    ("no network", r#"{"version": 1, "net": {}}"#),
    (
        "deny alone",
        r#"{"version": 1, "net": {"rules": [{"action": "deny", "host": "another.example"}]}}"#,
    ),
];

const NAMES: &str = "one decision about the name and the address that is dialled";
const SAID: &str = "what is said names the host that was decided about";
const NOT_SHARED: &str = "a network of its own; Landlock's scopes";

pub(super) static NETWORK: &[Attack] = &[
    on(
        &[28],
        "disguised addresses",
        NAMES,
        file!("address_spellings.py"),
        &Policies::new(&[("", ALL_BUT_ONE)]),
    ),
    on(
        &[29],
        "inside addresses",
        "addresses inside are denied unless a rule names them",
        file!("inside_addresses.py"),
        &Policies::new(&[("", ALL_BUT_ONE)]),
    ),
    on(
        &[29, 38],
        "host loopback",
        "a network of its own",
        file!("host_loopback.py"),
        &Policies::new(&[
            ("no network", r#"{"version": 1}"#),
            ("network", ALL_BUT_ONE),
        ]),
    )
    .places(&[("PORT", "8800"), ("NAME", "attacked")]),
    on(
        &[30],
        "rebinding",
        NAMES,
        file!("rebinding.py"),
        &Policies::new(&[("", ALL_BUT_ONE)]),
    ),
    on(
        &[31],
        "lookalikes",
        "names are compared label by label",
        file!("lookalikes.py"),
        &Policies::new(&[("", ONE_AND_BELOW)]),
    )
    .places(&[("LIST", "allowed")]),
    on(
        &[31],
        "disguised names",
        NAMES,
        file!("lookalikes.py"),
        &Policies::new(&[("", ALL_BUT_ONE)]),
    )
    .places(&[("LIST", "denied")]),
    on(
        &[32],
        "disagreeing hosts",
        SAID,
        file!("disagreeing.py"),
        &Policies::new(&[("", FRONT)]),
    ),
    on(
        &[33],
        "smuggled requests",
        "every request is read once and written anew",
        file!("smuggling.py"),
        &Policies::new(&[("", FRONT)]),
    ),
    on(
        &[34],
        "redirections",
        "each connection is decided about",
        file!("led_elsewhere.py"),
        &Policies::new(&[("", ONE)]),
    ),
    on(
        &[35],
        "upgrades",
        SAID,
        file!("upgrades.py"),
        &Policies::new(&[("", FRONT)]),
    ),
    on(
        &[36],
        "packets",
        "a network of its own, seccomp, no capabilities",
        file!("packets.py"),
        &Policies::new(&[("", ONE)]),
    ),
    on(
        &[37],
        "tunnels of names",
        "only names that a rule allows are resolved",
        file!("dns_tunnels.py"),
        &Policies::new(&[("", ONE)]),
    ),
    on(
        &[38],
        "neighbours",
        NOT_SHARED,
        file!("neighbours.py"),
        &Policies::new(&[("", ALL_BUT_ONE)]).beside_another(),
    ),
    on(
        &[39],
        "granted sockets",
        "seccomp; the interceptor",
        file!("granted_sockets.py"),
        &Policies::new(&[("reading", FOLDER), ("writing", FOLDER_TO_WRITE)]),
    )
    .places(&[
        ("STREAM", "/run/granted/stream.sock"),
        ("DATAGRAM", "/run/granted/datagram.sock"),
    ]),
    on(
        &[39],
        "handed sockets",
        "seccomp; the interceptor",
        file!("handed_sockets.py"),
        &Policies::new(&[("reading", FOLDER), ("writing", FOLDER_TO_WRITE)]),
    ),
    on(
        &[40],
        "empty lists",
        "what no rule allows is denied",
        file!("empty_lists.py"),
        &Policies::new(EMPTY),
    ),
    on(
        &[41],
        "another policy",
        "connections are gone over when a policy comes",
        file!("another_policy.py"),
        &Policies::new(&[("", TWO)]).or(&[("wide", TWO), ("narrow", OTHER_OF_TWO)]),
    ),
    on(
        &[42],
        "exhaustion",
        "limits of connections, of time and of what is read",
        file!("exhausted.py"),
        &Policies::new(&[("", ONE_AND_UNANSWERED)]),
    ),
];
