//! What a check found.

use serde::Serialize;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something is not seen or told because of it.
    Warn,
    /// Nothing works because of it.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// As it should be.
pub fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        level: Level::Ok,
        found: found.into(),
        advice: None,
    }
}

/// Not as it should be, and what to do.
pub fn not_ok(
    level: Level,
    name: &'static str,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Check {
    Check {
        name,
        level,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

/// What could not be looked at.
pub fn not_known(name: &'static str, where_it_is: &str) -> Check {
    Check {
        name,
        level: Level::Warn,
        found: format!("not known: {where_it_is} is not mounted"),
        advice: None,
    }
}
