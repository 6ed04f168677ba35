//! Addresses, names and ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use super::request::Proto;
use super::special::{self, HOST_NAME};

/// What a net rule speaks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Every address and every name.
    Any,
    /// The addresses of a network.
    Cidr(IpNet),
    /// One name, in lower case and without its last dot.
    Host(Box<str>),
    /// Every name below this one, kept with its first dot.
    Below(Box<str>),
}

/// Ports: single ones and ranges, sorted; empty is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ports(Box<[(u16, u16)]>);

/// A net rule without its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetPattern {
    /// `None` is both.
    pub proto: Option<Proto>,
    pub target: Target,
    pub ports: Ports,
}

impl Ports {
    /// `443`, `80,443`, `8000-9000`.
    pub fn parse(text: &str) -> Result<Ports, String> {
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let range = (port(low)?, port(high)?);
            if range.1 < range.0 {
                return Err(format!("the range {part} ends before it starts"));
            }
            ranges.push(range);
        }
        ranges.sort_unstable();
        Ok(Ports(ranges.into()))
    }

    /// One port.
    pub fn one(port: u16) -> Ports {
        Ports(Box::new([(port, port)]))
    }

    /// Whether every port is meant.
    pub fn is_all(&self) -> bool {
        self.0.is_empty() || *self.0 == [(0, u16::MAX)]
    }

    fn contains(&self, port: u16) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&port))
    }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.trim();
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().ok_or_else(|| {
        format!(
            "{text:?} is no port; ports are 0 to 65535, as in \"443\", \"80,443\" or \"8000-9000\""
        )
    })
}

impl Target {
    /// A network as `10.0.0.0/8`, or one address.
    pub fn cidr(text: &str) -> Result<Target, String> {
        let network = match IpAddr::from_str(text) {
            Ok(address) => IpNet::from(address),
            Err(_) => IpNet::from_str(text).map_err(|_| {
                format!("{text:?} is no network; write 10.0.0.0/8, fd00::/8 or one address")
            })?,
        };
        Ok(Target::Cidr(canonical_network(network.trunc())))
    }

    /// Whether it names this name, which is in its one form.
    pub fn is_about(&self, name: &str) -> bool {
        match self {
            Target::Any | Target::Cidr(_) => false,
            Target::Host(host) => **host == *name,
            Target::Below(suffix) => name.ends_with(&**suffix),
        }
    }

    /// A name, `*.name`, or an address.
    pub fn host(text: &str) -> Result<Target, String> {
        if let Some(address) = address_of(text) {
            return Ok(Target::Cidr(IpNet::from(address)));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let mut buffer = [0; MAX_NAME];
        let name = canonical_name(name, &mut buffer).ok_or_else(|| {
            format!("{text:?} is no host name; write name.example, *.name.example or an address, international names as xn--")
        })?;
        Ok(if below {
            Target::Below(format!(".{name}").into())
        } else {
            Target::Host(name.into())
        })
    }
}

/// A network of IPv4-mapped addresses is the IPv4 network.
fn canonical_network(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    }
}

/// An IPv4-mapped address is the IPv4 address.
pub(super) fn canonical_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

const MAX_NAME: usize = 253;

/// The name in lower case without its last dot; `None` when it is no host name.
fn canonical_name<'b>(name: &str, buffer: &'b mut [u8; MAX_NAME]) -> Option<&'b str> {
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let mut label = 0;
    for (to, from) in buffer.iter_mut().zip(name) {
        label = match from {
            b'.' if label == 0 => return None,
            b'.' => 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < 63 => label + 1,
            _ => return None,
        };
        *to = from.to_ascii_lowercase();
    }
    if label == 0 {
        return None;
    }
    std::str::from_utf8(&buffer[..name.len()]).ok()
}

/// The address that a host text is, in every spelling that resolvers take: dotted, short,
/// decimal, octal, hexadecimal, and in brackets.
pub(super) fn address_of(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare {
        return Ipv6Addr::from_str(bare)
            .ok()
            .map(|v6| canonical_address(v6.into()));
    }
    if let Ok(v6) = Ipv6Addr::from_str(host) {
        return Some(canonical_address(v6.into()));
    }
    legacy_v4(host.strip_suffix('.').unwrap_or(host)).map(IpAddr::V4)
}

/// What inet_aton takes: one to four numbers, the last of which fills the rest.
fn legacy_v4(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = [0u64; 4];
    let mut count = 0;
    for part in text.split('.') {
        let number = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some("") => 0,
            Some(digits) => radix(digits, 16)?,
            None if part.len() > 1 && part.starts_with('0') => radix(part, 8)?,
            None => radix(part, 10)?,
        };
        *numbers.get_mut(count)? = number;
        count += 1;
    }
    let (last, leading) = numbers[..count].split_last()?;
    let mut address: u64 = 0;
    for number in leading {
        address = address << 8 | (*number < 256).then_some(*number)?;
    }
    let bits = 32 - 8 * leading.len();
    (*last < 1 << bits).then(|| Ipv4Addr::from((address << bits | last) as u32))
}

fn radix(digits: &str, radix: u32) -> Option<u64> {
    let valid = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if valid {
        u64::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

/// A net request with its name and address brought into one form.
pub(super) struct NetQuery<'b> {
    pub proto: Proto,
    pub port: u16,
    pub addr: Option<IpAddr>,
    pub name: Option<&'b str>,
    /// The network in which a rule has to be, to speak of the address.
    special: Option<IpNet>,
    /// It is about an address of the host, which the worker's own loopback is not.
    pub of_host: bool,
}

/// Room for a name in its one form.
pub(super) struct NameBuffer([u8; MAX_NAME]);

impl NameBuffer {
    pub fn new() -> NameBuffer {
        NameBuffer([0; MAX_NAME])
    }
}

impl<'b> NetQuery<'b> {
    /// Whether a rule has to name what is asked for, by which the rules about everything do not hold.
    pub fn is_special(&self) -> bool {
        self.name == Some(HOST_NAME) || self.special.is_some()
    }

    /// The same about an address of the host itself.
    pub fn of_own(self) -> NetQuery<'b> {
        let special = self.special.or(self.addr.map(IpNet::from));
        NetQuery {
            special,
            of_host: true,
            ..self
        }
    }

    /// `None` when the host is neither a name nor an address, or says another address than is
    /// dialled: such a request is denied whatever the rules say.
    pub fn of(
        proto: Proto,
        host: Option<&str>,
        addr: Option<IpAddr>,
        port: u16,
        buffer: &'b mut NameBuffer,
    ) -> Option<NetQuery<'b>> {
        let addr = addr.map(canonical_address);
        let Some(host) = host else {
            return Some(NetQuery::new(proto, port, addr, None));
        };
        if let Some(spelled) = address_of(host) {
            let agrees = addr.is_none_or(|addr| addr == spelled);
            return agrees.then(|| NetQuery::new(proto, port, Some(spelled), None));
        }
        let name = canonical_name(host, &mut buffer.0)?;
        let own = name == "localhost" || name.ends_with(".localhost");
        let addr = addr.or(own.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        Some(NetQuery::new(proto, port, addr, Some(name)))
    }

    fn new(proto: Proto, port: u16, addr: Option<IpAddr>, name: Option<&'b str>) -> NetQuery<'b> {
        NetQuery {
            proto,
            port,
            addr,
            name,
            special: addr.and_then(special::network),
            of_host: false,
        }
    }
}

impl NetPattern {
    /// Every address, protocol and port.
    pub fn everything() -> NetPattern {
        NetPattern {
            proto: None,
            target: Target::Any,
            ports: Ports::default(),
        }
    }

    /// A flag's item: `HOST`, `HOST:PORTS`, `ADDRESS[/BITS]`, `ADDRESS:PORTS`, `[V6]:PORTS`, `:PORTS`.
    pub fn from_flag(text: &str) -> Result<NetPattern, String> {
        let (host, ports) = split_ports(text);
        let target = match host {
            "" | "*" if ports.is_some() || host == "*" => Target::Any,
            host if host.contains('/') => Target::cidr(host)?,
            host => Target::host(host)?,
        };
        let ports = ports.map(Ports::parse).transpose()?.unwrap_or_default();
        Ok(NetPattern {
            proto: None,
            target,
            ports,
        })
    }

    pub fn matches(&self, query: &NetQuery<'_>) -> bool {
        if !self.ports.contains(query.port) || self.proto.is_some_and(|proto| proto != query.proto)
        {
            return false;
        }
        match &self.target {
            Target::Any => true,
            Target::Cidr(network) => query.addr.is_some_and(|addr| network.contains(&addr)),
            named => query.name.is_some_and(|name| named.is_about(name)),
        }
    }

    /// Whether it matches and names what it speaks of: a special address by a network of such
    /// addresses, and the host's own loopback by its name. What permits something has to.
    pub fn names(&self, query: &NetQuery<'_>) -> bool {
        if !self.matches(query) {
            return false;
        }
        if query.name == Some(HOST_NAME) {
            return matches!(&self.target, Target::Host(host) if **host == *HOST_NAME);
        }
        match (query.special, &self.target) {
            (None, _) => true,
            (Some(special), Target::Cidr(network)) => special.contains(network),
            (Some(_), Target::Any | Target::Host(_) | Target::Below(_)) => false,
        }
    }

    /// Whether it could match a request for this name, in its one form, by whatever address it has.
    pub fn could_match(&self, name: &str) -> bool {
        match &self.target {
            Target::Any | Target::Cidr(_) => name != HOST_NAME,
            Target::Host(_) => self.target.is_about(name),
            Target::Below(_) => name != HOST_NAME && self.target.is_about(name),
        }
    }

    /// Whether it is about just this name.
    pub fn says(&self, name: &str) -> bool {
        matches!(&self.target, Target::Host(host) if **host == *name)
    }

    /// Whether it matches every request for this name, by whatever address it has.
    pub fn always_matches(&self, name: &str) -> bool {
        let is_named = self.target == Target::Any || self.target.is_about(name);
        is_named && self.is_every_kind()
    }

    /// Some host or address that it covers.
    pub fn example(&self) -> (Option<String>, Option<IpAddr>) {
        match &self.target {
            Target::Any => (None, None),
            Target::Cidr(network) => (None, Some(network.addr())),
            Target::Host(host) => (Some(host.to_string()), None),
            Target::Below(suffix) => (Some(format!("any{suffix}")), None),
        }
    }

    /// The lowest port that it covers.
    pub fn first_port(&self) -> u16 {
        self.ports.0.first().map_or(0, |(low, _)| *low)
    }

    /// Whether it covers such a request.
    pub fn covers_request(
        &self,
        proto: Proto,
        host: Option<&str>,
        addr: Option<IpAddr>,
        port: u16,
    ) -> bool {
        let mut buffer = NameBuffer::new();
        NetQuery::of(proto, host, addr, port, &mut buffer).is_some_and(|query| self.matches(&query))
    }

    /// Whether it covers every packet to every place.
    pub fn is_everything(&self) -> bool {
        self.target == Target::Any && self.is_every_kind()
    }

    /// Whether it speaks of every protocol and port of its target.
    pub fn is_every_kind(&self) -> bool {
        self.proto.is_none() && self.ports.is_all()
    }

    /// Whether it could say something about the worker's own loopback.
    pub fn touches_loopback(&self) -> bool {
        match &self.target {
            Target::Any => true,
            Target::Cidr(IpNet::V4(v4)) => {
                v4.contains(&Ipv4Addr::LOCALHOST) || v4.network().is_loopback()
            }
            Target::Cidr(IpNet::V6(v6)) => v6.contains(&Ipv6Addr::LOCALHOST),
            Target::Host(host) => &**host == "localhost" || host.ends_with(".localhost"),
            Target::Below(suffix) => {
                ".localhost".ends_with(&**suffix) || suffix.ends_with(".localhost")
            }
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if low == high {
                write!(out, "{comma}{low}")?;
            } else {
                write!(out, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

/// Splits `:PORTS` off, with an eye on the colons of IPv6.
fn split_ports(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.rsplit_once("]:") {
            Some((host, ports)) => (&text[..host.len() + 1], Some(ports)),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => (host, Some(ports)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pattern: &str, host: Option<&str>, addr: Option<&str>, port: u16) -> Option<bool> {
        let pattern = NetPattern::from_flag(pattern).expect(pattern);
        let mut buffer = NameBuffer::new();
        let addr = addr.map(|addr| addr.parse().expect(addr));
        NetQuery::of(Proto::Tcp, host, addr, port, &mut buffer).map(|query| pattern.matches(&query))
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(
            asked("example.org", Some("EXAMPLE.org."), None, 443),
            Some(true)
        );
        assert_eq!(
            asked("example.org", Some("evilexample.org"), None, 443),
            Some(false)
        );
        assert_eq!(
            asked("*.example.org", Some("a.b.example.org"), None, 1),
            Some(true)
        );
        assert_eq!(
            asked("*.example.org", Some("example.org"), None, 1),
            Some(false)
        );
        assert_eq!(
            asked("*.example.org", Some("evilexample.org"), None, 1),
            Some(false)
        );
        assert_eq!(
            asked("example.org", Some("example.org.evil"), None, 1),
            Some(false)
        );
        assert_eq!(
            asked("example.org:443", Some("example.org"), None, 80),
            Some(false)
        );
        for bad in [
            "a..b",
            ".a",
            "a\0b",
            "exämple",
            "",
            "fe80::1%eth0",
            "a b",
            &"a".repeat(64),
        ] {
            assert_eq!(asked("*", Some(bad), None, 1), None, "{bad}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        let spellings = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "[::ffff:127.0.0.1]",
            "::ffff:7f00:1",
            "127.0.0.1.",
        ];
        for spelling in spellings {
            assert_eq!(
                asked("127.0.0.0/8", Some(spelling), None, 1),
                Some(true),
                "{spelling}"
            );
        }
        assert_eq!(
            asked("127.0.0.0/8", None, Some("::ffff:127.0.0.9"), 1),
            Some(true)
        );
        assert_eq!(
            asked("::ffff:10.0.0.0/104", None, Some("10.1.1.1"), 1),
            Some(true)
        );
        assert_eq!(
            asked("[fd00::1]:443", None, Some("fd00::1"), 443),
            Some(true)
        );
        assert_eq!(asked("fd00::/8", None, Some("fe80::1"), 443), Some(false));
        // A name and an address that disagree are nobody's request.
        assert_eq!(asked("*", Some("1.2.3.4"), Some("1.2.3.5"), 1), None);
        assert_eq!(asked("127.0.0.0/8", Some("localhost"), None, 1), Some(true));
    }

    #[test]
    fn ports_are_lists_of_ranges() {
        let ports = Ports::parse("80, 443,8000-9000").unwrap();
        assert!(ports.contains(80) && ports.contains(8500) && !ports.contains(81));
        assert!(Ports::default().contains(0) && Ports::parse("0-65535").unwrap().is_all());
        for bad in ["", "a", "1-", "-1", "2-1", "65536", "80,,81", "+80"] {
            assert!(Ports::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "a..b", "10.0.0.0/33", "exa mple", "a:b"] {
            assert!(NetPattern::from_flag(bad).is_err(), "{bad}");
        }
        assert!(NetPattern::from_flag(":443").is_ok_and(|net| net.target == Target::Any));
    }
}
