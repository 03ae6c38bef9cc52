//! The `rp_filter` settings of a namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use super::netns::Namespaces;
use crate::facts::RpFilterSettings;

/// Shows the namespace of the thread that looks.
const FOLDER: &str = "/proc/sys/net/ipv4/conf";

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    until: Instant,
) -> Result<RpFilterSettings, String> {
    let file = namespaces.open(netns)?;
    namespaces.inside(netns, &file, || read_folder(Path::new(FOLDER), until))
}

fn read_folder(folder: &Path, until: Instant) -> Result<RpFilterSettings, String> {
    let at = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut settings = RpFilterSettings::default();
    let (mut all, mut default) = (None, None);
    let mut switches =
        ["src_valid_mark", "accept_local", "forwarding"].map(|file| (Vec::new(), file));
    for entry in fs::read_dir(folder).map_err(|e| at(folder, &e))? {
        let entry = entry.map_err(|e| at(folder, &e))?;
        if Instant::now() >= until {
            return Err(at(folder, &"took too long"));
        }
        let path = entry.path().join("rp_filter");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // The device went away.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(at(&path, &e)),
        };
        let value = text.trim().parse().map_err(|e| at(&path, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        for (list, file) in &mut switches {
            // The device may have gone away, and then nothing asks for it.
            let text = fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            if text.trim().parse::<i32>().is_ok_and(|value| value != 0) {
                list.push(name.clone());
            }
        }
        match name {
            name if name == "all" => all = Some(value),
            name if name == "default" => default = Some(value),
            name => settings.devices.push((name, value)),
        }
    }
    settings.all = all.ok_or_else(|| at(folder, &"no entry 'all'"))?;
    settings.default = default.ok_or_else(|| at(folder, &"no entry 'default'"))?;
    settings.devices.sort();
    let [src_valid_mark, accept_local, forwarding] = switches.map(|(mut list, _)| {
        list.sort();
        Some(list)
    });
    settings.src_valid_mark = src_valid_mark;
    settings.accept_local = accept_local;
    settings.forwarding = forwarding;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn the_own_settings_are_read() {
        let settings = read_folder(Path::new(FOLDER), later()).expect("readable by everyone");
        assert!(settings.devices.iter().any(|(name, _)| name == "lo"));
        assert!(settings.devices.is_sorted());
        assert!((0..=2).contains(&settings.all) && (0..=2).contains(&settings.default));
    }

    #[test]
    fn failures_name_the_place() {
        let why = read_folder(Path::new("/nowhere/conf"), later()).expect_err("no such folder");
        assert_eq!(why, "/nowhere/conf: No such file or directory (os error 2)");
        let why = read_folder(Path::new(FOLDER), Instant::now()).expect_err("no time");
        assert_eq!(why, "/proc/sys/net/ipv4/conf: took too long");
    }
}
