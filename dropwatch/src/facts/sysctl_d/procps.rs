//! What procps' `sysctl --system` makes of the same files.
//!
//! It orders and hides files as systemd-sysctl does and reads [`PROCPS_FILE`](super::PROCPS_FILE)
//! last, but keeps every line: a repeated pattern counts at its *last* place, an exclusion keeps
//! patterns away from a key but does not take back a line that names it, and a dash must stand
//! directly before the key. Compared with procps 4.0.2; see the tests in `real`.

use super::resolve::applies;
use super::{ConfigFile, Line, Origin, Setting, Via, order, parse};

/// The line `sysctl --system` uses for `key` (in either notation), or `None` if it leaves the key
/// alone.
pub fn resolve_procps(files: &[ConfigFile], key: &str) -> Option<Setting> {
    let key = super::normalize(key);
    let last = files.iter().filter(|file| file.origin == Origin::Procps);
    let lines: Vec<(&ConfigFile, Line)> = order(files)
        .active
        .into_iter()
        .chain(last)
        .flat_map(|file| parse(&file.text).lines.into_iter().map(move |l| (file, l)))
        .filter(|(_, line)| applies(&line.key, &key) && !lost_dash(&line.text))
        .collect();
    let named = lines.iter().any(|(_, line)| line.key == key);
    let (file, line) = lines
        .iter()
        .rfind(|(_, line)| line.value.is_some() && (line.key == key) == named)?;
    Some(Setting {
        file: file.path.clone(),
        line: line.number,
        text: line.text.clone(),
        value: line.value.clone()?,
        via: if named {
            Via::Explicit
        } else {
            Via::Glob {
                pattern: line.key.clone(),
            }
        },
    })
}

/// True for `- key`: procps takes the blank for a part of the key, which then does not exist.
fn lost_dash(text: &str) -> bool {
    text.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(char::is_whitespace))
}
