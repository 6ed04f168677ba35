//! Of which files a process is made that has just executed a program: that program and, where it
//! names one, its interpreter. The kernel opens both by itself, by paths that somebody may have changed
//! since they were looked at, and neither needs to have its name any more.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};

use super::view::View;
use crate::sys::memory::Mapping;

/// Whether everything that is mapped into a thread's memory from files is one of `expected`, which
/// are open for reading.
pub(super) fn is_made_of(view: &View, thread: u32, expected: &[&OwnedFd]) -> bool {
    // What a mapping is called is not always what fstat(2) says of the file, as on an overlay: so each is
    // mapped here too.
    let mapped: Result<Vec<Mapping>, _> = expected.iter().map(Mapping::of).collect();
    let (Ok(mapped), Ok(own)) = (mapped, maps(view, "self")) else {
        return false;
    };
    let called = mapped.iter().map(|mapping| called(&own, mapping));
    let Some(called) = called.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let Ok(theirs) = maps(view, &thread.to_string()) else {
        return false;
    };
    let mut lines = lines(&theirs).peekable();
    lines.peek().is_some()
        && lines.all(|line| {
            line.is_some_and(|line| line.file.is_none_or(|file| called.contains(&file)))
        })
}

fn maps(view: &View, process: &str) -> Result<Vec<u8>, std::io::Error> {
    let path = format!("{process}/maps");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let maps = openat(&view.processes, path, flags, Mode::empty())?;
    let mut text = Vec::new();
    File::from(maps).read_to_end(&mut text)?;
    Ok(text)
}

/// A mapped file: its device as the kernel writes it, and its inode.
type Called<'t> = (&'t [u8], u64);

/// A line of /proc/PID/maps (proc_pid_maps(5)).
#[derive(Debug, PartialEq, Eq)]
struct Line<'t> {
    first: u64,
    /// `None` for memory that is of no file.
    file: Option<Called<'t>>,
}

/// `None` for each line that is none.
fn lines(text: &[u8]) -> impl Iterator<Item = Option<Line<'_>>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(line)
}

fn line(text: &[u8]) -> Option<Line<'_>> {
    let number =
        |text: &[u8], base| u64::from_str_radix(std::str::from_utf8(text).ok()?, base).ok();
    let mut fields = text.split(|byte| *byte == b' ');
    let first = fields.next()?.split(|byte| *byte == b'-').next()?;
    let device = fields.nth(2)?;
    let inode = number(fields.next()?, 10)?;
    Some(Line {
        first: number(first, 16)?,
        file: (inode != 0).then_some((device, inode)),
    })
}

/// What the file of a mapping of ours is called in our own list.
fn called<'t>(own: &'t [u8], mapping: &Mapping) -> Option<Called<'t>> {
    let mut lines = lines(own).flatten();
    lines.find(|line| line.first == mapping.address())?.file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_file_is_mapped() {
        let of = |text: &'static str| line(text.as_bytes());
        let file = Some(("fe:00".as_bytes(), 42));
        for path in ["/usr/bin/a b", "/a\\012b (deleted)", ""] {
            let text = format!("7f00-7f01 r-xp 00000000 fe:00 42                         {path}");
            assert_eq!(
                line(text.as_bytes()),
                Some(Line {
                    first: 0x7f00,
                    file
                }),
                "{path}"
            );
        }
        let memory = Some(Line {
            first: 0x7f00,
            file: None,
        });
        assert_eq!(
            of("7f00-7f01 rw-p 00000000 00:00 0                          [stack]"),
            memory
        );
        assert_eq!(of("7f00-7f01 rw-p 00000000 00:00 0 "), memory);
        assert_eq!(of("7f00-7f01 rw-p 00000000 00:00 x /a"), None);
        assert_eq!(of("7f00-7f01"), None);
    }

    #[test]
    fn a_process_is_made_of_its_program_and_what_else_it_maps() {
        let view = View::open().expect("/proc is mounted");
        let program = std::fs::canonicalize("/usr/bin/sleep").expect("a program");
        let mut child = std::process::Command::new(&program)
            .arg("60")
            .spawn()
            .expect("it runs");
        let open = |path: &std::path::Path| OwnedFd::from(File::open(path).expect("it is there"));
        let (file, other) = (open(&program), open("/usr/bin/true".as_ref()));
        let made_of = |files: &[&OwnedFd]| is_made_of(&view, child.id(), files);
        // Once it sleeps there are its libraries too, and whatever else it maps.
        let state = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&state)
            .expect("a state")
            .contains(") S ")
        {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut files = vec![&file];
        assert!(!made_of(&[]) && !made_of(&[&other]));
        let text = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).expect("a list");
        let paths = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5));
        let paths = paths.filter(|path| path.starts_with('/') && !path.ends_with("/sleep"));
        let others: Vec<OwnedFd> = paths.map(|path| open(path.as_ref())).collect();
        files.extend(&others);
        let is_whole = made_of(&files);
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        assert!(is_whole);
    }
}
