//! The mounts of a mount namespace, as /proc/PID/mountinfo lists them (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount<'l> {
    /// Its number, as statx(2) says it of what is on it (`STATX_MNT_ID`).
    pub id: u64,
    /// The device of its file system, as `major:minor`.
    pub device: &'l [u8],
    /// Which part of its file system it shows.
    pub root: PathBuf,
    /// Where it is.
    pub point: PathBuf,
    /// Its own options, with commas between them.
    options: &'l [u8],
    /// The type of the file system; empty where the line has none.
    pub kind: &'l [u8],
    /// The options of the file system as a whole, with commas between them.
    pub options_of_all: &'l [u8],
}

/// A directory whose contents an overlay shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub directory: PathBuf,
    /// Whether it has contents alone, of files that have their names in other layers.
    pub is_data: bool,
}

impl Mount<'_> {
    /// Whether it has this option, such as `nodev`. Those of the file system as a whole are not asked.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        let mut options = self.options.split(|byte| *byte == b',');
        options.any(|one| one == option.as_bytes())
    }

    /// The layers of an overlay, as whoever mounted it named them; but for names that are relative. What
    /// is no overlay has none.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let layer = |directory, is_data| Layer { directory, is_data };
        let mut found = Vec::new();
        let options = match self.kind {
            b"overlay" => self.options_of_all,
            _ => b"",
        };
        for option in options.split(|byte| *byte == b',') {
            let mut parts = option.splitn(2, |byte| *byte == b'=');
            let (name, value) = (parts.next(), parts.next().unwrap_or_default());
            match name.unwrap_or_default() {
                b"lowerdir" => {
                    let mut is_data = false;
                    for directory in taken(value, Some(b':')) {
                        // Two colons stand before those.
                        is_data |= directory.as_os_str().is_empty();
                        found.push(layer(directory, is_data));
                    }
                }
                b"lowerdir+" | b"datadir+" | b"upperdir" => {
                    // Some kernels take a backslash for itself here, and some do not.
                    let both = std::iter::once(unescaped(value)).chain(taken(value, None));
                    let is_data = name == Some(b"datadir+");
                    found.extend(both.map(|directory| layer(directory, is_data)));
                }
                _ => {}
            }
        }
        // Where a name that is relative led from is told by nobody.
        found.retain(|layer| layer.directory.is_absolute());
        found.dedup();
        found
    }
}

/// The mounts of such a list, in its order. Lines that are none are passed over.
pub fn mounts(list: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    list.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (device, root) = (fields.nth(1)?, fields.next()?);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Mount {
            id,
            device,
            root: unescaped(root),
            point: unescaped(point),
            options,
            kind: fields.next().unwrap_or_default(),
            options_of_all: fields.nth(1).unwrap_or_default(),
        })
    })
}

/// The names in a field in which a backslash takes what follows it for itself. It stands as three octal
/// digits there, as a separator may that belongs to a name.
fn taken(field: &[u8], separator: Option<u8>) -> Vec<PathBuf> {
    let (mut names, mut name, mut is_taken) = (Vec::new(), Vec::new(), false);
    for (byte, is_escaped) in bytes(field) {
        match byte {
            b'\\' if !is_taken => is_taken = true,
            _ if !is_taken && !is_escaped && Some(byte) == separator => {
                names.push(std::mem::take(&mut name));
            }
            _ => {
                is_taken = false;
                name.push(byte);
            }
        }
    }
    names.push(name);
    let paths = names.into_iter().map(OsString::from_vec);
    paths.map(PathBuf::from).collect()
}

/// Blanks and backslashes stand as a backslash and three octal digits there.
fn unescaped(field: &[u8]) -> PathBuf {
    let bytes = bytes(field).map(|(byte, _)| byte);
    PathBuf::from(OsString::from_vec(bytes.collect()))
}

/// The bytes of a field, and whether each stood as digits.
fn bytes(field: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = field;
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                rest = &after[3..];
                Some((byte, true))
            }
            None => {
                rest = after;
                Some((*first, false))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_backslashes_are_read() {
        let unescaped = |field: &[u8]| unescaped(field).into_os_string();
        assert_eq!(unescaped(b"/a\\040b\\134"), "/a b\\");
        assert_eq!(unescaped(b"/a\\"), "/a\\");
    }

    #[test]
    fn the_layers_of_an_overlay_are_read() {
        let layers = |kind: &str, options: &str| {
            let line = format!("9 1 0:9 / /m rw - {kind} o rw,{options}\n");
            let layers = mounts(line.as_bytes()).next().expect("a mount").layers();
            let shown = |layer: &Layer| match layer.is_data {
                true => format!("data {}", layer.directory.display()),
                false => layer.directory.display().to_string(),
            };
            layers.iter().map(shown).collect::<Vec<_>>()
        };
        // A colon of a name is written by the person as `\:`, or by the kernel as digits.
        let list = "lowerdir=/a\\134:b:/c\\040d::/e\\072f,upperdir=/u\\134\\134v,workdir=/w";
        let found = layers("overlay", list);
        assert_eq!(found, ["/a:b", "/c d", "data /e:f", r"/u\\v", r"/u\v"]);
        let found = layers("overlay", "lowerdir+=/a:b,datadir+=/c,lowerdir=d");
        assert_eq!(found, ["/a:b", "data /c"]);
        assert_eq!(layers("ext4", "lowerdir=/a"), Vec::<String>::new());
    }

    #[test]
    fn a_line_is_read_to_its_type() {
        let list = b"23 1 0:21 / /a\\040b rw,nodev shared:1 - proc p ro\nno mount\n";
        let found: Vec<Mount<'_>> = mounts(list).collect();
        let [mount] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (mount.id, mount.point.to_str(), mount.kind),
            (23, Some("/a b"), &b"proc"[..])
        );
        assert_eq!(
            (mount.device, mount.root.to_str()),
            (&b"0:21"[..], Some("/"))
        );
        assert!(mount.has("rw") && mount.has("nodev") && !mount.has("ro"));
        assert_eq!(mount.options_of_all, b"ro");
    }
}
