//! What the runtime and a container's supervisor say to each other: one JSON object each way.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::launch::Mechanism;
use crate::launch::container::{Masked, Oracle, WayOutShape};
use crate::launch::group::GroupRecord;
use crate::oci::container::policy::{EgressFrom, Texts};
use crate::oci::container::record::ProcessRecord;
use crate::oci::secrets::Credential;
use crate::policy::Absent;

/// What a supervisor begins with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Beginning {
    /// The container's id.
    pub id: String,
    /// The container's directory.
    pub dir: PathBuf,
    /// Its first process, which waits for the start.
    pub first: ProcessRecord,
    /// Its control group.
    pub group: GroupRecord,
    /// Its program and arguments.
    pub program: Vec<String>,
    /// The names of its policy's documents, lowest first.
    pub layers: Vec<String>,
    /// What holds.
    pub mechanisms: Vec<Mechanism>,
    /// What is taken away by mounts. Where there is something of it, or of `absent`, the container's root is the first
    /// descriptor beside this.
    pub masks: Vec<Masked>,
    /// Names at which nothing may come to be.
    pub absent: Vec<Absent>,
    /// How long the program may run.
    pub wall: Option<Duration>,
    /// How many bytes its processes may write to their standard output and standard error together.
    /// What they write comes by the descriptors beside this.
    pub output: Option<u64>,
    /// The log of events, if anything is recorded.
    pub events: Option<PathBuf>,
    /// What it decides by, where the container has a channel or a network.
    pub judging: Option<Judging>,
    /// Whether the container has a channel. The listener and the segment come as the next descriptors.
    pub channel: bool,
    /// What there is to know of the container's network, whose descriptors come next.
    pub way_out: Option<Leading>,
}

/// Where a container's way out leads.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leading {
    /// What comes by descriptors.
    pub shape: WayOutShape,
    /// What it takes to read its requests, where they are read.
    pub reading: Option<Reading>,
    /// In whose network its supervisor makes the connections.
    pub from: EgressFrom,
    /// The text of the resolv.conf(5) that the container was given.
    pub resolvers: Option<String>,
}

/// What it takes to read a container's requests. What its programs trust comes by descriptors, after the network's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reading {
    /// How many those are.
    pub descriptors: usize,
    /// What is put into requests.
    pub credentials: Vec<Credential>,
}

/// A container's policy, and the world in which it decides.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judging {
    /// The policy.
    pub texts: Texts,
    /// The world.
    pub oracle: Oracle,
}

/// What a verb is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The program begins.
    Start,
    /// A further process joins.
    Exec {
        /// Its program and arguments.
        program: Vec<String>,
        /// Its user id, as the container counts.
        uid: u32,
    },
    /// A signal is sent.
    Kill {
        /// Its number.
        signal: i32,
    },
    /// All processes are frozen.
    Pause,
    /// They go on.
    Resume,
    /// The limits are changed.
    Update {
        /// As `linux.resources` of a configuration.
        resources: serde_json::Value,
    },
}

/// What the supervisor says to a [`Beginning`] or a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is recorded, or there is nothing to record it in.
    Done,
    /// It cannot be, and must not be done.
    Refused {
        /// Why, and what to do.
        cause: String,
    },
}
