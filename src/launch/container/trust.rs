//! Whom the programs of a container trust whose requests are read: a file in the [`folder`](super::folder),
//! which the supervisor fills before anything of the container's runs.
//!
//! Beside the supervisor's own certificate there is to be what the image trusts, as programs would find it
//! without us. That is the image's word, and counts for its own programs alone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

use super::word::{Word, tell_with};
use crate::launch::Failure;

/// The file's name in the folder.
pub const TRUSTED: &str = "trusted.pem";

/// The most bytes of it.
pub(super) const MOST: u64 = 2 << 20;

/// The most bytes of an image's own: written anew they are no more than half as long again.
pub const MOST_OF_IMAGE: u64 = 1 << 20;

/// Where images have certificates in one file: Debian and Alpine, Fedora, openSUSE, and what OpenSSL itself
/// looks for.
const STORES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The supervisor's ends.
#[derive(Debug)]
pub struct TrustEnds {
    /// The file to be filled.
    pub file: File,
    /// What the image trusts, if that is said anywhere.
    pub of_image: Option<File>,
}

impl TrustEnds {
    /// In the order in which [`TrustEnds::from_carried`] takes them.
    pub fn to_carry(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(&self.file)
            .chain(&self.of_image)
            .map(AsFd::as_fd)
    }

    /// `None` when there is nothing.
    #[must_use]
    pub fn from_carried(carried: impl IntoIterator<Item = OwnedFd>) -> Option<TrustEnds> {
        let mut carried = carried.into_iter().map(File::from);
        Some(TrustEnds {
            file: carried.next()?,
            of_image: carried.next(),
        })
    }
}

/// What its programs trust without us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The file that its configuration names for that, by `SSL_CERT_FILE`.
    pub named: Option<String>,
}

impl Trust {
    /// Makes the file in the folder, and gives the runtime its ends.
    ///
    /// # Errors
    /// What the kernel says; what the image has there cannot be read.
    pub(super) fn open(
        &self,
        folder: BorrowedFd<'_>,
        root: BorrowedFd<'_>,
        words: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        let fail = |operation| {
            move |cause: io::Error| Failure::new(operation, "the container's certificates", cause)
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, TRUSTED, flags, Mode::from_raw_mode(0o444));
        let file = file.map_err(|errno| fail("make")(errno.into()))?;
        let named = self.named.as_deref().into_iter();
        let mut of_image = None;
        for path in named.chain(STORES) {
            let found = store(root, path).map_err(|cause| {
                Failure::new("read", format!("the image's certificates, {path}"), cause)
            })?;
            if let Some(found) = found {
                of_image = Some(File::from(found));
                break;
            }
        }
        let ends = TrustEnds {
            file: file.into(),
            of_image,
        };
        let descriptors: Vec<_> = ends.to_carry().collect();
        tell_with(words, &Word::Trust, &descriptors).map_err(fail("hand over"))
    }
}

/// A file of the image's, if it is there. No name of it leads out of the image, through a descriptor or to what the
/// kernel says of this process.
fn store(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        found => found?,
    };
    // Before it is opened: what a device does then is its own.
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
    let is_of_kernel = rustix::fs::fstatfs(&place)?.f_type == PROC_SUPER_MAGIC;
    if kind != FileType::RegularFile || is_of_kernel {
        return Err(io::Error::other("it is no regular file of the image"));
    }
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(Some(File::open(place)?.into()))
}
