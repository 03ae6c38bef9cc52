//! The validated form of a live session's options.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use crate::{
    attach::load::Settings,
    causes, cli,
    exit::Failure,
    facts::reader::selected::netns_at,
    output::{Selection, capture_file::is_same},
};

/// A live session.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the kernel side.
    pub kernel: Settings,
    /// Explain rather than list.
    pub explain: bool,
    /// Output format.
    pub format: cli::Format,
    /// What to show.
    pub selection: Selection,
    /// Stop after this many shown drops or cases.
    pub count: Option<u64>,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Capture to write.
    pub record: Option<PathBuf>,
    /// File to create when attached.
    pub ready_file: Option<PathBuf>,
}

impl Config {
    /// Checks and resolves what was typed.
    pub fn new(args: cli::Live) -> Result<Self> {
        let selection = Selection::new(args.output.cause);
        if let (Some(record), Some(ready)) = (&args.record, &args.ready_file)
            && is_same(record, ready)
        {
            let path = ready.display();
            return Err(Failure::Usage.because(format!(
                "--record and --ready-file are the same file: {path}"
            )));
        }
        Ok(Self {
            kernel: Settings {
                ring_bytes: args.ring_size,
                budget: args.budget,
                netns: args.netns.as_deref().map(netns).transpose()?,
                dev: args.dev.map(dev).transpose()?,
                sysctls: causes::sysctls(),
                forced: args.force.into_iter().collect(),
            },
            explain: args.explain || selection.is_narrow(),
            format: args.output.format,
            selection,
            count: args.count,
            duration: args.duration,
            record: args.record,
            ready_file: args.ready_file,
        })
    }
}

/// Where the numbers of namespaces begin: `PROC_DYNAMIC_FIRST` (fs/proc/generic.c), and since 6.18 those of the first
/// namespaces a few below it (include/uapi/linux/nsfs.h).
const FIRST_NETNS: u32 = 0xefff_fff0;

/// A namespace given as inode number, name or path.
fn netns(text: &str) -> Result<u32> {
    let wrong = |why: &str| Failure::Usage.because(format!("--netns {text}: {why}"));
    if text.is_empty() {
        return Err(Failure::Usage.because("--netns: a number, name or path is needed"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().ok().filter(|number| *number >= FIRST_NETNS);
        return number.ok_or_else(|| wrong("namespaces have numbers like 4026531840"));
    }
    let path = if text.contains('/') {
        PathBuf::from(text)
    } else {
        PathBuf::from("/run/netns").join(text)
    };
    netns_at(&path).map_err(|why| wrong(&format!("{}: {why}", path.display())))
}

/// A device name or a prefix of one. What the kernel takes for none (`dev_valid_name`, net/core/dev.c) matches nothing.
fn dev(text: String) -> Result<String> {
    let name = text.strip_suffix('*').unwrap_or(&text);
    let odd = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | ':' | '*');
    let dots = matches!(text.as_str(), "." | "..");
    if name.len() > 15 || name.contains(odd) || text.is_empty() || dots {
        return Err(Failure::Usage.because(format!(
            "--dev {text}: a device name of at most 15 characters is needed, without blanks, / and :, and * only at its end"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_number_or_a_file() {
        assert_eq!(netns("4026531833").expect("a number"), 4_026_531_833);
        assert!(netns("/proc/self/ns/net").is_ok());
        for wrong in [
            "no-such-namespace",
            "",
            "0",
            "1",
            "4026530000",
            "99999999999",
            "-1",
            "/etc/passwd",
            "/proc/self/ns/mnt",
            "..",
            "/",
        ] {
            let error = netns(wrong).expect_err(wrong);
            assert_eq!(crate::exit::code(&error), 2, "{wrong}");
        }
    }

    #[test]
    fn a_capture_is_no_ready_file() {
        use clap::Parser as _;
        let config = |ready: &str| {
            let typed = ["dropwatch", "--record", "x", "--ready-file", ready];
            Config::new(cli::Cli::try_parse_from(typed).expect("options").live)
        };
        assert!(config("y").is_ok());
        let error = config("./x").expect_err("the same file");
        assert_eq!(crate::exit::code(&error), 2);
    }

    #[test]
    fn device_patterns_end_with_the_star() {
        assert!(dev("lxc*".into()).is_ok());
        for wrong in ["l*c", "", "a b", "eth0:1", "a/b", ".", "..", "eth0\n"] {
            assert!(dev(wrong.into()).is_err(), "{wrong:?}");
        }
        assert!(dev("a-name-that-is-too-long".into()).is_err());
    }
}
