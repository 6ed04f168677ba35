use std::path::{Path, PathBuf};

use super::*;
use crate::approval::Act;
use crate::policy::{Perm, RuleOrigin, RuleRef};

fn rule(name: &str) -> RuleRef {
    RuleRef::new(RuleOrigin {
        layer: "p.json".to_owned(),
        what: name.to_owned(),
        file: None,
        line: Some(1),
    })
}

fn wish(act: Act, path: &str) -> Wish {
    Wish::new(act, Path::new(path), rule("fs[0]")).unwrap()
}

fn read(path: &str) -> Wish {
    wish(Act::Fs(Perm::ReadFile), path)
}

fn queue() -> Queue<u32> {
    Queue::new(Duration::from_secs(60), &Scope::ALL)
}

/// The number of the case that this call opens.
fn open(queue: &mut Queue<u32>, wish: Wish, call: u32) -> u64 {
    match queue.admit(wish, call, Instant::now()) {
        Admission::Opened(case) => case.number,
        other => panic!("{other:?}"),
    }
}

/// What is allowed after this answer to a question about reading `/a/b`.
fn allowed_after(answer: &Answer, wishes: &[Wish]) -> Vec<bool> {
    let mut queue = queue();
    let number = open(&mut queue, read("/a/b"), 1);
    assert_eq!(queue.close(number, answer).len(), 1);
    let granted = wishes
        .iter()
        .map(|wish| queue.granted(wish) == Some(number));
    granted.collect()
}

#[test]
fn an_answer_reaches_as_far_as_it_says_and_no_further() {
    let by_another_rule =
        Wish::new(Act::Fs(Perm::ReadFile), Path::new("/a/b"), rule("fs[1]")).unwrap();
    let wishes = [
        read("/a/b"),
        read("/a/b/c"),
        read("/a/bc"),
        read("/a"),
        read("/x"),
        wish(Act::Fs(Perm::WriteFile), "/a/b"),
        wish(Act::Change, "/a/b"),
        wish(Act::Exec(None), "/a/b"),
        by_another_rule,
    ];
    let reach = |answer: &Answer| {
        let allowed = allowed_after(answer, &wishes);
        allowed
            .iter()
            .map(|is| if *is { 'y' } else { '-' })
            .collect::<String>()
    };
    assert_eq!(reach(&Answer::Deny), "---------");
    assert_eq!(reach(&Answer::Never), "---------");
    assert_eq!(reach(&Answer::Once), "---------");
    assert_eq!(reach(&Answer::Path("/a/b".into())), "yy-------");
    assert_eq!(reach(&Answer::Path("/a/".into())), "yyyy-----");
    assert_eq!(reach(&Answer::Path("/".into())), "yyyyy----");
    assert_eq!(reach(&Answer::Session), "yyyyy----");
    // None of these is the path of the wish, or one above it.
    for elsewhere in ["/a/b/c", "/a/bc", "/x", "/a/b/..", "/a/./../a", "a", ""] {
        let answer = Answer::Path(PathBuf::from(elsewhere));
        assert_eq!(reach(&answer), "---------", "{elsewhere}");
    }
}

#[test]
fn creating_a_file_and_writing_to_it_is_one_kind_and_a_digest_is_its_own() {
    let mut queue = queue();
    let number = open(&mut queue, wish(Act::Fs(Perm::MakeReg), "/a"), 1);
    assert_eq!(queue.close(number, &Answer::Session).len(), 1);
    let is_granted = |queue: &Queue<u32>, act| queue.granted(&wish(act, "/a")).is_some();
    assert!(is_granted(&queue, Act::Fs(Perm::WriteFile)));
    assert!(!is_granted(&queue, Act::Fs(Perm::RemoveFile)));
    assert!(!is_granted(&queue, Act::Fs(Perm::MakeDir)));
    let digest = |text: &str| Act::Exec(Some(text.to_owned()));
    let number = open(&mut queue, wish(digest("aa"), "/a"), 2);
    assert_eq!(queue.close(number, &Answer::Session).len(), 1);
    assert!(is_granted(&queue, digest("aa")));
    assert!(!is_granted(&queue, digest("ab")));
    assert!(!is_granted(&queue, Act::Exec(None)));
}

#[test]
fn an_unresolved_path_is_no_wish() {
    for path in ["a", "", "/a/../b", "../a"] {
        assert!(Wish::new(Act::Change, Path::new(path), rule("fs[0]")).is_none());
    }
    let wish = Wish::new(Act::Change, Path::new("//a/./b/"), rule("fs[0]")).unwrap();
    assert_eq!(wish.path(), Some(Path::new("/a/b")));
}

#[test]
fn the_same_is_asked_once_and_everybody_who_waits_hears() {
    let mut queue = queue();
    let number = open(&mut queue, read("/a"), 1);
    for call in 2..=5 {
        let admitted = queue.admit(read("/a"), call, Instant::now());
        assert!(matches!(admitted, Admission::Joined));
    }
    let other = open(&mut queue, read("/b"), 6);
    let closed = queue.close(number, &Answer::Once);
    assert_eq!(closed[0].calls, [1, 2, 3, 4, 5]);
    assert_eq!(queue.waiting(), [other]);
    // An answer to what does not wait any more answers nothing.
    assert!(queue.close(number, &Answer::Session).is_empty());
    assert!(queue.granted(&read("/b")).is_none());
    assert!(queue.case(other).is_some_and(|case| case.calls == [6]));
}

#[test]
fn an_answer_answers_what_waits_and_is_covered_by_it() {
    let mut queue = queue();
    let first = open(&mut queue, read("/a/b"), 1);
    let second = open(&mut queue, read("/a/c"), 2);
    let third = open(&mut queue, read("/ab"), 3);
    let closed = queue.close(second, &Answer::Path("/a".into()));
    let numbers: Vec<u64> = closed.iter().map(|case| case.number).collect();
    assert_eq!(numbers, [second, first]);
    assert_eq!(queue.waiting(), [third]);
    assert_eq!(queue.close(third, &Answer::Never).len(), 1);
    let refused = queue.admit(read("/d"), 4, Instant::now());
    assert!(matches!(refused, Admission::Refused(4, Refusal::Never)));
    assert_eq!(queue.granted(&read("/a/d")), Some(second));
}

#[test]
fn a_flood_is_bounded() {
    let mut queue = queue();
    for call in 0..16 {
        open(&mut queue, read(&format!("/{call}")), call);
    }
    let refused = queue.admit(read("/x"), 16, Instant::now());
    assert!(matches!(refused, Admission::Refused(16, Refusal::Crowded)));
    for call in 0..1023 {
        assert!(matches!(
            queue.admit(read("/3"), call, Instant::now()),
            Admission::Joined
        ));
    }
    let refused = queue.admit(read("/3"), 17, Instant::now());
    assert!(matches!(refused, Admission::Refused(17, Refusal::Crowded)));
    for number in 1..=1000 {
        assert_eq!(queue.close(number, &Answer::Deny).len(), 1, "{number}");
        if number + 16 <= 1000 {
            open(&mut queue, read(&format!("/{number}/x")), 1);
        }
    }
    let refused = queue.admit(read("/x"), 18, Instant::now());
    assert!(matches!(refused, Admission::Refused(18, Refusal::Spent)));
}

#[test]
fn time_runs_from_when_a_wish_is_first_shown() {
    let mut queue = queue();
    let begin = Instant::now();
    let (one, two) = (
        open(&mut queue, read("/a"), 1),
        open(&mut queue, read("/b"), 2),
    );
    assert_eq!((queue.unshown(1), queue.deadline()), (Some(one), None));
    queue.show(one, begin);
    assert_eq!((queue.unshown(1), queue.unshown(2)), (None, Some(two)));
    let deadline = begin + Duration::from_secs(60);
    assert_eq!(queue.deadline(), Some(deadline));
    // To be hidden and shown again wins no time.
    queue.hide(one);
    queue.show(one, begin + Duration::from_secs(50));
    queue.show(two, begin + Duration::from_secs(50));
    assert_eq!(queue.overdue(deadline - Duration::from_nanos(1)), None);
    assert_eq!(queue.overdue(deadline), Some(one));
    assert_eq!(queue.close(one, &Answer::Deny).len(), 1);
    assert_eq!(queue.overdue(deadline), None);
}

#[test]
fn a_policy_limits_how_far_an_answer_reaches() {
    let mut queue = Queue::new(Duration::from_secs(1), &[Scope::Once]);
    let number = open(&mut queue, read("/a"), 1);
    assert!(queue.admits(number, &Answer::Once));
    assert!(queue.admits(number, &Answer::Deny) && queue.admits(number, &Answer::Never));
    for wide in [Answer::Session, Answer::Path("/a".into())] {
        assert!(!queue.admits(number, &wide));
    }
    assert!(!queue.admits(number + 1, &Answer::Once));
    assert_eq!(queue.close(number, &Answer::Session).len(), 1);
    assert_eq!(queue.granted(&read("/a")), None);
    let mut closed = Queue::new(Duration::from_secs(1), &[]);
    let refused = closed.admit(read("/a"), 1, Instant::now());
    assert!(matches!(refused, Admission::Refused(1, Refusal::NoScope)));
}

#[test]
fn under_another_policy_nothing_is_allowed_that_was_and_nothing_waits() {
    let mut queue = queue();
    let number = open(&mut queue, read("/a/b"), 1);
    assert_eq!(queue.close(number, &Answer::Session).len(), 1);
    assert_eq!(queue.granted(&read("/x")), Some(number));
    let waiting = open(&mut queue, wish(Act::Change, "/a"), 2);
    let taken = queue.renew(Duration::from_secs(1), &[Scope::Once]);
    let numbers: Vec<u64> = taken.iter().map(|case| case.number).collect();
    assert_eq!(numbers, [waiting]);
    assert_eq!(queue.granted(&read("/x")), None, "was not denied");
    assert!(queue.waiting().is_empty());
    assert!(queue.close(waiting, &Answer::Session).is_empty());
    assert_eq!(
        (queue.timeout(), queue.scopes()),
        (Duration::from_secs(1), &[Scope::Once][..])
    );
    // The same is asked again, by another number.
    assert!(open(&mut queue, read("/a/b"), 3) > waiting);
}
