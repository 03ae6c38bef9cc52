//! `--ready-file`: tells others that everything is attached.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The ready file: made when everything is attached, removed at the end.
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Removes what an earlier run may have left.
    pub(super) fn new(path: &Path) -> Result<Self> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("--ready-file {}", path.display()))
            }
            _ => Ok(Self(path.to_owned())),
        }
    }

    pub(super) fn create(&self) -> Result<()> {
        fs::write(&self.0, format!("{}\n", std::process::id()))
            .with_context(|| format!("--ready-file {}", self.0.display()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!("removing {}: {e}", self.0.display());
        }
    }
}
