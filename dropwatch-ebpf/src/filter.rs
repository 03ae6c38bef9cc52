//! Selection in the kernel: netns and device, as set by the loader.

use dropwatch_common::config::word;

use crate::maps::{config, dev_filter};

/// Whether a drop in this netns, with this device name, is wanted. `name` is only asked when it matters.
#[inline(always)]
pub fn wanted(netns: u32, name: impl FnOnce() -> [u64; 2]) -> bool {
    let netns_wanted = config(word::NETNS);
    if netns_wanted != 0 && netns_wanted != netns {
        return false;
    }
    if config(word::DEV) == 0 {
        return true;
    }
    let name = name();
    name[0] & dev_filter(2) == dev_filter(0) && name[1] & dev_filter(3) == dev_filter(1)
}
