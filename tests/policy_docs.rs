//! The documentation says what is so.

use buntime::policy::{Layer, Vars, schema_violations, shipped_names};

const PAGE: &str = include_str!("../docs/POLICIES.md");

#[test]
fn every_example_is_a_policy() {
    let vars = Vars {
        home: "/h".into(),
        pwd: "/w".into(),
        workspace: "/w".into(),
    };
    let blocks: Vec<&str> = PAGE
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 7);
    for block in blocks {
        Layer::parse(block.as_bytes(), "docs/POLICIES.md", &vars)
            .unwrap_or_else(|error| panic!("{block}\n{error}"));
        assert_eq!(
            schema_violations(block.as_bytes()).unwrap(),
            Vec::<String>::new()
        );
    }
}

#[test]
fn every_shipped_policy_and_permission_is_described() {
    for name in shipped_names() {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
    for perm in buntime::policy::Perm::ALL {
        assert!(PAGE.contains(&format!("`{perm}`")), "{perm}");
    }
}
