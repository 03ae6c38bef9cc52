//! Which line of which file systemd-sysctl uses for a kernel setting, and why.
//!
//! A device's `rp_filter` is often right for a moment and wrong afterwards: the program that
//! creates the device switches the filter off, then udev starts systemd-sysctl for the new
//! device and a configuration file switches it on again. To name that line (and to write a file
//! that really wins against it) this module follows systemd's rules exactly:
//!
//! - [`read()`] collects the files, [`resolve()`] and [`resolve_full()`] find the line that wins,
//! - [`resolve_procps()`] finds the line that wins where procps applies the files instead,
//! - [`read_rules()`] finds the udev rule that applies it to new devices,
//! - [`prediction()`] joins the two for one device name,
//! - [`advise()`] writes a file that wins.
//!
//! All but the two readers are pure functions over what was read, so a capture can be judged
//! again. Sources: systemd `src/sysctl/sysctl.c` (`parse_line`, `apply_all`,
//! `apply_glob_option_with_prefix`), `src/basic/conf-files.c`, `src/basic/sysctl-util.c`
//! (`sysctl_normalize`), `src/basic/path-util.c` (`path_glob_can_match`), man sysctl.d(5); the
//! behaviour was compared with systemd 252 run in a private mount and network namespace.
//!
//! Not covered: the `sysctl.extra` credential, settings made by other programs (NetworkManager,
//! networkd, ifupdown, container runtimes), and systemd before 246, which had no exclusions.

mod advice;
mod fnmatch;
mod parse;
mod predict;
mod procps;
mod read;
#[cfg(test)]
mod real;
mod resolve;
#[cfg(test)]
mod tests;
mod udev;

pub use advice::{Advice, advise};
pub use fnmatch::fnmatch;
pub use parse::{Line, Parsed, normalize, parse, rp_filter_key};
pub use predict::{Prediction, Source, prediction};
pub use procps::resolve_procps;
pub use read::read;
pub use resolve::{Loser, Place, Resolution, Setting, Via, Why, resolve, resolve_full};
pub use udev::{UdevRule, find_rules, read_rules};

use serde::{Deserialize, Serialize};

/// The directories of systemd-sysctl, the strongest first (systemd `CONF_PATHS`, sysctl.d(5)).
///
/// `/lib/sysctl.d` is read by builds for a split `/usr` only, such as Debian 12's.
pub const DIRECTORIES: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];

/// The file that procps' `sysctl --system` reads after all others, and systemd-sysctl never
/// reads unless a link in a sysctl.d directory leads to it (Debian: `99-sysctl.conf`).
pub const PROCPS_FILE: &str = "/etc/sysctl.conf";

/// Who reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A file in a sysctl.d directory: read by systemd-sysctl and by procps.
    SysctlD,
    /// [`PROCPS_FILE`] itself: read by procps only, and last.
    Procps,
}

/// One configuration file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Absolute path, without the root given to [`read()`].
    pub path: String,
    /// Who reads it.
    pub origin: Origin,
    /// Where the path leads if it is a symbolic link (`/dev/null` for a mask).
    pub target: Option<String>,
    /// The content; invalid UTF-8 is replaced. Empty when the file could not be read.
    pub text: String,
    /// Why the file could not be read. Such a file still hides weaker ones of the same name.
    pub error: Option<String>,
}

impl ConfigFile {
    /// A plain, readable file; the origin follows from the path.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let path = path.into();
        let origin = if path == PROCPS_FILE {
            Origin::Procps
        } else {
            Origin::SysctlD
        };
        Self {
            path,
            origin,
            target: None,
            text: text.into(),
            error: None,
        }
    }

    /// The last part of the path, by which files hide each other and are ordered.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Position of its directory in a list; unknown directories come last.
    fn rank(&self, directories: &[&str]) -> usize {
        let dir = self.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        directories
            .iter()
            .position(|known| *known == dir)
            .unwrap_or(directories.len())
    }
}

/// The files systemd-sysctl reads, in its order, and those it skips.
///
/// Of files with the same name only the one in the strongest directory counts, whatever its
/// content (so an empty file or a link to `/dev/null` masks the others). The rest is sorted by
/// name, byte by byte, without regard to the directory (systemd `conf_files_list_strv`).
pub(crate) struct Ordered<'a> {
    /// Files in the order of reading.
    pub active: Vec<&'a ConfigFile>,
    /// Files that are not read, each with the one that hides it.
    pub hidden: Vec<(&'a ConfigFile, &'a ConfigFile)>,
}

/// Applies the rules described at [`Ordered`] to the files of systemd-sysctl.
pub(crate) fn order(files: &[ConfigFile]) -> Ordered<'_> {
    let read_by_systemd = files.iter().filter(|file| file.origin == Origin::SysctlD);
    order_in(read_by_systemd.collect(), &DIRECTORIES)
}

/// The same rules for any list of directories, the strongest first.
pub(crate) fn order_in<'a>(mut files: Vec<&'a ConfigFile>, directories: &[&str]) -> Ordered<'a> {
    files.sort_by_key(|file| (file.name(), file.rank(directories)));
    let mut ordered = Ordered {
        active: Vec::new(),
        hidden: Vec::new(),
    };
    for file in files {
        match ordered.active.last() {
            Some(strongest) if strongest.name() == file.name() => {
                ordered.hidden.push((file, strongest));
            }
            _ => ordered.active.push(file),
        }
    }
    ordered
}
