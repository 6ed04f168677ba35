//! A further process in a container: who it is, where it is, and what holds it.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::yard::{Yard, status};
use crate::support::{PATIENCE, eventually, lives};

/// All that this test itself could give.
pub fn every_capability() -> Value {
    let text = fs::read_to_string("/proc/self/status").expect("the status can be read");
    let held = u64::from_str_radix(status(&text, "CapEff"), 16).expect("it is a number");
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
    ];
    let mine = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| held >> bit & 1 == 1);
    mine.map(|(_, name)| Value::from(format!("CAP_{name}")))
        .collect()
}

#[test]
fn the_flags_say_who_it_is() {
    let Some(yard) = Yard::new("the_flags_say_who_it_is") else {
        return;
    };
    yard.sleeper("one", |spec| {
        spec["process"]["env"] = json!(["PATH=/bin", "A=container"]);
        spec["process"]["cwd"] = json!("/tmp");
    });
    let told = yard.call(&[
        "exec",
        "one",
        "sh",
        "-c",
        "id -u; pwd; echo $A; echo $0",
        "x",
    ]);
    told.prints("0\n/tmp\ncontainer\nx\n");
    let args = [
        "exec",
        "--user",
        "1000:1001",
        "--additional-gids",
        "7",
        "--cwd",
        "/etc",
        "--env",
        "A=b=c",
        "one",
        "sh",
        "-c",
        "id -u; id -g; pwd; echo $A; cat /proc/self/status",
    ];
    let told = yard.call(&args).expect(0).stdout();
    assert!(told.starts_with("1000\n1001\n/etc\nb=c\n"), "{told}");
    assert_eq!(status(&told, "Groups"), "7");
    assert_eq!(status(&told, "NoNewPrivs"), "1");
    assert_eq!(status(&told, "CapBnd"), "00000000000000e1");
    assert_eq!(status(&told, "CapEff"), "0000000000000000");
    let told = yard.call(&[
        "exec",
        "--cap",
        "CAP_NET_RAW",
        "one",
        "cat",
        "/proc/self/status",
    ]);
    let told = told.expect(0).stdout();
    assert_eq!(status(&told, "CapEff"), "00000000000020e1");

    let process = json!({
        "args": ["sh", "-c", "id -u; echo $B; cat /proc/self/status"],
        "cwd": "/", "env": ["PATH=/bin", "B=file"], "user": {"uid": 5, "gid": 6},
        "noNewPrivileges": true
    });
    let file = yard
        .scratch
        .file("process.json", process.to_string().as_bytes());
    let told = yard
        .call(&["exec", "--process", &file, "one"])
        .expect(0)
        .stdout();
    assert!(told.starts_with("5\nfile\n"), "{told}");
    // The file is the whole process: what it does not give, there is not.
    assert_eq!(status(&told, "CapBnd"), "0000000000000000");
    let nobodys = yard.scratch.file(
        "nobodys.json",
        br#"{"args": ["/bin/id", "-u"], "cwd": "/"}"#,
    );
    yard.call(&["exec", "--process", &nobodys, "one"])
        .prints("0\n");
    let wrong = yard
        .scratch
        .file("wrong.json", br#"{"args": ["true"], "cwd": 5}"#);
    yard.call(&["exec", "--process", &wrong, "one"])
        .fails(255, "cwd");
    yard.remove("one");
    yard.ends_clean();
}

#[test]
fn its_end_is_told() {
    let Some(yard) = Yard::new("its_end_is_told") else {
        return;
    };
    yard.sleeper("one", |_| {});
    for (line, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
    ] {
        yard.call(&["exec", "one", "sh", "-c", line]).expect(code);
    }
    yard.call(&["exec", "one", "none"])
        .fails(255, "executable file not found in $PATH");
    yard.call(&["exec", "one", "/none"])
        .fails(255, "no such file or directory");
    yard.call(&["exec", "--cwd", "/none", "one", "true"])
        .fails(255, "/none");
    for (group, words) in [
        ("..", " .. is not a sub cgroup path"),
        ("none", "error adding pid of the new process to cgroups"),
        ("none", "/none/cgroup.procs: no such file or directory"),
        ("none:/", "unknown controller none"),
    ] {
        yard.call(&["exec", "--cgroup", group, "one", "true"])
            .fails(255, words);
    }

    let pid_file = yard.scratch.entry("pid");
    let line = "echo $$ >/log/inside; exec sleep 1000";
    let args = [
        "exec",
        "--detach",
        "--pid-file",
        &pid_file,
        "one",
        "sh",
        "-c",
        line,
    ];
    yard.call(&args).expect(0);
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let told = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs on");
    let seen = eventually(PATIENCE, || {
        fs::read_to_string(yard.scratch.path().join("log/inside"))
            .ok()
            .filter(|text| text.ends_with('\n'))
            .ok_or_else(|| "it does not run".to_owned())
    });
    assert!(status(&told, "NSpid").ends_with(seen.trim()), "{told}");
    let listed = yard
        .call(&["ps", "--format", "json", "one"])
        .expect(0)
        .stdout();
    assert!(
        listed.contains(&pid.to_string()),
        "it is not in the container's group: {listed}"
    );
    yard.remove("one");
    assert!(!lives(&pid.to_string()), "it outlives its container");
    yard.ends_clean();
}

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

fn namespaces_of(pid: &str) -> [String; 8] {
    KINDS.map(|kind| {
        let path = format!("/proc/{pid}/ns/{kind}");
        let found = fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        found.display().to_string()
    })
}

#[test]
fn it_joins_every_namespace() {
    let Some(yard) = Yard::new("it_joins_every_namespace") else {
        return;
    };
    yard.sleeper("one", |spec| {
        let kinds = [
            "pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time",
        ];
        let listed: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        spec["linux"]["namespaces"] = json!(listed);
        let map = json!([{"containerID": 0, "hostID": 123_000, "size": 1000}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    let first = yard.state("one")["pid"].to_string();
    let pid_file = yard.scratch.entry("pid");
    yard.call(&[
        "exec",
        "--detach",
        "--pid-file",
        &pid_file,
        "one",
        "sleep",
        "1000",
    ])
    .expect(0);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let (own, joined) = (namespaces_of("self"), namespaces_of(&pid));
    assert_eq!(joined, namespaces_of(&first));
    for (ours, theirs) in own.iter().zip(&joined) {
        assert_ne!(ours, theirs, "it shares a namespace with the host");
    }
    // Root inside is nobody of note outside.
    let told = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_eq!(status(&told, "Uid"), "123000\t123000\t123000\t123000");
    assert_eq!(status(&told, "Gid"), "123000\t123000\t123000\t123000");
    yard.call(&["exec", "one", "id", "-u"]).prints("0\n");
    yard.call(&["exec", "--user", "7:8", "one", "sh", "-c", "id -u; id -g"])
        .prints("7\n8\n");
    yard.call(&["exec", "--user", "5000", "one", "true"])
        .fails(255, "5000");
    yard.remove("one");
    yard.ends_clean();
}

/// Takes the terminal that a console socket brings.
fn terminal(listener: &UnixListener) -> fs::File {
    let (connection, _) = listener.accept().expect("the runtime connects");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    recvmsg(
        &connection,
        &mut pieces,
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("a message arrives");
    let mut carried: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            carried.extend(descriptors);
        }
    }
    assert_eq!(carried.len(), 1, "one terminal comes");
    carried.remove(0).into()
}

#[test]
fn a_console_socket_takes_the_terminal() {
    let Some(yard) = Yard::new("a_console_socket_takes_the_terminal") else {
        return;
    };
    let socket = yard.scratch.entry("console");
    let listener = UnixListener::bind(&socket).expect("a socket can be bound");
    let line = "tty; stty size; read line; echo got $line";
    let answers = |mut master: fs::File| {
        master
            .write_all(b"typed\n")
            .expect("the terminal takes input");
        let mut seen = String::new();
        let mut some = [0; 1024];
        while !seen.contains("got typed") {
            let length = master
                .read(&mut some)
                .unwrap_or_else(|error| panic!("{error}: {seen:?}"));
            seen += &String::from_utf8_lossy(&some[..length]);
        }
        seen
    };
    let mut spec = yard.spec("one", &["sh", "-c", &format!("{line}; sleep 1000")]);
    spec["process"]["terminal"] = json!(true);
    yard.create("one", &spec).fails(1, "--console-socket");
    spec["process"]["consoleSize"] = json!({"height": 12, "width": 34});
    let bundle = yard.bundle("one", &spec);
    yard.call(&[
        "create",
        "--console-socket",
        &socket,
        "--bundle",
        &bundle,
        "one",
    ])
    .expect(0);
    let master = terminal(&listener);
    yard.call(&["start", "one"]).expect(0);
    let seen = answers(master);
    assert!(seen.contains("12 34"), "{seen:?}");
    let args = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &socket,
        "one",
        "sh",
        "-c",
        line,
    ];
    let execution = yard.start(&args);
    let master = terminal(&listener);
    execution.wait().expect(0);
    let seen = answers(master);
    assert!(seen.contains("/dev/pts/"), "{seen:?}");
    yard.remove("one");
    yard.ends_clean();
}
