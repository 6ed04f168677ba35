//! Requests that are read, out of TLS too, and decided about one by one.

use serde_json::{Value, json};

use super::tools::{BUN, WITHOUT_PROXY, show_bun};
use super::{Seen, interface, on_host, policy};
use crate::support::{Child, PYTHON, Scratch, alone, is_root, recorded};

const CERTIFICATES: &str = include_str!("read/certificates.sh");
const PROGRAMS: &str = include_str!("read/programs.sh");

/// What each program is told.
const TOLD: &str = "\
curl: 200 1.1
curl --http2: 200 1.1
curl, kept: 200 1
200 0
curl, plain: 200 1.1
curl --ipv6: 200 1.1
curl, TLS 1.2: 200 1.1
urllib: 200
bun: 200
node: 200
another path: 403 1.1
another method: 403 1.1
another method, plain: 403 1.1
denied below: 403 1.1
denied, by its number: 403 1.1
another spelling: 403 1.1
another host, kept: 403 1.1";

/// A host beyond with TLS, of an authority that the host trusts with `trusts`.
pub fn planted() -> Scratch {
    let scratch = Scratch::new();
    let folder = scratch.entry("");
    let words = ["-c", CERTIFICATES, "sh", folder.trim_end_matches('/')];
    Child::new("sh").args(words).clean_path().run().prints("");
    scratch
}

fn rules(http: &Value) -> Value {
    let mut policy = policy(
        "deny",
        &json!([
            { "action": "allow", "host": "allowed.example" },
            { "action": "allow", "host": "www.allowed.example" },
        ]),
    );
    show_bun(&mut policy);
    policy["http"] = json!({ "rules": http });
    policy
}

/// Reading and notes, and nothing else.
fn narrow() -> Value {
    rules(&json!([
        { "action": "allow", "host": "allowed.example", "methods": ["GET"], "path": "/v1" },
        { "action": "allow", "host": "allowed.example", "methods": ["POST"], "path": "/v1/notes" },
        { "action": "deny", "host": "allowed.example", "path": "/v1/secret" },
        { "action": "allow", "host": "www.allowed.example" },
    ]))
}

/// Runs a command of the sandbox on a host that trusts the authority of the host beyond.
pub fn run(scratch: &Scratch, policy: &Value, flags: &[&str], command: &[&str]) -> Seen {
    let authority = format!("SSL_CERT_FILE={}", scratch.entry("authority.pem"));
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    let binary = scratch.binary();
    let host = ["env", &authority, &binary, "run", "--policy", &policy];
    let words = [&host[..], interface(), flags, &["--"], command].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    on_host(scratch, &words)
}

/// Whatever a program is and however it goes, each of its requests is one that a rule permits, and the
/// others never leave.
#[test]
fn each_request_is_decided_about() {
    let _alone = alone();
    if !is_root("each_request_is_decided_about") {
        return;
    }
    for ways in [&WITHOUT_PROXY[..], &[]] {
        let scratch = planted();
        let bun = format!("{BUN}/bun");
        let log = scratch.entry("events");
        let command = [ways, &["sh", "-c", PROGRAMS, "sh", &bun]].concat();
        let seen = run(
            &scratch,
            &narrow(),
            &["--quiet", "--events", &log],
            &command,
        );
        let said = seen.done.stdout();
        let (known, other): (Vec<&str>, Vec<&str>) = said
            .lines()
            .partition(|line| TOLD.lines().any(|told| told == *line));
        assert_eq!(known.join("\n"), TOLD, "{}", seen.done);
        let [post, why, elsewhere, ..] = other[..] else {
            panic!("{}", seen.done)
        };
        // SHA-256 of so many zeros.
        let digest = "35bce4eae54ec8e6cc2868baa8d157914d6ae2858811b4cc0c078c94460fa26f";
        assert!(post.contains(digest), "{post}");
        let reason = "buntime: not permitted: rule http of ";
        assert!(why.starts_with(&format!("why: {reason}")), "{why}");
        assert!(!elsewhere.contains("200"), "{elsewhere}");
        for arrived in &seen.arrived {
            assert!(!arrived.contains("denied"), "{arrived}");
        }
        let events = recorded(&log);
        let denied = events.iter().filter(|event| event["answer"] == "denied");
        let denied: Vec<&Value> = denied.map(|event| &event["target"]).collect();
        assert!(
            denied.contains(&&json!("DELETE allowed.example:443/v1/denied")),
            "{denied:?}"
        );
    }
}

/// Who is read can say nothing but requests, and has to be who it is.
#[test]
fn nothing_else_is_said_to_a_host_that_is_read() {
    let _alone = alone();
    if !is_root("nothing_else_is_said_to_a_host_that_is_read") {
        return;
    }
    let scratch = planted();
    let script = "
import socket, ssl, urllib.request, urllib.error
def said(port, text, answers=64):
    with socket.create_connection(('allowed.example', port), timeout=20) as end:
        try:
            end.sendall(text)
            return end.recv(answers)
        except ConnectionResetError:
            return 'reset'
print(said(80, b'\\x00\\x01\\x02 not HTTP\\r\\n'))
print(said(7, b'plain words\\n'))
unnamed = ssl._create_unverified_context()
with socket.create_connection(('allowed.example', 443), timeout=20) as end:
    try:
        unnamed.wrap_socket(end)
        print('unnamed')
    except OSError as error:
        print('reset' if isinstance(error, ConnectionResetError) else error)
try:
    urllib.request.urlopen('https://www.allowed.example/')
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode().strip())
# By its address, which no rule about requests names; what says the name there is read.
context = ssl.create_default_context()
with socket.create_connection(('45.80.0.80', 443), timeout=20) as end:
    with context.wrap_socket(end, server_hostname='allowed.example') as inner:
        inner.sendall(b'GET /v2 HTTP/1.1\\r\\nHost: allowed.example\\r\\nConnection: close\\r\\n\\r\\n')
        print(inner.recv(12))
# Nor does it count that TLS was for the name, and a request within is for the address, for nobody or for another.
for text in ['GET /v2 HTTP/1.0\\r\\n\\r\\n', 'GET /v2 HTTP/1.1\\r\\nHost: 45.80.0.80\\r\\n\\r\\n',
             'GET /v2 HTTP/1.1\\r\\nHost: www.allowed.example\\r\\n\\r\\n']:
    with socket.create_connection(('45.80.0.80', 443), timeout=20) as end:
        with context.wrap_socket(end, server_hostname='allowed.example') as inner:
            inner.sendall(text.encode())
            print(inner.recv(12)[9:])
";
    let command = [&WITHOUT_PROXY[..], &[PYTHON, "-I", "-c", script]].concat();
    let mut policy = narrow();
    let by_address = json!({ "action": "allow", "cidr": "45.80.0.80" });
    let net = policy["net"]["rules"].as_array_mut().expect("rules");
    net.push(by_address);
    let seen = run(&scratch, &policy, &["--quiet"], &command);
    let said = seen.done.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 8, "{}", seen.done);
    assert_eq!(lines[0], "reset", "{said}");
    assert!(lines[1] == "reset" || lines[1] == "b'hello\\n'", "{said}");
    assert_eq!(lines[2], "reset", "{said}");
    let unproven = "502 buntime: no TLS with the host: invalid peer certificate";
    assert!(lines[3].starts_with(unproven), "{said}");
    assert_eq!(lines[4], "b'HTTP/1.1 403'", "{said}");
    assert_eq!(lines[5..], ["b'400'", "b'403'", "b'403'"], "{said}");
    assert!(
        !seen
            .requests()
            .iter()
            .any(|request| request.contains("/v2")),
        "{:?}",
        seen.arrived
    );
}

/// A credential reaches its host, and is seen by nobody inside, whatever the host says.
#[test]
fn a_secret_goes_to_its_host_and_nowhere_else() {
    let _alone = alone();
    if !is_root("a_secret_goes_to_its_host_and_nowhere_else") {
        return;
    }
    let scratch = planted();
    let file = scratch.file("token", b"from-a-file-0123456789\n");
    let mut policy = rules(&json!([]));
    policy["http"]["secrets"] = json!([
        { "name": "TOKEN", "host": "allowed.example", "from": { "file": file } },
        { "name": "KEY", "host": "allowed.example", "from": { "command": ["printf", "%s", "by-a-command-98765"] }, "headers": ["X-Key", "Authorization"] },
        { "name": "OTHER", "host": "www.allowed.example", "from": { "env": "SSL_CERT_FILE" } },
    ]);
    let script = "
set -u
said() { curl -sS -o said -w '%{http_code} ' \"$@\" 2>/dev/null || printf 'reset '; echo \"$(cat said 2>/dev/null)\"; rm -f said; }
cd /tmp
secure=https://allowed.example
echo \"$TOKEN\" | cut -c 1-15
said -H \"Authorization: Bearer $TOKEN\" $secure/bearer
said -u \"user:$KEY\" $secure/basic
said -H \"Authorization: Bearer $TOKEN\" -H \"X-Key: $KEY\" $secure/again/nothing
said -H \"Authorization: Bearer $TOKEN\" $secure/denied?key=$KEY
said -H \"X-Other: $TOKEN\" $secure/denied
said -H \"Authorization: Bearer $TOKEN\" -H \"Range: bytes=0-5\" -H \"Accept-Encoding: gzip\" $secure/again/asked
said -u \"user:$KEY\" $secure/again/coded
said -H \"Authorization: Bearer $TOKEN\" $secure/again/packed
said -H \"Authorization: Bearer $TOKEN\" $secure/again/header
said -H \"Authorization: Bearer $TOKEN\" $secure/again/body
said -H \"Authorization: Bearer $TOKEN\" $secure/again/pieces
said -H \"Authorization: Bearer $OTHER\" $secure/denied
said -H \"Authorization: Bearer $TOKEN\" http://allowed.example/denied
said -H \"X: $TOKEN\" http://six.example/denied
";
    policy["net"]["rules"]
        .as_array_mut()
        .expect("rules")
        .push(json!({ "action": "allow", "host": "six.example" }));
    let log = scratch.entry("events");
    let flags = ["--quiet", "--events", &log];
    let seen = run(&scratch, &policy, &flags, &["sh", "-c", script]);
    let said = seen.done.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 15, "{}", seen.done);
    assert_eq!(lines[0], "buntime-secret-", "{said}");
    assert!(
        lines[1].starts_with("200 {") && lines[2].starts_with("200 {"),
        "{said}"
    );
    assert_eq!(lines[3], "200 so it was: nothing", "{said}");
    assert_eq!(lines[6], "200 so it was: undefined identity", "{said}");
    assert!(lines[7].starts_with("200 reset"), "{said}");
    assert!(lines[8].starts_with("502 "), "{said}");
    assert_eq!(
        lines[9],
        "502 buntime: the host says a secret again, which nobody inside may see"
    );
    // Whatever came before it.
    assert!(lines[10].starts_with("200 reset"), "{said}");
    assert!(lines[11].starts_with("200 reset"), "{said}");
    for (line, why) in [
        (
            4,
            "the secret KEY is said in its headers alone, and not elsewhere",
        ),
        (
            5,
            "the secret TOKEN is said in its headers alone, and not elsewhere",
        ),
        (
            12,
            "it has what stands for the secret OTHER, which is not for this host",
        ),
        (13, "a secret is said over TLS alone"),
        (
            14,
            "it has what stands for the secret TOKEN, which is not for this host",
        ),
    ] {
        assert_eq!(
            lines[line],
            format!("403 buntime: not permitted: {why}"),
            "{said}"
        );
    }
    let told: Vec<&str> = seen
        .arrived
        .iter()
        .filter_map(|line| line.strip_prefix("secret "))
        .collect();
    assert_eq!(told[0], "Bearer from-a-file-0123456789 /bearer");
    // Of "user:by-a-command-98765".
    let basic = "Basic dXNlcjpieS1hLWNvbW1hbmQtOTg3NjU= /basic";
    assert_eq!(told[1], basic, "{told:?}");
    let again = "Bearer from-a-file-0123456789 /again/nothing by-a-command-98765";
    assert_eq!(told[2], again, "{told:?}");
    let log_text = std::fs::read_to_string(&log).expect("the log");
    for value in ["from-a-file", "by-a-command"] {
        assert!(!said.contains(value), "{said}");
        assert!(!log_text.contains(value), "{log_text}");
    }
    let events = recorded(&log);
    let mut used = events
        .iter()
        .filter(|event| event["net"]["secrets"] == json!(["TOKEN"]));
    assert_eq!(
        used.next().map(|event| &event["answer"]),
        Some(&json!("allowed"))
    );
}

/// What can only narrow grants no secret, and one that cannot be had stops the start.
#[test]
fn a_secret_is_a_persons_to_grant() {
    let _alone = alone();
    if !is_root("a_secret_is_a_persons_to_grant") {
        return;
    }
    let mut policy = rules(&json!([]));
    for (from, why) in [
        (
            json!({ "env": "NOT_THERE" }),
            "the variable NOT_THERE is not set",
        ),
        (
            json!({ "file": "/not/there" }),
            "cannot read /not/there: No such file or directory",
        ),
        (
            json!({ "command": ["false"] }),
            "false ended with exit status: 1",
        ),
        (
            json!({ "command": ["printf", "short"] }),
            "it has 5 bytes, and not 8 to 8192",
        ),
        (
            json!({ "command": ["printf", "two\\nlines of it"] }),
            "it has characters that no header can have",
        ),
    ] {
        let scratch = Scratch::new();
        policy["http"]["secrets"] =
            json!([{ "name": "TOKEN", "host": "allowed.example", "from": from }]);
        let seen = run(&scratch, &policy, &[], &["true"]);
        let said = seen.done.stderr();
        assert_eq!(seen.done.status.code(), Some(125), "{}", seen.done);
        assert!(
            said.contains("the secret TOKEN (") && said.contains(why),
            "{said}"
        );
    }
    let scratch = Scratch::new();
    policy["http"]["secrets"] = json!([
        { "name": "TOKEN", "host": "allowed.example", "from": { "command": ["printf", "a project's"] } },
    ]);
    let home = scratch.home();
    std::fs::write(
        format!("{home}/.buntime.json"),
        r#"{ "policy": "./own.json" }"#,
    )
    .expect("a project");
    std::fs::write(format!("{home}/own.json"), policy.to_string()).expect("its policy");
    let seen = run(&scratch, &rules(&json!([])), &[], &["true"]);
    assert_eq!(seen.done.status.code(), Some(125), "{}", seen.done);
    let why = "only a policy of --policy can grant it";
    assert!(seen.done.stderr().contains(why), "{}", seen.done);
}
