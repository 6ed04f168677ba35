//! Requests of a container that are read, out of TLS too, and what its programs trust for that.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::super::read::planted;
use super::{Place, answers, detail, policy_of};
use crate::support::{Child, PYTHON, alone, is_root};

/// What a program asks, and what it has: each line of the answer is what came of one.
const ASKING: &str = include_str!("read.py");

fn read() -> Value {
    let mut policy = policy_of(&json!([
        { "action": "allow", "host": "allowed.example" },
        { "action": "allow", "host": "six.example" },
    ]));
    policy["http"] = json!({ "rules": [
        { "action": "allow", "host": "allowed.example", "methods": ["GET"], "path": "/v1" },
    ] });
    policy
}

/// Another authority than that of the host beyond, in PEM.
fn of_image(place: &Place) -> String {
    let file = place.scratch.entry("image.pem");
    let words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null \
                 -days 30 -subj '/CN=Of an image' -out \"$1\" 2>/dev/null";
    let done = Child::new("sh")
        .args(["-c", words, "sh", &file])
        .clean_path();
    done.run().prints("");
    fs::read_to_string(file).expect("a certificate was made")
}

/// What the image has in the place of certificates.
#[derive(Clone, Copy)]
enum Store {
    Nothing,
    Own,
    LinkTo(&'static str),
    Pipe,
}

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// With what the configuration names.
const STORES: [(Store, &str); 4] = [
    (Store::Nothing, ""),
    (Store::LinkTo("/not/there"), CERTIFICATES),
    (Store::Own, "/not/there"),
    (Store::Own, CERTIFICATES),
];

/// What the kernel says of whoever makes the container, what that has open, and what never ends.
const REFUSED: [(Store, &str); 4] = [
    (Store::LinkTo("/proc/self/environ"), CERTIFICATES),
    (Store::LinkTo("/proc/self/fd/0"), ""),
    (Store::Nothing, "/proc/thread-self/environ"),
    (Store::Pipe, ""),
];

fn lay(place: &Place, store: Store, own: &str) {
    let name = format!("rootfs{CERTIFICATES}");
    let path = place.scratch.path().join(&name);
    place.scratch.file(&name, own.as_bytes());
    match store {
        Store::Own => return,
        Store::Nothing | Store::LinkTo(_) | Store::Pipe => {
            fs::remove_file(&path).expect("it can be removed");
        }
    }
    match store {
        Store::Own | Store::Nothing => {}
        Store::LinkTo(target) => symlink(target, &path).expect("a link can be made"),
        Store::Pipe => {
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o644.into()).expect("a pipe can be made")
        }
    }
}

/// A run of a program that asks, and of another that joins it and asks the same.
fn asking(place: &Place, named: &str) -> Value {
    let asking = [PYTHON, "-I", "-c", ASKING];
    let first = "\"$@\"; touch /tmp/asked; exec sleep 1000";
    let mut config = place.config(&[&["sh", "-c", first, "sh"], &asking[..]].concat());
    let env = config["process"]["env"].as_array_mut().expect("variables");
    env.extend([
        json!("TOKEN=of the image"),
        json!(format!("SSL_CERT_FILE={named}")),
    ]);
    let then = "until [ -e /tmp/asked ]; do sleep 0.1; done; echo $TOKEN $KEY; exec \"$@\"";
    let joined = [&["sh", "-c", then, "sh"], &asking[..]].concat();
    let mut policy = read();
    let file = place.scratch.file("token", b"from-a-file-0123456789\n");
    policy["http"]["secrets"] = json!([
        { "name": "TOKEN", "host": "allowed.example", "from": { "file": file } },
        { "name": "KEY", "host": "allowed.example", "from": { "env": "HELD" } },
    ]);
    json!({
        "network": "host", "config": config, "policy": policy, "exec": [joined],
        "joining": ["--env", "TOKEN=another"],
    })
}

/// The caller's variables, of which one is a credential and one what an image would like to have.
fn held(place: &Place, own: &str) -> [(&'static str, String); 3] {
    [
        ("SSL_CERT_FILE", place.scratch.entry("authority.pem")),
        ("HELD", "from-a-variable-98765".to_owned()),
        ("MARK", format!("\n{own}")),
    ]
}

/// Each request is decided about, in the first process and in those that join it, with credentials that are in none of
/// them; and programs trust what they trust without us.
#[test]
fn requests_of_a_container_are_read() {
    let _alone = alone();
    if !is_root("requests_of_a_container_are_read") {
        return;
    }
    for (number, (store, named)) in STORES.into_iter().enumerate() {
        let place = Place::within(planted());
        let own = of_image(&place);
        lay(&place, store, &own);
        let mut run = asking(&place, named);
        match number {
            // All that a supervisor can be given at once.
            0 => {
                run["config"]["annotations"] = json!({ "buntime.dev/channel": "true" });
                run["policy"]["limits"] = json!({ "output": "1M" });
                let rules = run["policy"]["fs"]["rules"].as_array_mut().expect("rules");
                rules.push(json!({ "action": "deny", "path": "/usr/share/doc" }));
            }
            3 => run["config"]["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }),
            _ => {}
        }
        let seen = place.run_with(&held(&place, &own), &[run]);
        let run = &seen.answers()[0];
        let said = answers(run);
        let is_own = matches!(store, Store::Own);
        let beyond = if is_own {
            json!("CERTIFICATE_VERIFY_FAILED")
        } else {
            json!(200)
        };
        let expected = json!([200, 200, 403, 403, 403, 200, 200, 403, beyond]);
        assert_eq!(said[0], expected, "{run:#}");
        let [token, key] = ["TOKEN", "KEY"].map(|name| said[1][name].as_str().unwrap_or_default());
        assert!(
            token.starts_with("buntime-secret-") && key.starts_with("buntime-secret-"),
            "{run:#}"
        );
        assert_eq!(said[2], json!(is_own), "{run:#}");
        let joined = run["exec"][0].as_str().unwrap_or_default();
        let (words, rest) = joined.split_once('\n').unwrap_or_default();
        assert_eq!(words, format!("{token} {key}"), "{run:#}");
        let rest: Value = serde_json::from_str(rest).unwrap_or_default();
        assert_eq!(rest[0], expected, "{run:#}");
        let told = seen
            .arrived
            .iter()
            .filter_map(|line| line.strip_prefix("secret "));
        let both = [
            "Bearer from-a-file-0123456789 /v1/bearer",
            "Bearer from-a-variable-98765 /v1/bearer",
        ];
        assert_eq!(told.collect::<Vec<_>>(), [both, both].concat(), "{run:#}");
        nobody_has_them(run, token);
        let beside = if is_own {
            "beside those of the image"
        } else {
            "beside those that the host trusts"
        };
        assert!(detail(run, "egress").contains(beside), "{run:#}");
    }
}

/// Not what is kept of the container, not its log, and not its first process, which is forked from a caller that has
/// them.
fn nobody_has_them(run: &Value, token: &str) {
    let kept = run["kept"].as_str().unwrap_or_default();
    assert!(kept.contains(token), "{kept}");
    let places = [
        kept,
        &run["output"].to_string(),
        &run["events"].to_string(),
        &run["environ"].to_string(),
    ];
    for place in places {
        for value in ["from-a-file", "from-a-variable"] {
            assert!(!place.contains(value), "{place}");
        }
    }
}

/// What an image has in the place of certificates is the image's, or there is no container.
#[test]
fn an_images_certificates_are_its_own() {
    let _alone = alone();
    if !is_root("an_images_certificates_are_its_own") {
        return;
    }
    for (store, named) in REFUSED {
        let place = Place::within(planted());
        let own = of_image(&place);
        lay(&place, store, &own);
        let seen = place.run_with(&held(&place, &own), &[asking(&place, named)]);
        let run = &seen.answers()[0];
        let errors = run["errors"].as_str().unwrap_or_default();
        assert!(
            errors.contains("cannot read the image's certificates, /"),
            "{run:#}"
        );
    }
    let place = Place::within(planted());
    let own = of_image(&place);
    lay(&place, Store::Own, &own.repeat(4096));
    let mut home = asking(&place, "");
    home["policy"]["http"]["secrets"][0]["from"] = json!({ "file": "~/token" });
    let env = home["config"]["process"]["env"].as_array_mut();
    env.expect("variables").push(json!("HOME=/root"));
    let runs = [asking(&place, ""), home];
    let seen = place.run_with(&held(&place, &own), &runs).answers();
    for (run, why) in seen
        .iter()
        .zip(["more than 1048576 bytes", "is from is named whole"])
    {
        let errors = run["errors"].as_str().unwrap_or_default();
        assert!(errors.contains(why), "{run:#}");
    }
}
