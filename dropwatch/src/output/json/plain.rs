//! How a line is written: compact, and without what a terminal would act on.

use std::io::{self, Write};

use serde_json::ser::Formatter;

use crate::output::sanitize::bad;

/// Compact JSON whose texts hold no character that a terminal acts on: JSON itself escapes only the first 32.
pub(super) struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| bad(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            // All of them are below U+10000: one code unit.
            write!(out, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;
    use serde_json::Serializer;

    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_written_raw() {
        let text = "a\u{9b}31m\u{202e}b\u{7f}\u{1b}ß\u{2028}";
        let mut bytes = Vec::new();
        text.serialize(&mut Serializer::with_formatter(&mut bytes, Plain))
            .expect("JSON");
        let json = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(json, r#""a\u009b31m\u202eb\u007f\u001bß\u2028""#);
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
