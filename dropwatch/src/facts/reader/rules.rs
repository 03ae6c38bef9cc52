//! Policy rules, for the look-ups that the kernel refuses to do on request: it takes no source address
//! that is not its own, though it does such look-ups for the packets that it forwards.

use std::net::Ipv4Addr;

use super::lookup::best;
use super::netlink::{GETRULE, Netlink, Request};
use super::parse::{address, attributes, covers, number, number_at, text};
use super::route::Flow;
use crate::facts::Route;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;

const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const FIB_RULE_INVERT: u32 = 2;
const FIB_RULE_UNRESOLVED: u32 = 4;
/// Size of `struct fib_rule_hdr`.
const HEADER: usize = 12;

/// A policy rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    priority: u32,
    action: u8,
    flags: u32,
    table: u32,
    target: u32,
    src: (Option<Ipv4Addr>, u8),
    dst: (Option<Ipv4Addr>, u8),
    mark: u32,
    mask: u32,
    /// It asks for something that this look-up does not have: another device, a VRF, a tunnel.
    never: bool,
    /// Only for packets that came in by this device; `lo` stands for those made here.
    iif: Option<String>,
    /// Its table is that of the packet's VRF.
    l3mdev: bool,
    /// It asks for something that is not known of this look-up.
    unsure: Option<&'static str>,
    /// It is not content with prefixes up to this length.
    suppress: Option<u32>,
}

impl Rule {
    /// From the message, starting with `struct fib_rule_hdr`.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let [_, dst_len, src_len, tos, table, _, _, action, ..] = *header;
        let flags = number_at(header, 8)?;
        let mut rule = Self {
            action,
            flags,
            table: table.into(),
            ..Self::default()
        };
        (rule.src.1, rule.dst.1) = (src_len, dst_len);
        rule.unsure = (tos != 0).then_some("tos");
        let mut mask = None;
        for (kind, value) in attributes(message.get(HEADER..)?) {
            match kind {
                FRA_DST => rule.dst.0 = address(value),
                FRA_SRC => rule.src.0 = address(value),
                FRA_IIFNAME => rule.iif = text(value),
                FRA_OIFNAME => rule.never = true,
                FRA_TUN_ID => rule.never |= value.iter().any(|&byte| byte != 0),
                FRA_L3MDEV => rule.l3mdev = value.iter().any(|&byte| byte != 0),
                FRA_GOTO => rule.target = number(value)?,
                FRA_PRIORITY => rule.priority = number(value)?,
                FRA_FWMARK => rule.mark = number(value)?,
                FRA_FWMASK => mask = number(value),
                FRA_TABLE => rule.table = number(value)?,
                FRA_SUPPRESS_PREFIXLEN => rule.suppress = number(value).filter(|&n| n != u32::MAX),
                FRA_SUPPRESS_IFGROUP if number(value) != Some(u32::MAX) => {
                    rule.unsure = Some("suppress_ifgroup");
                }
                // Look-ups for packets are root's.
                FRA_UID_RANGE => rule.never |= number(value) != Some(0),
                FRA_IP_PROTO => rule.unsure = Some("ipproto"),
                FRA_SPORT_RANGE | FRA_DPORT_RANGE => rule.unsure = Some("ports"),
                _ => {}
            }
        }
        rule.mask = mask.unwrap_or(if rule.mark == 0 { 0 } else { u32::MAX });
        Some(rule)
    }

    fn table_for(&self, flow: &Flow) -> u32 {
        match flow.vrf_table {
            Some(table) if self.l3mdev => table,
            _ => self.table,
        }
    }

    /// Whether it is none of the three that every namespace starts with (net/ipv4/fib_rules.c).
    pub(super) fn is_custom(&self) -> bool {
        let plain = Self {
            priority: self.priority,
            action: FR_ACT_TO_TBL,
            flags: self.flags,
            table: self.table,
            ..Self::default()
        };
        *self != plain
            || !matches!(
                (self.priority, self.table),
                (0, 255) | (32766, 254) | (32767, 253)
            )
    }

    /// Whether the rule is for this look-up; an error names what would have to be known.
    fn matches(&self, flow: &Flow) -> Result<bool, &'static str> {
        let inside = |(network, length): (Option<Ipv4Addr>, u8), address: Ipv4Addr| {
            network.is_none_or(|network| covers(network, length, address))
        };
        let came_in_by = flow.iif_name.as_deref().unwrap_or("lo");
        let is = !self.never
            && self.iif.as_deref().is_none_or(|name| name == came_in_by)
            && (!self.l3mdev || flow.vrf_table.is_some())
            && (self.mark ^ flow.mark) & self.mask == 0
            && inside(self.src, flow.from.unwrap_or(Ipv4Addr::UNSPECIFIED))
            && inside(self.dst, flow.to);
        match self.unsure {
            Some(what) if is => Err(what),
            _ => Ok(is != (self.flags & FIB_RULE_INVERT != 0)),
        }
    }
}

/// All rules, in the order in which they are gone through.
pub(super) fn read(netlink: &mut Netlink) -> Result<Vec<Rule>, String> {
    let mut header = [0; HEADER];
    header[0] = u8::try_from(libc::AF_INET).unwrap_or_default();
    let mut rules = Vec::new();
    netlink.dump(&Request::new(GETRULE, &header), |message| {
        rules.extend(Rule::parse(message))
    })?;
    Ok(rules)
}

/// Bits of the mark that rules of any family ask for.
pub(super) fn mark_bits(netlink: &mut Netlink) -> Result<u32, String> {
    let mut bits = 0;
    // Family 0 stands for all.
    netlink.dump(&Request::new(GETRULE, &[0; HEADER]), |message| {
        bits |= Rule::parse(message).map_or(0, |rule| rule.mask);
    })?;
    Ok(bits)
}

/// Whether the source address makes a difference to the rules.
pub(super) fn ask_for_source(rules: &[Rule], flow: &Flow) -> bool {
    let without = Flow {
        from: None,
        ..flow.clone()
    };
    rules
        .iter()
        .any(|rule| rule.matches(flow) != rule.matches(&without))
}

/// Looks the route up as the kernel would: rule by rule, table by table.
pub(super) fn look_up(netlink: &mut Netlink, rules: &[Rule], flow: &Flow) -> Result<Route, String> {
    let mut skipped_to = 0;
    for rule in rules {
        if rule.priority < skipped_to {
            continue;
        }
        let matches = rule.matches(flow);
        if !matches.map_err(|what| format!("ip rule {}: {what} not known", rule.priority))? {
            continue;
        }
        match rule.action {
            FR_ACT_NOP => {}
            FR_ACT_GOTO if rule.flags & FIB_RULE_UNRESOLVED != 0 => {}
            FR_ACT_GOTO => skipped_to = rule.target,
            FR_ACT_TO_TBL => match best(netlink, rule.table_for(flow), flow.to)? {
                Some(entry) if entry.kind == libc::RTN_THROW => {}
                Some(entry) if rule.suppress.is_some_and(|n| u32::from(entry.length) <= n) => {}
                Some(entry) if entry.hops.is_empty() && entry.object.is_some() => {
                    return Err(format!(
                        "route by nexthop object {}",
                        entry.object.unwrap_or(0)
                    ));
                }
                Some(entry) => return Ok(entry.to_route()),
                None => {}
            },
            // Blackhole, unreachable and prohibit have the numbers of such routes.
            action => {
                let kind = super::lookup::kind_name(action);
                return Ok(Route {
                    kind,
                    rule: Some(rule.priority),
                    ..Route::default()
                });
            }
        }
    }
    Ok(Route {
        kind: "none".into(),
        ..Route::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::attribute;
    use super::*;

    fn rule(header: [u8; 8], flags: u32, attributes: &[Vec<u8>]) -> Rule {
        let bytes = [
            header.to_vec(),
            flags.to_ne_bytes().to_vec(),
            attributes.concat(),
        ]
        .concat();
        for length in 0..bytes.len() {
            let _ = Rule::parse(&bytes[..length]);
        }
        Rule::parse(&bytes).expect("a rule")
    }

    fn flow(from: Option<[u8; 4]>, mark: u32) -> Flow {
        Flow {
            to: Ipv4Addr::new(9, 9, 9, 9),
            from: from.map(Ipv4Addr::from),
            mark,
            ..Flow::default()
        }
    }

    #[test]
    fn a_rule_for_a_source_needs_it() {
        let attributes = [
            attribute(FRA_SRC, &[10, 5, 0, 0]),
            attribute(FRA_PRIORITY, &100u32.to_ne_bytes()),
            attribute(FRA_TABLE, &1000u32.to_ne_bytes()),
        ];
        let by_source = rule([2, 0, 16, 0, 252, 0, 0, FR_ACT_TO_TBL], 0, &attributes);
        assert_eq!((by_source.priority, by_source.table), (100, 1000));
        assert_eq!(by_source.matches(&flow(Some([10, 5, 1, 1]), 0)), Ok(true));
        assert_eq!(by_source.matches(&flow(Some([10, 6, 1, 1]), 0)), Ok(false));
        assert_eq!(by_source.matches(&flow(None, 0)), Ok(false));
        assert!(ask_for_source(
            std::slice::from_ref(&by_source),
            &flow(Some([10, 5, 1, 1]), 0)
        ));
        assert!(!ask_for_source(&[by_source], &flow(Some([10, 6, 1, 1]), 0)));
    }

    #[test]
    fn inverted_marks_are_understood() {
        // not from all fwmark 0xca6c lookup 51820
        let attributes = [
            attribute(FRA_FWMARK, &0xca6c_u32.to_ne_bytes()),
            attribute(FRA_FWMASK, &u32::MAX.to_ne_bytes()),
        ];
        let tunnel = rule(
            [2, 0, 0, 0, 252, 0, 0, FR_ACT_TO_TBL],
            FIB_RULE_INVERT,
            &attributes,
        );
        assert_eq!(tunnel.matches(&flow(None, 0)), Ok(true));
        assert_eq!(tunnel.matches(&flow(None, 0xca6c)), Ok(false));
    }

    #[test]
    fn rules_of_a_device_and_of_a_vrf_need_it() {
        let header = [2, 0, 0, 0, 100, 0, 0, FR_ACT_TO_TBL];
        let of_device = rule(header, 0, &[attribute(FRA_IIFNAME, b"r0\0")]);
        let from_r0 = Flow {
            iif_name: Some("r0".into()),
            ..flow(None, 0)
        };
        assert_eq!(of_device.matches(&from_r0), Ok(true));
        assert_eq!(of_device.matches(&flow(None, 0)), Ok(false));
        let of_vrf = rule(
            [2, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL],
            0,
            &[attribute(FRA_L3MDEV, &[1])],
        );
        let inside = Flow {
            vrf_table: Some(10),
            ..flow(None, 0)
        };
        assert_eq!(of_vrf.matches(&inside), Ok(true));
        assert_eq!((of_vrf.table_for(&inside), of_vrf.is_custom()), (10, true));
        assert_eq!(of_vrf.matches(&flow(None, 0)), Ok(false));
    }

    #[test]
    fn the_rules_of_a_new_namespace_are_not_custom() {
        let priority = |n: u32| vec![attribute(FRA_PRIORITY, &n.to_ne_bytes())];
        let local = rule([2, 0, 0, 0, 255, 0, 0, FR_ACT_TO_TBL], 0, &[]);
        let main = rule([2, 0, 0, 0, 254, 0, 0, FR_ACT_TO_TBL], 0, &priority(32766));
        let moved = rule([2, 0, 0, 0, 255, 0, 0, FR_ACT_TO_TBL], 0, &priority(100));
        assert_eq!(
            [local, main, moved].map(|r| r.is_custom()),
            [false, false, true]
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let ports = [attribute(FRA_DPORT_RANGE, &[0, 80, 0, 80])];
        let by_port = rule([2, 0, 0, 0, 254, 0, 0, FR_ACT_TO_TBL], 0, &ports);
        assert_eq!(by_port.matches(&flow(None, 0)), Err("ports"));
        let elsewhere = [ports[0].clone(), attribute(FRA_IIFNAME, b"eth7\0")];
        let by_device = rule([2, 0, 0, 0, 254, 0, 0, FR_ACT_TO_TBL], 0, &elsewhere);
        assert_eq!(by_device.matches(&flow(None, 0)), Ok(false));
    }
}
