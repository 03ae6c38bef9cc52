//! The line that wins, and the lines that lose.
//!
//! systemd-sysctl keeps its settings in an ordered map (systemd `src/sysctl/sysctl.c`,
//! `parse_line`): a key met again with another value is removed and appended at the end, while a
//! key met again with the *same* value stays where it was first met. The map is then applied
//! from front to back; a pattern skips every key that the map also holds literally, be it with a
//! value or as an exclusion. An exclusion that is itself a pattern excludes nothing; it only
//! takes the place of the identical pattern.

use serde::{Deserialize, Serialize};

use super::{ConfigFile, Origin, order, parse};

/// A line in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path of the file.
    pub file: String,
    /// Line number, from 1.
    pub line: u32,
    /// The line without surrounding white space.
    pub text: String,
}

/// How a line came to apply to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// It names the key.
    Explicit,
    /// It has a pattern that matches the key.
    Glob {
        /// The pattern in normal form, such as `net/ipv4/conf/*/rp_filter`.
        pattern: String,
    },
}

/// The line that decides a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Path of the file.
    pub file: String,
    /// Line number, from 1.
    pub line: u32,
    /// The line without surrounding white space.
    pub text: String,
    /// The value as written.
    pub value: String,
    /// Whether the line names the key or matches it.
    pub via: Via,
}

impl Setting {
    /// The value as the kernel reads it, if it is a number.
    pub fn number(&self) -> Option<i64> {
        parse::number(&self.value)
    }

    /// The line itself.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.clone(),
            line: self.line,
            text: self.text.clone(),
        }
    }
}

/// Why a line that applies to the key has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its file is not read: another of the same name is in a stronger directory.
    HiddenFile {
        /// Path of the file that is read instead.
        by: String,
    },
    /// A later line has the same key (or the same pattern) and another value.
    Replaced {
        /// The later line.
        by: Place,
    },
    /// An earlier line says the same; this one adds nothing and does not move it to the end.
    Repeated {
        /// The earlier line.
        of: Place,
    },
    /// It is a pattern, and a line that names the key always wins.
    ExplicitWins {
        /// The line that names the key.
        by: Place,
    },
    /// It is a pattern, and a later pattern matches too.
    LaterGlob {
        /// The line with the later pattern.
        by: Place,
    },
    /// It is a pattern, and the key is excluded from patterns.
    Excluded {
        /// The exclusion.
        by: Place,
    },
}

/// A line that applies to the key but has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loser {
    /// The line.
    pub place: Place,
    /// Its value; `None` for an exclusion.
    pub value: Option<String>,
    /// Why it has no effect.
    pub why: Why,
}

/// Everything the files say about one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The line that decides; `None` if systemd-sysctl leaves the key alone.
    pub setting: Option<Setting>,
    /// The exclusion because of which it is left alone.
    pub excluded_by: Option<Place>,
    /// Lines without effect, in the order they were met.
    pub losers: Vec<Loser>,
    /// The line of `/etc/sysctl.conf` that `sysctl --system` (procps) would apply last of all.
    /// systemd-sysctl does not read that file, so a run of either tool can undo the other's.
    pub procps: Option<Setting>,
}

/// One element of systemd-sysctl's map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub place: Place,
    pub key: String,
    pub value: Option<String>,
}

/// The map after all files were read, restricted to keys that `wanted` accepts, plus the lines
/// that fell out of it.
pub(crate) fn table<'a>(
    files: impl IntoIterator<Item = &'a ConfigFile>,
    wanted: impl Fn(&str) -> bool,
) -> (Vec<Entry>, Vec<Loser>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut losers = Vec::new();
    for file in files {
        for line in parse(&file.text).lines {
            if !wanted(&line.key) {
                continue;
            }
            let place = Place {
                file: file.path.clone(),
                line: line.number,
                text: line.text,
            };
            if let Some(at) = entries.iter().position(|entry| entry.key == line.key) {
                if entries[at].value == line.value {
                    let why = Why::Repeated {
                        of: entries[at].place.clone(),
                    };
                    losers.push(Loser {
                        place,
                        value: line.value,
                        why,
                    });
                    continue;
                }
                let old = entries.remove(at);
                let why = Why::Replaced { by: place.clone() };
                losers.push(Loser {
                    place: old.place,
                    value: old.value,
                    why,
                });
            }
            entries.push(Entry {
                place,
                key: line.key,
                value: line.value,
            });
        }
    }
    (entries, losers)
}

/// The line systemd-sysctl uses for `key` (in either notation), or `None` if it leaves it alone.
pub fn resolve(files: &[ConfigFile], key: &str) -> Option<Setting> {
    resolve_full(files, key).setting
}

/// Like [`resolve`], with the reasons.
pub fn resolve_full(files: &[ConfigFile], key: &str) -> Resolution {
    let key = parse::normalize(key);
    let wanted = |candidate: &str| applies(candidate, &key);
    let ordered = order(files);
    let mut resolution = Resolution::default();
    for (file, by) in &ordered.hidden {
        for line in parse(&file.text)
            .lines
            .into_iter()
            .filter(|l| wanted(&l.key))
        {
            resolution.losers.push(Loser {
                place: Place {
                    file: file.path.clone(),
                    line: line.number,
                    text: line.text,
                },
                value: line.value,
                why: Why::HiddenFile {
                    by: by.path.clone(),
                },
            });
        }
    }
    let (entries, losers) = table(ordered.active, wanted);
    resolution.losers.extend(losers);
    decide(entries, &key, &mut resolution);

    let procps = files.iter().filter(|file| file.origin == Origin::Procps);
    let mut last = Resolution::default();
    decide(table(procps, wanted).0, &key, &mut last);
    resolution.procps = last.setting;
    resolution
}

/// True if a line with this key says something about `key`.
pub(super) fn applies(candidate: &str, key: &str) -> bool {
    candidate == key || (parse::is_glob(candidate) && parse::matches(candidate, key))
}

/// Applies the map to one key.
fn decide(entries: Vec<Entry>, key: &str, resolution: &mut Resolution) {
    let explicit = entries.iter().find(|entry| entry.key == key).cloned();
    let last_glob = || entries.iter().rfind(|entry| entry.value.is_some()).cloned();
    let winner = explicit.clone().or_else(last_glob);
    let Some(winner) = winner else { return };
    for entry in entries {
        // A pattern without a value excludes nothing, so it cannot lose either.
        if entry.place == winner.place || entry.value.is_none() {
            continue;
        }
        let by = winner.place.clone();
        let why = match &explicit {
            Some(Entry { value: None, .. }) => Why::Excluded { by },
            Some(_) => Why::ExplicitWins { by },
            None => Why::LaterGlob { by },
        };
        resolution.losers.push(Loser {
            place: entry.place,
            value: entry.value,
            why,
        });
    }
    match winner.value {
        None => resolution.excluded_by = Some(winner.place),
        Some(value) => {
            let via = match explicit {
                Some(_) => Via::Explicit,
                None => Via::Glob {
                    pattern: winner.key,
                },
            };
            let Place { file, line, text } = winner.place;
            resolution.setting = Some(Setting {
                file,
                line,
                text,
                value,
                via,
            });
        }
    }
}
