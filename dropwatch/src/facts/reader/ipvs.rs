//! IPVS as procfs shows it: services, one connection, the sysctl.
//!
//! Formats: `ip_vs_info_seq_show` (net/netfilter/ipvs/ip_vs_ctl.c) and `ip_vs_conn_seq_show` (ip_vs_conn.c),
//! 5.10 to 7.2.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use super::netns::Namespaces;
use crate::facts::FactError;
use crate::facts::ipvs::{IpvsDestination, IpvsEntry, IpvsService, IpvsState};
use crate::model::ipvs::Endpoint;

/// There while IPVS is loaded.
const SERVICES: &str = "/proc/thread-self/net/ip_vs";
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";
const SYSCTL: &str = "/proc/sys/net/ipv4/vs/conntrack";

/// What IPVS of the namespace says now. `client` and `service` name the connection that is looked for.
pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    client: Endpoint,
    service: Endpoint,
    until: Instant,
) -> Result<IpvsState, FactError> {
    let file = namespaces.open(netns)?;
    namespaces.inside(netns, &file, || {
        let read = |path: &str| fs::read_to_string(path).map_err(|e| FactError::io(path, &e));
        // Without IPVS there are no services.
        if !Path::new(SERVICES).exists() {
            return Ok(IpvsState::default());
        }
        let open = |path: &str| File::open(path).map_err(|e| FactError::io(path, &e));
        let value = read(SYSCTL)?;
        let services = BufReader::new(open(SERVICES)?);
        // A director has a million connections.
        let connections = BufReader::with_capacity(1 << 16, open(CONNECTIONS)?);
        Ok(IpvsState {
            conntrack: value.trim().parse().ok(),
            services: self::services(services, until).map_err(|e| e.of(SERVICES))?,
            entry: entry(connections, client, service, until).map_err(|e| e.of(CONNECTIONS))?,
        })
    })
}

/// How many lines are read between two looks at the clock.
const A_FEW: usize = 256;

/// Goes through the lines until one is taken. `None` when none is.
fn find_line<T>(
    mut lines: impl BufRead,
    until: Instant,
    mut take: impl FnMut(&str) -> Option<T>,
) -> Result<Option<T>, FactError> {
    let mut line = String::new();
    for number in 0usize.. {
        if number.is_multiple_of(A_FEW) && Instant::now() >= until {
            let words = format!("not read in time, {number} lines were");
            return Err(FactError::TimedOut(words));
        }
        line.clear();
        if lines
            .read_line(&mut line)
            .map_err(|e| FactError::io("reading", &e))?
            == 0
        {
            break;
        }
        if let Some(taken) = take(&line) {
            return Ok(Some(taken));
        }
    }
    Ok(None)
}

/// Most services and real servers that are kept.
const MOST_KEPT: usize = 65_536;

/// Lines such as `TCP  AC100108:03E8 rr` and `FWM  00000001 rr persistent 360`; each with its real servers behind it:
/// `-> AC100108:03E9 Masq 1 0 0`.
fn services(text: impl BufRead, until: Instant) -> Result<Vec<IpvsService>, FactError> {
    let mut found: Vec<IpvsService> = Vec::new();
    let mut room = MOST_KEPT;
    let too_many = find_line(text, until, |line| {
        if let Some(one) = service(line) {
            found.push(one);
        } else if let (Some(last), Some(one)) = (found.last_mut(), destination(line)) {
            last.destinations.push(one);
        } else {
            return None;
        }
        room -= 1;
        (room == 0).then_some(())
    })?;
    match too_many {
        Some(()) => Err(format!("over {MOST_KEPT} services and real servers").into()),
        None => Ok(found),
    }
}

fn destination(line: &str) -> Option<IpvsDestination> {
    let mut words = line.trim().strip_prefix("->")?.split_whitespace();
    let (addr, port) = words.next()?.rsplit_once(':')?;
    Some(IpvsDestination {
        endpoint: hex_endpoint(addr, port)?,
        weight: words.nth(1)?.parse().ok()?,
    })
}

fn service(line: &str) -> Option<IpvsService> {
    let mut words = line.split_whitespace();
    let (proto, place, scheduler) = (words.next()?, words.next()?, words.next()?);
    if !matches!(proto, "TCP" | "UDP" | "SCTP" | "FWM") {
        return None;
    }
    let (endpoint, fwmark) = match place.rsplit_once(':') {
        Some((addr, port)) => (Some(hex_endpoint(addr, port)?), 0),
        None => (None, u32::from_str_radix(place, 16).ok()?),
    };
    Some(IpvsService {
        proto: proto.to_owned(),
        endpoint,
        fwmark,
        scheduler: scheduler.to_owned(),
        destinations: Vec::new(),
    })
}

/// The line of a connection: client, service and real server, state, seconds left.
fn entry(
    text: impl BufRead,
    client: Endpoint,
    service: Endpoint,
    until: Instant,
) -> Result<Option<IpvsEntry>, FactError> {
    find_line(text, until, |line| {
        let mut words = line.split_whitespace().skip(1);
        let mut endpoint = || hex_endpoint(words.next()?, words.next()?);
        if endpoint()? != client || endpoint()? != service {
            return None;
        }
        let mut rest = words.skip(2);
        Some(IpvsEntry {
            state: rest.next()?.to_owned(),
            expires_s: rest.next()?.parse().ok(),
        })
    })
}

/// IPv4 addresses are eight hexadecimal digits, IPv6 ones stand in brackets or by themselves.
fn hex_endpoint(addr: &str, port: &str) -> Option<Endpoint> {
    let addr = match u32::from_str_radix(addr, 16) {
        Ok(number) if addr.len() == 8 => IpAddr::V4(Ipv4Addr::from(number)),
        _ => IpAddr::V6(addr.trim_matches(['[', ']']).parse().ok()?),
    };
    Some(Endpoint {
        addr,
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::Proto;

    fn endpoint(addr: &str, port: u16) -> Endpoint {
        let addr = addr.parse().expect("an address");
        Endpoint { addr, port }
    }

    fn later() -> Instant {
        Instant::now() + std::time::Duration::from_secs(20)
    }

    #[test]
    fn what_takes_too_long_is_said_to() {
        let endless = BufReader::new(std::io::repeat(b'\n'));
        let soon = Instant::now() + std::time::Duration::from_millis(10);
        let place = endpoint("172.16.1.8", 1000);
        let why = entry(endless, place, place, soon).expect_err("endless");
        assert!(why.is_for_want_of_time(), "{why}");
    }

    /// As 6.12 prints it.
    #[test]
    fn services_are_read_with_their_real_servers() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
            FWM  00000007 wlc \nTCP  AC100108:03E8 rr \n  -> AC100108:03E9      Masq    1      0          0         \n\
            UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 rr persistent 360 FFFFFFFF\n";
        let found = services(text.as_bytes(), later()).expect("read");
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].fwmark, found[0].endpoint), (7, None));
        assert_eq!(found[1].endpoint, Some(endpoint("172.16.1.8", 1000)));
        assert_eq!(
            (found[1].proto.as_str(), found[1].scheduler.as_str()),
            ("TCP", "rr")
        );
        assert_eq!(found[2].endpoint, Some(endpoint("2001:db8::1", 53)));
        let [one] = found[1].destinations[..] else {
            panic!("{:?}", found[1])
        };
        assert_eq!(
            (one.endpoint, one.weight),
            (endpoint("172.16.1.8", 1001), 1)
        );
        assert_eq!(found[1].unusable(), None);
        assert_eq!(found[2].unusable().as_deref(), Some("it has none"));
        let state = IpvsState {
            services: found,
            ..IpvsState::default()
        };
        let of = |proto, port, mark| {
            let found = state.service_of(proto, endpoint("172.16.1.8", port), mark);
            found.map(IpvsService::name)
        };
        assert_eq!(
            of(Proto::TCP, 1000, 0).as_deref(),
            Some("TCP 172.16.1.8:1000 (rr)")
        );
        assert_eq!(of(Proto::UDP, 1000, 0), None);
        assert_eq!(of(Proto::TCP, 1001, 0), None);
        assert_eq!(
            of(Proto::TCP, 1001, 7).as_deref(),
            Some("of fwmark 0x7 (wlc)")
        );
    }

    #[test]
    fn a_connection_is_found_by_client_and_service() {
        let text = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n\
            TCP AC100102 D6D2 AC100108 03E8 AC100108 03E9 SYN_RECV         57\n\
            UDP 2001:0db8:0000:0000:0000:0000:0000:0002 D6D3 2001:0db8:0000:0000:0000:0000:0000:0001 0035 \
            2001:0db8:0000:0000:0000:0000:0000:0003 0035 UDP 299\n";
        let service = endpoint("172.16.1.8", 1000);
        let entry = |text: &str, client, service| {
            entry(text.as_bytes(), client, service, later()).expect("read")
        };
        let found = entry(text, endpoint("172.16.1.2", 54994), service).expect("there");
        assert_eq!(
            (found.state.as_str(), found.expires_s),
            ("SYN_RECV", Some(57))
        );
        assert_eq!(entry(text, endpoint("172.16.1.2", 54995), service), None);
        let six = entry(
            text,
            endpoint("2001:db8::2", 54995),
            endpoint("2001:db8::1", 53),
        );
        assert_eq!(six.and_then(|e| e.expires_s), Some(299));
    }
}
