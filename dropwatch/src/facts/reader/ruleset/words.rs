//! The words of a line that iptables-save printed.

/// The words of a line, as a shell would take them: double quotes and backslashes.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' if !quoted => words.extend(word.take()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// A number as iptables writes it: decimal or hexadecimal.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A value with its mask, all bits where none is given: `0x8000/0x8000`.
pub(super) fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// Ports: `80`, `:80`, `1000:2000`, `53,5353,6000:6010`. `None` when one is a name.
pub(super) fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let span = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let port = |text: &str, open: u16| match text {
            "" => Some(open),
            text => text.parse().ok(),
        };
        Some((port(first, 0)?, port(last, u16::MAX)?))
    };
    text.split(',').map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_like_a_shell_does() {
        assert_eq!(words(r#"a  "b c\"\\d" e"f"#), ["a", "b c\"\\d", "ef"]);
    }

    #[test]
    fn numbers_and_ports() {
        assert_eq!(masked("0x8000/0x8000"), Some((0x8000, 0x8000)));
        assert_eq!(masked("5"), Some((5, u32::MAX)));
        assert_eq!(masked("x/1"), None);
        assert_eq!(ports("80"), Some(vec![(80, 80)]));
        assert_eq!(
            ports("53,6000:6010,:7,9:"),
            Some(vec![(53, 53), (6000, 6010), (0, 7), (9, 65535)])
        );
        assert_eq!(ports("http"), None);
    }
}
