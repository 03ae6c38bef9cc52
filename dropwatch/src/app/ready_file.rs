//! `--ready-file`: tells others that everything is attached. Only what dropwatch made itself is ever removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context as _, Result};

use crate::exit::Failure;

/// What is in the file, before the pid: how one that an earlier run left is known.
const MARK: &str = "dropwatch ";

/// Longest content of such a file.
const LONGEST: u64 = 32;

/// The ready file: made when everything is attached, removed at the end.
pub(super) struct ReadyFile {
    path: PathBuf,
    /// What was made. It stays open, so that no other file gets its inode number.
    made: Mutex<Option<File>>,
}

impl ReadyFile {
    /// Removes what an earlier run may have left.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when there is something that dropwatch did not make.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let named = || format!("--ready-file {}", path.display());
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(named),
            Ok(meta) if meta.is_file() && is_ours(path).with_context(named)? => {
                fs::remove_file(path).with_context(named)?;
            }
            Ok(_) => return Err(taken(path)),
        }
        Ok(Self {
            path: path.to_owned(),
            made: Mutex::new(None),
        })
    }

    /// Makes the file.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when something has come there meanwhile.
    pub(super) fn create(&self) -> Result<()> {
        let named = || format!("--ready-file {}", self.path.display());
        // Not through a link either.
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.path);
        let mut file = match opened {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(taken(&self.path)),
            opened => opened.with_context(named)?,
        };
        // In one piece: whoever waits for the file may read it at once.
        let text = format!("{MARK}{}\n", std::process::id());
        let written = file.write_all(text.as_bytes()).with_context(named);
        if let Ok(mut made) = self.made.lock() {
            *made = Some(file);
        }
        written
    }

    /// Removes the file that was made, if it is still that one.
    pub(super) fn remove(&self) {
        let made = self.made.lock().ok().and_then(|mut made| made.take());
        let made = made.and_then(|made| made.metadata().ok().map(|meta| (made, meta)));
        let there = fs::symlink_metadata(&self.path).ok();
        let (Some((_open, made)), Some(there)) = (made, there) else {
            return;
        };
        if (made.dev(), made.ino()) != (there.dev(), there.ino()) {
            return;
        }
        if let Err(e) = fs::remove_file(&self.path)
            && e.kind() != ErrorKind::NotFound
        {
            log::warn!("removing {}: {e}", self.path.display());
        }
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn taken(path: &Path) -> anyhow::Error {
    Failure::Usage.because(format!(
        "--ready-file {}: it exists, and dropwatch did not make it",
        path.display()
    ))
}

/// Whether dropwatch made this file.
fn is_ours(path: &Path) -> io::Result<bool> {
    let mut text = Vec::new();
    // What is there may have become something else since it was looked at: a pipe that would be waited for.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)?;
    let read = file.take(LONGEST + 1).read_to_end(&mut text)?;
    let pid = text
        .strip_prefix(MARK.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"\n"));
    let is_pid = |pid: &[u8]| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit);
    Ok(read as u64 <= LONGEST && pid.is_some_and(is_pid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::exit;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_others_made_is_refused_and_stays() {
        let folder = Folder::new("dropwatch-ready");
        let theirs = folder.0.join("theirs");
        let link = folder.0.join("link");
        symlink(&theirs, &link).expect("a link");
        for content in ["1234\n", "", "dropwatch is fine\n", "dropwatch \n"] {
            fs::write(&theirs, content).expect("a file");
            for path in [&theirs, &link, &folder.0] {
                let error = ReadyFile::new(path).err().expect("refused");
                assert_eq!(exit::code(&error), 2, "{error:#}");
            }
            assert_eq!(fs::read_to_string(&theirs).expect("there"), content);
        }
    }

    #[test]
    fn only_what_was_made_is_removed() {
        let folder = Folder::new("dropwatch-ready-made");
        let path = folder.0.join("ready");
        let ready = ReadyFile::new(&path).expect("free");
        ready.create().expect("made");
        assert!(ReadyFile::new(&path).is_ok(), "left by an earlier run");
        assert!(!path.exists());
        fs::write(&path, "another's").expect("a file");
        drop(ready);
        assert!(path.exists(), "not the one that was made");
        fs::remove_file(&path).expect("there");
        let ready = ReadyFile::new(&path).expect("free");
        fs::write(&path, "another's").expect("a file");
        let error = ready.create().expect_err("taken meanwhile");
        assert_eq!(exit::code(&error), 2);
        drop(ready);
        assert!(path.exists());
    }
}
