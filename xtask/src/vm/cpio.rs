//! Writes the "newc" cpio archives that the kernel unpacks as its first file system.
//!
//! Written here rather than by the program `cpio`, so that everything belongs to root without being
//! root, and equal input gives equal bytes. Limits: folders, files and symbolic links; no devices,
//! as devtmpfs makes those.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What stands at a path.
enum Entry {
    Folder,
    File { mode: u32, data: Vec<u8> },
    Link(String),
}

/// An archive that is being collected; paths are relative to its root.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.entries.contains_key(path) {
            return;
        }
        self.folders_above(path);
        self.entries.insert(path.to_owned(), Entry::Folder);
    }

    /// Adds a file with the given permissions.
    pub fn file(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        self.insert(path, Entry::File { mode, data });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.insert(path, Entry::Link(to.to_owned()));
    }

    /// Adds a copy of a file of this machine.
    pub fn copy(&mut self, from: &Path, path: &str) -> Result<()> {
        let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = from.metadata()?.permissions().mode() & 0o777;
        self.file(path, mode, data);
        Ok(())
    }

    /// Adds a copy of a folder of this machine, with all that is in it.
    pub fn copy_tree(&mut self, from: &Path, path: &str) -> Result<()> {
        self.folder(path);
        for item in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let item = item?;
            let inner = format!("{path}/{}", item.file_name().to_string_lossy());
            // Follows links, as what they point to may not be in the archive.
            let file = item.path();
            if file.is_dir() {
                self.copy_tree(&file, &inner)?;
            } else if file.is_file() {
                self.copy(&file, &inner)?;
            }
        }
        Ok(())
    }

    /// Whether something is at the path already.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    /// The archive's bytes, ready to be followed by another archive.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Sorted by path, so every folder comes before what is in it.
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            match entry {
                Entry::Folder => write(&mut out, number, path, 0o040_755, &[]),
                Entry::File { mode, data } => write(&mut out, number, path, 0o100_000 | mode, data),
                Entry::Link(to) => write(&mut out, number, path, 0o120_777, to.as_bytes()),
            }
        }
        write(&mut out, 0, "TRAILER!!!", 0, &[]);
        // The kernel takes what follows for the next archive only from a boundary on.
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        self.folders_above(path);
        self.entries.insert(path.to_owned(), entry);
    }

    fn folders_above(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
    }
}

/// Appends one entry: the header's fields are eight hexadecimal digits each.
fn write(out: &mut Vec<u8>, number: usize, path: &str, mode: u32, data: &[u8]) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let header = [
        number + 1,
        mode as usize,
        0, // user
        0, // group
        links,
        0, // time of change: always the same
        data.len(),
        0, // device, four fields
        0,
        0,
        0,
        path.len() + 1,
        0, // checksum, not used by this format
    ];
    out.extend_from_slice(b"070701");
    for field in header {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn folders_come_first_and_data_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/tool", 0o755, b"12345".to_vec());
        archive.link("bin", "usr/bin");
        let bytes = archive.bytes();
        let find = |name: &str| {
            let name: Vec<u8> = name.bytes().chain([0]).collect();
            bytes
                .windows(name.len())
                .position(|w| w == name)
                .unwrap_or(usize::MAX)
        };
        assert!(find("bin") < find("usr/bin"));
        assert!(find("usr/bin") < find("usr/bin/tool"));
        assert!(find("usr/bin/tool") < find("TRAILER!!!"));
        assert_eq!(bytes.len() % 512, 0);
        let magics: Vec<usize> = (0..bytes.len())
            .filter(|&i| bytes[i..].starts_with(b"070701"))
            .collect();
        assert_eq!(magics.len(), 5);
        assert!(magics.iter().all(|i| i % 4 == 0));
    }
}
