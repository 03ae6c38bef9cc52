//! What a cause, or the plain explanation, says about a case.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An explanation: what happened, how it is known, what to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// A fragment that reads well after a count: `refused by the reverse-path filter on lxc1`.
    pub title: String,
    /// A full sentence or two about this instance.
    pub summary: String,
    /// Structured facts, as documented in docs/events.md.
    pub facts: Value,
    /// Lines of proof.
    pub evidence: Vec<Line>,
    /// What to change, the first choice first.
    pub fixes: Vec<Fix>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// One line of proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Evidence"))]
pub struct Line {
    /// A word or two.
    pub label: String,
    /// The fact.
    pub text: String,
    /// Where it was read.
    pub source: Source,
}

/// Where a fact was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// In the kernel, at the drop.
    Kernel,
    /// From the live configuration, just after it.
    Config,
    /// From a configuration file.
    File,
    /// Nowhere: it says where to look next.
    Advice,
}

/// A change that stops the drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fix {
    /// What it does.
    pub title: String,
    /// Commands, each ready for `sh -c` as root in the tracer's namespaces.
    pub commands: Vec<String>,
    /// A file to write before the commands are run.
    pub file: Option<File>,
    /// What it costs, or what to know before.
    pub cost: Option<String>,
    /// The one to take if there is no reason for another.
    pub primary: bool,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct File {
    /// Absolute path.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub path: String,
    /// Content.
    pub content: String,
}
