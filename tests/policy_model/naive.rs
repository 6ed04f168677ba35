//! The language read slowly and literally, without any of the code under test.

use std::path::Path;

use buntime::policy::{Grant, Perm, Verdict};

use super::Model;

fn verdict(name: &str) -> Verdict {
    match name {
        "allow" => Verdict::Allow,
        "warn" => Verdict::Warn,
        "ask" => Verdict::Ask,
        _ => Verdict::Deny,
    }
}

fn normal(path: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name.to_owned()),
        }
    }
    names
}

/// Recursive and exponential, as a definition may be.
fn covers(pattern: &[String], path: &[String]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return true;
    };
    if first == "**" {
        return (0..=path.len()).any(|skip| covers(rest, &path[skip..]));
    }
    path.split_first().is_some_and(|(name, below)| {
        let first: Vec<char> = first.chars().collect();
        let name: Vec<char> = name.chars().collect();
        fits(&first, &name) && covers(rest, below)
    })
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
        (['?', rest @ ..], [_, below @ ..]) => fits(rest, below),
        (['[', 'a', 'b', ']', rest @ ..], [first, below @ ..]) => {
            "ab".contains(*first) && fits(rest, below)
        }
        (['[', '!', 'a', ']', rest @ ..], [first, below @ ..]) => {
            *first != 'a' && fits(rest, below)
        }
        ([one, rest @ ..], [other, below @ ..]) => one == other && fits(rest, below),
        _ => false,
    }
}

fn covered(pattern: &str, path: &str) -> bool {
    covers(&normal(pattern), &normal(path))
}

/// Deny > ask > warn > allow in a layer, then the bundle, then the default; the worst of all.
fn meet(says: Vec<(Option<Verdict>, Option<Verdict>)>, bundle: bool) -> Verdict {
    let bundle = bundle.then_some(Verdict::Allow);
    let worst = says
        .into_iter()
        .filter_map(|(rule, default)| rule.or(bundle).or(default))
        .max();
    worst.or(bundle).unwrap_or(Verdict::Deny)
}

/// A section that allows anything and has no default denies the rest.
fn default(
    written: Option<&str>,
    mut actions: impl Iterator<Item = &'static str>,
) -> Option<Verdict> {
    written.map(verdict).or_else(|| {
        actions
            .any(|action| action != "deny")
            .then_some(Verdict::Deny)
    })
}

pub fn naive_exec(layers: &[Model], path: &str) -> Verdict {
    let says = layers.iter().map(|layer| {
        let rules = layer
            .exec
            .iter()
            .filter(|(_, pattern)| covered(pattern, path));
        let actions = layer.exec.iter().map(|(action, _)| *action);
        (
            rules.map(|(action, _)| verdict(action)).max(),
            default(layer.exec_default, actions),
        )
    });
    meet(says.collect(), false)
}

/// Whether any program but the command may run.
fn anything_runs(layers: &[Model]) -> bool {
    let rules = || {
        layers
            .iter()
            .flat_map(|layer| &layer.exec)
            .filter(|(action, _)| *action != "deny")
    };
    let globs = rules().any(|(_, pattern)| plain(pattern).contains(['*', '?', '[']));
    globs
        || naive_exec(layers, "/") != Verdict::Deny
        || rules().any(|(_, path)| naive_exec(layers, plain(path)) != Verdict::Deny)
}

/// What is below a path is covered in any case, so that `**` at the end says nothing.
fn plain(pattern: &str) -> &str {
    let shorter = pattern.strip_suffix("/**");
    shorter
        .filter(|shorter| !shorter.is_empty())
        .unwrap_or(pattern)
}

pub fn naive_fs(layers: &[Model], bundle: &[Grant], path: &str, perm: Perm) -> Verdict {
    if perm == Perm::WriteDir {
        let parts = [
            "remove_dir",
            "remove_file",
            "make_dir",
            "make_reg",
            "make_sock",
            "make_fifo",
            "make_sym",
        ];
        let parts = parts.into_iter().filter_map(Perm::from_name);
        return parts
            .map(|part| naive_fs(layers, bundle, path, part))
            .max()
            .unwrap_or(Verdict::Deny);
    }
    let runs = anything_runs(layers);
    let says = layers.iter().map(|layer| {
        let concerned = |perms: &Option<Vec<&str>>| {
            let Some(perms) = perms else { return true };
            let device = matches!(perm, Perm::MakeChar | Perm::MakeBlock);
            let change = perm.name().starts_with("make_") || perm.name().starts_with("remove_");
            perms.contains(&perm.name()) || (perms.contains(&"write_dir") && change && !device)
        };
        let rules = layer
            .fs
            .iter()
            .filter(|(_, pattern, perms)| covered(pattern, path) && concerned(perms));
        let programs = layer.exec.iter().filter(|(action, pattern)| {
            let read = matches!(perm, Perm::ReadFile | Perm::Execute);
            let concerned = (*action != "deny" && read) || (*action == "deny" && runs);
            pattern != "/" && concerned && covered(pattern, path)
        });
        let shown = |action: &str| if action == "deny" { "deny" } else { "allow" };
        let rules = rules
            .map(|(action, _, _)| verdict(action))
            .chain(programs.map(|(action, _)| verdict(shown(action))));
        let actions = layer.fs.iter().map(|(action, _, _)| *action);
        (rules.max(), default(layer.fs_default, actions))
    });
    let names = normal(path);
    let inside = bundle.iter().any(|grant| {
        grant.perms.contains(perm) && covers(&normal(&grant.path.display().to_string()), &names)
    });
    meet(says.collect(), inside)
}

pub fn naive_net(layers: &[Model], host: &str, port: u16) -> Verdict {
    let matches = |target: &str| match target {
        "" => true,
        "*.a.example" => host.ends_with(".a.example"),
        "10.0.0.0/8" => host.starts_with("10."),
        "127.0.0.0/8" => host.starts_with("127."),
        name => name == host,
    };
    let own = host.starts_with("127.");
    // Of a private address nothing speaks that does not name such addresses, but a denial.
    let private = host.starts_with("10.");
    let named = |action: &str, target: &str| !private || action == "deny" || target == "10.0.0.0/8";
    let says = layers.iter().map(|layer| {
        let rules = layer
            .net
            .iter()
            .filter(|(_, target, at)| matches(target) && at.is_none_or(|at| at == port))
            .filter(|(action, target, _)| named(action, target));
        let closed = |default: Verdict| match private && default.permits() {
            true => Verdict::Deny,
            false => default,
        };
        let actions = layer.net.iter().map(|(action, _, _)| *action);
        (
            rules.map(|(action, _, _)| verdict(action)).max(),
            default(layer.net_default, actions).map(closed),
        )
    });
    meet(says.collect(), own)
}

/// Whether an exec rule of some layer covers the path.
pub fn names_a_program(layers: &[Model], path: &str) -> bool {
    let path = if Path::new(path).is_absolute() {
        path
    } else {
        "/"
    };
    layers
        .iter()
        .flat_map(|layer| &layer.exec)
        .any(|(_, pattern)| covered(pattern, path))
}
