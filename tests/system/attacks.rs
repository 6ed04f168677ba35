//! What must not be possible, tried from inside. Each attack is a Python program with
//! several attempts, through Python's own functions and through raw system calls. It runs
//! three times: outside, where every attempt must succeed, since an attempt that fails
//! everywhere shows nothing; and inside, as root and as an ordinary user, where every
//! attempt must be denied.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use crate::support::child::Running;
use crate::support::{Child, Finished, PYTHON, Scratch, alone, binary, is_root, lives};

const PRELUDE: &str = include_str!("../attacks/prelude.py");

/// An attack with its places filled in.
pub struct Attack {
    name: &'static str,
    program: String,
    attempts: usize,
}

impl Attack {
    pub fn new(name: &'static str, body: &str, places: &[(&str, &str)]) -> Attack {
        let mut program = format!("{PRELUDE}\n{body}\nmain()\n");
        for (place, value) in places {
            let mark = format!("@{place}@");
            assert!(program.contains(&mark), "{name} has no place {mark}");
            program = program.replace(&mark, value);
        }
        // Attempts made by a loop are counted when they run; this is the least there must be.
        let attempts = body.matches("@attempt").count();
        Attack {
            name,
            program,
            attempts: attempts.max(1),
        }
    }

    /// The whole program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Every attempt succeeds where no fence stands: as root, in namespaces that are thrown away.
    fn succeeds_outside(&self) -> &Attack {
        let throwaway = [
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--ipc",
            "--uts",
        ];
        let command = Child::new("unshare")
            .args(throwaway)
            .args(["--kill-child", "--"]);
        self.succeeds_with(command)
    }

    /// Every attempt succeeds as a plain program on the host.
    fn succeeds_on_the_host(&self) -> &Attack {
        self.succeeds_with(Child::new("env"))
    }

    fn succeeds_with(&self, command: Child) -> &Attack {
        let scratch = Scratch::new();
        let file = scratch.file("attack.py", self.program.as_bytes());
        let done = command.args([PYTHON, "-I", &file]).run();
        self.all_succeed(&done);
        self
    }

    pub fn all_succeed(&self, done: &Finished) {
        for (attempt, outcome) in self.outcomes(done) {
            assert_eq!(
                outcome, "SUCCEEDED",
                "{}: the attempt {attempt} shows nothing\n{done}",
                self.name
            );
        }
    }

    /// Every attempt is denied inside, whoever starts the sandbox.
    fn is_denied(&self) -> &Attack {
        self.is_denied_to(&[])
    }

    fn is_denied_to(&self, flags: &[&str]) -> &Attack {
        let scratch = Scratch::new();
        let run = || {
            Child::new(scratch.binary())
                .clean_path()
                .arg("run")
                .args(flags)
        };
        let root = run().current_dir(scratch.path());
        self.all_denied(&root.args(["-c", &self.program]).run());
        let user = run().of_user(&scratch.home());
        self.all_denied(&user.args(["-c", &self.program]).run());
        self
    }

    pub fn all_denied(&self, done: &Finished) {
        for (attempt, outcome) in self.outcomes(done) {
            assert!(
                outcome.starts_with("denied "),
                "{}: the attempt {attempt} was not denied: {outcome}\n{done}",
                self.name
            );
        }
    }

    /// What each attempt printed. The program must have run to its end.
    fn outcomes(&self, done: &Finished) -> BTreeMap<String, String> {
        assert_eq!(done.status.code(), Some(0), "{}: {done}", self.name);
        let found: BTreeMap<String, String> = done
            .stdout()
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(attempt, outcome)| (attempt.to_owned(), outcome.to_owned()))
            .collect();
        assert!(
            found.len() >= self.attempts,
            "{}: {} outcomes\n{done}",
            self.name,
            found.len()
        );
        found
    }
}

/// A test for an attack whose every attempt needs no more than root to succeed.
macro_rules! attacks {
    ($($name:ident: $file:literal)*) => {$(
        #[test]
        fn $name() {
            let _alone = alone();
            if is_root(stringify!($name)) {
                let body = include_str!(concat!("../attacks/", $file));
                Attack::new(stringify!($name), body, &[]).succeeds_outside().is_denied();
            }
        }
    )*};
}

attacks! {
    mount: "mount.py"
    chroot: "chroot.py"
    unshare: "unshare.py"
    setns: "setns.py"
    ptrace: "ptrace.py"
    keyctl: "keyctl.py"
    bpf_io_uring_and_their_like: "kernel_surface.py"
    personality: "personality.py"
    capabilities: "capabilities.py"
    executing_other_programs: "execute.py"
    starving_init: "init.py"
}

#[test]
fn reading_the_shadow_file() {
    let _alone = alone();
    if !is_root("reading_the_shadow_file") {
        return;
    }
    let body = include_str!("../attacks/read_secrets.py");
    let places = [("SECRET", "/etc/shadow"), ("MARK", "root:")];
    Attack::new("shadow", body, &places)
        .succeeds_on_the_host()
        .is_denied();
}

/// The keys are readable by everybody here, so that it is not their mode that protects them.
#[test]
fn reading_the_keys_of_the_person_who_runs_it() {
    let _alone = alone();
    if !is_root("reading_the_keys_of_the_person_who_runs_it") {
        return;
    }
    let scratch = Scratch::new();
    let mark = "BEGIN SECRET CANARY";
    let home = scratch.home();
    let key = scratch.file("home/.ssh/id_ed25519", mark.as_bytes());
    let places = [("SECRET", key.as_str()), ("MARK", mark)];
    let attack = Attack::new("keys", include_str!("../attacks/read_secrets.py"), &places);
    attack.succeeds_on_the_host().is_denied();
    // The fence is the policy and nothing else: a rule that names the file opens it.
    let flag = format!("--allow-read={home}/.ssh");
    let run = Child::new(binary())
        .clean_path()
        .args(["run", &flag, "--allow-run"]);
    let done = run
        .args(["-c", &attack.program])
        .env("HOME", &home)
        .current_dir(&home)
        .run();
    let outcomes = attack.outcomes(&done);
    // openat2 is refused to every worker: its flags stand behind a pointer.
    for attempt in ["api_open", "api_os_open", "raw_open", "raw_openat"] {
        assert_eq!(
            outcomes[attempt], "SUCCEEDED",
            "{attempt} with {flag}\n{done}"
        );
    }
}

#[test]
fn writing_outside_the_private_places() {
    let _alone = alone();
    if !is_root("writing_outside_the_private_places") {
        return;
    }
    let scratch = Scratch::new();
    let canary = scratch.file("granted/canary", b"untouched");
    let granted = scratch.entry("granted");
    let body = include_str!("../attacks/write_outside.py");
    // Outside, one granted folder is enough; the walk must find that it can be written.
    let lifted = Attack::new("write", body, &[("PLACES", &format!("[{granted:?}]"))]);
    lifted.succeeds_on_the_host();
    let flag = format!("--allow-write={granted}");
    let read = format!("--allow-read={granted}");
    let run = Child::new(binary())
        .clean_path()
        .args(["run", &flag, &read]);
    lifted.all_succeed(
        &run.args(["-c", &lifted.program])
            .current_dir(scratch.path())
            .run(),
    );
    // Inside, with the folder only readable, neither it nor anything from the root down.
    let places = format!("['/', {granted:?}]");
    Attack::new("write", body, &[("PLACES", &places)]).is_denied_to(&[&read]);
    assert_eq!(
        std::fs::read(canary).expect("the canary is there"),
        b"untouched"
    );
}

#[test]
fn connecting_to_the_loopback_of_the_host() {
    let _alone = alone();
    if !is_root("connecting_to_the_loopback_of_the_host") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback can be had");
    let port = listener
        .local_addr()
        .expect("the listener has an address")
        .port();
    let name = format!("attacked-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
    let abstract_listener = UnixListener::bind_addr(&address).expect("the abstract name is free");
    greet(move || listener.accept().map(|(stream, _)| stream));
    greet(move || abstract_listener.accept().map(|(stream, _)| stream));
    let places = [("PORT", &*port.to_string()), ("NAME", &*name)];
    let body = include_str!("../attacks/host_loopback.py");
    Attack::new("loopback", body, &places)
        .succeeds_on_the_host()
        .is_denied();
}

/// A read-only mount alone does not hold this: a socket in it can be connected to.
#[test]
fn reaching_a_socket_in_a_granted_folder() {
    let _alone = alone();
    if !is_root("reaching_a_socket_in_a_granted_folder") {
        return;
    }
    let scratch = Scratch::new();
    let (stream, datagram) = (scratch.entry("stream.sock"), scratch.entry("datagram.sock"));
    let listener = UnixListener::bind(&stream).expect("a socket can be made");
    let receiver = UnixDatagram::bind(&datagram).expect("a socket can be made");
    for path in [&stream, &datagram] {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, all).expect("the mode can be set");
    }
    greet(move || listener.accept().map(|(stream, _)| stream));
    std::thread::spawn(move || while receiver.recv(&mut [0; 8]).is_ok() {});
    let places = |outside| {
        [
            ("STREAM", &*stream),
            ("DATAGRAM", &*datagram),
            ("OUTSIDE", outside),
        ]
    };
    let body = include_str!("../attacks/granted_sockets.py");
    Attack::new("granted sockets", body, &places("yes")).succeeds_on_the_host();
    let folder = scratch.path().display();
    let attack = Attack::new("granted sockets", body, &places("no"));
    attack.is_denied_to(&[&format!("--allow-read={folder}")]);
    // Where writing is decided call by call there are sockets with names, and these are decided.
    let all = ["read_file", "read_dir", "write_file", "write_dir"];
    let policy = serde_json::json!({
        "version": 1,
        "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
        "fs": {"rules": [
            {"action": "allow", "path": scratch.path(), "perms": all},
            {"action": "deny", "path": format!("{folder}/*.sock"), "perms": ["write_file"]}
        ]}
    });
    let file = scratch.file("p.json", policy.to_string().as_bytes());
    attack.is_denied_to(&["--policy", &file]);
    // Shown by its own name, a socket could be connected to whatever its mount is.
    let read = format!("--allow-read={stream}");
    let run = Child::new(binary())
        .clean_path()
        .args(["run", &read, "-c", "pass"]);
    let done = run.current_dir("/").run().expect(125);
    assert!(done.stderr().contains("it is a socket"), "{done}");
}

/// Says hello to everybody who connects, for as long as the test program runs.
fn greet<S: Write>(accept: impl Fn() -> std::io::Result<S> + Send + 'static) {
    std::thread::spawn(move || {
        while let Ok(mut stream) = accept() {
            // Some leave at once, without listening.
            drop(stream.write_all(b"hello"));
        }
    });
}

/// A process of the host, of the user that the sandbox of an ordinary user would act as.
fn victim(arguments: &[&str]) -> Running {
    Child::new("setpriv")
        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"])
        .args(arguments)
        .start()
}

#[test]
fn seeing_a_process_of_the_host() {
    let _alone = alone();
    if !is_root("seeing_a_process_of_the_host") {
        return;
    }
    // Seconds that no other sleep of this host is likely to have.
    let victim = victim(&["sleep", "86397"]);
    let pid = victim.id().to_string();
    crate::support::eventually(crate::support::PATIENCE, || {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if comm.trim() == "sleep" {
            Ok(())
        } else {
            Err(format!("it is still {comm}"))
        }
    });
    let places = [("MARK_HEAD", "863"), ("MARK_TAIL", "97"), ("PIDS", &*pid)];
    let body = include_str!("../attacks/host_processes.py");
    Attack::new("processes", body, &places)
        .succeeds_on_the_host()
        .is_denied();
}

#[test]
fn signalling_a_process_of_the_host() {
    let _alone = alone();
    if !is_root("signalling_a_process_of_the_host") {
        return;
    }
    // One for each way, and each is hit once.
    let mut victims: Vec<Running> = (0..10).map(|_| victim(&["sleep", "1000"])).collect();
    let pids: Vec<String> = victims.iter().map(|one| one.id().to_string()).collect();
    let attack = Attack::new(
        "signals",
        include_str!("../attacks/signals.py"),
        &[("PIDS", &pids.join(", "))],
    );
    attack.is_denied();
    for pid in &pids {
        assert!(lives(pid), "a process of the host was ended");
    }
    attack.succeeds_on_the_host();
    for victim in &mut victims {
        let ended = victim.wait(crate::support::PATIENCE);
        assert!(ended.is_some(), "one way ends nothing outside either");
    }
}

#[test]
fn seeing_the_environment_and_descriptors_of_the_supervisor() {
    let _alone = alone();
    if !is_root("seeing_the_environment_and_descriptors_of_the_supervisor") {
        return;
    }
    let scratch = Scratch::new();
    let secret = scratch.file("secret", b"descriptor-canary");
    scratch.file("modules/planted.py", b"LOADED = True\n");
    let places = [("MARK_HEAD", "descriptor"), ("MARK_TAIL", "-canary")];
    let body = include_str!("../attacks/supervisor.py");
    let attack = Attack::new("supervisor", body, &places);
    let program = scratch.file("attack.py", attack.program.as_bytes());
    // The shell hands on a variable and descriptor 9, as a careless caller would.
    let careless = |command: &str| {
        Child::new("bash")
            .args(["-c", &format!("exec 9<{secret}; exec {command}")])
            .env("SECRET", "environment-descriptor-canary")
            .env("PYTHONPATH", &scratch.entry("modules"))
            .current_dir(scratch.path())
            .clean_path()
            .run()
    };
    attack.all_succeed(&careless(&format!("{PYTHON} {program}")));
    attack.all_denied(&careless(&format!("{} run {program}", binary().display())));
    // The file itself must exist for the attempts to mean anything.
    assert!(File::open(&secret).is_ok());
}
