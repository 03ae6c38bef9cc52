//! Lines of a sysctl.d file.
//!
//! Follows systemd `src/sysctl/sysctl.c` (`parse_line`) and `src/basic/sysctl-util.c`
//! (`sysctl_normalize`).

use serde::{Deserialize, Serialize};

/// A line that systemd-sysctl understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Line number, from 1.
    pub number: u32,
    /// The line without surrounding white space.
    pub text: String,
    /// The key in normal form (see [`normalize`]); may be a pattern.
    pub key: String,
    /// The value, or `None` for an exclusion (`-key` without `=`).
    pub value: Option<String>,
    /// `-key = value`: a failing write is not reported.
    pub ignore_failure: bool,
}

/// What a file consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    /// Settings and exclusions, in order.
    pub lines: Vec<Line>,
    /// Lines that systemd-sysctl refuses with a warning: number and text.
    pub refused: Vec<(u32, String)>,
}

/// White space as systemd's `strstrip` sees it.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Reads the text of one file.
///
/// Lines end at `\n`, `\r` or NUL, as in systemd's `read_line`; the number counts `\n` only, which
/// is what an editor shows. A `#` behind a value is part of the value.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (index, physical) in text.split('\n').enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        for part in physical.split(['\r', '\0']) {
            let part = part.trim_matches(SPACE);
            if part.is_empty() || part.starts_with(['#', ';']) {
                continue;
            }
            match line(number, part) {
                Some(line) => parsed.lines.push(line),
                None => parsed.refused.push((number, part.to_owned())),
            }
        }
    }
    parsed
}

fn line(number: u32, text: &str) -> Option<Line> {
    let (dashed, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key, Some(value.trim_matches(SPACE).to_owned())),
        None if dashed => (rest, None),
        None => return None,
    };
    Some(Line {
        number,
        text: text.to_owned(),
        key: normalize(key.trim_matches(SPACE)),
        ignore_failure: dashed && value.is_some(),
        value,
    })
}

/// Brings a key into the form of a path below `/proc/sys`.
///
/// The first separator decides: if it is a slash, dots are part of names; if it is a dot, dots
/// and slashes swap roles. So `net.ipv4.conf.eth0/100.rp_filter` and
/// `net/ipv4/conf/eth0.100/rp_filter` are the same key.
pub fn normalize(key: &str) -> String {
    let swap = key
        .find(['/', '.'])
        .is_some_and(|at| key[at..].starts_with('.'));
    let swapped: String = key
        .chars()
        .map(|c| match c {
            '.' if swap => '/',
            '/' if swap => '.',
            other => other,
        })
        .collect();
    let parts: Vec<&str> = swapped
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

/// The key of a device's `rp_filter` (or of `all` and `default`) in normal form.
pub fn rp_filter_key(device: &str) -> String {
    format!("net/ipv4/conf/{device}/rp_filter")
}

/// systemd's `string_is_glob`.
pub(crate) fn is_glob(key: &str) -> bool {
    key.contains(['*', '?', '['])
}

/// True if a pattern (in normal form) matches a key, part by part.
pub(crate) fn matches(pattern: &str, key: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut keys = key.split('/');
    loop {
        match (patterns.next(), keys.next()) {
            (None, None) => return true,
            (Some(p), Some(k)) if p == k || (is_glob(p) && super::fnmatch(p, k)) => {}
            _ => return false,
        }
    }
}

/// The number the kernel reads from a value written to an integer setting.
///
/// `proc_dointvec` takes the first word, in C notation (`0x10`, `010`), and ignores the rest.
pub(crate) fn number(value: &str) -> Option<i64> {
    let word = value.split_ascii_whitespace().next()?;
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let magnitude = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8).ok()?
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        digits.parse().ok()?
    } else {
        return None;
    };
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (written, want) in [
            ("net.ipv4.conf.all.rp_filter", "net/ipv4/conf/all/rp_filter"),
            ("net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/rp_filter"),
            (
                "net/ipv4/conf/eth0.100/rp_filter",
                "net/ipv4/conf/eth0.100/rp_filter",
            ),
            (
                "net.ipv4.conf.eth0/100.rp_filter",
                "net/ipv4/conf/eth0.100/rp_filter",
            ),
            // A common mistake: this names a file that does not exist.
            (
                "net.ipv4.conf.eth0.100.rp_filter",
                "net/ipv4/conf/eth0/100/rp_filter",
            ),
            (
                "/net/ipv4//conf/./lo/rp_filter",
                "net/ipv4/conf/lo/rp_filter",
            ),
            ("kernel", "kernel"),
            ("", ""),
        ] {
            assert_eq!(normalize(written), want, "{written}");
        }
    }

    #[test]
    fn lines() {
        let parsed = parse(
            "# c\n ; c\n\n  a.b =  1 2 \n-c.d=x=y\n- e.f = 3\n-g.h.*\nnonsense\na.b = 1 # no comment\n",
        );
        let short: Vec<_> = parsed
            .lines
            .iter()
            .map(|l| {
                (
                    l.number,
                    l.key.as_str(),
                    l.value.as_deref(),
                    l.ignore_failure,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                (4, "a/b", Some("1 2"), false),
                (5, "c/d", Some("x=y"), true),
                (6, "e/f", Some("3"), true),
                (7, "g/h/*", None, false),
                (9, "a/b", Some("1 # no comment"), false),
            ]
        );
        assert_eq!(parsed.refused, [(8, "nonsense".to_owned())]);
    }

    #[test]
    fn foreign_line_ends() {
        let parsed = parse("a.b = 1\r\nc.d = 2\r\n\r\ne.f = 3\rg.h = 4");
        let short: Vec<_> = parsed
            .lines
            .iter()
            .map(|l| (l.number, l.key.as_str(), l.value.as_deref()))
            .collect();
        let want = [
            (1, "a/b", Some("1")),
            (2, "c/d", Some("2")),
            (4, "e/f", Some("3")),
            (4, "g/h", Some("4")),
        ];
        assert_eq!(short, want);
    }

    #[test]
    fn numbers() {
        for (text, want) in [
            ("0", Some(0)),
            ("2", Some(2)),
            ("1 # note", Some(1)),
            ("00", Some(0)),
            ("0x2", Some(2)),
            ("010", Some(8)),
            ("-1", Some(-1)),
            ("", None),
            ("x", None),
            ("1x", None),
            ("+1", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
