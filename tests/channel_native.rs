//! The native library, loaded by a real Python through ctypes, against the supervisor's end.
#![cfg(target_os = "linux")]

mod support;

use buntime::ipc::{Config, DEFAULT_SEGMENT, Message, Stdio};
use support::{PYTHON, Place, Worker, block_on};

fn native(stdio: Stdio) -> Config {
    Config {
        native: true,
        stdio,
        ..Config::once(vec!["-c".into()], None)
    }
}

#[test]
fn the_worker_asks_through_the_library() {
    let program = "import threading, sys\n\
        wrong = []\n\
        def work(n):\n    for i in range(100):\n        path = f'/nowhere/{n}/{i}'\n        \
        try: open(path, 'w')\n        except FileNotFoundError: ok = (n + i) % 2 == 0\n        \
        except PermissionError as e: ok = str(e).endswith(path + ' (odd)')\n        \
        if not ok: wrong.append(path)\n\
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n\
        [t.start() for t in threads]; [t.join() for t in threads]\n\
        print(wrong, any('libbuntime_worker' in line for line in open('/proc/self/maps')))\n";
    let end = block_on(async {
        let mut worker = Worker::run(DEFAULT_SEGMENT, &native(Stdio::Direct), program);
        worker
            .drain(|target| {
                let numbers = target
                    .split('/')
                    .filter_map(|part| part.parse::<u32>().ok());
                (numbers.sum::<u32>() % 2 == 1).then_some("odd")
            })
            .await;
        worker.end()
    });
    assert_eq!(end.stdout, "[] True\n", "{end:?}");
}

#[test]
fn output_and_code_go_through_small_rings() {
    for segment in [512, 2048, DEFAULT_SEGMENT] {
        let text = "z".repeat(100_000);
        block_on(async {
            let mut worker = Worker::start(segment);
            let config = Config {
                native: true,
                value: true,
                once: false,
                ..native(Stdio::Ring)
            };
            worker.channel.send_config(&config).expect("queued");
            for round in 0..3 {
                let code = format!("text = '{text}'\nprint(text)\nlen(text) + {round}");
                worker.channel.send_code(code.as_bytes()).expect("queued");
            }
            let (mut output, mut values) = (0, Vec::new());
            while values.len() < 3 {
                match worker.next().await.expect("honest") {
                    Message::Stdout(bytes) => output += bytes.len(),
                    Message::State { event, data } if event == "exec_end" => {
                        values.push(data["value"].as_str().map(str::to_owned));
                    }
                    _ => {}
                }
            }
            assert_eq!(output, 3 * 100_001, "{segment}");
            let expected = ["100000", "100001", "100002"].map(|value| Some(value.to_owned()));
            assert_eq!(values, expected, "{segment}");
            drop(worker.channel);
            assert!(worker.child.wait().expect("a child").success());
        });
    }
}

#[test]
fn a_signal_ends_a_wait_for_an_answer() {
    let program = "import signal, os, threading\n\
        signal.signal(signal.SIGALRM, lambda *a: (_ for _ in ()).throw(TimeoutError('alarm')))\n\
        signal.setitimer(signal.ITIMER_REAL, 0.2)\n\
        try: open('/nowhere/x', 'w')\nexcept TimeoutError as e: print('interrupted', e)\n";
    for native in [false, true] {
        let end = block_on(async {
            let config = Config {
                native,
                ..Config::once(vec!["-c".into()], None)
            };
            let mut worker = Worker::run(DEFAULT_SEGMENT, &config, program);
            // Nobody answers.
            while worker.next().await.expect("honest") != Message::Closed {}
            worker.end()
        });
        assert_eq!(
            end.stdout, "interrupted alarm\n",
            "native: {native}, {end:?}"
        );
    }
}

/// Calls every function of the library as a program would that does not know it well.
#[test]
fn wrong_arguments_are_errors_not_crashes() {
    let place = Place::new();
    place.worker_files();
    let program = "import ctypes, errno, os, sys\n\
        lib = ctypes.CDLL(sys.argv[1], use_errno=True)\n\
        lib.buntime_open.restype = lib.buntime_attach.restype = ctypes.c_void_p\n\
        lib.buntime_send.restype = lib.buntime_receive.restype = ctypes.c_ssize_t\n\
        null = ctypes.c_void_p()\n\
        assert lib.buntime_version() == 1\n\
        assert lib.buntime_open(b'/nowhere', b'/nowhere') is None\n\
        assert lib.buntime_open(null, null) is None\n\
        assert lib.buntime_attach(-1, -1) is None\n\
        assert lib.buntime_attach(0, 0) is None\n\
        assert lib.buntime_send(null, 0, 0, b'x', ctypes.c_size_t(1)) == -errno.EINVAL\n\
        assert lib.buntime_check(null, 2, b'x', ctypes.c_size_t(1), null, ctypes.c_size_t(0), null, null) \
        == -errno.EINVAL\n\
        assert lib.buntime_resume(null, 2, null, ctypes.c_size_t(0), null) == -errno.EINVAL\n\
        assert lib.buntime_receive(null, null, null, ctypes.c_size_t(0)) == -errno.EINVAL\n\
        lib.buntime_close(null)\n\
        print('survived')\n";
    let output = std::process::Command::new(PYTHON)
        .args(["-I", "-c", program])
        .arg(place.path("libbuntime_worker.so"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("python3 starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "survived\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
