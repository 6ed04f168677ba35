//! Bundles: the one that is written, and those of others, setting by setting.

use std::path::Path;

use buntime::launch::Piece;
use buntime::oci::{OciError, Prepared, Target, prepare, write_python};
use buntime::policy::{Flags, Perm};

use crate::support::{Scratch, flags, input, place, real, worker};

/// Where Debian's package golang-github-opencontainers-specs-dev has the OCI runtime
/// specification's own schema; `hack/test` installs it.
const SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema";

/// The specification's schema. Without it a test fails in CI, and tells why elsewhere.
fn schema() -> Option<jsonschema::Validator> {
    if !Path::new(SCHEMA).exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{SCHEMA} is missing, and CI must check bundles with it"
        );
        eprintln!("not checked, because {SCHEMA} is missing; hack/test installs it");
        return None;
    }
    let mut options = jsonschema::options();
    let base = "https://schema.invalid/";
    let mut top = None;
    for entry in std::fs::read_dir(SCHEMA).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let part: serde_json::Value = serde_json::from_str(&text).unwrap();
        if name == "config-schema.json" {
            top = Some(part.clone());
        }
        let resource = jsonschema::Draft::Draft4.create_resource(part);
        options = options.with_resource(format!("{base}{name}"), resource);
    }
    let options = options
        .with_draft(jsonschema::Draft::Draft4)
        .with_base_uri(format!("{base}config-schema.json"));
    Some(options.build(&top.unwrap()).unwrap())
}

#[test]
fn the_written_bundle_is_one_by_the_specifications_schema() {
    let scratch = Scratch::new("bundle");
    let bundle = scratch.0.join("python");
    write_python(&bundle, &worker()).unwrap();
    assert!(
        write_python(&bundle, &worker()).is_err(),
        "it is there already"
    );
    let text = std::fs::read_to_string(bundle.join("config.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let Some(schema) = schema() else {
        return;
    };
    let wrong: Vec<String> = schema
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    let template: serde_json::Value =
        serde_json::from_str(include_str!("../../bundles/python/config.json")).unwrap();
    assert!(schema.is_valid(&template));
    for (pointer, broken) in [
        ("/linux/namespaces/0/type", serde_json::json!("unknown")),
        ("/process/cwd", serde_json::json!(7)),
        ("/mounts/0/destination", serde_json::json!(null)),
    ] {
        let mut bad = value.clone();
        *bad.pointer_mut(pointer).unwrap() = broken;
        assert!(!schema.is_valid(&bad), "the schema looks at {pointer}");
    }
    let mounts = value["mounts"].as_array().unwrap();
    for mount in mounts {
        let place = mount["destination"].as_str().unwrap();
        let point = bundle.join("rootfs").join(place.trim_start_matches('/'));
        let own = place.starts_with("/dev/");
        assert!(own || point.exists(), "{place} has no mount point");
        if mount["type"] == "bind" {
            assert!(
                Path::new(mount["source"].as_str().unwrap()).exists(),
                "{place}"
            );
        }
    }
    let spec: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
    assert_eq!(
        spec.process().as_ref().unwrap().no_new_privileges(),
        Some(true)
    );
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    assert_eq!(
        spec.linux()
            .as_ref()
            .unwrap()
            .namespaces()
            .as_ref()
            .unwrap()
            .len(),
        7
    );
}

/// A bundle with a root of its own, and a configuration to be changed.
struct OwnBundle {
    scratch: Scratch,
    configuration: serde_json::Value,
}

impl OwnBundle {
    fn new(name: &str) -> OwnBundle {
        let scratch = Scratch::new(name);
        for dir in ["rootfs/bin", "rootfs/data", "rootfs/tmp", "host"] {
            std::fs::create_dir_all(scratch.0.join(dir)).unwrap();
        }
        std::fs::copy(real("/usr/bin/env"), scratch.0.join("rootfs/bin/sh")).unwrap();
        let configuration = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs", "readonly": true },
            "process": { "user": { "uid": 1000, "gid": 1000 }, "args": ["sh", "-c", "true"],
                "env": ["PATH=/bin", "A=b=c"], "cwd": "/data" },
        });
        OwnBundle {
            scratch,
            configuration,
        }
    }

    fn prepare(&self) -> Result<Prepared, OciError> {
        self.prepare_as(&self.configuration)
    }

    fn prepare_as(&self, configuration: &serde_json::Value) -> Result<Prepared, OciError> {
        self.prepare_under(configuration, Flags::default())
    }

    fn prepare_under(
        &self,
        configuration: &serde_json::Value,
        given: Flags,
    ) -> Result<Prepared, OciError> {
        let path = self.scratch.0.join("config.json");
        std::fs::write(&path, configuration.to_string()).unwrap();
        let target = Target::Command {
            name: None,
            args: Vec::new(),
        };
        let mut asked = input(target, flags(given));
        asked.bundle = Some(self.scratch.0.clone());
        asked.cwd = None;
        prepare(asked)
    }

    /// With one setting more, at a JSON Pointer.
    fn with(&self, pointer: &str, value: serde_json::Value) -> Result<Prepared, OciError> {
        let mut configuration = self.configuration.clone();
        let mut place = &mut configuration;
        for name in pointer.split('/').skip(1) {
            place = &mut place[name];
        }
        *place = value;
        self.prepare_as(&configuration)
    }

    /// What the start is refused with, when one setting more is there.
    fn refused(&self, pointer: &str, value: serde_json::Value) -> String {
        match self.with(pointer, value) {
            Ok(_) => panic!("{pointer} is not refused"),
            Err(error) => error.to_string(),
        }
    }

    /// The launch, when one setting more is there.
    fn carried(&self, pointer: &str, value: serde_json::Value) -> Prepared {
        let prepared = self.with(pointer, value);
        prepared.unwrap_or_else(|error| panic!("{pointer}: {error}"))
    }
}

fn remarked(prepared: &Prepared, setting: &str) -> bool {
    let name = format!("bundle: {setting}");
    prepared
        .request
        .remarks
        .iter()
        .any(|remark| remark.mechanism == name)
}

#[test]
fn a_bundle_runs_its_own_process() {
    let bundle = OwnBundle::new("process");
    let request = bundle.prepare().unwrap().request;
    assert_eq!(
        request.program.path,
        Path::new("/bin/sh"),
        "found by its own PATH"
    );
    assert_eq!(request.program.args, ["sh", "-c", "true"]);
    assert_eq!(request.program.cwd, Path::new("/data"));
    assert!(request.program.env.contains(&("A".into(), "b=c".into())));
    assert_eq!(request.umask, 0o022);
    // There is no linux section, and the paths that nobody may see are covered all the same.
    assert!(
        request
            .masked_paths
            .iter()
            .any(|path| path == "/proc/kcore")
    );
    assert!(
        request
            .readonly_paths
            .iter()
            .any(|path| path == "/proc/sys")
    );
    let more = bundle.carried(
        "/linux",
        serde_json::json!({ "maskedPaths": ["/data/secret"] }),
    );
    for path in ["/proc/kcore", "/data/secret"] {
        assert!(
            more.request
                .masked_paths
                .iter()
                .any(|masked| masked == path),
            "{path}"
        );
    }
    let umask = bundle.carried("/process/user/umask", 0o077.into());
    assert_eq!(umask.request.umask, 0o077);
}

#[test]
fn limits_of_a_bundle_narrow_those_of_the_policy() {
    let bundle = OwnBundle::new("limits");
    let policy = bundle.prepare().unwrap().request.plan.limits;
    let resources = serde_json::json!({
        "memory": { "limit": 64 << 20, "swap": 64 << 20 }, "pids": { "limit": 7 },
        "cpu": { "quota": 50_000, "period": 100_000 },
        "devices": [{ "allow": false, "access": "rwm" }],
    });
    let limits = bundle
        .carried("/linux", serde_json::json!({ "resources": resources }))
        .request
        .plan
        .limits;
    assert_eq!(
        (limits.memory, limits.pids, limits.cpus),
        (Some(64 << 20), Some(7), Some(0.5))
    );
    let large = serde_json::json!({ "memory": { "limit": 1_u64 << 50 }, "pids": { "limit": -1 } });
    let limits = bundle
        .carried("/linux", serde_json::json!({ "resources": large }))
        .request
        .plan
        .limits;
    assert_eq!(limits, policy, "a bundle cannot widen");
    let asked = serde_json::json!([{ "type": "RLIMIT_NOFILE", "soft": 16, "hard": 32 }]);
    let request = bundle.carried("/process/rlimits", asked).request;
    assert_eq!((request.rlimits[0].soft, request.rlimits[0].hard), (16, 32));
    let wrong = serde_json::json!([{ "type": "RLIMIT_NOFILE", "soft": 33, "hard": 32 }]);
    assert!(
        bundle
            .refused("/process/rlimits", wrong)
            .contains("RLIMIT_NOFILE")
    );
}

#[test]
fn a_bundle_is_refused_by_the_name_of_what_cannot_be_carried() {
    let bundle = OwnBundle::new("refused-settings");
    let cases = serde_json::json!({
        "/hooks": { "poststop": [{ "path": "/bin/true" }] },
        "/domainname": "example",
        "/process/apparmorProfile": "docker-default",
        "/process/selinuxLabel": "a:b:c",
        "/process/oomScoreAdj": -500,
        "/process/ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 4 },
        "/process/scheduler": { "policy": "SCHED_IDLE" },
        "/process/env": ["no-equals-sign"],
        "/process/cwd": "relative",
        "/linux/sysctl": { "net.ipv4.ip_forward": "1" },
        "/linux/mountLabel": "a:b:c",
        "/linux/intelRdt": { "closID": "x" },
        "/linux/personality": { "domain": "LINUX32" },
        "/linux/timeOffsets": { "boottime": { "secs": 7 } },
        "/linux/rootfsPropagation": "shared",
        "/linux/devices": [{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }],
        "/linux/resources/cpu": { "shares": 512 },
        "/linux/resources/blockIO": { "weight": 10 },
        "/linux/resources/memory": { "reservation": 4096 },
        "/linux/resources/unified": { "memory.high": "1" },
        "/linux/seccomp": { "defaultAction": "SCMP_ACT_ERRNO" },
        "/linux/namespaces": [{ "type": "network", "path": "/proc/1/ns/net" }],
    });
    for (pointer, value) in cases.as_object().unwrap() {
        let said = bundle.refused(pointer, value.clone());
        let name = pointer.trim_start_matches('/').replace('/', ".");
        assert!(said.contains(&name), "{pointer}: {said}");
        assert!(said.contains("config.json"), "{pointer}: {said}");
    }
    let other = bundle.refused("/ociVersion", "2.0.0".into());
    assert!(other.contains("ociVersion"), "{other}");
}

#[test]
fn what_a_bundle_gets_less_of_is_remarked() {
    let bundle = OwnBundle::new("remarks");
    let cases = serde_json::json!({
        "/root/readonly": false,
        "/process/terminal": true,
        "/process/user": { "uid": 0, "gid": 0 },
        "/process/capabilities": { "bounding": ["CAP_KILL"] },
        "/annotations": { "org.example": "x" },
        "/linux/cgroupsPath": "/somewhere",
        "/linux/novelty": 7,
    });
    let plain = bundle.prepare().unwrap();
    for (pointer, value) in cases.as_object().unwrap() {
        let name = pointer.trim_start_matches('/').replace('/', ".");
        assert!(!remarked(&plain, &name), "{pointer}");
        assert!(
            remarked(&bundle.carried(pointer, value.clone()), &name),
            "{pointer}"
        );
    }
    let denied = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO" }] });
    let carried = bundle.carried("/linux", serde_json::json!({ "seccomp": denied }));
    assert!(remarked(&carried, "linux.seccomp"));
    for name in ["mkdir", "mkdirat"] {
        assert!(
            carried
                .request
                .plan
                .deny_syscalls
                .iter()
                .any(|denied| denied == name),
            "{name}"
        );
    }
}

#[test]
fn mounts_of_a_bundle_are_its_own_and_read_only() {
    let bundle = OwnBundle::new("mounts");
    let bind = |source: &str, destination: &str, options: &[&str]| serde_json::json!([{ "type": "bind", "source": source, "destination": destination, "options": options }]);
    // Relative to the bundle, whatever the working directory is.
    let carried = bundle.carried("/mounts", bind("host", "/data", &["rbind", "rw"]));
    let shown = carried
        .request
        .pieces
        .iter()
        .find(|piece| place(piece) == Path::new("/data"));
    let Some(Piece::Bind { .. }) = shown else {
        panic!("{shown:?}");
    };
    let source = carried
        .request
        .pieces
        .iter()
        .rev()
        .find_map(|piece| match piece {
            Piece::Bind {
                source,
                path,
                writable,
                ..
            } if path == Path::new("/data") => Some((source.clone(), *writable)),
            _ => None,
        });
    assert_eq!(source, Some((bundle.scratch.0.join("host"), false)));
    assert!(
        remarked(&carried, "mount on /data"),
        "it asks to write there"
    );
    let tmpfs = serde_json::json!([{ "type": "tmpfs", "source": "tmpfs", "destination": "/data", "options": ["size=1m"] }]);
    let request = bundle.carried("/mounts", tmpfs).request;
    let private = request.pieces.iter().any(|piece| matches!(piece, Piece::Tmpfs { path, bytes, .. } if path == Path::new("/data") && *bytes == 1 << 20));
    assert!(private);
    let writable = request
        .plan
        .landlock
        .iter()
        .any(|grant| grant.path == Path::new("/data") && grant.perms.contains(Perm::WriteFile));
    assert!(writable, "{:#?}", request.plan.landlock);

    let socket = std::os::unix::net::UnixListener::bind(bundle.scratch.0.join("socket")).unwrap();
    for (mounts, name) in [
        (bind("host", "/proc/x", &["bind"]), "/proc/x"),
        (bind("host", "/dev", &["bind"]), "/dev"),
        (bind("host", "/tmp/x", &["bind"]), "/tmp/x"),
        (bind("host", "/", &["bind"]), "sandbox has its own"),
        (bind("host", "data", &["bind"]), "absolute"),
        (bind("host", "/data/../etc", &["bind"]), ".."),
        (
            bind("host", "/data/missing", &["bind"]),
            "no place in its root",
        ),
        (bind("missing", "/data", &["bind"]), "missing"),
        (
            bind("socket", "/data", &["bind"]),
            "neither a file nor a directory",
        ),
        (bind("host", "/data", &["bind", "shared"]), "shared"),
        (bind("host", "/data", &["bind", "idmap"]), "idmap"),
        (bind("/proc", "/data", &["bind"]), "rbind"),
        (
            serde_json::json!([{ "type": "overlay", "source": "overlay", "destination": "/data" }]),
            "overlay",
        ),
        (
            serde_json::json!([{ "type": "proc", "source": "proc", "destination": "/data" }]),
            "proc",
        ),
        (
            serde_json::json!([{ "type": "proc", "source": "proc", "destination": "/proc", "options": ["hidepid=2"] }]),
            "hidepid",
        ),
        (
            serde_json::json!([{ "type": "tmpfs", "source": "tmpfs", "destination": "/data", "options": ["size=half"] }]),
            "half",
        ),
    ] {
        // Only some hosts have mounts below /proc.
        if name == "rbind" && !below_proc() {
            continue;
        }
        let said = bundle.refused("/mounts", mounts);
        assert!(said.contains(name), "{name}: {said}");
    }
    drop(socket);
}

fn below_proc() -> bool {
    let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    list.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|path| path.starts_with("/proc/"))
    })
}

/// A bundle is somebody's file: it opens nothing of the host that the person's rules do not.
#[test]
fn host_paths_outside_of_a_bundle_need_a_rule() {
    let bundle = OwnBundle::new("outside");
    let host = Scratch::new("host-of-outside");
    let outside = host.0.to_str().unwrap();
    let mount = serde_json::json!([{ "type": "bind", "source": outside, "destination": "/data", "options": ["rbind", "ro"] }]);
    let roots = ["../..", outside];
    let refused = bundle.refused("/mounts", mount.clone());
    assert!(
        refused.contains(&format!("--allow-read={outside}")),
        "{refused}"
    );
    for root in roots {
        let refused = bundle.refused("/root/path", serde_json::json!(root));
        assert!(refused.contains("outside of the bundle"), "{refused}");
    }
    // A link in the bundle leads outside of it all the same.
    std::os::unix::fs::symlink(outside, bundle.scratch.0.join("link")).unwrap();
    let refused = bundle.refused("/root/path", serde_json::json!("link"));
    assert!(refused.contains("outside of the bundle"), "{refused}");
    // The person's rule opens it, and their deny closes it again.
    let mut configuration = bundle.configuration.clone();
    configuration["mounts"] = mount;
    let given = |deny_read| Flags {
        allow_read: Some(vec![host.0.clone()]),
        deny_read,
        ..Flags::default()
    };
    bundle.prepare_under(&configuration, given(None)).unwrap();
    let deny = Some(vec![host.0.clone()]);
    assert!(bundle.prepare_under(&configuration, given(deny)).is_err());
}
