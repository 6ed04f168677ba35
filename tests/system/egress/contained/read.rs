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

/// With what the configuration names, and whether the host beyond is trusted.
const STORES: [(Store, &str, bool); 7] = [
    (Store::Nothing, "", true),
    (Store::Own, "/not/there", false),
    (Store::Own, CERTIFICATES, false),
    // What the kernel says of whoever makes the container, and what that has open.
    (Store::LinkTo("/proc/self/environ"), CERTIFICATES, true),
    (
        Store::LinkTo("/proc/thread-self/environ"),
        "/proc/self/environ",
        true,
    ),
    (Store::LinkTo("/proc/self/fd/0"), "", true),
    (Store::Pipe, CERTIFICATES, true),
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

/// Each request is decided about, in the first process and in those that join it, with credentials that are in none of
/// them; and programs trust what they trust without us, and nothing of the host's comes to the image.
#[test]
fn requests_of_a_container_are_read() {
    let _alone = alone();
    if !is_root("requests_of_a_container_are_read") {
        return;
    }
    for (store, named, trusts_beyond) in STORES {
        let place = Place::within(planted());
        let own = of_image(&place);
        lay(&place, store, &own);
        let mut policy = read();
        let file = place.scratch.file("token", b"from-a-file-0123456789\n");
        policy["http"]["secrets"] = json!([
            { "name": "TOKEN", "host": "allowed.example", "from": { "file": file } },
            { "name": "KEY", "host": "allowed.example", "from": { "env": "HELD" } },
        ]);
        let asking = [PYTHON, "-I", "-c", ASKING];
        let first = "\"$@\"; touch /tmp/asked; exec sleep 1000";
        let mut config = place.config(&[&["sh", "-c", first, "sh"], &asking[..]].concat());
        let env = config["process"]["env"].as_array_mut().expect("variables");
        env.extend([
            json!("TOKEN=of the image"),
            json!(format!("SSL_CERT_FILE={named}")),
        ]);
        let then = "until [ -e /tmp/asked ]; do sleep 0.1; done; echo $TOKEN $KEY; exec \"$@\"";
        let joined = ["sh", "-c", then, "sh"];
        let joined = [&joined[..], &asking].concat();
        let run =
            json!({ "network": "host", "config": config, "policy": policy, "exec": [joined] });
        let marked = [
            ("SSL_CERT_FILE", place.scratch.entry("authority.pem")),
            ("HELD", "from-a-variable-98765".to_owned()),
            ("MARK", format!("\n{own}")),
        ];
        let seen = place.run_with(&marked, &[run]);
        let run = &seen.answers()[0];
        let said = answers(run);
        let beyond = if trusts_beyond {
            json!(200)
        } else {
            json!("CERTIFICATE_VERIFY_FAILED")
        };
        let expected = json!([200, 200, 403, 403, 403, 200, 200, 403, beyond]);
        assert_eq!(said[0], expected, "{run:#}");
        let [token, key] = ["TOKEN", "KEY"].map(|name| said[1][name].as_str().unwrap_or_default());
        assert!(
            token.starts_with("buntime-secret-") && key.starts_with("buntime-secret-"),
            "{run:#}"
        );
        assert_eq!(said[2], json!(matches!(store, Store::Own)), "{run:#}");
        let joined = run["exec"][0].as_str().unwrap_or_default();
        let (words, rest) = joined.split_once('\n').unwrap_or_default();
        assert_eq!(words, format!("{token} {key}"), "{run:#}");
        let rest: Value = serde_json::from_str(rest).unwrap_or_default();
        assert_eq!(rest[0], expected, "{run:#}");
        let told: Vec<&str> = seen
            .arrived
            .iter()
            .filter_map(|line| line.strip_prefix("secret "))
            .collect();
        let both = [
            "Bearer from-a-file-0123456789 /v1/bearer",
            "Bearer from-a-variable-98765 /v1/bearer",
        ];
        assert_eq!(told, [both, both].concat(), "{run:#}");
        let kept = run["kept"].as_str().unwrap_or_default();
        for value in ["from-a-file", "from-a-variable"] {
            assert!(!kept.contains(value), "{kept}");
            assert!(!run["output"].to_string().contains(value), "{run:#}");
        }
        assert!(kept.contains(token), "{kept}");
        assert!(
            detail(run, "egress").contains("are read, out of TLS too"),
            "{run:#}"
        );
    }
}
