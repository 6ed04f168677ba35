//! Reads config.json: every error names the field, and what cannot be carried out is refused by
//! name before anything is touched.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, Hooks, Process, Spec};
use serde::Deserialize;
use serde_json::Value;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not JSON, or a field has another type than the specification gives it.
    #[error("config.json: {field}: {cause}")]
    Field {
        /// The field's path.
        field: String,
        /// What is wrong.
        cause: String,
    },
}

/// The largest file that is taken, in bytes.
const LARGEST: u64 = 16 << 20;

/// Reads `config.json` of a bundle: its bytes, and what they say.
///
/// # Errors
/// See [`ConfigError`].
pub fn read(path: &Path) -> Result<(Vec<u8>, Spec), ConfigError> {
    let bytes = read_bytes(path)?;
    match parse(&bytes) {
        Ok(spec) => Ok((bytes, spec)),
        Err(error) => {
            let known = without_unknown_capabilities(&error, &bytes).ok_or(error)?;
            let spec = parse(&known)?;
            Ok((known, spec))
        }
    }
}

/// Reads the hooks of a configuration, and of the rest only that it is JSON. One without hooks has
/// none of each kind.
///
/// # Errors
/// See [`ConfigError`].
pub fn read_hooks(path: &Path) -> Result<Hooks, ConfigError> {
    #[derive(Deserialize)]
    struct Hooked {
        hooks: Option<Hooks>,
    }
    let found: Hooked = parse_as("config", &read_bytes(path)?)?;
    Ok(found.hooks.unwrap_or_default())
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unread = |source| ConfigError::Unread {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unread)?.take(LARGEST + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unread)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(unread(std::io::Error::other("it is larger than 16 MiB"))),
        false => Ok(bytes),
    }
}

/// The configuration without the capabilities that nothing knows, where one of them is the error.
fn without_unknown_capabilities(error: &ConfigError, bytes: &[u8]) -> Option<Vec<u8>> {
    match error {
        ConfigError::Field { field, .. } if field.starts_with("process.capabilities.") => {}
        _ => return None,
    }
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    drop_unknown(document.pointer_mut("/process/capabilities")?);
    serde_json::to_vec(&document).ok()
}

/// The specification has a capability that is not known noted and left out: a caller may be of a
/// newer kernel's time.
fn drop_unknown(capabilities: &mut Value) {
    let sets = capabilities.as_object_mut().into_iter().flatten();
    for set in sets.filter_map(|(_, set)| set.as_array_mut()) {
        set.retain(|name| {
            let is_unknown = name.is_string() && Capability::deserialize(name).is_err();
            if is_unknown {
                tracing::warn!(%name, "a capability that is not known is left out");
            }
            !is_unknown
        });
    }
}

/// Parses a configuration.
///
/// # Errors
/// Names the field that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Spec, ConfigError> {
    parse_as("config", bytes)
}

/// Parses the process of an `exec`. One that names no user is the root's, as callers of runc have it.
///
/// # Errors
/// Names the field that is wrong.
pub fn parse_process(bytes: &[u8]) -> Result<Process, ConfigError> {
    let mut process: Value = parse_as("process", bytes)?;
    if let Some(capabilities) = process.get_mut("capabilities") {
        drop_unknown(capabilities);
    }
    if let Some(fields) = process.as_object_mut()
        && !fields.contains_key("user")
    {
        let root = serde_json::json!({"uid": 0, "gid": 0});
        fields.insert("user".to_owned(), root);
    }
    serde_path_to_error::deserialize(process).map_err(|error| ConfigError::Field {
        field: format!("process.{}", error.path()),
        cause: error.inner().to_string(),
    })
}

/// Parses one of the specification's documents.
///
/// # Errors
/// Names the field that is wrong.
pub fn parse_as<T: serde::de::DeserializeOwned>(
    whole: &str,
    bytes: &[u8],
) -> Result<T, ConfigError> {
    let field = |field: String, cause: serde_json::Error| ConfigError::Field {
        field,
        cause: cause.to_string(),
    };
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().to_string();
        let named = match path.as_str() {
            "." => whole.to_owned(),
            _ => path,
        };
        field(named, error.into_inner())
    })?;
    text.end().map_err(|error| field(whole.to_owned(), error))?;
    Ok(parsed)
}
