//! The layer of a run that is learned from.

use std::path::Path;

use crate::policy::flags::PROGRAM_FOLDERS;
use crate::policy::layer::{DefaultRule, FsRule, Layer};
use crate::policy::matching::PathPattern;
use crate::policy::perm::PermSet;
use crate::policy::request::{RuleRef, Verdict};

impl Layer {
    /// The same layer for a run that is learned from: what the flags allow is there, and what is there
    /// may be used; each use of it, and each program that is run, is decided as it happens. What the
    /// layer denies by name stays denied, and so does the network.
    #[must_use]
    pub fn learning(mut self) -> Layer {
        let rule = RuleRef::named(&self.name, "--learn");
        let allowed = self.fs.iter_mut();
        for allowed in allowed.filter(|rule| rule.action == Verdict::Allow) {
            allowed.action = Verdict::Warn;
        }
        // Every program is shown to this run, and only those that it uses to the next.
        for folder in PROGRAM_FOLDERS {
            if let Ok(pattern) = PathPattern::literal(Path::new(folder)) {
                self.fs.push(FsRule {
                    action: Verdict::Warn,
                    pattern,
                    perms: PermSet::READ,
                    rule: rule.clone(),
                });
            }
        }
        let default = |verdict| DefaultRule {
            perms: PermSet::ALL,
            verdict,
            rule: rule.clone(),
        };
        self.fs_defaults = vec![default(Verdict::Warn)];
        self.exec_default = Some(default(Verdict::Allow));
        self.audit.enabled = true;
        self.audit.events.push(EXECUTIONS.to_owned());
        self.learns = true;
        self
    }
}

/// The kind of events that executions are.
const EXECUTIONS: &str = "exec";
