//! What a launch is prepared from, looked at before anything is launched.

mod bundles;
mod interpreters;
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use buntime::launch::Piece;
use buntime::oci::{OciError, Prepared, prepare};
use buntime::policy::{Flags, Layer, Perm, Request, Verdict};

use crate::support::{
    Scratch, command, flags, input, mapped, place, prepared, python, real, refused, vars,
};

#[test]
fn a_worker_is_told_its_socket_and_its_segment() {
    let Prepared { request, .. } = prepared(python(), Flags::default());
    let channel = request.channel.unwrap();
    let words: Vec<String> = request
        .program
        .args
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    assert_eq!(words[1..4], ["-I", "-c", "BOOTSTRAP"]);
    assert_eq!(Path::new(&words[4]), channel.socket);
    assert_eq!(Path::new(&words[5]), channel.segment);
    let again = prepared(python(), Flags::default())
        .request
        .channel
        .unwrap();
    assert_ne!(again.socket, channel.socket, "the socket's name is random");
    let beside = channel.socket.parent().unwrap().join("worker.py");
    assert!(
        request.pieces.iter().any(|piece| place(piece) == beside),
        "the worker stands beside it"
    );
}

#[test]
fn the_environment_is_clean_but_for_what_is_asked() {
    let mut asked = input(python(), flags(Flags::default()));
    asked.env = vec![
        ("HOME".into(), "/elsewhere".into()),
        ("X".into(), "1".into()),
    ];
    let env = prepare(asked).unwrap().request.program.env;
    let names: Vec<&str> = env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    let once: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), once.len(), "a name stands once: {names:?}");
    assert_eq!(
        once,
        BTreeSet::from(["PATH", "HOME", "TMPDIR", "LANG", "X"])
    );
    assert!(env.contains(&("HOME".into(), "/elsewhere".into())));
}

#[test]
fn nothing_of_the_root_stands_twice() {
    for target in [
        python(),
        command(&["sh", "-c", "true"]),
        command(&["/bin/sh"]),
    ] {
        let request = prepared(target.clone(), Flags::default()).request;
        let mut seen = BTreeSet::new();
        for piece in request
            .pieces
            .iter()
            .filter(|piece| !matches!(piece, Piece::Dir { .. }))
        {
            assert!(
                seen.insert(place(piece)),
                "{target:?}: {} stands twice",
                place(piece).display()
            );
        }
    }
}

#[test]
fn the_root_shows_nobody_of_the_host() {
    let Prepared {
        request, policy, ..
    } = prepared(python(), Flags::default());
    let passwd = request.pieces.iter().find_map(|piece| match piece {
        Piece::File { path, bytes } if path == Path::new("/etc/passwd") => Some(bytes.to_vec()),
        _ => None,
    });
    let names = String::from_utf8(passwd.unwrap()).unwrap();
    assert_eq!(
        names.lines().count(),
        3,
        "root, nobody and the worker: {names}"
    );
    for path in ["/etc/shadow", "/root", "/home", "/var/log", "/usr/bin/env"] {
        let asked = Request::Fs {
            path: Path::new(path),
            perm: Perm::ReadFile,
        };
        assert_eq!(policy.decide(&asked).verdict, Verdict::Deny, "{path}");
        assert!(
            !request
                .pieces
                .iter()
                .any(|piece| place(piece) == Path::new(path)),
            "{path}"
        );
    }
    let writable = request
        .pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::Bind { writable: true, .. }));
    assert_eq!(writable.count(), 0, "no host path is writable");
}

#[test]
fn libraries_can_be_mapped_whatever_may_be_read() {
    for asked in [
        Flags::default(),
        Flags {
            allow_read: Some(Vec::new()),
            ..Flags::default()
        },
        Flags {
            allow_read: Some(vec!["/usr".into()]),
            ..Flags::default()
        },
        Flags {
            allow_run: Some(vec!["/usr/bin/env".into()]),
            ..Flags::default()
        },
    ] {
        let shown = format!("{asked:?}");
        let prepared = prepared(python(), asked);
        let library = real("/usr/lib").join("python3");
        assert!(
            mapped(&prepared, &library),
            "{shown}: {:#?}",
            prepared.request.plan.binds
        );
    }
}

#[test]
fn every_program_may_run_where_the_policy_says_so() {
    let text = r#"{"version":1,"defaults":{"fs":"deny","net":"deny","exec":"allow"}}"#;
    let layer = Layer::parse(text.as_bytes(), "any.json", &vars()).unwrap();
    let Prepared {
        policy, request, ..
    } = prepare(input(command(&["sh"]), vec![layer])).unwrap();
    let program = real("/usr/bin/env");
    let asked = Request::Fs {
        path: &program,
        perm: Perm::Execute,
    };
    assert_eq!(policy.decide(&asked).verdict, Verdict::Allow);
    let carried = request
        .plan
        .landlock
        .iter()
        .any(|grant| program.starts_with(&grant.path) && grant.perms.contains(Perm::Execute));
    assert!(carried, "{:#?}", request.plan.landlock);
}

#[test]
fn the_output_directory_can_be_written_and_nothing_runs_from_it() {
    let scratch = Scratch::new("out");
    let mut asked = input(python(), flags(Flags::default()));
    asked.out = Some(scratch.0.clone());
    let Prepared {
        policy, request, ..
    } = prepare(asked).unwrap();
    let file = scratch.0.join("result");
    let write = Request::Fs {
        path: &file,
        perm: Perm::WriteFile,
    };
    assert_eq!(policy.decide(&write).verdict, Verdict::Allow);
    let pieces = request.pieces.iter().filter_map(|piece| match piece {
        Piece::Bind {
            path,
            writable,
            executable,
            ..
        } => Some((path, *writable, *executable)),
        _ => None,
    });
    let binds = request.plan.binds.iter();
    let binds = binds.map(|bind| (&bind.path, bind.writable, bind.executable));
    let shown = pieces.chain(binds).filter(|(path, ..)| **path == scratch.0);
    assert_eq!(
        shown.collect::<Vec<_>>().last(),
        Some(&(&scratch.0, true, false))
    );

    scratch.file("old", "", 0o644);
    let mut full = input(python(), flags(Flags::default()));
    full.out = Some(scratch.0.clone());
    assert!(matches!(
        prepare(full).map(|_| ()),
        Err(OciError::Out { .. })
    ));
}

#[test]
fn a_script_brings_its_interpreter() {
    let scratch = Scratch::new("script");
    let script = scratch.file("hello", "#!/bin/sh\necho hello\n", 0o755);
    let Prepared { policy, .. } = prepared(command(&[script.to_str().unwrap()]), Flags::default());
    for path in [script, real("/bin/sh")] {
        let asked = Request::Fs {
            path: &path,
            perm: Perm::Execute,
        };
        assert_eq!(
            policy.decide(&asked).verdict,
            Verdict::Allow,
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_is_no_program_is_refused_as_a_shell_does() {
    let scratch = Scratch::new("refused");
    let plain = scratch.file("plain", "text", 0o644);
    let orphan = scratch.file("orphan", "#!/no/such/interpreter\n", 0o755);
    let name = |path: &Path| command(&[path.to_str().unwrap()]);
    assert!(matches!(
        refused(command(&["no-such-program"])),
        OciError::NotFound { .. }
    ));
    assert!(matches!(
        refused(name(&scratch.0.join("absent"))),
        OciError::NotFound { .. }
    ));
    assert!(matches!(
        refused(name(&plain)),
        OciError::NotExecutable { .. }
    ));
    assert!(matches!(
        refused(name(&scratch.0)),
        OciError::NotExecutable { .. }
    ));
    assert!(matches!(
        refused(name(&orphan)),
        OciError::NotExecutable { .. }
    ));
}

#[test]
fn headers_that_lie_bring_nothing_and_break_nothing() {
    let scratch = Scratch::new("elf");
    let honest = std::fs::read(real("/usr/bin/env")).unwrap();
    for at in 32..58 {
        let mut lying = honest.clone();
        lying[at] = 0xff;
        let path = scratch.0.join("lying");
        std::fs::write(&path, lying).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let target = command(&[path.to_str().unwrap()]);
        // The kernel is the one to refuse it.
        prepare(input(target, flags(Flags::default()))).unwrap();
    }
}
