//! Finds processes in `/proc`: all descendants of a process, and the processes in a directory.

use std::{fs, path::Path};

use rustix::process::Pid;

/// Returns all descendants of `ancestor`, parents before their children.
pub(crate) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let all: Vec<(i32, i32)> = all_pids().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![ancestor.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&current) = found.get(next) {
        found.extend(all.iter().filter(|(_, parent)| *parent == current).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Returns whether a process has `directory` as its working directory.
pub(crate) fn is_working_directory(directory: &Path) -> bool {
    all_pids().any(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|current| current == directory))
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Parses `PID (NAME) STATE PARENT …`. The name may contain spaces and parentheses.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
