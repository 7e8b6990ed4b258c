//! CPU time and memory of the router's processes, when they run on this machine.

use crate::report::ProcessReport;
use std::collections::BTreeMap;
use std::time::Instant;

/// Processes that are watched; a router with more than this is not one peer's.
const MOST: usize = 64;

/// Watches processes from when it hears of them until the report.
#[derive(Debug, Default)]
pub struct Watch {
    processes: BTreeMap<u32, Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    since: Instant,
    start: Reading,
    /// The last reading: a process that ends before the report is told by it.
    last: Option<(Instant, Reading)>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// When the process began, in ticks since boot: tells it from a later one of the same number.
    began: u64,
    cpu_seconds: f64,
    pss_bytes: Option<u64>,
    rss_bytes: Option<u64>,
}

impl Watch {
    /// Begins to watch a process, if it is on this machine and not watched yet.
    pub fn add(&mut self, name: &str, pid: u32) {
        if self.processes.len() >= MOST || self.processes.contains_key(&pid) {
            return;
        }
        if let Some(start) = read(pid) {
            let name = name.chars().take(64).collect();
            self.processes.insert(pid, Watched { name, since: Instant::now(), start, last: None });
        }
    }

    /// Reads all of them.
    pub fn sample(&mut self) {
        for (pid, watched) in &mut self.processes {
            if let Some(now) = read(*pid).filter(|now| now.began == watched.start.began) {
                watched.last = Some((Instant::now(), now));
            }
        }
    }

    /// What they took, by the last reading.
    #[must_use]
    pub fn report(&self) -> Vec<ProcessReport> {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let megabytes = |bytes: Option<u64>| bytes.map(|b| tenth(b as f64 / 1e6));
        self.processes
            .iter()
            .map(|(pid, watched)| {
                let cpu = watched.last.and_then(|(at, reading)| {
                    let seconds = at.duration_since(watched.since).as_secs_f64();
                    (seconds > 0.1).then(|| {
                        tenth((reading.cpu_seconds - watched.start.cpu_seconds) / seconds * 100.0)
                    })
                });
                let memory = watched.last.map_or(watched.start, |(_, reading)| reading);
                ProcessReport {
                    name: watched.name.clone(),
                    pid: *pid,
                    cpu_percent: cpu,
                    pss_mb: megabytes(memory.pss_bytes),
                    rss_mb: megabytes(memory.rss_bytes),
                }
            })
            .collect()
    }
}

fn read(pid: u32) -> Option<Reading> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    let rollup = process.smaps_rollup().ok();
    let pss = rollup.and_then(|r| r.memory_map_rollup.0.first()?.extension.map.get("Pss").copied());
    let resident = process.statm().ok().map(|m| m.resident * procfs::page_size());
    Some(Reading {
        began: stat.starttime,
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        pss_bytes: pss,
        rss_bytes: resident,
    })
}

/// The process on this machine that listens on a port, where this user may know it.
#[must_use]
pub fn listener_on(port: u16) -> Option<u32> {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let inodes: Vec<u64> = entries
        .filter(|e| e.state == procfs::net::TcpState::Listen && e.local_address.port() == port)
        .map(|e| e.inode)
        .collect();
    if inodes.is_empty() {
        return None;
    }
    procfs::process::all_processes().ok()?.flatten().find_map(|process| {
        let holds = process.fd().ok()?.flatten().any(|fd| {
            matches!(fd.target, procfs::process::FDTarget::Socket(inode) if inodes.contains(&inode))
        });
        holds.then(|| u32::try_from(process.pid()).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_of_this_machine_is_told_with_its_memory() {
        let mut watch = Watch::default();
        watch.add("self", std::process::id());
        watch.add("none", u32::MAX);
        watch.sample();
        let report = watch.report();
        assert_eq!(report.len(), 1);
        assert_eq!((report[0].name.as_str(), report[0].pid), ("self", std::process::id()));
        assert!(report[0].rss_mb.unwrap() > 0.5);
    }

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_on(port), Some(std::process::id()));
    }
}
