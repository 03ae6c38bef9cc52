//! Collects the files from disk.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{ConfigFile, DIRECTORIES, Origin, PROCPS_FILE};

/// Links followed before giving up, as the kernel's own limit (man 7 path_resolution).
const MAX_LINKS: usize = 40;

/// Reads every sysctl.d file below `root` (`/` in production), and `/etc/sysctl.conf`.
///
/// Nothing fails: a file that cannot be read is returned with its error, because it still hides
/// weaker files of the same name. A directory that cannot be listed is returned as one entry
/// with the directory's path and the error. Absolute links are followed inside `root`.
pub fn read(root: &Path) -> Vec<ConfigFile> {
    let mut files = list(root, &DIRECTORIES, ".conf");
    if let Some(mut file) = load(root, PROCPS_FILE) {
        file.origin = Origin::Procps;
        files.push(file);
    }
    files
}

/// Reads all files with a suffix from the directories, each directory once even if links make it
/// appear under two names (`/lib` on a merged `/usr`).
pub(super) fn list(root: &Path, directories: &[&str], suffix: &str) -> Vec<ConfigFile> {
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut files = Vec::new();
    for directory in directories {
        let (resolved, _) = follow(root, directory);
        if seen.contains(&resolved) {
            continue;
        }
        let entries = match fs::read_dir(on_disk(root, &resolved)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                files.push(unreadable(directory, error.to_string()));
                continue;
            }
        };
        seen.push(resolved);
        let mut names: Vec<String> = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => names.push(entry.file_name().to_string_lossy().into_owned()),
                Err(error) => files.push(unreadable(directory, error.to_string())),
            }
        }
        // systemd skips hidden files (`hidden_or_backup_file`).
        names.retain(|name| name.ends_with(suffix) && !name.starts_with('.'));
        names.sort();
        files.extend(
            names
                .iter()
                .filter_map(|name| load(root, &format!("{directory}/{name}"))),
        );
    }
    files
}

fn unreadable(path: &str, error: String) -> ConfigFile {
    ConfigFile {
        error: Some(error),
        ..ConfigFile::new(path, "")
    }
}

/// Reads one file; `None` if there is nothing of that name.
fn load(root: &Path, path: &str) -> Option<ConfigFile> {
    fs::symlink_metadata(on_disk(root, Path::new(path))).ok()?;
    let (resolved, linked) = follow(root, path);
    let mut file = ConfigFile::new(path, "");
    file.target = linked.then(|| resolved.to_string_lossy().into_owned());
    if resolved == Path::new("/dev/null") {
        return Some(file);
    }
    match fs::read(on_disk(root, &resolved)) {
        Ok(bytes) => file.text = String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => file.error = Some(error.to_string()),
    }
    Some(file)
}

/// Where an absolute path lies on disk.
fn on_disk(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Follows every link of an absolute path as if `root` were `/`; also tells whether the last part
/// was a link.
fn follow(root: &Path, path: &str) -> (PathBuf, bool) {
    let mut done = PathBuf::from("/");
    let mut todo: Vec<PathBuf> = parts(Path::new(path));
    let mut links = 0;
    let mut last_linked = false;
    while let Some(part) = todo.pop() {
        if part == Path::new("..") {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        match fs::read_link(on_disk(root, &here)) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                last_linked |= todo.is_empty();
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                todo.extend(parts(&target));
            }
            _ => done = here,
        }
    }
    (done, last_linked)
}

/// The named parts of a path, the first one last.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}
