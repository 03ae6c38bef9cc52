//! Shell patterns as fnmatch(3) without flags reads them.
//!
//! systemd matches one path component at a time (`path_glob_can_match`), udev matches names; both
//! call fnmatch. `*` and `?` therefore may match any character here. Equivalence classes and
//! collating symbols (`[=a=]`, `[.a.]`) are not supported: they cannot occur in a sensible
//! device pattern.
//!
//! The C library is not called: a static build has musl's, while the programs on the machine use
//! glibc's. The tests compare with glibc.

/// True if `pattern` matches all of `text`.
///
/// Understands `*`, `?`, `[abc]`, `[a-z]`, `[!a]`, `[^a]`, `[[:digit:]]` and `\` as escape. A `[`
/// without its `]` stands for itself.
pub fn fnmatch(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on if the current try fails: behind the last `*`, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if let Some(next) = one(&pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        let Some((after, from)) = retry else {
            return false;
        };
        retry = Some((after, from + 1));
        p = after;
        t = from + 1;
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Matches one character; returns the position after the pattern element that took it.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at + 1, c) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (c == '[').then_some(at + 1),
        },
        '\\' => match pattern.get(at + 1) {
            Some(escaped) => (*escaped == c).then_some(at + 2),
            None => None,
        },
        plain => (plain == c).then_some(at + 1),
    }
}

/// Reads a bracket expression; `None` if it is not closed, else (matches, position after it).
fn bracket(pattern: &[char], mut at: usize, c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    if negated {
        at += 1;
    }
    let start = at;
    let mut hit = false;
    loop {
        let mut low = *pattern.get(at)?;
        if low == ']' && at > start {
            return Some((hit != negated, at + 1));
        }
        if low == '['
            && pattern.get(at + 1) == Some(&':')
            && let Some(length) = pattern[at + 2..].windows(2).position(|w| w == [':', ']'])
        {
            let name: String = pattern[at + 2..at + 2 + length].iter().collect();
            hit |= class(&name, c);
            at += length + 4;
            continue;
        }
        if low == '\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        at += 1;
        let mut high = low;
        if pattern.get(at) == Some(&'-') && !matches!(pattern.get(at + 1), None | Some(']')) {
            at += 1;
            high = *pattern.get(at)?;
            if high == '\\' {
                at += 1;
                high = *pattern.get(at)?;
            }
            at += 1;
        }
        hit |= (low..=high).contains(&c);
    }
}

/// The POSIX character classes, for ASCII.
fn class(name: &str, c: char) -> bool {
    match name {
        "alnum" => c.is_ascii_alphanumeric(),
        "alpha" => c.is_ascii_alphabetic(),
        "blank" => c == ' ' || c == '\t',
        "cntrl" => c.is_ascii_control(),
        "digit" => c.is_ascii_digit(),
        "graph" => c.is_ascii_graphic(),
        "lower" => c.is_ascii_lowercase(),
        "print" => c.is_ascii_graphic() || c == ' ',
        "punct" => c.is_ascii_punctuation(),
        "space" => c.is_ascii_whitespace() || c == '\u{b}',
        "upper" => c.is_ascii_uppercase(),
        "xdigit" => c.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    use std::ffi::CString;

    use super::fnmatch;

    #[test]
    fn table() {
        for (pattern, text, want) in [
            ("lxc*", "lxc1234", true),
            ("lxc*", "lxc", true),
            ("lxc*", "xlxc", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*.100", "eth0.100", true),
            ("e*0.*", "eth0.100", true),
            ("e?h0", "eth0", true),
            ("e?h0", "eh0", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("eth[0-3]", "eth2", true),
            ("eth[0-3]", "eth4", false),
            ("eth[!0-3]", "eth4", true),
            ("eth[^0-3]", "eth2", false),
            ("eth[]x]", "eth]", true),
            ("eth[]x]", "ethx", true),
            ("eth[x-]", "eth-", true),
            ("eth[[:digit:]]", "eth7", true),
            ("eth[[:digit:]]", "ethx", false),
            ("eth[", "eth[", true),
            ("eth[0", "eth0", false),
            ("eth\\*", "eth*", true),
            ("eth\\*", "eth0", false),
            ("e[\\]]", "e]", true),
            ("é?", "éx", true),
        ] {
            assert_eq!(fnmatch(pattern, text), want, "{pattern} on {text}");
        }
    }

    /// What glibc says, which is what systemd, udev and procps ask.
    #[cfg(target_env = "gnu")]
    fn of_libc(pattern: &str, text: &str) -> bool {
        let [pattern, text] = [pattern, text].map(|s| CString::new(s).expect("no NUL"));
        // SAFETY: both are strings that end in NUL and live until the call returns.
        unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), 0) == 0 }
    }

    /// Every pattern of up to five of these characters, on every text of up to two.
    #[cfg(target_env = "gnu")]
    #[test]
    fn agrees_with_the_c_library() {
        let words = |alphabet: &[char], longest: usize| {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..longest {
                last = last
                    .iter()
                    .flat_map(|word| alphabet.iter().map(move |c| format!("{word}{c}")))
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let texts = words(&['a', 'b', '-', ']', '[', '\\'], 2);
        let mut wrong = Vec::new();
        for pattern in words(&['a', 'b', '*', '?', '[', ']', '!', '-', '\\'], 5) {
            for text in &texts {
                if fnmatch(&pattern, text) != of_libc(&pattern, text) {
                    wrong.push(format!("{pattern} on {text}"));
                }
            }
        }
        // An unclosed bracket, a star and a dash: glibc stumbles, and no device is called so.
        wrong.sort();
        let known = ["**[*-", "*[**-", "*[*-", "[***-", "[**-", "[*-"];
        assert_eq!(wrong, known.map(|pattern| format!("{pattern} on [-")));
    }
}
