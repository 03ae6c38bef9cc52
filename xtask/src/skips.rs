//! The skips that are accepted, from `tests/allowed-skips.txt`.
//!
//! A line is `KERNEL SCENARIO REASON`; the kernel is `*`, `local`, `unit` or a name like `6.12`.
//! Limits: names in full only, so that no skip is accepted unseen.

use std::fs;

use anyhow::{Result, bail};

use crate::sh;

/// The skips that are known and accepted: kernel, scenario, reason.
pub struct Allowed(Vec<(String, String, String)>);

impl Allowed {
    /// Reads the list of the workspace.
    pub fn read() -> Result<Self> {
        let file = sh::root().join("tests/allowed-skips.txt");
        // Without the file, nothing is allowed.
        Self::parse(&fs::read_to_string(file).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        let list = lines.map(|line| {
            let mut words = line
                .splitn(3, char::is_whitespace)
                .map(|w| w.trim().to_owned());
            match (words.next(), words.next(), words.next()) {
                (Some(kernel), Some(scenario), Some(why)) => Ok((kernel, scenario, why)),
                _ => bail!("allowed-skips.txt: want `kernel scenario reason`, not `{line}`"),
            }
        });
        Ok(Self(list.collect::<Result<_>>()?))
    }

    /// Why that scenario may be skipped on that kernel, if it may.
    pub fn reason(&self, kernel: &str, scenario: &str) -> Option<&str> {
        let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        let found = self
            .0
            .iter()
            .find(|(k, s, _)| fits(k, kernel) && s == scenario)?;
        Some(&found.2)
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;

    #[test]
    fn only_listed_skips_pass() {
        let list = "# kernel scenario reason\n\n* one  no such table here\nlocal two no hooks\n";
        let allowed = Allowed::parse(list).unwrap_or(Allowed(Vec::new()));
        assert_eq!(allowed.reason("6.12", "one"), Some("no such table here"));
        assert_eq!(allowed.reason("local", "two"), Some("no hooks"));
        assert_eq!(allowed.reason("6.12", "two"), None);
        assert!(Allowed::parse("local two").is_err());
    }
}
