//! The policy: what a worker may do, as pure values.
//!
//! It is for answering one question the same way everywhere: [`Policy::decide`] is the
//! oracle, and [`Policy::compile`] turns the same rules into a [`Plan`] that the kernel
//! carries out, or refuses by name what no mechanism can carry exactly.
//!
//! It trusts nothing that it reads: a policy file is bytes from anywhere, and no input makes
//! it panic, recurse without bound or hold more than a bounded amount of memory.
//!
//! It never looks at the world. [`Layer::load`] opens the one file that it is told; everything
//! else is given: directories to expand as [`Vars`], the state of paths as a [`World`].

mod amounts;
mod carry;
mod compile;
mod decide;
mod degrade;
mod document;
mod explain;
mod flags;
mod handed;
mod http;
mod index;
mod layer;
mod learn;
mod limits;
mod links;
mod lossy;
mod matching;
mod merge;
mod named;
mod names;
mod nearest;
mod net;
mod perm;
mod plan;
mod read;
mod refused;
mod request;
mod rules;
mod scan;
mod schema;
mod secrets;
mod shipped;
mod shown;
mod special;
mod unlikely;
mod widen;

pub use decide::{UNNAMED, UNREAD};
pub use degrade::{Degraded, degrade};
pub use explain::{Answer, Explanation, Url};
pub use flags::{Flags, Lifted, PROGRAM_FOLDERS};
pub use handed::LiveRules;
pub use http::{AMBIGUOUS, HttpRequest};
pub use layer::{Layer, LoadError, Problem, Vars};
pub use learn::{Learned, LearnedError, Observation, Unlearned};
pub use limits::{
    Approval, Audit, Limits, OnViolation, Plugins, Scope, parse_duration, parse_size,
};
pub use merge::{MergeError, Policy};
pub use perm::{Grant, Perm, PermSet};
pub use plan::{
    Absent, Alias, Bind, CHANNEL, Contained, Entry, EntryKind, ExecPlan, Intercept, LOADERS, Link,
    Mask, MaskKind, NetPlan, OWN_PLACES, Plan, RuleMechanism, World,
};
pub use refused::{Refusal, Refused, RestartNeeded};
pub use request::{Decision, Proto, Request, RuleOrigin, RuleRef, Verdict};
pub use scan::MAX_BYTES as MAX_POLICY_BYTES;
pub use schema::{SchemaError, schema_violations};
pub use secrets::{Secret, SecretSource};
pub use shipped::{SCHEMA, shipped_names, shipped_text};
pub use shown::{ShownPlan, ShownRule};
pub use special::HOST_NAME;
pub use unlikely::unlikely;
