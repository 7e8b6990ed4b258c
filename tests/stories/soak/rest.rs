//! The router at rest: what it holds while nobody calls.

use std::fs;
use std::time::Duration;

/// What may be more at the end than after the first rounds (TARGETS P15).
const FLAT: f64 = 1.05;

/// One reading.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    descriptors: u64,
    rss_kib: u64,
    /// Where this user may know it.
    pss_kib: Option<u64>,
    /// In /dev/shm, whoever's.
    objects: u64,
}

impl Rest {
    /// Of a router's process.
    pub fn of(pid: i32) -> Self {
        // Sockets of what just ended may take a moment to be closed: the least of a second counts.
        let readings = (0..10).map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
        });
        let descriptors = readings.min().unwrap_or(0);
        let kib = |file: &str, key: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        Self {
            descriptors,
            rss_kib: kib("status", "VmRSS:").unwrap(),
            pss_kib: kib("smaps_rollup", "Pss:"),
            objects: fs::read_dir("/dev/shm").unwrap().count() as u64,
        }
    }

    /// Fails where it holds more than it did.
    pub fn flat_since(&self, before: &Self) {
        let flat = |what: &str, before: u64, after: u64| {
            assert!(after as f64 <= before as f64 * FLAT, "{what} grew from {before} to {after}");
        };
        flat("descriptors", before.descriptors, self.descriptors);
        flat("resident memory in KiB", before.rss_kib, self.rss_kib);
        flat("proportional memory in KiB", before.pss_kib.unwrap_or(0), self.pss_kib.unwrap_or(0));
        flat("objects in /dev/shm", before.objects, self.objects);
    }
}
