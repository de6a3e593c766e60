//! The directory of one checkout's system. One `stack up` uses it at a time.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// A locked directory. The kernel releases the lock when the program ends, even by `kill -9`.
#[derive(Debug)]
pub(crate) struct WorkDir {
    directory: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
const ENV: &str = "stack.env";

impl WorkDir {
    /// Creates the directory if it is missing, and locks it.
    pub(crate) fn lock(directory: &Path) -> anyhow::Result<Self> {
        let context = || directory.display().to_string();
        fs::create_dir_all(directory).with_context(context)?;
        let directory = directory.canonicalize().with_context(context)?;
        let path = directory.join(LOCK);
        let mut lock =
            File::options().create(true).truncate(false).write(true).open(&path).with_context(context)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => bail!(
                "the system in {} is already up (process {}); stop it with Ctrl-C, \
                 or start another one with --dir and other ports",
                directory.display(),
                fs::read_to_string(&path)?.trim()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        let work_dir = Self { directory, _lock: lock };
        // A killed process has left its file behind.
        work_dir.remove_env()?;
        Ok(work_dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn env_path(&self) -> PathBuf {
        self.directory.join(ENV)
    }

    /// Removes the data of all servers, whose directories have these names.
    pub(crate) fn clear(&self, servers: &[&str]) -> anyhow::Result<()> {
        for server in servers {
            remove_directory_if_exists(&self.directory.join(server))?;
        }
        Ok(())
    }

    /// Writes `stack.env` atomically: a reader never sees a part of it.
    pub(crate) fn write_env(&self, text: &str) -> anyhow::Result<()> {
        let new = self.directory.join("stack.env.new");
        fs::write(&new, text).with_context(|| new.display().to_string())?;
        fs::rename(&new, self.env_path()).with_context(|| self.env_path().display().to_string())
    }

    /// Removes `stack.env`, because its URLs are not valid any more.
    pub(crate) fn remove_env(&self) -> anyhow::Result<()> {
        remove_file_if_exists(&self.env_path())
    }
}

pub(crate) fn remove_file_if_exists(path: &Path) -> anyhow::Result<()> {
    ignore_missing(fs::remove_file(path), path)
}

/// Removes a directory and its contents if it exists.
pub(crate) fn remove_directory_if_exists(path: &Path) -> anyhow::Result<()> {
    ignore_missing(fs::remove_dir_all(path), path)
}

fn ignore_missing(outcome: io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
