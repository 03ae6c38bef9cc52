//! Which modules are loaded.

use std::{collections::BTreeSet, ffi::OsString, fs};

const FOLDER: &str = "/sys/module";

/// The modules at the last look; built-in ones with parameters are among them.
#[derive(Debug, PartialEq, Eq)]
pub struct LoadedModules(BTreeSet<OsString>);

impl LoadedModules {
    /// What is loaded now; nothing where it cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        Self(entries.map(|entry| entry.file_name()).collect())
    }

    /// Whether modules came or went since the last look.
    pub fn changed(&mut self) -> bool {
        let now = Self::read();
        let changed = now != *self;
        *self = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_came_is_news_once() {
        let mut loaded = LoadedModules(BTreeSet::new());
        assert_eq!(loaded.changed(), loaded.0 != BTreeSet::new());
        assert!(!loaded.changed());
    }
}
