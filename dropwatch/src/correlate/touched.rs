//! What a case's drops have not in common: the devices and flows that it touches, counted. Bounded; what is beyond
//! is counted as such.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::model::{anchor::Drop, proto::Proto};

/// Most devices, and most flows, that are told apart.
pub(crate) const MOST: usize = 64;

/// A flow, whatever its source port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Flow {
    /// Protocol: `TCP`, `UDP`, `ICMPv6`, …, or `proto-` and its number.
    #[cfg_attr(test, schemars(with = "String"))]
    pub proto: Proto,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Destination port; of ICMP none.
    pub dport: Option<u16>,
}

impl Flow {
    fn of(drop: &Drop) -> Option<Self> {
        let packet = drop.packet.as_ref()?;
        Some(Self {
            proto: packet.proto,
            src: packet.src,
            dst: packet.dst,
            dport: packet.dport.filter(|_| packet.icmp_type.is_none()),
        })
    }
}

/// A device by name and index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Device {
    /// Name at the drop.
    pub name: String,
    /// Device index in its namespace.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub ifindex: u32,
}

/// Counts by something; of what is beyond the limit all together.
#[derive(Clone, Debug)]
pub struct Counted<K> {
    counts: BTreeMap<K, u64>,
    beyond: u64,
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            beyond: 0,
        }
    }
}

impl<K: Ord + Clone> Counted<K> {
    fn add(&mut self, key: K, count: u64) {
        if self.counts.len() < MOST || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += count;
        } else {
            self.beyond += count;
        }
    }

    fn merge(&mut self, other: Self) {
        for (key, count) in other.counts {
            self.add(key, count);
        }
        self.beyond += other.beyond;
    }

    /// How many are told apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Drops of all beyond the limit.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The largest first.
    #[must_use]
    pub fn largest(&self) -> Vec<(K, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(k, n)| (k.clone(), *n)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// Devices and flows of a case's dropped packets.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// By device.
    pub devices: Counted<Device>,
    /// By flow.
    pub flows: Counted<Flow>,
}

impl Touched {
    /// Takes a dropped packet.
    pub fn add(&mut self, drop: &Drop) {
        if let Some(dev) = &drop.dev {
            let device = Device {
                name: dev.name.clone(),
                ifindex: dev.ifindex,
            };
            self.devices.add(device, 1);
        }
        if let Some(flow) = Flow::of(drop) {
            self.flows.add(flow, 1);
        }
    }

    /// Takes those of another one.
    pub fn merge(&mut self, other: Self) {
        self.devices.merge(other.devices);
        self.flows.merge(other.flows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::anchor::{Dev, tests::drop};

    #[test]
    fn devices_beyond_the_limit_are_counted_and_not_named() {
        let mut touched = Touched::default();
        for n in 0..1_000_u32 {
            for _ in 0..=u32::from(n == 7) {
                let mut one = drop();
                one.dev = Some(Dev {
                    name: format!("veth{n}"),
                    ifindex: n,
                });
                touched.add(&one);
            }
        }
        assert_eq!(touched.devices.len(), MOST);
        assert_eq!(touched.devices.beyond(), 1_000 - MOST as u64);
        let largest = touched.devices.largest();
        assert_eq!((largest[0].0.name.as_str(), largest[0].1), ("veth7", 2));
    }
}
