//! One policy check, from a real Python worker to the supervisor's end and back:
//! `cargo bench --bench channel`. The worker measures, each check by itself.

#[path = "../tests/support/mod.rs"]
mod support;

use buntime::ipc::{Config, DEFAULT_SEGMENT};
use support::{Worker, block_on};

/// The hook alone, without the system call that it stands before. The last line is
/// the hook's cost for an event that it lets pass.
const PROGRAM: &str = "import sys, time\n\
    def measure(name, *event):\n    \
    times = []\n    \
    for _ in range(20_000):\n        \
    start = time.perf_counter_ns(); sys.audit(*event); times.append(time.perf_counter_ns() - start)\n    \
    times.sort()\n    \
    print(f'{name:<24} p50 {times[10_000] / 1000:7.2f} µs   p99 {times[19_800] / 1000:7.2f} µs')\n\
    measure('write, answered', 'os.mkdir', '/bench/a', 0, -1)\n\
    measure('read, only told', 'open', '/bench/a', 'r', 0)\n\
    measure('library read', 'open', sys.prefix + '/lib/a', 'r', 0)\n\
    measure('other event', 'bench.nothing')\n";

fn main() {
    for native in [false, true] {
        let config = Config {
            native,
            ..Config::once(vec!["-c".into()], None)
        };
        let end = block_on(async {
            let mut worker = Worker::run(DEFAULT_SEGMENT, &config, PROGRAM);
            worker.drain(|_| None).await;
            worker.end()
        });
        println!(
            "{}",
            if native {
                "through the native library"
            } else {
                "pure Python"
            }
        );
        println!("{}{}", end.stdout, end.stderr);
    }
}
