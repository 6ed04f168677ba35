//! What the caller hands to a container beside its root: devices, network interfaces, memory of some
//! nodes, and an ear for its word that it is ready.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

use serde_json::json;

use super::yard::Yard;
use crate::support::{PATIENCE, binary, eventually};

/// A network namespace with a pair of interfaces in it, both of which end with it.
struct Net {
    holder: process::Child,
    enter: [String; 2],
}

impl Net {
    fn make() -> Net {
        let mut holder = process::Command::new("unshare");
        let holder = holder.args(["--net", "sleep", "1000"]).spawn();
        let holder = holder.expect("a namespace can be made");
        let theirs = format!("/proc/{}/ns/net", holder.id());
        let own = fs::read_link("/proc/self/ns/net").expect("there is one");
        eventually(PATIENCE, || match fs::read_link(&theirs) {
            Ok(other) if other != own => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let enter = ["nsenter".to_owned(), format!("--net={theirs}")];
        Net { holder, enter }
    }

    fn enter(&self) -> [&str; 2] {
        [&self.enter[0], &self.enter[1]]
    }

    /// Runs ip(8) in it.
    fn ip(&self, words: &str) -> bool {
        let [program, option] = self.enter();
        let mut command = process::Command::new(program);
        let done = command.args([option, "ip"]).args(words.split(' ')).output();
        done.expect("there are ip and nsenter").status.success()
    }

    fn add_pair(&self) {
        assert!(self.ip("link add bt-a type veth peer name bt-b"));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.holder.kill().expect("it runs");
        self.holder.wait().expect("it ends");
    }
}

#[test]
fn interfaces_move_into_the_container() {
    let Some(yard) = Yard::new("interfaces_move_into_the_container") else {
        return;
    };
    let net = Net::make();
    let create = |spec: &serde_json::Value| {
        let bundle = yard.bundle("one", spec);
        yard.call_below(&net.enter(), &["create", "--bundle", &bundle, "one"])
    };
    net.add_pair();
    assert!(net.ip("address add 192.0.2.7/24 dev bt-a"));
    assert!(net.ip("link set bt-a mtu 1234 address 02:00:00:00:00:07"));
    let mut spec = yard.spec("one", &["sleep", "1000"]);
    spec["linux"]["netDevices"] = json!({"bt-a": {"name": "eth7"}});
    create(&spec).expect(0);
    assert!(!net.ip("link show bt-a"), "it is there no more");
    let told = yard.call(&["exec", "one", "ip", "address", "show", "eth7"]);
    let told = told.expect(0).stdout();
    for part in ["inet 192.0.2.7/24", "mtu 1234", "02:00:00:00:00:07", ",UP"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    yard.remove("one");

    // What cannot be is an error that names it, and takes nothing along.
    eventually(PATIENCE, || match net.ip("link show bt-b") {
        false => Ok(()),
        true => Err("the other end lives on".to_owned()),
    });
    net.add_pair();
    let refused = |devices: serde_json::Value, words: &str| {
        let mut spec = yard.spec("one", &["true"]);
        spec["linux"]["netDevices"] = devices;
        create(&spec).fails(1, words);
    };
    refused(json!({"bt-none": {}}), "bt-none");
    refused(json!({"bt-a": {"name": "eth/0"}}), "eth/0");
    refused(
        json!({"bt-a": {"name": "x"}, "bt-b": {"name": "x"}}),
        "two interfaces",
    );
    let mut spec = yard.spec("one", &["true"]);
    spec["linux"]["netDevices"] = json!({"bt-a": {}});
    spec["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "uts"}]);
    create(&spec).fails(1, "linux.netDevices");
    assert!(net.ip("link show bt-a"), "it is still there");

    // A namespace that is joined gets them too.
    let joined = Net::make();
    spec["linux"]["namespaces"] = json!([
        {"type": "pid"}, {"type": "mount"}, {"type": "uts"},
        {"type": "network", "path": format!("/proc/{}/ns/net", joined.holder.id())}
    ]);
    create(&spec).expect(0);
    assert!(joined.ip("link show bt-a"));
    yard.remove("one");
    drop((joined, net));
    yard.ends_clean();
}

#[test]
fn memory_comes_from_the_nodes_that_are_named() {
    let Some(yard) = Yard::new("memory_comes_from_the_nodes_that_are_named") else {
        return;
    };
    let policy = |policy: serde_json::Value| {
        let line = "grep stack /proc/self/numa_maps";
        let mut spec = yard.spec("one", &["sh", "-c", line]);
        spec["linux"]["memoryPolicy"] = policy;
        yard.run("one", &spec)
    };
    let bound = policy(json!({
        "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]
    }));
    let told = bound.expect(0).stdout();
    assert!(told.contains("bind=static:0"), "{told}");
    let told = policy(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}));
    assert!(told.expect(0).stdout().contains("interleave:0"));
    policy(json!({"mode": "MPOL_BIND", "nodes": "0-"})).fails(1, "linux.memoryPolicy.nodes");
    policy(json!({"mode": "MPOL_BIND", "nodes": "1000"})).fails(1, "linux.memoryPolicy");
    yard.ends_clean();
}

#[test]
fn a_container_s_word_that_it_is_ready_goes_on() {
    let Some(yard) = Yard::new("a_container_s_word_that_it_is_ready_goes_on") else {
        return;
    };
    let path = yard.scratch.entry("manager");
    let manager = UnixDatagram::bind(&path).expect("a socket can be made");
    let waiting = Some(Duration::from_secs(60));
    manager.set_read_timeout(waiting).expect("it has a limit");
    let hear = || {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).expect("something is said");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let variable = format!("NOTIFY_SOCKET={path}");
    let with = ["env", variable.as_str()];
    let spec = yard.spec(
        "one",
        &["sh", "-c", "echo $NOTIFY_SOCKET >/log/env; sleep 1000"],
    );
    let bundle = yard.bundle("one", &spec);
    yard.call_below(&with, &["create", "--bundle", &bundle, "one"])
        .expect(0);
    let pid = yard.state("one")["pid"].to_string();
    let program = binary().display().to_string();
    let starting = yard.start_as(&with, &program, &["start", "one"]);
    let inside = format!("/proc/{pid}/root{path}/notify");
    eventually(PATIENCE, || match fs::exists(&inside) {
        Ok(true) => Ok(()),
        other => Err(format!("{inside} is there: {other:?}")),
    });
    // Any user of the container's can say it, and no word but that one goes on.
    let mode = ["exec", "--user", "65534:65534", "one", "test", "-w"];
    yard.call(&[&mode[..], &[&format!("{path}/notify")]].concat())
        .expect(0);
    let program = UnixDatagram::unbound().expect("a socket can be made");
    for word in ["STOPPING=1\nMAINPID=1", "STATUS=well\nREADY=1"] {
        program
            .send_to(word.as_bytes(), &inside)
            .expect("it is heard");
    }
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), format!("MAINPID={pid}"));
    assert_eq!(hear(), "BARRIER=1");
    starting.wait().expect(0);
    let told = yard.call(&["exec", "one", "cat", "/log/env"]).expect(0);
    assert_eq!(told.stdout(), format!("{path}/notify\n"));
    yard.call(&["exec", "one", "rm", &format!("{path}/notify")])
        .fails(1, "Read-only");
    yard.remove("one");

    // One that ends without a word holds nobody up.
    let spec = yard.spec("one", &["true"]);
    let bundle = yard.bundle("one", &spec);
    yard.call_below(&with, &["run", "--detach", "--bundle", &bundle, "one"])
        .expect(0);
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn devices_of_a_user_namespace_are_made_for_it() {
    let Some(yard) = Yard::new("devices_of_a_user_namespace_are_made_for_it") else {
        return;
    };
    let line = r#"
        stat -c '%n %F %a %u:%g %t:%T' /dev/mine /dev/theirs /dev/shut
        echo gone >/dev/mine && head -c 1 /dev/mine | wc -c
        for name in theirs shut; do (: </dev/$name) 2>&1; done
        mknod /tmp/more c 1 3 2>&1
        umount /dev/mine && stat -c '%F' /dev/mine
    "#;
    let devices = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
        {"path": "/dev/theirs", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640,
         "uid": 10, "gid": 11},
        {"path": "/dev/shut", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}
    ]);
    let expected = |shut: &str| {
        [
            "/dev/mine character special file 600 0:0 1:3",
            "/dev/theirs character special file 640 10:11 1:5",
            "/dev/shut character special file 666 0:0 a:e5",
            "0",
            "sh: can't open /dev/theirs: Permission denied",
            shut,
            "mknod: /tmp/more: Operation not permitted",
            "regular empty file",
            "",
        ]
        .join("\n")
    };
    let own = |spec: &mut serde_json::Value, kinds: serde_json::Value| {
        let few = json!(["CAP_CHOWN", "CAP_MKNOD", "CAP_SYS_ADMIN"]);
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = few.clone();
        }
        spec["linux"]["devices"] = devices.clone();
        spec["linux"]["namespaces"] = kinds;
        spec["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        spec.as_object_mut().expect("it is one").remove("hostname");
    };
    let shut = "sh: can't open /dev/shut: Operation not permitted";
    let maps = json!([{"containerID": 0, "hostID": 66_000, "size": 1000}]);
    let told = yard.tells("one", line, |spec| {
        own(
            spec,
            json!([{"type": "pid"}, {"type": "mount"}, {"type": "user"}]),
        );
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps.clone();
    });
    assert_eq!(told, expected(shut));

    // It is the control group that shuts one of them.
    let told = yard.tells("one", "(: </dev/shut) 2>&1; true", |spec| {
        own(
            spec,
            json!([{"type": "pid"}, {"type": "mount"}, {"type": "user"}]),
        );
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps.clone();
        spec["linux"]["resources"] = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}
        ]});
    });
    assert!(!told.contains("not permitted"), "{told}");

    // The same in a namespace that is joined, whose maps the configuration does not say.
    yard.sleeper("pod", |spec| {
        own(
            spec,
            json!([{"type": "pid"}, {"type": "mount"}, {"type": "user"}]),
        );
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps.clone();
    });
    let pod = yard.state("pod")["pid"].clone();
    let told = yard.tells("one", line, |spec| {
        let user = json!({"type": "user", "path": format!("/proc/{pod}/ns/user")});
        own(spec, json!([{"type": "pid"}, {"type": "mount"}, user]));
    });
    assert_eq!(told, expected(shut));
    yard.remove("pod");
    yard.ends_clean();
}
