//! The programs that rules let run by name, for whoever looks what the kernel needs to start them.

use std::path::PathBuf;

use super::index::Reach;
use super::merge::{ExecMode, Policy};
use super::names::Names;
use super::perm::Perm;
use super::request::Verdict;

/// A path at which some rule lets a program run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedProgram {
    /// The path as the rule names it, or where its pattern begins: a program, or a directory of programs.
    pub path: PathBuf,
    /// Whether it runs whatever it contains, without being recorded or asked about.
    pub freely: bool,
}

impl Policy {
    /// What rules let run by name, sorted. Nothing where only the command runs, or whatever is visible.
    #[must_use]
    pub fn named_programs(&self) -> Vec<NamedProgram> {
        if self.mode != ExecMode::Programs {
            return Vec::new();
        }
        let rules = self.layers.iter().flat_map(|layer| &layer.exec);
        let mut named: Vec<NamedProgram> = rules
            .filter(|rule| rule.action != Verdict::Deny)
            .filter_map(|rule| self.named_program(rule.pattern.place()))
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    fn named_program(&self, path: PathBuf) -> Option<NamedProgram> {
        let names = Names::of(&path)?;
        let names = names.as_slice();
        let possible = self.exec.possible(names, Reach::Patterns);
        let allowed = possible.allowed.contains(Perm::Execute);
        let freely = self.exec.decide(names, Perm::Execute, None).verdict == Verdict::Allow;
        allowed.then_some(NamedProgram { path, freely })
    }
}
