//! The only writer of text: whatever is written, control characters are shown and not sent, colours are ours alone, and
//! long lines are broken where the terminal ends.

use std::{
    fmt::Display,
    io::{self, Write},
};

use super::sanitize::sanitize;

/// How text is marked, as SGR codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// Important.
    Bold,
    /// A cause.
    Cause,
    /// A command or a file's content.
    Code,
}

impl Style {
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Dim => Some("2"),
            Self::Bold => Some("1"),
            Self::Cause => Some("1;31"),
            Self::Code => Some("36"),
        }
    }
}

/// What the terminal can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns; `None` for no terminal: lines are not broken.
    pub width: Option<usize>,
}

impl Terminal {
    /// Least columns that lines are broken for.
    const NARROWEST: usize = 40;

    /// That of stdout, with what the environment says: `NO_COLOR`, `CLICOLOR`, `TERM`, `COLUMNS`.
    #[must_use]
    pub fn of_stdout() -> Self {
        let choice = anstream::AutoStream::choice(&io::stdout());
        let columns = std::env::var("COLUMNS").ok();
        let asked = columns.and_then(|text| text.parse().ok());
        let own = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            colour: choice != anstream::ColorChoice::Never,
            width: asked.or_else(own).filter(|width: &usize| *width > 0),
        }
    }
}

/// Writes lines.
pub struct Lines<W: Write> {
    out: W,
    terminal: Terminal,
}

impl<W: Write> Lines<W> {
    /// A writer to `out`.
    pub fn new(out: W, terminal: Terminal) -> Self {
        Self { out, terminal }
    }

    /// Writes text within a line.
    pub fn text(&mut self, text: impl Display) -> io::Result<()> {
        self.styled(Style::Plain, text)
    }

    /// Writes marked text within a line.
    pub fn styled(&mut self, style: Style, text: impl Display) -> io::Result<()> {
        let text = text.to_string();
        let clean = sanitize(&text);
        match style.sgr().filter(|_| self.terminal.colour) {
            Some(sgr) => write!(self.out, "\x1b[{sgr}m{clean}\x1b[0m"),
            None => self.out.write_all(clean.as_bytes()),
        }
    }

    /// Ends the line.
    pub fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// A whole line.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        self.text(text)?;
        self.end()
    }

    /// `label  text` under a head line; further lines stand under the text.
    pub fn item(&mut self, label: &str, text: &str) -> io::Result<()> {
        const LABEL: usize = 11;
        let indent = LABEL + 3;
        let clean = sanitize(text);
        let width = self
            .terminal
            .width
            .map(|width| width.max(Terminal::NARROWEST) - indent);
        for (number, line) in broken(&clean, width).into_iter().enumerate() {
            if number == 0 {
                self.text("  ")?;
                self.styled(Style::Dim, format_args!("{label:<LABEL$}"))?;
                self.text(" ")?;
            } else {
                self.text(format_args!("{:indent$}", ""))?;
            }
            self.line(line)?;
        }
        Ok(())
    }

    /// Something to copy, under an item: never broken.
    pub fn code(&mut self, text: &str) -> io::Result<()> {
        self.text(format_args!("{:14}", ""))?;
        self.styled(Style::Code, text)?;
        self.end()
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The text in lines of at most so many characters, broken between words.
fn broken(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += more;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(terminal: Terminal, write: impl Fn(&mut Lines<&mut Vec<u8>>)) -> String {
        let mut bytes = Vec::new();
        write(&mut Lines::new(&mut bytes, terminal));
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn nothing_gets_past_the_writer() {
        let evil = "a\x1b]0;title\x07\n#2 rp_filter\u{9b}31m\u{202e}\u{2028}b";
        let text = written(Terminal::default(), |lines| {
            lines.text(evil).expect("writing");
            lines.styled(Style::Bold, evil).expect("writing");
            lines.item(evil, evil).expect("writing");
            lines.code(evil).expect("writing");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text}");
    }

    #[test]
    fn colours_are_only_ours() {
        let terminal = Terminal {
            colour: true,
            width: None,
        };
        let text = written(terminal, |lines| {
            lines.styled(Style::Code, "\x1b[0mls").expect("writing");
        });
        assert_eq!(text, "\x1b[36m\\u{1b}[0mls\x1b[0m");
    }

    #[test]
    fn lines_end_where_the_terminal_does() {
        let terminal = Terminal {
            colour: false,
            width: Some(60),
        };
        let text = written(terminal, |lines| {
            lines.item("why", &"seven77 ".repeat(30)).expect("writing");
        });
        assert!(text.lines().count() > 3);
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("              "))
        );
    }
}
