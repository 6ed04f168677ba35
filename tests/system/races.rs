//! Races for what is opened, executed, connected to and bound, while others swap links, exchange folders and
//! rewrite arguments: nothing that the policy denies is ever had. The same race against a supervisor
//! that looks and then lets the kernel go on must be won, or it shows nothing.
//!
//! `BUNTIME_RACES` is how many attempts are made in each way, `hack/races` makes a million.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::support::{Child, PYTHON, Scratch, alone, binary, is_root, outside_of_tmp};

const RACER: &str = include_str!("races/racer.py");
const UNSOUND: &str = include_str!("races/unsound.py");

/// Attempts for each kind of call, where nothing else is asked for.
const ATTEMPTS: u64 = 2000;

/// What is swapped.
const WAYS: [&str; 3] = ["link", "exchange", "arguments"];

/// A folder with something that may be had and something that may not, removed at the end.
struct Ground(String);

impl Ground {
    fn new(kind: &str) -> Ground {
        let root = outside_of_tmp().join(format!("races-{kind}-{}", std::process::id()));
        let ground = Ground(root.display().to_string());
        for folder in ["opened", "secret", "race/folder"] {
            fs::create_dir_all(ground.entry(folder)).expect("a folder");
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(ground.entry(folder), mode).expect("its mode");
            ground.put(kind, &format!("{folder}/it"), folder == "secret");
        }
        symlink("../opened", ground.entry("race/link")).expect("a link");
        symlink("../secret", ground.entry("race/other")).expect("a link");
        for (name, program) in [("racer.py", RACER), ("unsound.py", UNSOUND)] {
            fs::write(ground.entry(name), program).expect("a file");
        }
        ground
    }

    fn entry(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    fn put(&self, kind: &str, name: &str, is_secret: bool) {
        let (path, content) = (
            self.entry(name),
            if is_secret { "secret" } else { "opened" },
        );
        match kind {
            "open" => fs::write(&path, content).expect("a file"),
            "exec" => {
                let program = if is_secret { "false" } else { "true" };
                fs::copy(format!("/usr/bin/{program}"), &path).expect("a copy");
            }
            _ => {
                let listener = UnixListener::bind(&path).expect("a socket");
                std::thread::spawn(move || {
                    while let Ok((mut stream, _)) = listener.accept() {
                        // Some leave at once, without listening.
                        drop(stream.write_all(content.as_bytes()));
                    }
                });
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("its mode");
    }

    fn policy(&self) -> String {
        let all = [
            "read_file",
            "read_dir",
            "execute",
            "write_file",
            "write_dir",
        ];
        json!({
            "version": 1,
            "defaults": {"fs": "deny", "net": "deny", "exec": "deny"},
            "fs": {"rules": [
                {"action": "allow", "path": self.0, "perms": all},
                {"action": "deny", "path": self.entry("**/secret/*")}
            ]},
            "exec": {"rules": [
                {"action": "allow", "path": self.entry("**/it")},
                {"action": "deny", "path": self.entry("secret/*")}
            ]},
            "limits": {"wall": "12h"}
        })
        .to_string()
    }

    /// Swaps, on the host, what the way says until it is told that it is over.
    fn swapper(&self, way: &str, over: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
        let over = Arc::clone(over);
        let [link, fresh, folder, other] =
            ["race/link", "race/fresh", "race/folder", "race/other"].map(|name| self.entry(name));
        let swap: Box<dyn Fn() + Send> = match way {
            "link" => Box::new(move || {
                for aim in ["../secret", "../opened"] {
                    symlink(aim, &fresh).expect("a link");
                    fs::rename(&fresh, &link).expect("a link is replaced");
                }
            }),
            "exchange" => Box::new(move || {
                renameat_with(CWD, &folder, CWD, &other, RenameFlags::EXCHANGE).expect("exchanged");
            }),
            _ => return None,
        };
        Some(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                swap();
            }
        }))
    }

    /// Races, and gives how often: tried, had what may be had, denied, had what may not.
    fn race(&self, way: &str, racing: Child) -> [u64; 4] {
        let over = Arc::new(AtomicBool::new(false));
        let swapper = self.swapper(way, &over);
        let done = racing.deadline(Duration::from_secs(12 * 3600)).run();
        over.store(true, Ordering::Relaxed);
        if let Some(swapper) = swapper {
            swapper.join().expect("nothing else swaps");
        }
        let counted: Vec<u64> = done
            .stdout()
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        counted
            .try_into()
            .unwrap_or_else(|_| panic!("{way}: it counts nothing\n{done}"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0);
        }
    }
}

/// The number of attempts, all ways together.
fn attempts() -> u64 {
    let asked = std::env::var("BUNTIME_RACES");
    asked.map_or(ATTEMPTS, |asked| {
        asked.parse().expect("BUNTIME_RACES is a number")
    })
}

fn races(kind: &str) {
    let (scratch, ground) = (Scratch::new(), Ground::new(kind));
    let policy = scratch.file("p.json", ground.policy().as_bytes());
    let racer = ground.entry("racer.py");
    for way in WAYS {
        let each = attempts().div_ceil(WAYS.len() as u64);
        let count = each.to_string();
        let racing = [PYTHON, &*racer, kind, way, &*count, &*ground.0];
        let run = Child::new(binary()).clean_path();
        let run = run.args(["run", "--policy", &policy, "--quiet", "--"]);
        let [tried, had, denied, leaked] = ground.race(way, run.args(racing));
        println!(
            "{kind} by {way}: {tried} attempts, {had} had, {denied} denied, {leaked} got through"
        );
        assert_eq!(leaked, 0, "{kind} by {way}");
        assert!(had > 0 && denied > 0, "{kind} by {way} was no race");

        // Of one that can be won a part shows that.
        let count = each.div_ceil(10).to_string();
        let racing = [PYTHON, &*racer, kind, way, &*count, &*ground.0];
        let unsound = Child::new(PYTHON).args([&*ground.entry("unsound.py"), kind]);
        let unsound = unsound.args(racing).arg("until-one-got-through");
        let [tried, _, _, leaked] = ground.race(way, unsound);
        println!("{kind} by {way}, unsound: {tried} attempts, {leaked} got through");
        assert!(leaked > 0, "{kind} by {way} is a race that nobody wins");
    }
}

/// A race for each kind of call.
macro_rules! races {
    ($($name:ident: $kind:literal)*) => {$(
        #[test]
        fn $name() {
            let _alone = alone();
            if is_root(stringify!($name)) {
                races($kind);
            }
        }
    )*};
}

races! {
    for_what_is_opened: "open"
    for_what_is_executed: "exec"
    for_what_is_connected_to: "connect"
    for_what_is_bound: "bind"
}
