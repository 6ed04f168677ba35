//! Layers and the bundle's allows become one policy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::{self, Index, MAX_LAYERS, Reach};
use super::layer::Layer;
use super::limits::{Approval, Audit, Limits, OnViolation, Plugins};
use super::links::{Links, places};
use super::matching::PathPattern;
use super::names::Names;
use super::perm::{Grant, Perm, PermSet};
use super::plan::{Entry, EntryKind, World};
use super::request::{RuleRef, Verdict};
use super::widen;

/// The layers do not fit together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MergeError {
    /// A flag asks for more than a file gives.
    #[error(
        "{flag} would widen the policy: {rule} does not allow {what}; a flag can only narrow a --policy file, so change the file or leave the flag out"
    )]
    Widens {
        /// The flag as it was given.
        flag: String,
        /// What it asks for.
        what: String,
        /// The rule that stands against it.
        rule: RuleRef,
    },
    /// Too many layers to be meant.
    #[error("{0} policies are given at once; the most is {MAX_LAYERS}")]
    TooMany(usize),
    /// The bundle grants something that is no absolute path.
    #[error("the bundle grants {}, which is not an absolute path", .0.display())]
    Bundle(PathBuf),
}

/// Which programs the rules let run, before the world is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ExecMode {
    /// None but the command.
    Once,
    /// Those that rules name.
    Programs,
    /// All but those that rules name.
    Any,
}

/// The merged policy: the oracle.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) layers: Arc<[Layer]>,
    pub(super) bundle: Arc<[Grant]>,
    pub(super) fs: Index,
    pub(super) exec: Index,
    pub(super) mode: ExecMode,
    /// Whether the worker has a loopback of its own.
    pub(super) own_loopback: bool,
    limits: Limits,
    audit: Audit,
    on_violation: OnViolation,
    approval: Approval,
    required: Plugins,
    learns: bool,
}

impl Policy {
    /// Merges the layers, lowest first; a layer can only narrow. `bundle` is what the bundle
    /// allows: it stands inside each layer, before its default.
    pub fn merge(layers: Vec<Layer>, bundle: Vec<Grant>) -> Result<Policy, MergeError> {
        // One place is kept for the programs that an allow-list of programs hides.
        if layers.len() >= MAX_LAYERS {
            return Err(MergeError::TooMany(layers.len()));
        }
        if let Some(grant) = bundle
            .iter()
            .find(|grant| PathPattern::literal(&grant.path).is_err())
        {
            return Err(MergeError::Bundle(grant.path.clone()));
        }
        let bundle: Arc<[Grant]> = bundle.into();
        if layers.iter().any(|layer| layer.narrows) {
            let (flags, files): (Vec<Layer>, Vec<Layer>) =
                layers.iter().cloned().partition(|layer| layer.narrows);
            let files = Policy::build(files.into(), bundle.clone(), None);
            for layer in &flags {
                widen::check(layer, &files)?;
            }
        }
        Ok(Policy::build(layers.into(), bundle, None))
    }

    /// The same policy after looking up what its rules name in the snapshot.
    ///
    /// A rule then also covers the real path behind symbolic links, the bundle grants the
    /// command and its loaders, and under an allow-list of programs the other programs in
    /// library directories are hidden. Decide with this one once there is a world.
    #[must_use]
    pub fn resolve(&self, world: &World) -> Policy {
        Policy::build(self.layers.clone(), self.bundle.clone(), Some(world))
    }

    /// Whether every program that is visible may run, but for those that a rule denies.
    #[must_use]
    pub fn lets_every_program_run(&self) -> bool {
        self.mode == ExecMode::Any
    }

    /// Whether what the program at this path contains matters to some rule.
    #[must_use]
    pub fn compares_digest_of(&self, path: &Path) -> bool {
        Names::of(path).is_some_and(|names| self.exec.compares_digest_of(names.as_slice()))
    }

    /// The absolute literal paths that fs and exec rules name, and those at which their patterns
    /// begin, sorted.
    pub fn literal_paths(&self) -> Vec<PathBuf> {
        let named = |pattern: &PathPattern| pattern.as_literal().or_else(|| pattern.beginning());
        let paths: BTreeSet<PathBuf> = self
            .patterns()
            .filter_map(|(_, pattern)| named(pattern))
            .collect();
        paths.into_iter().collect()
    }

    /// Those of them of which a rule does more than allow, and the root where a pattern begins there.
    #[must_use]
    pub fn strict_paths(&self) -> BTreeSet<PathBuf> {
        let strict = self
            .patterns()
            .filter(|(action, _)| *action != Verdict::Allow);
        strict.map(|(_, pattern)| pattern.place()).collect()
    }

    fn patterns(&self) -> impl Iterator<Item = (Verdict, &PathPattern)> {
        self.layers.iter().flat_map(|layer| {
            let files = layer.fs.iter().map(|rule| (rule.action, &rule.pattern));
            files.chain(layer.exec.iter().map(|rule| (rule.action, &rule.pattern)))
        })
    }

    /// Whether what happens under it is learned from.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.learns
    }

    /// What a run may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same policy with other rules about files and programs, and this recorded.
    pub(super) fn deciding_by(
        self,
        fs: Index,
        exec: Index,
        (mode, audit): (ExecMode, Audit),
    ) -> Policy {
        Policy {
            fs,
            exec,
            mode,
            audit,
            ..self
        }
    }

    /// What is recorded.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// How what is asked is answered.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// What happens after a violation.
    pub fn on_violation(&self) -> OnViolation {
        self.on_violation
    }

    /// The isolation without which the start must fail.
    pub fn required(&self) -> Plugins {
        self.required
    }

    fn build(layers: Arc<[Layer]>, bundle: Arc<[Grant]>, world: Option<&World>) -> Policy {
        let links = Links::of(world);
        let mut exec = exec_index(&layers, &links);
        let mode = exec_mode(&exec, &layers, &links);
        let container = world.and_then(|world| world.container.as_ref());
        // What runs in a container is named by others than the policy, so what an exec rule denies
        // is hidden there also where nothing but one program runs.
        let hiding = match container {
            Some(_) if mode == ExecMode::Once => ExecMode::Any,
            _ => mode,
        };
        let mut fs = fs_index(&layers, &bundle, &links, hiding);
        let ends = container
            .into_iter()
            .flat_map(|container| container.volumes.iter().chain(&container.closed));
        for path in ends.filter_map(|path| PathPattern::literal(path).ok()) {
            fs.close_to_bundle(path.components());
        }
        if let Some(world) = world {
            for path in host_paths_over_private_places(&layers, world) {
                fs.close_to_bundle(path.components());
            }
            let started = world.command.iter().chain(&world.loaders);
            for path in started.filter_map(|path| PathPattern::literal(links.real(path)).ok()) {
                grant(&mut fs, &path, PermSet::PROGRAM);
                if mode != ExecMode::Once {
                    grant(&mut exec, &path, PermSet::of(&[Perm::Execute]));
                }
            }
        }
        let exec = exec.finish();
        if let (Some(world), ExecMode::Programs) = (world, mode) {
            hide_helpers(&mut fs, &exec, world, &links, layers.len());
        }
        Policy {
            fs: fs.finish(),
            exec,
            mode,
            own_loopback: world.is_none_or(|world| world.namespaces && world.container.is_none()),
            limits: layers
                .iter()
                .map(|layer| layer.limits)
                .fold(Limits::default(), Limits::meet),
            audit: audit(&layers),
            on_violation: layers
                .iter()
                .map(|layer| layer.on_violation)
                .max()
                .unwrap_or_default(),
            approval: layers
                .iter()
                .map(|layer| &layer.approval)
                .fold(Approval::default(), Approval::meet),
            required: layers
                .iter()
                .map(|layer| layer.plugins)
                .fold(Plugins::default(), Plugins::union),
            learns: layers.iter().any(|layer| layer.learns),
            layers,
            bundle,
        }
    }
}

/// Every kind of event that some layer asks for; a layer that names none asks for all.
fn audit(layers: &[Layer]) -> Audit {
    let enabled: Vec<&Audit> = layers
        .iter()
        .map(|layer| &layer.audit)
        .filter(|audit| audit.enabled)
        .collect();
    let mut events: BTreeSet<String> = enabled
        .iter()
        .flat_map(|audit| audit.events.iter().cloned())
        .collect();
    // What is had in any case beside what others name.
    if !events.is_empty() && enabled.iter().any(|audit| audit.events.is_empty()) {
        events.extend(["lifecycle", "limits"].map(str::to_owned));
    }
    Audit {
        enabled: !enabled.is_empty(),
        events: events.into_iter().collect(),
    }
}

/// The bundle's private places are its own to give, and a host path that a rule shows below one
/// (`/tmp/data` over the private `/tmp`) is not: there the bundle's allows end.
pub(super) fn host_paths_over_private_places(layers: &[Layer], world: &World) -> Vec<PathPattern> {
    let files = layers.iter().flat_map(|layer| &layer.fs);
    let programs = layers.iter().flat_map(|layer| &layer.exec);
    let rules = files
        .map(|rule| (rule.action, &rule.pattern))
        .chain(programs.map(|rule| (rule.action, &rule.pattern)));
    let shown = rules
        .filter(|(action, _)| *action != Verdict::Deny)
        .filter_map(|(_, pattern)| world.entries.get(&pattern.as_literal()?));
    let over = |entry: &&Entry| {
        let below = |place: &PathBuf| entry.real != *place && entry.real.starts_with(place);
        entry.kind != EntryKind::Missing && !entry.in_bundle && world.private.iter().any(below)
    };
    shown
        .filter(over)
        .filter_map(|entry| PathPattern::literal(&entry.real).ok())
        .collect()
}

fn grant(index: &mut Index, path: &PathPattern, perms: PermSet) {
    index.insert(&index::Entry {
        layer: index.bundle(),
        components: path.components(),
        perms,
        verdict: Verdict::Allow,
        sha256: None,
        rule: &RuleRef::bundle(),
    });
}

/// The rule to name when no layer says anything at all.
fn floor(layers: &[Layer], what: &str) -> RuleRef {
    match layers.first() {
        Some(layer) => RuleRef::named(&layer.name, what),
        None => RuleRef::named("no policy", "no policy"),
    }
}

fn exec_index(layers: &[Layer], links: &Links<'_>) -> Index {
    let mut index = Index::new(layers.len(), floor(layers, "defaults.exec"));
    for (number, layer) in layers.iter().enumerate() {
        if let Some(default) = &layer.exec_default {
            index.default(number, default.perms, default.verdict, &default.rule);
        }
        for rule in &layer.exec {
            for place in places(rule.action, &rule.pattern, links) {
                index.insert(&index::Entry {
                    layer: number,
                    components: place.components(),
                    perms: PermSet::of(&[Perm::Execute]),
                    verdict: rule.action,
                    sha256: rule.sha256.as_deref(),
                    rule: &rule.rule,
                });
            }
        }
    }
    index
}

fn exec_mode(index: &Index, layers: &[Layer], links: &Links<'_>) -> ExecMode {
    let index = index.clone().finish();
    // A program whose digest no rule names.
    let other = Some("");
    let open = |path: &Path| {
        Names::of(path).is_some_and(|names| {
            let outcome = index.decide(names.as_slice(), Perm::Execute, other);
            outcome.verdict != Verdict::Deny
        })
    };
    if open(Path::new("/")) {
        return ExecMode::Any;
    }
    let rules = layers.iter().flat_map(|layer| &layer.exec);
    let mut named = rules
        .filter(|rule| rule.action != Verdict::Deny)
        .flat_map(|rule| places(rule.action, &rule.pattern, links))
        .filter_map(|place| place.as_literal());
    if index.conditionals_permit() || named.any(|path| open(&path)) {
        ExecMode::Programs
    } else {
        ExecMode::Once
    }
}

fn fs_index(layers: &[Layer], bundle: &[Grant], links: &Links<'_>, mode: ExecMode) -> Index {
    // The layer after the last is for the helpers that an allow-list of programs hides.
    let mut index = Index::new(layers.len() + 1, floor(layers, "defaults.fs"));
    for (number, layer) in layers.iter().enumerate() {
        for default in &layer.fs_defaults {
            index.default(number, default.perms, default.verdict, &default.rule);
        }
        for rule in &layer.fs {
            for place in places(rule.action, &rule.pattern, links) {
                index.insert(&index::Entry {
                    layer: number,
                    components: place.components(),
                    perms: rule.perms,
                    verdict: rule.action,
                    sha256: None,
                    rule: &rule.rule,
                });
            }
        }
        shown_and_hidden_programs(&mut index, number, layer, links, mode);
    }
    for (path, perms) in bundle
        .iter()
        .map(|grant| (PathPattern::literal(&grant.path), grant.perms))
    {
        if let Ok(path) = path {
            grant(&mut index, &path, perms);
        }
    }
    index
}

/// A program that may run can be read, and one that must not run can not: whatever can be read
/// can be loaded by ld.so. Where nothing runs but the command there is no need to hide.
fn shown_and_hidden_programs(
    index: &mut Index,
    number: usize,
    layer: &Layer,
    links: &Links<'_>,
    mode: ExecMode,
) {
    for rule in &layer.exec {
        let perms = match rule.action {
            Verdict::Deny if mode == ExecMode::Once || rule.sha256.is_some() => continue,
            Verdict::Deny => PermSet::ALL,
            Verdict::Allow | Verdict::Warn | Verdict::Ask => PermSet::PROGRAM,
        };
        // A rule about everything speaks of what is visible; it shows and hides nothing.
        if rule.pattern.components().is_empty() {
            continue;
        }
        // Whether it runs is the exec section's to say: there it is recorded, asked or compared.
        let verdict = match rule.action {
            Verdict::Deny => Verdict::Deny,
            _ => Verdict::Allow,
        };
        for place in places(rule.action, &rule.pattern, links) {
            index.insert(&index::Entry {
                layer: number,
                components: place.components(),
                perms,
                verdict,
                sha256: None,
                rule: &rule.rule,
            });
        }
    }
}

/// Programs in library directories lie on mounts from which code is mapped, so ld.so could
/// load them: those that may not run are hidden.
fn hide_helpers(fs: &mut Index, exec: &Index, world: &World, links: &Links<'_>, layer: usize) {
    for path in world.helpers.iter().map(|path| links.real(path)) {
        let (Some(names), Ok(pattern)) = (Names::of(path), PathPattern::literal(path)) else {
            continue;
        };
        let outcome = exec.decide(names.as_slice(), Perm::Execute, None);
        let possible = exec.possible(names.as_slice(), Reach::Path);
        if !possible.allowed.contains(Perm::Execute) {
            fs.insert(&index::Entry {
                layer,
                components: pattern.components(),
                perms: PermSet::ALL,
                verdict: Verdict::Deny,
                sha256: None,
                rule: exec.rule(outcome),
            });
        }
    }
}
