//! What the kernel knows of a process: processor time and memory. Only Linux tells it in `/proc`;
//! elsewhere the report says nothing rather than something wrong.

use std::fs;
use std::time::Duration;

/// A clock tick of `/proc/PID/stat`: `USER_HZ` is 100 in every Linux ABI (proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// Processor time that a process and all its threads have used.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let times = Times::of(pid)?;
    Some(TICK * u32::try_from(times.own).ok()?)
}

/// Processor time of a process and its children, ended ones included as far as they were waited
/// for: a postmaster with its backends, writers and workers.
pub(crate) fn cpu_of_family(pid: u32) -> Option<Duration> {
    loop {
        let before = Times::of(pid)?;
        let children = children_ticks(pid)?;
        let after = Times::of(pid)?;
        // A child that ends while we look would be counted twice or not at all.
        if before.ended_children == after.ended_children {
            let ticks = after.own + after.ended_children + children;
            return Some(TICK * u32::try_from(ticks).ok()?);
        }
    }
}

fn children_ticks(parent: u32) -> Option<u64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(times) = Times::of(child).filter(|times| times.parent == parent) {
            ticks += times.own;
        }
    }
    Some(ticks)
}

/// The most resident memory that a process ever had, in bytes (`VmHWM`).
pub(crate) fn memory_peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The processor's name, and the load of the last minute before the run.
pub(crate) fn machine() -> (Option<String>, Option<String>) {
    let name = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| Some(text.split_whitespace().next()?.to_owned()));
    (name, load)
}

/// Ticks of one process.
struct Times {
    parent: u32,
    own: u64,
    ended_children: u64,
}

impl Times {
    /// Fields 4 and 14 to 17 of `/proc/PID/stat`. The name in field 2 may hold anything, so
    /// counting begins behind its last parenthesis.
    fn of(pid: u32) -> Option<Times> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Times {
            parent: u32::try_from(ticks(4)?).ok()?,
            own: ticks(14)? + ticks(15)?,
            ended_children: ticks(16)? + ticks(17)?,
        })
    }
}
