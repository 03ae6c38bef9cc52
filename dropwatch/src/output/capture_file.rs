//! Opens the file that a capture is written to: what is there is looked at before anything is lost.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

use crate::exit::Failure;

/// Most symbolic links that are followed.
const MOST_LINKS: usize = 40;

/// Opens a file for a capture: a new one, one that it takes the place of, a pipe that somebody reads, or a device like
/// `/dev/null` or a terminal.
///
/// # Errors
///
/// [`Failure::Usage`] for what a capture cannot be written to.
pub fn open(path: &Path) -> Result<File> {
    let named = || format!("--record {}", path.display());
    let wrong = |what: &str| Failure::Usage.because(format!("{}: {what}", named()));
    // Without waiting: opening a pipe would, until somebody reads it.
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits())
        .open(path);
    let file = opened.map_err(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EISDIR) => wrong("a folder"),
        Some(Errno::ENXIO) => wrong("a pipe that nobody reads, or a socket"),
        _ => anyhow::Error::new(e).context(named()),
    })?;
    let kind = file.metadata().with_context(named)?.file_type();
    if kind.is_file() {
        file.set_len(0).with_context(named)?;
    } else if !kind.is_fifo() && !kind.is_char_device() {
        return Err(wrong("neither a file nor a pipe"));
    }
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(io::Error::from);
    let flags = OFlag::from_bits_retain(flags.with_context(named)?) - OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags))
        .map_err(io::Error::from)
        .with_context(named)?;
    Ok(file)
}

/// Whether both paths lead to the same file, be it there already or not.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let place = place(one);
    place.is_some() && place == self::place(other)
}

/// Where a path leads: through all links, also to what is not there yet.
fn place(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(real) = fs::canonicalize(&path) {
            return Some(real);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(folder).ok()?;
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return Some(folder.join(path.file_name()?)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::{fs::symlink, net::UnixListener},
    };

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;
    use crate::exit;

    #[test]
    fn only_files_and_pipes_that_are_read_are_taken() {
        let folder = std::env::temp_dir().join(format!("dropwatch-record-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let pipe = folder.join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
        let socket = folder.join("socket");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        for path in [&folder, &pipe, &socket] {
            let error = open(path).expect_err("no place for a capture");
            assert_eq!(exit::code(&error), 2, "{error:#}");
        }
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&pipe);
        let mut writer = open(&pipe).expect("it is read now");
        writer.write_all(b"x").expect("written");
        let mut byte = [0];
        reader.expect("a pipe").read_exact(&mut byte).expect("read");
        let file = folder.join("file");
        fs::write(&file, "an earlier capture").expect("a file");
        open(&file).expect("overwritten");
        assert_eq!(fs::read(&file).expect("there"), b"");
        assert!(open(Path::new("/dev/null")).is_ok());
        let error = open(&folder.join("no/file")).expect_err("no folder");
        assert_eq!(exit::code(&error), 1);
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn links_to_the_same_file_are_seen_through() {
        let folder = std::env::temp_dir().join(format!("dropwatch-same-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        let [file, link, loops] = ["file", "sub/link", "sub/loop"].map(|name| folder.join(name));
        symlink("../file", &link).expect("a link");
        symlink("loop", &loops).expect("a link");
        for _ in ["not there yet", "there"] {
            assert!(is_same(&file, &file));
            assert!(is_same(&file, &link));
            assert!(is_same(&folder.join("sub/../file"), &link));
            assert!(!is_same(&file, &folder.join("other")));
            fs::write(&file, "").expect("a file");
        }
        assert!(!is_same(&loops, &loops));
        assert!(is_same(Path::new("x"), Path::new("./x")));
        let _ = fs::remove_dir_all(&folder);
    }
}
