//! The addresses that stand for names inside one sandbox.
//!
//! Each name that is resolved gets one of each family, of ranges that no host of the Internet has
//! (RFC 2544 and RFC 4193). It stays that name's for as long as the sandbox lives.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// 198.18.0.0/15.
const V4: u32 = 0xc612_0000;

/// fd62:756e:7469:6d65::/96.
const V6: u128 = 0xfd62_756e_7469_6d65_0000_0000_0000_0000;

/// The most names that one sandbox may know.
const MOST: usize = 1 << 16;

/// What an address inside the sandbox stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A name that was resolved.
    Name(String),
    /// Nothing: it is of our range, and no name has it.
    Nothing,
    /// Itself.
    Address,
}

/// The names of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// The addresses of a name; `None` when there are too many names.
    pub(super) fn addresses(&self, name: &str) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let mut table = self.table();
        let number = match table.numbers.get(name) {
            Some(number) => *number,
            None if table.names.len() >= MOST => return None,
            None => {
                table.names.push(name.to_owned());
                let number = table.names.len() as u32;
                table.numbers.insert(name.to_owned(), number);
                number
            }
        };
        Some((
            Ipv4Addr::from(V4 + number),
            Ipv6Addr::from(V6 + u128::from(number)),
        ))
    }

    /// Whether a name has its addresses.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.table().numbers.contains_key(name)
    }

    /// What an address stands for.
    pub(super) fn meaning(&self, address: IpAddr) -> Meaning {
        let number = match address {
            IpAddr::V4(v4) => u32::from(v4)
                .checked_sub(V4)
                .filter(|number| *number < 1 << 17),
            IpAddr::V6(v6) => {
                let number = u128::from(v6).checked_sub(V6);
                number.and_then(|number| u32::try_from(number).ok())
            }
        };
        let Some(number) = number else {
            return Meaning::Address;
        };
        let table = self.table();
        let name = number
            .checked_sub(1)
            .and_then(|index| table.names.get(index as usize));
        name.map_or(Meaning::Nothing, |name| Meaning::Name(name.clone()))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_names() {
        let names = Names::default();
        let (first, of_v6) = names.addresses("a.example").unwrap();
        let (second, _) = names.addresses("b.example").unwrap();
        assert_ne!(first, second);
        assert_eq!(names.addresses("a.example"), Some((first, of_v6)));
        let name = Meaning::Name("a.example".to_owned());
        assert_eq!(names.meaning(first.into()), name);
        assert_eq!(names.meaning(of_v6.into()), name);
        for nobodys in [
            "198.18.0.0",
            "198.18.0.9",
            "198.19.255.255",
            "fd62:756e:7469:6d65::",
            "fd62:756e:7469:6d65::ffff:ffff",
        ] {
            assert_eq!(
                names.meaning(nobodys.parse().unwrap()),
                Meaning::Nothing,
                "{nobodys}"
            );
        }
        for address in ["198.20.0.0", "8.8.8.8", "fd62:756e:7469:6d65::1:0:0", "::1"] {
            assert_eq!(
                names.meaning(address.parse().unwrap()),
                Meaning::Address,
                "{address}"
            );
        }
    }

    #[test]
    fn a_sandbox_knows_so_many_names() {
        let names = Names::default();
        for number in 0..MOST {
            assert!(names.addresses(&format!("n{number}.example")).is_some());
        }
        assert_eq!(names.addresses("one-more.example"), None);
        assert!(names.addresses("n0.example").is_some());
        let (last, _) = names.addresses(&format!("n{}.example", MOST - 1)).unwrap();
        assert_eq!(last, Ipv4Addr::new(198, 19, 0, 0));
    }
}
