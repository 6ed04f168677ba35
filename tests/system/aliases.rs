//! Files that have other names on the host than those of which a rule speaks: by a second mount, in a layer
//! of an overlay, where case makes no difference, and by hard links that no inode tells of. Such a rule is
//! refused, and another name is open without.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Child, Finished, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp};

const FUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/aliases/fuse.py");

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
    let policy = json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": "deny", "exec": "deny" },
        "fs": { "rules": rules },
    });
    run_under(before, &policy, code)
}

fn run_under(before: &[&str], policy: &Value, code: &str) -> Finished {
    let scratch = Scratch::new();
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

/// What lets be read what is in the folder under this name, in which nothing is a wildcard.
fn shown(folder: &str, name: &str) -> Value {
    let path = format!("{folder}/{}", name.replace('\\', r"\\"));
    json!({ "action": "allow", "path": path, "perms": ["read_file", "read_dir"] })
}

fn denied(folder: &str, name: &str) -> Value {
    json!({ "action": "deny", "path": format!("{folder}/{name}") })
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
    let beside = [PYTHON, FUSE, "folding", at];
    let code = reading(&format!("{at}/Secret.KEY"));
    let allow = json!({ "action": "allow", "path": at, "perms": ["read_file", "read_dir"] });
    for denied in ["secret.key", "*.key", "missing"] {
        let deny = json!({ "action": "deny", "path": format!("{at}/{denied}") });
        let done = run(&beside, &json!([allow, deny]), &code);
        refused(done, "case make no difference");
    }
    run(&beside, &json!([allow]), &code).prints("it is read\n");
}

/// A pattern begins above the mount at which case makes no difference.
#[test]
fn no_pattern_reaches_into_where_case_makes_no_difference() {
    let _alone = alone();
    if !is_root("no_pattern_reaches_into_where_case_makes_no_difference") {
        return;
    }
    let folder = Folder::new("below");
    let Folder(at) = &folder;
    let usb = format!("{at}/usb");
    std::fs::create_dir(&usb).expect("a folder");
    let linked = format!("{at}/linked");
    symlink(at, &linked).expect("a link");
    let beside = [PYTHON, FUSE, "folding", &usb];
    let code = reading(&format!("{usb}/Secret.KEY"));
    let allow =
        |at: &str| json!({ "action": "allow", "path": at, "perms": ["read_file", "read_dir"] });
    let deny = |denied: &str| json!({ "action": "deny", "path": denied });
    let below = |denied: &str| deny(&format!("{at}/{denied}"));
    for rules in [
        json!([allow(at), below("**/*.key")]),
        json!([allow(at), below("*/*.key")]),
        json!([allow(at), below("u*/secret.key")]),
        json!([allow(at), deny("/**/*.key")]),
        json!([allow(&usb), below("**/*.key")]),
        json!([allow(&linked), below("**/*.key")]),
    ] {
        let done = run(&beside, &rules, &code);
        refused(done, "case make no difference");
    }
    // These speak of nothing there, or of all of it.
    run(&beside, &json!([allow(at), below("*.key")]), &code).prints("it is read\n");
    run(&beside, &json!([allow(at), below("us*")]), &code).expect(1);
    run(&beside, &json!([allow("/usr"), deny("/**/*.key")]), &code).expect(1);
}

/// Each name has an inode of its own.
#[test]
fn a_file_whose_inode_does_not_tell_its_names_is_not_denied() {
    let _alone = alone();
    if !is_root("a_file_whose_inode_does_not_tell_its_names_is_not_denied") {
        return;
    }
    let folder = Folder::new("inodes");
    let Folder(at) = &folder;
    let beside = [PYTHON, FUSE, "linked", at];
    let code = reading(&format!("{at}/other"));
    let allow = json!({ "action": "allow", "path": at, "perms": ["read_file", "read_dir"] });
    let deny = json!({ "action": "deny", "path": format!("{at}/secret.key") });
    refused(
        run(&beside, &json!([allow, deny]), &code),
        "copy the file in its place",
    );
    run(&beside, &json!([allow]), &code).prints("it is read\n");
    // Nothing of it is shown, and so nothing is to be denied.
    run(&beside, &json!([deny]), &code).expect(1);
}

/// Four folders, of which `all` is an overlay over `lower` and `upper` for whoever comes after the words.
fn overlay(name: &str) -> (Folder, [String; 4]) {
    let folder = Folder::new(name);
    let Folder(at) = &folder;
    let everybody = std::fs::Permissions::from_mode(0o777);
    for name in ["lower", "upper", "work", "all"] {
        let path = Path::new(at).join(name);
        std::fs::create_dir(&path).expect("a folder");
        std::fs::set_permissions(path, everybody.clone()).expect("its mode is changed");
    }
    let secret = Path::new(at).join("lower/secret");
    std::fs::write(&secret, "it is read\n").expect("a file");
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(secret, everybody).expect("its mode is changed");
    let script = format!(
        "mount -t overlay overlay -o lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work {at}/all \
         && exec \"$@\""
    );
    let words = ["sh".into(), "-c".into(), script, "sh".into()];
    (folder, words)
}

#[test]
fn a_file_with_two_names_on_an_overlay_is_not_denied() {
    let _alone = alone();
    if !is_root("a_file_with_two_names_on_an_overlay_is_not_denied") {
        return;
    }
    let (folder, words) = overlay("overlay");
    let Folder(at) = &folder;
    let mounted = words.each_ref().map(|word| &**word);
    let lower = Path::new(at).join("lower");
    std::fs::hard_link(lower.join("secret"), lower.join("other")).expect("a link");
    let allow = json!({ "action": "allow", "path": format!("{at}/all") });
    // To open it for writing copies it, and so does giving it another name.
    let (other, new) = (format!("{at}/all/other"), format!("{at}/all/new"));
    let opened = format!("open({other:?}, 'a').close()\n{}", reading(&other));
    let renamed = format!(
        "import os\nos.rename({other:?}, {new:?})\n{}",
        reading(&new)
    );
    for (action, perms) in [
        ("deny", Value::Null),
        ("deny", json!(["read_file"])),
        ("ask", Value::Null),
        ("warn", Value::Null),
    ] {
        let mut rule = json!({ "action": action, "path": format!("{at}/all/secret") });
        if perms.is_array() {
            rule["perms"] = perms;
        }
        for code in [&renamed, &opened] {
            let done = run(&mounted, &json!([allow, rule]), code);
            refused(done, "copy the file in its place");
        }
    }
    run(&mounted, &json!([allow]), &renamed).prints("it is read\n");
    // As a program.
    std::fs::remove_dir_all(Path::new(at).join("upper")).expect("it is removed");
    std::fs::create_dir(Path::new(at).join("upper")).expect("a folder");
    let program = json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
        "fs": { "rules": [allow] },
        "exec": { "rules": [{ "action": "deny", "path": format!("{at}/all/secret") }] },
    });
    let done = run_under(&mounted, &program, &renamed);
    refused(done, "copy the file in its place");
    // With one name it is denied.
    std::fs::remove_file(lower.join("other")).expect("it is removed");
    let deny = json!({ "action": "deny", "path": format!("{at}/all/secret") });
    let code = reading(&format!("{at}/all/secret"));
    run(&mounted, &json!([allow, deny]), &code).expect(1);
}

#[test]
fn what_an_overlay_shows_is_denied_in_its_layers_too() {
    let _alone = alone();
    if !is_root("what_an_overlay_shows_is_denied_in_its_layers_too") {
        return;
    }
    let (folder, words) = overlay("layers");
    let Folder(at) = &folder;
    let mounted = words.each_ref().map(|word| &**word);
    let (allow, deny) = (|name: &str| shown(at, name), |name: &str| denied(at, name));
    let same = |name: &str| format!("the host shows the same at {at}/{name}");
    let in_layer = reading(&format!("{at}/lower/secret"));
    for name in ["all/secret", "all/*", "all"] {
        let rules = json!([allow("all"), allow("lower"), deny(name)]);
        refused(run(&mounted, &rules, &in_layer), &same("lower"));
    }
    let rules = json!([allow("all"), allow("lower"), deny("lower/secret")]);
    let in_all = reading(&format!("{at}/all/secret"));
    refused(run(&mounted, &rules, &in_all), &same("all"));
    // What is changed is in the upper one from then on.
    let rules = json!([allow("all"), allow("upper"), deny("all/secret")]);
    refused(run(&mounted, &rules, &in_all), &same("upper"));
    // It is denied wherever it is shown.
    let everywhere = json!([
        allow("all"),
        allow("lower"),
        deny("all/secret"),
        deny("lower/secret")
    ]);
    run(&mounted, &everywhere, &in_layer).expect(1);
    run(&mounted, &everywhere, &in_all).expect(1);
    let alone = json!([allow("all"), deny("all/secret")]);
    run(&mounted, &alone, &in_all).expect(1);
    let both = json!([allow("all"), allow("lower")]);
    run(&mounted, &both, &in_layer).prints("it is read\n");
    // A directory that is renamed keeps its name in the layer.
    let renames = words[2].replace("-o ", "-o redirect_dir=on,");
    let mounted = ["sh", "-c", &renames, "sh"];
    refused(run(&mounted, &everywhere, &in_layer), &same("lower"));
}

/// A layer whose name needs signs that the list of mounts takes for its own, a layer that is an overlay,
/// and one that another mount shows.
#[test]
fn the_layers_of_an_overlay_are_found_however_they_are_named() {
    let _alone = alone();
    if !is_root("the_layers_of_an_overlay_are_found_however_they_are_named") {
        return;
    }
    let (folder, _) = overlay("named");
    let Folder(at) = &folder;
    let strange = r"a:b c\d,e";
    for name in [strange, "bound", "top"] {
        std::fs::create_dir(Path::new(at).join(name)).expect("a folder");
    }
    let secret = Path::new(at).join("lower/secret");
    std::fs::rename(secret, Path::new(at).join(strange).join("secret")).expect("it is moved");
    let script = format!(
        r#"mount -t overlay overlay -o lowerdir='{at}/a\:b c\\d\,e:{at}/lower' {at}/all &&
        mount -t overlay overlay -o lowerdir={at}/all:{at}/upper {at}/top &&
        mount --bind '{at}/{strange}' {at}/bound && exec "$@""#
    );
    let mounted = ["sh", "-c", &script, "sh"];
    let (allow, deny) = (|name: &str| shown(at, name), |name: &str| denied(at, name));
    for (name, other) in [
        ("all", strange),
        ("top", strange),
        ("top", "all"),
        ("top", "bound"),
        ("all", "top"),
        ("all", "bound"),
        ("bound", "top"),
        ("bound", "all"),
    ] {
        let code = reading(&format!("{at}/{other}/secret"));
        let secret = deny(&format!("{name}/secret"));
        let rules = json!([allow(name), allow(other), secret]);
        let words = format!("the host shows the same at {at}/{other}");
        refused(run(&mounted, &rules, &code), &words);
        run(&mounted, &json!([allow(other)]), &code).prints("it is read\n");
    }
}

/// When all names of a file have gone, another gets its inode.
#[test]
fn a_new_file_with_the_inode_of_a_denied_one_is_its_own() {
    let _alone = alone();
    if !is_root("a_new_file_with_the_inode_of_a_denied_one_is_its_own") {
        return;
    }
    let folder = Folder::new("born");
    let Folder(at) = &folder;
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(at, everybody).expect("its mode is changed");
    std::fs::write(Path::new(at).join("denied"), "it is read\n").expect("a file");
    std::fs::hard_link(Path::new(at).join("denied"), Path::new(at).join("other")).expect("a link");
    let code = format!(
        "import os
os.chdir({at:?})
try: print(open('other').read())
except PermissionError: print('denied')
known = os.stat('denied').st_ino
os.unlink('denied'), os.unlink('other')
for number in range(64):
    name = f'new{{number}}'
    open(name, 'w').write('it is new')
    # On some file systems no inode comes again.
    if os.stat(name).st_ino == known: break
print(open(name).read())"
    );
    let allow = json!({ "action": "allow", "path": at });
    let deny = json!({ "action": "deny", "path": format!("{at}/denied"), "perms": ["read_file"] });
    run(&[], &json!([allow, deny]), &code).prints("denied\nit is new\n");
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
