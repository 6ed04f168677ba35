//! What a person sees first: output, exit codes, streams, limits of time and output, an
//! ordinary user, a host that gives no namespaces.

use std::fs;
use std::time::Duration;

use crate::support::{Child, PATIENCE, Scratch, alone, buntime, is_root};

#[test]
fn an_expression_is_printed() {
    let _alone = alone();
    buntime(["run", "-c", "print(6*7)"]).run().prints("42\n");
}

#[test]
fn the_exit_code_is_the_programs_own() {
    let _alone = alone();
    buntime(["run", "-c", "import sys; sys.exit(7)"])
        .run()
        .expect(7);
    buntime(["run", "--", "/bin/sh", "-c", "exit 9"])
        .run()
        .expect(9);
}

#[test]
fn a_traceback_reaches_stderr() {
    let _alone = alone();
    let done = buntime(["run", "-c", "def f():\n    raise ValueError('seen')\nf()"])
        .run()
        .expect(1);
    let stderr = done.stderr();
    assert!(
        stderr.starts_with("Traceback (most recent call last):"),
        "{done}"
    );
    assert!(
        stderr.contains("in f\n") && stderr.contains("ValueError: seen"),
        "{done}"
    );
}

#[test]
fn a_file_runs_with_its_arguments() {
    let _alone = alone();
    let scratch = Scratch::new();
    let file = scratch.file("script.py", b"import sys\nprint(__name__, sys.argv[1:])\n");
    let run = buntime(["run", &file, "a", "--timeout", "b c"]).current_dir(scratch.path());
    run.run().prints("__main__ ['a', '--timeout', 'b c']\n");
}

/// What a program has open it can open by that name, whoever runs it.
#[test]
fn streams_have_their_names() {
    let _alone = alone();
    const SHELL: &str = "read line </dev/stdin; echo $line; echo out >/dev/stdout; \
                         echo own >/proc/self/fd/1; echo err >/dev/stderr";
    const CODE: &str = r#"
import os
print(open("/dev/stdin").read(), end="", flush=True)
for name, said in ("/dev/stdout", "out"), ("/proc/self/fd/1", "own"), ("/dev/stderr", "err"):
    with open(name, "w") as stream: print(said, file=stream)
with open(f"/proc/self/fd/{os.memfd_create('m')}", "w") as file: file.write("x")
with open(f"/dev/fd/{os.pipe()[1]}", "w") as file: file.write("x")
"#;
    let scratch = Scratch::new();
    let (home, binary) = (scratch.home(), scratch.binary());
    for command in [&["-c", CODE][..], &["--", "/bin/sh", "-c", SHELL]] {
        let by_self = buntime(["run", "--quiet"]).args(command);
        let mut runs = vec![by_self];
        if rustix::process::geteuid().is_root() {
            let of_user = Child::new(&binary).args(["run", "--quiet"]).args(command);
            runs.push(of_user.clean_path().of_user(&home));
        }
        for run in runs {
            let done = run.input("in\n").run().expect(0);
            assert_eq!(
                (done.stdout(), done.stderr()),
                ("in\nout\nown\n".into(), "err\n".into())
            );
        }
    }
}

#[test]
fn code_comes_from_standard_input() {
    let _alone = alone();
    buntime(["run", "-"])
        .input("print('from stdin')")
        .run()
        .prints("from stdin\n");
}

#[test]
fn streams_pass_through() {
    let _alone = alone();
    buntime(["run", "--", "cat"])
        .input("hi\n")
        .run()
        .prints("hi\n");
    let done = buntime([
        "run",
        "-c",
        "import sys; print(sys.stdin.read()[::-1], file=sys.stderr)",
    ])
    .input("abc")
    .run()
    .expect(0);
    assert_eq!(done.stderr(), "cba\n", "{done}");
}

#[test]
fn missing_and_unusable_programs_have_their_codes() {
    let _alone = alone();
    let scratch = Scratch::new();
    buntime(["run", "--", "/no/such/program"]).run().expect(127);
    buntime(["run", "--", "no-such-program"]).run().expect(127);
    let data = scratch.file("data", b"not a program\n");
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("a mode");
    buntime(["run", "--", &data]).run().expect(126);
    buntime(["run", "--no-such-flag"]).run().expect(125);
    buntime(["run", "--policy", "/no/such/policy.json", "-c", "pass"])
        .run()
        .expect(125);
}

/// A program that is searched for along PATH is asked for in every folder of it.
#[test]
fn a_search_for_a_program_is_said_once() {
    let _alone = alone();
    let search = |name: &str| {
        let code = format!(
            "import subprocess\ntry: subprocess.run([{name:?}])\n\
             except FileNotFoundError: print('not there')"
        );
        buntime(["run", "-c", &code]).run().prints("not there\n")
    };
    let done = search("ls");
    assert_eq!(done.stderr().lines().count(), 1, "{done}");
    assert!(done.stderr().contains("--allow-run=/usr/bin/ls"), "{done}");
    let done = search("no-such-program");
    assert_eq!(done.stderr(), "", "no flag would allow it\n{done}");
}

#[test]
fn a_signal_is_128_and_its_number() {
    let _alone = alone();
    buntime(["run", "-c", "import os; os.kill(os.getpid(), 15)"])
        .run()
        .expect(143);
    buntime(["run", "--", "/bin/sh", "-c", "kill -KILL $$"])
        .run()
        .expect(137);
}

#[test]
fn the_time_limit_ends_a_run() {
    let _alone = alone();
    let done = buntime(["run", "--timeout", "1", "-c", "while True: pass"])
        .run()
        .expect(124);
    assert!(done.took >= Duration::from_millis(900), "{done}");
    // It is 1.5 s on a quiet machine; what is tested here is that the limit ends it at all.
    assert!(done.took < Duration::from_secs(15), "{done}");
    assert!(
        done.stderr().contains("wall"),
        "the limit is not named\n{done}"
    );
}

#[test]
fn an_interrupt_ends_everything() {
    let _alone = alone();
    let code = "import time; print('up', flush=True); time.sleep(600)";
    let mut running = buntime(["run", "-c", code]).start();
    running.wait_for_output("up");
    running.signal(rustix::process::Signal::INT);
    let done = running
        .wait(PATIENCE)
        .expect("Ctrl-C ends the run")
        .expect(130);
    assert!(
        done.stderr().contains("KeyboardInterrupt") || done.stderr().is_empty(),
        "{done}"
    );
}

/// Every line is numbered, so that a lost, doubled or misplaced piece is seen.
#[test]
fn a_hundred_mebibytes_arrive_whole_while_the_supervisor_stays_small() {
    let _alone = alone();
    const LINES: usize = 100 * 1024 * 1024 / 16;
    let code = format!(
        "import sys\nfor start in range(0, {LINES}, 65536):\n    \
         sys.stdout.write(''.join('%015d\\n' % n for n in range(start, min(start + 65536, {LINES}))))"
    );
    let mut running = buntime(["run", "--max-output", "1G", "-c", &code]).start();
    let mut largest = 0;
    let done = loop {
        if let Some(done) = running.wait(Duration::from_millis(20)) {
            break done;
        }
        largest = largest.max(resident_kib(running.id()));
    };
    let done = done.expect(0);
    assert_eq!(done.stdout.len(), LINES * 16);
    for (number, line) in done.stdout.chunks(16).enumerate() {
        assert_eq!(line, format!("{number:015}\n").as_bytes(), "line {number}");
    }
    assert!(largest > 0, "the supervisor was never seen");
    assert!(
        largest < 48 * 1024,
        "the supervisor had {largest} KiB resident"
    );
    eprintln!(
        "the supervisor had at most {largest} KiB resident, in {:?}",
        done.took
    );
}

/// The most that a process had resident, or 0 when it is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    let _alone = alone();
    if !is_root("an_ordinary_user_needs_nothing_more") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let run = |code: &str| {
        Child::new(scratch.binary())
            .clean_path()
            .args(["run", "-c", code])
            .of_user(&home)
            .run()
    };
    run("print(6*7)").prints("42\n");
    let done = run("import os; print(os.getuid(), open('/proc/self/uid_map').read())").expect(0);
    assert!(
        !done.stdout().starts_with("0 "),
        "the program runs as root\n{done}"
    );
    let script = scratch.file("home/script.py", b"print('a script at home')\n");
    let file = Child::new(scratch.binary())
        .clean_path()
        .args(["run", &script])
        .of_user(&home);
    file.run().prints("a script at home\n");
}

/// As in a container whose root is nobody's: it has the capabilities and one id.
#[test]
fn root_of_a_user_namespace_runs_as_an_ordinary_user_does() {
    let _alone = alone();
    if !is_root("root_of_a_user_namespace_runs_as_an_ordinary_user_does") {
        return;
    }
    let scratch = Scratch::new();
    for how in [&["--map-root-user"][..], &["--map-root-user", "--mount"]] {
        let inside = |child: Child| {
            let code = "import os; print(os.getuid())";
            child
                .args(how)
                .args([&scratch.binary(), "run", "-c", code])
                .run()
                .prints("1000\n");
        };
        inside(Child::new("unshare"));
        inside(Child::new("unshare").clean_path().of_user(&scratch.home()));
    }
}

#[test]
fn reading_everything_leaves_the_workers_own_places() {
    let _alone = alone();
    let scratch = Scratch::new();
    let secret = scratch.file("secret", b"of the host");
    let code = format!(
        "import os\n\
         print(open('/etc/passwd').read() == {:?}, os.path.exists({secret:?}))\n\
         print(sorted(os.listdir('/tmp')), len([p for p in os.listdir('/proc') if p.isdigit()]) < 4)\n\
         open('/tmp/new', 'w').write('mine')\n\
         for path in '/etc/new', '/new', '/run/new':\n\
         \x20   try: open(path, 'w')\n\
         \x20   except OSError: print('not', path)\n",
        std::fs::read_to_string("/etc/passwd").unwrap()
    );
    // From /, because a working directory below /tmp is there as well.
    buntime(["run", "--allow-read", "-c", &code])
        .current_dir("/")
        .run()
        .prints("True False\n[] True\nnot /etc/new\nnot /new\nnot /run/new\n");
    let read = "print(open('/etc/passwd').read())";
    let run = ["run", "--allow-read", "--deny-read=/etc/passwd", "-c", read];
    let done = buntime(run).run().expect(1);
    assert!(!done.stdout().contains("root:"), "{done}");
    let socket = "import socket; socket.socket(socket.AF_UNIX)";
    for everything in ["--allow-read", "--allow-read=/run"] {
        let done = buntime(["run", everything, "-c", socket]).run().expect(1);
        assert!(done.stderr().contains("not supported"), "{done}");
    }
    // What is left out of them can be denied as well: there is nothing to take away.
    for nothing in ["/sys", "/sys/kernel", "/run/lock"] {
        let denied = format!("--deny-read={nothing}");
        buntime(["run", "--allow-read", &denied, "-c", "print(1)"])
            .run()
            .prints("1\n");
    }
    for (flags, named) in [
        (
            &["--allow-read", "--deny-read=/proc"][..],
            "--deny-read=/proc",
        ),
        (&["--deny-read=/proc/1"], "--deny-read=/proc/1"),
        (&["--allow-write"], "--allow-write: it lets / itself"),
        (&["--allow-write=/run"], "--allow-write=/run: it lets /run"),
        (
            &["--allow-write=/run/buntime"],
            "--allow-write=/run/buntime: ",
        ),
    ] {
        let done = buntime(["run"]).args(flags).args(["-c", "print(1)"]).run();
        let done = done.expect(125);
        assert!(done.stderr().contains(named), "{done}");
    }
    let listed = "import os; print(len(os.listdir('/run')) > 0)";
    buntime(["run", "--allow-read=/run", "-c", listed])
        .run()
        .prints("True\n");
}

#[test]
fn a_script_runs_in_a_folder_that_may_be_written() {
    let _alone = alone();
    let scratch = Scratch::new();
    let script = scratch.file(
        "script.py",
        b"open('made', 'w').write('x'); print('done')\n",
    );
    let run = ["run", "--allow-read=.", "--allow-write=.", &script];
    buntime(run)
        .current_dir(scratch.path())
        .run()
        .prints("done\n");
    assert_eq!(fs::read(scratch.entry("made")).unwrap(), b"x");
    buntime(["run", "--policy", "no-network", &script])
        .current_dir(scratch.path())
        .run()
        .prints("done\n");
}

/// As in a container without privileges: no capabilities, and user namespaces are forbidden.
#[test]
fn without_namespaces_the_policy_is_carried_or_refused() {
    let _alone = alone();
    if !is_root("without_namespaces_the_policy_is_carried_or_refused") {
        return;
    }
    let scratch = Scratch::new();
    let shadow = scratch.file("secret", b"secret-of-the-host");
    let inside = |arguments: &[&str]| {
        let forbid = "echo 0 > /proc/sys/user/max_user_namespaces; \
                      exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- \"$@\"";
        Child::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--net",
                "sh",
                "-c",
                forbid,
                "sh",
            ])
            .arg(scratch.binary())
            .args(arguments)
            .clean_path()
            .of_user(&scratch.home())
            .run()
    };
    let done = inside(&["run", "-c", "print(6*7)"]);
    match done.status.code() {
        Some(0) => assert_eq!(done.stdout(), "42\n", "{done}"),
        Some(125) => {
            let words = done.stderr().to_lowercase();
            assert!(
                words.contains("namespace"),
                "the message does not say why\n{done}"
            );
        }
        _ => panic!("neither carried nor refused\n{done}"),
    }
    let read = format!("print(open({shadow:?}).read())");
    let done = inside(&["run", "-c", &read]);
    assert!(!done.stdout().contains("secret-of-the-host"), "{done}");
    assert_ne!(done.status.code(), Some(0), "{done}");
}

#[test]
fn a_network_policy_starts_where_its_rules_are_carried() {
    let _alone = alone();
    for flag in ["--policy=networked", "--allow-net=example.com"] {
        buntime(["run", flag, "-c", "print(1)"]).run().prints("1\n");
    }
    // Every connection is to be recorded, somewhere.
    let refused = buntime(["run", "--policy", "net-egress", "-c", "pass"]).run();
    let refused = refused.expect(125);
    assert!(refused.stderr().contains("--events"), "{refused}");
    let scratch = Scratch::new();
    let log = format!("--events={}", scratch.entry("events.jsonl"));
    let asked = ["run", "--policy", "net-egress", &log, "-c", "print(1)"];
    buntime(asked).run().prints("1\n");
}

#[test]
fn the_binary_alone_is_an_installation() {
    let _alone = alone();
    if !is_root("the_binary_alone_is_an_installation") {
        return;
    }
    let scratch = Scratch::new();
    // Nothing beside it, and no environment.
    let alone = Child::new("env").args(["-i", "PATH=/usr/bin:/bin", &scratch.binary()]);
    alone
        .args(["run", "-c", "print(6*7)"])
        .current_dir("/")
        .run()
        .prints("42\n");
}
