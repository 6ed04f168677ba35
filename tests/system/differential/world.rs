//! The tree that calls are made in, and what a path means in it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Component, Path, PathBuf};

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Link,
    Fifo,
    Socket,
}

/// The seconds since 1970 that a file gets whose times are changed.
const CHANGED: i64 = 86400;

/// Fills an empty folder with what the policies and calls speak of. Somebody listens on its sockets
/// as long as these are kept.
pub fn plant(root: &Path) -> Vec<UnixListener> {
    for folder in ["a/sub", "b", "d/empty"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    for file in [
        "a/x.txt",
        "a/k.pem",
        "a/sub/y.txt",
        "b/x.txt",
        "b/k.pem",
        "top.txt",
    ] {
        fs::write(root.join(file), file).expect("a file");
    }
    fs::hard_link(root.join("a/x.txt"), root.join("b/hard")).expect("a link");
    symlink("a", root.join("link")).expect("a link");
    symlink("link", root.join("hop")).expect("a link");
    symlink("../b/x.txt", root.join("a/l")).expect("a link");
    symlink("..", root.join("a/up")).expect("a link");
    symlink("nowhere", root.join("b/dangling")).expect("a link");
    let listening = ["b/sock", "a/sub/sock"].map(|socket| {
        let path = root.join(socket);
        UnixListener::bind(path).expect("a socket")
    });
    open_to_all(root);
    listening.into()
}

fn open_to_all(path: &Path) {
    let is_dir = path.symlink_metadata().expect("an entry").is_dir();
    if path.is_symlink() {
        return;
    }
    let mode = if is_dir { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode is changed");
    if is_dir {
        for entry in fs::read_dir(path).expect("a folder is read") {
            open_to_all(&entry.expect("an entry").path());
        }
    }
}

/// Everything in a tree, one line each: path, mode, contents and what was changed of it.
pub fn described(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("a folder is read") {
            let path = entry.expect("an entry").path();
            let found = path.symlink_metadata().expect("an entry");
            let name = path
                .strip_prefix(root)
                .expect("it is below")
                .display()
                .to_string();
            let mode = found.permissions().mode();
            let content = match kind_of(&path) {
                Some(Kind::File) => {
                    String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned()
                }
                Some(Kind::Link) => fs::read_link(&path).expect("a link").display().to_string(),
                Some(Kind::Dir) => {
                    left.push(path);
                    String::new()
                }
                _ => String::new(),
            };
            let attribute = if found.is_symlink() {
                ""
            } else {
                attribute(&root.join(&name))
            };
            let times = if found.mtime() == CHANGED { " +t" } else { "" };
            lines.push(format!("{name} {mode:o} {content:?}{attribute}{times}"));
        }
    }
    lines.sort();
    lines
}

fn attribute(path: &Path) -> &'static str {
    let mut value = [0; 8];
    match rustix::fs::getxattr(path, c"user.x", &mut value[..]) {
        Ok(_) => " +x",
        Err(_) => "",
    }
}

/// All names that the file has in the tree.
pub fn same_file(root: &Path, path: &Path) -> Vec<PathBuf> {
    let object = |path: &Path| {
        let found = path.symlink_metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    let wanted = object(path);
    let (mut names, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("a folder is read") {
            let found = entry.expect("an entry").path();
            if wanted.is_some() && object(&found) == wanted {
                names.push(found.clone());
            }
            if kind_of(&found) == Some(Kind::Dir) {
                left.push(found);
            }
        }
    }
    names
}

/// What stands at the path itself.
pub fn kind_of(path: &Path) -> Option<Kind> {
    let found = path.symlink_metadata().ok()?.file_type();
    Some(
        match (found.is_dir(), found.is_symlink(), found.is_file()) {
            (true, _, _) => Kind::Dir,
            (_, true, _) => Kind::Link,
            (_, _, true) => Kind::File,
            _ if found.is_socket() => Kind::Socket,
            _ => Kind::Fifo,
        },
    )
}

/// What a path is without its links, and the names that it leads through: each begins with a link.
pub fn without_links(path: &Path) -> (PathBuf, Vec<PathBuf>) {
    let (mut path, mut through) = (path.to_owned(), Vec::new());
    loop {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        let link = above.into_iter().find(|above| above.is_symlink());
        let Some(link) = link.map(Path::to_owned) else {
            return (path, through);
        };
        assert!(through.len() < 40, "{}", path.display());
        let rest = path.strip_prefix(&link).expect("it is above").to_owned();
        through.push(path);
        let target = fs::read_link(&link).expect("a link");
        path = link.parent().expect("a folder").to_owned();
        for part in target.components().chain(rest.components()) {
            match part {
                // No folder on the way there is a link.
                Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
    }
}

/// Where a path of the tree leads: the path without links, which may not exist yet itself.
/// `None` where its folder is not there.
pub fn leads(root: &Path, path: &str, follow: bool) -> Option<PathBuf> {
    leads_within(root, path, follow, 40)
}

fn leads_within(root: &Path, path: &str, follow: bool, links: usize) -> Option<PathBuf> {
    let full = root.join(path);
    if follow && let Ok(real) = full.canonicalize() {
        return Some(real);
    }
    if follow && kind_of(&full) == Some(Kind::Link) {
        let target = full.parent()?.join(fs::read_link(&full).ok()?);
        let relative = target.strip_prefix(root).ok()?.to_str()?.to_owned();
        return leads_within(root, &relative, true, links.checked_sub(1)?);
    }
    match Path::new(path).components().next_back() {
        Some(Component::Normal(name)) => Some(full.parent()?.canonicalize().ok()?.join(name)),
        _ => full.canonicalize().ok(),
    }
}
