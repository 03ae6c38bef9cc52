//! `nfqueue_mark`: the verdict of a queue program carries a mark that a later rule drops.
//!
//! See [`case`] for what playing means, [`twins`] for networks that lose nothing and [`decoys`] for
//! losses that look much the same.

use self::case::play;
use self::cases::{
    FORWARD, GSO, GSO_WHOLE, IPV6, JUMP, LATE, NFT, NFT_ONLY, OTHER_BITS, REPEAT, SEED, SEED_NFT,
    SERVICE,
};
use super::{Kind, Scenario};

pub mod case;
pub mod cases;
pub mod decoys;
mod facts;
pub mod twins;

/// The cause's stem.
pub const CAUSE: &str = "nfqueue_mark";
/// The queue's number.
pub const QUEUE: u16 = 80;
/// The queue program.
pub const COMM: &str = "inspector";
/// The mark that the firewall drops.
pub const MARK: u32 = 0x8000;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "nfqueue_seed_legacy",
        kind: Kind::Scenario,
        about: "the incident: a program sets the mark that KUBE-FIREWALL drops",
        run: |lab| play(lab, &SEED),
    },
    Scenario {
        name: "nfqueue_seed_nft",
        kind: Kind::Scenario,
        about: "the same by iptables-nft",
        run: |lab| play(lab, &SEED_NFT),
    },
    Scenario {
        name: "nfqueue_nft_drop",
        kind: Kind::Scenario,
        about: "iptables queues, nft drops, in a chain that is jumped to",
        run: |lab| play(lab, &NFT),
    },
    Scenario {
        name: "nfqueue_nft_only",
        kind: Kind::Scenario,
        about: "nft queues and drops, in one table of both families",
        run: |lab| play(lab, &NFT_ONLY),
    },
    Scenario {
        name: "nfqueue_forward",
        kind: Kind::Scenario,
        about: "queued at PREROUTING, dropped at FORWARD",
        run: |lab| play(lab, &FORWARD),
    },
    Scenario {
        name: "nfqueue_service",
        kind: Kind::Scenario,
        about: "the same with DNAT between the two, dropped by nft",
        run: |lab| play(lab, &SERVICE),
    },
    Scenario {
        name: "nfqueue_late",
        kind: Kind::Scenario,
        about: "the verdict comes 1.5 s after the packet was queued",
        run: |lab| play(lab, &LATE),
    },
    Scenario {
        name: "nfqueue_gso",
        kind: Kind::Scenario,
        about: "large packets of a transfer, which the kernel segments for the queue",
        run: |lab| play(lab, &GSO),
    },
    Scenario {
        name: "nfqueue_gso_whole",
        kind: Kind::Scenario,
        about: "large packets of a transfer, which the program takes whole",
        run: |lab| play(lab, &GSO_WHOLE),
    },
    Scenario {
        name: "nfqueue_ipv6",
        kind: Kind::Scenario,
        about: "the incident in IPv6",
        run: |lab| play(lab, &IPV6),
    },
    Scenario {
        name: "nfqueue_jump",
        kind: Kind::Scenario,
        about: "the mark decides on a jump, the chain that it leads to drops",
        run: |lab| play(lab, &JUMP),
    },
    Scenario {
        name: "nfqueue_other_bits",
        kind: Kind::Scenario,
        about: "a MARK rule has set another bit before, which the program keeps",
        run: |lab| play(lab, &OTHER_BITS),
    },
    Scenario {
        name: "nfqueue_repeat",
        kind: Kind::Scenario,
        about: "the program's verdict is to repeat the hook, with a mark against a loop",
        run: |lab| play(lab, &REPEAT),
    },
];
