//! Files of sysctl.d and udev: what they say of a device, and the file that is advised against them.
#![no_main]

use dropwatch::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::boot_files(&String::from_utf8_lossy(bytes));
});
