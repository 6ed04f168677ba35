//! Interpreters that live in a home, as uv, pyenv and a plain copy lay them out, run by an ordinary
//! user; and policies under which every program may run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{Child, Finished, PYTHON, Scratch, alone, buntime, is_root};

/// Debian's interpreter and its library in a prefix of their own. Nothing but where they lie tells
/// them so.
fn copy_of_python(prefix: &Path) -> PathBuf {
    let python = Path::new(PYTHON).canonicalize().expect("Debian's python3");
    let name = python.file_name().expect("it has a name");
    let library = prefix.join("lib").join(name);
    fs::create_dir_all(prefix.join("bin")).expect("a prefix");
    fs::create_dir_all(&library).expect("a library");
    fs::copy(&python, prefix.join("bin").join(name)).expect("a copy");
    let left_out = [
        "test",
        "__pycache__",
        "idlelib",
        "lib2to3",
        "sitecustomize.py",
    ];
    let entries = fs::read_dir(Path::new("/usr/lib").join(name)).expect("Debian's library");
    let wanted = entries
        .flatten()
        .filter(|entry| !left_out.iter().any(|out| entry.file_name() == *out))
        .map(|entry| entry.path());
    Child::new("cp")
        .args(["-r", "--no-dereference"])
        .args(wanted)
        .arg(&library)
        .run()
        .expect(0);
    prefix.join("bin").join(name)
}

struct Home {
    scratch: Scratch,
    path: PathBuf,
}

impl Home {
    fn new() -> Home {
        let scratch = Scratch::new();
        let path = PathBuf::from(scratch.home());
        Home { scratch, path }
    }

    fn run(&self, flags: &[&Path], code: &str) -> Finished {
        Child::new(self.scratch.binary())
            .arg("run")
            .args(flags)
            .args(["-c", code])
            .clean_path()
            .of_user(&self.path.display().to_string())
            .run()
    }
}

const WHERE: &str =
    "import sys, os, json.decoder, _json, ctypes; print(sys.prefix, sys.base_prefix, os.__file__)";

#[test]
fn an_interpreter_as_uv_lays_it_out() {
    let _alone = alone();
    if !is_root("an_interpreter_as_uv_lays_it_out") {
        return;
    }
    let home = Home::new();
    let store = home.path.join(".local/share/uv/python");
    let full = store.join("cpython-3.11.2-linux-x86_64-gnu");
    let python = copy_of_python(&full);
    let name = python.file_name().expect("a name").to_owned();
    let short = store.join("cpython-3.11-linux-x86_64-gnu");
    symlink(full.file_name().expect("a name"), &short).expect("a link");
    home.scratch
        .file("home/.local/share/uv/python/secret", b"beside");
    home.scratch.file("home/.local/secret", b"beside");

    // By the short name, whose link is a directory in the middle of the path.
    let done = home
        .run(
            &[Path::new("--python"), &short.join("bin").join(&name)],
            WHERE,
        )
        .expect(0);
    let prefix = done.stdout();
    assert!(prefix.contains("cpython-3.11"), "{done}");
    assert!(
        prefix.contains(&format!("lib/{}/os.py", name.display())),
        "{done}"
    );

    // And an environment that leads there, made as uv makes it.
    let venv = home.path.join("project/.venv");
    let packages = format!("home/project/.venv/lib/{}/site-packages", name.display());
    home.scratch.file(
        &format!("{packages}/planted.py"),
        b"print('of the environment')\n",
    );
    fs::create_dir_all(venv.join("bin")).expect("bin");
    symlink(short.join("bin").join(&name), venv.join("bin/python")).expect("a link");
    let described = format!(
        "home = {}\nimplementation = CPython\n",
        short.join("bin").display()
    );
    fs::write(venv.join("pyvenv.cfg"), described).expect("pyvenv.cfg");
    let code = format!("import planted; {WHERE}");
    for flags in [
        [Path::new("--venv"), &venv],
        [Path::new("--python"), &venv.join("bin/python")],
    ] {
        let done = home.run(&flags, &code).expect(0);
        let said = done.stdout();
        assert!(said.starts_with("of the environment\n"), "{done}");
        assert!(
            said.contains(&format!("{} {}", venv.display(), short.display())),
            "{done}"
        );
    }
    for secret in [store.join("secret"), home.path.join(".local/secret")] {
        let read = format!("open({:?})", secret.display().to_string());
        let done = home.run(&[Path::new("--venv"), &venv], &read).expect(1);
        assert!(
            done.stderr().contains("denied") || done.stderr().contains("No such file"),
            "{done}"
        );
        let list = format!(
            "import os; print(os.listdir({:?}))",
            secret.parent().expect("a parent")
        );
        let done = home.run(&[Path::new("--venv"), &venv], &list);
        assert!(!done.stdout().contains("secret"), "{done}");
    }
}

#[test]
fn an_interpreter_as_pyenv_lays_it_out() {
    let _alone = alone();
    if !is_root("an_interpreter_as_pyenv_lays_it_out") {
        return;
    }
    let home = Home::new();
    let version = home.path.join(".pyenv/versions/3.11.2");
    let python = copy_of_python(&version);
    symlink(
        python.file_name().expect("a name"),
        version.join("bin/python"),
    )
    .expect("a link");
    let shim = home.scratch.file(
        "home/.pyenv/shims/python",
        b"#!/usr/bin/env bash\nexec pyenv exec python\n",
    );
    let done = home
        .run(&[Path::new("--python"), Path::new(&shim)], "pass")
        .expect(125);
    assert!(done.stderr().contains("sys.executable"), "{done}");
    let done = home
        .run(&[Path::new("--python"), &version.join("bin/python")], WHERE)
        .expect(0);
    assert!(
        done.stdout().starts_with(&version.display().to_string()),
        "{done}"
    );

    // An environment of copies finds its library by what its configuration says.
    let venv = home.path.join("copies");
    let name = python.file_name().expect("a name");
    fs::create_dir_all(venv.join("bin")).expect("bin");
    fs::copy(&python, venv.join("bin/python")).expect("a copy");
    let described = format!("home = {}\n", version.join("bin").display());
    fs::write(venv.join("pyvenv.cfg"), described).expect("pyvenv.cfg");
    let done = home.run(&[Path::new("--venv"), &venv], WHERE).expect(0);
    let library = version.join("lib").join(name).join("os.py");
    assert!(
        done.stdout().contains(&library.display().to_string()),
        "{done}"
    );
}

#[test]
fn a_home_that_is_a_link() {
    let _alone = alone();
    if !is_root("a_home_that_is_a_link") {
        return;
    }
    let home = Home::new();
    let python = copy_of_python(&home.path.join("python"));
    let elsewhere = home.scratch.path().join("link");
    symlink(&home.path, &elsewhere).expect("a link");
    let named = elsewhere
        .join("python/bin")
        .join(python.file_name().expect("a name"));
    let script = home
        .scratch
        .file("home/script.py", b"import os; print(os.getcwd())\n");
    let done = home.run(&[Path::new("--python"), &named], WHERE).expect(0);
    assert!(done.stdout().contains("python/lib/python3"), "{done}");
    let linked = script.replace("/home/", "/link/");
    let done = Child::new(home.scratch.binary())
        .arg("run")
        .args(["--python".as_ref(), named.as_os_str()])
        .arg(&linked)
        .current_dir(&elsewhere)
        .clean_path()
        .of_user(&home.path.display().to_string())
        .run();
    done.prints(&format!("{}\n", home.path.display()));
}

const EVERY: &[u8] =
    br#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "allow"}}"#;

#[test]
fn every_visible_program_may_run_where_a_policy_says_so() {
    let _alone = alone();
    let scratch = Scratch::new();
    let policy = scratch.file("every.json", EVERY);
    let run = |words: &[&str]| {
        buntime(["run", "--policy", &policy, "--"])
            .args(words)
            .run()
    };
    run(&[
        "bash",
        "-c",
        "ls -d /usr/bin && /bin/echo ran && env true && awk 'BEGIN { print 7 }'",
    ])
    .prints("/usr/bin\nran\n7\n");
    let explained = buntime(["policy", "explain", "--policy", &policy, "/usr/bin/ls"])
        .run()
        .expect(0);
    let said = explained.stdout();
    let line = said
        .lines()
        .find(|line| line.trim_end().ends_with("run"))
        .unwrap_or_default();
    assert!(line.contains("allow"), "{said}");

    // A program that a rule denies is the exception, by any name.
    let but = br#"{"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
        "exec": {"rules": [{"path": "/usr/bin/ls", "action": "deny"}]}}"#;
    let policy = scratch.file("but.json", but);
    let run = |words: &[&str]| {
        buntime(["run", "--policy", &policy, "--"])
            .args(words)
            .run()
    };
    run(&["bash", "-c", "/bin/echo ran"]).prints("ran\n");
    for program in ["ls", "/bin/ls", "/lib64/ld-linux-x86-64.so.2 /usr/bin/ls"] {
        let done = run(&["bash", "-c", &format!("{program} / || /bin/echo refused")]);
        assert_eq!(done.stdout(), "refused\n", "{program}: {done}");
    }
    // And where nothing but the command may run, it is all there is.
    let done = buntime(["run", "--", "bash", "-c", "/bin/echo ran || echo refused"]).run();
    assert_eq!(done.stdout(), "refused\n", "{done}");
}
