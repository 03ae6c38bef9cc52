//! Kernel addresses to `symbol+offset`.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// Lines of the list: some hundred symbols of each processor's own data may come first, whose addresses begin at zero.
const A_PIECE: usize = 4096;

/// What the names of paddings before functions begin with: half of a kernel's text symbols (CONFIG_PREFIX_SYMBOLS, 6.4), and
/// no code runs there. What returns to one was called by the end of the function before it.
const PADDING: &str = "__pfx_";

/// Text symbols by address: some 60 000, which stay in memory, so all names are in one piece.
#[derive(Debug, Default)]
pub struct Symbols {
    sorted: Vec<Symbol>,
    /// Names, each ended by a NUL.
    names: String,
}

/// One of them. Packed: a third less than a pair.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    address: u64,
    /// Where its name begins in `names`.
    name: u32,
}

impl Symbols {
    /// Reads `/proc/kallsyms`. Empty when the kernel hides addresses (kptr_restrict) or has none.
    #[must_use]
    pub fn read() -> Self {
        let Ok(file) = File::open("/proc/kallsyms") else {
            return Self::default();
        };
        let mut symbols = Self::default();
        let mut lines = BufReader::with_capacity(1 << 16, file);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            symbols.add(&line);
            line.clear();
        }
        symbols.sort();
        symbols
    }

    fn add(&mut self, line: &str) {
        if let Some((address, name)) = parse(line) {
            self.sorted.push(Symbol {
                address,
                name: self.names.len() as u32,
            });
            self.names.push_str(name);
            self.names.push('\0');
        }
    }

    fn sort(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The symbol that an address lies in, and the distance from its start. `None` when unknown.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.sorted.partition_point(|at| at.address <= address);
        let Symbol {
            address: start,
            name,
        } = *self.sorted.get(after.checked_sub(1)?)?;
        // No kernel function is a megabyte long: the address is in something that kallsyms does not list.
        let offset = address - start;
        let name = self.names[name as usize..].split('\0').next()?;
        (offset < 1 << 20).then_some((name, offset))
    }
}

/// Whether the kernel tells addresses: where it hides them, all are zero. Quick: a first piece of the list has some that
/// are not.
#[must_use]
pub fn readable() -> bool {
    let Ok(file) = File::open("/proc/kallsyms") else {
        return false;
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    lines.take(A_PIECE).any(|line| {
        let address = line.split(' ').next().unwrap_or_default();
        address.bytes().any(|digit| digit != b'0')
    })
}

/// `ffffffff81000000 T name\t[module]`; functions only.
fn parse(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    let function = matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with(PADDING);
    (address != 0 && function).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_last_symbol_before_it() {
        let lines = [
            "ffffffff81000100 T second\n",
            "ffffffff81000000 t first\t[nf_tables]\n",
            "ffffffff81000050 d data\n",
            "ffffffff810000f0 t __pfx_second\n",
            "0000000000000000 T hidden\n",
        ];
        let mut symbols = Symbols::default();
        lines.iter().for_each(|line| symbols.add(line));
        symbols.sort();
        assert_eq!(symbols.find(0xffff_ffff_8100_0060), Some(("first", 0x60)));
        assert_eq!(symbols.find(0xffff_ffff_8100_00f0), Some(("first", 0xf0)));
        assert_eq!(symbols.find(0xffff_ffff_8100_0100), Some(("second", 0)));
        assert_eq!(symbols.find(0xffff_ffff_8000_0000), None);
        assert_eq!(symbols.find(0xffff_ffff_9000_0000), None);
    }
}
