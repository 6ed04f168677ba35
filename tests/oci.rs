//! What a launch is prepared from, looked at before anything is launched.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use buntime::launch::{Features, Piece, StdioRequest};
use buntime::oci::{OciError, PrepareInput, Prepared, Target, WorkerFiles, prepare, write_python};
use buntime::policy::{Flags, Layer, Perm, Request, Vars, Verdict};

/// A directory that is gone at the end of its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        // Not below /tmp, where a worker has a place of its own.
        let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = base.join(format!("oci-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn vars() -> Vars {
    let pwd = std::env::current_dir().unwrap();
    Vars {
        home: "/home/nobody".into(),
        workspace: pwd.clone(),
        pwd,
    }
}

fn flags(flags: Flags) -> Vec<Layer> {
    vec![Layer::from_flags(&flags, &vars()).unwrap()]
}

fn python() -> Target {
    Target::Python {
        python: None,
        venv: None,
        script: None,
    }
}

fn command(words: &[&str]) -> Target {
    Target::Command {
        name: words.first().map(OsString::from),
        args: words.iter().skip(1).map(OsString::from).collect(),
    }
}

fn input(target: Target, layers: Vec<Layer>) -> PrepareInput {
    PrepareInput {
        layers,
        target,
        worker: Some(WorkerFiles {
            bootstrap: "BOOTSTRAP".into(),
            files: vec![("worker.py".into(), b"pass".to_vec())],
            segment_bytes: 1 << 20,
        }),
        env: Vec::new(),
        cwd: Some("/tmp".into()),
        out: None,
        out_keep: false,
        bundle: None,
        rootfs: None,
        stdio: StdioRequest::Pipes,
        features: Features::probe(),
        umask: 0o022,
    }
}

fn prepared(target: Target, asked: Flags) -> Prepared {
    prepare(input(target, flags(asked))).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(target: Target) -> OciError {
    prepare(input(target, flags(Flags::default())))
        .map(|_| ())
        .unwrap_err()
}

fn place(piece: &Piece) -> &Path {
    match piece {
        Piece::Dir { path }
        | Piece::Link { path, .. }
        | Piece::File { path, .. }
        | Piece::Bind { path, .. }
        | Piece::Tmpfs { path, .. }
        | Piece::Proc { path }
        | Piece::Dev { path, .. }
        | Piece::Mqueue { path } => path,
    }
}

/// Whether code can be mapped from a path: the last mount over it decides.
fn mapped(prepared: &Prepared, path: &Path) -> bool {
    let pieces = prepared
        .request
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Bind {
                path, executable, ..
            } => Some((path, *executable)),
            _ => None,
        });
    let binds = prepared
        .request
        .plan
        .binds
        .iter()
        .map(|bind| (&bind.path, bind.executable));
    let over: Vec<bool> = pieces
        .chain(binds)
        .filter(|(place, _)| path.starts_with(place))
        .map(|(_, executable)| executable)
        .collect();
    over.last().copied().unwrap_or(false)
}

fn real(path: &str) -> PathBuf {
    Path::new(path).canonicalize().unwrap()
}

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
    let Prepared { request, policy } = prepared(python(), Flags::default());
    let passwd = request.pieces.iter().find_map(|piece| match piece {
        Piece::File { path, bytes } if path == Path::new("/etc/passwd") => Some(bytes.clone()),
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
    let Prepared { policy, request } = prepare(input(command(&["sh"]), vec![layer])).unwrap();
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
    let Prepared { policy, request } = prepare(asked).unwrap();
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

#[test]
fn the_written_bundle_is_one_and_hooks_are_refused() {
    let scratch = Scratch::new("bundle");
    let bundle = scratch.0.join("python");
    write_python(&bundle).unwrap();
    assert!(write_python(&bundle).is_err(), "it is there already");
    let text = std::fs::read_to_string(bundle.join("config.json")).unwrap();
    let spec: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
    let linux = spec.linux().clone().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 7);
    assert_eq!(
        spec.process().as_ref().unwrap().no_new_privileges(),
        Some(true)
    );
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));

    let mut hooked: serde_json::Value = serde_json::from_str(&text).unwrap();
    hooked["hooks"] = serde_json::json!({"poststop": [{"path": "/bin/true"}]});
    std::fs::write(bundle.join("config.json"), hooked.to_string()).unwrap();
    let mut asked = input(command(&["/usr/bin/python3"]), flags(Flags::default()));
    asked.bundle = Some(bundle);
    let error = prepare(asked).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("hooks"), "{error}");
}

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
