//! The answers of the oracle that are about more than one permission of one path: moving, and
//! changing what is known of a file.

use std::path::Path;

use super::merge::Policy;
use super::names::Names;
use super::perm::{Perm, PermSet};
use super::request::{Decision, Request, RuleRef, Verdict};

/// What gives something a name.
const MAKING: PermSet = PermSet::ENTRIES
    .without(Perm::RemoveFile)
    .without(Perm::RemoveDir);

/// What is done with what a thing holds, and goes with it under another name.
const CONTENTS: PermSet = PermSet::FILE.with(Perm::ReadDir);

impl Policy {
    /// Whether what is at `from` may get the name `to`, by a rename or a hard link, without
    /// anything becoming permitted by that: for reading, writing and executing with any digest, and for
    /// changes of what is known of it, the verdict at `to` is no less severe. Of a directory (`dir`)
    /// that holds for every permission and everything that could lie below it. Both are absolute paths without symbolic links, the moved name included.
    /// An exchange of two paths has to be carried both ways.
    ///
    /// It speaks of moving alone: removing at the one place and making at the other are permissions
    /// of their own.
    ///
    /// # Errors
    /// A rule that would be lost. For a directory it may be one that would not: rules that are
    /// written differently are taken to mean different things. A call then fails with EXDEV, as
    /// under Landlock, and programs fall back to copying.
    pub fn carries(&self, from: &Path, to: &Path, dir: bool) -> Result<(), RuleRef> {
        let (Some(names), Some(others)) = (Names::of(from), Names::of(to)) else {
            return Err(RuleRef::named("malformed request", "malformed request"));
        };
        for index in [&self.fs, &self.exec] {
            if let Some(rule) = index.loses(names.as_slice(), others.as_slice(), dir) {
                return Err(index.numbered(rule).clone());
            }
        }
        let held = self.change(from);
        match !dir && self.change(to).verdict < held.verdict {
            true => Err(held.rule),
            false => Ok(()),
        }
    }

    /// Whether what is at `from` may get the name `to`: as [`Policy::carries`], and of a directory (`dir`)
    /// also that nothing in it comes to a name below `to` at which a rule lets nobody make it.
    ///
    /// # Errors
    /// A rule that would be lost, or one that would be passed; for a directory it may be one that would not.
    pub fn moves(&self, from: &Path, to: &Path, dir: bool) -> Result<(), RuleRef> {
        self.carries(from, to, dir)?;
        let (Some(names), Some(others)) = (Names::of(from), Names::of(to)) else {
            return Err(RuleRef::named("malformed request", "malformed request"));
        };
        let fs = &self.fs;
        let passed = match dir {
            true => fs.denies_more(names.as_slice(), others.as_slice(), MAKING),
            false => None,
        };
        passed.map_or(Ok(()), |rule| Err(fs.numbered(rule).clone()))
    }

    /// The permissions about which somebody is asked at `from`, and has to be before what is there gets
    /// another name: an answer is for a name, and another may have been given for the new one.
    ///
    /// # Errors
    /// A rule that asks about something that could lie below a directory (`dir`): of each of these
    /// nobody could be asked. A call then fails with EXDEV.
    pub fn asked_to_carry(&self, from: &Path, dir: bool) -> Result<PermSet, RuleRef> {
        let names = Names::of(from);
        let asks_below = names.filter(|_| dir);
        let below = asks_below.and_then(|names| self.fs.asks_below(names.as_slice(), CONTENTS));
        if let Some(rule) = below {
            return Err(self.fs.numbered(rule).clone());
        }
        let verdict = |perm| self.decide(&Request::Fs { path: from, perm }).verdict;
        Ok(CONTENTS
            .iter()
            .filter(|perm| verdict(*perm) == Verdict::Ask)
            .collect())
    }

    /// Whether a call may be made. As [`Policy::decide`]; but a name is made and removed in the
    /// directory around it, of which a rule that names it alone does not speak: such a rule can take
    /// that away and not give it. What it gives holds for names in it.
    pub fn operation(&self, request: &Request<'_>) -> Decision {
        let decision = self.decide(request);
        let Request::Fs { path, perm } = *request else {
            return decision;
        };
        match Names::of(path).filter(|_| PermSet::ENTRIES.contains(perm)) {
            Some(names) => {
                let around = self.fs.decide_around(names.as_slice(), perm);
                match around.verdict > decision.verdict {
                    true => Decision {
                        verdict: around.verdict,
                        rule: self.fs.rule(around).clone(),
                    },
                    false => decision,
                }
            }
            None => decision,
        }
    }

    /// Whether mode, owner, times and attributes of a path may be changed: the least severe verdict
    /// over [`PermSet::CHANGE`]. Who may change nothing at a path may not change these either.
    pub fn change(&self, path: &Path) -> Decision {
        let decisions = PermSet::CHANGE
            .iter()
            .map(|perm| self.decide(&Request::Fs { path, perm }));
        let mildest = decisions.min_by_key(|decision| decision.verdict);
        mildest.unwrap_or_else(|| Decision {
            verdict: Verdict::Deny,
            rule: RuleRef::named("malformed request", "malformed request"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::{Layer, Vars};
    use super::*;

    /// A policy that denies by default, with these rules about files and programs.
    fn policy(fs: &str, exec: &str) -> Policy {
        let text = format!(
            r#"{{"version": 1, "defaults": {{"fs": "deny", "exec": "deny"}},
                "fs": {{"rules": [{fs}]}}, "exec": {{"rules": [{exec}]}}}}"#
        );
        let vars = Vars::of("/w".into(), None);
        let layer = Layer::parse(text.as_bytes(), "p.json", &vars).unwrap();
        Policy::merge(vec![layer], Vec::new()).unwrap()
    }

    fn moves(policy: &Policy, from: &str, to: &str, dir: bool) -> bool {
        policy.carries(Path::new(from), Path::new(to), dir).is_ok()
    }

    #[test]
    fn what_is_done_to_a_name_stays_its_directorys() {
        let policy = policy(
            r#"{"action": "allow", "path": "/w", "perms": ["read_file", "write_file"]},
                {"action": "allow", "path": "/w/d", "perms": ["read_file", "write_file", "write_dir"]},
                {"action": "allow", "path": "/r", "perms": ["read_file"]},
                {"action": "allow", "path": "/r/d", "perms": ["read_file", "write_dir"]}"#,
            "",
        );
        assert!(moves(&policy, "/w/x", "/w/d/x", false));
        assert!(!moves(&policy, "/w/x", "/w/d/x", true));
        // Its mode could be changed there, and not here.
        assert!(!moves(&policy, "/r/x", "/r/d/x", false));
    }

    #[test]
    fn what_is_asked_about_is_asked_about_before_it_moves() {
        let policy = policy(
            r#"{"action": "allow", "path": "/w"}, {"action": "ask", "path": "/w/p", "perms": ["read_file"]},
                {"action": "ask", "path": "/w/q/*.key", "perms": ["write_file", "make_reg"]}"#,
            "",
        );
        let asked = |path: &str, dir| policy.asked_to_carry(Path::new(path), dir);
        let reading = Ok(PermSet::of(&[Perm::ReadFile]));
        assert_eq!(asked("/w/p/x", false), reading);
        assert_eq!(asked("/w/p", true), reading);
        assert_eq!(asked("/w/q/x", false), Ok(PermSet::NONE));
        assert_eq!(
            asked("/w/q/a.key", false),
            Ok(PermSet::of(&[Perm::WriteFile]))
        );
        assert_eq!(asked("/w/r", true), Ok(PermSet::NONE));
        for (dir, rule) in [("/w/q", "fs[2]"), ("/w", "fs[1]")] {
            assert_eq!(asked(dir, true).unwrap_err().what, rule, "{dir}");
        }
    }

    const WORK: &str = r#"{"action": "allow", "path": "/w"}"#;

    #[test]
    fn ordinary_work_goes_on() {
        let policy = policy(
            &format!(
                r#"{WORK}, {{"action": "deny", "path": "/w/**/*.key"}}, {{"action": "warn", "path": "/w/log"}},
                {{"action": "deny", "path": "/w/.env"}}"#
            ),
            "",
        );
        for (from, to) in [("/w/a", "/w/b"), ("/w/a/x", "/w/y"), ("/w/a", "/w/log/a")] {
            assert!(moves(&policy, from, to, false), "{from} {to}");
            assert!(moves(&policy, from, to, true), "{from} {to}");
        }
        assert!(moves(&policy, "/w/a.tmp", "/w/a.key", false));
        for (from, to, rule) in [
            ("/w/a.key", "/w/a", "fs[1]"),
            ("/w/log/a", "/w/a", "fs[2]"),
            ("/w/.env", "/w/env", "fs[3]"),
            ("/x", "/w/x", "defaults.fs"),
        ] {
            let error = policy.carries(Path::new(from), Path::new(to), false);
            assert_eq!(error.unwrap_err().what, rule, "{from} {to}");
        }
        assert!(!moves(&policy, "x", "/w/x", false));
    }

    #[test]
    fn a_name_is_its_directorys_to_give() {
        let policy = policy(
            r#"{"action": "allow", "path": "/r", "perms": ["read_file"]}, {"action": "allow", "path": "/r/out"},
            {"action": "allow", "path": "/r/*.csv"}, {"action": "allow", "path": "/r/d/**"},
            {"action": "allow", "path": "/w"}, {"action": "deny", "path": "/w/kept"}, {"action": "warn", "path": "/w/noted"}"#,
            "",
        );
        let verdict = |path: &str, perm| {
            let path = Path::new(path);
            policy.operation(&Request::Fs { path, perm }).verdict
        };
        for (path, perm, verdict_of) in [
            ("/r/out", Perm::RemoveDir, Verdict::Deny),
            ("/r/out", Perm::MakeReg, Verdict::Deny),
            ("/r/out", Perm::WriteFile, Verdict::Allow),
            ("/r/out/x", Perm::MakeReg, Verdict::Allow),
            ("/r/x.csv", Perm::MakeReg, Verdict::Allow),
            ("/r/d", Perm::RemoveDir, Verdict::Deny),
            ("/r/d/x", Perm::RemoveDir, Verdict::Allow),
            ("/w/x", Perm::RemoveFile, Verdict::Allow),
            ("/w/kept", Perm::RemoveFile, Verdict::Deny),
            ("/w/noted", Perm::RemoveFile, Verdict::Warn),
            ("/", Perm::RemoveDir, Verdict::Deny),
            ("x", Perm::MakeReg, Verdict::Deny),
        ] {
            assert_eq!(verdict(path, perm), verdict_of, "{path} {perm}");
        }
    }

    #[test]
    fn a_directory_takes_no_file_out_of_a_rule() {
        let secret = format!(r#"{WORK}, {{"action": "deny", "path": "/w/a/secret"}}"#);
        let keys = format!(
            r#"{WORK}, {{"action": "allow", "path": "/x"}}, {{"action": "deny", "path": "/w/*/*.key"}}"#
        );
        let (secret, keys) = (policy(&secret, ""), policy(&keys, ""));
        assert!(!moves(&secret, "/w/a", "/w/b", true));
        assert!(
            moves(&secret, "/w/a", "/w/b", false),
            "a file has none below"
        );
        assert!(moves(&secret, "/w/b", "/w/a", true));
        assert!(moves(&keys, "/w/a", "/w/b", true));
        assert!(moves(&keys, "/x/a", "/w/a", true));
        assert!(!moves(&keys, "/w/a", "/x/a", true));
        assert!(!moves(&keys, "/w/a", "/w/b/c", true));
        // Below what is denied more may be allowed: that is lost and not gained.
        let open = policy(r#"{"action": "allow", "path": "/w/a/b"}"#, "");
        assert!(moves(&open, "/w/a", "/w/c", true));
        assert!(!moves(&open, "/w/c", "/w/a", true));
    }

    #[test]
    fn a_directory_brings_nothing_to_where_it_could_not_be_made() {
        let hooks = format!(r#"{WORK}, {{"action": "deny", "path": "/w/.git/hooks"}}"#);
        let keys = format!(
            r#"{WORK}, {{"action": "deny", "path": "/w/**/keys/*", "perms": ["make_reg"]}}"#
        );
        let read = format!(
            r#"{WORK}, {{"action": "deny", "path": "/w/a/b", "perms": ["read_file", "remove_file"]}}"#
        );
        let moves = |fs: &str, from: &str, to: &str| {
            let (from, to) = (Path::new(from), Path::new(to));
            policy(fs, "").moves(from, to, true).is_ok()
        };
        assert!(!moves(&hooks, "/w/g", "/w/.git"));
        assert!(moves(&hooks, "/w/g", "/w/h"));
        assert!(moves(&hooks, "/w/g", "/w/.git/refs"));
        assert!(!moves(&keys, "/w/x", "/w/keys"));
        assert!(moves(&keys, "/w/x", "/w/y"));
        assert!(moves(&keys, "/w/a/keys", "/w/keys"));
        assert!(!moves(&keys, "/w/x", "/w/keys/x/y"));
        assert!(moves(&keys, "/w/keys/x/z", "/w/keys/x/y"));
        // What cannot be read there may be brought there.
        assert!(moves(&read, "/w/g", "/w/a"));
        assert!(
            policy(&hooks, "")
                .moves(Path::new("/w/g"), Path::new("/w/.git"), false)
                .is_ok()
        );
    }

    #[test]
    fn a_program_gets_no_name_under_which_it_may_run() {
        let digest = "a".repeat(64);
        let exec = format!(
            r#"{{"action": "allow", "path": "/w/bin"}}, {{"action": "allow", "path": "/w/x", "sha256": "{digest}"}},
            {{"action": "allow", "path": "/w/y", "sha256": "{digest}"}}"#
        );
        let policy = policy(WORK, &exec);
        assert!(!moves(&policy, "/w/tool", "/w/bin/tool", false));
        assert!(!moves(&policy, "/w/tool", "/w/x", false));
        assert!(moves(&policy, "/w/x", "/w/y", false));
        assert!(moves(&policy, "/w/x", "/w/tool", false));
        assert!(moves(&policy, "/w/x/a", "/w/y", true));
        assert!(!moves(&policy, "/w", "/w/bin", true));
    }
}
