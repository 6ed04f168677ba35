//! Containers with an interface beside the loopback, and containers of an ordinary user.

use std::fs;
use std::os::unix::fs::chown;

use serde_json::{Value, json};

use super::super::linked::INSIDE;
use super::super::{RESET, WEB, WEB_6, to};
use super::{PYTHON, Place, TRIES, Tries, allowed, answers, detail, is, policy_of, tries};
use crate::support::{USER, alone, is_root};

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Value {
    json!({ "family": family, "kind": kind, "protocol": protocol })
}

/// What is tried by the interface, and what comes of it.
fn by_interface() -> (Vec<Value>, Vec<Value>) {
    let by = |host: &str, port: u16| json!({ "to": [host, port], "device": "eth0" });
    let ip = |words: &str| {
        let command = format!("ip {words}");
        json!({ "run": command.split(' ').collect::<Vec<_>>() })
    };
    let all = [
        (by("allowed.example", 7), json!("hello")),
        (
            json!({ "to": ["allowed.example", 7], "own": "eth0" }),
            json!("hello"),
        ),
        (
            json!({ "to": ["allowed.example", 7], "device": "eth0", "udp": true }),
            json!("hello"),
        ),
        (by(WEB, 80), json!("ECONNRESET")),
        (by(WEB_6, 80), json!("ECONNRESET")),
        (by("10.9.0.80", 80), json!("ECONNRESET")),
        (by("45.80.0.1", 8000), json!("ECONNRESET")),
        (by("gateway", 8000), json!("ECONNREFUSED")),
        (
            socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
            json!("made"),
        ),
        (
            socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_XFRM),
            json!("EPROTONOSUPPORT"),
        ),
        (
            socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
            json!("EAFNOSUPPORT"),
        ),
        (ip("link show eth0"), json!(0)),
        (ip("link set eth0 down"), json!(2)),
        // One end here, and the other where another process is: here, of the same network.
        (
            ip("link add further type veth peer name other netns 1"),
            json!(2),
        ),
        (ip("address add 45.80.0.81/32 dev eth0"), json!(2)),
    ];
    all.into_iter().unzip()
}

fn linked(mut config: Value) -> Value {
    config["annotations"] = json!({ "buntime.dev/network": "veth" });
    config
}

/// It leads where every other way leads, and no process has rights over it, whatever the configuration and whoever joins
/// the container say.
#[test]
fn a_container_has_an_interface_that_leads_where_a_rule_says() {
    let _alone = alone();
    if !is_root("a_container_has_an_interface_that_leads_where_a_rule_says") {
        return;
    }
    let place = Place::new();
    let (wanted, expected) = by_interface();
    let wanted = Value::from(wanted).to_string();
    let inside = [PYTHON, "-I", "-c", INSIDE, &wanted];
    let config = linked(place.config(&["/usr/bin/sleep", "1000"]));
    let given = ["--cap", "CAP_NET_ADMIN", "--cap", "CAP_SYS_ADMIN"];
    let runs = ["host", "pod", "hook"].map(|network| {
        json!({ "network": network, "config": config, "policy": allowed(), "exec": [inside], "joining": given })
    });
    let mut closed = json!({ "network": "own", "config": config, "policy": policy_of(&json!([])) });
    closed["policy"]["audit"] = json!({});
    let mut all = runs.to_vec();
    all.push(closed);
    let config = linked(place.config(&inside));
    all.push(json!({ "network": "host", "config": config, "policy": allowed() }));
    let (seen, arrived) = place.run(&all);
    let refused = seen[3]["errors"].as_str().unwrap_or_default();
    assert!(refused.contains("lets nothing leave"), "{:#}", seen[3]);
    let said = |run: &Value| match &run["exec"] {
        Value::Array(joined) => serde_json::from_str(joined[0].as_str().unwrap_or_default()),
        _ => serde_json::from_str(run["output"].as_str().unwrap_or_default()),
    };
    for run in seen[..3].iter().chain(&seen[4..]) {
        let said: Vec<Value> = said(run).unwrap_or_else(|error| panic!("{error}: {run:#}"));
        assert_eq!(said[0]["names"], json!(["lo", "eth0"]), "{run:#}");
        assert_eq!(said[1..], expected, "{run:#}");
        let address = said[0]["address"].as_str().unwrap_or_default();
        assert!(detail(run, "network").contains(address), "{run:#}");
        assert!(
            detail(run, "network").contains("no CAP_NET_ADMIN"),
            "{run:#}"
        );
    }
    // Two connections of each.
    assert_eq!(arrived.len(), 2 * 4, "{arrived:?}");
}

/// Who is not root has the same, with what an ordinary user may do.
#[test]
fn an_ordinary_users_container_reaches_what_its_policy_names() {
    let _alone = alone();
    if !is_root("an_ordinary_users_container_reaches_what_its_policy_names") {
        return;
    }
    let place = Place::new();
    chown(place.scratch.path().join("rootfs"), Some(USER), Some(USER))
        .expect("it can be given away");
    let Tries { tries, expected } = tries();
    let mut config = place.config(&[PYTHON, "-I", "-c", TRIES, &Value::from(tries).to_string()]);
    let own = json!({ "containerID": 0, "hostID": USER, "size": 1 });
    config["linux"]["uidMappings"] = json!([own]);
    config["linux"]["gidMappings"] = json!([own]);
    let namespaces = config["linux"]["namespaces"]
        .as_array_mut()
        .expect("a list");
    namespaces.push(json!({ "type": "user" }));
    let run = |config: &Value| {
        let flags = ["--egress", "host"];
        json!({ "network": "own", "config": config, "policy": allowed(), "flags": flags, "user": USER })
    };
    let mut read = run(&config);
    read["policy"]["http"] = json!({ "rules": [
        { "action": "allow", "host": "allowed.example", "methods": ["GET"] },
    ] });
    let mut others = place.trying(&[to("allowed.example", 80), to("allowed.example", 8000)]);
    others["linux"] = config["linux"].clone();
    read["config"] = others;
    let (seen, _) = place.run(&[run(&config), run(&linked(config.clone())), read]);
    for run in &seen[..2] {
        let answers = answers(run);
        for (number, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
            assert!(is(answer, expected), "{number}: {answer}: {run:#}");
        }
        assert_eq!(answers.len(), expected.len());
        assert!(detail(run, "egress").contains("host's"), "{run:#}");
    }
    let read = answers(&seen[2]);
    assert!(
        is(&read[0], "HTTP/1.1 200 OK") && is(&read[1], RESET),
        "{:#}",
        seen[2]
    );
    assert!(
        fs::exists(place.scratch.path().join("rootfs/run/buntime")).is_ok_and(|is_there| is_there)
    );
}
