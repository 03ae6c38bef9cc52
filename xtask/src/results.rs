//! Reads what `dropwatch-tests run` writes: JSON lines, one per result, artefact or end.
//!
//! Limits: an unreadable line is an error, as a lost result must not look like a pass.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Result(Outcome),
    Artefact {
        scenario: String,
        name: String,
        data: String,
    },
    End {
        pass: usize,
        fail: usize,
        skip: usize,
    },
}

/// How one scenario went.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Outcome {
    /// Its name, as on the command line.
    pub scenario: String,
    /// What it belongs to: a cause, or another subject.
    #[serde(default)]
    pub group: String,
    /// `scenario`, `twin` or `decoy`.
    #[serde(default)]
    pub kind: String,
    /// The verdict.
    pub outcome: Verdict,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
    /// Why it failed or was skipped.
    #[serde(default)]
    pub detail: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first line says it; the rest is in the results file.
        let detail = self.detail.lines().next().unwrap_or_default();
        write!(
            f,
            "{} {} ({:.1} s): {}",
            self.kind, self.scenario, self.seconds, detail
        )
    }
}

/// The verdict on a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not as it should be.
    Fail,
    /// Could not be told here.
    Skip,
}

/// All results of a run.
#[derive(Debug, Default)]
pub struct Results {
    /// In the order in which they ended.
    pub outcomes: Vec<Outcome>,
    /// Whether the run told its end, with the counts that are found here.
    pub complete: bool,
    /// Files that came along: scenario, name, content.
    artefacts: Vec<(String, String, Vec<u8>)>,
}

impl Results {
    /// Reads the text of a results file.
    pub fn parse(text: &str) -> Result<Self> {
        let mut results = Self::default();
        let mut told = None;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let start: String = line.chars().take(80).collect();
            match serde_json::from_str(line).with_context(|| format!("not a result: {start}"))? {
                Line::Result(outcome) => results.outcomes.push(outcome),
                Line::Artefact {
                    scenario,
                    name,
                    data,
                } => {
                    let data = base64(&data)
                        .with_context(|| format!("{scenario}/{name} is not in base64"))?;
                    results.artefacts.push((scenario, name, data));
                }
                Line::End { pass, fail, skip } => told = Some([pass, fail, skip]),
            }
        }
        results.complete = told == Some(results.counts());
        Ok(results)
    }

    /// How many passed, failed and were skipped.
    pub fn counts(&self) -> [usize; 3] {
        [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|verdict| {
            self.outcomes
                .iter()
                .filter(|o| o.outcome == verdict)
                .count()
        })
    }

    /// A file that came along.
    pub fn artefact(&self, scenario: &str, name: &str) -> Option<&[u8]> {
        let found = self
            .artefacts
            .iter()
            .find(|(s, n, _)| s == scenario && n == name)?;
        Some(&found.2)
    }

    /// Writes the artefacts to `folder/scenario/name`; returns how many there are.
    pub fn write_artefacts(&self, folder: &Path) -> Result<usize> {
        let scenarios: BTreeSet<_> = self.artefacts.iter().map(|(s, ..)| plain(s)).collect();
        for scenario in scenarios {
            fs::create_dir_all(folder.join(scenario))?;
        }
        for (scenario, name, data) in &self.artefacts {
            fs::write(folder.join(plain(scenario)).join(plain(name)), data)?;
        }
        Ok(self.artefacts.len())
    }
}

/// A name that cannot leave the folder it is put in.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect();
    if plain.trim_matches('.').is_empty() {
        "_".to_owned()
    } else {
        plain
    }
}

/// Decodes base64 with the usual alphabet; padding may be absent.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0;
        for byte in four {
            bits = bits << 6 | ALPHABET.iter().position(|a| a == byte)? as u32;
        }
        bits <<= 6 * (4 - four.len());
        // Two characters make one byte, three make two; one alone makes none.
        let bytes = four.len().checked_sub(1).filter(|n| *n > 0)?;
        out.extend_from_slice(&bits.to_be_bytes()[1..=bytes]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Results, base64, plain};

    #[test]
    fn decodes_base64() {
        let cases: [(&str, &[u8]); 5] = [
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg", b"foob"),
        ];
        for (text, data) in cases {
            assert_eq!(base64(text).as_deref(), Some(data), "{text}");
        }
        assert_eq!(base64("Z"), None);
        assert_eq!(base64("Zm9*"), None);
    }

    #[test]
    fn counts_and_wants_the_end() {
        let one =
            r#"{"type":"result","scenario":"a","kind":"twin","outcome":"pass","seconds":1.5}"#;
        let end = r#"{"type":"end","pass":1,"fail":0,"skip":0}"#;
        let all = |text: String| Results::parse(&text).map(|r| (r.counts(), r.complete)).ok();
        assert_eq!(all(format!("{one}\r\n{end}\r\n")), Some(([1, 0, 0], true)));
        assert_eq!(all(one.to_owned()), Some(([1, 0, 0], false)));
        assert_eq!(
            all(format!("{one}\n{one}\n{end}")),
            Some(([2, 0, 0], false))
        );
        assert_eq!(all("{\"type\":\"resu".to_owned()), None);
    }

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(plain("../../etc/x"), ".._.._etc_x");
        assert_eq!(plain(".."), "_");
    }
}
