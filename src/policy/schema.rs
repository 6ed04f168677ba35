//! The published JSON Schema, checked by a validator that is not ours.
//!
//! Loading does not pay for it: building the validator takes longer than a whole start. Tests
//! hold that both accept and refuse the same shapes.

use super::shipped::SCHEMA;

/// The schema could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The text is no JSON.
    #[error("the document is no JSON: {0}")]
    Document(#[source] serde_json::Error),
    /// The schema inside the program is broken.
    #[error("the built-in schema cannot be used: {0}")]
    Schema(String),
}

/// What the schema has against a document, each with the JSON Pointer of its place; empty when
/// the document fits.
pub fn schema_violations(text: &[u8]) -> Result<Vec<String>, SchemaError> {
    let document = serde_json::from_slice(text).map_err(SchemaError::Document)?;
    let broken = |error: String| SchemaError::Schema(error);
    let schema = serde_json::from_str(SCHEMA).map_err(|error| broken(error.to_string()))?;
    let validator =
        jsonschema::draft202012::new(&schema).map_err(|error| broken(error.to_string()))?;
    let errors = validator.iter_errors(&document);
    Ok(errors
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect())
}
