//! CPU time, memory, threads, and descriptors of processes, as the kernel counts them in `/proc`.

use std::{fs, iter, time::Duration};

use rustix::{param::clock_ticks_per_second, process::Pid};

use crate::process_tree::descendants;

/// Returns the resident memory of a process in KiB, or 0 if the process does not exist.
#[must_use]
pub fn resident_memory(pid: i32) -> u64 {
    memory(pid, "VmRSS:")
}

/// Returns the peak resident memory of a process in KiB, or 0 if the process does not exist.
#[must_use]
pub fn peak_memory(pid: i32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Returns the number of threads of a process, or 0 if the process does not exist.
#[must_use]
pub fn threads(pid: i32) -> u64 {
    status(pid, "Threads:").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Returns the number of open file descriptors of a process, or 0 if the process does not exist.
#[must_use]
pub fn open_descriptors(pid: i32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Returns the CPU time of a process without its children.
#[must_use]
pub fn cpu_time(pid: i32) -> Duration {
    let [user, system, ..] = cpu_ticks(pid);
    from_ticks(user + system)
}

/// Returns the CPU time of a process and all its descendants. Descendants that have ended are included.
#[must_use]
pub fn cpu_time_with_children(pid: i32) -> Duration {
    let children = Pid::from_raw(pid).map(descendants).unwrap_or_default();
    let children = children.iter().map(|pid| pid.as_raw_nonzero().get());
    from_ticks(iter::once(pid).chain(children).flat_map(cpu_ticks).sum())
}

/// Returns the busy time of all CPUs together. The host of a virtual machine counts, too (steal).
#[must_use]
pub fn machine_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal: <https://docs.kernel.org/filesystems/proc.html>
    let busy = line.take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4));
    from_ticks(busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum())
}

fn memory(pid: i32, key: &str) -> u64 {
    status(pid, key).and_then(|value| value.strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Returns a value of `/proc/PID/status`, without blanks around it.
fn status(pid: i32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().to_owned())
}

/// Returns four numbers of clock ticks: user, system, and the same two for children that were waited for.
///
/// These are the fields 14 to 17 of `PID (NAME) STATE …`. The name may contain spaces and parentheses.
fn cpu_ticks(pid: i32) -> [u64; 4] {
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

    use super::{
        cpu_time, cpu_time_with_children, machine_cpu_time, open_descriptors, peak_memory, resident_memory,
        threads,
    };

    #[test]
    fn usage_of_running_process_is_counted() {
        let own = std::process::id().try_into().unwrap();
        let cpu_before = cpu_time(own);
        let machine_before = machine_cpu_time();
        let began = Instant::now();
        while cpu_time(own) < cpu_before + Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_mins(1), "the kernel counts no CPU time");
        }
        assert!(cpu_time_with_children(own) >= cpu_time(own));
        assert!(machine_cpu_time() > machine_before);
        assert!(threads(own) > 0 && open_descriptors(own) > 2);
        let memory = vec![1_u8; 64 << 20];
        assert!(
            resident_memory(own) > 64 << 10 && peak_memory(own) >= resident_memory(own),
            "{} bytes",
            memory.len()
        );
    }

    #[test]
    fn missing_process_uses_nothing() {
        assert_eq!((cpu_time(i32::MAX), resident_memory(i32::MAX)), (Duration::ZERO, 0));
        assert_eq!((threads(i32::MAX), open_descriptors(i32::MAX)), (0, 0));
    }
}
