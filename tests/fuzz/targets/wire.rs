//! Entries of the ring buffer: any bytes are an event or are counted as none, and what becomes an event can be written
//! as a capture's line and read again.
#![no_main]

use dropwatch::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for entry in [bytes, &fuzzing::framed(bytes)] {
        if let Some(event) = fuzzing::entry(entry) {
            let line = fuzzing::line(&event);
            let again = fuzzing::event(&line).expect("what was written is read");
            assert_eq!(fuzzing::line(&again), line);
        }
    }
});
