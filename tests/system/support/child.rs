//! A child process that cannot outlive its deadline, and what became of it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{PATH, PATIENCE, USER};

/// A child to be: arguments, input, user and deadline.
pub struct Child {
    command: Command,
    input: Vec<u8>,
    deadline: Duration,
}

impl Child {
    /// A program by path, or by name on the PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Child {
        let mut command = Command::new(program);
        // A group of its own, so that a deadline ends all of it and nothing else.
        command
            .process_group(0)
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        Child {
            command,
            input: Vec::new(),
            deadline: PATIENCE,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Child {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Child {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, path: impl AsRef<std::path::Path>) -> Child {
        self.command.current_dir(path);
        self
    }

    /// What the child reads from its standard input. Without it there is nothing to read.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Child {
        self.input = bytes.into();
        self
    }

    /// How long the child may run before it is killed and the test fails.
    pub fn deadline(mut self, deadline: Duration) -> Child {
        self.deadline = deadline;
        self
    }

    /// Looks for programs where a fresh Debian does.
    pub fn clean_path(self) -> Child {
        self.env("PATH", PATH)
    }

    /// Runs as [`USER`], without supplementary groups, in the given home.
    pub fn of_user(mut self, home: &str) -> Child {
        if rustix::process::geteuid().is_root() {
            self.command.uid(USER).gid(USER);
        }
        self.env("HOME", home).env("USER", "user").current_dir(home)
    }

    /// The command as a line, cut where a whole program is an argument of it.
    fn shown(&self) -> String {
        let line = format!("{:?}", self.command);
        let cut: String = line.chars().take(400).collect();
        if cut.len() < line.len() {
            cut + "…"
        } else {
            cut
        }
    }

    /// Runs the child to its end. A child that does not end is killed, and the test fails with what
    /// it had printed.
    pub fn run(self) -> Finished {
        let shown = self.shown();
        let deadline = self.deadline;
        let mut running = self.start();
        match running.wait(deadline) {
            Some(finished) => finished,
            None => {
                let finished = running.kill();
                panic!("{shown} did not end within {deadline:?}\n{finished}");
            }
        }
    }

    /// Starts the child and gives it its input.
    pub fn start(mut self) -> Running {
        let shown = self.shown();
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown} does not start: {error}"));
        let mut stdin = child.stdin.take().expect("stdin was piped");
        let input = self.input;
        std::thread::spawn(move || {
            // A child that ends without reading its input is no error of the test.
            if let Err(error) = stdin.write_all(&input) {
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::BrokenPipe,
                    "writing to the child"
                );
            }
        });
        let stdout = read_all(child.stdout.take().expect("stdout was piped"));
        let stderr = read_all(child.stderr.take().expect("stderr was piped"));
        Running {
            child,
            shown,
            started,
            stdout,
            stderr,
        }
    }
}

/// Reads a stream to its end on a thread of its own, piece by piece.
fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                // Nobody listens any more once the test has given up.
                Ok(n) if send.send(buffer[..n].to_vec()).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    receive
}

/// All pieces until the stream's end, or until the deadline, since a grandchild that holds the
/// stream open must not hold up the test.
fn collect(stream: &Receiver<Vec<u8>>, deadline: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(piece) = stream.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        all.extend(piece);
    }
    all
}

/// A child that runs.
pub struct Running {
    child: std::process::Child,
    shown: String,
    started: Instant,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).expect("a child has a process id")
    }

    /// Waits until the child has printed this. What is read here is not read again later.
    #[track_caller]
    pub fn wait_for_output(&mut self, expected: &str) {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(piece) = self
            .stdout
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            seen.extend(piece);
            if String::from_utf8_lossy(&seen).contains(expected) {
                return;
            }
        }
        let finished = self.kill();
        panic!("{expected:?} was not printed\n{finished}");
    }

    /// Sends a signal to the child alone, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self
            .child
            .try_wait()
            .expect("the child can be waited for")
            .is_none()
        {
            kill_process(self.pid(), signal).expect("an unreaped child can be signalled");
        }
    }

    /// Waits for the end of the child and of its output.
    pub fn wait(&mut self, deadline: Duration) -> Option<Finished> {
        let status = self.status(deadline)?;
        Some(self.finish(status))
    }

    /// Waits for the end of the child alone.
    pub fn status(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the child and its process group.
    pub fn kill(&mut self) -> Finished {
        self.signal(Signal::KILL);
        if let Err(error) = kill_process_group(self.pid(), Signal::KILL) {
            assert_eq!(
                error,
                rustix::io::Errno::SRCH,
                "only an empty group cannot be killed"
            );
        }
        let status = self.child.wait().expect("a killed child can be waited for");
        self.finish(status)
    }

    fn finish(&mut self, status: ExitStatus) -> Finished {
        let took = self.started.elapsed();
        let deadline = Instant::now() + Duration::from_secs(5);
        Finished {
            shown: self.shown.clone(),
            status,
            took,
            stdout: collect(&self.stdout, deadline),
            stderr: collect(&self.stderr, deadline),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// What became of a child.
pub struct Finished {
    pub shown: String,
    pub status: ExitStatus,
    pub took: Duration,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless the child ended by itself with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Fails unless the child ended well and printed exactly this.
    #[track_caller]
    pub fn prints(self, expected: &str) -> Finished {
        let finished = self.expect(0);
        assert_eq!(finished.stdout(), expected, "{finished}");
        finished
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {signal:?}"),
        };
        write!(f, "{}\n{end} after {:?}\n", self.shown, self.took)?;
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = String::from_utf8_lossy(bytes);
            let tail: Vec<&str> = text.lines().rev().take(60).collect();
            let shown: Vec<&str> = tail.into_iter().rev().collect();
            write!(
                f,
                "--- {name}, {} bytes\n{}\n",
                bytes.len(),
                shown.join("\n")
            )?;
        }
        Ok(())
    }
}
