//! The document: one line for each rule, and back.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Learned;
use super::facts::Facts;
use super::place::Place;
use crate::policy::document::{WrittenLimits, perms};
use crate::policy::layer::{Layer, LoadError, Vars};
use crate::policy::matching::PathPattern;
use crate::policy::perm::{Perm, PermSet};

/// The name by which a learned policy is known.
const NAME: &str = "learned";

const DESCRIPTION: &str = "Learned by buntime run --learn: what the runs so far did beyond what every \
    program has. Nothing of the network is in it, because nothing can allow it yet.";

/// How the description of a rule begins that says where files are moved to.
const MOVES: &str = "moves to ";

/// A text is not what was learned before.
#[derive(Debug, thiserror::Error)]
pub enum LearnedError {
    /// It is no policy.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// It is another policy.
    #[error(
        "{source_name} is no policy that --learn wrote: {what}; name another file, or one that is not there"
    )]
    Foreign {
        /// The file.
        source_name: String,
        /// What does not belong there.
        what: String,
    },
}

/// What is written, and nothing else is read back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: IgnoredAny,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default, rename = "plugins")]
    _plugins: IgnoredAny,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    fs: Section,
    #[serde(default)]
    exec: Section,
    #[serde(default, rename = "limits")]
    _limits: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    perms: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

impl Rule {
    fn allow(place: &Place, allowed: Option<PermSet>, description: Option<String>) -> Rule {
        let names = allowed.and_then(perms);
        Rule {
            action: "allow".to_owned(),
            path: place.pattern(),
            perms: names.map(|names| names.into_iter().map(str::to_owned).collect()),
            description,
        }
    }

    /// Not every program that reads what we write keeps to one line for each rule; people like it.
    fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Learned {
    /// The rules that are written.
    #[must_use]
    pub fn rules(&self) -> usize {
        let facts = self.closed();
        file_rules(&facts).len() + facts.programs.len()
    }

    /// The document. It is valid by the schema, and [`Learned::parse`] reads it back.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let facts = self.closed();
        let fs = file_rules(&facts);
        let programs = facts.programs.iter();
        let exec: Vec<Rule> = programs
            .map(|program| Rule::allow(program, None, None))
            .collect();
        let mut members = vec![
            ("version", "1".to_owned()),
            ("name", serde_json::to_string(NAME)?),
            ("description", serde_json::to_string(DESCRIPTION)?),
            ("plugins", serde_json::to_string(&self.plugins)?),
            (
                "defaults",
                r#"{"fs":"deny","net":"deny","exec":"deny"}"#.to_owned(),
            ),
        ];
        for (name, rules) in [("fs", fs), ("exec", exec)] {
            if !rules.is_empty() {
                members.push((name, section(&rules)?));
            }
        }
        let limits = WrittenLimits::from(self.limits);
        members.push(("limits", serde_json::to_string(&limits)?));
        let members: Vec<String> = members
            .into_iter()
            .map(|(name, value)| format!("  \"{name}\": {value}"))
            .collect();
        Ok(format!("{{\n{}\n}}\n", members.join(",\n")))
    }

    /// Reads what was learned before, as far as it is a policy that was learned; `source` names it in
    /// messages.
    ///
    /// # Errors
    /// What is wrong with it, or does not belong there.
    pub fn parse(text: &[u8], source: &str, vars: &Vars) -> Result<Learned, LearnedError> {
        let layer = Layer::parse(text, source, vars)?;
        let foreign = |what: String| LearnedError::Foreign {
            source_name: source.to_owned(),
            what,
        };
        let document: Document =
            serde_json::from_slice(text).map_err(|error| foreign(error.to_string()))?;
        if document.name != NAME {
            return Err(foreign(format!("its name is not {NAME:?}")));
        }
        let denies = |section: &str| document.defaults.get(section).is_some_and(|v| v == "deny");
        if !["fs", "net", "exec"].into_iter().all(denies) {
            return Err(foreign("its defaults are not deny".to_owned()));
        }
        let mut facts = Facts::default();
        let place = |rule: &Rule| {
            let pattern = PathPattern::parse(&rule.path, vars).ok();
            let place = pattern.as_ref().and_then(Place::read);
            let place = place.filter(|_| rule.action == "allow");
            place.ok_or_else(|| foreign(format!("of {} there is another rule", rule.path)))
        };
        for rule in &document.fs.rules {
            let named = rule.perms.as_ref().map(|names| {
                let perms = names.iter().filter_map(|name| Perm::from_name(name));
                let perms: PermSet = perms.collect();
                match perms.contains(Perm::WriteDir) {
                    true => perms.union(PermSet::WRITE_DIR),
                    false => perms,
                }
            });
            let from = place(rule)?;
            let to = rule.description.as_deref();
            if let Some(to) = to.and_then(|text| text.strip_prefix(MOVES)) {
                let pattern = PathPattern::parse(to, vars).ok();
                let to = pattern.as_ref().and_then(Place::read);
                let to = to.ok_or_else(|| foreign(format!("of {} nothing moves", rule.path)))?;
                facts.moves.insert((from.clone(), to));
            }
            facts.add(from, named.unwrap_or(PermSet::ALL));
        }
        for rule in &document.exec.rules {
            facts.programs.insert(place(rule)?);
        }
        Ok(Learned {
            facts,
            ..Learned::new(Some(&vars.home), layer.limits, layer.plugins)
        })
    }
}

fn file_rules(facts: &Facts) -> Vec<Rule> {
    let mut places: Vec<(&Place, PermSet)> = facts
        .exact
        .iter()
        .chain(&facts.coming)
        .map(|(place, perms)| (place, *perms))
        .collect();
    places.sort_by_key(|(place, _)| place.pattern());
    let mut rules: Vec<Rule> = places
        .into_iter()
        .map(|(place, perms)| Rule::allow(place, Some(perms), None))
        .collect();
    for (from, to) in &facts.moves {
        // What a file may be used for where it comes to, it may before.
        let perms = facts.covering(to);
        if !perms.is_empty() {
            let description = format!("{MOVES}{to}");
            rules.push(Rule::allow(from, Some(perms), Some(description)));
        }
    }
    rules
}

fn section(rules: &[Rule]) -> Result<String, serde_json::Error> {
    let lines = rules
        .iter()
        .map(|rule| rule.line().map(|line| format!("      {line}")));
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(format!(
        "{{\n    \"rules\": [\n{}\n    ]\n  }}",
        lines.join(",\n")
    ))
}
