//! Debian's package archive, of several releases at once: kernels of each come from there.
//!
//! apt is given lists and a cache of its own, below the project's cache: the machine's configuration is neither
//! changed nor relied on, but for the mirror that it uses. Nothing is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::arch::Arch;
use crate::sh;

/// The suites that kernels come from, by the archive that has them.
const SUITES: &[(&str, &[&str])] = &[
    (
        "Debian",
        &["bullseye", "bookworm", "trixie-backports", "sid"],
    ),
    (
        "Debian-Security",
        &["bullseye-security", "bookworm-security"],
    ),
];
/// Where the archives are if the machine's own apt does not say.
const MIRRORS: &[(&str, &str)] = &[
    ("Debian", "http://deb.debian.org/debian"),
    ("Debian-Security", "http://deb.debian.org/debian-security"),
];
/// The keys that sign them (package debian-archive-keyring).
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the lists of packages may become.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// How long after a vain try to renew them there is no other: every kernel asks for them.
const PAUSE: Duration = Duration::from_secs(60);

/// The archive of an architecture, with lists of packages that are not too old.
pub struct Archive {
    folder: PathBuf,
    config: PathBuf,
}

impl Archive {
    /// Opens it; `None` where there is no apt. Without a network, older lists serve too.
    pub fn open(arch: &Arch) -> Result<Option<Self>> {
        if sh::which("apt-get").is_none() {
            return Ok(None);
        }
        let folder = sh::cache_dir()?.join("apt").join(arch.debian);
        for inner in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(folder.join(inner))
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let archive = Self {
            config: folder.join("apt.conf"),
            folder: folder.clone(),
        };
        let sources = sources(arch);
        let list = folder.join("sources.list");
        let same = fs::read_to_string(&list).is_ok_and(|before| before == sources);
        let younger = |stamp: &Path, than: Duration| {
            let age = sh::stamp(stamp).and_then(|(_, at)| at.elapsed().ok());
            age.is_some_and(|age| age < than)
        };
        let (updated, tried) = (folder.join("updated"), folder.join("tried"));
        let fresh = younger(&updated, FRESH) || younger(&tried, PAUSE);
        fs::write(&archive.config, config(&folder, arch))?;
        // Nothing is installed, as far as this apt knows.
        fs::write(folder.join("status"), "")?;
        if same && fresh {
            return Ok(Some(archive));
        }
        fs::write(&list, sources)?;
        sh::say("updating the lists of kernels");
        fs::write(tried, "")?;
        match archive.update() {
            Ok(()) => fs::write(updated, "")?,
            Err(error) => sh::say(format!("{error:#}: going on with what is known")),
        }
        Ok(Some(archive))
    }

    /// Fetches the lists of packages. By itself apt takes a list that it cannot reach for no error.
    pub fn update(&self) -> Result<()> {
        let update = ["-qq", "--error-on=any", "update"];
        sh::capture(self.apt("apt-get").args(update)).map(drop)
    }

    /// The names of all packages that begin like that.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = sh::capture(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads packages into a folder.
    pub fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        let download = || {
            sh::capture(
                self.apt("apt-get")
                    .current_dir(into)
                    .args(["-qq", "download"])
                    .args(packages),
            )
        };
        if download().is_err() {
            // The list may name a version that the archive has replaced meanwhile.
            self.update()?;
            download()?;
        }
        Ok(())
    }

    /// Downloads packages with all that they depend on; where they are.
    pub fn download_whole(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let options = ["-qq", "--yes", "--download-only", "--no-install-recommends"];
        sh::capture(
            self.apt("apt-get")
                .args(options)
                .arg("install")
                .args(packages),
        )?;
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.join("cache/archives"))?
            .flatten()
            .map(|item| item.path())
            .collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "deb"));
        Ok(files)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config);
        command
    }
}

/// Makes a folder that appears only when it is complete; what an earlier try has left behind is removed.
pub fn make_whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut name = folder
        .file_name()
        .context("a folder needs a name")?
        .to_owned();
    name.push(".part");
    let part = folder.with_file_name(name);
    if part.is_dir() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    fill(&part)?;
    fs::rename(&part, folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Unpacks a package, which is removed then.
pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    sh::run(Command::new("dpkg-deb").arg("--extract").args([deb, into]))?;
    fs::remove_file(deb).with_context(|| format!("cannot remove {}", deb.display()))
}

/// One line per suite.
fn sources(arch: &Arch) -> String {
    let mirrors = mirrors();
    let mut text = String::new();
    for (archive, suites) in SUITES {
        let Some(mirror) = mirrors.get(*archive) else {
            continue;
        };
        for suite in *suites {
            text.push_str(&format!(
                "deb [arch={} signed-by={KEYS}] {mirror} {suite} main\n",
                arch.debian
            ));
        }
    }
    text
}

/// Where each archive is: the mirror that the machine itself uses, if it knows one.
fn mirrors() -> BTreeMap<String, String> {
    let mut mirrors: BTreeMap<String, String> = MIRRORS
        .iter()
        .map(|(archive, uri)| ((*archive).to_owned(), (*uri).to_owned()))
        .collect();
    let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
    let known = sh::capture(Command::new("apt-get").args(["indextargets", "--format", format]));
    for line in known.unwrap_or_default().lines() {
        if let [_, label, uri] = line.split('|').collect::<Vec<_>>()[..]
            && let Some(mirror) = mirrors.get_mut(label)
            && uri.starts_with("http")
        {
            uri.trim_end_matches('/').clone_into(mirror);
        }
    }
    mirrors
}

/// apt's configuration: everything it writes is below the folder.
fn config(folder: &Path, arch: &Arch) -> String {
    let folder = folder.display();
    let arch = arch.debian;
    format!(
        r#"Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/parts";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
// Releases that are no longer cared for stop renewing this date.
Acquire::Check-Valid-Until "false";
// The sandbox's user may not write to the cache.
APT::Sandbox::User "root";
APT::Architecture "{arch}";
APT::Architectures:: "{arch}";
// One release for everything but kernels.
APT::Default-Release "bookworm";
"#
    )
}
