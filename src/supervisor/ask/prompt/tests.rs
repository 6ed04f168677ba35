//! Each test starts itself again, with a terminal of its own (setsid(1)), and types there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant as StdInstant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::*;
use crate::policy::{RuleOrigin, RuleRef};
use crate::supervisor::printable::quoted;

const PATH: &str = "PROMPT_PATH";
const NAME: &str = "supervisor::ask::prompt::tests::of_a_terminal";
const OPEN: &str = "answer [deny]: ";
const PATIENCE: Duration = Duration::from_secs(60);

fn request(path: &[u8]) -> AskRequest {
    AskRequest {
        number: 1,
        operation: "read",
        target: quoted(path),
        path: Some(std::ffi::OsString::from_vec(path.to_vec()).into()),
        site: None,
        rule: RuleRef::new(RuleOrigin {
            layer: "p.json".to_owned(),
            what: "fs[2]".to_owned(),
            file: Some("/etc/p.json".into()),
            line: Some(12),
        }),
        pid: Some(3),
        program: "script.py".to_owned(),
        scopes: Scope::ALL.to_vec(),
        timeout: Duration::from_secs(60),
    }
}

/// Asks once at the terminal of this process, and says what came of it.
#[test]
fn of_a_terminal() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut audience = Audience::Person(Box::new(|_| ()), None);
        let mut prompt = Prompt::new(Some("xterm"));
        let request = request(&path.into_vec());
        if let Err(why) = prompt
            .find()
            .and_then(|_| prompt.show(&request, &mut audience))
        {
            return println!("nobody: {why}.");
        }
        let reply = std::future::poll_fn(|context| prompt.poll_reply(context)).await;
        prompt.withdraw(1, None, &mut audience);
        println!("came: {reply:?}.");
    });
}

struct Terminal {
    master: File,
    slave: OwnedFd,
    seen: String,
}

impl Terminal {
    fn new() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        Terminal {
            master: master.into(),
            slave,
            seen: String::new(),
        }
    }

    fn start(&self, path: &[u8]) -> Child {
        let own = std::env::current_exe().unwrap();
        Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(own)
            .args(["--exact", NAME, "--nocapture"])
            .env(PATH, std::ffi::OsString::from_vec(path.to_vec()))
            .stdin(self.slave.try_clone().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for what is shown, and gives back everything up to it.
    fn expect(&mut self, text: &str) -> String {
        let end = StdInstant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = end.saturating_duration_since(StdInstant::now());
            let timeout = left.try_into().unwrap();
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            assert!(
                poll(&mut ready, Some(&timeout)).unwrap() > 0,
                "{:?}",
                self.seen
            );
            let mut piece = [0; 4096];
            let length = self.master.read(&mut piece).unwrap();
            self.seen
                .push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    }
}

/// What came of a question about `path`, where the `answers` are typed, one each time that one can
/// be given.
fn asked(terminal: &mut Terminal, path: &[u8], answers: &[&str]) -> String {
    let child = terminal.start(path);
    for answer in answers {
        terminal.expect("[deny]: ");
        terminal.type_in(answer);
    }
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let came = said
        .lines()
        .find_map(|line| Some(line.split_once("came: ")?.1.to_owned()));
    came.unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn each_word_is_an_answer_and_what_is_none_is_a_no() {
    let mut terminal = Terminal::new();
    for (typed, came) in [
        (&["once\n"][..], "Said(1, Once)."),
        (&[" session \n"], "Said(1, Session)."),
        (&["path\n"], "Said(1, Path(\"/data/x\"))."),
        (&["path /data\n"], "Said(1, Path(\"/data\"))."),
        (&["deny\n"], "Said(1, Deny)."),
        (&["never\n"], "Said(1, Never)."),
        (&["\n"], "Said(1, Deny)."),
        (&["y\n", "path /dat\n", "once\n"], "Said(1, Once)."),
        (
            &["o\n", "ONCE\n", "sessions\n"],
            "Silent(1, \"what was typed is no answer\").",
        ),
        (&["\x04"], "Silent(1, \"the input ended\")."),
        (&["once\x04\x04"], "Silent(1, \"the input ended\")."),
    ] {
        assert_eq!(asked(&mut terminal, b"/data/x", typed), came, "{typed:?}");
    }
}

/// What the program's user has typed for the program answers no question.
#[test]
fn what_was_typed_before_is_no_answer() {
    let mut terminal = Terminal::new();
    let mut raw = terminal.modes();
    raw.make_raw();
    for modes in [terminal.modes(), raw] {
        tcsetattr(&terminal.slave, OptionalActions::Now, &modes).unwrap();
        let before = format!("{:?}", terminal.modes());
        terminal.type_in("session\nsession\r");
        assert_eq!(asked(&mut terminal, b"/x", &["once\n"]), "Said(1, Once).");
        // And the terminal is in the mode in which it was.
        assert_eq!(format!("{:?}", terminal.modes()), before);
    }
}

#[test]
fn a_path_cannot_steer_the_terminal_or_leave_its_quotation() {
    let hostile = "/tmp/\x1b[2K\x1b]0;t\x07\r\n  answer [deny]: once\n\u{202e}txt.exe\" \u{430}";
    let mut terminal = Terminal::new();
    let child = terminal.start(hostile.as_bytes());
    let shown = terminal.expect(&format!("\n  {OPEN}"));
    terminal.type_in("deny\n");
    assert!(child.wait_with_output().unwrap().status.success());
    let clean = CLEAN.replace('\n', "\r\n");
    let text = shown
        .split_once(&clean)
        .expect("it begins with what cleans")
        .1;
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "buntime: may the program read this?");
    let escaped = concat!(
        r"/tmp/\u{1b}[2K\u{1b}]0;t\u{7}\u{d}\u{a}  answer [deny]: once\u{a}",
        r#"\u{202e}txt.exe\" "#
    );
    assert_eq!(lines[1], format!("  \"{escaped}\u{430}\""));
    assert_eq!(lines[2], format!("  in ASCII: \"{escaped}\\u{{430}}\""));
    assert_eq!(lines[3], "  rule:    fs[2] of p.json, /etc/p.json:12");
    assert_eq!(lines[4], "  program: script.py (process 3 inside)");
    let steers = |character: char| character.is_control() && character != '\r' && character != '\n';
    assert!(!text.contains(steers), "{text:?}");
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let own = std::env::current_exe().unwrap();
    let done = Command::new("setsid")
        .arg("--wait")
        .arg(own)
        .args(["--exact", NAME, "--nocapture"])
        .env(PATH, "/x")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("nobody: there is no terminal to ask at."),
        "{said}"
    );
}
