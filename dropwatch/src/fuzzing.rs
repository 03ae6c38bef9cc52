//! What the fuzz targets (`tests/fuzz`) reach of what is private: only built for them.
//!
//! Each function takes what somebody else wrote; none may panic, whatever that is.

use std::io;

use dropwatch_common::record::{
    Section, ct_clash::CtClash, ct_insert::CtInsert, ipvs::Ipvs, nfqueue::Nfqueue,
    rp_filter::RpFilter, skb_drop::SkbDrop, stack::Stack, sysctl_write::SysctlWrite,
};

use crate::{
    event::Event,
    facts::{
        reader::samples,
        ruleset::{Chain, Family, Hook, NatAction, Ruleset},
        sysctl_d::{self, ConfigFile},
    },
    ingest::decode::Decoder,
    kernel::reasons::Reasons,
    netfilter::{self, Packet},
    output::{Selection, json::Json, lines::Terminal, text::Text},
    replay,
};

/// An entry of the ring buffer, by a kernel without names of reasons.
#[must_use]
pub fn entry(bytes: &[u8]) -> Option<Event> {
    Decoder::new(Reasons::default()).entry(bytes).ok()
}

/// Kind, version and size of the sections that there are.
const SECTIONS: [(u16, u16, usize); 8] = [
    frame::<SkbDrop>(),
    frame::<RpFilter>(),
    frame::<CtInsert>(),
    frame::<CtClash>(),
    frame::<Nfqueue>(),
    frame::<Stack>(),
    frame::<SysctlWrite>(),
    frame::<Ipvs>(),
];

const fn frame<T: Section>() -> (u16, u16, usize) {
    (T::KIND, T::VERSION, size_of::<T>())
}

/// An entry of well-formed sections: the bits of the first byte say which, the other bytes fill them.
#[must_use]
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let Some((&which, mut rest)) = bytes.split_first() else {
        return Vec::new();
    };
    let mut entry = Vec::new();
    for (bit, (kind, version, size)) in SECTIONS.into_iter().enumerate() {
        if (which >> bit) & 1 == 0 {
            continue;
        }
        let end = entry.len() + size;
        entry.extend(kind.to_ne_bytes());
        entry.extend(version.to_ne_bytes());
        entry.extend(u32::try_from(size).unwrap_or(u32::MAX).to_ne_bytes());
        let (body, left) = rest.split_at(rest.len().min(end - entry.len()));
        entry.extend(body);
        entry.resize(end, 0);
        rest = left;
    }
    entry
}

/// An event as a line of a capture.
///
/// # Panics
///
/// When it cannot be written: a finding.
#[must_use]
pub fn line(event: &Event) -> String {
    serde_json::to_string(event).expect("every event can be written")
}

/// An event from its line.
///
/// # Errors
///
/// When it is none.
pub fn event(line: &str) -> Result<Event, serde_json::Error> {
    serde_json::from_str(line)
}

/// A capture, explained and listed, in text and in JSON.
///
/// # Errors
///
/// When it is none.
pub fn replay(bytes: &[u8]) -> anyhow::Result<()> {
    let none = || Selection::new(None);
    for explain in [true, false] {
        replay::replay("fuzz", bytes, explain, none(), |clock| {
            Box::new(Text::new(io::sink(), clock, Terminal::default()))
        })?;
        replay::replay("fuzz", bytes, explain, none(), |clock| {
            Box::new(Json::new(io::sink(), clock))
        })?;
    }
    Ok(())
}

/// What iptables-save prints, and what its rules would do to packets.
pub fn iptables(text: &str) {
    judged(samples::saved(text));
}

/// What `nft -j` prints, and what its rules would do to packets.
pub fn nft(json: &str) {
    if let Ok(chains) = samples::try_listed(json) {
        judged(chains);
    }
}

/// Asks everything that is asked of rule sets, for each hook.
fn judged(chains: Vec<Chain>) {
    let set = Ruleset {
        chains,
        ..Ruleset::default()
    };
    let _ = netfilter::used_mark_bits(&set);
    for hook in [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ] {
        let packet = Packet {
            protocol: Some(6),
            src: Some([10, 0, 0, 1].into()),
            dport: Some(80),
            ..Packet::at(Family::Ip, hook)
        };
        let _ = netfilter::queued_by(&set, &packet, 7, None);
        let _ = netfilter::translated_by(&set, &packet, &[NatAction::Snat, NatAction::Dnat]);
        let _ = netfilter::suspects(&set, &packet, None);
    }
}

/// Two files of sysctl.d and one of udev, cut at lines of `---`.
pub fn boot_files(text: &str) {
    let mut parts = text.split("\n---\n");
    let mut next = || parts.next().unwrap_or_default();
    let files = [
        ConfigFile::new("/etc/sysctl.d/50-a.conf", next()),
        ConfigFile::new("/usr/lib/sysctl.d/60-b.conf", next()),
        ConfigFile::new(sysctl_d::PROCPS_FILE, next()),
    ];
    let rules = [ConfigFile::new(
        "/usr/lib/udev/rules.d/99-systemd.rules",
        next(),
    )];
    let udev = sysctl_d::find_rules(&rules);
    for device in ["eth0", "lxc12", "a.b"] {
        let _ = sysctl_d::prediction(&files, &udev, device);
        let _ = sysctl_d::resolve_procps(&files, &sysctl_d::rp_filter_key(device));
        let _ = sysctl_d::advise(&files, device);
    }
}
