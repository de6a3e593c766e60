//! The children of a process and theirs, as the kernel lists them.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

/// Every process below `ancestor`, parents before their children.
pub(crate) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let all: Vec<(i32, i32)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(all.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Whether a process has this working directory.
pub(crate) fn is_anybody_in(directory: &Path) -> bool {
    processes().any(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|current| current == directory))
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `PID (NAME) STATE PARENT …`, where the name may hold spaces and brackets.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
