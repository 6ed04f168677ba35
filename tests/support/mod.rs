//! What the channel's tests share: a worker started without any sandbox.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use buntime::ipc::{Channel, ChannelError, Config, Message, assets};

/// Debian's interpreter, the one that the project supports first.
pub const PYTHON: &str = "/usr/bin/python3";
/// No step of a test may take longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, removed with everything in it.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "buntime-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        Place(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn segment(&self, bytes: u64) -> File {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path("segment"))
            .expect("a new segment");
        file.set_len(bytes).expect("room for the segment");
        file
    }

    pub fn listener(&self) -> OwnedFd {
        UnixListener::bind(self.path("socket"))
            .expect("a socket")
            .into()
    }

    /// The worker's files, as a launch puts them beside the socket.
    pub fn worker_files(&self) {
        std::fs::write(self.path("worker.py"), assets::WORKER_PY).expect("written");
        if let Some(compiled) = assets::WORKER_PYC {
            std::fs::write(self.path("worker.pyc"), compiled).expect("written");
        }
        std::fs::write(self.path("libbuntime_worker.so"), assets::NATIVE_LIB).expect("written");
    }

    pub fn worker_command(&self) -> Command {
        let mut command = Command::new(PYTHON);
        command.args(["-I", "-c", assets::BOOTSTRAP_PY]);
        command.arg(self.path("socket")).arg(self.path("segment"));
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// A real Python worker and the supervisor's end of its channel.
pub struct Worker {
    pub channel: Channel,
    pub child: Child,
    pub place: Place,
}

/// How a worker ended.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Worker {
    pub fn start(segment_bytes: u64) -> Worker {
        let place = Place::new();
        place.worker_files();
        let segment = place.segment(segment_bytes);
        let channel = Channel::new(place.listener(), segment).expect("a channel");
        let child = place
            .worker_command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        Worker {
            channel,
            child,
            place,
        }
    }

    pub fn run(segment_bytes: u64, config: &Config, code: &str) -> Worker {
        let mut worker = Worker::start(segment_bytes);
        worker.channel.send_config(config).expect("queued");
        worker.channel.send_code(code.as_bytes()).expect("queued");
        worker
    }

    pub async fn next(&mut self) -> Result<Message, ChannelError> {
        tokio::time::timeout(PATIENCE, self.channel.next())
            .await
            .expect("an answer in time")
    }

    /// Takes messages until the channel closes, answering each check by `judge`.
    pub async fn drain(&mut self, judge: impl Fn(&str) -> Option<&'static str>) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await.expect("an honest worker");
            match &message {
                Message::Closed => return messages,
                Message::Check(check) if check.kind.awaits_answer() => {
                    let target = String::from_utf8_lossy(&check.target).into_owned();
                    answer(&mut self.channel, check.id, judge(&target));
                }
                _ => {}
            }
            messages.push(message);
        }
    }

    pub fn end(mut self) -> End {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let read = |from: &mut dyn Read, into: &mut Vec<u8>| {
            from.read_to_end(into).expect("a pipe that ends");
        };
        read(&mut self.child.stdout.take().expect("piped"), &mut stdout);
        read(&mut self.child.stderr.take().expect("piped"), &mut stderr);
        let status = self.child.wait().expect("a child to wait for");
        End {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

pub fn answer(channel: &mut Channel, id: u32, denial: Option<&str>) {
    use buntime::ipc::Answer;
    let answer = denial.map_or(Answer::Allow, Answer::Deny);
    channel.respond(id, answer).expect("a check that waits");
}

/// Runs a test on the runtime that the supervisor uses: one thread.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

/// What the plain interpreter does with the same program.
pub fn plain(arguments: &[&str], directory: &Path) -> End {
    let output = Command::new(PYTHON)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("python3 starts");
    End {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
