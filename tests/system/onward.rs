//! What every sandbox shows, where other files are decided as they are opened: Landlock decides it, and
//! nobody sees a difference.

use serde_json::json;

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root};

/// Opens what a link leads to out of such a place, what is not there, and what is no file; and as before
/// what a rule denies there.
#[test]
fn what_every_sandbox_shows_is_opened_as_ever() {
    let _alone = alone();
    if !is_root("what_every_sandbox_shows_is_opened_as_ever") {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.entry("folder");
    std::fs::create_dir(&folder).expect("a folder");
    for name in ["a", "a.key"] {
        std::fs::write(format!("{folder}/{name}"), "it").expect("a file");
    }
    // What the link of the library leads to is not always allowed, so that it is decided live.
    let library = "/usr/lib/python3.11/sitecustomize.py";
    let linked = std::fs::canonicalize(library).expect("Python's package has it");
    let around = linked.parent().expect("it is no root").display();
    assert!(!linked.starts_with("/usr"), "{library} leads to {around}");
    let policy = json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "fs": {"rules": [
            {"action": "allow", "path": folder, "perms": ["read_file", "read_dir"]},
            {"action": "deny", "path": format!("{folder}/**/*.key")},
            {"action": "allow", "path": around.to_string(), "perms": ["read_file", "read_dir"]},
            {"action": "deny", "path": format!("{around}/**/*.key")},
        ]}
    });
    let code = r#"
import errno, fcntl, os, resource, stat
def says(path, flags=os.O_RDONLY):
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        return errno.errorcode[error.errno]
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    return {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}[kind]
print(says("LIBRARY"), says("/usr/lib/os-release"), says("/usr/lib"), says("/usr/lib/none"),
      says("/usr/lib/os-release/none"), says("/usr/lib/os-release", os.O_DIRECTORY),
      says("/usr/lib/os-release", os.O_NOFOLLOW | os.O_CLOEXEC), says("/usr/lib/os-release", os.O_WRONLY))
print(says("FOLDER/a"), says("FOLDER/a.key"), says("FOLDER"))
descriptor = os.open("/usr/lib/os-release", os.O_RDONLY | os.O_NOFOLLOW)
print(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NOFOLLOW == os.O_NOFOLLOW)
resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + 1, descriptor + 1))
print(says("/usr/lib/os-release"))
"#;
    let file = scratch.file("p.json", policy.to_string().as_bytes());
    Child::new(binary())
        .args(["run", "--quiet", "--policy", &file, "--", PYTHON, "-c"])
        .arg(code.replace("FOLDER", &folder).replace("LIBRARY", library))
        .clean_path()
        .run()
        .prints(
            "file file folder ENOENT ENOTDIR ENOTDIR file EACCES\nfile EACCES folder\nTrue\nEMFILE\n",
        );
}
