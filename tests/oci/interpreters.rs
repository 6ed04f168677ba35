//! Which files of an interpreter are shown, and what leads to them.

use std::path::{Path, PathBuf};

use buntime::launch::Piece;
use buntime::oci::{Prepared, Target};
use buntime::policy::{Flags, Perm, Request, Verdict};

use crate::support::{Scratch, mapped, place, prepared, real, refused};

/// A copy of Debian's interpreter below a prefix of its own, with its library, as builds that can
/// be moved are laid out.
fn moved_python(prefix: &Path) -> PathBuf {
    let real = real("/usr/bin/python3");
    let version = real.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::create_dir_all(prefix.join("bin")).unwrap();
    std::fs::create_dir_all(prefix.join("lib").join(&version)).unwrap();
    std::fs::copy(&real, prefix.join("bin").join(&version)).unwrap();
    std::fs::write(prefix.join("lib").join(&version).join("os.py"), "").unwrap();
    prefix.join("bin").join(version)
}

fn shown(prepared: &Prepared, path: &Path) -> bool {
    let pieces = prepared.request.pieces.iter();
    pieces
        .filter(|piece| matches!(piece, Piece::Bind { .. }))
        .any(|piece| path.starts_with(place(piece)))
}

fn link(prepared: &Prepared, path: &Path) -> Option<PathBuf> {
    prepared
        .request
        .pieces
        .iter()
        .find_map(|piece| match piece {
            Piece::Link {
                path: there,
                target,
            } if there == path => Some(target.clone()),
            _ => None,
        })
}

fn with_python(python: PathBuf) -> Target {
    Target::Python {
        python: Some(python),
        venv: None,
        script: None,
    }
}

#[test]
fn links_in_every_component_are_made_as_they_are() {
    let scratch = Scratch::new("links");
    let store = scratch.0.join("store");
    let python = moved_python(&store.join("cpython-3.11.2"));
    let name = python.file_name().unwrap();
    std::os::unix::fs::symlink("cpython-3.11.2", store.join("cpython-3.11")).unwrap();
    std::os::unix::fs::symlink(name, store.join("cpython-3.11.2/bin/python")).unwrap();
    std::os::unix::fs::symlink(&store, scratch.0.join("short")).unwrap();
    let named = scratch.0.join("short/cpython-3.11/bin/python");
    let prepared = prepared(with_python(named.clone()), Flags::default());
    assert_eq!(prepared.request.program.path, named);
    assert_eq!(
        link(&prepared, &scratch.0.join("short")),
        Some(store.clone())
    );
    let versioned = link(&prepared, &store.join("cpython-3.11"));
    assert_eq!(versioned, Some("cpython-3.11.2".into()));
    let last = link(&prepared, &store.join("cpython-3.11.2/bin/python"));
    assert_eq!(last, Some(name.into()));
    assert!(shown(&prepared, &python));
    let library = store.join("cpython-3.11.2/lib").join(name);
    assert!(mapped(&prepared, &library.join("module.so")));
}

#[test]
fn of_a_prefix_only_the_interpreter_is_shown() {
    let scratch = Scratch::new("prefix");
    let prefix = scratch.0.join("local");
    let python = moved_python(&prefix);
    for other in [
        "include/python3.11",
        "lib/libpython3.11.so.1.0",
        "lib/other",
        "bin/other",
    ] {
        std::fs::create_dir_all(prefix.join(other).parent().unwrap()).unwrap();
        std::fs::write(prefix.join(other), "").unwrap();
    }
    let secret = scratch.file("secret", "", 0o600);
    std::os::unix::fs::symlink(&secret, prefix.join("lib/libpython-evil.so")).unwrap();
    let prepared = prepared(with_python(python.clone()), Flags::default());
    assert!(shown(&prepared, &python));
    assert!(shown(&prepared, &prefix.join("lib/libpython3.11.so.1.0")));
    for other in ["include/python3.11", "lib/other", "bin/other"] {
        assert!(!shown(&prepared, &prefix.join(other)), "{other}");
    }
    assert!(!shown(&prepared, &secret), "a link leads out of the prefix");
}

#[test]
fn a_prefix_without_a_library_shows_nothing() {
    let scratch = Scratch::new("landmark");
    let python = moved_python(&scratch.0);
    let library = scratch.0.join("lib").join(python.file_name().unwrap());
    std::fs::remove_file(library.join("os.py")).unwrap();
    let prepared = prepared(with_python(python), Flags::default());
    assert!(!shown(&prepared, &library), "anything may be called python");
}

#[test]
fn an_environment_of_conda_is_told_how_to_be_used() {
    let scratch = Scratch::new("conda");
    let prefix = scratch.0.join("env");
    let python = moved_python(&prefix);
    std::fs::create_dir(prefix.join("conda-meta")).unwrap();
    std::fs::write(prefix.join("lib/libffi.so.8"), "").unwrap();
    std::fs::create_dir(prefix.join("pkgs")).unwrap();
    let error = refused(Target::Python {
        python: None,
        venv: Some(prefix.clone()),
        script: None,
    });
    assert!(error.to_string().contains("--python"), "{error}");
    let prepared = prepared(with_python(python), Flags::default());
    assert!(mapped(&prepared, &prefix.join("lib/libffi.so.8")));
    assert!(!shown(&prepared, &prefix.join("pkgs")));
}

#[test]
fn a_shim_is_no_interpreter() {
    let scratch = Scratch::new("shim");
    let shim = scratch.file("python3", "#!/bin/sh\nexec python3 \"$@\"\n", 0o755);
    let error = refused(Target::Python {
        python: Some(shim),
        venv: None,
        script: None,
    });
    assert!(error.to_string().contains("--python"), "{error}");
}

#[test]
fn a_virtual_environment_is_shown_and_nothing_around_it() {
    let scratch = Scratch::new("venv");
    let venv = scratch.0.join("env");
    let made = std::process::Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status()
        .unwrap();
    assert!(made.success());
    scratch.file("secret", "", 0o644);
    let target = Target::Python {
        python: None,
        venv: Some(venv.clone()),
        script: None,
    };
    let prepared = prepared(target, Flags::default());
    assert!(prepared.request.program.path.starts_with(&venv));
    assert!(mapped(&prepared, &venv.join("lib/module.so")));
    let secret = scratch.0.join("secret");
    let asked = Request::Fs {
        path: &secret,
        perm: Perm::ReadFile,
    };
    assert_eq!(prepared.policy.decide(&asked).verdict, Verdict::Deny);

    let none = Target::Python {
        python: None,
        venv: Some(scratch.0.clone()),
        script: None,
    };
    assert!(!refused(none).to_string().is_empty());
}
