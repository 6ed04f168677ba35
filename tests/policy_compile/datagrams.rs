//! Whether there is a way out for datagrams.

use super::*;

#[test]
fn there_is_a_way_for_datagrams_where_a_rule_could_let_one_out() {
    let rule =
        |action: &str, proto: &str| json!({"action": action, "proto": proto, "host": "a.example"});
    let with = |rules: Value| policy(json!({"net": {"rules": rules}}));
    let unsaid = json!({"action": "allow", "host": "a.example"});
    for (rules, expected) in [
        (json!([rule("allow", "udp")]), true),
        (json!([rule("ask", "any")]), true),
        (json!([unsaid]), true),
        (json!([rule("allow", "tcp"), rule("warn", "udp")]), true),
        (json!([rule("allow", "tcp")]), false),
        (json!([rule("allow", "tcp"), rule("deny", "udp")]), false),
        (json!([]), false),
    ] {
        assert_eq!(plan(&with(rules.clone())).datagrams, expected, "{rules}");
    }
    assert!(plan(&policy(json!({"defaults": {"net": "allow"}}))).datagrams);
    // Each layer has a say.
    let parsed =
        |document: Value| Layer::parse(document.to_string().as_bytes(), "p.json", &vars()).unwrap();
    let wide = json!({"version": 1, "defaults": {"net": "allow"}});
    let tcp = json!({"version": 1, "defaults": {"net": "deny"}, "net": {"rules": [rule("allow", "tcp")]}});
    let silent = json!({"version": 1, "net": {"rules": [rule("deny", "udp")]}});
    for (other, expected) in [(tcp, false), (silent, true)] {
        let layers = vec![parsed(wide.clone()), parsed(other)];
        let both = Policy::merge(layers, bundle()).unwrap();
        assert_eq!(plan(&both).datagrams, expected);
    }
}

#[test]
fn a_running_worker_gets_no_way_for_datagrams() {
    let with = |proto: &str| {
        let rule = json!({"action": "allow", "proto": proto, "host": "a.example"});
        policy(json!({"net": {"rules": [rule]}}))
    };
    for (before, after, is_refused) in [
        ("tcp", "udp", true),
        ("tcp", "any", true),
        ("tcp", "tcp", false),
        ("any", "tcp", false),
        ("udp", "any", false),
    ] {
        let began = plan(&with(before));
        let reloaded = with(after).reload(&world(), &began, &[]);
        let refused = reloaded
            .err()
            .map(|refused| refused.rules)
            .unwrap_or_default();
        let is_so = refused
            .iter()
            .any(|rule| rule.missing.contains("it lets UDP out"));
        assert_eq!(is_so, is_refused, "{before} {after} {refused:?}");
    }
}
