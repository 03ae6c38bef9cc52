//! `rp_filter`: the reverse-path filter refuses a legitimate packet.
//!
//! Each case of this list is one row: settings, traffic, what must be said. See [`case`] for what
//! playing it means, [`special`] for cases with a story of their own and [`twins`] for the same
//! network configured right.

use self::case::{Case, Key, SetBy, play, play_alternatives, play_reboot};
use super::{Kind, Scenario};
use crate::topology::files::{FileSpec, SYSCTL_FILE, UDEV_FILE, UDEV_RULES};
use crate::topology::seed::{Config, LXC};
use crate::traffic::flow::Flow;

pub mod case;
mod facts;
pub mod paths;
pub mod special;
pub mod twins;

/// The cause's stem.
pub const CAUSE: &str = "rp_filter";

/// The files of the incident.
pub const SEED_FILES: &[FileSpec] = &[
    (
        SYSCTL_FILE,
        "net.ipv4.conf.default.rp_filter=2\nnet.ipv4.conf.all.rp_filter=2\n",
    ),
    (UDEV_FILE, UDEV_RULES),
];

const SEED_SET_BY: &[SetBy] = &[
    SetBy {
        conf: "all",
        value: "2",
        file: SYSCTL_FILE,
        line: 2,
        via: "explicit",
    },
    SetBy {
        conf: "default",
        value: "2",
        file: SYSCTL_FILE,
        line: 1,
        via: "inherited",
    },
];

/// The incident: loose mode from sysctl.d on a device without an address, a health probe.
const INCIDENT: Case = Case {
    config: Config {
        all: 2,
        device: 2,
        ..Config::HEALTHY
    },
    flow: Flow::Probe,
    kind: "loose_no_address",
    key: Key::Tie,
    // Udev runs systemd-sysctl for the new device, but no line of this file is about it.
    files: SEED_FILES,
    set_by: SEED_SET_BY,
    ..Case::STRICT
};

const GLOB_FILE: &str = "/etc/sysctl.d/50-pods.conf";

/// A pattern sets the device's value, another line `all`.
const GLOB: Case = Case {
    flow: Flow::Probe,
    files: &[
        (
            GLOB_FILE,
            "# pods\nnet.ipv4.conf.all.rp_filter = 0\n\nnet.ipv4.conf.lxc*.rp_filter = 1\n",
        ),
        (UDEV_FILE, UDEV_RULES),
    ],
    udev: Some(3),
    set_by: &[SetBy {
        conf: LXC,
        value: "1",
        file: GLOB_FILE,
        line: 4,
        via: "glob",
    }],
    ..Case::STRICT
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "strict_local",
        kind: Kind::Scenario,
        about: "strict (1), the pod's datagram to the node itself",
        run: |lab| play(lab, &Case::STRICT),
    },
    Scenario {
        name: "strict_local_tcp",
        kind: Kind::Scenario,
        about: "strict (1), the pod's TCP connection to the node",
        run: |lab| {
            play(
                lab,
                &Case {
                    flow: Flow::TcpToNode,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "strict_local_icmp",
        kind: Kind::Scenario,
        about: "strict (1), the pod's echo request to the node",
        run: |lab| {
            play(
                lab,
                &Case {
                    flow: Flow::EchoToNode,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "strict_forwarded",
        kind: Kind::Scenario,
        about: "strict (1), the pod's datagram through the node to the world",
        run: |lab| {
            play(
                lab,
                &Case {
                    flow: Flow::UdpToWorld,
                    path: "forward",
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "strict_forwarded_tcp",
        kind: Kind::Scenario,
        about: "strict (1), the pod's TCP connection through the node to the world",
        run: |lab| {
            play(
                lab,
                &Case {
                    flow: Flow::TcpToWorld,
                    path: "forward",
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "loose_no_address",
        kind: Kind::Scenario,
        about: "the incident: loose (2) from sysctl.d, device without address, health probe",
        run: |lab| play(lab, &INCIDENT),
    },
    Scenario {
        name: "strict_with_address",
        kind: Kind::Scenario,
        about: "strict (1) on a device that has an address",
        run: |lab| {
            let config = Config {
                lxc_address: true,
                ..Case::STRICT.config
            };
            play(
                lab,
                &Case {
                    config,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "no_route_strict",
        kind: Kind::Scenario,
        about: "strict (1), the node has no route at all to the source",
        run: |lab| {
            let config = Config {
                default_route: false,
                ..Case::STRICT.config
            };
            play(lab, &no_route(config))
        },
    },
    Scenario {
        name: "no_route_loose",
        kind: Kind::Scenario,
        about: "loose (2) on a device with an address, no route to the source",
        run: |lab| {
            let config = Config {
                device: 2,
                lxc_address: true,
                default_route: false,
                ..Config::HEALTHY
            };
            play(lab, &no_route(config))
        },
    },
    Scenario {
        name: "all_wins",
        kind: Kind::Scenario,
        about: "all = 1 over a device set to 0",
        run: |lab| {
            let config = Config {
                all: 1,
                device: 0,
                ..Config::HEALTHY
            };
            play(
                lab,
                &Case {
                    config,
                    key: Key::All,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "all_wins_loose",
        kind: Kind::Scenario,
        about: "all = 2 over a device set to 1: loose, but no address",
        run: |lab| {
            let config = Config {
                all: 2,
                device: 1,
                ..Config::HEALTHY
            };
            let kind = "loose_no_address";
            play(
                lab,
                &Case {
                    config,
                    kind,
                    key: Key::All,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "device_wins",
        kind: Kind::Scenario,
        about: "the device's 1, set by a pattern in sysctl.d, over all = 0",
        run: |lab| play(lab, &GLOB),
    },
    Scenario {
        name: "other_netns",
        kind: Kind::Scenario,
        about: "strict (1) in a namespace other than the tracer's",
        run: |lab| {
            play(
                lab,
                &Case {
                    outside: true,
                    ..Case::STRICT
                },
            )
        },
    },
    Scenario {
        name: "strict_alternatives",
        kind: Kind::Scenario,
        about: "strict (1): each of the other fixes helps as well",
        run: |lab| play_alternatives(lab, &Case::STRICT),
    },
    Scenario {
        name: "incident_alternatives",
        kind: Kind::Scenario,
        about: "the incident: each of the other fixes helps as well",
        run: |lab| play_alternatives(lab, &INCIDENT),
    },
    Scenario {
        name: "incident_reboot",
        kind: Kind::Scenario,
        about: "the incident: the file that is advised still helps after the next boot",
        run: |lab| play_reboot(lab, &INCIDENT),
    },
    Scenario {
        name: "glob_reboot",
        kind: Kind::Scenario,
        about: "a pattern in sysctl.d: the file that is advised wins at the next boot",
        run: |lab| play_reboot(lab, &GLOB),
    },
];

const fn no_route(config: Config) -> Case {
    let (flow, kind) = (Flow::UdpFromNowhere, "no_route");
    Case {
        config,
        flow,
        kind,
        reverse_route: false,
        ..Case::STRICT
    }
}
