//! Everyday losses and ends of packets that belong to a healthy machine: the explanation names what it may have been,
//! and claims none of it.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Kind, Scenario};
use crate::expect::{Check, kernel_names_reasons, packet};
use crate::lab::{Lab, Skip};
use crate::netns::Netns;
use crate::topology::nat::needs;
use crate::traffic::flow::udp;
use crate::traffic::packet::{IcmpSocket, Packet, Payload, RawSocket};

/// Two hosts and a cable between them.
#[derive(Debug)]
struct Pair {
    /// The one that the tracer is on.
    here: Netns,
    /// The other one.
    there: Netns,
}

const HERE: &str = "10.0.7.1";
const THERE: &str = "10.0.7.2";
/// Known here for good: what nobody answers to is sent all the same.
const THERE_MAC: &str = "02:00:00:00:07:02";
const DEVICE: &str = "eth0";
const PORT: u16 = 7777;
const ECHO_ID: u16 = 0x0d09;

/// A situation.
struct Ordinary {
    /// What is set up before.
    prepare: fn(&Pair) -> Result<()>,
    /// Makes the kernel free a packet.
    act: fn(&Pair) -> Result<()>,
    /// Which packet: the JSON `packet`.
    packet: fn(&Value) -> bool,
    /// `drop.reason.name` on the kernels we know.
    reasons: &'static [&'static str],
    /// Words that the explanation must all have.
    says: &'static [&'static str],
    /// Words that it must not have.
    never: &'static [&'static str],
    /// Whether it is normal for certain.
    normal: bool,
}

const SENDING: Ordinary = Ordinary {
    prepare: |_| Ok(()),
    act: |pair| datagram(pair, 9),
    packet: to_port,
    reasons: &["QDISC_DROP"],
    says: &["not evaluated"],
    never: &["queue is full", "table full"],
    normal: false,
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_no_carrier",
        kind: Kind::Decoy,
        about: "the other end of a veth pair is down: no queue takes what is sent",
        run: |lab| {
            let says = &["carrier", "noop", "not evaluated"];
            play(
                lab,
                &Ordinary {
                    prepare: no_carrier,
                    says,
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_netem_loss",
        kind: Kind::Decoy,
        about: "netem loses all that is sent",
        run: |lab| {
            let says = &["netem", "not evaluated"];
            play(
                lab,
                &Ordinary {
                    prepare: |pair| tc(pair, "qdisc add dev eth0 root netem loss 100%"),
                    says,
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_qdisc_filter",
        kind: Kind::Decoy,
        about: "a filter of a queueing discipline drops",
        run: |lab| {
            let prepare = |pair: &Pair| {
                tc(pair, "qdisc add dev eth0 root handle 1: htb")?;
                let filter =
                    "filter add dev eth0 parent 1: protocol ip u32 match u32 0 0 action drop";
                tc(pair, filter)
            };
            let says = &["filter or policer", "not evaluated"];
            play(
                lab,
                &Ordinary {
                    prepare,
                    says,
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_tbf_burst",
        kind: Kind::Decoy,
        about: "a packet is larger than tbf's burst",
        run: |lab| {
            let prepare = |pair: &Pair| {
                tc(
                    pair,
                    "qdisc add dev eth0 root tbf rate 1mbit burst 600 limit 9000",
                )
            };
            let says = &["tbf's burst", "not evaluated"];
            play(
                lab,
                &Ordinary {
                    prepare,
                    act: |pair| datagram(pair, 1000),
                    says,
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_closed_port",
        kind: Kind::Decoy,
        about: "no socket has the port of a datagram",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: |pair| from_there(pair, HERE),
                    reasons: &["NO_SOCKET"],
                    says: &["UDP socket", "VRF", "not evaluated"],
                    never: &["service", "handshake"],
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_datagram_cut",
        kind: Kind::Decoy,
        about: "a packet ends within its UDP header: no ports are made up for it",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: cut,
                    packet: |packet| packet["proto"] == "UDP" && packet["dport"].is_null(),
                    reasons: &["NOT_SPECIFIED"],
                    says: &["too short"],
                    never: &["IPsec", "broadcast"],
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_ping_answered",
        kind: Kind::Decoy,
        about: "a ping by a raw socket is answered; the reply is freed after its copy",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: ping,
                    packet: |packet| packet["icmp_type"] == 0 && packet["sport"] == ECHO_ID,
                    reasons: &["NO_SOCKET", "NOT_SPECIFIED"],
                    says: &["aw sockets", "copies", "ften normal"],
                    never: &["service", "handshake"],
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_unread_at_close",
        kind: Kind::Decoy,
        about: "a socket is closed with a datagram that nobody read",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: unread,
                    reasons: &["NOT_SPECIFIED", "QUEUE_PURGE", "SOCKET_CLOSE"],
                    says: &["closed", "ften normal"],
                    never: &["No UDP socket", "queue is full"],
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_server_closes",
        kind: Kind::Decoy,
        about: "a connection ends in order, the server first",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: server_closes,
                    packet: |packet| {
                        to_port(packet)
                            && packet["tcp_flags"]
                                .as_str()
                                .is_some_and(|f| f.contains("FIN"))
                    },
                    reasons: &["NOT_SPECIFIED"],
                    says: &["ften normal", "TIME_WAIT"],
                    never: &["No TCP socket wants", "service"],
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_group_not_joined",
        kind: Kind::Decoy,
        about: "multicast to a group that nobody here has joined",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: |pair| from_there(pair, "239.1.1.1"),
                    reasons: &["NOT_SPECIFIED"],
                    // The groups that are joined are read.
                    says: &["joined", "normal"],
                    never: &["martian", "No route", "not evaluated"],
                    normal: true,
                    ..SENDING
                },
            )
        },
    },
    Scenario {
        name: "decoy_mld_at_start",
        kind: Kind::Decoy,
        about: "an interface comes up, and neighbours report their IPv6 groups",
        run: |lab| {
            play(
                lab,
                &Ordinary {
                    act: new_pair,
                    packet: |packet| packet["icmp_type"] == 143 && packet["l3"] == 6,
                    reasons: &["IP_INNOROUTES", "NOT_SPECIFIED"],
                    says: &["neighbour discovery", "membership"],
                    never: &["There is no route", "martian"],
                    normal: true,
                    ..SENDING
                },
            )
        },
    },
];

fn play(lab: &Lab, ordinary: &Ordinary) -> Result<()> {
    let pair = build()?;
    (ordinary.prepare)(&pair)?;
    let tracer = lab.explain(Some(&pair.here), &[])?;
    (ordinary.act)(&pair)?;
    let here = pair.here.inum();
    // What waited in a socket's queue has no namespace any more.
    let ours = |line: &Value| {
        let netns = &line["drop"]["netns"]["inum"];
        line["type"] == "verdict"
            && (*netns == here || *netns == 0)
            && (ordinary.packet)(packet(line))
    };
    let Some(line) = tracer.wait(Duration::from_secs(20), ours) else {
        let lines = tracer.lines();
        let verdicts = lines.iter().filter(|line| line.value["type"] == "verdict");
        let seen: Vec<_> = verdicts
            .map(|line| line.value["drop"].to_string())
            .collect();
        anyhow::bail!("no verdict for it, but for: {}", seen.join("\n  "));
    };
    let mut check = Check::new(&line.value);
    check.eq("/cause", Value::Null);
    check.reason("/drop/reason/name", ordinary.reasons);
    check.eq("/facts/martian", Value::Null);
    // Without reasons more checks look the same, and less is certain.
    check.is("/facts/class", "normal or not", |class| {
        let normal = class == "normal";
        normal == ordinary.normal || (!normal && !kernel_names_reasons())
    });
    let said = format!("{} {}", line.value["summary"], line.value["evidence"]);
    for word in ordinary.says {
        check.is("/summary", &format!("{word:?} said"), |_| {
            said.contains(word)
        });
    }
    for word in ordinary.never {
        check.is("/summary", &format!("{word:?} not said"), |_| {
            !said.contains(word)
        });
    }
    check.done("verdict")?;
    lab.finish(tracer)?;
    Ok(())
}

fn build() -> Result<Pair> {
    let (here, there) = (Netns::create("here")?, Netns::create("there")?);
    let name = there.name();
    here.ip(&format!(
        "link add {DEVICE} type veth peer name {DEVICE} address {THERE_MAC} netns {name}
         link set lo up
         link set {DEVICE} up
         addr add {HERE}/24 dev {DEVICE}
         neigh replace {THERE} lladdr {THERE_MAC} dev {DEVICE} nud permanent
         "
    ))?;
    there.ip(&format!(
        "link set {DEVICE} up
         addr add {THERE}/24 dev {DEVICE}
         route add 239.0.0.0/8 dev {DEVICE}
         "
    ))?;
    Ok(Pair { here, there })
}

fn to_port(packet: &Value) -> bool {
    packet["dport"] == PORT && packet["l3"] == 4
}

/// Traffic control here; a kernel without what it takes skips the scenario.
fn tc(pair: &Pair, line: &str) -> Result<()> {
    needs("tc")?;
    match pair.here.exec(&format!("tc {line}")) {
        Ok(_) => Ok(()),
        Err(error) => {
            let said = format!("{error:#}");
            let missing = ["kind is unknown", "Failed to load", "classifier not found"];
            if missing.iter().any(|text| said.contains(text)) {
                return Err(Skip(format!("no `tc {line}` with this kernel")).into());
            }
            Err(error)
        }
    }
}

/// The cable is pulled, and the kernel has noticed.
fn no_carrier(pair: &Pair) -> Result<()> {
    pair.there.ip(&format!("link set {DEVICE} down\n"))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    let state = || pair.here.exec(&format!("ip link show {DEVICE}"));
    while state()?.contains("state UP") {
        ensure!(Instant::now() < deadline, "the carrier stays");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Sends a datagram from here.
fn datagram(pair: &Pair, len: usize) -> Result<()> {
    let socket = udp(&pair.here, HERE, 0)?;
    socket.send_to(&vec![0; len], (THERE.parse::<Ipv4Addr>()?, PORT))?;
    Ok(())
}

/// Sends one to here.
fn from_there(pair: &Pair, to: &str) -> Result<()> {
    let socket = udp(&pair.there, THERE, 0)?;
    socket.send_to(b"dropwatch", (to.parse::<Ipv4Addr>()?, PORT))?;
    Ok(())
}

/// Sends the first two bytes of a datagram to here.
fn cut(pair: &Pair) -> Result<()> {
    let whole = Packet {
        src: THERE.parse()?,
        dst: HERE.parse()?,
        ttl: 64,
        payload: Payload::Udp(4000, PORT, b""),
    };
    // The kernel writes the length of what it is given.
    RawSocket::open(&pair.there, DEVICE)?.send_bytes(&whole.bytes()[..22], whole.dst)?;
    Ok(())
}

fn ping(pair: &Pair) -> Result<()> {
    let replies = IcmpSocket::open(&pair.here, Duration::from_secs(5))?;
    let request = Packet {
        src: HERE.parse()?,
        dst: THERE.parse()?,
        ttl: 64,
        payload: Payload::Echo(ECHO_ID, 1),
    };
    RawSocket::open(&pair.here, DEVICE)?.send(&request)?;
    ensure!(
        replies.replied(ECHO_ID, 1),
        "the network is wrong: no reply"
    );
    Ok(())
}

fn unread(pair: &Pair) -> Result<()> {
    // The socket is freed in an interrupt, and where that meets a program in the middle of another drop, the kernel does not
    // run the program for it.
    for _ in 0..3 {
        let receiver = udp(&pair.here, HERE, PORT)?;
        from_there(pair, HERE)?;
        ensure!(receiver.peek(&mut [0; 16]).is_ok(), "nothing came");
        drop(receiver);
    }
    Ok(())
}

fn server_closes(pair: &Pair) -> Result<()> {
    let address = SocketAddrV4::new(HERE.parse()?, PORT);
    let listener = pair.here.run(|| Ok(TcpListener::bind(address)?))?;
    let mut client = pair.there.run(|| Ok(TcpStream::connect(address)?))?;
    client.write_all(b"dropwatch")?;
    let (mut server, _) = listener.accept()?;
    std::io::Read::read_exact(&mut server, &mut [0; 9])?;
    drop(server);
    // The server's end of it is in FIN_WAIT2 by now, and nobody holds it.
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    Ok(())
}

/// Another cable, with IPv6.
fn new_pair(pair: &Pair) -> Result<()> {
    for netns in [&pair.here, &pair.there] {
        for conf in ["all", "default"] {
            netns.sysctl(&format!("net/ipv6/conf/{conf}/disable_ipv6"), "0")?;
        }
    }
    let name = pair.there.name();
    pair.here.ip(&format!(
        "link add eth1 type veth peer name eth1 netns {name}
         link set eth1 up
         "
    ))?;
    pair.there.ip("link set eth1 up\n")
}
