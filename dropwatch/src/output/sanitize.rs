//! Names from the system can carry escape sequences (a process may call itself anything): control
//! characters are shown, not sent to a terminal.

use std::borrow::Cow;

/// The text with control characters escaped.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(bad) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .flat_map(|c| {
            if bad(c) {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect::<String>()
        .into()
}

/// Most characters of a message on stderr: it may quote what it is about, a line of a capture for one.
const MOST_OF_A_LINE: usize = 2000;

/// The text as one line of bearable length, to be shown on stderr.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(MOST_OF_A_LINE)
        .map(|c| if c == '\n' { ' ' } else { c })
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    sanitize(&line).into_owned()
}

/// C0, DEL and C1 control characters, those that turn the writing direction round, and those that end lines.
#[must_use]
pub fn bad(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_and_letters_kept() {
        assert_eq!(sanitize("nginx: Prozeß"), "nginx: Prozeß");
        assert_eq!(sanitize("a\x1b[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(sanitize("\u{202e}gpj"), "\\u{202e}gpj");
    }

    #[test]
    fn what_goes_to_stderr_is_one_short_line_without_escapes() {
        let evil = "a\x1b]0;title\x07\n#2 rp_filter\u{9b}31m\u{202e}\u{2028}\r";
        let line = one_line(&evil.repeat(100_000));
        assert!(line.chars().all(|c| !bad(c)), "{line}");
        assert!(line.len() < 20_000 && line.ends_with('…'));
        assert_eq!(one_line("short\nenough"), "short enough");
    }
}
