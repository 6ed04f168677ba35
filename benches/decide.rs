//! How long one decision takes under a policy of 100 rules, and what a start pays for its
//! policy: `cargo bench --bench decide`.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use buntime::policy::{
    Grant, Layer, Perm, PermSet, Policy, Proto, Request, Vars, Verdict, World, schema_violations,
    shipped_text,
};
use criterion::Criterion;

/// 60 rules for files, 30 for hosts and 10 for programs, of every form.
fn policy() -> Policy {
    let mut fs: Vec<String> = (0..50)
        .map(|n| {
            let action = if n % 5 == 0 { "deny" } else { "allow" };
            format!(r#"{{"action":"{action}","path":"/srv/data{n}/set","perms":["read_file"]}}"#)
        })
        .collect();
    fs.extend((0..10).map(|n| {
        format!(r#"{{"action":"deny","path":"/srv/**/secret{n}*","perms":["read_file"]}}"#)
    }));
    let net: Vec<String> = (0..30)
        .map(|n| {
            format!(
                r#"{{"action":"allow","proto":"tcp","host":"*.host{n}.example","ports":"443"}}"#
            )
        })
        .collect();
    let exec: Vec<String> = (0..10)
        .map(|n| format!(r#"{{"action":"allow","path":"/usr/bin/tool{n}"}}"#))
        .collect();
    let text = format!(
        r#"{{"version":1,"defaults":{{"fs":"deny","net":"deny","exec":"deny"}},
            "fs":{{"rules":[{}]}},"net":{{"rules":[{}]}},"exec":{{"rules":[{}]}}}}"#,
        fs.join(","),
        net.join(","),
        exec.join(",")
    );
    let home = PathBuf::from("/home/user");
    let vars = Vars {
        home: home.clone(),
        pwd: home.clone(),
        workspace: home,
    };
    let layer = Layer::parse(text.as_bytes(), "bench", &vars).expect("the policy is valid");
    Policy::merge(vec![layer], Vec::new()).expect("one layer merges")
}

fn decide(criterion: &mut Criterion) {
    let policy = policy();
    let file = |path| Request::Fs {
        path: Path::new(path),
        perm: Perm::ReadFile,
    };
    let host = Request::Net {
        proto: Proto::Tcp,
        host: Some("a.host29.example"),
        addr: None,
        port: 443,
    };
    let cases = [
        (
            "file allowed by a rule",
            file("/srv/data49/set/a/b/c.txt"),
            Verdict::Allow,
        ),
        (
            "file denied by a rule",
            file("/srv/data45/set/a/b/c.txt"),
            Verdict::Deny,
        ),
        (
            "file denied by a pattern",
            file("/srv/x/y/secret9.key"),
            Verdict::Deny,
        ),
        (
            "file that no rule names",
            file("/etc/passwd"),
            Verdict::Deny,
        ),
        ("host allowed by a rule", host, Verdict::Allow),
        (
            "program allowed by a rule",
            Request::Exec {
                path: Path::new("/usr/bin/tool9"),
                sha256: None,
            },
            Verdict::Allow,
        ),
    ];
    for (name, request, expected) in cases {
        assert_eq!(policy.decide(&request).verdict, expected, "{name}");
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| policy.decide(black_box(&request)))
        });
    }
}

/// What `buntime run` does with the default policy, and what the schema would cost on top.
fn start(criterion: &mut Criterion) {
    let vars = Vars {
        home: "/home/user".into(),
        pwd: "/work".into(),
        workspace: "/work".into(),
    };
    let bundle = || -> Vec<Grant> {
        [
            "/usr/lib", "/lib", "/lib64", "/etc", "/proc", "/dev", "/tmp",
        ]
        .map(|path| Grant {
            path: path.into(),
            perms: PermSet::READ,
        })
        .to_vec()
    };
    let world = World {
        namespaces: true,
        landlock_abi: 7,
        command: Some("/usr/bin/python3.11".into()),
        loaders: vec!["/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2".into()],
        ..World::default()
    };
    let load = || Layer::shipped("default", &vars).expect("it is shipped");
    criterion.bench_function("load default", |bencher| bencher.iter(load));
    criterion.bench_function("load, merge and compile default", |bencher| {
        bencher.iter(|| {
            let policy = Policy::merge(vec![load()], bundle()).expect("one layer merges");
            policy
                .compile(black_box(&world))
                .expect("it can be enforced")
        })
    });
    criterion.bench_function("load anti-escape", |bencher| {
        bencher.iter(|| Layer::shipped("anti-escape", &vars))
    });
    let text = shipped_text("default").expect("it is shipped");
    criterion.bench_function("check default against the schema", |bencher| {
        bencher.iter(|| schema_violations(black_box(text.as_bytes())))
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decide(&mut criterion);
    start(&mut criterion);
    criterion.final_summary();
}
