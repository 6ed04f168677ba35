//! Landlock, right by right: the operation is done, forbidden by a ruleset of that right alone, and
//! tried again.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{getppid, test_kill_process};

use super::Probe;
use super::place::Place;
use super::remedy::Remedy;
use super::stop::{Stop, named};
use crate::sys::process;
use crate::sys::trial::{self, Handled};

/// An operation that one right is about. It is done twice, and `round` tells names apart.
type Operation = fn(&Path, round: u8) -> io::Result<()>;

/// A right: its name, what handles it, what is refused without it and with which errno, and why
/// policies need it.
struct Right {
    name: &'static str,
    handled: Handled,
    operation: Operation,
    denial: i32,
    needed_for: &'static str,
}

/// The rights of one ABI of Landlock, with the kernel that brought it.
type Abi = (&'static str, Vec<Right>);

const FILES: &str = "rules about files";

pub(super) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for (kernel, rights) in abis() {
        for right in rights {
            let remedy = Remedy::new(
                "landlock_create_ruleset, landlock_add_rule and landlock_restrict_self",
                kernel,
            )
            .when(
                libc::EOPNOTSUPP,
                "start the kernel with landlock among its lsm= (for example lsm=landlock,lockdown,yama)",
            );
            probes.push(Probe::new(
                "landlock",
                right.name,
                right.needed_for,
                remedy,
                move |place| held(&right, place),
            ));
        }
    }
    probes
}

fn file(bit: u32, name: &'static str, operation: Operation) -> Right {
    Right {
        name,
        handled: Handled {
            files: 1 << bit,
            ..Handled::default()
        },
        operation,
        denial: libc::EACCES,
        needed_for: FILES,
    }
}

/// The bits are those of `linux/landlock.h`.
fn abis() -> Vec<Abi> {
    let first = vec![
        file(0, "execute", |_, _| {
            let program = fs::read_link("/proc/self/exe")?;
            let mut command = Command::new(program);
            command.arg("--version").env_clear();
            let quiet = [Stdio::null(), Stdio::null(), Stdio::null()];
            let [input, output, errors] = quiet;
            // Whether it can be run is all that is asked.
            command.stdin(input).stdout(output).stderr(errors);
            command.status().map(drop)
        }),
        file(1, "write_file", |dir, round| {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(at(dir, "write", round))
                .map(drop)
        }),
        file(2, "read_file", |dir, round| {
            let path = at(dir, "read", round);
            File::create_new(&path)?;
            File::open(path).map(drop)
        }),
        file(3, "read_dir", |dir, _| fs::read_dir(dir).map(drop)),
        file(4, "remove_dir", |dir, round| {
            let path = at(dir, "gone-dir", round);
            fs::create_dir(&path)?;
            fs::remove_dir(path)
        }),
        file(5, "remove_file", |dir, round| {
            let path = at(dir, "gone", round);
            File::create_new(&path)?;
            fs::remove_file(path)
        }),
        file(6, "make_char", |dir, round| {
            node(dir, "char", round, FileType::CharacterDevice)
        }),
        file(7, "make_dir", |dir, round| {
            fs::create_dir(at(dir, "dir", round))
        }),
        file(8, "make_reg", |dir, round| {
            File::create_new(at(dir, "reg", round)).map(drop)
        }),
        file(9, "make_sock", |dir, round| {
            node(dir, "sock", round, FileType::Socket)
        }),
        file(10, "make_fifo", |dir, round| {
            node(dir, "fifo", round, FileType::Fifo)
        }),
        file(11, "make_block", |dir, round| {
            node(dir, "block", round, FileType::BlockDevice)
        }),
        file(12, "make_sym", |dir, round| {
            std::os::unix::fs::symlink("nowhere", at(dir, "sym", round))
        }),
    ];
    let mut abis = vec![(
        "Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK and landlock among its lsm=",
        first,
    )];
    abis.extend(later());
    abis
}

fn later() -> Vec<Abi> {
    let refer = Right {
        denial: libc::EXDEV,
        needed_for: "moving files between folders; without it none may be moved",
        ..file(13, "refer", |dir, round| {
            let (from, to) = (at(dir, "from", round), at(dir, "to", round));
            fs::create_dir(&from)?;
            fs::create_dir(&to)?;
            File::create_new(from.join("file"))?;
            fs::rename(from.join("file"), to.join("file"))
        })
    };
    let truncate = Right {
        needed_for: "read-only files; without it those it owns can be emptied",
        ..file(14, "truncate", |dir, round| {
            let path = at(dir, "truncate", round);
            File::create_new(&path)?;
            nix::unistd::truncate(&path, 0).map_err(Into::into)
        })
    };
    let device = Right {
        needed_for: "devices that may be opened and not controlled",
        ..file(15, "ioctl_dev", |_, _| {
            let null = File::open("/dev/null")?;
            rustix::termios::tcgetattr(&null)?;
            Ok(())
        })
    };
    let unix = Right {
        needed_for: "nothing alone: the filter holds sockets of the host",
        ..file(16, "resolve_unix", |dir, _| {
            UnixStream::connect(dir.join(LISTENER)).map(drop)
        })
    };
    vec![
        ("Linux 5.19 or newer", vec![refer]),
        ("Linux 6.2 or newer", vec![truncate]),
        (
            "Linux 6.7 or newer",
            vec![
                network(0, "bind_tcp", |_, _| {
                    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)
                }),
                // Nobody listens there; the refusal by the other end is the control.
                network(1, "connect_tcp", |_, _| {
                    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).map(drop)
                }),
            ],
        ),
        ("Linux 6.10 or newer", vec![device]),
        (
            "Linux 6.12 or newer",
            vec![
                scope(0, "abstract_unix_socket scope", |dir, _| {
                    UnixStream::connect_addr(&abstract_name(dir)?).map(drop)
                }),
                scope(1, "signal scope", |_, _| {
                    let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
                    Ok(test_kill_process(parent)?)
                }),
            ],
        ),
        ("a kernel whose Landlock has ABI 9", vec![unix]),
    ]
}

fn network(bit: u32, name: &'static str, operation: Operation) -> Right {
    Right {
        name,
        handled: Handled {
            network: 1 << bit,
            ..Handled::default()
        },
        operation,
        denial: libc::EACCES,
        needed_for: "no network without namespaces, beside the filter",
    }
}

fn scope(bit: u32, name: &'static str, operation: Operation) -> Right {
    Right {
        name,
        handled: Handled {
            scopes: 1 << bit,
            ..Handled::default()
        },
        operation,
        denial: libc::EPERM,
        needed_for: "processes outside; with namespaces a second fence",
    }
}

const LISTENER: &str = "listener";

fn at(dir: &Path, name: &str, round: u8) -> PathBuf {
    dir.join(format!("{name}-{round}"))
}

fn node(dir: &Path, name: &str, round: u8, kind: FileType) -> io::Result<()> {
    // Device 0:0 is no device.
    Ok(mknodat(CWD, at(dir, name, round), kind, Mode::RUSR, 0)?)
}

fn abstract_name(dir: &Path) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(dir.as_os_str().as_encoded_bytes())
}

fn held(right: &Right, place: &Place) -> Result<(), Stop> {
    let dir = &place.path()?.join(right.name.replace(' ', "-"));
    fs::create_dir(dir).map_err(Stop::unprepared("making a folder"))?;
    // Sockets belong to whoever made them: made now, they are outside of what follows.
    let _named = UnixListener::bind(dir.join(LISTENER));
    let _abstract =
        UnixListener::bind_addr(&abstract_name(dir).map_err(Stop::unprepared("naming a socket"))?);
    let before = errno((right.operation)(dir, 0));
    if before == Some(right.denial) {
        let denial = named(right.denial);
        return Err(Stop::untried(format!(
            "the operation is refused here without a ruleset too: {denial}"
        )));
    }
    let ruleset = trial::ruleset(right.handled).map_err(Stop::refused("making a ruleset"))?;
    process::set_no_new_privs().map_err(Stop::refused("setting no_new_privs"))?;
    trial::restrict_self(&ruleset).map_err(Stop::refused("enforcing a ruleset"))?;
    let after = errno((right.operation)(dir, 1));
    match after {
        Some(after) if after == right.denial => Ok(()),
        _ if after == before => Err(Stop::NoEffect(
            "the ruleset was taken, and the operation is not refused".to_owned(),
        )),
        other => Err(Stop::untried(format!(
            "under a ruleset the operation ended otherwise: {}",
            other.map_or("it was done".to_owned(), named)
        ))),
    }
}

/// The kernel's reason for a failure; `None` when it was done.
fn errno(result: io::Result<()>) -> Option<i32> {
    result.err().map(|error| error.raw_os_error().unwrap_or(0))
}
