//! Reads config.json: every error names the field, and what cannot be carried out is refused by
//! name before anything is touched.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

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
    let unread = |source| ConfigError::Unread {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST + 1), &mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > LARGEST {
        return Err(unread(std::io::Error::other("it is larger than 16 MiB")));
    }
    let spec = parse(&bytes)?;
    Ok((bytes, spec))
}

/// Parses a configuration.
///
/// # Errors
/// Names the field that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Spec, ConfigError> {
    parse_as("config", bytes)
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
