//! A virtual environment in a person's home, with packages that carry native code and
//! packages that carry data: read-only inside, and nothing around it visible.

use std::time::Duration;

use crate::support::{Child, PYTHON, Scratch, alone, is_root};

#[test]
fn numpy_and_requests_of_a_home() {
    let _alone = alone();
    if !is_root("numpy_and_requests_of_a_home") {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.home();
    let venv = format!("{home}/venv");
    let long = Duration::from_secs(300);
    let make = Child::new(PYTHON)
        .args(["-m", "venv", &venv])
        .clean_path()
        .of_user(&home);
    make.deadline(long).run().expect(0);
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "5",
    ];
    let install = Child::new(format!("{venv}/bin/python"))
        .args(pip)
        .args(["numpy", "requests"]);
    install
        .clean_path()
        .of_user(&home)
        .deadline(long)
        .run()
        .expect(0);
    scratch.file("home/secret", b"beside the environment");

    let run = |code: &str| {
        let command = Child::new(scratch.binary()).args(["run", "--venv", &venv, "-c", code]);
        command.clean_path().of_user(&home).run()
    };
    let code = "
import numpy, requests, sys
print(int(numpy.arange(10).sum()), (numpy.ones((50, 50)) @ numpy.ones((50, 50)))[0, 0])
print(requests.Request('GET', 'http://a/b', params={'c': 1}).prepare().url, sys.prefix)
";
    run(code).prints(&format!("45 50.0\nhttp://a/b?c=1 {venv}\n"));
    let read = run(&format!("print(open('{home}/secret').read())"));
    assert_eq!(read.status.code(), Some(1), "{read}");
    let write = run(&format!("open('{venv}/planted', 'w')"));
    assert_eq!(write.status.code(), Some(1), "{write}");
    assert!(!std::path::Path::new(&format!("{venv}/planted")).exists());
}
