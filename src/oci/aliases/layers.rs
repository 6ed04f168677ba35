//! The layers of overlays, whose directories can be shown beside the overlay.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{join, overlap, own};
use crate::sys::mountinfo::Mount;

/// What the kernel says of overlays that were mounted without saying it.
const REDIRECTS: &str = "/sys/module/overlay/parameters/redirect_dir";

/// How often something is looked for in what was found. An overlay may have overlays as layers and may not
/// be a layer of theirs (`FILESYSTEM_MAX_STACK_DEPTH` of linux/fs.h is 2): two layers down and two up, and
/// another mount before, between and after.
const FURTHEST: usize = 7;

/// A directory whose contents an overlay shows.
pub(super) struct Layer<'m> {
    overlay: &'m Mount<'m>,
    directory: PathBuf,
    /// Whether everything has the same name in both.
    keeps_names: bool,
}

/// The layers that are there: the names of others are those of another root.
pub(super) fn of<'m>(mounts: &'m [Mount<'m>]) -> Vec<Layer<'m>> {
    let mut found = Vec::new();
    for overlay in mounts {
        let layers = overlay.layers();
        let redirects = !layers.is_empty() && redirects(overlay);
        for layer in layers {
            let Ok(directory) = layer.directory.canonicalize() else {
                continue;
            };
            // What an overlay is mounted over has no name any more.
            let is_covered =
                own(mounts, &directory).is_some_and(|own| own.device == overlay.device);
            if !is_covered {
                found.push(Layer {
                    overlay,
                    directory,
                    keeps_names: !layer.is_data && !redirects,
                });
            }
        }
    }
    found
}

/// Whether a directory of an overlay can be one of another name in its layers: so it is when it is renamed
/// on one that can be written.
fn redirects(overlay: &Mount<'_>) -> bool {
    let has = |begin: &[u8]| {
        let mut options = overlay.options_of_all.split(|byte| *byte == b',');
        options.any(|option| option.starts_with(begin))
    };
    let by_itself = || std::fs::read(REDIRECTS).is_ok_and(|said| said.starts_with(b"Y"));
    let redirects = has(b"redirect_dir=on") || has(b"metacopy=on");
    has(b"upperdir=") && (redirects || (!has(b"redirect_dir=") && by_itself()))
}

impl Layer<'_> {
    /// Where the layer has what the overlay shows at a place on it.
    fn below(&self, place: &Path) -> PathBuf {
        let inner = place.strip_prefix(&self.overlay.point);
        let inner = inner.map(|inner| join(&self.overlay.root, inner));
        match inner.as_deref().map(|inner| inner.strip_prefix("/")) {
            Ok(Ok(inner)) if self.keeps_names => join(&self.directory, inner),
            _ => self.directory.clone(),
        }
    }

    /// What of a place, which is in the layer or around it, the overlay shows, and where.
    fn above(&self, place: &Path) -> Option<(PathBuf, PathBuf)> {
        let (inner, part) = match place.strip_prefix(&self.directory) {
            Ok(inner) => (join(Path::new("/"), inner), place),
            Err(_) if self.directory.starts_with(place) => (PathBuf::from("/"), &*self.directory),
            Err(_) => return None,
        };
        match self.keeps_names {
            true => overlap((&inner, part), self.overlay),
            false => Some((part.to_owned(), self.overlay.point.clone())),
        }
    }
}

/// A place that has what `of` has.
struct Open {
    of: PathBuf,
    place: PathBuf,
    /// Whether the layers of what is there have it too: an overlay that was found from one of its layers
    /// has the others for other things.
    descends: bool,
    /// Whether everything has the same name in both.
    keeps_names: bool,
    /// How often more may be looked for from there.
    left: usize,
}

/// What is at `path`, or below it, and is shown by another mount, an overlay or a layer of one too: what
/// that is, and where.
pub(super) fn elsewhere(
    mounts: &[Mount<'_>],
    layers: &[Layer<'_>],
    path: &Path,
) -> BTreeSet<(PathBuf, PathBuf)> {
    if layers.is_empty() {
        return super::elsewhere(mounts, path).into_iter().collect();
    }
    let mut found = BTreeSet::new();
    let mut open = vec![Open {
        of: path.to_owned(),
        place: path.to_owned(),
        descends: true,
        keeps_names: true,
        left: FURTHEST,
    }];
    while let Some(at) = open.pop() {
        let Some(left) = at.left.checked_sub(1) else {
            continue;
        };
        for (part, place, descends, keeps_names) in steps(mounts, layers, &at) {
            let of = match part.strip_prefix(&at.place) {
                Ok(below) if at.keeps_names => join(&at.of, below),
                _ => at.of.clone(),
            };
            let keeps_names = at.keeps_names && keeps_names;
            // What leads back.
            let is_own = own(mounts, &of).is_some_and(|own| own.point == place);
            let is_same = of == place || (is_own && !keeps_names);
            if !is_same && found.insert((of.clone(), place.clone())) {
                open.push(Open {
                    of,
                    place,
                    descends,
                    keeps_names,
                    left,
                });
            }
        }
    }
    found
}

/// What of an open place can be had elsewhere, where, and the rest of [`Open`].
fn steps(
    mounts: &[Mount<'_>],
    layers: &[Layer<'_>],
    at: &Open,
) -> Vec<(PathBuf, PathBuf, bool, bool)> {
    let mut steps = Vec::new();
    let place = &*at.place;
    let own = own(mounts, place).map(|own| own.id);
    for layer in layers {
        let point = &*layer.overlay.point;
        if at.descends && own == Some(layer.overlay.id) {
            steps.push((
                place.to_owned(),
                layer.below(place),
                true,
                layer.keeps_names,
            ));
        } else if at.descends && point.starts_with(place) {
            steps.push((
                point.to_owned(),
                layer.below(point),
                true,
                layer.keeps_names,
            ));
        }
        if let Some((part, shown)) = layer.above(place) {
            steps.push((part, shown, false, layer.keeps_names));
        }
    }
    let shown = super::elsewhere(mounts, place).into_iter();
    steps.extend(shown.map(|(part, at)| (part, at, false, true)));
    steps
}
