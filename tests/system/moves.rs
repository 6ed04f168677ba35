//! Directories that get another name, with what is in them.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp};

/// Makes its way to a name in the end, each by its own: the directory that is told, and then the file.
const WAYS: &str = r#"
import ctypes, os, sys
DENIED, WHERE = sys.argv[1:]
folder, name = os.path.split(DENIED)

def fill(place):
    os.makedirs(place)
    with open(f"{place}/{name}", "w") as file: file.write("evil")

def exchanged(one, other):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, one.encode(), -100, other.encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")

def made(): fill(folder)
def moved():
    fill("m"); os.rename("m", folder)
def moved_over():
    fill("o"); os.makedirs(folder); os.rename("o", folder)
def moved_with_more():
    above, last = os.path.split(folder)
    fill(f"p/{last}"); os.rename("p", above)
def swapped():
    fill("e"); os.makedirs(folder); exchanged("e", folder)
def swapped_back():
    fill("b"); os.makedirs(folder); exchanged(folder, "b")

os.chdir(WHERE)
for way in (made, moved, moved_over, moved_with_more, swapped, swapped_back):
    os.makedirs(os.path.dirname(folder))
    try:
        way()
    except OSError as error:
        said = type(error).__name__ if error.errno != 18 else "EXDEV"
    else:
        said = "done"
    print(way.__name__, said, os.path.exists(DENIED))
    os.system("rm -rf m o p e b w")
"#;

/// What nobody may make under a name does not come there with its directory either.
#[test]
fn a_directory_brings_nothing_to_a_denied_name() {
    let _alone = alone();
    if !is_root("a_directory_brings_nothing_to_a_denied_name") {
        return;
    }
    let at = outside_of_tmp().join(format!("moves-{}", std::process::id()));
    let where_it_is = at.display().to_string();
    let attempts = |denied: &str, perms: &[&str]| {
        std::fs::create_dir_all(&at).expect("a folder");
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&at, mode).expect("its mode is changed");
        let scratch = Scratch::new();
        let mut rule = json!({ "action": "deny", "path": format!("{where_it_is}/{denied}") });
        if !perms.is_empty() {
            rule["perms"] = json!(perms);
        }
        let policy = json!({
            "version": 1,
            "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
            "fs": { "rules": [{ "action": "allow", "path": where_it_is }, rule] },
        });
        let policy = scratch.file("policy.json", policy.to_string().as_bytes());
        let done = Child::new(binary())
            .args(["run", "--quiet", "--policy", &policy, "--"])
            .args([PYTHON, "-I", "-c", WAYS, "w/conf/key", &where_it_is])
            .run();
        std::fs::remove_dir_all(&at).expect("it is removed");
        done.expect(0).stdout()
    };
    let all = |said: &str| {
        let ways = ["made", "moved", "moved_over", "moved_with_more"];
        let ways = ways.into_iter().chain(["swapped", "swapped_back"]);
        ways.map(|way| format!("{way} {said}\n"))
            .collect::<String>()
    };
    assert_eq!(attempts("v/conf/key", &[]), all("done True"));
    for denied in ["w/conf/key", "w/conf/k*", "**/conf/key", "w/*/key"] {
        for perms in [&[][..], &["write_file", "make_reg"], &["write_dir"]] {
            let said = attempts(denied, perms);
            assert!(
                !said.contains("True"),
                "was not denied: {denied} {perms:?}\n{said}"
            );
            assert!(said.contains("moved EXDEV"), "{denied} {perms:?}\n{said}");
        }
    }
}
