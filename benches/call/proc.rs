//! What processes and threads take, by `/proc`.

use std::fs;

/// A thread of a process.
pub(crate) struct Thread {
    pub(crate) tid: u64,
    pub(crate) name: String,
    pub(crate) cpu_ns: u64,
}

/// Its threads, with nanoseconds of processor time each.
pub(crate) fn threads(pid: u32) -> Vec<Thread> {
    let folder = format!("/proc/{pid}/task");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let stat = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            Some(Thread {
                tid: entry.file_name().to_str()?.parse().ok()?,
                name: name.trim().to_owned(),
                cpu_ns: stat.split(' ').next()?.parse().ok()?,
            })
        })
        .collect()
}

/// Nanoseconds of processor time of these processes' living threads.
pub(crate) fn cpu_ns(pids: &[u32]) -> u64 {
    pids.iter().flat_map(|pid| threads(*pid)).map(|thread| thread.cpu_ns).sum()
}

/// Megabytes of proportional memory, shared memory included; `None` where this user may not know it.
pub(crate) fn pss_mb(pids: &[u32]) -> Option<f64> {
    let one = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    pids.iter().map(one).sum::<Option<f64>>().map(|kib| kib * 1024.0 / 1e6)
}
