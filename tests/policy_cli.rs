//! The verbs of `buntime policy`, through the parser that the command uses.

use std::path::PathBuf;
use std::process::ExitCode;

use buntime::cli::policy::{InitPolicy, PolicyCommand, init, run};
use buntime::policy::{Layer, Vars};
use clap::{Args, FromArgMatches, Subcommand};

/// Parses the words as the command would and runs them.
fn said(words: &[&str]) -> (anyhow::Result<ExitCode>, String) {
    let mut out = Vec::new();
    let result = if words[0] == "init-policy" {
        let parser = InitPolicy::augment_args(clap::Command::new("init-policy"));
        let matches = parser.try_get_matches_from(words).unwrap();
        init(InitPolicy::from_arg_matches(&matches).unwrap(), &mut out)
    } else {
        let parser = PolicyCommand::augment_subcommands(clap::Command::new("policy"));
        let matches = parser
            .try_get_matches_from(std::iter::once(&"policy").chain(words))
            .unwrap();
        run(PolicyCommand::from_arg_matches(&matches).unwrap(), &mut out)
    };
    (result, String::from_utf8(out).unwrap())
}

fn prints(words: &[&str]) -> String {
    let (result, text) = said(words);
    assert_eq!(result.unwrap(), ExitCode::SUCCESS, "{text}");
    text
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("policy-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn check_tells_good_from_bad() {
    let good = Scratch::new("good.json", "{\"version\": 1}");
    let bad = Scratch::new("bad.json", "{\"version\": 1, \"fss\": {}}");
    assert!(prints(&["check", good.path()]).ends_with("good.json: ok\n"));
    let (result, text) = said(&["check", good.path(), bad.path()]);
    assert_eq!(result.unwrap(), ExitCode::from(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(said(&["check", "/nowhere"]).0.unwrap(), ExitCode::from(1));
}

#[test]
fn show_and_list_and_schema() {
    assert!(prints(&["show", "strict"]).contains("violation kills the worker"));
    let json: serde_json::Value =
        serde_json::from_str(&prints(&["show", "--json", "strict"])).unwrap();
    assert_eq!(json["limits"]["pids"], 16);
    assert_eq!(prints(&["list"]).lines().count(), 11);
    let schema: serde_json::Value = serde_json::from_str(&prints(&["schema"])).unwrap();
    assert_eq!(schema["properties"]["version"]["const"], 1);
    assert!(
        said(&["show", "strickt"])
            .0
            .unwrap_err()
            .to_string()
            .contains("did you mean \"strict\"?")
    );
}

#[test]
fn diff_shows_both_sides() {
    assert_eq!(prints(&["diff", "default", "active"]), "");
    let (result, text) = said(&["diff", "default", "strict"]);
    assert_eq!(result.unwrap(), ExitCode::from(1));
    assert!(
        text.contains("-limit pids 64\n") && text.contains("+limit pids 16\n"),
        "{text}"
    );
}

#[test]
fn explain_names_the_rule() {
    let text = prints(&["explain", "/nonexistent/x", "example.org:443", "sh"]);
    assert!(
        text.contains("by defaults.fs of policies/default.json (policies/default.json:"),
        "{text}"
    );
    assert!(
        text.contains("example.org:443\n  deny  connect tcp, send udp\n        by defaults.net"),
        "{text}"
    );
    let json = prints(&["explain", "--json", "--policy", "no-network", "[::1]:80"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json[0]["answers"][0]["rule"],
        "net[0] of policies/no-network.json"
    );
    assert_eq!(json[0]["answers"][0]["verdict"], "deny");
    assert!(said(&["explain", "no-such-program-here"]).0.is_err());
}

#[test]
fn explain_says_what_may_be_requested() {
    let text = r#"{
        "version": 1,
        "net": { "rules": [{ "action": "allow", "host": "a.example", "ports": "80,443" }, { "action": "allow", "host": "b.example" }] },
        "http": {
            "rules": [{ "action": "allow", "host": "a.example", "methods": ["GET", "POST"], "path": "/v1" }],
            "secrets": [{ "name": "TOKEN", "host": "a.example", "from": { "env": "TOKEN" } }]
        }
    }"#;
    let scratch = Scratch::new("requests.json", text);
    let policy = scratch.0.to_str().unwrap();
    let of = |url: &str| -> Vec<String> {
        let json = prints(&["explain", "--json", "--policy", policy, url]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let answers = json[0]["answers"].as_array().unwrap().clone();
        let allowed = answers.iter().filter(|answer| answer["verdict"] == "allow");
        allowed
            .map(|answer| answer["operation"].as_str().unwrap().to_owned())
            .collect()
    };
    let both = ["connect tcp", "request GET", "request POST"];
    assert_eq!(
        of("https://a.example/v1/x?y#z"),
        [&both[..], &["say TOKEN"]].concat()
    );
    assert_eq!(of("http://A.example:80/v1"), both);
    assert_eq!(of("https://a.example/v2"), ["connect tcp", "say TOKEN"]);
    assert_eq!(of("https://a.example?v1"), ["connect tcp", "say TOKEN"]);
    assert_eq!(of("http://a.example:81/v1/../v2"), [""; 0]);
    assert_eq!(of("https://b.example/v1"), ["connect tcp"]);
    assert_eq!(of("https://[2001:db8::1]:8443/"), [""; 0]);
    let text = prints(&["explain", "--policy", policy, "https://a.example/v1"]);
    assert!(
        text.contains("allow request GET, request POST\n        by http[0] of"),
        "{text}"
    );
    for bad in [
        "ftp://a.example/",
        "http://",
        "https://u@a.example/",
        "http://a.example:x/",
    ] {
        let error = said(&["explain", "--policy", policy, bad]).0.unwrap_err();
        assert!(error.to_string().contains("it is no URL"), "{error}");
    }
}

#[test]
fn init_policy_writes_a_policy() {
    let text = prints(&[
        "init-policy",
        "--allow-read=/data,/x*y",
        "--allow-net=a.example:443,10.0.0.0/8",
        "--deny-write",
        "--allow-run=/usr/bin/git",
    ]);
    let vars = Vars {
        home: "/h".into(),
        pwd: "/w".into(),
        workspace: "/w".into(),
    };
    let layer = Layer::parse(text.as_bytes(), "init", &vars).unwrap();
    let statements = layer.statements();
    for wanted in [
        "fs allow /data read_file,read_dir",
        "fs allow /x\\*y read_file,read_dir",
        "net allow a.example ports 443",
        "net allow 10.0.0.0/8",
        "exec allow /usr/bin/git",
        "fs deny by default",
        "limit pids 64",
    ] {
        assert!(
            statements.iter().any(|line| line == wanted),
            "{wanted} in {statements:#?}"
        );
    }
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["fs"]["rules"][2]["path"], "/");
    assert!(prints(&["init-policy", "--allow-read"]).contains("\"/\""));
    assert!(said(&["init-policy", "--allow-net=a..b"]).0.is_err());
}
