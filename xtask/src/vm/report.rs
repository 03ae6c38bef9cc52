//! What a virtual machine's console tells: how it started, what went wrong, how it ended.
//!
//! Limits: it knows the words of Linux and of `init.sh`, no others.

use std::time::Duration;

/// How a kernel says that it is in trouble.
const TROUBLE: &[&str] = &[
    "Kernel panic",
    "Oops:",
    "BUG: ",
    "general protection fault",
    "kernel BUG at",
    "soft lockup",
    "hard LOCKUP",
];
/// A warning with a stack: `WARNING: CPU: 0 PID: 1 at file.c:1 function`, from 6.19 on `WARNING: file.c:1 at function, CPU#0`.
const WARNING: [&str; 2] = ["WARNING: ", " at "];
/// A fault of the emulator, not of the kernel: a patched instruction is run half-way.
const EMULATOR_FAULT: &str = "Oops: int3";
/// What the machine prints last, followed by the exit code of what it ran.
const END: &str = "dropwatch-vm: end ";
/// What it prints when it starts that.
const START: &str = "dropwatch-vm: start ";

/// How a machine ended.
#[derive(Debug, Default)]
pub struct Report {
    /// The exit code of what it ran; nothing if it did not come to that.
    pub status: Option<i32>,
    /// The kernel's complaints.
    pub trouble: Vec<String>,
    /// Why it was ended from outside.
    pub ended: Option<String>,
    /// From the start of the emulator to the first program.
    pub boot: Option<Duration>,
    /// The whole time.
    pub total: Duration,
}

impl Report {
    /// Whether the emulator is to blame, so that another try is fair.
    pub fn is_emulators_fault(&self) -> bool {
        self.trouble
            .iter()
            .any(|line| line.contains(EMULATOR_FAULT))
    }

    /// What went wrong with the machine itself, if anything did.
    pub fn fault(&self) -> Option<String> {
        let trouble = self
            .trouble
            .first()
            .map(|line| format!("the kernel says: {line}"));
        let silent = || "it ended without saying so".to_owned();
        trouble
            .or_else(|| self.ended.clone())
            .or_else(|| self.status.is_none().then(silent))
    }

    /// Takes from a line of the console what it tells.
    pub fn line(&mut self, line: &str, at: Duration) {
        let warning = WARNING.iter().all(|part| line.contains(part));
        if warning || TROUBLE.iter().any(|t| line.contains(t)) {
            self.trouble.push(line.trim().to_owned());
        }
        if line.contains(START) {
            self.boot = Some(at);
        }
        if let Some(status) = line.split(END).nth(1) {
            self.status = status.trim().parse().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Report;

    fn after(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(line, Duration::from_secs(1));
        }
        report
    }

    #[test]
    fn tells_ends_apart() {
        let good = after(&["dropwatch-vm: start 6.12, up 3 s", "dropwatch-vm: end 0"]);
        assert_eq!((good.status, good.fault()), (Some(0), None));
        assert!(good.boot.is_some());
        assert!(after(&["dropwatch-vm: start 6.12"]).fault().is_some());
        let oops = after(&["[    2.1] Oops: int3: 0000 [#1]", "dropwatch-vm: end 0"]);
        assert!(oops.is_emulators_fault() && oops.fault().is_some());
        assert!(!after(&["BUG: kernel NULL pointer"]).is_emulators_fault());
        for warning in [
            "[    9.1] WARNING: CPU: 1 PID: 99 at net/core/skbuff.c:1 kfree_skb+0x1/0x2",
            "[    9.1] WARNING: net/core/skbuff.c:1 at kfree_skb+0x1/0x2, CPU#1: ip/99",
        ] {
            assert!(after(&[warning, "dropwatch-vm: end 0"]).fault().is_some());
        }
    }
}
