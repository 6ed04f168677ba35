//! Requests of HTTP as servers get them: what was meant, and nothing beside it.

use serde_json::json;

use super::{policy, says, tried};
use crate::support::{alone, is_root};

/// A request reaches its server as it is meant, with whatever length, and so does the answer.
#[test]
fn requests_arrive_as_they_are_meant() {
    let _alone = alone();
    if !is_root("requests_arrive_as_they_are_meant") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let said = |by, text: &str| says(by, ("allowed.example", 80), text);
    let head = "Host: allowed.example\r\nConnection: close\r\n";
    let sent = "3\r\nabc\r\n0\r\n\r\n";
    let chunked = format!("POST /c HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n{sent}");
    let expects =
        format!("POST /e HTTP/1.1\r\n{head}Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc");
    let cased = format!("GET /h HTTP/1.1\r\n{head}X-oDD: 1\r\n\r\n");
    let old = "GET /x HTTP/1.0\r\nHost: allowed.example\r\n\r\n";
    let switched = "GET /ws HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\n\r\nframes";
    let other = "GET /ws HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                 Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    // SHA-256 of "abc".
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for by in 0..3 {
        let tries = [&chunked, &expects, &cased, old, other].map(|text| said(by, text));
        let mut tries = tries.to_vec();
        tries[4]["until"] = "/ws".into();
        let mut switches = said(by, switched);
        switches["until"] = "frames".into();
        tries.push(switches);
        let seen = tried(&policy("deny", &rules), &tries);
        let answers = seen.answers();
        let told = |number: usize, what: &str| {
            let answer = answers[number].as_str().unwrap_or_default();
            assert!(answer.contains(what), "{by}, {number}: {answers:#?}");
        };
        told(0, digest);
        told(1, digest);
        told(1, "HTTP/1.1 100 ");
        told(2, "X-oDD");
        told(3, "\"path\": \"/x\"");
        told(4, "200 OK");
        told(5, "HTTP/1.1 101 ");
        told(5, "frames");
    }
}

/// Shapes that two servers read differently are refused, or handed on as what one reading of them is.
#[test]
fn no_request_hides_in_another() {
    let _alone = alone();
    if !is_root("no_request_hides_in_another") {
        return;
    }
    let rules = json!([{ "action": "allow", "host": "allowed.example" }]);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: denied.example\r\n\r\n";
    let length = hidden.len();
    let shapes = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"),
        format!("Content-Length: {length}, 0\r\n\r\n"),
        "Content-Length: +0\r\n\r\n".to_owned(),
        "Content-Length: 0x0\r\n\r\n".to_owned(),
        "Content-Length : 0\r\n\r\n".to_owned(),
        "Content-Length:\r\n 0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n".to_owned(),
        "X: y\rContent-Length: 0\r\n\r\n".to_owned(),
        "X: y\0\r\n\r\n".to_owned(),
        "\0X: y\r\n\r\n".to_owned(),
        "Content-Length: 0\n\n".to_owned(),
    ];
    let send = |text: String| json!({ "connect": ["allowed.example", 80], "send": text });
    let tries = shapes.map(|shape| {
        send(format!(
            "POST /seen HTTP/1.1\r\nHost: allowed.example\r\n{shape}{hidden}"
        ))
    });
    let seen = tried(&policy("deny", &rules), &tries);
    for request in seen.requests() {
        assert!(request.starts_with("allowed.example /seen"), "{request}");
    }
    for (asked, answer) in tries.iter().zip(seen.answers()) {
        let said = answer.as_str().unwrap_or_default();
        let statuses: Vec<&str> = said
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|one| &one[..3])
            .collect();
        assert!(
            matches!(
                statuses[..],
                [] | ["400"] | ["200", "403"] | ["200", "400"] | ["200"]
            ),
            "{statuses:?}: {asked}: {answer}"
        );
    }
}
