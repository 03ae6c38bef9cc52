//! Finds, downloads and unpacks the kernels that virtual machines boot.
//!
//! Kernels are Debian packages, unpacked into the cache: nothing is installed. Limits: of each series the newest
//! that its suite offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::arch::{AMD64, ARM64, Arch};
use super::archive::{self, Archive};
use crate::sh;

/// A series of kernels, and how it is packed: the plain one, not the cloud or real-time one.
struct Series {
    name: &'static str,
    /// How the names of its packages begin, that with the image first.
    packages: &'static [&'static str],
    /// How they end, after the architecture.
    suffix: &'static str,
}

/// Where there are unsigned packages, the signed ones are the same again.
const UNSIGNED: &str = "-unsigned";

/// The kernels that can be asked for by name, oldest first.
const KERNELS: &[Series] = &[
    Series {
        name: "5.10",
        packages: &["linux-image-5.10."],
        suffix: UNSIGNED,
    },
    Series {
        name: "6.1",
        packages: &["linux-image-6.1."],
        suffix: UNSIGNED,
    },
    Series {
        name: "6.12",
        packages: &["linux-image-6.12."],
        suffix: UNSIGNED,
    },
    Series {
        name: "6.18",
        packages: &["linux-image-6.18."],
        suffix: "",
    },
    Series {
        name: "7.2",
        packages: &["linux-binary-7.2.", "linux-modules-7.2.", "linux-base-7.2."],
        suffix: "",
    },
];

/// An unpacked kernel.
pub struct Kernel {
    /// What was asked for: `6.12`.
    pub name: String,
    /// What it runs on.
    pub arch: &'static Arch,
    /// What `uname -r` says in it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// The folder in which `lib/modules/RELEASE` is.
    pub modules: PathBuf,
}

/// The names of all kernels, oldest first.
pub fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|series| series.name)
}

/// The series and the architecture that a name means: `6.12`, or `6.12-arm64`.
fn named(name: &str) -> Result<(&'static Series, &'static Arch)> {
    let ending = ARM64.debian;
    let (plain, arch) = match name.strip_suffix(ending).and_then(|n| n.strip_suffix('-')) {
        Some(plain) => (plain, &ARM64),
        None => (name, &AMD64),
    };
    match KERNELS.iter().find(|series| series.name == plain) {
        Some(series) => Ok((series, arch)),
        None => bail!(
            "no kernel {name}: known are {}, each also with -{ending}",
            names().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The newest kernel of that name, downloaded and unpacked if it is not in the cache.
pub fn get(name: &str) -> Result<Kernel> {
    let (series, arch) = named(name)?;
    let cache = sh::cache_dir()?.join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let archive = Archive::open(arch)?;
    let offered = match &archive {
        Some(archive) => archive.names(series.packages[0])?,
        None => Vec::new(),
    };
    let newest = series.newest(arch, offered.iter().map(String::as_str));
    let Some((version, archive)) = newest.zip(archive.as_ref()) else {
        // Without the archive's lists, an older download is better than none.
        let kept = kept(&cache);
        let version = series
            .newest(arch, kept.iter().map(String::as_str))
            .with_context(|| {
                let wanted = series.package(arch, 0, "*");
                format!("no package {wanted}: not offered by Debian's archive, nor in the cache")
            })?;
        return open(name, arch, &cache.join(series.package(arch, 0, version)));
    };
    let folder = cache.join(series.package(arch, 0, version));
    if !folder.is_dir() {
        let packages: Vec<String> = (0..series.packages.len())
            .map(|at| series.package(arch, at, version))
            .collect();
        archive::make_whole(&folder, |part| unpack(archive, arch, &packages, part))?;
    }
    open(name, arch, &folder)
}

impl Series {
    /// The name of one of its packages.
    fn package(&self, arch: &Arch, at: usize, version: &str) -> String {
        format!(
            "{}{version}-{}{}",
            self.packages[at], arch.debian, self.suffix
        )
    }

    /// What stands for the version in a package's name, if it is one of ours: `117+deb12` or `0-47`.
    fn version<'a>(&self, arch: &Arch, package: &'a str) -> Option<&'a str> {
        let version = package
            .strip_prefix(self.packages[0])?
            .strip_suffix(self.suffix)?
            .strip_suffix(arch.debian)?
            .strip_suffix('-')?;
        let plain = !version.is_empty() && !version.contains("cloud") && !version.contains("rt");
        plain.then_some(version)
    }

    /// The newest of the versions that those packages have.
    fn newest<'a>(&self, arch: &Arch, packages: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        packages
            .filter_map(|package| self.version(arch, package))
            .max_by_key(|version| numbers(version))
    }
}

/// The packages that were unpacked before.
fn kept(cache: &Path) -> Vec<String> {
    let items = fs::read_dir(cache).into_iter().flatten().flatten();
    items
        .filter_map(|item| item.file_name().into_string().ok())
        .collect()
}

/// All numbers in a text, in order: enough to compare versions of one kind.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Downloads the packages and unpacks them.
fn unpack(
    archive: &Archive,
    arch: &'static Arch,
    packages: &[String],
    folder: &Path,
) -> Result<()> {
    sh::say(format!("downloading {}", packages.join(", ")));
    archive.download(packages, folder)?;
    let files = fs::read_dir(folder)?.flatten().map(|item| item.path());
    for deb in files.filter(|path| path.extension().is_some_and(|e| e == "deb")) {
        archive::unpack(&deb, folder)?;
    }
    let kernel = open("", arch, folder)?;
    // Who depends on whom is not in the package: its installation would find out.
    sh::say("looking up the modules' dependencies");
    sh::run(depmod().arg("-b").arg(&kernel.modules).arg(&kernel.release))
}

/// depmod, which an ordinary user's PATH lacks.
pub fn depmod() -> Command {
    Command::new(sh::which("depmod").unwrap_or_else(|| "depmod".into()))
}

/// Reads what is in the folder of an unpacked kernel.
fn open(name: &str, arch: &'static Arch, folder: &Path) -> Result<Kernel> {
    // Newer packages have their modules below usr.
    let (modules, release) = [folder.to_path_buf(), folder.join("usr")]
        .into_iter()
        .find_map(|modules| {
            let mut releases = fs::read_dir(modules.join("lib/modules")).ok()?.flatten();
            let release = releases.next()?.file_name().into_string().ok()?;
            Some((modules, release))
        })
        .with_context(|| format!("no modules in {}", folder.display()))?;
    // The newest have the image beside them.
    let image = [
        folder.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("lib/modules").join(&release).join("vmlinuz"),
    ]
    .into_iter()
    .find(|image| image.is_file())
    .with_context(|| format!("no kernel image in {}", folder.display()))?;
    Ok(Kernel {
        name: name.to_owned(),
        arch,
        release,
        image,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    fn newest<'a>(name: &str, packages: &[&'a str]) -> Option<&'a str> {
        let (series, arch) = named(name).ok()?;
        series.newest(arch, packages.iter().copied())
    }

    #[test]
    fn takes_the_newest_plain_kernel() {
        let all = [
            "linux-image-6.12-amd64",
            "linux-image-6.12.99+deb12-amd64-unsigned",
            "linux-image-6.12.117+deb12-amd64-unsigned",
            "linux-image-6.12.118+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.118+deb12-rt-amd64-unsigned",
            "linux-image-6.12.119+deb12-amd64-dbg",
            "linux-image-6.12.115+deb12-arm64-unsigned",
            "linux-image-6.12.116+deb12-arm64-16k-unsigned",
            "linux-image-6.1.0-0.deb11.52-amd64-unsigned",
            "linux-image-6.1.0-47-amd64-unsigned",
            "linux-binary-7.2.13+deb14-amd64",
            "linux-binary-7.2.14+deb14-cloud-amd64",
        ];
        assert_eq!(newest("6.12", &all), Some("117+deb12"));
        assert_eq!(newest("6.1", &all), Some("0-47"));
        assert_eq!(newest("7.2", &all), Some("13+deb14"));
        assert_eq!(newest("5.10", &all), None);
        assert_eq!(newest("6.12-arm64", &all), Some("115+deb12"));
        assert_eq!(newest("7.3", &all), None);
    }
}
