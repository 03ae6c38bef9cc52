//! The kernel's monotonic clock, which all times of events are of.

use std::{fs, sync::OnceLock};

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, nanoseconds, as `bpf_ktime_get_ns` has it: without the offset of a time namespace.
#[must_use]
pub fn monotonic_ns() -> u64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = *OFFSET.get_or_init(|| {
        let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        offset_ns(&text).unwrap_or(0)
    });
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
        t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64
    });
    now.saturating_add_signed(offset.saturating_neg())
}

/// What a time namespace adds to the clock, in nanoseconds (`timens_offsets`, time_namespaces(7), 5.5 and later).
fn offset_ns(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with("monotonic"))?;
    let mut numbers = line.split_ascii_whitespace().skip(1);
    let seconds: i64 = numbers.next()?.parse().ok()?;
    let nanoseconds: i64 = numbers.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_shifts_the_clock() {
        let file =
            "monotonic           -86400         500000000\nboottime                0         0\n";
        assert_eq!(offset_ns(file), Some(-86_399_500_000_000));
        assert_eq!(offset_ns(""), None);
    }
}
