//! Lines for people, on standard output.
//!
//! A reader that has gone (`| head`) is no error: what is under way is finished and cleaned up.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line.
pub fn line(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}
