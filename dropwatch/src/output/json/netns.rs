//! A network namespace, as every line tells it.

use serde::Serialize;

use crate::output::Names;

/// A network namespace.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Netns<'a> {
    /// Inode number; 0 = unknown. The next namespace may get it.
    inum: u32,
    /// If it has one and it could be asked.
    name: Option<&'a str>,
}

impl<'a> Netns<'a> {
    /// By number, with the name that is known of it.
    pub(super) fn new(inum: u32, names: &'a Names) -> Self {
        Self {
            inum,
            name: names.get(inum),
        }
    }
}
