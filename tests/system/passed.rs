//! Descriptors of what has no name inside: they come from outside, over a socket that the program may use,
//! or what they are of has gone where nothing is shown.

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root};

/// Hands out a directory and a file of the host's /tmp, of which the worker has another.
const GIVER: &str = r#"
import array, os, socket, subprocess, sys
folder, outside, *command = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(f"{folder}/socket")
os.chmod(f"{folder}/socket", 0o666)
server.listen()
program = subprocess.Popen(command)
server.settimeout(60)
connection, _ = server.accept()
given = [os.open(outside, os.O_RDONLY | os.O_DIRECTORY), os.open(f"{outside}/file", os.O_RDONLY)]
connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))])
sys.exit(program.wait())
"#;

/// Tries what only the name of such a descriptor would permit.
const TAKER: &str = r#"
import array, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(f"{sys.argv[1]}/socket")
    _, control, _, _ = client.recvmsg(1, socket.CMSG_SPACE(8))
numbers = array.array("i")
numbers.frombytes(control[0][2])
directory, file = numbers
def attempt(name, call):
    try:
        call()
        print(name, "done")
    except OSError as error:
        print(name, error.strerror)
print(os.read(file, 9).decode())
attempt("read", lambda: os.open("file", os.O_RDONLY, dir_fd=directory))
attempt("above", lambda: os.open("../other", os.O_RDONLY, dir_fd=directory))
attempt("list", lambda: os.open(".", os.O_RDONLY, dir_fd=directory))
attempt("again", lambda: os.open(f"/proc/self/fd/{file}", os.O_RDWR))
attempt("make", lambda: os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
attempt("remove", lambda: os.unlink("file", dir_fd=directory))
attempt("rename", lambda: os.rename("file", "renamed", src_dir_fd=directory, dst_dir_fd=directory))
attempt("change", lambda: os.chmod(file, 0o600))
attempt("shared memory", lambda: os.open("../../dev/shm/made", os.O_CREAT | os.O_RDWR, dir_fd=directory))
"#;

/// What they are of is called by its name outside, and may mean something here: the program has a /tmp
/// and a /dev/shm of its own, in which it may do what it likes.
#[test]
fn a_descriptor_from_outside_has_no_name_inside() {
    let _alone = alone();
    if !is_root("a_descriptor_from_outside_has_no_name_inside") {
        return;
    }
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let folder = scratch.path().display().to_string();
    // The private /tmp has no such directory, and the permissions of the place hold for every name.
    let outside = other.entry("given");
    for name in ["given/file", "other"] {
        other.file(name, b"something");
    }
    let policy = serde_json::json!({
        "version": 1,
        "defaults": { "fs": "deny", "net": "deny", "exec": "allow" },
        "fs": { "rules": [
            { "action": "allow", "path": folder },
            { "action": "deny", "path": format!("{folder}/**/*.key") },
        ] },
    });
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    let buntime = binary().display().to_string();
    let run = [&buntime, "run", "--quiet", "--policy", &policy, "--"];
    let done = Child::new(PYTHON)
        .args(["-I", "-c", GIVER, &folder, &outside])
        .args(run)
        .args([PYTHON, "-I", "-c", TAKER, &folder])
        .run()
        .expect(0);
    let names = [
        "read", "above", "list", "again", "make", "remove", "rename", "change",
    ];
    let denied = names.iter().chain(&["shared memory"]);
    let denied: String = denied
        .map(|name| format!("{name} Permission denied\n"))
        .collect();
    assert_eq!(
        done.stdout(),
        format!("something\n{denied}"),
        "{}",
        done.stderr()
    );
    assert_eq!(
        std::fs::read(other.entry("given/file")).expect("it is there"),
        b"something"
    );
}

/// The kernel calls it like the root, whatever that allows.
#[test]
fn what_has_left_the_root_is_not_the_root() {
    let _alone = alone();
    if !is_root("what_has_left_the_root_is_not_the_root") {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.file("shown/x/k.key", b"something");
    let folder = scratch.path().display().to_string();
    let policy = serde_json::json!({
        "version": 1,
        "defaults": { "fs": "allow", "net": "deny", "exec": "deny" },
        "fs": { "rules": [
            { "action": "allow", "path": format!("{folder}/shown") },
            { "action": "deny", "path": "/**/*.key" },
        ] },
    });
    let policy = scratch.file("policy.json", policy.to_string().as_bytes());
    let code = format!(
        r#"
import os, sys
directory = os.open("{folder}/shown/x", os.O_PATH)
print("ready", flush=True)
sys.stdin.readline()
print(os.readlink(f"/proc/self/fd/{{directory}}"))
for flags in os.O_RDONLY, os.O_WRONLY:
    try: print(os.open("k.key", flags, dir_fd=directory))
    except OSError as error: print(error.strerror)
try: print(os.listdir(os.open(".", os.O_RDONLY, dir_fd=directory)))
except OSError as error: print(error.strerror)
"#
    );
    let script = r#"
import os, subprocess, sys
folder, *command = sys.argv[1:]
program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert program.stdout.readline() == "ready\n"
os.rename(f"{folder}/shown/x", f"{folder}/gone")
print(program.communicate("\n")[0], end="")
sys.exit(program.returncode)
"#;
    let buntime = binary().display().to_string();
    let done = Child::new(PYTHON)
        .args(["-I", "-c", script, &folder])
        .args([&buntime, "run", "--quiet", "--policy", &policy, "-c", &code])
        .run()
        .expect(0);
    let denied = "Permission denied\n".repeat(3);
    assert_eq!(done.stdout(), format!("/\n{denied}"), "{done}");
    assert!(!std::path::Path::new(&file).exists());
}
