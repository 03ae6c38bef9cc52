//! Cuts BTF down to what dropwatch asks of it: some kilobytes of five megabytes.
//!
//! Structures keep their size and the members that are asked for, pointers lose what they point to, functions keep
//! the names of the structures that their arguments point to. The format: Documentation/bpf/btf.rst, v6.12.

use std::collections::{BTreeMap, BTreeSet, HashMap};

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FWD: u32 = 7;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const PTR: u32 = 2;
const TYPEDEF: u32 = 8;
const TYPE_TAG: u32 = 18;

/// What is to be kept.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// Structure and member, with dots for members of members.
    pub members: Vec<(&'a str, &'a str)>,
    /// Functions.
    pub functions: Vec<&'a str>,
    /// Names of tracepoints.
    pub tracepoints: Vec<&'a str>,
    /// Enums.
    pub enums: Vec<&'a str>,
}

/// One type: its first three words, and those behind them.
#[derive(Clone, Debug)]
struct Entry {
    name: u32,
    info: u32,
    size_or_type: u32,
    rest: Vec<u32>,
}

impl Entry {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn is_structure(&self) -> bool {
        matches!(self.kind(), STRUCT | UNION)
    }

    /// Whether it only gives another type a name or a qualifier.
    fn is_wrapper(&self) -> bool {
        matches!(self.kind(), 8..=11 | TYPE_TAG)
    }

    fn with_vlen(&self, vlen: usize) -> u32 {
        self.info & !0xffff | vlen as u32
    }
}

/// Types with their strings; ids count from 1.
#[derive(Debug, Default)]
pub struct Btf {
    types: Vec<Entry>,
    strings: Vec<u8>,
}

impl Btf {
    /// Adds BTF; the second one builds on the first, as that of modules does.
    pub fn add(&mut self, bytes: &[u8]) {
        let word =
            |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(0) as u16, MAGIC, "BTF of this machine's byte order");
        let base = word(4) as usize;
        let (types, strings) = (base + word(8) as usize, base + word(16) as usize);
        let end = types + word(12) as usize;
        let mut at = types;
        while at < end {
            let info = word(at + 4);
            let vlen = (info & 0xffff) as usize;
            let words = match info >> 24 & 0x1f {
                1 | 14 | 17 => 1,
                ARRAY => 3,
                STRUCT | UNION | 15 | 19 => 3 * vlen,
                6 | FUNC_PROTO => 2 * vlen,
                _ => 0,
            };
            let rest = (0..words).map(|n| word(at + 12 + 4 * n)).collect();
            self.types.push(Entry {
                name: word(at),
                info,
                size_or_type: word(at + 8),
                rest,
            });
            at += 12 + 4 * words;
        }
        self.strings
            .extend(&bytes[strings..strings + word(20) as usize]);
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    fn name(&self, at: u32) -> &str {
        let bytes = &self.strings[at as usize..];
        let end = bytes.iter().position(|b| *b == 0).expect("an end");
        std::str::from_utf8(&bytes[..end]).expect("a name")
    }

    fn named(&self, name: &str, kinds: impl Fn(&Entry) -> bool) -> Vec<u32> {
        let ids = self.types.iter().zip(1..);
        let found = ids.filter(|(entry, _)| kinds(entry) && self.name(entry.name) == name);
        found.map(|(_, id)| id).collect()
    }

    fn strip(&self, mut id: u32) -> u32 {
        while let Some(entry) = self.entry(id)
            && entry.is_wrapper()
        {
            id = entry.size_or_type;
        }
        id
    }

    /// Notes which members lead to the path; whether there is such a path.
    fn walk(&self, id: u32, path: &[&str], needed: &mut BTreeMap<u32, BTreeSet<usize>>) -> bool {
        let id = self.strip(id);
        let (Some(entry), Some((first, further))) = (self.entry(id), path.split_first()) else {
            return path.is_empty();
        };
        if !entry.is_structure() {
            return false;
        }
        for (index, member) in entry.rest.chunks(3).enumerate() {
            let name = self.name(member[0]);
            let found = if name == *first {
                further.is_empty() || self.walk(member[1], further, needed)
            } else {
                name.is_empty() && self.walk(member[1], path, needed)
            };
            if found {
                needed.entry(id).or_default().insert(index);
                return true;
            }
        }
        false
    }

    /// Cuts it down.
    pub fn trim(&self, wanted: &Wanted<'_>) -> Vec<u8> {
        let mut needed = BTreeMap::new();
        let mut roots = BTreeSet::new();
        for (structure, path) in &wanted.members {
            let path: Vec<&str> = path.split('.').collect();
            for id in self.named(structure, Entry::is_structure) {
                if self.walk(id, &path, &mut needed) {
                    roots.insert(id);
                }
            }
        }
        for name in &wanted.functions {
            roots.extend(self.named(name, |e| e.kind() == FUNC));
        }
        for name in &wanted.tracepoints {
            let name = format!("btf_trace_{name}");
            roots.extend(self.named(&name, |e| e.kind() == TYPEDEF));
        }
        for name in &wanted.enums {
            roots.extend(self.named(name, |e| e.kind() == 6));
        }
        let mut writer = Writer {
            from: self,
            needed,
            types: Vec::new(),
            strings: vec![0],
            known: HashMap::new(),
        };
        for id in roots {
            writer.put(id);
        }
        writer.bytes()
    }
}

struct Writer<'a> {
    from: &'a Btf,
    needed: BTreeMap<u32, BTreeSet<usize>>,
    types: Vec<Entry>,
    strings: Vec<u8>,
    /// New ids by old ones and by what stands for them.
    known: HashMap<(u32, &'static str), u32>,
}

impl Writer<'_> {
    fn string(&mut self, at: u32) -> u32 {
        if at == 0 {
            return 0;
        }
        let text = self.from.name(at).as_bytes().to_vec();
        let start = self.strings.len() as u32;
        self.strings.extend(text);
        self.strings.push(0);
        start
    }

    fn push(&mut self, entry: Entry) -> u32 {
        self.types.push(entry);
        self.types.len() as u32
    }

    /// A type as it is used by value.
    fn put(&mut self, id: u32) -> u32 {
        let Some(entry) = self.from.entry(id).cloned() else {
            return 0;
        };
        if let Some(new) = self.known.get(&(id, "value")) {
            return *new;
        }
        let name = self.string(entry.name);
        let mut entry = Entry { name, ..entry };
        match entry.kind() {
            PTR => entry.size_or_type = 0,
            ARRAY => {
                entry.rest[0] = self.put(entry.rest[0]);
                entry.rest[1] = self.put(entry.rest[1]);
            }
            STRUCT | UNION => {
                let keep = self.needed.get(&id).cloned().unwrap_or_default();
                let mut rest = Vec::new();
                for index in &keep {
                    let member = &entry.rest[3 * index..3 * index + 3];
                    let (name, kind, offset) = (member[0], member[1], member[2]);
                    rest.extend([self.string(name), self.put(kind), offset]);
                }
                entry.info = entry.with_vlen(keep.len());
                entry.rest = rest;
            }
            6 | 19 => {
                let step = if entry.kind() == 6 { 2 } else { 3 };
                for at in (0..entry.rest.len()).step_by(step) {
                    entry.rest[at] = self.string(entry.rest[at]);
                }
            }
            TYPEDEF if self.from.entry(entry.size_or_type).map(Entry::kind) == Some(PTR) => {
                // A tracepoint's: a pointer to its prototype.
                let pointer = self.from.entry(entry.size_or_type).map(|p| p.size_or_type);
                let proto = self.proto(pointer.unwrap_or_default());
                entry.size_or_type = self.push(Entry {
                    name: 0,
                    info: PTR << 24,
                    size_or_type: proto,
                    rest: Vec::new(),
                });
            }
            FUNC => entry.size_or_type = self.proto(entry.size_or_type),
            _ if entry.is_wrapper() => entry.size_or_type = self.put(entry.size_or_type),
            _ => {}
        }
        let new = self.push(entry);
        self.known.insert((id, "value"), new);
        new
    }

    /// A function's prototype; 0 when it is none.
    fn proto(&mut self, id: u32) -> u32 {
        let Some(proto) = self.from.entry(id).cloned() else {
            return 0;
        };
        if proto.kind() != FUNC_PROTO {
            return 0;
        }
        let result = self.argument(proto.size_or_type);
        let mut rest = Vec::new();
        for parameter in proto.rest.chunks(2) {
            rest.extend([self.string(parameter[0]), self.argument(parameter[1])]);
        }
        self.push(Entry {
            size_or_type: result,
            rest,
            ..proto
        })
    }

    /// A type as an argument: of what it points to, only the name is kept.
    fn argument(&mut self, id: u32) -> u32 {
        let id = self.from.strip(id);
        let Some(entry) = self.from.entry(id).cloned() else {
            return 0;
        };
        if entry.kind() != PTR {
            return self.put(id);
        }
        let target = self.from.strip(entry.size_or_type);
        if let Some(new) = self.known.get(&(target, "pointer")) {
            return *new;
        }
        let to = match self.from.entry(target).cloned() {
            Some(to) if to.is_structure() || to.kind() == FWD => {
                let name = self.string(to.name);
                self.push(Entry {
                    name,
                    info: FWD << 24,
                    size_or_type: 0,
                    rest: Vec::new(),
                })
            }
            _ => 0,
        };
        let new = self.push(Entry {
            size_or_type: to,
            ..entry
        });
        self.known.insert((target, "pointer"), new);
        new
    }

    fn bytes(&self) -> Vec<u8> {
        let words: Vec<u32> = self
            .types
            .iter()
            .flat_map(|e| {
                [e.name, e.info, e.size_or_type]
                    .into_iter()
                    .chain(e.rest.iter().copied())
            })
            .collect();
        let types = 4 * words.len() as u32;
        let header = [
            u32::from(MAGIC) | 1 << 16,
            HEADER as u32,
            0,
            types,
            types,
            self.strings.len() as u32,
        ];
        let words = header.into_iter().chain(words);
        let mut bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        bytes.extend(&self.strings);
        bytes
    }
}
