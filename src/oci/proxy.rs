//! Where programs that like a proxy find one, and how they are told.

use std::ffi::OsString;
use std::net::Ipv4Addr;

use crate::launch::Subnet;
use crate::policy::NetPlan;

/// The port unless another one is asked for.
const PORT: u16 = 8080;

/// The sandbox's own addresses are reached without it.
const OWN: &str = "localhost,127.0.0.0/8,127.0.0.1,::1";

/// The port of the proxy of a sandbox with this network; `asked` may say another one, or 0 for none.
pub(super) fn port(net: NetPlan, asked: Option<u16>) -> Option<u16> {
    let wanted = Some(asked.unwrap_or(PORT)).filter(|port| *port != 0);
    wanted.filter(|_| net == NetPlan::Egress)
}

/// The variables that tell programs of it, beside those that are in `env` already. It is at the other end of the
/// interface, where there is one.
pub(super) fn variables(
    port: Option<u16>,
    link: Option<Subnet>,
    env: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let Some(port) = port else {
        return Vec::new();
    };
    let at = link.map_or(Ipv4Addr::LOCALHOST, |subnet| subnet.gateway().0);
    let proxy = format!("http://{at}:{port}");
    let own = link.map(|subnet| {
        let (v4, v6) = subnet.inside();
        format!("{OWN},{v4},{v6}")
    });
    let told = [
        ("http_proxy", proxy.as_str()),
        ("https_proxy", proxy.as_str()),
        ("no_proxy", own.as_deref().unwrap_or(OWN)),
    ];
    let both = told
        .into_iter()
        .flat_map(|(name, value)| [(name.to_owned(), value), (name.to_uppercase(), value)]);
    let new = both.filter(|(name, _)| !env.iter().any(|(given, _)| given == name.as_str()));
    new.map(|(name, value)| (name.into(), value.into()))
        .collect()
}
