//! What this process holds in main memory, as the kernel counts it (proc(5), `/proc/self/status`).

use std::fmt;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) bytes: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        Self::named("VmRSS:")
    }

    /// The greatest since the start, or since it was forgotten.
    pub(crate) fn peak() -> Self {
        Self::named("VmHWM:")
    }

    pub(crate) fn forget_peak() {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
    }

    fn named(name: &str) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { bytes: kibibytes * 1024 }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.bytes as f64 / f64::from(1 << 20))
    }
}
