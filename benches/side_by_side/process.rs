//! A process and what it used: processor time and peak memory, read from `/proc` while it runs.

use std::process::Child;
use std::time::Duration;

/// What a process used.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Used {
    /// Processor seconds.
    pub(crate) cpu: f64,
    /// Peak memory in bytes.
    pub(crate) memory: u64,
}

/// Waits for a process to end, watching what it uses. `None` if it failed.
pub(crate) fn watch(mut child: Child) -> Option<Used> {
    let pid = child.id();
    let mut used = Used::default();
    loop {
        used.memory = used.memory.max(peak_memory(pid));
        used.cpu = cpu(pid).unwrap_or(used.cpu);
        if is_zombie(pid) {
            used.cpu = cpu(pid).unwrap_or(used.cpu);
            let status = child.wait().ok()?;
            return status.success().then_some(used);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.rsplit_once(')')?.1.to_owned();
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

fn is_zombie(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// User and system time with that of children that were waited for; ticks of 10 ms.
fn cpu(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?) / 100.0)
}

fn peak_memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
