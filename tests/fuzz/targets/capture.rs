//! Captures: read, judged and printed in each way, or refused with a reason.
#![no_main]

use dropwatch::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzing::replay(bytes);
});
