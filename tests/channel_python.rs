//! A real Python worker against the supervisor's end of the channel, without a sandbox.
#![cfg(target_os = "linux")]

mod support;

use buntime::ipc::{CheckKind, Config, DEFAULT_SEGMENT, Message, Stdio};
use support::{Worker, answer, block_on, plain};

fn once() -> Config {
    Config::once(vec!["-c".into()], None)
}

fn allow(_: &str) -> Option<&'static str> {
    None
}

/// Programs that must end as they do in the plain interpreter.
const PROGRAMS: [&str; 22] = [
    "print(6 * 7)",
    "import sys; sys.exit(7)",
    "import sys; sys.exit('bye')",
    "import sys; sys.exit()",
    "raise SystemExit(None)",
    "1/0",
    "def f():\n    raise ValueError('x')\nf()",
    "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
    "try:\n    1/0\nexcept ZeroDivisionError:\n    raise KeyError('k')",
    "1 +",
    "def f():\n  return 1\n    x",
    "raise KeyboardInterrupt",
    "import sys; sys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno); 1/0",
    "import atexit; atexit.register(print, 'late'); 1/0",
    "import threading, time\nt = threading.Thread(target=lambda: (time.sleep(0.1), print('joined')))\nt.start()",
    "import threading\ndef f(): 1/0\nt = threading.Thread(target=f, name='T'); t.start(); t.join()",
    "print(sorted(n for n in globals() if n != '__loader__'), __name__, __file__ if '__file__' in globals() else None)",
    "import sys; print(sys.argv, sys.path[0] == '')",
    "import os; os._exit(3)",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "import sys; print('out'); print('err', file=sys.stderr); sys.stdout.write('no newline')",
    "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
];

#[test]
fn a_run_ends_as_in_the_plain_interpreter() {
    for program in PROGRAMS {
        let (messages, end, directory) = block_on(async {
            let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
            let messages = worker.drain(allow).await;
            let directory = worker.place.0.clone();
            (messages, worker.end(), directory)
        });
        assert_eq!(messages[0], Message::Ready, "{program}");
        let expected = plain(
            &["-c", program],
            &std::env::current_dir().expect("a directory"),
        );
        let thread = |text: &str| text.replace("0x", "");
        assert_eq!(thread(&end.stderr), thread(&expected.stderr), "{program}");
        assert_eq!(end.stdout, expected.stdout, "{program}");
        assert_eq!(end.status, expected.status, "{program}");
        assert!(!directory.exists(), "the place is gone");
    }
}

#[test]
fn a_file_runs_as_in_the_plain_interpreter() {
    let program = "import helper, sys, os\nprint(__file__ == sys.argv[0], sys.argv[1:], helper.x, \
                   __loader__.__class__.__name__, __spec__, __cached__)\nhelper.fail()\n";
    let (end, expected) = block_on(async {
        let mut worker = Worker::start(DEFAULT_SEGMENT);
        let file = worker.place.path("program.py");
        std::fs::write(&file, program).expect("written");
        std::fs::write(
            worker.place.path("helper.py"),
            "x = 5\ndef fail():\n    1/0\n",
        )
        .expect("written");
        let argv = vec![file.clone().into(), "a b".into(), "é".into()];
        worker
            .channel
            .send_config(&Config::once(argv, Some(file.clone())))
            .expect("queued");
        worker
            .channel
            .send_code(program.as_bytes())
            .expect("queued");
        worker.drain(allow).await;
        let file = file.to_str().expect("text");
        let expected = plain(&[file, "a b", "é"], &worker.place.0);
        (worker.end(), expected)
    });
    assert_eq!(end.stderr, expected.stderr);
    assert_eq!(end.stdout, expected.stdout);
    assert_eq!(end.status, expected.status);
}

#[test]
fn a_hundred_mebibytes_come_in_order() {
    let program = "import sys\nfor i in range(100 * 1024):\n    \
                   sys.stdout.write(f'{i:08d}' + 'x' * 1015 + '\\n')";
    block_on(async {
        let config = Config {
            stdio: Stdio::Ring,
            ..once()
        };
        let mut worker = Worker::run(DEFAULT_SEGMENT, &config, program);
        let mut total = 0_u64;
        let mut line = Vec::new();
        loop {
            match worker.next().await.expect("an honest worker") {
                Message::Stdout(bytes) => {
                    assert!(bytes.len() <= 64 * 1024);
                    for byte in bytes {
                        line.push(byte);
                        if byte == b'\n' {
                            let expected = format!("{:08}", total / 1024);
                            assert_eq!(&line[..8], expected.as_bytes());
                            assert_eq!(line.len(), 1024);
                            total += line.len() as u64;
                            line.clear();
                        }
                    }
                }
                Message::Closed => break,
                _ => {}
            }
        }
        assert_eq!(total, 100 * 1024 * 1024);
        let end = worker.end();
        assert!(end.status.success(), "{end:?}");
    });
}

#[test]
fn small_rings_carry_large_code_and_output() {
    for segment in [512, 528, 1024, 4096] {
        let text = "y".repeat(300_000);
        let program = format!("text = '{text}'\nprint(len(text)); print(text)");
        block_on(async {
            let config = Config {
                stdio: Stdio::Ring,
                ..once()
            };
            let mut worker = Worker::run(segment, &config, &program);
            let mut output = Vec::new();
            for message in worker.drain(allow).await {
                if let Message::Stdout(bytes) = message {
                    output.extend(bytes);
                }
            }
            let end = worker.end();
            assert!(end.status.success(), "{segment}: {end:?}");
            assert_eq!(
                output,
                format!("300000\n{text}\n").into_bytes(),
                "{segment}"
            );
        });
    }
}

#[test]
fn a_denied_write_names_its_rule() {
    let program = "import os, errno\n\
                   for act in (lambda: open('/tmp/buntime-x/y', 'w'), lambda: os.mkdir('rel'), \
                   lambda: os.open('/nowhere/z', os.O_CREAT | os.O_WRONLY)):\n    \
                   try:\n        act()\n    except PermissionError as e:\n        \
                   print(e.errno == errno.EACCES, e)\n";
    let (messages, end) = block_on(async {
        let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
        let messages = worker.drain(|_| Some("rule fs[2] of x.json")).await;
        (messages, worker.end())
    });
    let here = std::env::current_dir().expect("a directory");
    assert_eq!(
        end.stdout,
        format!(
            "True [Errno 13] policy denied write: /tmp/buntime-x/y (rule fs[2] of x.json)\n\
             True [Errno 13] policy denied write: {}/rel (rule fs[2] of x.json)\n\
             True [Errno 13] policy denied write: /nowhere/z (rule fs[2] of x.json)\n",
            here.display()
        )
    );
    let details: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Check(check) => Some((check.kind, check.detail)),
            _ => None,
        })
        .collect();
    let write = CheckKind::FsWrite;
    assert_eq!(
        details,
        [
            (write, Some("write_file")),
            (write, Some("make_dir")),
            (write, Some("write_file"))
        ]
    );
}

#[test]
fn a_denial_that_nobody_catches_shows_no_worker_frame() {
    let (end, expected) = block_on(async {
        let program = "def f():\n    open('/nowhere/x', 'w')\nf()";
        let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
        worker.drain(|_| Some("rule fs[0] of x.json")).await;
        (
            worker.end(),
            plain(&["-c", program], std::path::Path::new("/")),
        )
    });
    let cause = "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/x'";
    let denial =
        "PermissionError: [Errno 13] policy denied write: /nowhere/x (rule fs[0] of x.json)";
    assert_eq!(end.stderr, expected.stderr.replace(cause, denial));
    assert_eq!(end.status.code(), Some(1));
}

#[test]
fn programs_connections_and_reads_are_told() {
    let program = "import subprocess, socket, os\n\
        def tried(act):\n    try: act()\n    except OSError as e: print(e)\n\
        tried(lambda: subprocess.run(['true']))\n\
        tried(lambda: subprocess.run('exit 0', shell=True))\n\
        tried(lambda: os.system('true'))\n\
        tried(lambda: subprocess.run(['not-a-program-at-all']))\n\
        tried(lambda: socket.create_connection(('127.0.0.1', 9)))\n\
        tried(lambda: socket.socket(socket.AF_INET6).connect(('::1', 9)))\n\
        tried(lambda: socket.socket(socket.AF_UNIX).connect('/nowhere/s'))\n\
        tried(lambda: open('/etc/hostname').close())\n\
        tried(lambda: os.listdir('/etc'))\n";
    let (messages, end) = block_on(async {
        let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
        let messages = worker.drain(|_| Some("r")).await;
        (messages, worker.end())
    });
    let checks: Vec<_> = messages
        .into_iter()
        .filter_map(|message| match message {
            Message::Check(check) => Some((
                check.kind,
                String::from_utf8(check.target).expect("text"),
                check.detail,
            )),
            _ => None,
        })
        .collect();
    // Links are resolved, as the kernel will.
    let shell = std::fs::canonicalize("/bin/sh").expect("a shell");
    let shell = shell.display().to_string();
    let expected = [
        (CheckKind::Exec, "/usr/bin/true", None),
        (CheckKind::Exec, &*shell, None),
        (CheckKind::Exec, &*shell, None),
        (CheckKind::NetConnect, "127.0.0.1:9", Some("tcp")),
        (CheckKind::NetConnect, "[::1]:9", Some("tcp")),
        (CheckKind::NetConnect, "/nowhere/s", Some("unix")),
        (CheckKind::FsRead, "/etc/hostname", None),
        (CheckKind::ListDir, "/etc", None),
    ];
    assert_eq!(
        checks
            .iter()
            .map(|(kind, path, detail)| (*kind, path.as_str(), *detail))
            .collect::<Vec<_>>(),
        expected,
        "{end:?}"
    );
    assert_eq!(
        end.stdout.replace(&shell, "SHELL"),
        "[Errno 13] policy denied run: /usr/bin/true (r)\n\
         [Errno 13] policy denied run: SHELL (r)\n\
         [Errno 13] policy denied run: SHELL (r)\n\
         [Errno 2] No such file or directory: 'not-a-program-at-all'\n\
         [Errno 13] policy denied connect: 127.0.0.1:9 (r)\n\
         [Errno 13] policy denied connect: [::1]:9 (r)\n\
         [Errno 13] policy denied connect: /nowhere/s (r)\n"
    );
}

#[test]
fn many_threads_ask_at_once_and_each_gets_its_own_answer() {
    let program = "import threading\n\
        wrong = []\n\
        def work(n):\n    for i in range(200):\n        path = f'/nowhere/{n}/{i}'\n        \
        try: open(path, 'w')\n        except FileNotFoundError: ok = (n + i) % 2 == 0\n        \
        except PermissionError as e: ok = (n + i) % 2 == 1 and path in str(e)\n        \
        if not ok: wrong.append(path)\n\
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n\
        [t.start() for t in threads]; [t.join() for t in threads]\n\
        print(wrong)\n";
    for segment in [1024, DEFAULT_SEGMENT] {
        let end = block_on(async {
            let mut worker = Worker::run(segment, &once(), program);
            let mut held = Vec::new();
            let mut most = 0;
            loop {
                // Answers come late and in the wrong order.
                let message = if held.is_empty() {
                    worker.next().await.expect("honest")
                } else {
                    let wait = std::time::Duration::from_millis(2);
                    match tokio::time::timeout(wait, worker.channel.next()).await {
                        Ok(message) => message.expect("honest"),
                        Err(_) => {
                            most = most.max(held.len());
                            while let Some((id, denial)) = held.pop() {
                                answer(&mut worker.channel, id, denial);
                            }
                            continue;
                        }
                    }
                };
                match message {
                    Message::Check(check) if check.kind.awaits_answer() => {
                        let target = String::from_utf8(check.target).expect("text");
                        let sum: u32 = target
                            .split('/')
                            .filter_map(|part| part.parse::<u32>().ok())
                            .sum();
                        held.push((check.id, (sum % 2 == 1).then_some("odd")));
                    }
                    Message::Closed => break,
                    _ => {}
                }
            }
            assert!(most > 1, "several were in flight at once");
            worker.end()
        });
        assert_eq!(end.stdout, "[]\n", "{end:?}");
    }
}

#[test]
fn a_session_keeps_its_names_and_reports_values_and_exceptions() {
    block_on(async {
        let mut worker = Worker::start(DEFAULT_SEGMENT);
        worker
            .channel
            .send_config(&Config::session())
            .expect("queued");
        assert_eq!(worker.next().await.expect("honest"), Message::Ready);
        let mut run = async |code: &str| {
            worker.channel.send_code(code.as_bytes()).expect("queued");
            let mut seen = Vec::new();
            loop {
                let message = worker.next().await.expect("honest");
                let ended = matches!(&message, Message::State { event, .. } if event == "exec_end");
                match message {
                    Message::Stdout(bytes) => seen.push(String::from_utf8_lossy(&bytes).into()),
                    Message::State { event, data } => seen.push(format!("{event} {data}")),
                    other => panic!("{other:?}"),
                }
                if ended {
                    return seen;
                }
            }
        };
        assert_eq!(run("x = 20").await, ["exec_start null", "exec_end null"]);
        // Output overtakes the event before it where both are taken at once, and never the one
        // after it.
        let mut printed = run("print('hé')\nx * 2 + 2").await;
        assert_eq!(printed.pop().as_deref(), Some(r#"exec_end {"value":"42"}"#));
        printed.sort();
        assert_eq!(printed, ["exec_start null", "hé\n"]);
        assert_eq!(
            run("def f():\n    return x / 0\nf()").await,
            [
                "exec_start null",
                r#"exception {"error":"ZeroDivisionError: division by zero","traceback":"Traceback (most recent call last):\n  File \"<string>\", line 3, in <module>\n  File \"<string>\", line 2, in f\nZeroDivisionError: division by zero\n"}"#,
                "exec_end null"
            ]
        );
        assert!(run("1 +").await[1].contains("SyntaxError: invalid syntax"));
        assert_eq!(
            run("raise SystemExit(3)").await[1],
            r#"exec_end {"exit":"3"}"#
        );
        let long = run("'\\0' * 100000").await;
        assert!(long[1].contains("\"truncated\":true"), "{}", long[1].len());
        drop(worker.channel);
        assert!(
            worker.child.wait().expect("a child").success(),
            "the worker ends by itself"
        );
    });
}

#[test]
fn a_forked_child_does_not_touch_the_channel() {
    let program = "import os\n\
        pid = os.fork()\n\
        if pid == 0:\n    \
        try: open('/nowhere/child', 'w')\n    \
        except FileNotFoundError: os.write(1, b'kernel\\n')\n    \
        os._exit(0)\n\
        os.waitpid(pid, 0)\n\
        try: open('/nowhere/parent', 'w')\n\
        except PermissionError: print('hook')\n";
    let end = block_on(async {
        let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
        let messages = worker.drain(|_| Some("r")).await;
        let asked = messages
            .iter()
            .filter(|message| matches!(message, Message::Check(_)));
        assert_eq!(asked.count(), 1);
        worker.end()
    });
    assert_eq!(end.stdout, "kernel\nhook\n");
}

#[test]
fn a_worker_that_dies_closes_the_channel() {
    let program =
        "import os, sys\nsys.stdout.write('half'); sys.stdout.flush(); os.kill(os.getpid(), 9)";
    block_on(async {
        let config = Config {
            stdio: Stdio::Ring,
            ..once()
        };
        let mut worker = Worker::run(DEFAULT_SEGMENT, &config, program);
        let messages = worker.drain(allow).await;
        assert!(
            messages.contains(&Message::Stdout(b"half".to_vec())),
            "{messages:?}"
        );
        assert_eq!(
            worker.next().await.expect("closed for good"),
            Message::Closed
        );
    });
}

#[test]
fn a_worker_whose_supervisor_is_gone_is_denied() {
    let program = "import time\n\
        print('up', flush=True); time.sleep(0.5)\n\
        try: open('/nowhere/x', 'w')\nexcept PermissionError as e: print(e)\n";
    let end = block_on(async {
        let mut worker = Worker::run(DEFAULT_SEGMENT, &once(), program);
        while !matches!(worker.next().await.expect("honest"), Message::State { .. }) {}
        let Worker {
            channel,
            child,
            place: _place,
        } = worker;
        drop(channel);
        let mut child = child;
        let status = child.wait().expect("a child");
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().expect("piped"), &mut stdout)
            .expect("text");
        (status, stdout)
    });
    assert_eq!(
        end.1,
        "up\n[Errno 13] policy denied write: /nowhere/x (the supervisor is gone)\n"
    );
    assert!(end.0.success());
}
