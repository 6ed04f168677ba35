//! Where a path leads (path_resolution(7)), and what it goes over on the way.

use std::io;
use std::path::{Component, Path, PathBuf};

/// How many links the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// What is at a path none of whose directories is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A symbolic link that says this.
    Link(PathBuf),
    /// Something else.
    Thing,
}

/// Where a path leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Led {
    /// The path without symbolic links. Beyond what is missing it goes on as it is written; of links that
    /// lead in a circle it is the one at which the kernel gives up.
    pub real: PathBuf,
    /// Whether there is something.
    pub is_there: bool,
    /// Symbolic links in any component: where each stands, and what it says.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Directories that `..` leaves again: the kernel looks whether they are there.
    pub dirs: Vec<PathBuf>,
    /// The names under which its end was looked for on the way, each of which begins with a link and
    /// goes on as it was written.
    pub through: Vec<PathBuf>,
}

/// What is at a path of this process.
///
/// # Errors
/// It cannot be looked at. What is not there, or lies below something else than a directory, is missing.
pub fn look(path: &Path) -> io::Result<Found> {
    let is_missing = |error: &io::Error| {
        use io::ErrorKind::{NotADirectory, NotFound};
        matches!(error.kind(), NotFound | NotADirectory)
    };
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => path.read_link().map(Found::Link),
        Ok(_) => Ok(Found::Thing),
        Err(error) if is_missing(&error) => Ok(Found::Missing),
        Err(error) => Err(error),
    }
}

/// Follows an absolute path. `look` says what is at a path.
///
/// # Errors
/// Those of `look`.
pub fn follow<E>(path: &Path, mut look: impl FnMut(&Path) -> Result<Found, E>) -> Result<Led, E> {
    // What is left, the next part last.
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    let mut led = Led {
        real: PathBuf::from("/"),
        is_there: true,
        ..Led::default()
    };
    while let Some(next) = left.pop() {
        let mut components = next.components();
        let Some(first) = components.next() else {
            continue;
        };
        let rest = components.as_path().to_owned();
        if !rest.as_os_str().is_empty() {
            left.push(rest);
        }
        match first {
            Component::RootDir => led.real = PathBuf::from("/"),
            Component::ParentDir => {
                if led.is_there {
                    led.dirs.push(led.real.clone());
                }
                led.real.pop();
            }
            Component::Normal(name) => {
                let candidate = led.real.join(name);
                let found = match led.is_there {
                    true => look(&candidate)?,
                    false => Found::Missing,
                };
                match found {
                    Found::Thing => led.real = candidate,
                    Found::Missing => {
                        led.is_there = false;
                        led.real = candidate;
                    }
                    Found::Link(target) => {
                        let end = left
                            .iter()
                            .rev()
                            .fold(candidate.clone(), |to, part| to.join(part));
                        if led.links.len() == MOST_LINKS {
                            led.is_there = false;
                            led.real = end;
                            return Ok(led);
                        }
                        led.through.push(end);
                        left.push(target.clone());
                        led.links.push((candidate, target));
                    }
                }
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(led)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a path where these links are, and these things.
    fn led(path: &str, links: &[(&str, &str)], things: &[&str]) -> Led {
        let look = |at: &Path| {
            let link = links.iter().find(|(from, _)| at == Path::new(from));
            Ok::<_, io::Error>(match link {
                Some((_, to)) => Found::Link(to.into()),
                None if things.iter().any(|thing| at == Path::new(thing)) => Found::Thing,
                None => Found::Missing,
            })
        };
        follow(Path::new(path), look).expect("it can be looked at")
    }

    fn through(led: &Led) -> Vec<&str> {
        let names = led.through.iter();
        names.map(|name| name.to_str().expect("text")).collect()
    }

    #[test]
    fn every_link_on_the_way_is_a_name_of_the_end() {
        let links = [
            ("/a/profile", "hop"),
            ("/a/hop", "../b/dir/profile"),
            ("/b/dir", "/c"),
        ];
        let things = ["/a", "/b", "/c", "/c/profile"];
        let there = led("/a/profile", &links, &things);
        assert_eq!(there.real, Path::new("/c/profile"));
        assert!(there.is_there);
        assert_eq!(through(&there), ["/a/profile", "/a/hop", "/b/dir/profile"]);
        assert_eq!(there.dirs, [Path::new("/a")]);
        let plain = led("/c/profile", &links, &things);
        assert_eq!((plain.is_there, through(&plain)), (true, vec![]));
    }

    #[test]
    fn what_is_missing_is_where_it_would_be_made() {
        let links = [("/a/l", "missing"), ("/a/d", "/x/y"), ("/a/up", "no/../z")];
        for (path, real) in [
            ("/a/l", "/a/missing"),
            ("/a/l/x", "/a/missing/x"),
            ("/a/d/e/f", "/x/y/e/f"),
            ("/a/up", "/a/z"),
            ("/b/c", "/b/c"),
        ] {
            let missing = led(path, &links, &["/a"]);
            assert_eq!(missing.real, Path::new(real), "{path}");
            assert!(!missing.is_there, "{path}");
        }
    }

    #[test]
    fn a_circle_ends() {
        let circle = led("/a/x", &[("/a", "/b"), ("/b", "a")], &[]);
        assert!(!circle.is_there);
        assert_eq!(circle.real.file_name(), Some("x".as_ref()));
        assert!(through(&circle).contains(&"/b/x"));
    }
}
