use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::policy::layer::{Layer, Vars};
use crate::policy::schema::schema_violations;
use crate::policy::{Policy, Request, Verdict};

const HOME: &str = "/home/ann";

fn vars() -> Vars {
    Vars::of("/w".into(), Some(HOME.into()))
}

/// An observation that owns its paths.
#[derive(Debug, Clone)]
enum Seen {
    Fs(PathBuf, Perm),
    Change(PathBuf),
    Exec(PathBuf),
    Made(PathBuf),
    Moved(PathBuf, PathBuf),
}

impl Seen {
    fn observation(&self) -> Observation<'_> {
        match self {
            Seen::Fs(path, perm) => Observation::Fs { path, perm: *perm },
            Seen::Change(path) => Observation::Change { path },
            Seen::Exec(path) => Observation::Exec { path, made: false },
            Seen::Made(path) => Observation::Exec { path, made: true },
            Seen::Moved(from, to) => Observation::Moved { from, to },
        }
    }
}

fn fs(path: &str, perm: Perm) -> Seen {
    Seen::Fs(path.into(), perm)
}

fn read(path: &str) -> Seen {
    fs(path, Perm::ReadFile)
}

/// What a program that writes a file anew does.
fn written(path: &str) -> [Seen; 2] {
    [fs(path, Perm::MakeReg), fs(path, Perm::WriteFile)]
}

fn moved(from: &str, to: &str) -> [Seen; 3] {
    [
        fs(from, Perm::RemoveFile),
        fs(to, Perm::MakeReg),
        Seen::Moved(from.into(), to.into()),
    ]
}

fn nothing() -> Learned {
    Learned::new(Some(Path::new(HOME)), Limits::default(), Plugins::default())
}

/// What is learned, and what of the observations cannot be.
fn learned(seen: &[Seen]) -> (Learned, Vec<Seen>) {
    let mut learned = nothing();
    let mut left = Vec::new();
    for one in seen {
        if learned.note(&one.observation()).is_err() {
            left.push(one.clone());
        }
    }
    (learned, left)
}

fn text(learned: &Learned) -> String {
    learned.to_json().unwrap()
}

fn read_back(text: &str) -> Learned {
    Learned::parse(text.as_bytes(), "learned.json", &vars()).unwrap()
}

fn policy(learned: &Learned) -> Policy {
    let layer = Layer::parse(text(learned).as_bytes(), "learned.json", &vars()).unwrap();
    Policy::merge(vec![layer], Vec::new()).unwrap()
}

fn admits(policy: &Policy, seen: &Seen) -> bool {
    match seen {
        Seen::Fs(path, perm) => {
            let request = Request::Fs { path, perm: *perm };
            policy.decide(&request).verdict == Verdict::Allow
        }
        Seen::Change(path) => policy.change(path).verdict == Verdict::Allow,
        Seen::Exec(path) | Seen::Made(path) => {
            let request = Request::Exec { path, sha256: None };
            policy.decide(&request).verdict == Verdict::Allow
        }
        Seen::Moved(from, to) => policy.carries(from, to, false).is_ok(),
    }
}

/// The rules about files, as path and permissions.
fn rules(seen: &[Seen]) -> Vec<String> {
    let (learned, _) = learned(seen);
    let layer = Layer::parse(text(&learned).as_bytes(), "learned.json", &vars()).unwrap();
    let rules = layer.fs.iter();
    rules
        .map(|rule| format!("{} {}", rule.pattern, rule.perms))
        .collect()
}

#[test]
fn a_file_that_was_read_is_named() {
    assert_eq!(rules(&[read("/srv/d/a.csv")]), ["/srv/d/a.csv read_file"]);
}

#[test]
fn many_files_of_a_directory_become_the_directory() {
    let file = |n| read(&format!("/srv/d/{n}.csv"));
    let few: Vec<Seen> = (0..7).map(file).collect();
    assert_eq!(rules(&few).len(), 7);
    let many: Vec<Seen> = (0..8).map(file).collect();
    assert_eq!(rules(&many), ["/srv/d read_file"]);
}

#[test]
fn many_files_of_a_home_or_of_the_system_stay_files() {
    for dir in [
        "/home/ann",
        "/home/ann/.ssh",
        "/etc",
        "/etc/ssl",
        "/usr/share",
        "/",
    ] {
        let many: Vec<Seen> = (0..20)
            .map(|n| Seen::Fs(Path::new(dir).join(format!("f{n}")), Perm::ReadFile))
            .collect();
        assert_eq!(rules(&many).len(), 20, "{dir}");
    }
}

#[test]
fn what_comes_and_goes_is_spoken_of_where_it_does() {
    let mut seen = written("/w/out/.r.tmp").to_vec();
    seen.extend(moved("/w/out/.r.tmp", "/w/out/r.json"));
    seen.push(read("/w/out/r.json"));
    seen.push(read("/w/in/a"));
    assert_eq!(
        rules(&seen),
        [
            "/w/in/a read_file",
            "/w/out read_file,write_file,remove_file,make_reg"
        ]
    );
}

#[test]
fn in_a_home_it_is_spoken_of_by_name() {
    let mut seen = written("/home/ann/tmpab12cd_x").to_vec();
    seen.extend(moved("/home/ann/tmpab12cd_x", "/home/ann/out.json"));
    seen.push(read("/home/ann/out.json"));
    let (learned, left) = learned(&seen);
    assert!(left.is_empty());
    let policy = policy(&learned);
    assert!(
        seen.iter().all(|one| admits(&policy, one)),
        "{}",
        text(&learned)
    );
    assert!(admits(&policy, &fs("/home/ann/tmpzzzzzzzz", Perm::MakeReg)));
    for other in [
        "/home/ann/.bashrc",
        "/home/ann/.ssh/id",
        "/home/ann/out.json2",
    ] {
        assert!(!admits(&policy, &read(other)), "{other}");
        assert!(!admits(&policy, &fs(other, Perm::WriteFile)), "{other}");
    }
}

#[test]
fn what_was_made_is_spoken_of_where_it_was_made() {
    let mut seen = vec![
        fs("/w/build", Perm::MakeDir),
        fs("/w/build/x", Perm::MakeDir),
    ];
    seen.extend(written("/w/build/x/o"));
    seen.push(fs("/w/build/x", Perm::ReadDir));
    assert_eq!(rules(&seen), ["/w write_file,read_dir,make_dir,make_reg"]);
}

#[test]
fn moves_between_directories_stay_possible_whatever_is_learned_later() {
    let mut seen = written("/w/a/x").to_vec();
    seen.extend(moved("/w/a/x", "/w/b/x"));
    let first = read_back(&text(&learned(&seen).0));
    let second = learned(&[read("/w/b/x")]).0;
    let policy = policy(&first.merged(second));
    assert!(seen.iter().all(|one| admits(&policy, one)));
    assert!(admits(&policy, &read("/w/b/x")));
}

#[test]
fn programs_are_named_and_nothing_else_runs() {
    let seen = [
        Seen::Exec("/usr/bin/git".into()),
        Seen::Made("/tmp/tmpab12cd_x/a.out".into()),
    ];
    let policy = policy(&learned(&seen).0);
    assert!(seen.iter().all(|one| admits(&policy, one)));
    assert!(admits(
        &policy,
        &Seen::Exec("/tmp/tmp00000000/a.out".into())
    ));
    assert!(!admits(&policy, &Seen::Exec("/usr/bin/ssh".into())));
    assert!(!admits(&policy, &Seen::Exec("/tmp/other/a.out".into())));
}

#[test]
fn what_would_say_too_much_is_given_back() {
    let wide = [
        fs("/", Perm::ReadDir),
        fs("/etc", Perm::ReadDir),
        fs("/home", Perm::ReadDir),
        fs("/x", Perm::MakeReg),
        fs("/etc", Perm::RemoveDir),
        fs("/home/ann", Perm::WriteFile),
        Seen::Change("/home/ann".into()),
    ];
    let (learned, left) = learned(&wide);
    assert_eq!(left.len(), wide.len());
    assert_eq!(learned.rules(), 0);
    let mut learned = nothing();
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/w/\xff"));
    let perm = Perm::ReadFile;
    let noted = learned.note(&Observation::Fs { path, perm });
    assert_eq!(noted, Err(Unlearned::NoText));
}

#[test]
fn limits_are_the_greater_ones() {
    let limits = |pids| Limits {
        pids,
        ..Limits::default()
    };
    let of = |pids| Learned::new(None, limits(pids), Plugins::default());
    assert_eq!(of(Some(3)).merged(of(Some(5))).limits.pids, Some(5));
    assert_eq!(of(Some(3)).merged(of(None)).limits.pids, None);
}

#[test]
fn another_policy_is_not_taken_for_a_learned_one() {
    let good = text(&learned(&[read("/w/a")]).0);
    for (what, bad) in [
        ("name", good.replace("\"learned\"", "\"mine\"")),
        ("a deny", good.replace("\"allow\"", "\"deny\"")),
        ("a pattern", good.replace("/w/a", "/w/*")),
        (
            "a default",
            good.replace("\"net\":\"deny\"", "\"net\":\"allow\""),
        ),
        (
            "a section",
            good.replace("\"limits\"", "\"onViolation\": \"kill\", \"limits\""),
        ),
        ("no JSON", "{".to_owned()),
        (
            "a shipped one",
            crate::policy::shipped_text("strict").unwrap().to_owned(),
        ),
    ] {
        assert_ne!(bad, good, "{what}");
        assert!(
            Learned::parse(bad.as_bytes(), "f", &vars()).is_err(),
            "{what}"
        );
    }
}

fn path() -> impl Strategy<Value = PathBuf> {
    let tops = prop_oneof![
        8 => Just("/w"),
        4 => Just("/srv/d"),
        3 => Just("/home/ann"),
        2 => Just("/home/ann/.ssh"),
        1 => Just("/etc"),
        1 => Just("/tmp"),
        1 => Just(""),
    ];
    let names = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "x*[?",
        ".k",
        "tmpab12cd_x",
    ]);
    (tops, prop::collection::vec(names, 0..4)).prop_map(|(top, names)| {
        let mut path = PathBuf::from(format!("/{top}"));
        path.extend(names);
        path.components().collect()
    })
}

fn seen() -> impl Strategy<Value = Vec<Seen>> {
    let perm = prop::sample::select(Perm::ALL.to_vec());
    let made =
        |path: PathBuf| Seen::Made(Path::new("/tmp/x").join(path.strip_prefix("/").unwrap()));
    prop_oneof![
        6 => (path(), perm).prop_map(|(path, perm)| vec![Seen::Fs(path, perm)]),
        8 => path().prop_map(|path| vec![Seen::Fs(path, Perm::ReadFile)]),
        1 => path().prop_map(|path| vec![Seen::Change(path)]),
        1 => path().prop_map(|path| vec![Seen::Exec(path)]),
        1 => path().prop_map(move |path| vec![made(path)]),
        1 => (path(), path()).prop_map(|(from, to)| {
            moved(from.to_str().unwrap(), to.to_str().unwrap()).to_vec()
        }),
    ]
}

fn run() -> impl Strategy<Value = Vec<Seen>> {
    prop::collection::vec(seen(), 0..40).prop_map(|seen| seen.concat())
}

/// What a permission on a path can come from: that on a path above or below a directory that may be
/// named as a whole.
fn is_near(ground: &Ground, seen: &[Seen], one: &Path, other: &Path) -> bool {
    // What was made is spoken of as a whole.
    let made = seen.iter().any(|made| match made {
        Seen::Fs(made, perm) if ENTRIES.contains(*perm) => {
            one.starts_with(made) && other.starts_with(made)
        }
        _ => false,
    });
    if made {
        return true;
    }
    let (Some(one), Some(other)) = (Place::of(one), Place::of(other)) else {
        return false;
    };
    let is_open = |place: &Place| ground.standing(place) == Standing::Open;
    let common = one
        .0
        .iter()
        .zip(&other.0)
        .take_while(|(a, b)| a == b)
        .count();
    let common = one.above(common);
    // Its own name, what is below it, or an open directory that both lie in.
    other.covers(&one)
        || other.clone().coming().covers(&one)
        || other.clone().blurred().covers(&one)
        || is_open(&common)
}

proptest! {
    #[test]
    fn what_was_seen_is_admitted(seen in run()) {
        let (learned, left) = learned(&seen);
        let policy = policy(&learned);
        let left: Vec<String> = left.iter().map(|one| format!("{one:?}")).collect();
        for one in &seen {
            let is_move = matches!(one, Seen::Moved(..));
            let noted = !left.contains(&format!("{one:?}"));
            prop_assert!(is_move || !noted || admits(&policy, one), "{one:?}\n{}", text(&learned));
        }
    }

    #[test]
    fn what_was_moved_as_programs_move_files_can_be_moved(
        seen in run(), from in path(), to in path(),
    ) {
        let mut seen = seen;
        // A program in its place is a rule of its own.
        seen.retain(|one| !matches!(one, Seen::Exec(_) | Seen::Made(_) | Seen::Fs(_, Perm::Execute)));
        let moved = moved(from.to_str().unwrap(), to.to_str().unwrap());
        seen.extend(moved.clone());
        let (learned, left) = learned(&seen);
        let is_left = |one: &Seen| left.iter().any(|l| format!("{l:?}") == format!("{one:?}"));
        if moved.iter().any(is_left) || from.starts_with(&to) || to.starts_with(&from) {
            return Ok(());
        }
        let policy = policy(&learned);
        // What is spoken of below the new name is another matter: a file is moved here.
        let below = seen.iter().any(|one| match one {
            Seen::Fs(path, _) | Seen::Change(path) => path.starts_with(&to),
            _ => false,
        });
        prop_assert!(below || admits(&policy, &moved[2]), "{}", text(&learned));
    }

    #[test]
    fn nothing_is_admitted_that_is_not_near_what_was_seen(seen in run(), probe in path()) {
        let (learned, _) = learned(&seen);
        let policy = policy(&learned);
        for perm in Perm::ALL {
            let request = Request::Fs { path: &probe, perm };
            if policy.decide(&request).verdict != Verdict::Allow {
                continue;
            }
            let why = seen.iter().any(|one| match one {
                Seen::Fs(path, Perm::Execute) | Seen::Exec(path) | Seen::Made(path) => {
                    PermSet::PROGRAM.contains(perm) && is_near(&learned.ground, &seen, &probe, path)
                }
                Seen::Fs(path, known) => {
                    let parts = PermSet::WRITE_DIR.contains(perm) && *known == Perm::WriteDir;
                    let same = *known == perm || parts || perm == Perm::WriteDir;
                    same && is_near(&learned.ground, &seen, &probe, path)
                }
                Seen::Change(path) => perm == Perm::WriteFile && is_near(&learned.ground, &seen, &probe, path),
                // What is allowed where files are moved to.
                Seen::Moved(from, _) => is_near(&learned.ground, &seen, &probe, from),
            });
            prop_assert!(why, "{perm} {}\n{}", probe.display(), text(&learned));
        }
    }

    #[test]
    fn no_home_and_no_directory_of_the_system_is_named_as_a_whole(seen in run()) {
        let (learned, _) = learned(&seen);
        let policy = policy(&learned);
        for dir in ["/", "/home", "/etc", "/home/ann", "/tmp", "/srv"] {
            let unseen = Path::new(dir).join("never/seen");
            for perm in Perm::ALL.into_iter().filter(|perm| *perm != Perm::ReadDir) {
                let request = Request::Fs { path: &unseen, perm };
                prop_assert_eq!(policy.decide(&request).verdict, Verdict::Deny, "{}", text(&learned));
            }
        }
    }

    #[test]
    fn the_document_is_valid_and_read_back(seen in run()) {
        let (learned, _) = learned(&seen);
        let document = text(&learned);
        prop_assert_eq!(schema_violations(document.as_bytes()).unwrap(), Vec::<String>::new());
        prop_assert_eq!(text(&read_back(&document)), document);
    }

    #[test]
    fn the_order_of_runs_does_not_matter_and_neither_how_often(one in run(), other in run()) {
        let both: Vec<Seen> = one.iter().chain(&other).cloned().collect();
        let (one, other) = (learned(&one).0, learned(&other).0);
        let together = text(&learned(&both).0);
        let (first, second) = (read_back(&text(&one)), read_back(&text(&other)));
        let merged = first.clone().merged(other.clone());
        prop_assert_eq!(&text(&merged), &together);
        prop_assert_eq!(&text(&second.clone().merged(one.clone())), &together);
        prop_assert_eq!(&text(&first.clone().merged(second)), &together);
        prop_assert_eq!(text(&first.clone().merged(one.clone())), text(&one));
        prop_assert_eq!(&text(&read_back(&text(&merged)).merged(other)), &together);
    }
}
