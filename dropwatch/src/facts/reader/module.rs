//! Whether a part of the kernel is there, so that asking it does not load it: that would change the system.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// Whether a module is loaded, or its code is in the kernel itself, where `function` is one of its functions.
pub(super) fn is_there(module: &str, function: &str) -> bool {
    if Path::new("/sys/module").join(module).exists() || !Path::new("/proc/modules").exists() {
        return true;
    }
    // Code of the kernel's own has a folder there only if it has parameters: the symbols tell.
    let Ok(file) = File::open("/proc/kallsyms") else {
        return true;
    };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        if line.split_ascii_whitespace().nth(2) == Some(function) {
            return true;
        }
        line.clear();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_or_built_in_is_there() {
        assert!(is_there("no_such_module", "schedule"));
        if Path::new("/proc/modules").exists() {
            assert!(!is_there("no_such_module", "no_such_function"));
        }
    }
}
