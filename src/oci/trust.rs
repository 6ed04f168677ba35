//! Whom programs trust where the requests they make are read, and how they are told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::launch::Piece;
use crate::launch::container::TRUSTED;
use crate::policy::CHANNEL;

/// The variables by which programs are told where such certificates are: of OpenSSL and of what is built on
/// it, curl, Python's requests and pip, git, Node.js and Bun, Deno, Cargo and the AWS tools.
const VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];

fn path() -> PathBuf {
    Path::new(CHANNEL).join(TRUSTED)
}

/// The certificates, in PEM, where the programs of a sandbox find them.
pub(super) fn piece(trusted: &str) -> Piece {
    Piece::File {
        path: path(),
        bytes: trusted.as_bytes().to_vec().into(),
    }
}

/// The variables that tell programs of them, each with its value.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    let value = path().display().to_string();
    VARIABLES
        .into_iter()
        .map(move |name| (name.to_owned(), value.clone()))
}

/// The variables that tell programs of them, in the place of what `env` says.
pub(super) fn tell(env: &mut Vec<(OsString, OsString)>) {
    env.retain(|(name, _)| !VARIABLES.iter().any(|told| name == told));
    env.extend(variables().map(|(name, value)| (name.into(), value.into())));
}
