//! The way of a process's output through the supervisor, where a policy limits what may be written.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::fstat;
use rustix::pipe::{PipeFlags, pipe_with};

/// Pipes in the place of the caller's standard output and standard error. One pipe takes both
/// where both lead to the same place, so that their order stays.
pub struct Outputs {
    /// What the process gets.
    inside: Option<[OwnedFd; 2]>,
    /// From a pipe, and to where the caller has it.
    copies: Vec<(OwnedFd, OwnedFd)>,
    /// Ends when the supervisor has copied all.
    copied: OwnedFd,
    copying: OwnedFd,
}

impl Outputs {
    /// Makes the pipes.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub(in crate::oci::container) fn make() -> io::Result<Outputs> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (first, out) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut copies = vec![(first, stdout.as_fd().try_clone_to_owned()?)];
        let place = |fd: BorrowedFd<'_>| fstat(fd).map(|found| (found.st_dev, found.st_ino));
        let error = match place(stdout.as_fd())? == place(stderr.as_fd())? {
            true => out.try_clone()?,
            false => {
                let (second, error) = pipe_with(PipeFlags::CLOEXEC)?;
                copies.push((second, stderr.as_fd().try_clone_to_owned()?));
                error
            }
        };
        let (copied, copying) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Outputs {
            inside: Some([out, error]),
            copies,
            copied,
            copying,
        })
    }

    /// What the process is to have as descriptors 1 and 2; once.
    pub(in crate::oci::container) fn take_inside(&mut self) -> Option<[OwnedFd; 2]> {
        self.inside.take()
    }

    /// What the supervisor gets: what is held until all is copied, and pairs of where to copy from
    /// and to.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let pairs = self.copies.iter();
        let pairs = pairs.flat_map(|(from, to)| [from.as_fd(), to.as_fd()]);
        std::iter::once(self.copying.as_fd()).chain(pairs).collect()
    }

    /// Waits until the supervisor has copied all, or is gone.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub(in crate::oci::container) fn wait_for_copies(self) -> io::Result<()> {
        drop((self.inside, self.copies, self.copying));
        std::fs::File::from(self.copied)
            .read_to_end(&mut Vec::new())
            .map(drop)
    }
}
