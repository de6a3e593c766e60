//! What processes use of the machine, as the kernel counts it.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

use crate::process_tree::descendants;

/// A process's resident memory in KiB; 0 if it is gone.
pub fn resident_memory(pid: i32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that ever was resident of a process, in KiB; 0 if it is gone.
pub fn peak_memory(pid: i32) -> u64 {
    memory(pid, "VmHWM:")
}

/// The CPU time of a process alone.
pub fn cpu_time(pid: i32) -> Duration {
    let [user, system, ..] = times(pid);
    from_ticks(user + system)
}

/// The CPU time of a process and of everything below it, also of what has ended there.
pub fn cpu_time_with_children(pid: i32) -> Duration {
    let below = Pid::from_raw(pid).map(descendants).unwrap_or_default();
    let below = below.iter().map(|pid| pid.as_raw_nonzero().get());
    from_ticks(std::iter::once(pid).chain(below).flat_map(times).sum())
}

/// The time that all CPUs were busy together, whoever kept them so, the host of a virtual machine as well.
pub fn machine_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal: <https://docs.kernel.org/filesystems/proc.html>
    let busy = line.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    from_ticks(busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum())
}

fn memory(pid: i32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Clock ticks: its own as a user and in the system, then the same of its children that were waited for.
/// They are the fields 14 to 17 of `PID (NAME) STATE …`, where the name may hold spaces and brackets.
fn times(pid: i32) -> [u64; 4] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let mut fields = after_name.split_whitespace().skip(11);
    std::array::from_fn(|_| fields.next().and_then(|ticks| ticks.parse().ok()).unwrap_or(0))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{cpu_time, cpu_time_with_children, machine_cpu_time, peak_memory, resident_memory};

    #[test]
    fn a_process_is_seen_to_use_what_it_uses() {
        let own = std::process::id().try_into().unwrap();
        let (before, machine_before, began) = (cpu_time(own), machine_cpu_time(), Instant::now());
        while cpu_time(own) < before + Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_mins(1), "no CPU time is counted");
        }
        assert!(cpu_time_with_children(own) >= cpu_time(own));
        assert!(machine_cpu_time() > machine_before);
        let memory = vec![1_u8; 64 << 20];
        assert!(
            resident_memory(own) > 64 << 10 && peak_memory(own) >= resident_memory(own),
            "{} bytes",
            memory.len()
        );
    }

    #[test]
    fn who_is_gone_uses_nothing() {
        assert_eq!((cpu_time(i32::MAX), resident_memory(i32::MAX)), (Duration::ZERO, 0));
    }
}
