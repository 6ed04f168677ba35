//! Containers of an ordinary user: with one id or with the many that newuidmap gives, and with or
//! without a control group that somebody has handed to the user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::yard::{Called, Pending, Yard, status};
use crate::support::{PATIENCE, USER, eventually, remove_group};

/// The first id of the range that the user may map, and how many there are.
const RANGE: (u32, u32) = (700_000, 65_536);

/// As the user, in a mount namespace in which accounts and ranges are those of the test: in the
/// control group $GROUP of each hierarchy if one is named, and without newuidmap if it is not
/// wanted.
const AS_USER: &str = r#"
for file in passwd group subuid subgid; do
    mount --bind "$ETC/$file" "/etc/$file" || exit 99
done
if [ -z "$MAPPERS" ]; then
    for program in newuidmap newgidmap; do
        mount --bind "$ETC/none" "/usr/bin/$program" || exit 99
    done
fi
for group in $GROUPS_HELD; do
    echo $$ >"$group/session/cgroup.procs" || exit 99
done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups \
    --inh-caps=-all --reset-env "$@"
"#;

/// What the user has.
#[derive(Debug, Clone, Copy)]
struct Lot {
    mappers: bool,
    group: bool,
}

/// A yard whose calls are an ordinary user's.
struct Home {
    yard: Yard,
    lot: Lot,
}

impl Home {
    fn new(yard: Yard, lot: Lot) -> Home {
        let scratch = &yard.scratch;
        let account = format!("tester:x:{USER}:{USER}::/:/bin/sh\n");
        scratch.file(
            "etc/passwd",
            format!("root:x:0:0::/:/bin/sh\n{account}").as_bytes(),
        );
        scratch.file(
            "etc/group",
            format!("root:x:0:\ntester:x:{USER}:\n").as_bytes(),
        );
        let range = format!("tester:{}:{}\n", RANGE.0, RANGE.1);
        scratch.file("etc/subuid", range.as_bytes());
        scratch.file("etc/subgid", range.as_bytes());
        let none = scratch.file("etc/none", b"");
        fs::set_permissions(none, fs::Permissions::from_mode(0o644)).expect("a mode can be set");
        let state = yard.state_root();
        fs::create_dir_all(&state).expect("a folder can be made");
        for folder in [&state, &scratch.entry("log")] {
            chown(folder, Some(USER), Some(USER)).expect("a folder can be given away");
        }
        if !lot.mappers {
            // A file that the user could write is not what runs in its containers.
            chown(scratch.binary(), Some(USER), Some(USER)).expect("a file can be given away");
        }
        let home = Home { yard, lot };
        if lot.group {
            home.hand_over();
        }
        home
    }

    fn delegated(&self) -> Vec<PathBuf> {
        let parents = self.yard.groups().into_iter();
        parents.map(|parent| parent.join("user")).collect()
    }

    /// As systemd does for a user: a group with everything in it that makes groups below it.
    fn hand_over(&self) {
        for group in self.delegated() {
            fs::create_dir(&group).expect("a group can be made");
            let session = group.join("session");
            fs::create_dir(&session).expect("a group can be made");
            hand_down(&session);
            for file in ["", "cgroup.procs", "tasks", "cgroup.subtree_control"] {
                for place in [group.clone(), group.join("session")] {
                    let path = place.join(file);
                    if path.exists() {
                        chown(&path, Some(USER), Some(USER)).expect("a group can be given away");
                    }
                }
            }
        }
    }

    fn start(&self, args: &[&str]) -> Pending {
        let held = match self.lot.group {
            true => self.delegated(),
            false => Vec::new(),
        };
        let held: Vec<String> = held.iter().map(|path| path.display().to_string()).collect();
        let variables = [
            format!("ETC={}", self.yard.scratch.entry("etc")),
            format!("USER_ID={USER}"),
            format!("MAPPERS={}", if self.lot.mappers { "yes" } else { "" }),
            format!("GROUPS_HELD={}", held.join(" ")),
        ];
        let mut before = vec!["env"];
        before.extend(variables.iter().map(String::as_str));
        before.extend(["unshare", "--mount", "--propagation", "private"]);
        before.extend(["sh", "-c", AS_USER, "sh"]);
        self.yard
            .start_as(&before, &self.yard.scratch.binary(), args)
    }

    fn call(&self, args: &[&str]) -> Called {
        self.start(args).wait()
    }

    /// A configuration such as `spec --rootless` writes, of the user's ids.
    fn spec(&self, id: &str, args: &[&str]) -> Value {
        let mut spec = self.yard.spec(id, args);
        let mut map = vec![json!({"containerID": 0, "hostID": USER, "size": 1})];
        if self.lot.mappers {
            map.push(json!({"containerID": 1, "hostID": RANGE.0, "size": RANGE.1}));
        }
        let linux = &mut spec["linux"];
        linux["uidMappings"] = json!(map);
        linux["gidMappings"] = json!(map);
        linux["namespaces"]
            .as_array_mut()
            .expect("there are namespaces")
            .push(json!({"type": "user"}));
        let path = linux["cgroupsPath"]
            .as_str()
            .expect("it is text")
            .to_owned();
        match self.lot.group {
            true => {
                let (above, name) = path.rsplit_once('/').expect("it has a parent");
                linux["cgroupsPath"] = json!(format!("{above}/user/{name}"));
                linux["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
            }
            false => {
                linux
                    .as_object_mut()
                    .map(|linux| linux.remove("cgroupsPath"));
            }
        }
        if !self.lot.mappers {
            // The group tty has no id here.
            spec["mounts"][2]["options"] = json!(["nosuid", "noexec", "newinstance"]);
        }
        spec
    }

    fn create(&self, id: &str, spec: &Value) -> Called {
        let bundle = self.yard.bundle(id, spec);
        self.call(&["create", "--bundle", &bundle, id])
    }

    fn state(&self, id: &str) -> Value {
        let told = self.call(&["state", id]).expect(0).stdout();
        serde_json::from_str(&told).expect("a state is JSON")
    }

    fn ends_clean(self) {
        if self.lot.group {
            for group in self.delegated() {
                remove_group(&group.join("session"));
                remove_group(&group);
            }
        }
        self.yard.ends_clean();
    }
}

/// The processors and memory of v1, and the controllers of v2, come from above the yard.
fn hand_down(session: &Path) {
    let mut places: Vec<&Path> = session.ancestors().take(3).collect();
    places.reverse();
    for place in &places {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = place.parent().expect("it is below one").join(file);
            if let Ok(set) = fs::read(above) {
                fs::write(place.join(file), set).expect("a set can be handed down");
            }
        }
    }
    for above in places[0]
        .ancestors()
        .skip(1)
        .take(1)
        .chain([places[0], places[1]])
    {
        for controller in ["+memory", "+pids"] {
            // A hierarchy of v1 has none to hand down, and the unified one beside it may not either.
            fs::write(above.join("cgroup.subtree_control"), controller).ok();
        }
    }
}

fn host_status(pid: &Value) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives")
}

/// The ids of a process on the host: real, effective, saved, of files.
fn all_are(text: &str, line: &str, id: u32) -> bool {
    status(text, line)
        .split('\t')
        .all(|own| own == id.to_string())
}

fn the_first_process_is_the_users(home: &Home) {
    let pid = home.state("one")["pid"].clone();
    let seen = host_status(&pid);
    assert!(all_are(&seen, "Uid", USER), "{seen}");
    assert!(all_are(&seen, "Gid", USER), "{seen}");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it has groups");
    let ends = |line: &&str| line.ends_with("/user/one");
    match home.lot.group {
        // Beside v1 the unified hierarchy holds nothing.
        true => {
            let memory = |line: &&str| line.contains("memory") || line.starts_with("0::");
            assert!(
                groups.lines().filter(memory).any(|line| ends(&line)),
                "{groups}"
            );
            let held: Vec<String> = home
                .delegated()
                .iter()
                .flat_map(|group| {
                    ["memory.limit_in_bytes", "memory.max"].map(|f| group.join("one").join(f))
                })
                .filter_map(|file| fs::read_to_string(file).ok())
                .collect();
            assert_eq!(held, [format!("{}\n", 64 << 20)]);
        }
        false => assert!(!groups.lines().any(|line| ends(&line)), "{groups}"),
    }
}

/// What runs in it is who it should be, within and on the host.
fn the_ids_are_the_users(home: &Home) {
    let told = home
        .call(&[
            "exec",
            "one",
            "sh",
            "-c",
            "id -u; id -g; cat /proc/self/uid_map; echo x >/log/own",
        ])
        .expect(0)
        .stdout();
    assert!(told.starts_with("0\n0\n"), "{told}");
    let owner = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        let path = home.yard.scratch.path().join("log").join(name);
        fs::metadata(path).expect("it was written").uid()
    };
    assert_eq!(owner("own"), USER);
    fs::set_permissions(
        home.yard.scratch.entry("log"),
        fs::Permissions::from_mode(0o777),
    )
    .expect("a mode can be set");
    let other = home.call(&[
        "exec",
        "--user",
        "5:6",
        "one",
        "sh",
        "-c",
        "id -u; echo >/log/other",
    ]);
    match home.lot.mappers {
        true => {
            assert_eq!(other.expect(0).stdout(), "5\n");
            assert_eq!(owner("other"), RANGE.0 + 4);
        }
        false => {
            other.fails(255, "user 5 and group 6");
        }
    }
    // The host's own root is nobody there, and its files are not to be written.
    let refused = home.call(&["exec", "one", "sh", "-c", "echo x >/etc/new"]);
    assert_eq!(refused.code(), Some(1), "{refused}");
}

fn it_can_be_paused_where_there_is_a_group(home: &Home) {
    if home.lot.group {
        home.call(&["pause", "one"]).expect(0);
        assert_eq!(home.state("one")["status"], "paused");
        home.call(&["resume", "one"]).expect(0);
        let listed = home
            .call(&["ps", "--format", "json", "one"])
            .expect(0)
            .stdout();
        let pids: Vec<i64> = serde_json::from_str(&listed).expect("a list");
        assert_eq!(pids.len(), 1, "{listed}");
        let floods = "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done";
        let told = home.call(&["exec", "one", "sh", "-c", floods]);
        assert!(
            told.stderr().contains("fork"),
            "the limit holds nothing: {told}"
        );
    } else {
        home.call(&["pause", "one"]).fails(1, "no control group");
        // A limit that nobody can hold is refused and not forgotten.
        let mut spec = home.spec("two", &["true"]);
        spec["linux"]["resources"] = json!({"pids": {"limit": 20}});
        home.create("two", &spec).fails(1, "pids");
        home.call(&["state", "two"]).fails(1, "does not exist");
    }
}

fn live_with(test: &str, lot: Lot) {
    let Some(yard) = Yard::new(test) else {
        return;
    };
    let home = Home::new(yard, lot);
    let spec = home.spec("one", &["sleep", "1000"]);
    home.create("one", &spec).expect(0);
    assert_eq!(home.state("one")["status"], "created");
    home.call(&["start", "one"]).expect(0);
    assert_eq!(home.state("one")["status"], "running");
    the_first_process_is_the_users(&home);
    the_ids_are_the_users(&home);
    it_can_be_paused_where_there_is_a_group(&home);
    let listed = home.call(&["list", "--quiet"]).expect(0).stdout();
    assert_eq!(listed, "one\n");
    home.call(&["kill", "one", "KILL"]).expect(0);
    eventually(PATIENCE, || match home.state("one") {
        state if state["status"] == "stopped" => Ok(()),
        state => Err(state.to_string()),
    });
    home.call(&["delete", "one"]).expect(0);
    // In the foreground, with the exit status of the program.
    let bundle = home
        .yard
        .bundle("one", &home.spec("one", &["sh", "-c", "exit 7"]));
    home.call(&["run", "--bundle", &bundle, "one"]).expect(7);
    if !lot.mappers {
        // More ids than one need the program that gives them.
        let mut spec = home.spec("one", &["true"]);
        let more = json!({"containerID": 1, "hostID": RANGE.0, "size": RANGE.1});
        for maps in ["uidMappings", "gidMappings"] {
            let maps = spec["linux"][maps].as_array_mut().expect("a list");
            maps.push(more.clone());
        }
        home.create("one", &spec).fails(1, "newuidmap");
    }
    home.ends_clean();
}

#[test]
fn one_id_and_no_group() {
    let lot = Lot {
        mappers: false,
        group: false,
    };
    live_with("one_id_and_no_group", lot);
}

#[test]
fn one_id_and_a_group() {
    let lot = Lot {
        mappers: false,
        group: true,
    };
    live_with("one_id_and_a_group", lot);
}

#[test]
fn many_ids_and_no_group() {
    let lot = Lot {
        mappers: true,
        group: false,
    };
    live_with("many_ids_and_no_group", lot);
}

#[test]
fn many_ids_and_a_group() {
    let lot = Lot {
        mappers: true,
        group: true,
    };
    live_with("many_ids_and_a_group", lot);
}

/// The user's own range is what newuidmap gives, and nobody else's.
#[test]
fn ids_of_others_are_not_mapped() {
    let Some(yard) = Yard::new("ids_of_others_are_not_mapped") else {
        return;
    };
    let home = Home::new(
        yard,
        Lot {
            mappers: true,
            group: false,
        },
    );
    for (inside, outside) in [(0, 0), (0, USER + 1), (1, 0), (1, RANGE.0 - 1)] {
        let mut spec = home.spec("one", &["true"]);
        for maps in ["uidMappings", "gidMappings"] {
            let maps = &mut spec["linux"][maps];
            maps[inside]["hostID"] = json!(outside);
            maps[inside]["size"] = json!(1);
        }
        home.create("one", &spec).fails(1, "newuidmap");
        home.call(&["state", "one"]).fails(1, "does not exist");
    }
    home.ends_clean();
}
