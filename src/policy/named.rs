//! The programs that rules let run by name, for whoever looks what the kernel needs to start them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::index::Reach;
use super::merge::{ExecMode, Policy};
use super::names::Names;
use super::perm::Perm;
use super::request::Verdict;

impl Policy {
    /// What rules may let run by name: programs, and directories of programs. Nothing where only the command
    /// runs, or whatever is visible.
    #[must_use]
    pub fn named_programs(&self) -> BTreeSet<PathBuf> {
        if self.mode != ExecMode::Programs {
            return BTreeSet::new();
        }
        let rules = self.layers.iter().flat_map(|layer| &layer.exec);
        rules
            .filter(|rule| rule.action != Verdict::Deny)
            .map(|rule| rule.pattern.place())
            .filter(|path| self.may_run(path))
            .collect()
    }

    fn may_run(&self, path: &Path) -> bool {
        Names::of(path).is_some_and(|names| {
            let possible = self.exec.possible(names.as_slice(), Reach::Patterns);
            possible.allowed.contains(Perm::Execute)
        })
    }
}
