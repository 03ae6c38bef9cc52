//! What differs between the architectures that a machine can have.

use std::path::Path;

use crate::setup::Need;

/// An architecture, under all the names it has.
#[derive(Debug)]
pub struct Arch {
    /// Rust's name, and the kernel's.
    pub rust: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// The emulator, and the package it comes in.
    pub emulator: Need,
    /// The emulator's options for the machine.
    pub machine: &'static [&'static str],
    /// The emulated processor.
    pub processor: &'static str,
    /// The serial port that the kernel's console is on.
    pub console: &'static str,
    /// The emulator's option that adds a port for results, up to the file's name.
    port: [&'static str; 2],
    /// That port's name.
    pub results: &'static str,
}

/// 64-bit x86, with what old PCs have: two serial ports.
pub static AMD64: Arch = Arch {
    rust: "x86_64",
    debian: "amd64",
    emulator: ("qemu-system-x86_64", "qemu-system-x86"),
    machine: &[],
    processor: "max",
    console: "ttyS0",
    port: ["-serial", "file:"],
    results: "/dev/ttyS1",
};

/// 64-bit Arm. The emulator's machine has one serial port; another is on its PCI bus. Signed pointers take the
/// emulator's quick way, not the architecture's, which makes it several times slower.
pub static ARM64: Arch = Arch {
    rust: "aarch64",
    debian: "arm64",
    emulator: ("qemu-system-aarch64", "qemu-system-arm"),
    machine: &["-machine", "virt", "-device", "pci-serial,chardev=results"],
    processor: "max,pauth-impdef=on",
    console: "ttyAMA0",
    port: ["-chardev", "file,id=results,path="],
    results: "/dev/ttyS0",
};

impl Arch {
    /// The emulator's option for a port whose bytes go to a file.
    pub fn port(&self, file: &Path) -> [String; 2] {
        let [option, begin] = self.port;
        [option.to_owned(), format!("{begin}{}", file.display())]
    }

    /// Whether it is this machine's.
    pub fn is_here(&self) -> bool {
        self.rust == std::env::consts::ARCH
    }
}
