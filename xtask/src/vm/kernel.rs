//! Finds, downloads and unpacks the kernels that virtual machines boot.
//!
//! Kernels are Debian packages, unpacked into the cache: nothing is installed. Limits: those that
//! the suites configured on this machine offer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// The kernels that can be asked for by name, and how their packages' names begin.
const KERNELS: &[(&str, &str)] = &[("6.1", "linux-image-6.1."), ("6.12", "linux-image-6.12.")];
/// How the names of packages end that have the plain kernel: not the cloud or real-time one, and
/// not the signed one, which is the same again.
const SUFFIX: &str = "-amd64-unsigned";

/// An unpacked kernel.
pub struct Kernel {
    /// What was asked for: `6.12`.
    pub name: String,
    /// What `uname -r` says in it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// The folder in which `lib/modules/RELEASE` is.
    pub modules: PathBuf,
}

/// The names of all kernels.
pub fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|(name, _)| *name)
}

/// The newest kernel of that name, downloaded and unpacked if it is not in the cache.
pub fn get(name: &str) -> Result<Kernel> {
    let Some((name, prefix)) = KERNELS.iter().find(|(n, _)| *n == name) else {
        bail!(
            "no kernel {name}: known are {}",
            names().collect::<Vec<_>>().join(", ")
        );
    };
    let cache = sh::cache_dir()?.join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let package = match newest(offered(prefix)?) {
        Some(package) => package,
        // Without the archive's lists, an older download is better than none.
        None => newest(kept(&cache, prefix)).with_context(|| {
            format!("no package {prefix}*{SUFFIX}: not offered by apt's sources, nor in the cache")
        })?,
    };
    let folder = cache.join(&package);
    if !folder.is_dir() {
        unpack(&package, &cache, &folder)?;
    }
    open(name, &folder)
}

/// The names of packages with such kernels that apt knows.
fn offered(prefix: &str) -> Result<Vec<String>> {
    if sh::which("apt-cache").is_none() {
        return Ok(Vec::new());
    }
    let list = || sh::capture(Command::new("apt-cache").args(["pkgnames", prefix]));
    let mut names = list()?;
    if names.is_empty() && sh::is_root() {
        sh::say("updating the package lists, as they are empty");
        // Whether it helped shows in what is offered then.
        let _ = sh::capture(crate::setup::apt().args(["-qq", "update"]));
        names = list()?;
    }
    Ok(names
        .lines()
        .filter(|n| is_plain(n, prefix))
        .map(str::to_owned)
        .collect())
}

/// The same, of those unpacked before.
fn kept(cache: &Path, prefix: &str) -> Vec<String> {
    let items = fs::read_dir(cache).into_iter().flatten().flatten();
    items
        .filter_map(|item| item.file_name().into_string().ok())
        .filter(|name| is_plain(name, prefix))
        .collect()
}

/// Whether the name is that of a plain kernel: `6.12.117+deb12` or `6.1.0-47` between the ends.
fn is_plain(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|version| {
            !version.is_empty() && !version.contains("cloud") && !version.contains("rt")
        })
}

fn newest(mut names: Vec<String>) -> Option<String> {
    names.sort_by_key(|name| numbers(name));
    names.pop()
}

/// All numbers in a text, in order: enough to compare versions of one kind.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Downloads the package and unpacks it into `folder`, which appears only when it is complete.
fn unpack(package: &str, cache: &Path, folder: &Path) -> Result<()> {
    let temporary = cache.join(format!(".{package}.{}", std::process::id()));
    fs::create_dir_all(&temporary)?;
    sh::say(format!("downloading {package}"));
    let download = || {
        sh::capture(
            Command::new("apt-get")
                .current_dir(&temporary)
                // The sandbox's user may not write here, which is worth no warning.
                .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]),
        )
    };
    if download().is_err() {
        // The list may name a version that the archive has replaced meanwhile.
        if sh::is_root() {
            sh::capture(crate::setup::apt().args(["-qq", "update"]))?;
        }
        download()?;
    }
    let deb = fs::read_dir(&temporary)?
        .flatten()
        .map(|item| item.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get has downloaded nothing")?;
    sh::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&deb)
            .arg(&temporary),
    )?;
    fs::remove_file(deb)?;
    let kernel = open(package, &temporary)?;
    // Who depends on whom is not in the package: its installation would find out.
    sh::say("looking up the modules' dependencies");
    sh::run(depmod().arg("-b").arg(&kernel.modules).arg(&kernel.release))?;
    fs::rename(&temporary, folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(())
}

/// depmod, which an ordinary user's PATH lacks.
pub fn depmod() -> Command {
    Command::new(sh::which("depmod").unwrap_or_else(|| "depmod".into()))
}

/// Reads what is in the folder of an unpacked package.
fn open(name: &str, folder: &Path) -> Result<Kernel> {
    let image = fs::read_dir(folder.join("boot"))?
        .flatten()
        .map(|item| item.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"))
        })
        .with_context(|| format!("no kernel image in {}", folder.display()))?;
    let file = image.file_name().unwrap_or_default().to_string_lossy();
    let release = file.trim_start_matches("vmlinuz-").to_owned();
    // Newer packages have their modules below usr.
    let modules = [folder.to_path_buf(), folder.join("usr")]
        .into_iter()
        .find(|f| f.join("lib/modules").join(&release).is_dir())
        .with_context(|| format!("no modules in {}", folder.display()))?;
    Ok(Kernel {
        name: name.to_owned(),
        release,
        image,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_plain, newest};

    #[test]
    fn takes_the_newest_plain_kernel() {
        let all = [
            "linux-image-6.12-amd64",
            "linux-image-6.12.99+deb12-amd64-unsigned",
            "linux-image-6.12.117+deb12-amd64-unsigned",
            "linux-image-6.12.118+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.118+deb12-rt-amd64-unsigned",
            "linux-image-6.12.119+deb12-amd64-dbg",
            "linux-image-6.1.0-47-amd64-unsigned",
        ];
        let plain = |prefix| {
            all.iter()
                .filter(move |n| is_plain(n, prefix))
                .map(ToString::to_string)
        };
        assert_eq!(
            newest(plain("linux-image-6.12.").collect()).as_deref(),
            Some("linux-image-6.12.117+deb12-amd64-unsigned")
        );
        assert_eq!(plain("linux-image-6.1.").count(), 1);
    }
}
