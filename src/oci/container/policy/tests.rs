use super::*;

#[test]
fn an_annotation_names_a_policy_of_the_administrator_before_a_shipped_one() {
    let directory = std::env::temp_dir().join(format!("buntime-named-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("strict.json"), "{\"version\": 1}").unwrap();
    let choice = PolicyChoice {
        directory: directory.clone(),
        ..PolicyChoice::default()
    };
    let own = choice.annotated("strict").unwrap();
    assert_eq!(own.text, "{\"version\": 1}");
    let shipped = choice.annotated("readonly").unwrap();
    assert_eq!(Some(shipped.text.as_str()), shipped_text("readonly"));
    for name in ["", ".", "..", "../strict", "a/b", ".strict", "a\0b"] {
        assert!(choice.annotated(name).is_err(), "{name:?}");
    }
    let unknown = choice.annotated("stricter").unwrap_err().to_string();
    assert!(unknown.contains("no shipped policy"), "{unknown}");
    std::fs::remove_dir_all(directory).unwrap();
}

/// What it may narrow is whose credentials they are.
#[test]
fn an_annotation_grants_no_secret() {
    let directory = std::env::temp_dir().join(format!("buntime-granting-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let text = r#"{
        "version": 1,
        "net": { "rules": [{ "action": "allow", "host": "a.example" }] },
        "http": { "secrets": [{ "name": "TOKEN", "host": "a.example", "from": { "env": "TOKEN" } }] }
    }"#;
    let path = directory.join("granting.json");
    std::fs::write(&path, text).unwrap();
    let annotated = PolicyChoice {
        directory: directory.clone(),
        ..PolicyChoice::default()
    };
    let mut spec = Spec::default();
    let named = [(ANNOTATION.to_owned(), "granting".to_owned())];
    spec.set_annotations(Some(named.into()));
    let refused = annotated.choose(&mut spec, 7).unwrap_err().to_string();
    assert!(
        refused.contains("only a policy of --policy can grant it"),
        "{refused}"
    );
    let flagged = PolicyChoice {
        policies: vec![path],
        ..annotated
    };
    let chosen = flagged.choose(&mut Spec::default(), 7).unwrap().unwrap();
    assert!(chosen.record.reading.is_some() && chosen.request.trust.is_some());
    // As one more it narrows nothing of what the first grants.
    assert!(flagged.choose(&mut spec, 7).is_err());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_limit_is_narrowed_and_never_lifted() {
    let limits = crate::policy::Limits {
        memory: Some(100),
        pids: Some(10),
        ..crate::policy::Limits::default()
    };
    let bounds = Bounds::of(&limits, false);
    for (asked, held) in [(50, 50), (100, 100), (200, 100), (-1, 100), (0, 100)] {
        let text = format!("{{\"memory\": {{\"limit\": {asked}}}}}");
        let mut resources = serde_json::from_str(&text).unwrap();
        bounds.narrow(&mut resources, false);
        let limit = resources.memory().and_then(|memory| memory.limit());
        assert_eq!(limit, Some(held), "{asked}");
        assert!(
            resources.pids().is_none(),
            "an update changes what it names"
        );
        bounds.narrow(&mut resources, true);
        assert_eq!(resources.pids().map(|pids| pids.limit()), Some(10));
    }
}
