//! How much may leave at a time.

use serde_json::{Value, json};

use super::{policy, run};
use crate::support::{PYTHON, alone, is_root};

/// Four connections, of which two at a time are let be.
const CONNECTIONS: &str = r#"
import socket, time
ends = []
for _ in range(4):
    end = socket.create_connection(("allowed.example", 7), 20)
    assert end.recv(6) == b"hello\n"
    ends.append(end)
    time.sleep(0.6)
alive = []
for end in ends:
    try:
        end.sendall(b"x")
        alive.append(end.recv(1) == b"x")
    except OSError:
        alive.append(False)
print(alive)
"#;

/// Three times as much as may pass in a second, each way and by each way out.
const BYTES: &str = r#"
import http.client, os, socket, sys, time
many = 3 << 20
def proxied(host):
    end = http.client.HTTPConnection(os.environ["http_proxy"].split("/")[2])
    end.set_tunnel(host, 80)
    return end
def down(end):
    end.request("GET", f"/bytes/{many}")
    return len(end.getresponse().read())
def up(end):
    end.request("PUT", "/x", bytes(many))
    end.getresponse().read()
    return many
def echoed(_):
    end = socket.create_connection(("allowed.example", 7))
    end.recv(6)
    done = 0
    while done < many // 2:
        end.sendall(bytes(1 << 16))
        left = 1 << 16
        while left:
            left -= len(end.recv(left))
        done += 1 << 16
    return 2 * done
for open in [http.client.HTTPConnection, proxied]:
    for what in [down, up] + [echoed] * (open is not proxied):
        began = time.monotonic()
        assert what(open("allowed.example")) == many
        print(what.__name__, time.monotonic() - began)
"#;

/// Connections on which much has passed each way, and nothing more does.
const IDLE: &str = r#"
import socket, time
ends = []
for _ in range(320):
    end = socket.create_connection(("allowed.example", 7), 20)
    end.recv(6)
    for _ in range(8):
        end.sendall(bytes(1 << 17))
        left = 1 << 17
        while left:
            left -= len(end.recv(left))
    ends.append(end)
    time.sleep(0.01)
print(len(ends))
"#;

/// The most that the supervisor may have resident for them, in KiB.
const IDLE_PEAK: u64 = 56 << 10;

/// Connections on which much is asked for that is not read.
const UNREAD: &str = r#"
import socket, time
ends = []
for _ in range(100):
    end = socket.create_connection(("allowed.example", 80), 20)
    end.sendall(b"GET /bytes/16777216 HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
    ends.append(end)
time.sleep(3)
print(len(ends))
"#;

const UNREAD_PEAK: u64 = 160 << 10;

fn limited(limits: Value) -> Value {
    let mut policy = policy(
        "deny",
        &json!([{ "action": "allow", "host": "allowed.example" }]),
    );
    policy["limits"] = limits;
    policy
}

#[test]
fn a_policy_says_how_many_connections_there_are() {
    let _alone = alone();
    if !is_root("a_policy_says_how_many_connections_there_are") {
        return;
    }
    let command = [PYTHON, "-I", "-c", CONNECTIONS];
    let seen = run(
        &limited(json!({ "connections": 2 })),
        None,
        &["--quiet"],
        &command,
    );
    seen.done.prints("[False, False, True, True]\n");
    let seen = run(&limited(json!({})), None, &["--quiet"], &command);
    seen.done.prints("[True, True, True, True]\n");
    let seen = run(
        &limited(json!({})),
        None,
        &["--quiet", "--connections", "3"],
        &command,
    );
    seen.done.prints("[False, True, True, True]\n");
}

#[test]
fn a_policy_says_how_much_passes_in_a_second() {
    let _alone = alone();
    if !is_root("a_policy_says_how_much_passes_in_a_second") {
        return;
    }
    let policy = limited(json!({ "bandwidth": "1M" }));
    let seen = run(&policy, None, &["--quiet"], &[PYTHON, "-I", "-c", BYTES]);
    let said = seen.done.stdout();
    let times: Vec<f64> = said
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    assert_eq!(times.len(), 5, "{}", seen.done);
    // A tenth of a second's passes at once, and the kernel holds what was sent and not taken.
    assert!(
        times.iter().all(|time| (1.5..20.0).contains(time)),
        "{said}"
    );
}

#[test]
fn what_has_passed_takes_no_room_of_a_connection_that_waits() {
    let _alone = alone();
    if !is_root("what_has_passed_takes_no_room_of_a_connection_that_waits") {
        return;
    }
    let command = [PYTHON, "-I", "-c", IDLE];
    let seen = run(&limited(json!({})), None, &["--quiet"], &command);
    seen.done.prints("320\n");
    assert!(seen.resident < IDLE_PEAK, "{} KiB", seen.resident);
    let command = [PYTHON, "-I", "-c", UNREAD];
    let seen = run(&limited(json!({})), None, &["--quiet"], &command);
    seen.done.prints("100\n");
    assert!(seen.resident < UNREAD_PEAK, "{} KiB", seen.resident);
}
