//! A process and what it used: processor time and peak memory, read from `/proc` while it runs.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a process used.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Used {
    /// Processor seconds.
    pub(crate) cpu: f64,
    /// Peak memory in bytes.
    pub(crate) memory: u64,
}

/// How often the memory of a process is looked at: seldom, because there are two processors only
/// and both are busy with what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for a process to end, watching what it uses. `None` if it failed.
pub(crate) fn watch(mut child: Child) -> Option<Used> {
    let pid = child.id();
    let ended = Arc::new(AtomicBool::new(false));
    let peak = std::thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let mut memory = 0;
            while !ended.load(Ordering::Relaxed) {
                memory = peak_memory(pid).max(memory);
                std::thread::park_timeout(LOOK_EVERY);
            }
            memory
        }
    });
    let id = Pid::from_child(&child);
    // Not collected yet, so that its times can still be read.
    let waited = waitid(
        WaitId::Pid(id),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    );
    ended.store(true, Ordering::Relaxed);
    peak.thread().unpark();
    let used = Used {
        cpu: cpu(pid).unwrap_or_default(),
        memory: peak.join().ok()?,
    };
    waited.ok()?;
    let status = child.wait().ok()?;
    status.success().then_some(used)
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.rsplit_once(')')?.1.to_owned();
    Some(after_name.split_whitespace().map(str::to_owned).collect())
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
