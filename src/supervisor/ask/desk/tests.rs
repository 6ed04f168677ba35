use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use super::*;
use crate::approval::Act;
use crate::intercept::{Asked, Question};
use crate::policy::{Layer, Perm, Policy, Vars};
use crate::supervisor::gate::{Course, Gate};

/// Somebody with a mind of their own.
struct Person {
    abreast: usize,
    answers: Vec<Answer>,
    shown: Vec<u64>,
    refuses: bool,
}

impl Approver for Person {
    fn find(&mut self) -> Result<String, String> {
        Ok("a person".to_owned())
    }

    fn lead(&self) -> Duration {
        Duration::ZERO
    }

    fn abreast(&self) -> usize {
        self.abreast
    }

    fn show(&mut self, request: &AskRequest, _audience: &mut Audience) -> Result<(), String> {
        if self.refuses {
            return Err("gone".to_owned());
        }
        self.shown.push(request.number);
        Ok(())
    }

    fn poll_reply(&mut self, _context: &mut Context<'_>) -> Poll<Reply> {
        match (self.shown.first(), self.answers.is_empty()) {
            (Some(number), false) => Poll::Ready(Reply::Said(*number, self.answers.remove(0))),
            _ => Poll::Pending,
        }
    }

    fn withdraw(&mut self, number: u64, _why: Option<&str>, _audience: &mut Audience) {
        self.shown.retain(|shown| *shown != number);
    }

    fn has_the_terminal(&self) -> bool {
        !self.shown.is_empty()
    }
}

fn gate(timeout: &str) -> Gate {
    let text = format!(
        r#"{{"version": 1, "defaults": {{"fs": "ask", "net": "deny", "exec": "deny"}},
            "approval": {{"timeout": "{timeout}"}}}}"#
    );
    let vars = Vars::of(PathBuf::from("/"), None);
    let layer = Layer::parse(text.as_bytes(), "p.json", &vars).unwrap();
    Gate::new(Policy::merge(vec![layer], Vec::new()).unwrap(), None, false)
}

fn held(gate: &mut Gate, path: &str) -> Held {
    let question = Question {
        number: 1,
        pid: 1,
        asked: Asked::Fs {
            path: path.into(),
            perm: Perm::ReadFile,
        },
    };
    match gate.question(&question).unwrap() {
        Course::Ask(held) => *held,
        Course::Ruled(ruling) => panic!("{:?}", ruling.answer),
    }
}

fn person(abreast: usize, answers: &[Answer]) -> Box<dyn Approver> {
    Box::new(Person {
        abreast,
        answers: answers.to_vec(),
        shown: Vec::new(),
        refuses: false,
    })
}

fn nobody() -> Audience {
    Audience::Person(Box::new(|_| ()), None)
}

fn opened(entry: Entry) -> u64 {
    match entry {
        Entry::Opened(number, _) => number,
        Entry::Refused(_, why) => panic!("{why}"),
        _ => panic!("it is answered or asked already"),
    }
}

fn next(desk: &mut Desk) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(desk.next())
}

#[test]
fn without_anybody_and_beyond_what_can_be_read_it_is_a_no() {
    let mut gate = gate("60s");
    let mut desk = Desk::new(gate.approval(), &[]);
    let Entry::Refused(_, why) = desk.admit(held(&mut gate, "/a")) else {
        panic!("nobody is there");
    };
    assert_eq!(why, "nobody is here to be asked");
    desk.seat(Ok(person(1, &[])));
    let long = format!("/{}", "a".repeat(LONGEST));
    let entry = desk.admit(held(&mut gate, &long));
    assert!(matches!(entry, Entry::Refused(_, why) if why.contains("too long")));
    assert_eq!(opened(desk.admit(held(&mut gate, "/a"))), 1);
}

#[test]
fn one_stands_there_at_a_time_and_its_answer_is_not_that_of_the_next() {
    let mut gate = gate("60s");
    let mut desk = Desk::new(gate.approval(), &[]);
    desk.seat(Ok(person(1, &[Answer::Once])));
    let (one, two) = (
        opened(desk.admit(held(&mut gate, "/a"))),
        opened(desk.admit(held(&mut gate, "/b"))),
    );
    desk.prepare();
    assert!(!desk.has_the_terminal());
    assert!(matches!(next(&mut desk), Reply::Prepared));
    assert!(desk.show_next(&mut nobody()).is_none());
    assert!(desk.has_the_terminal());
    // The next one has to wait.
    desk.prepare();
    assert!(matches!(next(&mut desk), Reply::Said(number, Answer::Once) if number == one));
    let closed = desk.close(one, &Answer::Once, None, &mut nobody());
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].wish.path(), Some(Path::new("/a")));
    assert_eq!(desk.waiting(), [two]);
    assert!(!desk.has_the_terminal());
    assert!(desk.show_next(&mut nobody()).is_none());
    desk.hide(&mut nobody());
    assert!(!desk.has_the_terminal() && desk.waiting() == [two]);
}

#[test]
fn no_answer_in_time_is_heard_of() {
    let mut gate = gate("100ms");
    let mut desk = Desk::new(gate.approval(), &[]);
    desk.seat(Ok(person(1, &[])));
    let number = opened(desk.admit(held(&mut gate, "/a")));
    assert!(desk.show_next(&mut nobody()).is_none());
    assert!(matches!(next(&mut desk), Reply::Late(late) if late == number));
}

#[test]
fn what_cannot_be_shown_is_given_back() {
    let mut gate = gate("60s");
    let mut desk = Desk::new(gate.approval(), &[]);
    desk.seat(Ok(Box::new(Person {
        abreast: 1,
        answers: Vec::new(),
        shown: Vec::new(),
        refuses: true,
    })));
    let number = opened(desk.admit(held(&mut gate, "/a")));
    assert_eq!(
        desk.show_next(&mut nobody()),
        Some((number, "gone".to_owned()))
    );
    let case = desk.case(number).unwrap();
    assert_eq!(*case.wish.act(), Act::Fs(Perm::ReadFile));
    assert!(case.since.elapsed() < Duration::from_secs(60));
}
