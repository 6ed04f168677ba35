//! Files that have other names on the host than those of which a rule speaks: by a second mount, where
//! case makes no difference, and on an overlay. Such a rule is refused, and another name is open without.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp};

const FOLDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/system/aliases/folding.py"
);

/// A folder outside of /tmp, removed at the end.
struct Folder(String);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("aliases-{name}-{}", std::process::id());
        let path = outside_of_tmp().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is removed");
    }
}

/// Runs `code` under these rules behind the words of a command, in a mount namespace of its own. Nothing
/// but the kernel and the interceptor keeps it from anything.
fn run(before: &[&str], rules: &Value, code: &str) -> Finished {
    let scratch = Scratch::new();
    let policy = json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": "deny", "exec": "deny" },
        "fs": { "rules": rules },
    });
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    Child::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(before)
        .arg(binary())
        .args(["run", "--quiet", "--policy", &policy, "--"])
        .args([PYTHON, "-I", "-c", code])
        .run()
}

fn refused(done: Finished, words: &str) {
    let done = done.expect(125);
    assert_eq!(done.stdout(), "");
    assert!(done.stderr().contains(words), "{done}");
}

fn reading(path: &str) -> String {
    format!("print(open({path:?}).read(), end='')")
}

#[test]
fn what_two_mounts_show_is_denied_at_both_or_not_at_all() {
    let _alone = alone();
    if !is_root("what_two_mounts_show_is_denied_at_both_or_not_at_all") {
        return;
    }
    let folder = Folder::new("mounts");
    let Folder(at) = &folder;
    for name in ["keys", "shown"] {
        std::fs::create_dir(Path::new(at).join(name)).expect("a folder");
    }
    std::fs::write(Path::new(at).join("keys/key"), "it is read\n").expect("a file");
    let script = format!("mount --bind {at}/keys {at}/shown && exec \"$@\"");
    let mounted = ["sh", "-c", &script, "sh"];
    let code = reading(&format!("{at}/shown/key"));
    let allow = json!({ "action": "allow", "path": at, "perms": ["read_file", "read_dir"] });
    for denied in ["keys", "keys/key", "keys/*"] {
        let deny = json!({ "action": "deny", "path": format!("{at}/{denied}") });
        let done = run(&mounted, &json!([allow, deny]), &code);
        refused(done, &format!("the host shows the same at {at}/shown"));
    }
    // What is denied in one is to be denied in the other, wherever that begins to be shown.
    for rules in [
        json!([
            { "action": "allow", "path": format!("{at}/keys") },
            { "action": "allow", "path": format!("{at}/shown") },
            { "action": "deny", "path": format!("{at}/**/keys/*") },
        ]),
        json!([
            { "action": "allow", "path": format!("{at}/keys") },
            { "action": "allow", "path": format!("{at}/shown/key") },
            { "action": "deny", "path": format!("{at}/keys/*") },
        ]),
        json!([
            { "action": "allow", "path": format!("{at}/shown/key") },
            { "action": "deny", "path": format!("{at}/keys") },
        ]),
        json!([allow, { "action": "deny", "path": "/**/keys/key" }]),
    ] {
        let done = run(&mounted, &rules, &code);
        refused(done, &format!("the host shows the same at {at}/shown"));
    }
    let everywhere = json!({ "action": "deny", "path": "/**/key" });
    run(&mounted, &json!([allow, everywhere]), &code).expect(1);
    let both = json!({ "action": "deny", "path": format!("{at}/shown") });
    let deny = json!({ "action": "deny", "path": format!("{at}/keys") });
    run(&mounted, &json!([allow, deny, both]), &code).expect(1);
    run(&mounted, &json!([allow]), &code).prints("it is read\n");
}

#[test]
fn where_case_makes_no_difference_no_name_is_denied() {
    let _alone = alone();
    if !is_root("where_case_makes_no_difference_no_name_is_denied") {
        return;
    }
    let folder = Folder::new("case");
    let Folder(at) = &folder;
    let beside = [PYTHON, FOLDING, at];
    let code = reading(&format!("{at}/Secret.KEY"));
    let allow = json!({ "action": "allow", "path": at, "perms": ["read_file", "read_dir"] });
    for denied in ["secret.key", "*.key", "missing"] {
        let deny = json!({ "action": "deny", "path": format!("{at}/{denied}") });
        let done = run(&beside, &json!([allow, deny]), &code);
        refused(done, "case make no difference");
    }
    run(&beside, &json!([allow]), &code).prints("it is read\n");
}

#[test]
fn a_file_with_two_names_on_an_overlay_is_denied_as_a_whole() {
    let _alone = alone();
    if !is_root("a_file_with_two_names_on_an_overlay_is_denied_as_a_whole") {
        return;
    }
    let folder = Folder::new("overlay");
    let Folder(at) = &folder;
    for name in ["lower", "upper", "work", "all"] {
        std::fs::create_dir(Path::new(at).join(name)).expect("a folder");
    }
    let lower = Path::new(at).join("lower");
    std::fs::write(lower.join("secret"), "it is read\n").expect("a file");
    std::fs::hard_link(lower.join("secret"), lower.join("other")).expect("a link");
    let script = format!(
        "mount -t overlay overlay -o lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work {at}/all \
         && exec \"$@\""
    );
    let mounted = ["sh", "-c", &script, "sh"];
    let writable = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(lower.join("secret"), writable).expect("its mode is changed");
    // To open it for writing copies it.
    let other = format!("{at}/all/other");
    let code = format!("open({other:?}, 'a').close()\n{}", reading(&other));
    let allow = json!({ "action": "allow", "path": format!("{at}/all") });
    let deny = |perms: Value| {
        let mut rule = json!({ "action": "deny", "path": format!("{at}/all/secret") });
        if perms.is_array() {
            rule["perms"] = perms;
        }
        json!([allow, rule])
    };
    refused(
        run(&mounted, &deny(json!(["read_file"])), &code),
        "overlay file system",
    );
    run(&mounted, &deny(Value::Null), &code).expect(1);
    run(&mounted, &json!([allow]), &code).prints("it is read\n");
}

/// A name that leads through a link is denied for itself too, whatever comes in the place of the link.
#[test]
fn a_denied_name_that_leads_through_a_link_stays_denied() {
    let _alone = alone();
    if !is_root("a_denied_name_that_leads_through_a_link_stays_denied") {
        return;
    }
    for (denied, code) in [
        (
            "shown/profile",
            "os.unlink('shown/profile'); open('shown/profile', 'w').write('x')",
        ),
        ("shown/profile", "os.rename('shown/new', 'shown/profile')"),
        (
            "shown/link/secret",
            "os.rename('shown/link', 'shown/other'); os.mkdir('shown/link'); open('shown/link/secret', 'w')",
        ),
        (
            "shown/link/secret",
            "os.unlink('shown/link'); os.rename('shown/directory', 'shown/link'); open('shown/link/secret', 'a')",
        ),
    ] {
        let folder = linked();
        let code = format!(
            "import os\nos.chdir({:?})\ntry:\n {code}\n print('done')\nexcept OSError as error: print(error.errno)",
            folder.0
        );
        let allow = json!({ "action": "allow", "path": format!("{}/shown", folder.0) });
        let deny = json!({ "action": "deny", "path": format!("{}/{denied}", folder.0) });
        let done = run(&[], &json!([allow, deny]), &code).expect(0);
        assert!(
            matches!(&*done.stdout(), "13\n" | "16\n" | "18\n"),
            "{denied}: {done}"
        );
        // The same again.
        drop(folder);
        let _folder = linked();
        run(&[], &json!([allow]), &code).prints("done\n");
    }
}

/// A tree of which some is reached through links.
fn linked() -> Folder {
    let folder = Folder::new("links");
    let at = Path::new(&folder.0);
    for name in ["shown/real", "shown/directory", "elsewhere"] {
        std::fs::create_dir_all(at.join(name)).expect("a folder");
    }
    for name in [
        "elsewhere/profile",
        "shown/new",
        "shown/real/secret",
        "shown/directory/secret",
    ] {
        std::fs::write(at.join(name), "").expect("a file");
    }
    symlink("../elsewhere/profile", at.join("shown/profile")).expect("a link");
    symlink("real", at.join("shown/link")).expect("a link");
    for name in ["shown", "shown/real", "shown/directory"] {
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(at.join(name), mode).expect("its mode is changed");
    }
    folder
}
