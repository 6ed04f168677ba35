//! Denied names that lead through symbolic links, to what is there and to what is not: whatever the
//! worker puts on the way there, it is not what the name leads to.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp};

/// A folder outside of /tmp with `shown`, which is the worker's, and `elsewhere`.
struct Tree(String);

impl Tree {
    /// With these links, each as it is called and what it says.
    fn with(links: &[(&str, &str)]) -> Tree {
        let name = format!("links-{}", std::process::id());
        let at = outside_of_tmp().join(name);
        for name in ["shown/real", "elsewhere"] {
            std::fs::create_dir_all(at.join(name)).expect("a folder");
        }
        for name in ["elsewhere/profile", "shown/real/secret", "shown/other"] {
            std::fs::write(at.join(name), "as it was").expect("a file");
        }
        for (name, target) in links {
            symlink(target, at.join(name)).expect("a link");
        }
        for name in ["shown", "shown/real", "shown/other"] {
            let mode = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(at.join(name), mode).expect("its mode is changed");
        }
        Tree(at.display().to_string())
    }

    /// Runs a program that tries this.
    fn run(&self, rules: &Value, tries: &str) -> Finished {
        let Tree(at) = self;
        let code = format!(
            "import os\nos.chdir('{at}/shown')\ntry:\n {tries}\n print('done')\nexcept OSError as error: print(error.errno)"
        );
        let scratch = Scratch::new();
        let policy = json!({
            "version": 1,
            "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
            "fs": { "rules": [{ "action": "allow", "path": format!("{at}/shown") }] },
        });
        let mut policy = policy;
        for section in ["fs", "exec"] {
            let Some(rules) = rules[section].as_array() else {
                continue;
            };
            let rules = rules.iter().map(|rule| {
                let mut rule = rule.clone();
                let path = rule["path"].as_str().expect("a path").to_owned();
                rule["path"] = format!("{at}/shown/{path}").into();
                rule
            });
            let mut all = policy[section]["rules"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            all.extend(rules);
            policy[section]["rules"] = all.into();
        }
        let policy = scratch.file("policy.json", policy.to_string().as_bytes());
        Child::new(binary())
            .args(["run", "--quiet", "--policy", &policy, "--"])
            .args([PYTHON, "-I", "-c", &code])
            .run()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is removed");
    }
}

const LINKS: [(&str, &str); 10] = [
    ("shown/l", "missing"),
    ("shown/d", "nowhere/below"),
    ("shown/profile", "hop"),
    ("shown/hop", "../elsewhere/profile"),
    ("shown/dir", "hop2"),
    ("shown/hop2", "real"),
    ("shown/circle", "round"),
    ("shown/round", "circle"),
    ("shown/back", "hop2/../x"),
    ("shown/tool", "later"),
];

/// Each of these is done where nothing is denied, and fails where this name is.
#[test]
fn what_a_denied_name_leads_to_is_not_made() {
    let _alone = alone();
    if !is_root("what_a_denied_name_leads_to_is_not_made") {
        return;
    }
    let makes = |path: &str| format!("open('{path}', 'w').write('x')");
    for (denied, tries) in [
        ("l", makes("l")),
        ("l", makes("missing")),
        ("l", "os.link('other', 'missing')".to_owned()),
        ("l", "os.rename('other', 'missing')".to_owned()),
        ("l", "os.mkdir('missing'); open('l/x', 'w')".to_owned()),
        (
            "d/secret",
            "os.makedirs('nowhere/below'); open('d/secret', 'w')".to_owned(),
        ),
        (
            "d/*ecret",
            "os.makedirs('nowhere/below'); open('d/secret', 'w')".to_owned(),
        ),
        ("profile", format!("os.unlink('hop'); {}", makes("hop"))),
        ("profile", "os.rename('other', 'hop')".to_owned()),
        (
            "dir/secret",
            "os.unlink('hop2'); os.mkdir('hop2'); open('hop2/secret', 'w')".to_owned(),
        ),
        (
            "dir/*ecret",
            "os.unlink('hop2'); os.mkdir('hop2'); open('dir/secret', 'w')".to_owned(),
        ),
        ("circle", format!("os.unlink('round'); {}", makes("round"))),
    ] {
        let tree = Tree::with(&LINKS);
        let done = tree.run(
            &json!({ "fs": [{ "action": "deny", "path": denied }] }),
            &tries,
        );
        let done = done.expect(0);
        assert!(
            matches!(&*done.stdout(), "13\n" | "16\n" | "18\n" | "30\n"),
            "{denied}: {tries}: {done}"
        );
        drop(tree);
        Tree::with(&LINKS).run(&json!({}), &tries).prints("done\n");
    }
}

#[test]
fn a_program_that_a_denied_name_leads_to_does_not_run() {
    let _alone = alone();
    if !is_root("a_program_that_a_denied_name_leads_to_does_not_run") {
        return;
    }
    let tries = "import shutil, subprocess; shutil.copy('/usr/bin/true', 'later'); subprocess.run(['./tool'])";
    for action in ["deny", "ask"] {
        let tree = Tree::with(&LINKS);
        let rules = json!({ "exec": [{ "action": action, "path": "tool" }] });
        let done = tree.run(&rules, tries).expect(0);
        assert!(
            matches!(&*done.stdout(), "13\n" | "1\n"),
            "{action}: {done}"
        );
    }
    Tree::with(&LINKS).run(&json!({}), tries).prints("done\n");
}

/// A link after which a path goes back has no name that could be kept.
#[test]
fn a_way_that_goes_back_after_a_link_is_refused() {
    let _alone = alone();
    if !is_root("a_way_that_goes_back_after_a_link_is_refused") {
        return;
    }
    let tree = Tree::with(&LINKS);
    let done = tree.run(
        &json!({ "fs": [{ "action": "deny", "path": "back" }] }),
        "pass",
    );
    let said = done.expect(125).stderr();
    assert!(
        said.contains("name the path without symbolic links"),
        "{said}"
    );
}
