//! The layer of a run that is learned from.

use std::path::Path;

use crate::policy::flags::PROGRAM_FOLDERS;
use crate::policy::layer::{DefaultRule, FsRule, Layer};
use crate::policy::matching::PathPattern;
use crate::policy::perm::{Perm, PermSet};
use crate::policy::request::{RuleRef, Verdict};

impl Layer {
    /// The same layer for a run that is learned from: it lets through what the layer allows, and every
    /// program of the system; each use of that is decided as it happens. What the layer denies, by
    /// name or by default, stays denied.
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
        // What is there may be run, if it may be read.
        let execute = PermSet::of(&[Perm::Execute]);
        for default in &mut self.fs_defaults {
            default.perms = default.perms.difference(execute);
        }
        self.fs_defaults.push(DefaultRule {
            perms: execute,
            verdict: Verdict::Warn,
            rule: rule.clone(),
        });
        self.exec_default = Some(DefaultRule {
            perms: PermSet::ALL,
            verdict: Verdict::Allow,
            rule,
        });
        self.audit.enabled = true;
        self.audit.events.push(EXECUTIONS.to_owned());
        self.learns = true;
        self
    }
}

/// The kind of events that executions are.
const EXECUTIONS: &str = "exec";
