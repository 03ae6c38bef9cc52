//! What `iptables-save` and `nft -j` print, and what such rules would do to packets.
#![no_main]

use dropwatch::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with('{') {
        fuzzing::nft(&text);
    } else {
        fuzzing::iptables(&text);
    }
});
