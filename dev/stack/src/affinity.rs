//! The CPUs on which processes may run.

use std::{collections::HashSet, fs, iter};

use anyhow::Context;
use rustix::{
    io::Errno,
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::process_tree::descendants;

/// Returns the CPUs on which this thread may run, by their numbers.
///
/// # Errors
/// Returns an error if the kernel does not report them.
pub fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("cannot read the allowed CPUs")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect())
}

/// Lets all threads of a process and of its descendants run only on these CPUs. Later threads and children inherit that.
///
/// # Errors
/// Returns an error if the kernel refuses, for example because no CPU is given.
pub fn pin(pid: i32, cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    let mut pinned = HashSet::new();
    // A thread that is not pinned yet may start further ones meanwhile.
    loop {
        let new: Vec<_> = threads_of_tree(pid).into_iter().filter(|thread| pinned.insert(*thread)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for thread in new {
            match sched_setaffinity(Some(thread), &set) {
                // The thread has ended.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot pin process {pid}")),
            }
        }
    }
}

fn threads_of_tree(pid: i32) -> Vec<Pid> {
    let Some(root) = Pid::from_raw(pid) else { return Vec::new() };
    let threads = |pid: Pid| {
        let entries = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten();
        entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
    };
    iter::once(root).chain(descendants(root)).flat_map(threads).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, thread, time::Duration};

    use super::{allowed_cpus, pin};

    /// Returns the CPUs of a process or a thread, as the kernel lists them.
    fn cpus_of(path: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{path}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    }

    #[test]
    fn pinned_process_keeps_its_cpus_and_its_children_inherit_them() {
        let cpus = allowed_cpus().unwrap();
        let last = *cpus.last().unwrap();
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        pin(pid, &[last]).unwrap();
        assert_eq!(cpus_of(&pid.to_string()), last.to_string());
        let child = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        while child().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(cpus_of(child().trim()), last.to_string());
        // The end of the shell would leave its child behind.
        Command::new("kill").arg(child().trim()).status().unwrap();
        shell.wait().unwrap();
        assert_eq!(allowed_cpus().unwrap(), cpus, "this thread is not affected");
        assert!(pin(i32::try_from(std::process::id()).unwrap(), &[]).is_err());
    }
}
